import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type AddRoute, pageQuery } from '../../../src/control/http/route.ts';
import { type ControlRig, createControlRig, type RigRequest } from './control-rig.ts';

let rig: ControlRig;
/** Bodies that reached the handler. */
const seen: unknown[] = [];

const ID = '01900000-0000-7000-8000-000000000000';

function addTestRoutes(add: AddRoute): void {
  const spec = { summary: 'A test', tag: 'Test' };
  const handle = async ({ body }: { body: unknown }) => {
    seen.push(body);
    return { audit: 'nothing changed' as const };
  };
  const body = z.strictObject({ text: z.string().max(1_000_000), list: z.array(z.json()).optional() });
  add({ ...spec, route: 'POST /v1/takedowns', body, handle });
  // One that takes any JSON at all: nothing but the server's own bounds stands before its handler.
  add({ ...spec, route: 'POST /v1/webhooks', body: z.record(z.string(), z.any()), handle });
  add({ ...spec, route: 'POST /v1/notices/:id/approve', params: z.strictObject({ id: z.string() }), handle });
  add({ ...spec, route: 'PUT /v1/notices/:id/entries', raw: { types: ['text/csv'], maxBytes: 1000 }, handle });
  add({ ...spec, route: 'GET /v1/notices', query: pageQuery, handle: async () => ({ body: {} }) });
  add({ ...spec, route: 'GET /v1/users', handle: async () => ({ body: {} }) });
}

const json = { 'content-type': 'application/json' };

function post(body: RigRequest['body'], request: RigRequest = {}) {
  return rig.send('POST /v1/takedowns', { as: 'case-officer', headers: json, body, ...request });
}

function postAnything(body: RigRequest['body'], request: RigRequest = {}) {
  return rig.send('POST /v1/webhooks', { as: 'admin', headers: json, body, ...request });
}

beforeAll(async () => {
  rig = await createControlRig({ areas: [addTestRoutes] });
});
beforeEach(() => void seen.splice(0));
afterAll(() => rig.close());

/** Requires a refusal as a problem, that nothing ran and that nothing was logged. */
function expectRefused(answer: Awaited<ReturnType<typeof post>>, status: number, code: string) {
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(answer.headers['x-content-type-options']).toBe('nosniff');
  expect(answer.json()).toMatchObject({ type: 'about:blank', title: expect.any(String), status, code });
  expect([answer.statusCode, seen, rig.faults]).toEqual([status, [], []]);
}

