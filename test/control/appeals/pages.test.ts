import { hash } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MESSAGES_MAX } from '../../../src/control/appeals/appellant-acts.ts';
import { escapeText, html } from '../../../src/control/appeals/pages/html.ts';
import { TEXTS, type TextKey } from '../../../src/control/appeals/pages/page-text.ts';
import { wordSpan } from '../../../src/control/appeals/pages/time-wording.ts';
import { hasHidden } from '../../../src/control/http/route.ts';
import {
  chooseLanguage,
  LANGUAGE_NAMES,
  LANGUAGE_TAGS,
  LANGUAGES,
  type Language,
} from '../../../src/pages/language.ts';
import { wordInstant } from '../../../src/pages/time-wording.ts';
import { type Answer, AppealsRig, DAY, HOUR } from './appeals-rig.ts';

let rig: AppealsRig;
let notice: string;

const SEALED_NAMES = ['secret.example', 'deep.hidden.example'];

beforeAll(async () => {
  rig = await AppealsRig.create();
  notice = await rig.notice(['a.example', { subtree: 'wide.example' }, { url: 'https://shared.example/page' }], {
    reference: 'MCMC/2026/0001',
  });
  await rig.notice([SEALED_NAMES[0], { subtree: SEALED_NAMES[1] }], {
    ...{ reference: 'SEALED/1', category: 'csam', sealed: true },
  });
});
afterAll(() => rig.close());

type Options = NonNullable<Parameters<AppealsRig['send']>[2]>;

const FORM = 'application/x-www-form-urlencoded';

/** Sends a form, or a body as it is. */
function post(path: string, fields: Record<string, string> | string, options: Options = {}): Promise<Answer> {
  const body = typeof fields === 'string' ? fields : new URLSearchParams(fields).toString();
  return rig.send(`POST ${path}`, body, { ...options, headers: { 'content-type': FORM, ...options.headers } });
}

let filings = 0;
/** A filing that is in order, unlike any other. */
const good = (changes: Record<string, string> = {}) => ({
  ...{ language: 'en', key: `key-of-this-form-${++filings}`, website: '' },
  ...{ notice: 'MCMC/2026/0001', standing: 'owner', entries: '', grounds: `Grounds of form ${filings}.`, contact: '' },
  ...changes,
});

/** Does something while a method does something else. */
async function instead<T extends object, K extends keyof T>(
  owner: T,
  method: K,
  stub: T[K],
  act: () => Promise<Answer>,
): Promise<Answer> {
  const { [method]: original } = owner;
  owner[method] = stub;
  try {
    return await act();
  } finally {
    owner[method] = original;
  }
}

const count = () => rig.read(({ appeals }) => appeals.count());

