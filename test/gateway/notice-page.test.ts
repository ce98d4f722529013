import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RenderNotice } from '../../src/gateway/notice-answer.ts';
import { describeAddress } from '../../src/gateway/notice-page/blocked-address.ts';
import { composeLanguageQuery, splitLanguageQuery } from '../../src/gateway/notice-page/language-switch.ts';
import { chooseMediaType } from '../../src/gateway/notice-page/media-type-choice.ts';
import { type NoticePageOptions, renderNotice, renderNoticePage } from '../../src/gateway/notice-page/notice-page.ts';
import { createNoticeRenderer } from '../../src/gateway/notice-page/notice-renderer.ts';
import { TEXTS, type TextKey } from '../../src/gateway/notice-page/page-text.ts';
import { toLink } from '../../src/gateway/notice-page/shown-text.ts';
import { nextWording, wordDistance } from '../../src/gateway/notice-page/time-wording.ts';
import type { NoticeDetails } from '../../src/gateway/url-rules.ts';
import { chooseLanguage, LANGUAGE_NAMES, LANGUAGE_TAGS, LANGUAGES } from '../../src/pages/language.ts';
import { escapeHtml, toPrintable } from '../../src/pages/safe-text.ts';
import { wordInstant } from '../../src/pages/time-wording.ts';
import { BLOCKED_URL, LONGEST_NOTICE, NOTICE, NOW_SECONDS, SETTINGS } from './notice-page-samples.ts';

const OPTIONS: NoticePageOptions = { ...SETTINGS, nowSeconds: NOW_SECONDS };

/** The page's text, tags and style taken out and references resolved. */
function textOf(html: string): string {
  return unescapeHtml(html.replace(/<style>.*?<\/style>/s, '').replace(/<[^>]*>/g, ''));
}

const REFERENCES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };

function unescapeHtml(html: string): string {
  return html.replace(/&(?:lt|gt|quot|amp|#39);/g, (reference) => REFERENCES[reference]!);
}

/** Every `href` of a page. */
function linksOf(html: string): string[] {
  return [...html.matchAll(/ href="([^"]*)"/g)].map((match) => unescapeHtml(match[1]!));
}

/** A text of one language, which must not have placeholders left. */
function textFor(language: (typeof LANGUAGES)[number], key: TextKey, values: Record<string, string> = {}): string {
  return TEXTS[language][key].replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name]!);
}

describe('the texts', () => {
  const placeholders = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1]!).sort();

  it.each(LANGUAGES)('of %s have exactly the keys and placeholders of English', (language) => {
    expect(Object.keys(TEXTS[language])).toEqual(Object.keys(TEXTS.en));
    for (const key of Object.keys(TEXTS.en) as TextKey[]) {
      expect(placeholders(TEXTS[language][key]), key).toEqual(placeholders(TEXTS.en[key]));
      expect(TEXTS[language][key].trim(), key).not.toBe('');
    }
  });

  it('are written in the script of their language, and no two languages share a sentence', () => {
    const scripts = {
      ms: /\p{Script=Latin}/u,
      en: /\p{Script=Latin}/u,
      zh: /\p{Script=Han}/u,
      ta: /\p{Script=Tamil}/u,
    };
    for (const language of LANGUAGES) {
      for (const [key, text] of Object.entries(TEXTS[language])) {
        if (key === 'colon') continue;
        const words = text.replace(/\{\{\w+\}\}/g, '');
        expect(words, `${language} ${key}`).toMatch(scripts[language]);
        if (language === 'zh' || language === 'ta') expect(words, `${language} ${key}`).not.toMatch(/[A-Za-z]/);
      }
    }
    for (const key of ['lead', 'reason', 'appeal', 'about', 'privacy', 'blockedSealed'] as const) {
      expect(new Set(LANGUAGES.map((language) => TEXTS[language][key])).size).toBe(4);
    }
  });
});