describe('a body', () => {
  it('as it should be is taken', async () => {
    expect((await post({ text: 'plain' })).statusCode).toBe(204);
    expect(seen).toEqual([{ text: 'plain' }]);
  });

  it.each([
    ['of the wrong type', '{"text":7}'],
    ['with nothing in it', '{}'],
    ['with more than was asked for', '{"text":"x","role":"admin"}'],
    ['that is a list', '[]'],
    ['that is null', 'null'],
    ['that is a text', '"text"'],
    ['that ends too early', '{"text":"x"'],
    ['that goes on', '{"text":"x"}{}'],
    ['of blanks', '   '],
    ['with a comment', '{"text":"x"/**/}'],
    ['with NaN', '{"text":NaN}'],
    ['with __proto__', '{"text":"x","__proto__":{"admin":true}}'],
    ['with __proto__ by its escape', '{"text":"x","\\u005f_proto__":{"admin":true}}'],
    ['with constructor.prototype', '{"text":"x","constructor":{"prototype":{"admin":true}}}'],
  ])('%s is refused', async (_case, body) => {
    expectRefused(await post(body), 400, 'request-invalid');
    expect(({} as Record<string, unknown>).admin).toBeUndefined();
  });

  it('that is absent is refused where one is needed, whatever announces it', async () => {
    expectRefused(await post(''), 400, 'request-invalid');
    expectRefused(await post(undefined, { headers: {} }), 400, 'request-invalid');
  });

  it('may be absent, empty or {} where none is needed, and has nothing in it', async () => {
    const url = `POST /v1/notices/${ID}/approve`;
    for (const request of [{}, { headers: json }, { headers: json, body: '{}' }]) {
      expect((await rig.send(url, { as: 'approving-officer', ...request })).statusCode).toBe(204);
    }
    seen.length = 0;
    const answer = await rig.send(url, { as: 'approving-officer', headers: json, body: '{"approve":true}' });
    expectRefused(answer, 400, 'request-invalid');
  });

  it('says where it is at fault', async () => {
    const answer = await post({ text: 7 });
    expect(answer.json().errors).toEqual([{ path: 'body/text', message: expect.stringMatching(/expected string/i) }]);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'x',
  ])('of type %s is refused', async (type) => {
    expectRefused(await post('{"text":"x"}', { headers: { 'content-type': type } }), 415, 'media-unsupported');
  });

  it('without a type is refused', async () => {
    expectRefused(await post('{"text":"x"}', { headers: {} }), 415, 'media-unsupported');
  });

  it.each(['gzip', 'deflate', 'br', 'zstd', 'gzip, gzip'])('compressed by %s is refused unread', async (encoding) => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const headers = { ...json, 'content-encoding': encoding };
    expectRefused(await post(bomb, { headers }), 415, 'media-unsupported');
  });

  it('said to be compressed by nothing is taken', async () => {
    const headers = { ...json, 'content-encoding': 'identity' };
    expect((await post('{"text":"x"}', { headers })).statusCode).toBe(204);
  });

  it('that is no UTF-8 is refused', async () => {
    const parts = [Buffer.from('{"text":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')];
    expectRefused(await post(Buffer.concat(parts)), 400, 'request-invalid');
    expectRefused(await post(Buffer.from('{"text":"é"}', 'latin1')), 400, 'request-invalid');
    expectRefused(await post(Buffer.from('{"text":"x"}', 'utf16le')), 400, 'request-invalid');
  });

  it.each([
    ['lists', '[', ']'],
    ['objects', '{"a":', '}'],
  ])('nested deep in %s is refused', async (_case, open, close) => {
    for (const depth of [33, 1000, 150_000]) {
      const nested = `${open.repeat(depth)}1${close.repeat(depth)}`;
      expectRefused(await postAnything(`{"a":${nested}}`), 400, 'request-invalid');
      expectRefused(await postAnything(`{"a":${open.repeat(depth)}`), 400, 'request-invalid');
    }
    const nested = `${open.repeat(31)}1${close.repeat(31)}`;
    expect((await postAnything(`{"a":${nested}}`)).statusCode).toBe(204);
  });

  it('is measured by its brackets outside of texts', async () => {
    const text = '[{'.repeat(100);
    expect((await post(JSON.stringify({ text: `${text}\\"[${text}` }))).statusCode).toBe(204);
  });

  it('with very many items is taken as far as it is not too long', async () => {
    const answer = await post(`{"text":"x","list":[${'0,'.repeat(400_000)}0]}`);
    expect(answer.statusCode).toBe(204);
  });

  it('with very many faults tells a hundred of them', async () => {
    const answer = await post(`{"text":"x",${Array.from({ length: 20_000 }, (_, at) => `"k${at}":0`).join()}}`);
    expectRefused(answer, 400, 'request-invalid');
    expect(answer.body.length).toBeLessThan(100_000);
  });

  it('with a very long key is not quoted at length', async () => {
    expect((await post(`{"text":"x","${'k'.repeat(900_000)}":0}`)).body.length).toBeLessThan(2000);
    const hidden = await postAnything(`{"${'k'.repeat(900_000)}":"\\u0000"}`);
    expectRefused(hidden, 400, 'request-invalid');
    expect(hidden.body.length).toBeLessThan(2000);
  });

  it('that is too long is refused', async () => {
    expectRefused(await post(JSON.stringify({ text: 'x'.repeat(1024 * 1024) })), 413, 'request-oversized');
    const csv = { as: 'case-officer', headers: { 'content-type': 'text/csv' }, body: 'x'.repeat(1001) } as const;
    expectRefused(await rig.send(`PUT /v1/notices/${ID}/entries`, csv), 413, 'request-oversized');
  });

  it('of bytes is taken as it is, of the types the route names', async () => {
    const url = `PUT /v1/notices/${ID}/entries`;
    const request = { as: 'case-officer', body: Buffer.from([0, 1, 255]) } as const;
    expect((await rig.send(url, { ...request, headers: { 'content-type': 'text/csv' } })).statusCode).toBe(204);
    expect(seen).toEqual([Buffer.from([0, 1, 255])]);
    seen.length = 0;
    expectRefused(await rig.send(url, { ...request, headers: json }), 415, 'media-unsupported');
  });
});

