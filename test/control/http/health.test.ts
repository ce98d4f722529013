import { afterEach, describe, expect, it, vi } from 'vitest';
import { WartaError } from '../../../src/base/errors.ts';
import { addHealthRoutes } from '../../../src/control/http/health-routes.ts';
import type { ControlServices } from '../../../src/control/services.ts';
import type { Store } from '../../../src/control/store.ts';
import { parseAuthorities } from '../../../src/register/authorities.ts';
import { authoritiesFile, day, NOW, pack, packSha256 } from '../../register/fixture.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

let rig: ControlRig;
afterEach(async () => {
  vi.useRealTimers();
  await rig.close();
});

const start = async (services: Partial<ControlServices> = {}) => {
  rig = await createControlRig({ areas: [addHealthRoutes], services });
};
const authorities = parseAuthorities(JSON.stringify(authoritiesFile));
const trust = (read: () => Promise<unknown>) => ({ read }) as unknown as ControlServices['trust'];
const register = (changes: object) => {
  const plain = { size: 7, newestSeconds: NOW, authorities, packSha256, catchUp: async () => {} };
  return { ...plain, ...changes } as unknown as ControlServices['register'];
};
/** A store that works while people are set up, and does `read` afterwards. */
const failStore = (read: Store['read']) => {
  vi.spyOn(rig.store, 'read').mockImplementation(read);
};

describe('GET /healthz', () => {
  it('says that the process is alive, whatever has become of the store', async () => {
    await start();
    failStore(() => Promise.reject(new WartaError('store-failed', 'gone')));
    const answer = await rig.send('GET /healthz');
    expect([answer.statusCode, answer.json()]).toEqual([200, { status: 'alive' }]);
    expect(answer.headers['cache-control']).toBe('no-store');
    vi.restoreAllMocks();
  });
});

describe('GET /readyz', () => {
  const ask = async () => {
    const answer = await rig.send('GET /readyz');
    return [answer.statusCode, answer.json()] as const;
  };

  it('says that all is well', async () => {
    await start({ register: register({}) });
    expect(await ask()).toEqual([
      200,
      {
        status: 'ready',
        checks: ['store', 'register', 'trust'].map((name) => ({ name, state: 'good' })),
        register: { size: 7, newestAt: day(0) },
      },
    ]);
  });

  it('reads what is new in the register first', async () => {
    let size = 1;
    const catchUp = vi.fn(async () => {
      size = 2;
    });
    await start({ register: Object.defineProperty(register({ catchUp }), 'size', { get: () => size }) });
    expect((await ask())[1].register.size).toBe(2);
  });

  it.each([
    ['a store that fails', { name: 'store', state: 'failed', reason: 'store-failed' }, {}],
    [
      'a register that cannot be read',
      { name: 'register', state: 'failed', reason: 'checkpoint-rolled-back' },
      { register: register({ catchUp: () => Promise.reject(new WartaError('checkpoint-rolled-back', '/var/lib')) }) },
    ],
    [
      'trust that is not signed as it should be',
      { name: 'trust', state: 'failed', reason: 'trust-invalid' },
      { trust: trust(() => Promise.reject(new WartaError('trust-invalid', '/var/lib'))) },
    ],
    [
      'a fault',
      { name: 'trust', state: 'failed', reason: 'fault' },
      { trust: trust(() => Promise.reject(new Error('postgresql://warta:hunter2@db'))) },
    ],
  ])('is 503 for %s, and says no more than that', async (_case, check, services) => {
    await start(services);
    if (check.name === 'store') failStore(() => Promise.reject(new WartaError('store-failed', '/var/lib/hunter2')));
    const [status, body] = await ask();
    vi.restoreAllMocks();
    expect([status, body.status]).toEqual([503, 'not-ready']);
    expect(body.checks).toContainEqual(check);
    expect(JSON.stringify(body)).not.toMatch(/hunter2|var/);
  });

  it('is 503 for a store that does not answer', async () => {
    await start();
    failStore(() => new Promise(() => {}));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const asked = ask();
    await vi.advanceTimersByTimeAsync(3001);
    const [status, body] = await asked;
    vi.restoreAllMocks();
    expect(status).toBe(503);
    expect(body.checks[0]).toEqual({ name: 'store', state: 'failed', reason: 'response-slow' });
  });

  it.each([
    ['trust that has lapsed', { trust: trust(async () => ({ authorities, pack, expired: true })) }, /TUF/],
    [
      'a register with nothing in it',
      { register: register({ size: 0, newestSeconds: 0 }) },
      /nothing is published yet/,
    ],
    [
      'a register that has been silent for hours',
      { register: register({ newestSeconds: NOW - 10_801 }) },
      /10801 seconds/,
    ],
  ])('tells of %s with 200: every other process has the same', async (_case, services, reason) => {
    await start(services);
    const [status, body] = await ask();
    expect([status, body.status]).toEqual([200, 'degraded']);
    expect(body.checks).toContainEqual(
      expect.objectContaining({ state: 'degraded', reason: expect.stringMatching(reason) }),
    );
  });
});

describe('GET /v1/pack', () => {
  it('shows the law, its categories, instruments, clocks and help, and not the lists of names', async () => {
    await start();
    const answer = await rig.send('GET /v1/pack');
    expect(answer.headers['cache-control']).toBe('public, max-age=300');
    const { protectedNames, mediaNames, preflight, ...shown } = pack;
    expect(answer.json()).toEqual({ ...JSON.parse(JSON.stringify(shown)), sha256: packSha256 });
    for (const hidden of [protectedNames, mediaNames, preflight]) expect(hidden).toBeDefined();
  });
});
