import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { PERMISSIONS, type RouteName } from '../../../src/control/access/permissions.ts';
import { ROLES, type Role } from '../../../src/control/access/roles.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

/** Routes that are not made with `add`; the matrix of roles looks at them where they are. */
const OWN_WAY = /openapi|\/(tile|annex|trust|receipts|sealed|statements|checkpoint|nodes\.json)(\/|$)/;
const ROUTES = (Object.keys(PERMISSIONS) as RouteName[]).filter(
  (route) => / \/v1\//.test(route) || !OWN_WAY.test(route),
);

const handle = vi.fn(async () => ({ audit: 'nothing changed' as const }));
let rig: ControlRig;

beforeAll(async () => {
  const routes = ROUTES.filter((route) => !route.endsWith('openapi.json'));
  rig = await createControlRig({
    areas: [(add) => routes.forEach((route) => void add({ route, summary: 'A spy', tag: 'Test', handle }))],
  });
});
beforeEach(() => void handle.mockClear());
afterAll(() => rig.close());

describe('a handler', () => {
  it.each(ROUTES.filter((route) => !route.endsWith('openapi.json')))(
    'of %s runs for the roles of the table and for nobody else',
    async (route) => {
      const permitted: readonly Role[] = PERMISSIONS[route];
      for (const role of ROLES) {
        handle.mockClear();
        const { statusCode } = await rig.send(route.replaceAll(':', ''), { as: role });
        const mayDo = permitted.includes(role) || permitted.includes('public');
        expect([role, statusCode]).toEqual([role, mayDo ? 204 : role === 'public' ? 401 : 403]);
        expect(handle).toHaveBeenCalledTimes(mayDo ? 1 : 0);
      }
    },
  );

  it('is told who asks and by which role the route was allowed, the first that the table names', async () => {
    await rig.send('GET /v1/appeals', { as: 'admin' });
    expect(handle.mock.lastCall).toMatchObject([{ actor: { id: 'adam' }, role: 'admin' }, undefined]);
    await rig.send('GET /v1/statistics', { as: 'auditor' });
    expect(handle.mock.lastCall).toMatchObject([{ actor: { id: 'audrey' }, role: 'public' }, undefined]);
    await rig.send('GET /v1/statistics');
    expect(handle.mock.lastCall).toMatchObject([{ actor: { id: 'public' }, role: 'public' }, undefined]);
    await rig.send('GET /v1/statistics', { as: 'node' });
    expect(handle.mock.lastCall).toMatchObject([{ actor: { licensee: 'NSP(I)/2021/001' }, role: 'public' }, undefined]);
  });

  it('does not run for a token that is no good, even where none is needed', async () => {
    const answer = await rig.send('GET /v1/statistics', { as: { token: 'wt_x' } });
    expect(answer.statusCode).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect(handle).not.toHaveBeenCalled();
  });
});

describe('admission', () => {
  it('comes before the body is looked at', async () => {
    const headers = { 'content-type': 'application/json' };
    for (const as of ['public', 'operator'] as const) {
      const { statusCode } = await rig.send('POST /v1/users', { as, headers, body: '{"no": json' });
      expect(statusCode).toBe(as === 'public' ? 401 : 403);
    }
    const permitted = await rig.send('POST /v1/users', { as: 'admin', headers, body: '{"no": json' });
    expect(permitted.statusCode).toBe(400);
  });

  it('comes before parameters are looked at', async () => {
    expect((await rig.send('GET /v1/users?nothing=known')).statusCode).toBe(401);
    expect((await rig.send('GET /v1/users?nothing=known', { as: 'auditor' })).statusCode).toBe(400);
  });

  it('knows a route by how it is registered, not by how it is spelled', async () => {
    for (const url of ['/v1/users/', '/V1/users', '/v1//users', '/v1/users%2f', '/v1/users;x']) {
      const { statusCode } = await rig.send(`GET ${url}`);
      expect([url, statusCode]).toEqual([url, 404]);
    }
    expect((await rig.send('GET /v1/us%65rs')).statusCode).toBe(401);
  });

  it('closes a route that the table does not have', async () => {
    const own = await createControlRig({
      addTree: (app) => void app.get('/v1/forgotten', async () => 'secret'),
    });
    const answer = await own.send('GET /v1/forgotten', { as: 'admin' });
    expect([answer.statusCode, answer.json().code]).toEqual([500, 'fault']);
    expect(own.faults).toEqual([new Error('GET /v1/forgotten has no row in PERMISSIONS')]);
    await own.close();
  });

  it('has HEAD as GET, and no other methods', async () => {
    const head = await rig.send('HEAD /v1/users', { as: 'auditor' });
    expect([head.statusCode, head.body]).toEqual([204, '']);
    expect((await rig.send('HEAD /v1/users')).statusCode).toBe(401);
    for (const method of ['OPTIONS', 'TRACE', 'PUT', 'PATCH']) {
      const answer = await rig.send(`${method} /v1/users`, { as: 'admin' });
      expect([method, answer.statusCode, answer.json().code]).toEqual([method, 404, 'not-found']);
    }
  });
});
