import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { WartaError } from '../../../src/base/errors.ts';
import { type AddRoute, type Call, hashRecord, type Outcome, requireMatch } from '../../../src/control/http/route.ts';
import type { TakedownRecord } from '../../../src/control/store.ts';
import { verifyAuditTrail } from '../../../src/store/audit-trail.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { NOW } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { type ControlRig, createControlRig, type RigRequest } from './control-rig.ts';

type Handler = (call: Call<unknown, unknown, { text: string }>) => Promise<Outcome<unknown>>;

/** What a test makes of the handlers of this file's routes. */
let handle: Handler;
let rig: ControlRig;
let folder: string;
let prepared = 0;
/** What ran after the commit. */
let acts: string[] = [];

const body = z.strictObject({ text: z.string() });
const response = z.object({ id: z.string(), text: z.string() });

function addTestRoutes(add: AddRoute): void {
  const spec = { summary: 'A test', tag: 'Test', body, response, status: 201 };
  add({
    ...spec,
    route: 'POST /v1/takedowns',
    prepare: async () => void prepared++,
    handle: (call) => handle(call) as Promise<Outcome<z.input<typeof response>>>,
  });
  add({ ...spec, route: 'POST /v1/appeals', handle: (call) => handle(call) as never });
  add({
    ...spec,
    route: 'PATCH /v1/users/:id',
    status: 200,
    params: z.strictObject({ id: z.string() }),
    async handle(call) {
      const record = (await call.tables.users.get(call.params.id))!;
      requireMatch(call, record);
      const after = await call.tables.users.update(record.id, { name: call.body.text }, record.version);
      const audit = { subject: `users/${record.id}`, before: record, after };
      return { body: { id: record.id, text: after.name }, version: after.version, audit };
    },
  });
  add({
    route: 'GET /v1/takedowns',
    summary: 'A test',
    tag: 'Test',
    async handle({ tables }) {
      await tables.takedowns.remove('anything');
      return {};
    },
  });
}

/** Stores the text as a takedown, and answers with a secret. */
const store: Handler = async ({ tables, body: { text }, actor, afterCommit }) => {
  const record: TakedownRecord = {
    ...{ id: randomUUID(), authority: 'mcmc', agency: null, platform: text, category: 'online-scams', items: 1 },
    ...{ reference: 'T/1', requestedSeconds: NOW, removedSeconds: null, recordedBy: actor.id },
  };
  await tables.takedowns.insert(record);
  afterCommit(() => void acts.push(text));
  const audit = { subject: `takedowns/${record.id}`, reason: 'asked for', after: record };
  return { body: { id: record.id, text: `secret ${text}` }, version: 1, audit };
};

const takedowns = () => rig.store.read(({ takedowns }) => takedowns.list({ limit: 100 }));
const trail = () => rig.store.read(({ audit }) => audit.list({ limit: 100 }));
const keptAnswers = () => rig.store.read(({ idempotency }) => idempotency.list({ limit: 100 }));

function post(request: Omit<RigRequest, 'body'> & { key?: string; text?: string; to?: string } = {}) {
  const { key, text = 'one', to = '/v1/takedowns', ...rest } = request;
  const headers = { ...(key && { 'idempotency-key': key }), ...rest.headers };
  return rig.send(`POST ${to}`, { as: 'case-officer', ...rest, headers, body: { text } });
}

beforeEach(async () => {
  folder = makeFolder();
  handle = store;
  prepared = 0;
  acts = [];
  const own = await openStore(join(folder, 'control.db'));
  rig = await createControlRig({ areas: [addTestRoutes], store: own });
});
afterEach(async () => {
  await rig.close();
  await rig.store.close();
});

