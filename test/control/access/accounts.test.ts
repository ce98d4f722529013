import { join } from 'node:path';
import canonicalize from 'canonicalize';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addAccessRoutes } from '../../../src/control/access/access-routes.ts';
import { createFirstAdmin } from '../../../src/control/access/first-admin.ts';
import { hashHex } from '../../../src/register/canonical.ts';
import { secondsOf } from '../../../src/register/time.ts';
import { verifyAuditTrail } from '../../../src/store/audit-trail.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { DAY, day, LICENSEE, NOW } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { type ControlRig, createControlRig, createTestRandom, type RigRequest } from '../http/control-rig.ts';

let rig: ControlRig;

beforeEach(async () => {
  rig = await createControlRig({ areas: [addAccessRoutes] });
});
afterEach(async () => {
  expect(rig.faults).toEqual([]);
  await rig.close();
});

const asAdmin = (route: string, request: RigRequest = {}) => rig.send(route, { as: 'admin', ...request });
const create = (body: object) => asAdmin('POST /v1/users', { body: { name: 'Somebody', ...body } });

/** Changes an account with the version it has now. */
async function patch(id: string, body: object, as: RigRequest['as'] = 'admin') {
  const record = await rig.store.read(({ users }) => users.get(id));
  return rig.send(`PATCH /v1/users/${id}`, { as, headers: { 'if-match': `"${record?.version ?? 1}"` }, body });
}

const trail = () => rig.store.read(({ audit }) => audit.list({ limit: 100 }));

/** Requires a refusal that left nothing behind. */
async function expectRefused(answer: Awaited<ReturnType<typeof create>>, status: number, code: string, detail: RegExp) {
  expect(answer.json()).toMatchObject({ status, code, detail: expect.stringMatching(detail) });
  expect(await trail()).toEqual([]);
}

