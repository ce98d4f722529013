import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eraseOldContacts } from '../../../src/control/appeals/erasure.ts';
import { AppealsRig, DAY } from './appeals-rig.ts';

let rig: AppealsRig;
let notice: string;
let sealed: string;

const SEALED_NAMES = ['secret.example', 'deep.hidden.example'];

beforeAll(async () => {
  rig = await AppealsRig.create();
  notice = await rig.notice(['a.example', 'b.example'], { reference: 'OPEN/1' });
  sealed = await rig.notice([SEALED_NAMES[0], { subtree: SEALED_NAMES[1] }, 'bücher.example'], {
    reference: 'SEALED/1',
    category: 'csam',
    sealed: true,
  });
});
afterAll(() => rig.close());

const withSecret = (secret: string) => ({ headers: { 'appeal-secret': secret } });

describe('the secret of an appeal', () => {
  it('opens the appellant’s view, and another opens none', async () => {
    const contact = 'ana@example.org';
    const { reference, secret } = await rig.file(notice, { grounds: 'Mine alone.', contact, language: 'ta' });
    const own = await rig.send(`GET /v1/appeals/${reference}`, undefined, withSecret(secret));
    expect(own.body).toMatchObject({ grounds: 'Mine alone.', contact, language: 'ta', late: false });
    expect(own.body.version).toBeUndefined();
    const { secret: other } = await rig.file(notice);
    for (const wrong of [other, '', secret.slice(1), `${secret}x`, secret.toUpperCase()]) {
      for (const [route, body] of [
        [`GET /v1/appeals/${reference}`, undefined],
        [`POST /v1/appeals/${reference}/messages`, { text: 'x' }],
        [`POST /v1/appeals/${reference}/withdraw`, {}],
      ] as const) {
        const answer = await rig.send(route, body, withSecret(wrong));
        expect([answer.status, answer.body.code]).toEqual([403, 'forbidden']);
        expect(answer.text).not.toContain('Mine');
      }
    }
    expect((await rig.appeal(reference)).state).toBe('filed');
  });

  it('is needed to write and to withdraw, and staff cannot withdraw', async () => {
    const { reference, secret } = await rig.file(notice);
    const post = (action: string, body: object, as?: string) =>
      rig.send(`POST /v1/appeals/${reference}/${action}`, body, { as });
    expect((await post('messages', { text: 'x' })).status).toBe(401);
    expect((await post('messages', { text: 'x' }, 'auditor')).status).toBe(401);
    expect((await post('messages', { text: 'x' }, 'stranger')).status).toBe(401);
    expect((await post('withdraw', {})).status).toBe(401);
    expect((await post('withdraw', {}, 'reviewer')).status).toBe(401);
    const gone = await rig.send(`POST /v1/appeals/${reference}/withdraw`, {}, withSecret(secret));
    expect([gone.status, gone.body.state]).toEqual([200, 'withdrawn']);
  });

  it('lets an appellant write for staff alone, whatever she asks for', async () => {
    const { reference, secret } = await rig.file(notice);
    for (const audience of ['public', 'staff']) {
      const text = { text: 'x', audience };
      const answer = await rig.send(`POST /v1/appeals/${reference}/messages`, text, withSecret(secret));
      expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    }
  });
});

/** Everything in an appeal that only some may see, each with a marker of its own. */
const marker = fc.stringMatching(/^[a-z]{12}$/);
const markers = fc.uniqueArray(marker, { minLength: 8, maxLength: 8 });