const ENTITIES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };
const unescapeHtml = (text: string) => text.replace(/&(?:lt|gt|quot|amp|#39);/g, (entity) => ENTITIES[entity]!);
/** What a page says, without its style and its tags. */
const textOf = (page: string) =>
  unescapeHtml(page.replace(/<style>.*?<\/style>/s, '').replace(/<[^>]*>/g, ' ')).replace(/\s+/g, ' ');
/** The tags of a page with the names of their attributes. */
const tagsOf = (page: string) =>
  [...page.matchAll(/<[^>]*>/g)].map(([tag]) => tag.replace(/="[^"]*"/g, '=')).join('\n');
const inputOf = (page: string, name: string) =>
  unescapeHtml(new RegExp(`name="${name}" [^>]*value="([^"]*)"`).exec(page)![1]!);
const areaOf = (page: string, name: string) =>
  unescapeHtml(new RegExp(`<textarea id="${name}"[^>]*>\n([^<]*)</textarea>`).exec(page)![1]!);
const codesOf = (page: string) => [...page.matchAll(/class="code"[^>]*>([^<]*)</g)].map(([, code]) => code!);
const faultOf = (page: string, field: string) => {
  const [, fault] = new RegExp(`id="${field}-fault">([^<]*)<`).exec(page) ?? [];
  return fault === undefined ? undefined : unescapeHtml(fault);
};
/** The faults of a page, as listed above its form. */
const alertOf = (page: string) =>
  textOf(/<div class="box faults" role="alert">.*?<\/div>/s.exec(page)?.[0] ?? '').trim();

/** A text with its placeholders filled in. */
const say = (language: Language, key: TextKey, values: Record<string, string> = {}) =>
  TEXTS[language][key].replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name]!);

/** A page that has what every page must have. */
function expectPage(answer: Answer, status: number, language: Language = 'en'): string {
  expect(answer.status, alertOf(answer.text)).toBe(status);
  expect(answer.headers).toMatchObject({
    'content-type': 'text/html; charset=utf-8',
    'content-language': LANGUAGE_TAGS[language],
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'x-frame-options': 'DENY',
  });
  expect(answer.headers['set-cookie']).toBeUndefined();
  const page = answer.text;
  const [, style] = /<style>(.*?)<\/style>/s.exec(page)!;
  expect(String(answer.headers['content-security-policy']).split('; ').sort()).toEqual([
    "base-uri 'none'",
    "default-src 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    `style-src 'sha256-${hash('sha256', style!, 'base64')}'`,
  ]);
  expect(page).toMatch(new RegExp(`^<!DOCTYPE html>\n<html lang="${LANGUAGE_TAGS[language]}"`));
  expect(page).not.toMatch(/<(?:script|img|link|iframe|object|svg|base)|\son\w+=|\ssrc=|\sstyle=/i);
  expect(page.match(/(?:href|action)="(?!\/appeal|#|\?|tel:|mailto:)[^"]*"/g)).toBeNull();
  const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(textOf(page)).not.toMatch(/undefined|\[object|\{\{/);
  return page;
}

describe('the texts', () => {
  const placeholders = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name!).sort();

  it.each(LANGUAGES)('of %s have exactly the keys and placeholders of English', (language) => {
    expect(Object.keys(TEXTS[language])).toEqual(Object.keys(TEXTS.en));
    for (const key of Object.keys(TEXTS.en) as TextKey[]) {
      expect(placeholders(TEXTS[language][key]), key).toEqual(placeholders(TEXTS.en[key]));
    }
  });

  it('are written in the script of their language, and no two languages share a sentence', () => {
    const scripts = { ms: /\p{sc=Latin}/u, en: /\p{sc=Latin}/u, zh: /\p{sc=Han}/u, ta: /\p{sc=Tamil}/u };
    for (const language of LANGUAGES) {
      for (const [key, text] of Object.entries(TEXTS[language])) {
        const words = text.replace(/\{\{\w+\}\}/g, '');
        if (key !== 'colon') expect(words, `${language} ${key}`).toMatch(scripts[language]);
        if (language === 'zh' || language === 'ta') expect(words, `${language} ${key}`).not.toMatch(/[A-Za-z]/);
      }
    }
    for (const [key, text] of Object.entries(TEXTS.en)) {
      if (text.length < 40) continue;
      expect(new Set(LANGUAGES.map((language) => TEXTS[language][key as TextKey])).size, key).toBe(4);
    }
  });
});

describe('html', () => {
  it('lets no text out of its place', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const { markup } = html`<p title="${text}">${[text, html`<b>${text}</b>`, undefined, false, 7]}</p>`;
        expect(tagsOf(markup)).toBe('<p title=>\n<b>\n</b>\n</p>');
        expect(escapeText(text)).not.toMatch(/[<>"']/);
      }),
    );
  });

  it('shows misleading characters as such, and leaves those that Tamil needs', () => {
    expect(escapeText('a\u0000b\u202ec\u2066\u200bd\ufeff\ud800')).toBe('a\ufffdb\ufffdc\ufffd\ufffdd\ufffd\ufffd');
    expect(escapeText('க்\u200cஷ\u200d\n\tx')).toBe('க்\u200cஷ\u200d\n\tx');
  });
});

describe('chooseLanguage', () => {
  it.each<[string | undefined, string | undefined, Language]>([
    [undefined, undefined, 'ms'],
    ['', undefined, 'ms'],
    ['fr', undefined, 'ms'],
    ['en-GB,en;q=0.9', undefined, 'en'],
    ['zh-Hant-TW', undefined, 'zh'],
    ['yue-HK', undefined, 'zh'],
    ['id', undefined, 'ms'],
    ['fr;q=1, ta;q=0.2, en;q=0.1', undefined, 'ta'],
    ['en;q=0.5, ta;q=0.8', undefined, 'ta'],
    ['en;q=2, ta', undefined, 'ta'],
    ['en;q=x', undefined, 'ms'],
    ['ms;q=0', undefined, 'en'],
    ['*', undefined, 'ms'],
    ['en', 'zh', 'zh'],
    ['en', 'xx', 'en'],
    [',;,q=;;=', '__proto__', 'ms'],
  ])('of %j and %j is %s', (accepted, chosen, language) => {
    expect(chooseLanguage(accepted, chosen)).toBe(language);
  });
});

describe('wordSpan', () => {
  it.each([
    [2 * DAY, '2 hari', '2 days', '2天', '2 நாட்கள்'],
    [DAY, '24 jam', '24 hours', '24小时', '24 மணிநேரம்'],
    [3.5 * DAY, '84 jam', '84 hours', '84小时', '84 மணிநேரம்'],
    [HOUR, '1 jam', '1 hour', '1小时', '1 மணிநேரம்'],
  ])('of %i seconds is in whole words', (seconds, ...expected) => {
    expect(LANGUAGES.map((language) => wordSpan(seconds, language))).toEqual(expected);
  });
});

describe.each(LANGUAGES)('the form in %s', (language) => {
  it('says which notice, who may appeal, until when, and what happens with the data', async () => {
    const { pack } = await rig.services.trust.read(rig.now);
    const page = expectPage(await rig.send(`GET /appeal?notice=MCMC/2026/0001&lang=${language}`), 200, language);
    const { startSeconds, endSeconds, statement } = rig.view.findNotice(notice)!.verified;
    const instrument = pack.instruments.find(({ id }) => id === statement.instrument)!;
    const { fileWithinDays, acknowledgeWithinDays, assessWithinDays, decideWithinDays, eraseContactAfterDays } =
      pack.appeals;
    const keys: TextKey[] = ['formTitle', 'formLead', 'who', 'whoHears', 'dataPrivate', 'dataPublic', 'inForce'];
    const said = [
      'MCMC/2026/0001',
      rig.view.authorities.byId.get('mcmc')!.name,
      instrument.title,
      instrument.section,
      ...[startSeconds, endSeconds, startSeconds + fileWithinDays * DAY].map((at) => wordInstant(at, language)),
      ...keys.map((key) => say(language, key)),
      ...[fileWithinDays, acknowledgeWithinDays, assessWithinDays!, decideWithinDays].map((days) =>
        wordSpan(days * DAY, language),
      ),
      wordSpan(24 * HOUR, language),
      say(language, 'dataErased', { time: wordSpan(eraseContactAfterDays! * DAY, language) }),
      ...Object.values(LANGUAGE_NAMES),
      say(language, 'privacy'),
    ];
    for (const part of said) expect(textOf(page)).toContain(part);
    expect(inputOf(page, 'notice')).toBe('MCMC/2026/0001');
    expect(Buffer.byteLength(page)).toBeLessThan(30_000);
  });

  it('is under 30 kB with everything wrong', async () => {
    const fields = good({ language, notice: '', standing: '', grounds: '', contact: 'x', website: 'x' });
    const page = expectPage(await post('/appeal', { ...fields, entries: `${'x '.repeat(1100)}` }), 400, language);
    expect(page.match(/class="fault"/g)).toHaveLength(6);
    expect(Buffer.byteLength(page)).toBeLessThan(30_000);
  });
});

describe('the form', () => {
  it('comes in the language of the browser, or in the one that was chosen', async () => {
    const headers = { 'accept-language': 'ta-MY,en;q=0.5' };
    const answer = await rig.send('GET /appeal', undefined, { headers });
    expectPage(answer, 200, 'ta');
    expect(answer.headers.vary).toBe('accept-language');
    const chosen = expectPage(await rig.send('GET /appeal?lang=zh&notice=A%26B', undefined, { headers }), 200, 'zh');
    expect(unescapeHtml(chosen)).toContain('<a href="?notice=A%26B&lang=ms" lang="ms"');
    expectPage(await rig.send('GET /appeal?lang=en&lang=zh', undefined, { headers }), 200, 'en');
  });

  it('passes over what else an address carries', async () => {
    expectPage(await rig.send('GET /appeal?lang=en&utm_source=x&fbclid=%3Cb%3E&__proto__=1'), 200);
  });

  it('asks for the reference when there is none', async () => {
    const page = expectPage(await rig.send('GET /appeal?lang=en'), 200);
    expect(textOf(page)).toContain(say('en', 'noticeBlank'));
    expect(inputOf(page, 'notice')).toBe('');
  });

  it('says so when the register has no such notice, and keeps what was given', async () => {
    const page = expectPage(await rig.send('GET /appeal?lang=en&notice=MCMC/2026/9999'), 200);
    expect(textOf(page)).toContain(say('en', 'noticeUnknown', { reference: 'MCMC/2026/9999' }));
    expect(inputOf(page, 'notice')).toBe('MCMC/2026/9999');
  });

  it('finds a notice by its id', async () => {
    expect(textOf(expectPage(await rig.send(`GET /appeal?lang=en&notice=${notice}`), 200))).toContain('MCMC/2026/0001');
  });

  it('lists notices with one reference to choose from', async () => {
    const ids = [
      await rig.notice(['x.example'], { reference: 'TWICE' }),
      await rig.notice(['y.example'], { reference: 'TWICE' }),
    ];
    const page = expectPage(await rig.send('GET /appeal?lang=en&notice=TWICE'), 200);
    for (const id of ids) expect(page).toContain(`href="/appeal?notice=${id}&lang=en"`);
    const refused = expectPage(await post('/appeal', good({ notice: 'TWICE' })), 409);
    expect(faultOf(refused, 'notice')).toBe(say('en', 'faultNoticeSeveral'));
  });

  it('has the review date of a notice until revoked, and says what is no longer in force', async () => {
    const id = await rig.notice(['z.example'], {
      ...{ reference: 'OPEN-ENDED', instrument: 'onsa-direction', term: { untilRevoked: true } },
      ...{ dates: { made: 'now', approved: 'now', effectiveFrom: 'now', reviewBy: '60d' } },
    });
    const text = async () => textOf(expectPage(await rig.send('GET /appeal?lang=en&notice=OPEN-ENDED'), 200));
    const { reviewBySeconds } = rig.view.findNotice(id)!.outline;
    expect(await text()).toContain(`Review due by ${wordInstant(reviewBySeconds!, 'en')}`);
    expect(await text()).toContain(say('en', 'untilRevoked'));
    await rig.publish('revocation', { notice: id, from: 'now' }, ['one', 'two']);
    rig.pass(1000);
    expect(await text()).toContain(`${say('en', 'standingNow')} ${say('en', 'over')}`);
  });

  it('tells nothing of the annex of a sealed notice', async () => {
    const page = expectPage(await rig.send('GET /appeal?lang=en&notice=SEALED/1'), 200);
    expect(textOf(page)).toContain(say('en', 'noticeSealed'));
    for (const name of SEALED_NAMES) expect(page).not.toContain(name);
  });

  it('is refused as a page when its address has what does not show', async () => {
    const page = expectPage(await rig.send('GET /appeal?lang=en&notice=a%00b%E2%80%AEc'), 400);
    expect(alertOf(page)).toContain(say('en', 'refused'));
    expect(inputOf(page, 'notice')).toBe('a\ufffdb\ufffdc');
  });

  it('is shown without deadlines while the pack cannot be read, and the fault is told', async () => {
    const fail = () => Promise.reject(new Error('no file'));
    const answer = await instead(rig.services.trust, 'read', fail, () =>
      rig.send('GET /appeal?lang=en&notice=MCMC/2026/0001'),
    );
    const page = expectPage(answer, 500);
    expect(alertOf(page)).toContain(say('en', 'unavailable'));
    expect(textOf(page)).not.toContain(say('en', 'timesHeading'));
    expect(page).not.toContain('no file');
    expect(rig.faults.splice(0)).toHaveLength(1);
  });

  it('tells a fault of its own as a problem', async () => {
    const fail = () => {
      throw new Error('broken');
    };
    const answer = await instead(rig.services.register, 'findByReference', fail, () =>
      rig.send('GET /appeal?notice=X'),
    );
    expect(answer.body).toMatchObject({ status: 500, code: 'fault' });
    expect(rig.faults.splice(0)).toHaveLength(2);
  });

  it('is not described as a part of the API', async () => {
    const { text } = await rig.send('GET /v1/openapi.json');
    expect(text).not.toContain('/appeal/');
    expect(text).toContain('/v1/appeals');
  });
});

describe('filing by the form', () => {
  it('does what the API does, and shows the secret', async () => {
    rig.events.length = 0;
    const entries = ' a.example \n\nhttps://shared.example/page\n';
    const fields = good({ language: 'ta', entries, contact: ' ana@example.org ', grounds: 'One.\r\nTwo – இரண்டு.' });
    const page = expectPage(await post('/appeal', fields), 201, 'ta');
    const [reference, secret] = codesOf(page) as [string, string];
    const appeal = await rig.appeal(reference);
    expect(appeal).toMatchObject({
      ...{ noticeId: notice, standing: 'owner', grounds: 'One.\nTwo – இரண்டு.', contact: 'ana@example.org' },
      ...{ language: 'ta', state: 'filed', secretHash: hash('sha256', secret) },
    });
    expect(appeal.entries).toHaveLength(2);
    for (const by of [appeal.acknowledgeBySeconds, appeal.assessBySeconds, appeal.decideBySeconds]) {
      expect(textOf(page)).toContain(wordInstant(by, 'ta'));
    }
    const own = await rig.send(`GET /v1/appeals/${reference}`, undefined, { headers: { 'appeal-secret': secret } });
    expect(own.body.grounds).toBe('One.\nTwo – இரண்டு.');
    expect(rig.events).toMatchObject([{ event: 'appeal.filed', data: { reference } }]);
    const trail = await rig.read(({ audit }) => audit.list({ subject: `appeals/${reference}`, limit: 5 }));
    expect(trail).toMatchObject([{ actor: 'public', action: 'POST /appeal' }]);
    expect(Buffer.byteLength(page)).toBeLessThan(30_000);
  });

  it('takes the language of the browser when the form says none', async () => {
    const { language: _, ...fields } = good();
    const page = expectPage(await post('/appeal', fields, { headers: { 'accept-language': 'zh' } }), 201, 'zh');
    expect((await rig.appeal(codesOf(page)[0]!)).language).toBe('zh');
  });

  it('counts once, however often one form is sent, and shows the secret every time', async () => {
    const [before, fields] = [await count(), good()];
    const pages = [await post('/appeal', fields), await post('/appeal', fields), await post('/appeal', fields)];
    for (const page of pages) expect(expectPage(page, 201)).toBe(pages[0]!.text);
    expect(await count()).toBe(before + 1);
    // The key is no secret of others: with another body it is another form.
    const other = expectPage(await post('/appeal', { ...fields, grounds: 'Others.' }), 201);
    expect(codesOf(other)).not.toEqual(codesOf(pages[0]!.text));
  });

  it('counts once when two of one form come at the same time', async () => {
    const [before, fields] = [await count(), good()];
    const pages = await Promise.all([1, 2, 3].map(() => post('/appeal', fields)));
    expect(new Set(pages.map(({ text }) => text)).size).toBe(1);
    expect(await count()).toBe(before + 1);
  });

  it('on grounds that are being heard says so kindly, and how to follow that appeal', async () => {
    const fields = good();
    const [reference, secret] = codesOf(expectPage(await post('/appeal', fields), 201)) as [string, string];
    const page = expectPage(await post('/appeal', { ...fields, key: 'key-of-another-form' }), 409);
    expect(alertOf(page)).toContain(say('en', 'repeated', { reference }));
    expect(page).toContain('href="/appeal/status?lang=en"');
    expect(page).not.toContain(secret);
    expect(areaOf(page, 'grounds')).toBe(fields.grounds);
  });

  it.each<[string, Record<string, string>, string, TextKey, Record<string, string>?]>([
    ['no notice', { notice: ' ' }, 'notice', 'faultNoticeMissing'],
    ['a notice of 121 characters', { notice: 'x'.repeat(121) }, 'notice', 'faultLong', { max: '120' }],
    ['a notice that has a NUL', { notice: 'MCMC\u0000' }, 'notice', 'faultHidden', { mark: '\ufffd' }],
    ['no standing', { standing: '' }, 'standing', 'faultStanding'],
    ['another standing', { standing: 'robot' }, 'standing', 'faultStanding'],
    ['no grounds', { grounds: '' }, 'grounds', 'faultGroundsMissing'],
    ['blank grounds', { grounds: ' \r\n ' }, 'grounds', 'faultGroundsMissing'],
    ['long grounds', { grounds: 'x'.repeat(8001) }, 'grounds', 'faultLong', { max: '8,000' }],
    ['grounds that turn around', { grounds: 'a\u202eb' }, 'grounds', 'faultHidden', { mark: '\ufffd' }],
    ['a contact that is none', { contact: 'ana' }, 'contact', 'faultContact'],
    ['a contact of two lines', { contact: 'ana@example.org\nBcc: x@example.org' }, 'contact', 'faultContact'],
    ['101 addresses', { entries: 'a.example\n'.repeat(101) }, 'entries', 'faultEntriesMany', { max: '100' }],
    ['a long address', { entries: 'x'.repeat(2049) }, 'entries', 'faultEntriesLong', { max: '2,048' }],
    ['the trap sprung', { website: 'https://spam.example' }, 'website', 'faultTrap'],
  ])('with %s says so at the field and keeps the text', async (_what, change, field, key, values) => {
    const [before, fields] = [await count(), good({ entries: 'a.example', contact: 'ana@example.org', ...change })];
    const page = expectPage(await post('/appeal', fields), 400);
    expect(faultOf(page, field)).toBe(say('en', key, values));
    expect(alertOf(page)).toBe(`${say('en', 'faultsHeading')} ${say('en', key, values)}`);
    const shown = (text: string) => text.replace(/[\p{Cc}--[\r\n]]|\u202e/gv, '\ufffd').replaceAll('\r\n', '\n');
    for (const name of ['notice', 'contact'] as const) expect(inputOf(page, name)).toBe(shown(fields[name]));
    for (const name of ['entries', 'grounds'] as const) expect(areaOf(page, name)).toBe(shown(fields[name]));
    expect(/value="owner"[^>]* checked/.test(page)).toBe(fields.standing === 'owner');
    expect(page).toContain(`<title>${say('en', 'faultTitle', { title: '' })}`);
    expect(await count()).toBe(before);
  });

  it('shows the trap, empty, to whom it caught', async () => {
    const page = expectPage(await post('/appeal', good({ website: 'x' })), 400);
    expect(page).not.toContain('class="trap"');
    expect(page).toMatch(/<input type="text" id="website" name="website" [^>]*value="">/);
    expect(expectPage(await rig.send('GET /appeal?lang=en'), 200)).toContain('class="trap" aria-hidden="true"');
  });

  it('names the addresses that the notice has not', async () => {
    const page = expectPage(await post('/appeal', good({ entries: 'a.example\n\nb.example\n<b>\nc.example' })), 400);
    expect(faultOf(page, 'entries')).toBe(say('en', 'faultEntriesStray', { lines: 'b.example, <b>, c.example' }));
    const many = expectPage(await post('/appeal', good({ entries: 'n.example\n'.repeat(9) })), 400);
    expect(faultOf(many, 'entries')).toMatch(/(?:n\.example, ){5}…$/);
  });

  it('against a notice that is not there says so', async () => {
    const page = expectPage(await post('/appeal', good({ notice: 'NONE/1' })), 404);
    expect(faultOf(page, 'notice')).toBe(say('en', 'faultNoticeUnknown'));
  });

  it('against a sealed notice does not tell whether a name is in it', async () => {
    const file = async (entries: string) => {
      const page = expectPage(await post('/appeal', good({ notice: 'SEALED/1', entries })), 201);
      const [reference, secret] = codesOf(page) as [string, string];
      const status = expectPage(await post('/appeal/status', { language: 'en', reference, secret }), 200);
      const plain = (text: string) =>
        text
          .replaceAll(reference, 'R')
          .replaceAll(secret, 'S')
          .replace(/Grounds of form \d+/, '')
          .replace(/(name="key" value=)"[^"]*"/g, '$1');
      expect(status).toContain(say('en', 'entriesSealed'));
      return [plain(page), plain(status)];
    };
    const missing = await file('not-there.example');
    expect(await file(SEALED_NAMES[0]!)).toEqual(missing);
    expect(await file(`www.${SEALED_NAMES[1]}`)).toEqual(missing);
  });

  it.each<[string, string]>([
    ['nothing', ''],
    ['a field twice', 'notice=MCMC%2F2026%2F0001&standing=owner&grounds=a&grounds=b'],
    ['a field that there is none of', 'notice=MCMC%2F2026%2F0001&standing=owner&grounds=a&admin=yes'],
    ['bytes that are no UTF-8', 'notice=MCMC%2F2026%2F0001&standing=owner&grounds=%FF%FE'],
    ['half a character', 'notice=MCMC%2F2026%2F0001&standing=owner&grounds=%ED%A0%80'],
    ['broken percent signs', 'notice=MCMC%2F2026%2F0001&standing=owner&grounds=%u0041'],
    ['a name that is an object', 'notice[$ne]=x&standing=owner&grounds=a'],
    ['__proto__', '__proto__=x&standing=owner&grounds=a'],
    ['JSON', '{"notice":"MCMC/2026/0001","standing":"owner","grounds":"a"}'],
  ])('that comes as %s is refused with an empty form', async (_what, body) => {
    const before = await count();
    const page = expectPage(await post('/appeal', body, { headers: { 'accept-language': 'en' } }), 400);
    expect(alertOf(page)).toContain(say('en', 'refused'));
    expect(await count()).toBe(before);
    expect(rig.faults).toEqual([]);
  });

  it('with a key that is none is refused', async () => {
    for (const key of ['short', 'x'.repeat(256), 'with a blank in the middle']) {
      expect(alertOf(expectPage(await post('/appeal', good({ key })), 400))).toContain(say('en', 'refused'));
    }
  });

  it.each(['application/json', 'multipart/form-data; boundary=x', 'text/plain'])('as %s is refused', async (type) => {
    const headers = { 'content-type': type, 'accept-language': 'en' };
    expect(alertOf(expectPage(await post('/appeal', '{}', { headers }), 415))).toContain(say('en', 'refused'));
  });

  it('that is too large is refused with a word on what to do', async () => {
    const body = `grounds=${'x'.repeat(256 * 1024)}`;
    const page = expectPage(await post('/appeal', body, { headers: { 'accept-language': 'en' } }), 413);
    expect(alertOf(page)).toContain(say('en', 'oversized'));
  });

  it('takes the longest that there is', async () => {
    const grounds = 'ழ'.repeat(8000);
    const page = expectPage(await post('/appeal', good({ grounds })), 201);
    expect((await rig.appeal(codesOf(page)[0]!)).grounds).toBe(grounds);
  });

  it('shares the limit of the API, and keeps the text of what is over it', async () => {
    const [address, statuses] = ['198.51.100.7', [] as number[]];
    // What is not in order does not count.
    for (let i = 0; i < 20; i++) expect((await post('/appeal', good({ grounds: '' }), { address })).status).toBe(400);
    for (let i = 0; i < 5; i++) {
      statuses.push((await post('/appeal', good(), { address })).status);
      const filing = { notice, standing: 'isp', grounds: `Number ${i} of the API` };
      statuses.push((await rig.send('POST /v1/appeals', filing, { address })).status);
    }
    expect(statuses).toEqual(Array(10).fill(201));
    const fields = good();
    const over = await post('/appeal', fields, { address });
    const page = expectPage(over, 429);
    expect(Number(over.headers['retry-after'])).toBeGreaterThan(0);
    expect(alertOf(page)).toContain(say('en', 'limited'));
    expect(areaOf(page, 'grounds')).toBe(fields.grounds);
    const filing = { notice, standing: 'isp', grounds: 'Over' };
    expect((await rig.send('POST /v1/appeals', filing, { address })).status).toBe(429);
    expectPage(await post('/appeal', fields, { address: '198.51.100.8' }), 201);
  });

  it('keeps nothing when the server fails, and the text is still there', async () => {
    const [before, fields] = [await count(), good()];
    const fail = () => Promise.reject(new Error('disk full'));
    const page = expectPage(await instead(rig.services.events, 'emit', fail, () => post('/appeal', fields)), 500);
    expect(alertOf(page)).toContain(say('en', 'unavailable'));
    expect(areaOf(page, 'grounds')).toBe(fields.grounds);
    expect(page).not.toContain('disk full');
    expect([await count(), rig.faults.splice(0).length]).toEqual([before, 1]);
    // Nothing was kept under the key either: sent again it is filed.
    expectPage(await post('/appeal', fields), 201);
  });

  it('in another language only shows the form again, with the text and a key of its own', async () => {
    const [before, fields] = [await count(), good({ entries: 'a.example', contact: 'x', grounds: '' })];
    const page = expectPage(await post('/appeal/form', { ...fields, lang: 'ta' }), 200, 'ta');
    expect([areaOf(page, 'entries'), inputOf(page, 'contact')]).toEqual(['a.example', 'x']);
    expect(inputOf(page, 'language')).toBe('ta');
    expect(inputOf(page, 'key')).not.toBe(fields.key);
    expect(alertOf(page)).toBe('');
    expect(page).toContain('formaction="/appeal/form" formnovalidate name="lang" value="zh"');
    expect(await count()).toBe(before);
    expectPage(await rig.send('GET /appeal/form?lang=en'), 200);
  });

  it('shows any text as text', async () => {
    const plain = good({ lang: 'en', notice: 'none', entries: 'x', contact: 'x' });
    const expected = (await post('/appeal/form', plain)).text;
    const odd = fc.oneof(
      fc.constantFrom(
        '"><script>alert(1)</script>',
        "' onfocus=alert(1) x='",
        '</textarea><b>',
        '</style>',
        '&lt;b&gt;',
        '{{title}}$t(full)',
        '<!--',
        ']]>',
        '\u2028',
      ),
      fc.string({ unit: 'binary', maxLength: 40 }),
    );
    const filled = odd.map((text) => `x${text.replaceAll('\r', '')}`);
    await fc.assert(
      fc.asyncProperty(filled, filled, filled, async (one, entries, grounds) => {
        const fields = good({ notice: `none${one.slice(0, 100)}`, entries, grounds, contact: 'x', website: '' });
        const { status, text: page } = await post('/appeal/form', { ...fields, lang: 'en' });
        // What does not show is a fault, which adds to the page.
        expect(status).toBe([one.slice(0, 100), entries, grounds].some(hasHidden) ? 400 : 200);
        if (status === 200) expect(tagsOf(page)).toBe(tagsOf(expected));
        const shown = (text: string) => unescapeHtml(escapeText(text.toWellFormed()));
        expect(areaOf(page, 'grounds')).toBe(shown(grounds));
        expect(areaOf(page, 'entries')).toBe(shown(entries));
        const refused = (await post('/appeal', fields)).text;
        expect(areaOf(refused, 'grounds')).toBe(shown(grounds));
        expect(refused).not.toMatch(/<script|<b>/);
      }),
      { numRuns: 40 },
    );
  });
});

describe('following an appeal', () => {
  // One notice takes no more than 50 of a standing.
  let notice: string;
  beforeAll(async () => {
    notice = await rig.notice(['a.example', { subtree: 'wide.example' }], { reference: 'MCMC/2026/0002' });
  });

  const look = (reference: string, secret: string, changes: Record<string, string> = {}) =>
    post('/appeal/status', { language: 'en', reference, secret, ...changes });
  const act = (what: 'message' | 'withdraw', fields: Record<string, string>, options: Options = {}) =>
    post(`/appeal/${what}`, { language: 'en', key: `key-of-this-form-${++filings}`, ...fields }, options);

  it.each(LANGUAGES)('starts with a form: %s', async (language) => {
    for (const path of ['status', 'message', 'withdraw']) {
      const page = expectPage(await rig.send(`GET /appeal/${path}?lang=${language}`), 200, language);
      expect(textOf(page)).toContain(say(language, 'statusLead'));
      expect(page).toContain('<form method="post" action="/appeal/status">');
    }
  });

  it.each(LANGUAGES)('shows to its appellant all that is hers, and what she can do: %s', async (language) => {
    const grounds = `Mine alone ${language}.\n<b>Bold</b>`;
    const filed = await rig.file(notice, { grounds, contact: 'ana@example.org', entries: ['www.wide.example'] });
    const { reference, secret } = filed;
    await rig.act(reference, 'messages', { text: 'For her.' }, 'clerk');
    await rig.act(reference, 'messages', { text: 'Among ourselves.', audience: 'staff' }, 'clerk');
    await rig.act(reference, 'acknowledge', { note: 'It is here.' }, 'clerk');
    await rig.act(reference, 'assess', {});
    const sent = { reference: ` ${reference.toLowerCase()} `, secret: `${secret}\n`, language };
    const page = expectPage(await post('/appeal/status', sent), 200, language);
    const keys: TextKey[] = [
      'stateAssessed',
      'asOwner',
      'eventFiled',
      'eventAssessed',
      'messageHeading',
      'withdrawLead',
    ];
    const said = [
      ...[reference, 'MCMC/2026/0002', 'wide.example', 'ana@example.org', 'For her.', 'It is here.', '<b>Bold</b>'],
      ...keys.map((key) => say(language, key)),
      say(language, 'clockDue', { time: wordInstant((await rig.appeal(reference)).decideBySeconds, language) }),
    ];
    for (const part of said) expect(textOf(page)).toContain(part);
    for (const part of ['Among ourselves.', 'reviewer', 'clerk', '<b>']) expect(page).not.toContain(part);
    expect(page).not.toMatch(new RegExp(`(?:href|action)="[^"]*(?:${secret}|${reference})`));
    expect(Buffer.byteLength(page)).toBeLessThan(30_000);
  });

  it('needs the secret of that appeal', async () => {
    const { reference, secret } = await rig.file(notice, { grounds: 'Nobody else reads this.' });
    const { secret: other } = await rig.file(notice);
    const cases: [string, string, number, string, TextKey][] = [
      [reference, other, 403, 'secret', 'faultSecretWrong'],
      [reference, secret.toUpperCase(), 403, 'secret', 'faultSecretWrong'],
      [reference, 'x'.repeat(101), 400, 'secret', 'faultSecretWrong'],
      [reference, ' ', 400, 'secret', 'faultSecretMissing'],
      ['', secret, 400, 'reference', 'faultReferenceMissing'],
      ['A-00000-00000', secret, 404, 'reference', 'faultReferenceUnknown'],
      ['A'.repeat(41), secret, 400, 'reference', 'faultReferenceUnknown'],
      ['../../x', secret, 404, 'reference', 'faultReferenceUnknown'],
    ];
    for (const [asked, given, status, field, key] of cases) {
      for (const [path, more] of [
        ['status', {}],
        ['message', { text: 'x' }],
        ['withdraw', { confirm: 'yes' }],
      ] as const) {
        const sent = { language: 'en', reference: asked, secret: given, ...more };
        const page = expectPage(await post(`/appeal/${path}`, sent), status);
        expect(faultOf(page, field), `${path} ${asked} ${given}`).toBe(say('en', key));
        expect(page).not.toContain('Nobody else');
      }
    }
    expect((await rig.appeal(reference)).state).toBe('filed');
  });

  it('takes a message once, however often its form is sent', async () => {
    const { reference, secret } = await rig.file(notice);
    const fields = { reference, secret, text: 'One more thing.\r\nAnd another.', key: 'key-of-one-message' };
    const pages = [await act('message', fields), await act('message', fields)];
    expect(expectPage(pages[0]!, 200)).toBe(pages[1]!.text);
    expect(textOf(pages[0]!.text)).toContain(say('en', 'messageSent'));
    const staff = await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'clerk' });
    const messages = staff.body.events.filter(({ kind }: { kind: string }) => kind === 'message');
    expect(messages).toMatchObject([{ by: 'appellant', message: 'One more thing.\nAnd another.' }]);
    const trail = await rig.read(({ audit }) => audit.list({ subject: `appeals/${reference}/messages`, limit: 5 }));
    expect(trail).toMatchObject([{ actor: 'public', action: 'POST /appeal/message' }]);
    expect((await rig.send(`GET /v1/appeals/${reference}`)).text).not.toContain('One more');
  });

  it.each<[string, TextKey, Record<string, string>?]>([
    [' ', 'faultMessageMissing'],
    ['x'.repeat(4001), 'faultLong', { max: '4,000' }],
    ['a\u0007b', 'faultHidden', { mark: '\ufffd' }],
  ])('refuses a message and keeps its text: %j', async (text, key, values) => {
    const { reference, secret } = await rig.file(notice);
    const page = expectPage(await act('message', { reference, secret, text }), 400);
    expect(faultOf(page, 'text')).toBe(say('en', key, values));
    expect(alertOf(page)).toContain(say('en', 'faultsMessage'));
    expect(areaOf(page, 'text')).toBe(text.replace('\u0007', '\ufffd'));
    expect(textOf(page)).toContain(say('en', 'appealTitle', { reference }));
  });

  it('lets nobody write for others than staff', async () => {
    const { reference, secret } = await rig.file(notice);
    const page = expectPage(await act('message', { reference, secret, text: 'x', audience: 'public' }), 400);
    expect(alertOf(page)).toContain(say('en', 'refused'));
  });

  it('says when an appeal takes no more messages', async () => {
    const { reference, secret } = await rig.file(notice);
    await rig.store.transaction(async ({ appealEvents }) => {
      for (let i = 0; i < MESSAGES_MAX; i++) {
        const event = { appealId: reference, atSeconds: rig.now, actor: 'appellant', note: null, privateNote: 'x' };
        await appealEvents.insert({ ...event, id: `${reference}/x${i}`, kind: 'message' });
      }
    });
    const page = expectPage(await act('message', { reference, secret, text: 'One too many.' }), 429);
    expect(alertOf(page)).toContain(say('en', 'messagesFull'));
    expect(areaOf(page, 'text')).toBe('One too many.');
  });

  it('shares the limit of messages with the API', async () => {
    const { reference, secret } = await rig.file(notice);
    const [address, headers] = ['198.51.100.9', { 'appeal-secret': secret }];
    for (let i = 0; i < 30; i++) {
      await rig.send(`POST /v1/appeals/${reference}/messages`, { text: 'x' }, { headers, address });
      expect((await act('message', { reference, secret, text: 'x' }, { address })).status).toBe(200);
    }
    const page = expectPage(await act('message', { reference, secret, text: 'Kept.' }, { address }), 429);
    expect([alertOf(page), areaOf(page, 'text')]).toEqual([expect.stringContaining(say('en', 'limited')), 'Kept.']);
  });

  it('withdraws when it is confirmed, and once', async () => {
    const { reference, secret } = await rig.file(notice);
    const unsure = expectPage(await act('withdraw', { reference, secret, reason: 'Solved.' }), 400);
    expect([faultOf(unsure, 'confirm'), areaOf(unsure, 'reason')]).toEqual([say('en', 'faultConfirm'), 'Solved.']);
    const fields = { reference, secret, reason: '', confirm: 'yes', key: 'key-of-a-withdrawal' };
    const pages = [await act('withdraw', fields), await act('withdraw', fields)];
    expect(expectPage(pages[0]!, 200)).toBe(pages[1]!.text);
    expect(textOf(pages[0]!.text)).toContain(say('en', 'withdrawnNow'));
    expect((await look(reference, secret)).text).not.toMatch(/action="\/appeal\/(?:message|withdraw)"/);
    expect((await rig.appeal(reference)).state).toBe('withdrawn');
    const late = expectPage(await act('withdraw', { ...fields, key: 'key-of-another-one' }), 409);
    expect(alertOf(late)).toContain(say('en', 'stateChanged'));
    expect(alertOf(expectPage(await act('message', { reference, secret, text: 'x' }), 409))).toContain(
      say('en', 'faultsMessage'),
    );
  });

  it.each([
    ['upheld', {}, 'outcomeUpheld'],
    ['overturned', { whole: true }, 'outcomeOverturned'],
    ['varied', { cure: 'Clean it.' }, 'outcomeVaried'],
    ['rejected', {}, 'outcomeRejected'],
  ] as const)('shows the decision: %s', async (outcome, terms, key) => {
    const { reference, secret } = await rig.bring(notice, 'assessed');
    await rig.act(reference, 'decide', { outcome, reasons: 'Because.', ...terms });
    const text = textOf(expectPage(await look(reference, secret), 200));
    expect(text).toContain(`${say('en', 'outcome')} ${say('en', key)} ${say('en', 'reasons')} Because.`);
    expect(text.includes(say('en', 'actRevocation'))).toBe(outcome === 'overturned');
    expect(text.includes('Clean it.')).toBe(outcome === 'varied');
    expect(text).toContain(say('en', 'messageHeading'));
    expect(text).not.toContain(say('en', 'withdrawHeading'));
  });

  it('says that what was personal is erased, and offers nothing then', async () => {
    const { reference, secret } = await rig.bring(notice, 'decided', { contact: 'ana@example.org' });
    const erased = { grounds: '', contact: null, language: null, eraseAfterSeconds: null };
    await rig.store.transaction(({ appeals }) => appeals.update(reference, erased));
    const page = expectPage(await look(reference, secret), 200);
    expect(textOf(page)).toContain(say('en', 'erased'));
    expect(page).not.toMatch(/action="\/appeal\/(?:message|withdraw)"/);
  });

  it('marks what is late and what was missed', async () => {
    const old = await rig.notice(['old.example'], { reference: 'OLD/1' });
    rig.pass(31 * DAY);
    expect(textOf((await rig.send('GET /appeal?lang=en&notice=OLD/1')).text)).toContain(say('en', 'noticeLate'));
    const { reference, secret } = await rig.file(old);
    rig.pass(15 * DAY);
    const text = textOf(expectPage(await look(reference, secret), 200));
    expect(text).toContain(say('en', 'late'));
    expect(text.split(say('en', 'clockMissed'))).toHaveLength(4);
  });

  it('switches the language without an address that tells anything', async () => {
    const { reference, secret } = await rig.file(notice);
    const page = expectPage(await look(reference, secret), 200);
    expect(page).toContain('<button form="look" formaction="/appeal/status" formnovalidate name="lang" value="ta"');
    expectPage(await look(reference, secret, { lang: 'ta' }), 200, 'ta');
  });

  it('changes nothing in the store', async () => {
    const { reference, secret } = await rig.file(notice);
    const sequence = () => rig.read(async ({ audit }) => (await audit.head())?.sequence);
    const before = await sequence();
    expectPage(await look(reference, secret), 200);
    expect(await sequence()).toBe(before);
  });
});