describe('an account', () => {
  it('is created as it was asked for', async () => {
    const answer = await create({ id: 'two', roles: ['approving-officer'], authority: 'mcmc', oidcSubject: 'sub|2' });
    expect([answer.statusCode, answer.headers.etag]).toEqual([201, '"1"']);
    expect(answer.json()).toEqual({
      ...{ id: 'two', name: 'Somebody', roles: ['approving-officer'], authority: 'mcmc', oidcSubject: 'sub|2' },
      ...{ disabled: false, createdAt: day(0), version: 1 },
    });
    expect(await trail()).toMatchObject([{ actor: 'adam', action: 'POST /v1/users', subject: 'users/two' }]);
  });

  it.each([
    ['an operator', { id: 'oscar', roles: ['operator'], licensee: LICENSEE }],
    ['an auditor', { id: 'amy', roles: ['auditor'] }],
    ['another administrator', { id: 'ada', roles: ['admin'] }],
    [
      'an approving officer who drafts as well',
      { id: 'two', roles: ['case-officer', 'approving-officer'], authority: 'mcmc' },
    ],
    ['an officer whose time is to come', { id: 'future', roles: ['approving-officer'], authority: 'mcmc' }],
    ['an officer of another authority', { id: 'other-two', roles: ['approving-officer'], authority: 'other' }],
  ])('can be that of %s', async (_case, body) => {
    expect((await create(body)).statusCode).toBe(201);
  });

  const staff = { authority: 'mcmc' };
  it.each<[string, object, RegExp]>([
    [
      'an administrator who approves',
      { id: 'two', roles: ['admin', 'approving-officer'], ...staff },
      /separate accounts/,
    ],
    ['an administrator who audits', { id: 'x', roles: ['admin', 'auditor'] }, /separate accounts/],
    ['an operator who drafts', { id: 'two', roles: ['operator', 'case-officer'], ...staff }, /separate accounts/],
    [
      'an auditor who decides',
      { id: 'reviewer', roles: ['auditor', 'appeals-reviewer'], ...staff },
      /separate accounts/,
    ],
    [
      'staff whom authorities.json does not name',
      { id: 'nobody', roles: ['case-officer'], ...staff },
      /names no officer/,
    ],
    ['staff of an authority that is none', { id: 'two', roles: ['case-officer'], authority: 'x' }, /names no officer/],
    [
      'an officer at another authority',
      { id: 'two', roles: ['approving-officer'], authority: 'other' },
      /names no officer/,
    ],
    [
      'a case officer who approves',
      { id: 'drafter', roles: ['approving-officer'], ...staff },
      /cannot be approving-officer/,
    ],
    ['a reviewer who approves', { id: 'wide', roles: ['approving-officer'], ...staff }, /cannot be approving-officer/],
    [
      'an approving officer who reviews',
      { id: 'two', roles: ['approving-officer', 'appeals-reviewer'], ...staff },
      /cannot be/,
    ],
    ['an officer whose time is over', { id: 'expired', roles: ['approving-officer'], ...staff }, /time of officer/],
    ['an officer who was revoked', { id: 'revoked', roles: ['approving-officer'], ...staff }, /time of officer/],
    ['staff of no authority', { id: 'two', roles: ['approving-officer'] }, /^authority:/],
    ['an operator with an authority', { id: 'x', roles: ['operator'], licensee: LICENSEE, ...staff }, /^authority:/],
    ['an operator of no licensee', { id: 'x', roles: ['operator'] }, /^licensee:/],
    ['an operator of an unknown licensee', { id: 'x', roles: ['operator'], licensee: 'NSP-9' }, /there is no NSP-9/],
    ['an auditor of a licensee', { id: 'x', roles: ['auditor'], licensee: LICENSEE }, /^licensee:/],
    ['an administrator with an officer’s id', { id: 'two', roles: ['admin'] }, /is an officer of mcmc/],
    [
      'an operator with an officer’s id',
      { id: 'other-one', roles: ['operator'], licensee: LICENSEE },
      /is an officer of/,
    ],
    ['someone called public', { id: 'public', roles: ['auditor'] }, /not a person/],
    ['someone called appellant', { id: 'appellant', roles: ['auditor'] }, /not a person/],
    ['someone with no role', { id: 'x', roles: [] }, /not as the API describes/],
    ['someone with one role twice', { id: 'x', roles: ['admin', 'admin'] }, /not as the API describes/],
    ['a node', { id: 'x', roles: ['node'] }, /not as the API describes/],
    ['someone whose id is none', { id: 'Two/x', roles: ['admin'] }, /not as the API describes/],
    ['someone with a version', { id: 'x', roles: ['admin'], version: 7 }, /not as the API describes/],
  ])('cannot be that of %s', async (_case, body, detail) => {
    await expectRefused(await create(body), 400, 'request-invalid', detail);
  });

  it('has an id and a sign-in of its own', async () => {
    await expectRefused(await create({ id: 'audrey', roles: ['auditor'] }), 409, 'conflict', /account audrey/);
    await rig.store.transaction(({ users }) => users.update('audrey', { oidcSubject: 'sub|1' }));
    const twice = { id: 'amy', roles: ['auditor'], oidcSubject: 'sub|1' };
    await expectRefused(await create(twice), 409, 'conflict', /oidcSubject/);
    await expectRefused(await patch('olga', { oidcSubject: 'sub|1' }), 409, 'conflict', /oidcSubject/);
  });

  it('is changed, with what it was and is in the trail', async () => {
    const answer = await patch('olga', { name: 'Olga Operator', oidcSubject: 'sub|9' });
    expect([answer.statusCode, answer.headers.etag]).toEqual([200, '"2"']);
    expect(answer.json()).toMatchObject({ name: 'Olga Operator', oidcSubject: 'sub|9', licensee: LICENSEE });
    const [{ beforeHash, afterHash }] = await trail();
    expect(beforeHash).not.toBe(afterHash);
    expect((await patch('olga', { oidcSubject: null })).json().oidcSubject).toBeUndefined();
  });

  it('is judged as a whole when a role is given or taken', async () => {
    await expectRefused(await patch('audrey', { roles: ['approving-officer'] }), 400, 'request-invalid', /^authority:/);
    await expectRefused(await patch('one', { roles: ['appeals-reviewer'] }), 400, 'request-invalid', /cannot be/);
    await expectRefused(await patch('one', { authority: null }), 400, 'request-invalid', /^authority:/);
    await expectRefused(await patch('olga', { licensee: 'NSP-9' }), 400, 'request-invalid', /there is no/);
    expect((await patch('one', { roles: ['approving-officer', 'case-officer'] })).statusCode).toBe(200);
  });

  it('of an officer whose time is over can be disabled, and not enabled again', async () => {
    rig.now = NOW + 365 * DAY;
    expect((await patch('one', { disabled: true })).statusCode).toBe(200);
    expect((await patch('one', { name: 'Retired' })).statusCode).toBe(200);
    expect((await patch('one', { disabled: false })).json().detail).toMatch(/time of officer one is over/);
  });

  it.each([
    { roles: ['auditor'] },
    { disabled: true },
    { oidcSubject: 'sub|x' },
    { authority: 'mcmc' },
    { name: 'A', disabled: false },
  ])('cannot be changed by its own person but for the name: %j', async (body) => {
    await expectRefused(await patch('adam', body), 403, 'forbidden', /ask another administrator/);
  });

  it('can be renamed by its own person', async () => {
    expect((await patch('adam', { name: 'Adam II' })).json()).toMatchObject({ name: 'Adam II', roles: ['admin'] });
  });

  it('is always left to one of two administrators who disable each other', async () => {
    await create({ id: 'ada', roles: ['admin'] });
    const { token } = (await asAdmin('POST /v1/users/ada/tokens', { body: { label: 'x' } })).json();
    const answers = await Promise.all([
      rig.send('PATCH /v1/users/ada', { as: 'admin', headers: { 'if-match': '"1"' }, body: { disabled: true } }),
      rig.send('PATCH /v1/users/adam', { as: { token }, headers: { 'if-match': '"1"' }, body: { disabled: true } }),
    ]);
    expect(answers.filter(({ statusCode }) => statusCode === 200)).toHaveLength(1);
    expect(await rig.store.read(({ users }) => users.count({ disabled: true }))).toBe(1);
  });

  it('needs its version and something to change', async () => {
    expect((await asAdmin('PATCH /v1/users/olga', { body: { name: 'x' } })).statusCode).toBe(428);
    const stale = { headers: { 'if-match': '"2"' }, body: { name: 'x' } };
    expect((await asAdmin('PATCH /v1/users/olga', stale)).statusCode).toBe(412);
    await expectRefused(await patch('olga', {}), 400, 'request-invalid', /not as/);
    await expectRefused(await patch('nobody', { name: 'x' }), 404, 'not-found', /no account nobody/);
  });

  it('that is disabled is refused from the next request on', async () => {
    expect((await rig.send('GET /v1/me', { as: 'operator' })).statusCode).toBe(200);
    await patch('olga', { disabled: true });
    expect((await rig.send('GET /v1/me', { as: 'operator' })).statusCode).toBe(401);
  });

  it('is listed in pages, by authority and by licensee; how people sign in is for administrators', async () => {
    const ids: string[] = [];
    let next: string | undefined;
    do {
      const page = (await asAdmin(`GET /v1/users?limit=2${next ? `&cursor=${next}` : ''}`)).json();
      ids.push(...page.items.map(({ id }: { id: string }) => id));
      next = page.next;
    } while (next !== undefined);
    expect(ids).toEqual(['adam', 'audrey', 'drafter', 'olga', 'one', 'reviewer']);
    const idsOf = async (query: string) =>
      (await asAdmin(`GET /v1/users?${query}`)).json().items.map(({ id }: { id: string }) => id);
    expect(await idsOf('authority=mcmc')).toEqual(['drafter', 'one', 'reviewer']);
    expect(await idsOf(`licensee=${encodeURIComponent(LICENSEE)}`)).toEqual(['olga']);
    expect((await asAdmin('GET /v1/users?cursor=nobody')).statusCode).toBe(400);
    await patch('olga', { oidcSubject: 'sub|9' });
    expect((await asAdmin('GET /v1/users')).body).toContain('sub|9');
    expect((await rig.send('GET /v1/users', { as: 'auditor' })).body).not.toContain('sub|9');
  });
});

