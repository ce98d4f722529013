import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMISSIONS, type RouteName } from '../../../src/control/access/permissions.ts';
import { ROLES, type Role } from '../../../src/control/access/roles.ts';
import { AREAS } from '../../../src/control/areas.ts';
import { NodesFile } from '../../../src/control/publishing/nodes-file.ts';
import { addTreeRoutes } from '../../../src/control/publishing/tree-routes.ts';
import { DirectoryStorage } from '../../../src/log/directory-storage.ts';
import { NOW } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { type ControlRig, createControlRig, NODES, ORIGIN } from '../http/control-rig.ts';

const ROUTES = Object.keys(PERMISSIONS) as RouteName[];

/** A path that has something in the place of every parameter. */
function fill(route: string): string {
  const values: Record<string, string> = { licensee: 'NSP-1', node: 'kl-1', name: 'bad.example', number: 'NSP-1' };
  return route
    .replace(/:(\w+)/g, (_all, name: string) => values[name] ?? '01900000-0000-7000-8000-000000000000')
    .replace('*', 'x');
}

/** The routes of an app as it registered them; those for HEAD come with GET. */
const registered = new Set<string>();
let rig: ControlRig;

beforeAll(async () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'nodes.json'), NODES);
  const watch = (app: FastifyInstance) => {
    app.addHook('onRoute', ({ method, url }) => {
      for (const one of [method].flat()) if (one !== 'HEAD') registered.add(`${one} ${url}`);
    });
  };
  rig = await createControlRig({
    onCreate: watch,
    areas: AREAS,
    addTree: (app) => {
      addTreeRoutes(app, {
        ...{
          publicFolder: folder,
          sealedFolder: folder,
          origin: ORIGIN,
          nodes: new NodesFile(new DirectoryStorage(folder)),
        },
        ...{
          receipts: { accept: async () => 'stored' } as never,
          clock: { wallMillis: () => NOW * 1000, monotonicMillis: () => 0 },
        },
      });
    },
  });
});
afterAll(() => rig.close());

/** Whether the answer is the refusal of admission, whatever else may refuse a request. */
function isRefused(status: number, body: string): boolean {
  if (status === 401) return true;
  return status === 403 && / is for /.test(body);
}

describe('the table of permissions', () => {
  it('has every route that is registered', () => {
    expect([...registered].filter((route) => !Object.hasOwn(PERMISSIONS, route)).sort()).toEqual([]);
  });

  it('has no row without a route', () => {
    expect(ROUTES.filter((route) => !registered.has(route))).toEqual([]);
  });

  it('names known roles, and each once', () => {
    for (const route of ROUTES) {
      const roles: readonly Role[] = PERMISSIONS[route];
      expect(roles.length, route).toBeGreaterThan(0);
      expect(new Set(roles).size, route).toBe(roles.length);
      expect(
        roles.every((role) => ROLES.includes(role)),
        route,
      ).toBe(true);
    }
  });

  it('lets nobody without an account change anything but by a secret or a signature of its own', () => {
    const open = ROUTES.filter(
      (route) => !route.startsWith('GET') && (PERMISSIONS[route] as readonly Role[]).includes('public'),
    );
    expect(open).toEqual([
      'POST /receipts',
      'POST /statements',
      'POST /v1/appeals',
      'POST /v1/appeals/:reference/messages',
      'POST /v1/appeals/:reference/withdraw',
      'POST /appeal',
      'POST /appeal/form',
      'POST /appeal/status',
      'POST /appeal/message',
      'POST /appeal/withdraw',
      'POST /v1/nodes',
    ]);
  });

  it('gives no role that decides about blocks anything to do with accounts', () => {
    const accounts = ROUTES.filter((route) => /\/v1\/(users|tokens)/.test(route));
    for (const route of accounts) {
      expect(
        (PERMISSIONS[route] as readonly Role[]).every((role) => ['admin', 'auditor'].includes(role)),
        route,
      ).toBe(true);
    }
  });

  it('gives administrators and auditors no part in decisions', () => {
    const decisions = ROUTES.filter((route) =>
      /\/(approve|signatures|publish|propose|return|overrides|assess|decide|stay)$/.test(route),
    );
    expect(decisions.length).toBeGreaterThan(30);
    for (const route of decisions) {
      const roles: readonly Role[] = PERMISSIONS[route];
      expect(
        roles.some((role) => ['admin', 'auditor', 'operator', 'node', 'public'].includes(role)),
        route,
      ).toBe(false);
    }
  });
});

describe.each(ROUTES)('%s', (route) => {
  it.each(ROLES)('as %s', async (role) => {
    const permitted: readonly Role[] = PERMISSIONS[route];
    // Without a body, since admission comes before any is looked at.
    const { statusCode, body, headers } = await rig.send(fill(route), { as: role });
    // Pages tell refusals as pages.
    const isProblem = String(headers['content-type']).startsWith('application/problem+json');
    const problem = isProblem ? JSON.parse(body) : undefined;
    if (permitted.includes(role) || permitted.includes('public')) {
      if (route === 'GET /sealed/*') return expect(problem.code).toBe('not-found');
      // With a register that has nothing in it the handler may well refuse, but not for who asks.
      expect(isRefused(statusCode, body), body).toBe(false);
    } else if (route === 'GET /sealed/*') {
      expect(problem.code).toBe('credential-invalid');
    } else if (role === 'public') {
      expect(problem).toMatchObject({ status: 401, code: 'unauthenticated' });
    } else {
      expect(problem).toMatchObject({
        status: 403,
        code: 'forbidden',
        detail: `${route} is for ${permitted.join(', ')}`,
      });
    }
  });
});
