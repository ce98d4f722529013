import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMISSIONS, type RouteName } from '../../../src/control/access/permissions.ts';
import type { Role } from '../../../src/control/access/roles.ts';
import type { ControlDesk } from '../../support/control-desk.ts';
import { COMPLETE, Drafting, nextReference, openDesk, STAY } from '../drafting/fixture.ts';

/** An account of the desk for each role that people have. */
const USERS: Partial<Record<Role, string>> = {
  ...{ 'case-officer': 'drafter', 'approving-officer': 'one', 'appeals-reviewer': 'reviewer' },
  ...{ auditor: 'auditor', admin: 'admin', operator: 'operator' },
};

const NOBODY = '01900000-0000-7000-8000-000000000000';

const ROUTES = (Object.keys(PERMISSIONS) as RouteName[]).filter((route) => / \/v1\//.test(route));

/** Texts that mean something to a database, a log, a shell, a path, a browser or a name; and some that are odd. */
const TEXTS = [
  "' or 1=1; drop table users; --",
  '$(reboot)`reboot`{{7*7}}',
  '../../../../etc/passwd',
  '<script>alert(1)</script>',
  '{"level":60,"msg":"forged"}',
  '__proto__',
  'constructor',
  'toString',
  '-1',
  '1e309',
  'NaN',
  '9'.repeat(400),
  'x'.repeat(5000),
  '\u0430pple.com',
  'xn--a',
  '2026-02-30T00:00:00Z',
  '9999-12-31T23:59:59Z',
  'http://169.254.169.254/latest/meta-data/',
  'file:///etc/passwd',
  'javascript:alert(1)',
  '\ud800',
  'a\u0000b',
  'a\u202eb',
  '\u{1f4a9}'.repeat(50),
];
const VALUES = [...TEXTS, null, true, 0, -1, 1.5, 1e308, 2 ** 53, [], {}, [[]], [null], { a: 1 }, { __proto__: null }];

interface Schema {
  type?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
}

/** A body of about the form that the API describes, with something odd in every place: `turn` says which. */
function compose(schema: Schema | undefined, turn: number, depth = 0): unknown {
  if (schema === undefined || depth > 8) return VALUES[turn % VALUES.length];
  const variants = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (variants !== undefined) return compose(variants[turn % variants.length], turn, depth + 1);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[turn % schema.enum.length];
  if (schema.type === 'object') {
    const entries = Object.entries(schema.properties ?? { [TEXTS[turn % TEXTS.length]]: {} });
    return Object.fromEntries(entries.map(([key, value], at) => [key, compose(value, turn + at, depth + 1)]));
  }
  if (schema.type === 'array') return [0, 1].map((at) => compose(schema.items, turn + at, depth + 1));
  if (schema.type === 'boolean') return turn % 2 === 0;
  if (schema.type === 'integer' || schema.type === 'number') return [0, 1, 2, -1, 366, 1e15][turn % 6];
  return TEXTS[turn % TEXTS.length];
}

let desk: ControlDesk;
/** What the API says that a route takes. */
let describeInput: (route: string) => { names: string[]; types: string[]; body?: Schema };

beforeAll(async () => {
  desk = await openDesk();
  const { body: description } = await desk.send(undefined, 'GET', '/v1/openapi.json');
  describeInput = (route) => {
    const [method, url] = route.split(' ');
    const operation = description.paths[url.replace(/:(\w+)/g, '{$1}')][method.toLowerCase()];
    const parameters: { in: string; name: string }[] = operation.parameters ?? [];
    const names = parameters.filter((one) => one.in === 'query').map(({ name }) => name);
    const content: Record<string, { schema: Schema }> = operation.requestBody?.content ?? {};
    return { names, types: Object.keys(content), body: content['application/json']?.schema };
  };
});
afterAll(() => desk.close());

const countEntries = () => desk.store.read(async ({ audit }) => (await audit.head())?.sequence ?? 0);

let count = 0;

/** Sends a request and requires that it ends in no fault; whether it was refused. */
async function send(
  route: RouteName,
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<boolean> {
  const roles: readonly Role[] = PERMISSIONS[route];
  const user = roles.map((role) => USERS[role]).find((one) => one !== undefined);
  const method = route.split(' ')[0] as 'GET';
  const isText = typeof body === 'string' || body instanceof Uint8Array;
  const { statusCode: status, body: text } = await desk.site.app.inject({
    ...{ method, url, remoteAddress: `10.${count >> 16}.${(count >> 8) & 255}.${count++ & 255}` }, // past any limit
    headers: {
      ...(user && { authorization: `Bearer ${desk.tokenOf(user)}` }),
      ...(method !== 'GET' && !isText && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(method !== 'GET' && { payload: isText ? Buffer.from(body) : JSON.stringify(body) }),
  });
  const answer = { status, body: status < 400 ? '' : JSON.parse(text) };
  const told = `${route} ${url} ${JSON.stringify(body)?.slice(0, 300)} → ${JSON.stringify(answer.body).slice(0, 300)}`;
  expect(answer.status, told).toBeLessThan(500);
  if (answer.status < 400) return false;
  expect(answer.body, told).toMatchObject({
    status: answer.status,
    code: expect.any(String),
    detail: expect.any(String),
  });
  return true;
}

/** Fills a path in with a record that is there, where one is easily made. */
async function locate(path: string): Promise<string> {
  const drafting = new Drafting(desk);
  if (path.startsWith('/v1/notices/')) return path.replace(':id', (await drafting.notice()).id);
  if (path.startsWith('/v1/stays/')) return path.replace(':id', (await drafting.stay()).id);
  return path.replace('/v1/users/:id', '/v1/users/operator').replace(/:\w+/g, NOBODY);
}

/** The ETag of the record that a path is about, as it is now. */
async function readTag(url: string): Promise<string> {
  const record = /^\/v1\/(?:notices|stays)\/[^/]+/.exec(url)?.[0];
  if (record === undefined) return '"1"';
  return String((await desk.send('auditor', 'GET', record)).headers.etag ?? '"1"');
}

describe.each(ROUTES)('%s', (route) => {
  const [, path] = route.split(' ');
  const plain = path.replace(/:\w+/g, NOBODY);

  it('meets odd parameters without a fault', async () => {
    const { names } = describeInput(route);
    expect(await send(route, `${plain}?nobody_asks=1`, {})).toBe(true);
    for (const odd of TEXTS.filter((text) => text.isWellFormed()).map(encodeURIComponent)) {
      if (path.includes(':')) await send(route, path.replace(/:\w+/g, odd), {});
      for (const name of names) await send(route, `${plain}?${name}=${odd}`, {});
    }
  });

  it('meets odd bodies without a fault', async () => {
    if (route.startsWith('GET')) return;
    const { body: schema, types } = describeInput(route);
    const url = await locate(path);
    for (const value of VALUES) await send(route, url, value);
    for (const type of ['application/octet-stream', ...types]) {
      for (const text of [...TEXTS, '', '\n', ',,,\n,,,', '{', '[', '"', 'name\n"', 'name,scope\n=1+1,x']) {
        await send(route, url, Buffer.from(text), { 'content-type': type, 'if-match': await readTag(url) });
      }
    }
    for (let turn = 0; turn < TEXTS.length; turn++) {
      await send(route, url, compose(schema, turn), { 'if-match': await readTag(url) });
    }
  });
});

/** `body` with each of its values, at any depth, replaced by `odd` in turn. */
function* spoil(body: unknown, odd: unknown): Generator<unknown> {
  yield odd;
  if (typeof body !== 'object' || body === null) return;
  for (const [key, value] of Object.entries(body)) {
    for (const spoilt of spoil(value, odd)) {
      yield Array.isArray(body) ? body.with(Number(key), spoilt) : { ...body, [key]: spoilt };
    }
  }
}

it.each<[RouteName, object]>([
  ['POST /v1/notices', COMPLETE],
  ['POST /v1/stays', STAY],
  ['POST /v1/users', { id: 'two', name: 'Two', roles: ['approving-officer'], authority: 'mcmc', oidcSubject: 'x' }],
  ['POST /v1/licensees', { number: 'NSP-9', name: 'Nine', classes: ['nsp'] }],
])('%s meets a body that is odd in one place without a fault', async (route, body) => {
  for (const odd of VALUES) {
    for (const spoilt of spoil(/notices|stays/.test(route) ? { reference: nextReference(), ...body } : body, odd)) {
      await send(route, route.split(' ')[1], spoilt);
    }
  }
});

it('of all that was refused nothing is on record', async () => {
  const entries = await countEntries();
  const refused: RouteName[] = [
    'POST /v1/notices',
    'POST /v1/users',
    'POST /v1/licensees',
    'POST /v1/webhooks',
    'POST /v1/takedowns',
  ];
  for (const route of refused) {
    for (const value of VALUES) expect(await send(route, route.split(' ')[1], value)).toBe(true);
  }
  expect(await countEntries()).toBe(entries);
});