describe.each(LANGUAGES)('the page in %s', (language) => {
  const options = { ...OPTIONS, language, blockedName: BLOCKED_URL };
  const { html, ...rest } = renderNoticePage(NOTICE, options);
  const text = textOf(html);

  it('says all there is to say', () => {
    const { reference, authority } = NOTICE;
    const { operator } = SETTINGS;
    const said = [
      textFor(language, 'title', { reference }),
      textFor(language, 'heading'),
      textFor(language, 'lead', { authority, operator }),
      'http://例子.测试/win/bonus?id=5',
      BLOCKED_URL,
      textFor(language, 'from'),
      wordInstant(NOTICE.fromSeconds, language),
      textFor(language, 'end'),
      wordInstant(NOTICE.endSeconds!, language),
      wordDistance(NOTICE.endSeconds!, NOW_SECONDS, language),
      textFor(language, 'review'),
      wordInstant(NOTICE.reviewBySeconds!, language),
      NOTICE.instrument,
      NOTICE.section,
      SETTINGS.categoryTitles['online-scams']![language]!,
      textFor(language, 'appeal', { reference }),
      textFor(language, 'appealForm'),
      '+60-3-8688-8000',
      'appeals@mcmc.example',
      ...SETTINGS.help[language]!.map(({ title }) => title),
      textFor(language, 'about', { operator }),
      textFor(language, 'privacy'),
      ...Object.values(LANGUAGE_NAMES),
    ];
    for (const part of said) expect(text).toContain(part);
    expect(text).not.toContain('{{');
    expect(text).not.toContain('undefined');
  });

  it('has times for programs', () => {
    const instants = [...html.matchAll(/<time datetime="([^"]*)">/g)].map((match) => match[1]);
    expect(instants).toEqual(['2026-10-01T01:00:00Z', '2027-01-15T08:00:00Z', '2026-12-05T16:30:00Z']);
  });

  it('links to the other languages, the appeal, the contacts and help, and nowhere else', () => {
    expect(linksOf(html)).toEqual([
      ...LANGUAGES.map((other) => `?warta-lang=${other}`),
      NOTICE.appealUrl,
      ...NOTICE.contacts,
      ...SETTINGS.help[language]!.map(({ url }) => url),
    ]);
    expect(html).toContain(
      `lang="${LANGUAGE_TAGS[language]}" hreflang="${LANGUAGE_TAGS[language]}" aria-current="true"`,
    );
    expect(html.match(/ aria-current=/g)).toHaveLength(1);
  });

  it('names its language', () => {
    expect(html).toMatch(new RegExp(`^<!DOCTYPE html>\n<html lang="${LANGUAGE_TAGS[language]}" dir="ltr">`));
    expect(rest.language).toBe(language);
    expect(rest.headers['content-language']).toBe(LANGUAGE_TAGS[language]);
  });

  it('does without what a notice may lack', () => {
    const { endSeconds, reviewBySeconds, appealUrl, ...bare } = NOTICE;
    const page = renderNoticePage({ ...bare, contacts: [], section: '' }, { ...OPTIONS, language, help: {} });
    const shown = textOf(page.html);
    expect(shown).toContain(textFor(language, 'untilRevoked'));
    expect(shown).toContain(textFor(language, 'blockedUnnamed'));
    expect(shown).toContain(textFor(language, 'noContacts', { authority: NOTICE.authority }));
    for (const key of ['review', 'section', 'appealForm', 'contacts', 'helpHeading'] as const) {
      expect(shown, key).not.toContain(textFor(language, key));
    }
    expect(shown).not.toMatch(/undefined|NaN|Invalid/);
    expect(linksOf(page.html)).toEqual(LANGUAGES.map((other) => `?warta-lang=${other}`));
    expect(page.freshUntilSeconds).toBe(Infinity);
  });

  it('says who to ask only when there is nobody else to turn to', () => {
    const nobody = textFor(language, 'noContacts', { authority: NOTICE.authority });
    expect(text).not.toContain(nobody);
    expect(textOf(renderNoticePage({ ...NOTICE, contacts: [] }, options).html)).not.toContain(nobody);
    expect(textOf(renderNoticePage({ ...NOTICE, appealUrl: undefined }, options).html)).not.toContain(nobody);
  });

  it('names nothing under a sealed notice, in no form', () => {
    const sealed: NoticeDetails = { ...NOTICE, sealed: true, category: 'csam' };
    for (const accept of ['text/html', 'text/plain', 'application/json']) {
      const { body } = renderNotice(sealed, { ...options, query: 'id=5', accept });
      expect(body).not.toMatch(/xn--|例子|bonus|id=5/);
      expect(body).toContain(SETTINGS.categoryTitles.csam![language]);
    }
    expect(textOf(renderNoticePage(sealed, options).html)).toContain(textFor(language, 'blockedSealed'));
    expect(linksOf(renderNoticePage(sealed, options).html)[0]).toBe('?warta-lang=ms');
    expect(renderNoticePage(sealed, { ...options, query: 'id=5' }).html).not.toContain('?warta-lang=');
  });

  it('stays under 30 kB with the longest texts', () => {
    const help = {
      [language]: Array.from({ length: 8 }, () => ({
        title: 'உ&'.repeat(50),
        url: `https://h.example/?${'a=1&'.repeat(50)}`,
      })),
    };
    const categoryTitles = { 'online-scams': { [language]: 'ச'.repeat(200) } };
    const longest = { ...OPTIONS, help, categoryTitles, language, operator: 'Syarikat Telekomunikasi '.repeat(8) };
    const blockedName = `http://${'ö'.repeat(40)}.example/${'&'.repeat(2000)}`;
    const page = renderNoticePage(LONGEST_NOTICE, { ...longest, blockedName, query: 'x=1&'.repeat(100) });
    const sizeBytes = Buffer.byteLength(page.html);
    expect(sizeBytes).toBeLessThan(30_000);
    expect(sizeBytes).toBeGreaterThan(Buffer.byteLength(html));
  });
});