describe('a change', () => {
  it('is made, answered and in the trail', async () => {
    const answer = await post();
    expect(answer.statusCode).toBe(201);
    expect(answer.headers).toMatchObject({
      etag: '"1"',
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
      'x-content-type-options': 'nosniff',
    });
    const [record] = await takedowns();
    expect(answer.json()).toEqual({ id: record.id, text: 'secret one' });
    expect(await trail()).toMatchObject([
      {
        ...{ sequence: 1, atSeconds: NOW, actor: 'drafter', role: 'case-officer', action: 'POST /v1/takedowns' },
        ...{ subject: `takedowns/${record.id}`, reason: 'asked for', beforeHash: null, afterHash: hashRecord(record) },
      },
    ]);
    expect(acts).toEqual(['one']);
  });

  it('is chained to the one before it in the trail', async () => {
    for (const text of ['one', 'two', 'three']) await post({ text });
    const records = await trail();
    expect(records.map(({ previousHash }) => previousHash).slice(1)).toEqual(
      records.map(({ hash }) => hash).slice(0, -1),
    );
    expect(await verifyAuditTrail(rig.store)).toMatchObject({ isSound: true, head: { sequence: 3 } });
  });

  it('can have several notes, in their order', async () => {
    handle = async () => ({
      body: { id: 'x', text: '' },
      audit: [{ subject: 'a' }, { subject: 'b', before: { x: 1 } }],
    });
    await post();
    expect((await trail()).map(({ subject, beforeHash }) => [subject, beforeHash])).toEqual([
      ['a', null],
      ['b', hashRecord({ x: 1 })],
    ]);
  });

  it.each([
    ['no note', undefined],
    ['an empty list of notes', []],
  ])('with %s is undone: it is a fault', async (_case, audit) => {
    handle = async (call) => ({ ...(await store(call)), audit });
    const answer = await post({ key: randomUUID() });
    expect([answer.statusCode, answer.json().code]).toEqual([500, 'fault']);
    expect([await takedowns(), await trail(), await keptAnswers(), acts]).toEqual([[], [], [], []]);
  });

  it('may say that nothing changed', async () => {
    handle = async () => ({ body: { id: 'x', text: '' }, audit: 'nothing changed' });
    expect((await post()).statusCode).toBe(201);
    expect(await trail()).toEqual([]);
  });

  it.each([
    ['a refusal', () => new WartaError('draft-state', 'not now'), 409],
    ['a fault', () => new Error('broken'), 500],
  ])('that ends in %s leaves nothing behind', async (_case, create, status) => {
    handle = async (call) => {
      await store(call);
      throw create();
    };
    const key = randomUUID();
    expect((await post({ key })).statusCode).toBe(status);
    expect([await takedowns(), await trail(), await keptAnswers(), acts]).toEqual([[], [], [], []]);
    handle = store;
    expect((await post({ key })).statusCode).toBe(201);
    expect(await takedowns()).toHaveLength(1);
  });

  it('whose answer is not as promised is undone', async () => {
    handle = async (call) => ({ ...(await store(call)), body: { id: 7 } });
    expect((await post({ key: randomUUID() })).json()).toMatchObject({ status: 500, code: 'fault' });
    expect([await takedowns(), await trail(), await keptAnswers()]).toEqual([[], [], []]);
  });

  it('is answered as made when what follows from it fails', async () => {
    handle = async (call) => {
      call.afterCommit(() => {
        throw new Error('no queue');
      });
      return store(call);
    };
    expect((await post()).statusCode).toBe(201);
    expect(acts).toEqual(['one']);
    expect(rig.logged.join()).toContain('no queue');
  });

  it('is not made by a GET', async () => {
    const answer = await rig.send('GET /v1/takedowns', { as: 'auditor' });
    expect(answer.statusCode).toBeGreaterThanOrEqual(500);
  });

  it('does not show fields that the answer is not promised to have', async () => {
    handle = async (call) => {
      const outcome = await store(call);
      return { ...outcome, body: { ...(outcome.body as object), secretHash: 'x' } };
    };
    expect(Object.keys((await post()).json())).toEqual(['id', 'text']);
  });
});