describe('what is private', () => {
  it('is in no public answer, event or list, whatever becomes of the appeal', async () => {
    await fc.assert(
      fc.asyncProperty(
        markers,
        fc.boolean(),
        fc.constantFrom('upheld', 'overturned', 'varied', 'withdrawn', 'open'),
        async (words, isSealed, end) => {
          const [contact, grounds, ownMessage, staffMessage, internal, reason, name] = words as string[];
          const filed = await rig.file(isSealed ? sealed : notice, {
            grounds: `Grounds ${grounds}`,
            contact: `${contact}@example.org`,
            ...(isSealed ? { entries: [SEALED_NAMES[0], `${name}.example`] } : {}),
          });
          const { reference, secret } = filed;
          const as = (who: string, body: object) => rig.act(reference, 'messages', body, who);
          await rig.send(`POST /v1/appeals/${reference}/messages`, { text: ownMessage }, withSecret(secret));
          await as('clerk', { text: staffMessage });
          await as('clerk', { text: internal, audience: 'staff' });
          await as('clerk', { text: 'A word to all.', audience: 'public' });
          if (end === 'withdrawn') {
            await rig.send(`POST /v1/appeals/${reference}/withdraw`, { reason }, withSecret(secret));
          } else if (end !== 'open') {
            await rig.act(reference, 'acknowledge', {}, 'clerk');
            await rig.act(reference, 'assess', {});
            const terms = { varied: { cure: 'Clean it.' }, overturned: { whole: true }, upheld: {} }[end];
            const decided = await rig.act(reference, 'decide', { outcome: end, reasons: 'Reasons.', ...terms });
            expect(decided.status, decided.text).toBe(200);
          }
          const noticeId = isSealed ? sealed : notice;
          const answers = [
            await rig.send(`GET /v1/appeals/${reference}`),
            await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'operator' }),
            await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'stranger' }),
            await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'auditor' }),
            await rig.send('GET /v1/appeals?limit=200', undefined, { as: 'clerk' }),
            await rig.send('GET /v1/appeals?limit=200', undefined, { as: 'auditor' }),
            await rig.send(`GET /v1/register/notices/${noticeId}`),
            await rig.send('GET /v1/register/notices'),
          ];
          const seen = [...answers.map(({ text }) => text), JSON.stringify(rig.events)].join('\n');
          expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
          expect(answers[0]!.text).toContain('A word to all.');
          for (const word of [...words, secret]) expect(seen).not.toContain(word);
          for (const hidden of SEALED_NAMES) expect(seen).not.toContain(hidden);

          const own = await rig.send(`GET /v1/appeals/${reference}`, undefined, withSecret(secret));
          for (const word of [contact, grounds, ownMessage, staffMessage]) expect(own.text).toContain(word);
          for (const word of [internal, name, secret, ...SEALED_NAMES]) expect(own.text).not.toContain(word);
          const full = await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'clerk' });
          for (const word of [contact, grounds, ownMessage, staffMessage, internal]) expect(full.text).toContain(word);
          expect(full.text).not.toContain(secret);
          if (isSealed) expect(full.text).toContain(`${SEALED_NAMES[0]} (in the annex), ${name}.example (not in`);
        },
      ),
      { numRuns: 12 },
    );
  });
});