describe('the headers', () => {
  const { html, headers } = renderNoticePage(NOTICE, OPTIONS);

  it('admit the one style sheet by its hash and nothing else', () => {
    const styles = [...html.matchAll(/<style>(.*?)<\/style>/gs)].map((match) => match[1]!);
    expect(styles).toHaveLength(1);
    const digest = createHash('sha256').update(styles[0]!).digest('base64');
    expect(headers['content-security-policy']).toBe(
      `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    );
    expect(html).not.toMatch(/ style=| on\w+=|<script|<link|<img|<iframe|url\(|@import/i);
  });

  it('are those of a page that is nobody else’s', () => {
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      vary: 'Accept, Accept-Language',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
    });
    expect(Object.keys(headers).every((name) => name === name.toLowerCase())).toBe(true);
  });
});

describe('chooseLanguage', () => {
  it.each([
    [undefined, 'ms'],
    ['', 'ms'],
    ['*', 'ms'],
    ['en', 'en'],
    ['EN-gb', 'en'],
    ['ms-MY,ms;q=0.9,en;q=0.8', 'ms'],
    ['fr-FR, ta-IN;q=0.8, en;q=0.7', 'ta'],
    ['en;q=0.5, ta;q=0.9', 'ta'],
    ['en;q=0.5,zh ; q=0.50', 'en'],
    ['zh-CN', 'zh'],
    ['zh-Hant-TW', 'zh'],
    ['zh-HK;q=0.9, en;q=0.8', 'zh'],
    ['yue', 'zh'],
    ['cmn-Hans-MY', 'zh'],
    ['id-ID,en;q=0.5', 'ms'],
    ['in', 'ms'],
    ['zsm', 'ms'],
    ['fr, de', 'ms'],
    ['fr, *;q=0.5', 'ms'],
    ['ms;q=0, fr', 'en'],
    ['ms;q=0, en;q=0, *', 'zh'],
    ['ms;q=0, en;q=0, zh;q=0, ta;q=0', 'ms'],
    ['en;q=0, en-GB', 'en'],
    ['en;q=2, ta', 'ta'],
    ['en;q=abc, ta;q=0.1', 'ta'],
    ['en;q=0.1234, ta;q=0.1', 'ta'],
    ['enx', 'ms'],
    ['constructor, __proto__, toString', 'ms'],
    [',;,;q=,=', 'ms'],
  ])('reads %j as %s', (header, language) => {
    expect(chooseLanguage(header)).toBe(language);
  });

  it.each([
    ['zh', 'zh'],
    ['zh-Hant', 'zh'],
    ['TA', 'ta'],
    ['xx', 'en'],
    ['', 'en'],
    ['"><script>', 'en'],
  ])('takes the switch’s %j before the header', (chosen, language) => {
    expect(chooseLanguage('en', chosen)).toBe(language);
  });

  it('reads no more of a header than browsers send', () => {
    expect(chooseLanguage(`${'x,'.repeat(400)}en`)).toBe('en');
    expect(chooseLanguage(`${'x,'.repeat(100_000)}en`)).toBe('ms');
  });

  it('returns a language whatever it is given', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (header, chosen) => {
        expect(LANGUAGES).toContain(chooseLanguage(header, chosen));
      }),
    );
  });
});

describe('the switch', () => {
  const language = fc.constantFrom(...LANGUAGES);

  it('keeps the query of the request, which splitLanguageQuery gives back', () => {
    expect(composeLanguageQuery('', 'ta')).toBe('warta-lang=ta');
    expect(composeLanguageQuery('id=5&x', 'ta')).toBe('id=5&x&warta-lang=ta');
    expect(composeLanguageQuery('warta-lang=en', 'ta')).toBe('warta-lang=en&warta-lang=ta');
    expect(composeLanguageQuery('x'.repeat(401), 'ta')).toBeUndefined();
    fc.assert(
      fc.property(fc.webQueryParameters({ size: 'xsmall' }), language, (query, chosen) => {
        const normal = new URL(`http://host/?${query}`).search.slice(1);
        expect(splitLanguageQuery(composeLanguageQuery(query, chosen)!)).toEqual({ query: normal, language: chosen });
      }),
    );
  });

  it.each([
    '',
    'id=5',
    'warta-lang=fr',
    'warta-lang=',
    'warta-lang=ms&id=5',
    'xwarta-lang=ms',
    'lang=ms',
    'warta-lang=MS',
    'warta-lang=ms#',
  ])('leaves the query %j alone', (query) => {
    expect(splitLanguageQuery(query)).toEqual({ query });
  });

  it('resolves against any address to the same page in that language', () => {
    const { html } = renderNoticePage(NOTICE, { ...OPTIONS, query: 'id=5&t=a%20b' });
    const base = 'http://bad.example/win/page?id=5&t=a%20b';
    expect(
      linksOf(html)
        .slice(0, 4)
        .map((link) => new URL(link, base).href),
    ).toEqual(LANGUAGES.map((other) => `${base}&warta-lang=${other}`));
  });

  it('is left out when the query is too long to repeat', () => {
    const { html } = renderNoticePage(NOTICE, { ...OPTIONS, query: 'x'.repeat(401) });
    expect(html).not.toContain('<nav');
    expect(Buffer.byteLength(html)).toBeLessThan(30_000);
  });
});

