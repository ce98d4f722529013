import { randomUUID } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { addAccessRoutes } from '../../../src/control/access/access-routes.ts';
import { verifyAuditTrail } from '../../../src/store/audit-trail.ts';
import { describeEngines } from '../../store/engines.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

describeEngines('two processes that serve one database', ({ makeTarget, open }) => {
  let rigs: ControlRig[] = [];
  afterEach(async () => {
    await Promise.all(rigs.map((rig) => rig.close()));
    rigs = [];
  });

  async function start(): Promise<[ControlRig, ControlRig]> {
    const target = await makeTarget();
    const one = await createControlRig({ areas: [addAccessRoutes], store: await open(target) });
    const other = await createControlRig({ areas: [addAccessRoutes], store: await open(target), tokens: one.tokens });
    rigs = [one, other];
    return [one, other];
  }

  it('make one change of a request that both get at once, and give one answer', async () => {
    const both = await start();
    for (let round = 0; round < 5; round++) {
      const request = {
        as: 'admin',
        headers: { 'idempotency-key': randomUUID() },
        body: { label: `round ${round}` },
      } as const;
      const sent = [...both, ...both].map((rig) => rig.send('POST /v1/users/olga/tokens', request));
      const answers = await Promise.all(sent);
      expect(answers.map(({ statusCode }) => statusCode)).toEqual([201, 201, 201, 201]);
      expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
    }
    const [{ store }] = both;
    expect(await store.read(({ audit }) => audit.list({ limit: 100 }))).toHaveLength(5);
    expect(await verifyAuditTrail(store)).toMatchObject({ isSound: true, head: { sequence: 5 } });
  });

  it('let one of two changes of one version through', async () => {
    const both = await start();
    for (let version = 1; version <= 5; version++) {
      const answers = await Promise.all(
        both.map((rig, at) => {
          const headers = { 'if-match': `"${version}"` };
          return rig.send('PATCH /v1/users/olga', { as: 'admin', headers, body: { name: `Olga ${version} ${at}` } });
        }),
      );
      expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([200, 412]);
    }
  });

  it('know at once of a token that the other revoked', async () => {
    const [one, other] = await start();
    const { id, token } = (await one.send('POST /v1/users/olga/tokens', { as: 'admin', body: { label: 'x' } })).json();
    expect((await other.send('GET /v1/me', { as: { token } })).statusCode).toBe(200);
    await one.send(`DELETE /v1/tokens/${id}`, { as: 'admin' });
    expect((await other.send('GET /v1/me', { as: { token } })).statusCode).toBe(401);
  });

  it('give one account of two that ask for the same', async () => {
    const both = await start();
    const body = { id: 'amy', name: 'Amy', roles: ['auditor'] };
    const answers = await Promise.all(both.map((rig) => rig.send('POST /v1/users', { as: 'admin', body })));
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([201, 409]);
  });

  it('store text as it is, whatever it means to a database', async () => {
    const [rig] = await start();
    const name = `Robert'); drop table users; -- \\ $1 ? "x" \u{1f600}`;
    const answer = await rig.send('PATCH /v1/users/olga', {
      as: 'admin',
      headers: { 'if-match': '"1"' },
      body: { name },
    });
    expect(answer.json().name).toBe(name);
    const found = await rig.send(`GET /v1/audit-records?actor=${encodeURIComponent("' or 1=1 --")}`, { as: 'auditor' });
    expect(found.json().items).toEqual([]);
  });
});