describe('an appeal against a sealed notice', () => {
  /** Everything that differs from one appeal to the next, made alike. */
  const view = async (entries: string[], who: 'anyone' | 'appellant') => {
    const filing = { notice: sealed, standing: 'user', grounds: `${Math.random()}`, entries };
    const filed = await rig.send('POST /v1/appeals', filing);
    const { reference, secret, ...rest } = filed.body;
    const options = who === 'anyone' ? {} : withSecret(secret);
    const { body } = await rig.send(`GET /v1/appeals/${reference}`, undefined, options);
    return { status: filed.status, rest, body: { ...body, reference: '', grounds: '' } };
  };

  it.each(['anyone', 'appellant'] as const)('does not tell %s whether a name is in it', async (who) => {
    const missing = await view(['not-there.example'], who);
    expect(missing.status).toBe(201);
    const present = await view([SEALED_NAMES[0]], who);
    const below = await view([`www.${SEALED_NAMES[1]}`], who);
    expect(present).toEqual(missing);
    expect(below).toEqual(missing);
  });

  it('needs the reviewer to say what is released', async () => {
    const { reference } = await rig.bring(sealed, 'assessed', { entries: [SEALED_NAMES[0]] });
    const decision = { outcome: 'overturned', reasons: 'r' };
    expect((await rig.act(reference, 'decide', decision)).body.code).toBe('request-invalid');
    expect((await rig.act(reference, 'stay', { reasons: 'r' })).body.code).toBe('request-invalid');
    const { body } = await rig.send(`GET /v1/appeals/${reference}`, undefined, { as: 'reviewer' });
    expect(body.sealedEntries).toHaveLength(1);
    const answer = await rig.act(reference, 'decide', { ...decision, entries: body.sealedEntries });
    expect(answer.status, answer.text).toBe(200);
    expect((await rig.draftsOf(reference))[0]!.body.entries).toEqual(body.sealedEntries);
  });

  it('takes no variation that would publish a name', async () => {
    const { reference } = await rig.bring(sealed, 'assessed');
    const entries = rig.view.entriesOf(sealed)!;
    const at = [0, 1, 2].find((one) => entries.scope(one) === 'subtree')!;
    const exclude = [{ entry: entries.id(at), names: [`ok.${SEALED_NAMES[1]}`] }];
    const answer = await rig.act(reference, 'decide', { outcome: 'varied', reasons: 'r', variation: { exclude } });
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    expect(answer.text).not.toContain('hidden');
  });

  it.each([
    'The site secret.example was wrong.',
    'see https://www.secret.example/path?x=1',
    'SECRET.EXAMPLE.',
    'secret[.]example',
    'secret (dot) example',
    'ｓｅｃｒｅｔ．ｅｘａｍｐｌｅ',
    'ⓢⓔⓒⓡⓔⓣ.example',
    'It was secret.example.It is gone.',
    'mail x@deep.hidden.example',
    '(deep.hidden.example)',
    'www.bücher.example',
    'xn--bcher-kva.example',
  ])('takes no text for the public with a name of it: %s', async (text) => {
    const { reference } = await rig.bring(sealed, 'filed');
    const refused = async (action: string, body: object, as?: string) => {
      const answer = await rig.act(reference, action, body, as);
      expect([action, answer.status, answer.body.code]).toEqual([action, 400, 'request-invalid']);
    };
    await refused('messages', { text, audience: 'public' }, 'clerk');
    await refused('acknowledge', { note: text }, 'clerk');
    await refused('stay', { reasons: text, whole: true });
    await refused('stay', { reasons: 'r', whole: true, order: { by: text, reference: '1' } });
    await rig.act(reference, 'acknowledge', {}, 'clerk');
    await refused('assess', { note: text });
    await refused('assess', { cure: text });
    await rig.act(reference, 'assess', { cure: 'c' });
    await refused('decide', { outcome: 'rejected', reasons: text });
    await refused('decide', { outcome: 'varied', reasons: 'r', cure: text });
    await refused('cure', { reasons: text, whole: true });
  });

  it.each(['Not secret.', 'hidden.example is another', 'example', 'secret-example', 'my-secret.example'])(
    'takes other text: %s',
    async (text) => {
      const { reference } = await rig.bring(sealed, 'filed');
      expect((await rig.act(reference, 'acknowledge', { note: text }, 'clerk')).status).toBe(200);
    },
  );
});