describe('chooseMediaType', () => {
  it.each([
    [undefined, 'text/html'],
    ['', 'text/html'],
    ['*/*', 'text/html'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8', 'text/html'],
    ['text/plain', 'text/plain'],
    ['text/*', 'text/html'],
    ['application/json', 'application/json'],
    ['application/problem+json', 'application/problem+json'],
    ['application/json, text/plain, */*', 'application/json'],
    ['application/*', 'application/json'],
    ['text/plain, text/html;q=0.5', 'text/plain'],
    ['text/html;q=0, */*', 'text/plain'],
    ['text/html;q=0, text/plain;q=0, */*;q=0.1', 'application/json'],
    ['Application/JSON; charset=utf-8', 'application/json'],
    ['image/png', 'text/html'],
    ['*/*;q=0', 'text/html'],
  ])('reads %j as %s', (accept, mediaType) => {
    expect(chooseMediaType(accept)).toBe(mediaType);
  });
});

describe('the page for programs', () => {
  it.each(LANGUAGES)('says the same in %s as plain text', (language) => {
    const options = { ...OPTIONS, language, blockedName: BLOCKED_URL };
    const { body, headers } = renderNotice(NOTICE, { ...options, accept: 'text/plain' });
    expect(headers['content-type']).toBe('text/plain; charset=utf-8');
    const { html } = renderNoticePage(NOTICE, options);
    const main = html
      .slice(html.indexOf('<main>'))
      .replace('<p>HTTP 451</p>', '')
      .replace(/<\/?(?:time|bdi|span|a)\b[^>]*>/g, '');
    const lines = main
      .split(/<[^>]*>|\n/)
      .map((line) => unescapeHtml(line).replace(/ \(.*\)$/, ''))
      .filter((line) => line.trim() !== '');
    expect(lines.length).toBeGreaterThan(35);
    for (const line of lines) expect(body).toContain(line.trim());
    for (const { url } of SETTINGS.help[language]!) expect(body).toContain(url);
    expect(body).toContain('2027-01-15T08:00:00Z');
    expect(body).not.toContain('{{');
  });

  it('says the same as a problem in JSON', () => {
    const options = { ...OPTIONS, language: 'en', blockedName: BLOCKED_URL, accept: 'application/problem+json' };
    const { body, headers } = renderNotice(NOTICE, options);
    expect(headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(body)).toEqual({
      type: 'about:blank',
      title: 'Unavailable For Legal Reasons',
      status: 451,
      detail: textFor('en', 'lead', { authority: NOTICE.authority, operator: SETTINGS.operator }),
      language: 'en',
      blocked: { url: BLOCKED_URL, shown: 'http://例子.测试/win/bonus?id=5' },
      notice: {
        reference: NOTICE.reference,
        authority: NOTICE.authority,
        instrument: NOTICE.instrument,
        section: NOTICE.section,
        category: { id: 'online-scams', title: SETTINGS.categoryTitles['online-scams']!.en },
        sealed: false,
        from: '2026-10-01T01:00:00Z',
        until: '2027-01-15T08:00:00Z',
        untilRevoked: false,
        reviewBy: '2026-12-05T16:30:00Z',
      },
      appeal: { text: textFor('en', 'appeal', NOTICE as never), form: NOTICE.appealUrl, contacts: NOTICE.contacts },
      help: SETTINGS.help.en,
      operator: SETTINGS.operator,
      privacy: textFor('en', 'privacy'),
    });
  });

  it('leaves out of the JSON what there is not', () => {
    const { endSeconds, reviewBySeconds, appealUrl, ...bare } = NOTICE;
    const { body } = renderNotice(
      { ...bare, sealed: true },
      { ...OPTIONS, accept: 'application/json', blockedName: 'bad.example' },
    );
    const problem = JSON.parse(body);
    expect(problem).not.toHaveProperty('blocked');
    expect(problem.appeal).not.toHaveProperty('form');
    expect(problem.notice).toMatchObject({ sealed: true, untilRevoked: true });
    expect(problem.notice).not.toHaveProperty('until');
    expect(problem.notice).not.toHaveProperty('reviewBy');
  });
});

describe('createNoticeRenderer', () => {
  const request = { blocked: BLOCKED_URL, acceptLanguage: 'zh-CN', accept: 'text/html' };
  const render = createNoticeRenderer(SETTINGS, () => NOW_SECONDS);

  it('makes the same page for the listener', () => {
    const forListener: RenderNotice = render;
    const { html, headers } = renderNoticePage(NOTICE, { ...OPTIONS, language: 'zh', blockedName: BLOCKED_URL });
    const page = forListener(NOTICE, request);
    expect(page).toMatchObject({ html, contentType: headers['content-type'], language: 'zh-Hans', vary: headers.vary });
    const others = Object.entries(headers).filter(([name]) => !/^(?:content-(?:type|language)|vary)$/.test(name));
    expect(page.headers).toEqual(others.flat());
    expect(others).toHaveLength(5);
  });

  it('follows the switch, Accept and the clock', () => {
    const page = render(NOTICE, { ...request, accept: 'text/plain', language: 'ta', query: 'id=5' });
    expect(page.html).toContain(`== ${TEXTS.ta.heading} ==`);
    expect(page.contentType).toBe('text/plain; charset=utf-8');
    expect(linksOf(render(NOTICE, { ...request, query: 'id=5' }).html)).toContain('?id=5&warta-lang=ta');
    expect(page.freshUntilSeconds).toBeGreaterThan(NOW_SECONDS);
    expect(page.freshUntilSeconds).toBeLessThanOrEqual(NOW_SECONDS + 86_401);
  });
});

describe('describeAddress', () => {
  it.each([
    ['bad.example', { kind: 'name', shown: 'bad.example' }],
    ['xn--fsqu00a.xn--0zwm56d', { kind: 'name', shown: '例子.测试', ascii: 'xn--fsqu00a.xn--0zwm56d' }],
    ['例子.测试', { kind: 'name', shown: '例子.测试', ascii: 'xn--fsqu00a.xn--0zwm56d' }],
    ['xn--zzzzzzzzz99999.example', { kind: 'name', shown: 'xn--zzzzzzzzz99999.example' }],
    ['http://bad.example/a?b=c', { kind: 'url', shown: 'http://bad.example/a?b=c' }],
    [BLOCKED_URL, { kind: 'url', shown: 'http://例子.测试/win/bonus?id=5', ascii: BLOCKED_URL }],
    [
      'https://xn--fsqu00a.xn--0zwm56d:8443/',
      { kind: 'url', shown: 'https://例子.测试:8443/', ascii: 'https://xn--fsqu00a.xn--0zwm56d:8443/' },
    ],
    ['http://[bad', { kind: 'url', shown: 'http://[bad' }],
    ['a\u202eb\n<c>', { kind: 'name', shown: 'a\ufffdb\ufffd<c>' }],
  ])('shows %j', (blocked, shown) => {
    expect(describeAddress(blocked)).toEqual(shown);
  });

  it('cuts what would not fit a page', () => {
    const { shown } = describeAddress(`http://bad.example/${'a'.repeat(9000)}`);
    expect(shown).toMatch(/a…$/);
    expect(shown).toHaveLength(251);
  });
});

describe('toLink', () => {
  it.each(['https://a.example/x?y=1&z=2', 'http://a.example/', 'tel:+60-3-1', 'mailto:a@b.example?subject=x'])(
    'lets %s pass',
    (url) => {
      expect(toLink(url)).toBe(url);
    },
  );

  it.each([
    'javascript:alert(1)',
    ' JaVaScRiPt:alert(1)',
    'java\nscript:alert(1)',
    'data:text/html,<script>',
    'vbscript:x',
    'file:///etc/passwd',
    'blob:https://a.example/x',
    'intent://x#Intent;end',
    'https://mcmc.gov.my@evil.example/',
    'https://:secret@evil.example/',
    '//evil.example/',
    '/path',
    '?warta-lang=ms',
    'https://',
    '',
    undefined,
  ])('refuses %j', (url) => {
    expect(toLink(url)).toBeUndefined();
  });
});

describe('wording of times', () => {
  it.each([
    [12 * 86_400, 'in 12 days'],
    [2 * 86_400, 'in 2 days'],
    [2 * 86_400 - 1, 'in 47 hours'],
    [7200, 'in 2 hours'],
    [7199, 'in 119 minutes'],
    [60, 'in 1 minute'],
    [1, 'in 1 minute'],
    [-1, '1 minute ago'],
    [-3 * 86_400, '3 days ago'],
  ])('%d seconds off is %j', (off, text) => {
    expect(wordDistance(NOW_SECONDS + off, NOW_SECONDS, 'en')).toBe(text);
  });

  it('is Malaysia’s time, named in each language', () => {
    const seconds = Date.UTC(2026, 11, 31, 17) / 1000;
    expect(wordInstant(seconds, 'en')).toMatch(/^1 January 2027 .*Malaysia Time$/);
    expect(wordInstant(seconds, 'ms')).toMatch(/^1 Januari 2027 .*Waktu Malaysia$/);
    expect(wordInstant(seconds, 'zh')).toMatch(/^2027年1月1日.*马来西亚时间/);
    expect(wordInstant(seconds, 'ta')).toMatch(/^1 ஜனவரி, 2027 .*மலேஷிய நேரம்$/);
  });

  it('stays true until nextWording, and only so long', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -400_000, max: 400_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (off, part) => {
          const seconds = NOW_SECONDS + off;
          const next = nextWording(seconds, NOW_SECONDS);
          expect(next).toBeGreaterThan(NOW_SECONDS);
          const between = NOW_SECONDS + Math.floor(part * (next - 1 - NOW_SECONDS));
          const wording = wordDistance(seconds, NOW_SECONDS, 'en');
          expect(wordDistance(seconds, between, 'en')).toBe(wording);
          // From two minutes down to one before, and up to two after, it is "1 minute" on either side.
          if (Math.abs(off) > 180) expect(wordDistance(seconds, next, 'en')).not.toBe(wording);
        },
      ),
    );
  });
});

