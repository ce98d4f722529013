import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { pino } from 'pino';
import { createToken } from '../../../src/control/access/api-token.ts';
import { createAuthenticator } from '../../../src/control/access/authenticator.ts';
import type { PersonalRole, Role } from '../../../src/control/access/roles.ts';
import { type ControlAppOptions, createControlApp } from '../../../src/control/http/control-app.ts';
import type { ControlServices } from '../../../src/control/services.ts';
import type { Store, UserRecord } from '../../../src/control/store.ts';
import { parseAuthorities } from '../../../src/register/authorities.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { NodeRegistry } from '../../../src/register/receipt.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { composeCredential } from '../../../src/sync/node-identity.ts';
import { authoritiesFile, keys, LICENSEE, NOW, pack, packSha256 } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';

export const ORIGIN = 'register.test/log';

/** A person with each role that people can have, by that role. */
export const PEOPLE: Record<PersonalRole, string> = {
  'case-officer': 'drafter',
  'approving-officer': 'one',
  'appeals-reviewer': 'reviewer',
  operator: 'olga',
  auditor: 'audrey',
  admin: 'adam',
};

/** What a test sets of the app; the rest is plain. */
export type RigOptions = Partial<Omit<ControlAppOptions, 'services'>> & {
  services?: Partial<ControlServices>;
  store?: Store;
  /** Of a rig whose store has the same people already. */
  tokens?: Readonly<Record<PersonalRole, string>>;
  /** Called before any route is added. */
  onCreate?: (app: FastifyInstance) => void;
};

/** A request by someone: a role of `PEOPLE`, `node`, `public`, or a token as it is. */
export type RigRequest = Omit<InjectOptions, 'url' | 'method'> & { as?: Role | { token: string }; body?: unknown };

/** A control app on an SQLite store of its own, at a time that stands still, with a register that has nothing in it. */
export interface ControlRig {
  readonly app: FastifyInstance;
  readonly store: Store;
  readonly services: ControlServices;
  /** Lines that the server logged, and faults it was told of. */
  readonly logged: string[];
  readonly faults: unknown[];
  readonly tokens: Readonly<Record<PersonalRole, string>>;
  /** Seconds since the epoch. */
  now: number;
  /** Sends `GET /path` and the like. */
  send(route: string, request?: RigRequest): Promise<LightMyRequestResponse>;
  close(): Promise<void>;
}

/** Bytes that are the same in every run, no two of them alike. */
export function createTestRandom(seed = 'rig'): (sizeBytes: number) => Uint8Array {
  let count = 0;
  return (sizeBytes) => createHash('shake256', { outputLength: sizeBytes }).update(`${seed} ${count++}`).digest();
}

export async function createControlRig(options: RigOptions = {}): Promise<ControlRig> {
  const store = options.store ?? (await openStore(join(makeFolder(), 'control.db')));
  const logged: string[] = [];
  const faults: unknown[] = [];
  const clock = { wallMillis: () => rig.now * 1000, monotonicMillis: () => performance.now() };
  const random = createTestRandom(options.tokens === undefined ? 'rig' : 'another rig');
  const authorities = parseAuthorities(JSON.stringify(authoritiesFile));
  const register = {
    ...{ size: 1, newestSeconds: NOW, heartbeatSeconds: NOW, revision: 1, authorities, packSha256 },
    catchUp: async () => {},
  } as unknown as ControlServices['register'];
  const services: ControlServices = {
    ...{ store, clock, random, origin: ORIGIN, register },
    trust: { read: async () => ({ authorities, pack, expired: false }) } as unknown as ControlServices['trust'],
    publications: { wake: () => {} },
    events: { emit: async () => {}, wake: () => {} },
    log: pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) }),
    ...options.services,
  };
  const nodes = { read: async () => nodeRegistry };
  const app = createControlApp({
    authenticate: createAuthenticator({ store, clock, origin: ORIGIN, nodes, trust: services.trust }),
    areas: [],
    onFault: (error) => void faults.push(error),
    ...options,
    services,
  });
  options.onCreate?.(app);
  const rig: ControlRig = {
    ...{
      app,
      store,
      services,
      logged,
      faults,
      now: NOW,
      tokens: options.tokens ?? (await createPeople(store, random)),
    },
    async send(route, { as = 'public', headers, body, ...rest } = {}) {
      const [method, url] = route.split(' ') as [NonNullable<InjectOptions['method']>, string];
      const authorization = await authorize(as, url);
      const given = { ...(authorization && { authorization }), ...headers };
      const isJson = body !== undefined && !(typeof body === 'string') && !(body instanceof Uint8Array);
      const payload = isJson ? (body as object) : (body as string | undefined);
      return app.inject({ method, url, headers: given, payload, ...rest });
    },
    async close() {
      await app.close();
      if (options.store === undefined) await store.close();
    },
  };
  const authorize = (as: Role | { token: string }, url: string) => {
    if (typeof as === 'object') return `Bearer ${as.token}`;
    if (as === 'public') return undefined;
    const path = url.replace(/\?.*/, '').slice(1);
    const identity = { licensee: LICENSEE, node: 'kl-1', key: keys.one };
    return as === 'node' ? composeCredential(identity, ORIGIN, path, rig.now) : `Bearer ${rig.tokens[as]}`;
  };
  await app.ready();
  return rig;
}

/** nodes.json with the node of the tests. */
export const NODES = JSON.stringify([{ licensee: LICENSEE, node: 'kl-1', publicKey: publicKeyOf(keys.one) }]);

const nodeRegistry = NodeRegistry.parse(NODES);

async function createPeople(store: Store, random: (sizeBytes: number) => Uint8Array) {
  const made: [string, string][] = [];
  await store.transaction(async (tables) => {
    made.length = 0;
    const licensee = { id: LICENSEE, name: 'An ISP', classes: ['nsp'], createdSeconds: NOW - 1000, version: 1 };
    await tables.licensees.insert(licensee);
    for (const [role, id] of Object.entries(PEOPLE) as [PersonalRole, string][]) {
      const isStaff = ['drafter', 'one', 'reviewer'].includes(id);
      const user: UserRecord = {
        ...{ id, name: `Person ${id}`, roles: [role], oidcSubject: null, disabled: false },
        ...{ authority: isStaff ? 'mcmc' : null, licensee: role === 'operator' ? LICENSEE : null },
        ...{ createdSeconds: NOW - 1000, version: 1 },
      };
      await tables.users.insert(user);
      const terms = { userId: id, label: 'test', scopes: [], days: 366, nowMillis: (NOW - 1000) * 1000, random };
      const { token, record } = createToken(terms);
      await tables.tokens.insert(record);
      made.push([role, token]);
    }
  });
  return Object.fromEntries(made) as Record<PersonalRole, string>;
}