describe('a token', () => {
  const make = (body: object, id = 'one') => asAdmin(`POST /v1/users/${id}/tokens`, { body });

  it('is shown once, works at once, and is never listed', async () => {
    const answer = await make({ label: 'desk' });
    expect(answer.statusCode).toBe(201);
    const { id, token, ...rest } = answer.json();
    expect(rest).toEqual({ label: 'desk', scopes: [], createdAt: day(0), expiresAt: day(90) });
    expect((await rig.send('GET /v1/me', { as: { token } })).json()).toMatchObject({ id: 'one' });
    const list = await asAdmin('GET /v1/users/one/tokens');
    expect(list.json().items.find((item: { id: string }) => item.id === id)).toEqual({ id, ...rest });
    const secret = token.slice(-43);
    expect(list.body).not.toContain(hashHex(Buffer.from(secret)));
    expect(JSON.stringify([list.body, await trail(), rig.logged])).not.toContain(secret);
  });

  it('asked for again with the same Idempotency-Key is the same', async () => {
    const headers = { 'idempotency-key': 'a key of one’s own'.replace(/[^a-z]/g, '-') };
    const request = { headers, body: { label: 'x' } };
    const [one, other] = [
      await asAdmin('POST /v1/users/one/tokens', request),
      await asAdmin('POST /v1/users/one/tokens', request),
    ];
    expect(one.json().token).toBe(other.json().token);
    expect((await asAdmin('GET /v1/users/one/tokens')).json().items).toHaveLength(2);
  });

  it('has what it is narrowed to', async () => {
    await patch('one', { roles: ['case-officer', 'approving-officer'] });
    const { token } = (await make({ label: 'x', scopes: ['case-officer'] })).json();
    expect((await rig.send('GET /v1/me', { as: { token } })).json().roles).toEqual(['case-officer']);
  });

  it.each<[object, string, number]>([
    [{ label: 'x', scopes: ['admin'] }, 'one', 400],
    [{ label: 'x', scopes: ['appeals-reviewer'] }, 'one', 400],
    [{ label: 'x', scopes: ['public'] }, 'one', 400],
    [{ label: 'x', days: 367 }, 'one', 400],
    [{ label: 'x', days: 0 }, 'one', 400],
    [{ label: 'x', days: 1.5 }, 'one', 400],
    [{ label: '' }, 'one', 400],
    [{}, 'one', 400],
    [{ label: 'x' }, 'nobody', 404],
  ])('is not made as %j for %s', async (body, id, status) => {
    const answer = await make(body, id);
    expect([answer.statusCode, await trail()]).toEqual([status, []]);
  });

  it('is not made for a disabled account', async () => {
    await patch('one', { disabled: true });
    expect((await make({ label: 'x' })).json().code).toBe('conflict');
  });

  it('lasts a leap year at most', async () => {
    expect((await make({ label: 'x', days: 366 })).json().expiresAt).toBe(day(366));
  });

  it('is revoked at once, once, and stays on record', async () => {
    const { id, token } = (await make({ label: 'x' })).json();
    expect((await asAdmin(`DELETE /v1/tokens/${id}`)).statusCode).toBe(204);
    expect((await rig.send('GET /v1/me', { as: { token } })).json()).toMatchObject({
      status: 401,
      code: 'unauthenticated',
    });
    rig.now += 100;
    expect((await asAdmin(`DELETE /v1/tokens/${id}`)).statusCode).toBe(204);
    const { items } = (await asAdmin('GET /v1/users/one/tokens')).json();
    expect(items.find((item: { id: string }) => item.id === id).revokedAt).toBe(day(0));
    expect((await trail()).map(({ action }) => action)).toEqual(['POST /v1/users/:id/tokens', 'DELETE /v1/tokens/:id']);
    expect((await asAdmin('DELETE /v1/tokens/01900000-0000-7000-8000-000000000000')).statusCode).toBe(404);
    expect((await asAdmin('DELETE /v1/tokens/x')).statusCode).toBe(400);
  });
});