describe('what is kept of earlier pages', () => {
  const page = (notice: NoticeDetails, options: Partial<NoticePageOptions> = {}) =>
    renderNoticePage(notice, { ...OPTIONS, language: 'en', ...options }).html;

  it('never shows in another notice, language, address, time or gateway', () => {
    const first = page(NOTICE, { blockedName: 'one.example' });
    expect(page(NOTICE, { blockedName: 'two.example' })).toContain('two.example');
    expect(page(NOTICE, { blockedName: 'two.example' })).not.toContain('one.example');
    expect(page({ ...NOTICE, reference: 'OTHER/1' })).not.toContain(NOTICE.reference);
    expect(page(NOTICE, { language: 'ms' })).toContain('Akses disekat');
    expect(page(NOTICE, { operator: 'Lain Net' })).toContain('Lain Net');
    expect(page(NOTICE, { help: {} })).not.toContain('National Scam');
    expect(page(NOTICE, { categoryTitles: {} })).toContain('<p class="category">online-scams</p>');
    expect(page(NOTICE, { nowSeconds: NOTICE.endSeconds! - 3 * 86_400 })).toContain('in 3 days');
    expect(page(NOTICE, { nowSeconds: NOW_SECONDS - 86_400 })).toContain('in 56 days');
    expect(page(NOTICE, { blockedName: 'one.example' })).toBe(first);
  });

  it('is the same as a page made anew, day after day', () => {
    for (let hours = 0; hours < 24 * 80; hours += 7) {
      const nowSeconds = NOW_SECONDS + hours * 3600;
      const { html, freshUntilSeconds } = renderNoticePage(NOTICE, { ...OPTIONS, nowSeconds });
      expect(html).toBe(renderNoticePage({ ...NOTICE }, { ...OPTIONS, nowSeconds }).html);
      expect(freshUntilSeconds).toBeGreaterThan(nowSeconds);
    }
  });
});

