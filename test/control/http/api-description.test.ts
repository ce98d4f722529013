import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMISSIONS, type RouteName } from '../../../src/control/access/permissions.ts';
import type { Role } from '../../../src/control/access/roles.ts';
import { AREAS } from '../../../src/control/areas.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

interface Operation {
  summary?: string;
  tags?: string[];
  parameters?: { in: string; name: string; required?: boolean; schema: object }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
  security?: object[];
  'x-roles'?: Role[];
}

interface Description {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas?: Record<string, object>; securitySchemes: object };
}

let rig: ControlRig;
let text: string;
let description: Description;

beforeAll(async () => {
  rig = await createControlRig({ areas: AREAS });
  const answer = await rig.send('GET /v1/openapi.json');
  expect(answer.statusCode).toBe(200);
  text = answer.body;
  description = answer.json();
});
afterAll(() => rig.close());

const ROUTES = (Object.keys(PERMISSIONS) as RouteName[]).filter((route) => / \/v1\//.test(route));

/** What answers bytes, nothing, or this description itself. */
const SCHEMALESS = /^DELETE |^GET .*\/(payload|annex|openapi\.json)$/;

/** The path of a route as OpenAPI spells it. */
function locate(route: string): { method: string; path: string; operation?: Operation } {
  const [method, url] = route.split(' ');
  const path = url.replace(/:(\w+)/g, '{$1}');
  return { method: method.toLowerCase(), path, operation: description.paths[path]?.[method.toLowerCase()] };
}

/** Every value of `key` at any depth. */
function collect(value: unknown, key: string): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = Object.hasOwn(value, key) ? [(value as Record<string, unknown>)[key]] : [];
  return [...own, ...Object.values(value).flatMap((item) => collect(item, key))];
}

describe('the description of the API', () => {
  it('is OpenAPI 3.1 and may be kept for a while', async () => {
    expect(description).toMatchObject({ openapi: '3.1.0', info: { title: 'Warta control API', version: '1' } });
    expect((await rig.send('GET /v1/openapi.json')).headers['cache-control']).toBe('public, max-age=300');
  });

  it('names no route that the table of permissions has not', () => {
    const described = Object.entries(description.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    );
    expect(described.filter((route) => !Object.hasOwn(PERMISSIONS, route))).toEqual([]);
  });

  it('refers to nothing that is not in it', () => {
    for (const reference of collect(description, '$ref') as string[]) {
      const found = reference
        .slice(2)
        .split('/')
        .reduce<unknown>((at, part) => (at as Record<string, unknown>)?.[part.replaceAll('~1', '/')], description);
      expect(found, reference).toBeDefined();
    }
  });

  it('tells nothing of the machine it runs on', () => {
    expect(text).not.toContain(process.cwd());
    expect(text).not.toMatch(/node_modules|\/home\/|\/root\//);
  });
});

describe.each(ROUTES)('%s', (route) => {
  it('is described, with who may use it', () => {
    const { operation, path } = locate(route);
    if (operation === undefined) throw new Error(`${route} is not described`);
    const roles: readonly Role[] = PERMISSIONS[route];
    expect(operation['x-roles']).toEqual(roles);
    expect(operation.security).toEqual(roles.includes('public') ? [{}, { token: [] }] : [{ token: [] }]);
    expect(operation.summary).toMatch(/^[A-Z].{5,}/);
    expect(operation.tags).toHaveLength(1);
    const inPath = (operation.parameters ?? []).filter(({ in: where }) => where === 'path');
    expect(inPath.map(({ name }) => `{${name}}`).sort()).toEqual((path.match(/\{\w+\}/g) ?? []).sort());
    expect(inPath.every(({ required }) => required)).toBe(true);
  });

  it('is described with what goes in and what comes out', () => {
    const { operation, method } = locate(route);
    if (operation === undefined) throw new Error(`${route} is not described`);
    const takesBody = method !== 'get';
    expect(operation.requestBody !== undefined).toBe(takesBody);
    const refusal = operation.responses.default.content?.['application/problem+json'];
    expect(refusal?.schema).toMatchObject({ required: expect.arrayContaining(['code', 'status', 'detail']) });
    const successes = Object.entries(operation.responses).filter(([status]) => /^2/.test(status));
    expect(successes).toHaveLength(1);
    const [[status, { content }]] = successes;
    const isSchemaless = status === '2XX';
    expect(isSchemaless, 'an answer has a schema, unless it is bytes or nothing').toBe(SCHEMALESS.test(route));
    if (!isSchemaless) expect(Object.values(content ?? {})[0]?.schema).toHaveProperty('type');
    const names = (operation.parameters ?? [])
      .filter(({ in: where }) => where === 'header')
      .map(({ name }) => name.toLowerCase());
    if (method === 'post') expect(names).toContain('idempotency-key');
    if (method === 'patch' || method === 'put') expect(names).toContain('if-match');
  });
});