describe('GET /v1/me', () => {
  it('shows the person with the tokens that act for them', async () => {
    const { id } = (
      await asAdmin('POST /v1/users/olga/tokens', { body: { label: 'made by an administrator', days: 1 } })
    ).json();
    const me = (await rig.send('GET /v1/me', { as: 'operator' })).json();
    expect(me).toMatchObject({ id: 'olga', name: 'Person olga', roles: ['operator'], licensee: LICENSEE });
    expect(me.tokens.map(({ label }: { label: string }) => label)).toEqual(['test', 'made by an administrator']);
    await asAdmin(`DELETE /v1/tokens/${id}`);
    expect((await rig.send('GET /v1/me', { as: 'operator' })).json().tokens).toHaveLength(1);
  });
});

describe('the trail of changes', () => {
  const read = (query = '', as: RigRequest['as'] = 'auditor') => rig.send(`GET /v1/audit-records${query}`, { as });

  it('is empty at first', async () => {
    expect((await read()).json()).toEqual({ items: [] });
  });

  it('is shown in pages with its head, and can be recomputed by whoever reads it', async () => {
    for (let count = 0; count < 5; count++) await patch('olga', { name: `Olga ${count}` });
    const records: Record<string, unknown>[] = [];
    let next: string | undefined;
    do {
      const page = (await read(`?limit=2${next ? `&cursor=${next}` : ''}`)).json();
      expect(page.head).toMatchObject({ sequence: 5, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
      records.push(...page.items);
      next = page.next;
    } while (next !== undefined);
    expect(records.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
    let previous = '0'.repeat(64);
    for (const { hash, at, ...rest } of records) {
      expect(rest.previousHash).toBe(previous);
      previous = hashHex(Buffer.from(canonicalize({ ...rest, atSeconds: secondsOf(at as string) })!));
      expect(hash).toBe(previous);
    }
    expect(await verifyAuditTrail(rig.store)).toMatchObject({ isSound: true, head: { sequence: 5, hash: previous } });
  });

  it('can be searched by subject and by actor', async () => {
    await patch('olga', { name: 'O' });
    await patch('one', { name: 'P' });
    expect((await read('?subject=users/one')).json().items).toMatchObject([
      { sequence: 2, subject: 'users/one', actor: 'adam' },
    ]);
    expect((await read('?actor=adam')).json().items).toHaveLength(2);
    expect((await read('?actor=olga')).json().items).toEqual([]);
    expect((await read('?cursor=1', 'admin')).json().items).toHaveLength(1);
  });

  it.each(['?cursor=x', '?cursor=-1', '?subject=', '?sequence=1', '?limit=500'])('refuses %s', async (query) => {
    expect((await read(query)).statusCode).toBe(400);
  });
});

describe('the first administrator', () => {
  const terms = { id: 'ada', name: 'Ada', nowMillis: NOW * 1000, random: createTestRandom('first') };

  it('is made in an empty store, with a token for a week, and makes the others', async () => {
    const store = await openStore(join(makeFolder(), 'control.db'));
    const token = await createFirstAdmin(store, terms);
    const entries = await store.read(({ audit }) => audit.list({ limit: 10 }));
    expect(
      entries.map(({ actor, action, subject }) => [actor, action, subject.replace(/[0-9a-f]{8}-.*/, '…')]),
    ).toEqual([
      ['warta', 'create first administrator', 'users/ada'],
      ['warta', 'create first administrator', 'users/ada/tokens/…'],
    ]);
    const [record] = await store.read(({ tokens }) => tokens.list({ limit: 10 }));
    expect(record).toMatchObject({ userId: 'ada', expiresSeconds: NOW + 7 * DAY });
    await expect(createFirstAdmin(store, { ...terms, id: 'eve' })).rejects.toMatchObject({ code: 'conflict' });
    expect(await store.read(({ users }) => users.count())).toBe(1);
    expect(token).toContain(record.id);
    await store.close();
  });

  it('is not made where there are accounts, unless access was lost', async () => {
    await expect(createFirstAdmin(rig.store, terms)).rejects.toMatchObject({ code: 'conflict' });
    const token = await createFirstAdmin(rig.store, { ...terms, isRecovery: true });
    expect((await rig.send('GET /v1/me', { as: { token } })).json()).toMatchObject({ id: 'ada', roles: ['admin'] });
    expect((await trail()).map(({ action }) => action)).toEqual(['recover access', 'recover access']);
    await expect(createFirstAdmin(rig.store, { ...terms, isRecovery: true })).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it.each([{ id: 'A B' }, { id: '' }, { id: 'public' }, { name: '' }])('is not made as %j', async (changes) => {
    const store = await openStore(join(makeFolder(), 'control.db'));
    await expect(createFirstAdmin(store, { ...terms, ...changes })).rejects.toMatchObject({
      code: expect.stringMatching(/^(usage|request-invalid)$/),
    });
    expect(await store.read(({ users }) => users.count())).toBe(0);
    await store.close();
  });
});