describe('text', () => {
  /** Names in the table are what people call them. */
  const HIDDEN: [string, number][] = [
    ['NUL', 0x00],
    ['backspace', 0x08],
    ['escape', 0x1b],
    ['delete', 0x7f],
    ['next line', 0x85],
    ['soft hyphen', 0xad],
    ['zero-width space', 0x200b],
    ['left-to-right mark', 0x200e],
    ['line separator', 0x2028],
    ['paragraph separator', 0x2029],
    ['right-to-left override', 0x202e],
    ['word joiner', 0x2060],
    ['first strong isolate', 0x2068],
    ['Hangul filler', 0x3164],
    ['byte order mark', 0xfeff],
    ['interlinear annotation', 0xfff9],
    ['half a character', 0xd800],
    ['a tag', 0xe0041],
  ];

  it.each(HIDDEN)('with %s is refused wherever it stands', async (_name, code) => {
    const character = String.fromCodePoint(code);
    const inText = JSON.stringify({ text: `a${character}b` });
    expectRefused(await post(inText), 400, 'request-invalid');
    expectRefused(await postAnything({ deep: [{ er: `${character}` }] }), 400, 'request-invalid');
    expectRefused(await postAnything({ [`k${character}`]: 1 }), 400, 'request-invalid');
    if (!character.isWellFormed()) return;
    const encoded = encodeURIComponent(`a${character}`);
    const inPath = await rig.send(`POST /v1/notices/${encoded}/approve`, { as: 'approving-officer' });
    expectRefused(inPath, 400, 'request-invalid');
    const inQuery = await rig.send(`GET /v1/notices?cursor=${encoded}`, { as: 'auditor' });
    expectRefused(inQuery, 400, 'request-invalid');
  });

  it.each([
    'Notis Larangan\n\tdua baris\r\n',
    '网络诈骗（钓鱼、交友、投资）',
    'இணைய மோசடி (ஃபிஷிங்)',
    'می‌خواهم', // Persian needs a non-joiner
    '👩‍⚖️ ❤️', // emoji need joiners and variation selectors
    'e\u0301',
  ])('in any script is taken: %j', async (text) => {
    expect((await post({ text })).statusCode).toBe(204);
    expect(seen).toEqual([{ text }]);
  });

  it.each([
    `'; DROP TABLE users; --`,
    `" OR 1=1 --`,
    ['$', '{jndi:ldap://x}'].join(''),
    '{{7*7}} <script>alert(1)</script>',
    '%s%n%x %00',
    '\n{"level":60,"msg":"forged"}',
    '../../etc/passwd',
    '$ne',
  ])('that means something elsewhere is taken as it is: %j', async (text) => {
    expect((await post({ text })).statusCode).toBe(204);
    expect([seen, rig.logged]).toEqual([[{ text }], []]);
  });

  it('of every kind ends in a refusal or reaches the handler unaltered', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ stringUnit: 'binary' })),
        async (body) => {
          seen.length = 0;
          const { statusCode } = await postAnything(JSON.stringify(body));
          expect([204, 400]).toContain(statusCode);
          expect(seen).toEqual(statusCode === 204 ? [JSON.parse(JSON.stringify(body))] : []);
          expect(rig.faults).toEqual([]);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('parameters', () => {
  it.each([
    'GET /v1/notices?limit=0',
    'GET /v1/notices?limit=201',
    'GET /v1/notices?limit=1.5',
    'GET /v1/notices?limit=x',
    'GET /v1/notices?limit=',
    'GET /v1/notices?limit=1&limit=2',
    'GET /v1/notices?limit=1e3',
    'GET /v1/notices?limit=Infinity',
    'GET /v1/notices?cursor=',
    `GET /v1/notices?cursor=${'c'.repeat(301)}`,
    'GET /v1/notices?lmit=1',
    'GET /v1/notices?__proto__=1',
    'GET /v1/notices?constructor=1',
    'GET /v1/users?anything=1',
  ])('as in %s are refused', async (route) => {
    expectRefused(await rig.send(route, { as: 'auditor' }), 400, 'request-invalid');
  });

  it('as the route has them are taken', async () => {
    expect((await rig.send('GET /v1/notices?limit=200&cursor=x', { as: 'auditor' })).statusCode).toBe(200);
  });

  it('in a path that are no text are refused', async () => {
    for (const url of ['/v1/notices/%/approve', '/v1/notices/%c3%28/approve', '/v1/%zz']) {
      expectRefused(await rig.send(`POST ${url}`, { as: 'approving-officer' }), 400, 'request-invalid');
    }
  });

  it('in a path that are too long are refused', async () => {
    const answer = await rig.send(`POST /v1/notices/${'x'.repeat(301)}/approve`, { as: 'approving-officer' });
    expectRefused(answer, 414, 'request-oversized');
    expect(answer.body.length).toBeLessThan(1000);
  });
});
