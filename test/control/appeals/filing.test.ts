import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MESSAGES_MAX } from '../../../src/control/appeals/appellant-acts.ts';
import { fileAppeal } from '../../../src/control/appeals/file-appeal.ts';
import { AppealsRig } from './appeals-rig.ts';

let rig: AppealsRig;
let notice: string;

beforeEach(async () => {
  rig = await AppealsRig.create();
  notice = await rig.notice(['a.example', { subtree: 'wide.example' }, { url: 'https://shared.example/page' }], {
    reference: 'MCMC/2026/0001',
  });
});
afterEach(() => rig.close());

const good = () => ({ notice, standing: 'owner', grounds: 'It is my site.' });
const count = () => rig.read((tables) => tables.appeals.count());

describe('filing', () => {
  it('gives reference and secret once, keeps a hash, and tells by when things are due', async () => {
    const answer = await rig.send('POST /v1/appeals', { ...good(), contact: 'ana@example.org', language: 'ms' });
    expect(answer.status, answer.text).toBe(201);
    const { reference, secret } = answer.body;
    expect(reference).toMatch(/^A-[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}$/);
    expect(Buffer.from(secret, 'base64url')).toHaveLength(32);
    expect(answer.headers).toMatchObject({ location: `/v1/appeals/${reference}`, 'cache-control': 'no-store' });
    expect(Object.keys(answer.body).sort()).toEqual(['acknowledgeBy', 'assessBy', 'decideBy', 'reference', 'secret']);
    const appeal = await rig.appeal(reference);
    expect(appeal).toMatchObject({ secretHash: hash('sha256', secret), state: 'filed', authority: 'mcmc' });
    expect(JSON.stringify(appeal)).not.toContain(secret);
    expect(rig.events).toMatchObject([{ event: 'appeal.filed', data: { reference, state: 'filed' } }]);
    const trail = await rig.read((tables) => tables.audit.list({ limit: 10 }));
    expect(trail).toMatchObject([{ actor: 'public', subject: `appeals/${reference}`, action: 'POST /v1/appeals' }]);
  });

  it.each([
    ['its id', () => notice],
    ['its reference', () => 'MCMC/2026/0001'],
    ['its reference with blanks around', () => ' MCMC/2026/0001 '],
  ])('finds the notice by %s', async (_how, named) => {
    const { reference } = await rig.file(named());
    expect((await rig.appeal(reference)).noticeId).toBe(notice);
  });

  it('asks for the id when two notices have the reference', async () => {
    const other = await rig.notice(['b.example'], { reference: 'MCMC/2026/0001' });
    const answer = await rig.send('POST /v1/appeals', { ...good(), notice: 'MCMC/2026/0001' });
    expect([answer.status, answer.body.code]).toEqual([409, 'conflict']);
    for (const id of [notice, other]) expect(answer.body.detail).toContain(id);
  });

  it.each([
    ['an id', () => [idOf('a.example')], ['a.example']],
    ['a name', () => ['a.example'], ['a.example']],
    ['a name in other letters', () => ['A.EXAMPLE.'], ['a.example']],
    ['a name below a subtree', () => ['www.wide.example'], ['wide.example']],
    ['a page', () => ['https://shared.example/page'], ['shared.example']],
    ['the same thing twice', () => ['a.example', idOf('a.example')], ['a.example']],
    ['a name below an exact one', () => ['www.a.example'], undefined],
    ['a name of another notice', () => ['a.example', 'other.example'], undefined],
    ['what is no name', () => ['<script>'], undefined],
  ])('finds the entry by %s', async (_how, named, names) => {
    await rig.notice(['other.example'], { reference: 'OTHER' });
    const answer = await rig.send('POST /v1/appeals', { ...good(), entries: named() });
    if (names === undefined) {
      expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
      expect(answer.body.errors[0].path).toBe(`body/entries/${named().length - 1}`);
      expect(await count()).toBe(0);
    } else {
      expect((await rig.appeal(answer.body.reference)).entries).toEqual(names.map(idOf));
    }
  });

  it.each<[string, unknown]>([
    ['nothing', {}],
    ['an array', []],
    ['no JSON', '{"notice":'],
    ['a standing there is none of', { standing: 'robot' }],
    ['no grounds', { grounds: undefined }],
    ['empty grounds', { grounds: '' }],
    ['blank grounds', { grounds: ' \n ' }],
    ['grounds that are too long', { grounds: 'x'.repeat(8001) }],
    ['grounds that are a number', { grounds: 7 }],
    ['grounds with NUL', { grounds: 'a\u0000b' }],
    ['grounds that turn the direction of writing', { grounds: 'a\u202eb' }],
    ['half a character', { grounds: 'a\ud800' }],
    ['a contact that is no address', { contact: 'ana' }],
    ['a contact with a line end', { contact: 'ana@example.org\nBcc: all@example.org' }],
    ['a language that is none', { language: 'Bahasa Melayu' }],
    ['entries that are no list', { entries: 'a.example' }],
    ['no entries', { entries: [] }],
    ['too many entries', { entries: Array.from({ length: 101 }, (_, i) => `a${i}.example`) }],
    ['a notice that is an object', { notice: { $ne: null } }],
    ['the trap sprung', { website: 'https://spam.example' }],
    ['a key nobody knows', { subject: 'x' }],
  ])('with %s is refused and keeps nothing', async (_what, change) => {
    const isWhole = typeof change !== 'object' || Array.isArray(change) || Object.keys(change as object).length === 0;
    const answer = await rig.send('POST /v1/appeals', isWhole ? change : { ...good(), ...(change as object) });
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    expect(await count()).toBe(0);
    expect(rig.events).toEqual([]);
    expect(await rig.read((tables) => tables.audit.list({ limit: 1 }))).toEqual([]);
  });

  it('against a notice that is not there is 404', async () => {
    for (const named of ['NONE/1', 'f'.repeat(64), "' OR 1=1 --"]) {
      const answer = await rig.send('POST /v1/appeals', { ...good(), notice: named });
      expect([answer.status, answer.body.code]).toEqual([404, 'not-found']);
    }
  });

  it('with the trap left empty is fine', async () => {
    expect((await rig.send('POST /v1/appeals', { ...good(), website: '' })).status).toBe(201);
  });

  it('answers the same to the same Idempotency-Key, secret included', async () => {
    const headers = { 'idempotency-key': 'a-key-of-thirty-two-characters-00' };
    const [first, second] = [
      await rig.send('POST /v1/appeals', good(), { headers }),
      await rig.send('POST /v1/appeals', good(), { headers }),
    ];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.body).toEqual(first.body);
    expect(await count()).toBe(1);
  });
});