describe('an Idempotency-Key', () => {
  it('gives the same answer again and changes nothing more', async () => {
    const key = randomUUID();
    const first = await post({ key });
    const again = await post({ key });
    expect(again.body).toBe(first.body);
    expect([again.statusCode, again.headers.etag]).toEqual([201, '"1"']);
    expect([await takedowns(), await trail(), acts]).toEqual([[expect.anything()], [expect.anything()], ['one']]);
  });

  it('used with another body is refused', async () => {
    const key = randomUUID();
    await post({ key });
    const other = await post({ key, text: 'two' });
    expect([other.statusCode, other.json().code]).toEqual([422, 'idempotency-mismatch']);
    expect(await takedowns()).toHaveLength(1);
  });

  it('makes one change of many requests at once', async () => {
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 8 }, () => post({ key })));
    expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
    expect(answers.every(({ statusCode }) => statusCode === 201)).toBe(true);
    expect([await takedowns(), await trail(), acts]).toEqual([[expect.anything()], [expect.anything()], ['one']]);
  });

  it('is each actor’s own', async () => {
    const key = randomUUID();
    const mine = await post({ key });
    const theirs = await post({ key, as: 'approving-officer' });
    expect(theirs.statusCode).toBe(201);
    expect(theirs.json().id).not.toBe(mine.json().id);
  });

  it('is each path’s own', async () => {
    const key = randomUUID();
    const one = await post({ key });
    const other = await post({ key, to: '/v1/appeals' });
    expect(other.json().id).not.toBe(one.json().id);
  });

  it('of someone without an account opens the answer only together with the body', async () => {
    const key = randomUUID();
    const request = { key, to: '/v1/appeals', as: 'public' } as const;
    const mine = await post({ ...request, text: 'mine' });
    const guess = await post({ ...request, text: 'guess' });
    expect(guess.statusCode).toBe(201);
    expect(guess.json().id).not.toBe(mine.json().id);
    expect((await post({ ...request, text: 'mine' })).body).toBe(mine.body);
  });

  it('is what the kept answer is read with: nothing in the database shows it', async () => {
    const key = randomUUID();
    await post({ key, text: 'rosebud' });
    const [{ answer }] = await keptAnswers();
    expect(answer).toEqual(expect.stringMatching(/^[A-Za-z0-9+/]+=*$/));
    expect(Buffer.from(answer as string, 'base64').toString('latin1')).not.toContain('rosebud');
    const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)).toString('latin1'));
    expect(files.join()).toContain('rosebud'); // the record itself
    expect(files.join()).not.toContain('secret rosebud');
    expect(files.join()).not.toContain(key);
  });

  it('opens nothing when the kept answer was altered', async () => {
    const key = randomUUID();
    await post({ key });
    const [{ id, answer }] = await keptAnswers();
    const bytes = Buffer.from(answer as string, 'base64');
    bytes[bytes.length - 1]! ^= 1;
    await rig.store.transaction(({ idempotency }) => idempotency.update(id, { answer: bytes.toString('base64') }));
    expect((await post({ key })).statusCode).toBe(500);
    expect(await takedowns()).toHaveLength(1);
  });

  it.each(['', 'short', 'x'.repeat(256), 'has a blank in its middle', 'ümlaut-ümlaut-ümlaut'])(
    'that is none is refused: %j',
    async (key) => {
      const answer = await post({ headers: { 'idempotency-key': key } });
      expect([answer.statusCode, answer.json().code]).toEqual([400, 'request-invalid']);
      expect(await takedowns()).toEqual([]);
    },
  );

  it('does not help whoever lost the role since', async () => {
    const key = randomUUID();
    await post({ key });
    await rig.store.transaction(({ users }) => users.update('drafter', { roles: ['auditor'] }));
    expect((await post({ key })).statusCode).toBe(403);
  });
});

describe('If-Match', () => {
  const patch = (headers: Record<string, string>, text = 'New name') => {
    return rig.send('PATCH /v1/users/olga', { as: 'admin', headers, body: { text } });
  };

  it('is required', async () => {
    const answer = await patch({});
    expect([answer.statusCode, answer.json().code]).toEqual([428, 'version-required']);
  });

  it('of the record as it was read lets the change through and gives the next', async () => {
    const answer = await patch({ 'if-match': '"1"' });
    expect([answer.statusCode, answer.headers.etag]).toEqual([200, '"2"']);
    expect((await patch({ 'if-match': answer.headers.etag as string })).headers.etag).toBe('"3"');
  });

  it('of an earlier version is refused', async () => {
    await patch({ 'if-match': '"1"' });
    const answer = await patch({ 'if-match': '"1"' }, 'Overwritten');
    expect([answer.statusCode, answer.json().code, answer.headers.etag]).toEqual([412, 'version-mismatch', undefined]);
    expect(await rig.store.read(({ users }) => users.get('olga'))).toMatchObject({ name: 'New name', version: 2 });
  });

  it('lets one of several at once through', async () => {
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((text) => patch({ 'if-match': '"1"' }, text)));
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([200, 412, 412, 412]);
  });

  it.each(['1', 'W/"1"', '"x"', '"1", "2"', '"-1"', '"9999999999999999"'])(
    'that is no ETag of ours is refused: %s',
    async (value) => {
      const answer = await patch({ 'if-match': value });
      expect([answer.statusCode, answer.json().code]).toEqual([400, 'request-invalid']);
    },
  );

  it('of anything at all is none', async () => {
    expect((await patch({ 'if-match': '*' })).statusCode).toBe(428);
  });
});

it('prepared work runs once a request, outside the transaction', async () => {
  await post({ key: 'k'.repeat(16) });
  await post({ key: 'k'.repeat(16) });
  expect(prepared).toBe(2);
});