describe('personal data', () => {
  const erase = () => rig.store.transaction((tables) => eraseOldContacts(tables, rig.now));

  it.each(['decided', 'withdrawn'] as const)(
    'of one that is %s is erased when the pack says so, and the rest stays',
    async (end) => {
      const { pack } = await rig.services.trust.read(rig.now);
      const keptSeconds = pack.appeals.eraseContactAfterDays! * DAY;
      const words = { grounds: `Private ${end}.`, contact: 'ana@example.org', language: 'ms' };
      const { reference, secret } = await rig.bring(notice, 'filed', words);
      await rig.send(`POST /v1/appeals/${reference}/messages`, { text: 'Call me.' }, withSecret(secret));
      await rig.act(reference, 'messages', { text: 'For all.', audience: 'public' }, 'clerk');
      if (end === 'withdrawn') await rig.send(`POST /v1/appeals/${reference}/withdraw`, {}, withSecret(secret));
      else {
        await rig.act(reference, 'acknowledge', {}, 'clerk');
        await rig.act(reference, 'assess', {});
        await rig.act(reference, 'decide', { outcome: 'rejected', reasons: 'Reasons.' });
      }
      const closedAt = rig.now;
      rig.clock.wall = (closedAt + keptSeconds - 1) * 1000;
      while (await erase());
      expect(await rig.appeal(reference)).toMatchObject(words);
      const before = await rig.send(`GET /v1/appeals/${reference}`);
      rig.clock.wall += 1000;
      expect(await erase()).toBeGreaterThan(0);
      const erased = await rig.appeal(reference);
      expect(erased).toMatchObject({ grounds: '', contact: null, language: null, eraseAfterSeconds: null });
      const events = await rig.read((tables) =>
        tables.appealEvents.list({ where: { appealId: reference }, limit: 50 }),
      );
      expect(JSON.stringify([erased, events])).not.toMatch(/Private|ana@|Call me/);
      expect((await rig.send(`GET /v1/appeals/${reference}`)).body).toEqual(before.body);
      const late = await rig.send(`POST /v1/appeals/${reference}/messages`, { text: 'x' }, withSecret(secret));
      expect([late.status, late.body.code]).toEqual([409, 'appeal-state']);
      const trail = await rig.read((tables) => tables.audit.list({ subject: `appeals/${reference}`, limit: 50 }));
      expect(trail.at(-1)).toMatchObject({ actor: 'system', action: 'erase personal data' });
      rig.clock.wall = closedAt * 1000;
    },
  );

  it('of an open one stays, however old', async () => {
    const { reference } = await rig.file(notice, { contact: 'old@example.org' });
    const openedAt = rig.now;
    rig.clock.wall = (openedAt + 3000 * DAY) * 1000;
    while (await erase());
    expect((await rig.appeal(reference)).contact).toBe('old@example.org');
    rig.clock.wall = openedAt * 1000;
  });

  it.each([
    [30, 30],
    [undefined, 365],
  ])('is kept for %s days of the pack: %i', async (eraseContactAfterDays, expected) => {
    const { pack } = await rig.services.trust.read(rig.now);
    rig.packChanges = { appeals: { ...pack.appeals, eraseContactAfterDays } };
    const { reference } = await rig.bring(notice, 'decided');
    expect((await rig.appeal(reference)).eraseAfterSeconds).toBe(rig.now + expected * DAY);
    rig.packChanges = {};
  });
});

describe('the list of appeals', () => {
  it('is for staff of the authority, auditors and administrators', async () => {
    await rig.file(notice);
    const list = async (as?: string) => (await rig.send('GET /v1/appeals', undefined, { as })).body;
    expect((await list('clerk')).items.length).toBeGreaterThan(0);
    expect((await list('auditor')).items.length).toBeGreaterThan(0);
    expect((await list('admin')).items.length).toBeGreaterThan(0);
    expect((await list('stranger')).items).toEqual([]);
    expect((await list('homeless')).items).toEqual([]);
    expect((await list('operator')).code).toBe('forbidden');
    expect((await list()).code).toBe('unauthenticated');
  });

  it('comes in pages, newest first, by state and notice', async () => {
    const other = await rig.notice(['p.example'], { reference: 'PAGES/1' });
    const references: string[] = [];
    for (let i = 0; i < 5; i++) {
      rig.pass(1000);
      references.unshift((await rig.bring(other, i === 2 ? 'acknowledged' : 'filed')).reference);
    }
    const seen: string[] = [];
    let next: string | undefined;
    do {
      const cursor: string = next === undefined ? '' : `&cursor=${next}`;
      const { body } = await rig.send(`GET /v1/appeals?notice=${other}&limit=2${cursor}`, undefined, { as: 'clerk' });
      seen.push(...body.items.map(({ reference }: { reference: string }) => reference));
      next = body.next;
    } while (next !== undefined);
    expect(seen).toEqual(references);
    const { body } = await rig.send(`GET /v1/appeals?notice=${other}&state=acknowledged`, undefined, { as: 'clerk' });
    expect(body.items.map(({ reference }: { reference: string }) => reference)).toEqual([references[2]]);
    const bad = await rig.send('GET /v1/appeals?cursor=A-0', undefined, { as: 'clerk' });
    expect(bad.status).toBe(404);
  });
});