const idOf = (name: string) => {
  const entries = rig.view.entriesOf(notice)!;
  return Array.from({ length: entries.count }, (_, at) => entries.id(at)).find(
    (id) => entries.name(entries.indexOf(id)) === name,
  )!;
};

describe('a flood of appeals', () => {
  it('from one address meets a limit', async () => {
    const statuses: number[] = [];
    for (let i = 0; i < 11; i++) {
      const filing = { ...good(), grounds: `Grounds ${i}` };
      statuses.push((await rig.send('POST /v1/appeals', filing, { address: '192.0.2.1' })).status);
    }
    expect(statuses).toEqual([...Array(10).fill(201), 429]);
    expect((await rig.send('POST /v1/appeals', good(), { address: '192.0.2.2' })).status).toBe(201);
  });

  it('on the same grounds is one appeal until that is decided', async () => {
    const { reference } = await rig.file(notice, { grounds: 'It is MY site!' });
    const again = await rig.send('POST /v1/appeals', { ...good(), grounds: 'it is  my site.' });
    expect([again.status, again.body.code]).toEqual([409, 'conflict']);
    expect(again.body.detail).toContain(reference);
    await rig.act(reference, 'acknowledge', {}, 'clerk');
    await rig.act(reference, 'assess', {});
    await rig.act(reference, 'decide', { outcome: 'rejected', reasons: 'No.' });
    expect((await rig.send('POST /v1/appeals', good())).status).toBe(201);
  });

  it('finds the same grounds behind a hundred others', async () => {
    await rig.file(notice, { grounds: 'The first of them.' });
    for (let i = 0; i < 101; i++) await rig.file(notice, { standing: (['user', 'isp', 'owner'] as const)[i % 3] });
    expect((await rig.send('POST /v1/appeals', { ...good(), grounds: 'the first of them' })).status).toBe(409);
  });

  const bounds = { unacknowledged: 4, openPerNotice: 2 };
  const file = (standing: 'owner' | 'user' | 'isp', grounds: string, named = notice) =>
    rig.store.transaction(async (tables) => {
      const { pack } = await rig.services.trust.read(rig.now);
      const desk = { tables, services: rig.services, nowSeconds: rig.now, pack };
      return (await fileAppeal(desk, { notice: named, standing, grounds }, bounds)).appeal.id;
    });

  it('about one notice meets a limit of each standing', async () => {
    await file('user', '1');
    const second = await file('user', '2');
    await expect(file('user', '3')).rejects.toMatchObject({ code: 'request-limited' });
    await expect(file('owner', '4')).resolves.toBeDefined();
    expect((await rig.appeal(second)).state).toBe('filed');
    await rig.act(second, 'acknowledge', {}, 'clerk');
    await expect(file('user', '3')).rejects.toMatchObject({ code: 'request-limited' });
    await rig.act(second, 'assess', {});
    await rig.act(second, 'decide', { outcome: 'rejected', reasons: 'No.' });
    await expect(file('user', '3')).resolves.toBeDefined();
  });

  it('about everything meets a limit, and is told where else to turn', async () => {
    const other = await rig.notice(['b.example'], { reference: 'OTHER' });
    const [first] = [
      await file('user', '1'),
      await file('user', '2'),
      await file('owner', '3'),
      await file('isp', '4'),
    ];
    const refused = file('owner', '5', other);
    await expect(refused).rejects.toMatchObject({ code: 'request-limited' });
    await expect(refused).rejects.toThrow('mailto:appeals@authority.example');
    await rig.act(first, 'acknowledge', {}, 'clerk');
    await expect(file('owner', '5', other)).resolves.toBeDefined();
  });

  it('of messages meets a limit', async () => {
    const { reference, secret } = await rig.file(notice);
    await rig.store.transaction(async (tables) => {
      for (let i = 1; i < MESSAGES_MAX; i++) {
        const id = `${reference}/x${i}`;
        const event = { appealId: reference, atSeconds: rig.now, actor: 'appellant', note: null, privateNote: 'x' };
        await tables.appealEvents.insert({ ...event, id, kind: 'message' });
      }
    });
    const write = () =>
      rig.send(`POST /v1/appeals/${reference}/messages`, { text: 'x' }, { headers: { 'appeal-secret': secret } });
    expect((await write()).status).toBe(201);
    expect((await write()).body.code).toBe('request-limited');
    expect((await rig.act(reference, 'messages', { text: 'Enough.' }, 'clerk')).status).toBe(201);
  });
});