describe('what a pack lacks', () => {
  const page = (options: Partial<NoticePageOptions>, notice = NOTICE) =>
    renderNoticePage(notice, { ...OPTIONS, language: 'ta', ...options }).html;

  it('is taken from another language, and help says from which', () => {
    const { help, categoryTitles } = SETTINGS;
    expect(page({ help: { ms: help.ms! } })).toContain('<ul lang="ms">');
    expect(page({ help: { ta: [], en: help.en!, ms: help.ms! } })).toContain('<ul lang="en">');
    const { en, ms } = categoryTitles['online-scams']!;
    expect(page({ categoryTitles: { 'online-scams': { ms: ms!, en: en! } } })).toContain(en);
    expect(page({ categoryTitles: { 'online-scams': { ms: ms! } } })).toContain(ms);
  });

  it.each(['constructor', '__proto__', 'toString'])('does not find a category %s', (category) => {
    expect(page({}, { ...NOTICE, category })).toContain(`<p class="category">${category}</p>`);
  });
});

describe('hostile values', () => {
  const HOSTILE = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '</style><script>',
    '</title><svg/onload=alert(1)>',
    '<!--',
    ']]>',
    '&lt;b&gt;&amp;',
    '{{operator}}',
    '$t(heading)',
    '$t(lead, {"authority": "x"})',
    '$& $1 $`',
    '__proto__',
    'a\u202egpj.exe',
    'a\u0000b\r\nSet-Cookie: x=1',
    '\ud800',
    'javascript:alert(1)',
    'data:text/html,<script>alert(1)</script>',
    'https://evil.example/"><script>',
    'mailto:a"b<c>@d.example?subject="><script>',
    'tel:"onclick="alert(1)',
  ];
  const value = fc.oneof(
    fc.constantFrom(...HOSTILE),
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom('<', '>', '"', "'", '&', '=', '/', ' ', 'a', '$', '{', '}', '\u0000', '\u2028'),
    }),
    fc.tuple(fc.constantFrom(...HOSTILE), fc.constantFrom(...HOSTILE)).map((pair) => pair.join('')),
  );
  const notice: fc.Arbitrary<NoticeDetails> = fc.record(
    {
      reference: value,
      authority: value,
      instrument: value,
      section: value,
      category: value,
      sealed: fc.boolean(),
      fromSeconds: fc.integer({ min: 0, max: 4e9 }),
      endSeconds: fc.integer({ min: 0, max: 4e9 }),
      reviewBySeconds: fc.integer({ min: 0, max: 4e9 }),
      contacts: fc.array(value, { maxLength: 4 }),
      appealUrl: value,
    },
    {
      requiredKeys: [
        'reference',
        'authority',
        'instrument',
        'section',
        'category',
        'sealed',
        'fromSeconds',
        'contacts',
      ],
    },
  );
  const request = fc.record({
    language: fc.constantFrom(...LANGUAGES),
    operator: value,
    blockedName: value,
    query: value,
    help: fc.dictionary(
      fc.oneof(value, fc.constantFrom(...LANGUAGES)),
      fc.array(fc.record({ title: value, url: value }), { maxLength: 3 }),
    ),
  });

  /** Every tag the page may have, in the only spellings it may have; `#` stands for escaped text. */
  const TAGS = new RegExp(
    [
      '<!DOCTYPE html>',
      '<html lang="[a-zA-Z-]+" dir="ltr">',
      '<meta (?:charset="utf-8"|name="[a-z-]+" content="[a-z0-9=, -]+")>',
      '<a href="#" lang="[a-zA-Z-]+" hreflang="[a-zA-Z-]+"(?: aria-current="true")?>',
      '<a href="#"(?: class="form")? rel="noopener noreferrer">',
      '<nav aria-label="#">',
      '<ul lang="#">',
      '<time datetime="[0-9TZ:-]+">',
      '<p class="(?:lead|category)">',
      '<dd class="address(?: name)?">',
      '<span class="soft">',
      '<bdi translate="no">',
      '</?(?:html|head|title|style|body|header|nav|ul|li|a|main|h1|h2|p|dl|div|dt|dd|bdi|time|span|footer)>',
    ]
      .map((tag) => tag.replaceAll('#', '[^"<>]*'))
      .join('|'),
    'g',
  );

  it('make no tag, no attribute and no link but the page’s own', () => {
    fc.assert(
      fc.property(notice, request, (details, options) => {
        const { html } = renderNoticePage(details, { ...OPTIONS, categoryTitles: {}, ...options });
        const rest = html.replace(/<style>[^<]*<\/style>/, '').replace(TAGS, '');
        expect(rest).not.toMatch(/[<>"']/);
        expect(rest.replace(/&(?:amp|lt|gt|quot|#39);/g, '')).not.toContain('&');
        for (const link of linksOf(html)) expect(link).toMatch(/^(?:https?:\/\/[^/@]+(?:\/|$)|tel:|mailto:|\?)/);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
        expect(html).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/);
        expect(html.isWellFormed()).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('are shown as they are, but for characters that mislead', () => {
    fc.assert(
      fc.property(notice, request, (details, options) => {
        const { html } = renderNoticePage(details, { ...OPTIONS, categoryTitles: {}, ...options });
        const { language, operator } = options;
        const authority = toPrintable(details.authority);
        expect(html).toContain(`<p class="category">${escapeHtml(toPrintable(details.category))}</p>`);
        const lead = textFor(language, 'lead', { authority, operator: toPrintable(operator) });
        expect(html).toContain(`<p class="lead">${escapeHtml(lead)}</p>`);
        expect(unescapeHtml(escapeHtml(details.reference))).toBe(details.reference);
      }),
    );
  });

  it('make no lines in plain text and no members in JSON', () => {
    fc.assert(
      fc.property(notice, request, (details, options) => {
        const all = { ...OPTIONS, categoryTitles: {}, ...options };
        const { body } = renderNotice(details, { ...all, accept: 'text/plain' });
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
        expect(body).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/);
        const problem = JSON.parse(renderNotice(details, { ...all, accept: 'application/json' }).body);
        expect(problem.notice.reference).toBe(toPrintable(details.reference));
        expect(Object.hasOwn(problem, 'blocked')).toBe(!details.sealed && options.blockedName !== '');
      }),
    );
  });
});
