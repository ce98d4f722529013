import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { AddRoute } from '../../../src/control/http/route.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

let rig: ControlRig;
let port: number;
let sockets: Socket[] = [];
/** Held by a request to `POST /v1/webhooks` until the test lets it go. */
let release: () => void;
let entered: Promise<void>;

async function start(areas: ((add: AddRoute) => void)[] = [addTestRoutes], trustedProxies = 0): Promise<void> {
  rig = await createControlRig({
    areas,
    trustedProxies,
    timeouts: { requestMillis: 400, connectionMillis: 2000, checkMillis: 50, closeMillis: 1000 },
  });
  await rig.app.listen({ host: '127.0.0.1', port: 0 });
  port = (rig.app.server.address() as AddressInfo).port;
}

function addTestRoutes(add: AddRoute): void {
  const spec = { summary: 'A test', tag: 'Test' };
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let enter: () => void;
  entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  add({ ...spec, route: 'GET /healthz', storeless: true, handle: async () => ({ body: { status: 'alive' } }) });
  const body = z.strictObject({ text: z.string() });
  add({ ...spec, route: 'POST /v1/appeals', body, handle: async () => ({ audit: 'nothing changed' }) });
  add({
    ...spec,
    route: 'POST /v1/webhooks',
    async prepare() {
      enter();
      await held;
    },
    handle: async () => ({ status: 201, body: { done: true }, audit: { subject: 'webhooks/x' } }),
  });
}

beforeEach(() => start());
afterEach(async () => {
  release();
  for (const socket of sockets) socket.destroy();
  sockets = [];
  await rig.close().catch(() => {});
});

/** Opens a connection and collects what comes back until it is closed. */
function open(): { socket: Socket; closed: Promise<string>; text: () => string } {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  const closed = new Promise<string>((resolve) => socket.on('close', () => resolve(text)));
  return { socket, closed, text: () => text };
}

/** The status line and the problem of a raw answer. */
function parseAnswer(text: string): { status: number; problem: unknown } {
  const [head, body] = text.split('\r\n\r\n');
  expect(head).toMatch(/content-type: application\/problem\+json/i);
  return { status: Number(head.split(' ')[1]), problem: JSON.parse(body) };
}

const POST = 'POST /v1/appeals HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';

describe('a request that is slow', () => {
  it('in its body is given up', async () => {
    const { socket, closed } = open();
    socket.write(`${POST}content-length: 1000\r\n\r\n{"text":"`);
    const drip = setInterval(() => socket.write('x'), 50);
    const { status, problem } = parseAnswer(await closed);
    clearInterval(drip);
    expect([status, problem]).toEqual([408, expect.objectContaining({ status: 408, code: 'request-invalid' })]);
  });

  it('in its header fields is given up', async () => {
    const { socket, closed } = open();
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
    const drip = setInterval(() => socket.write('x-drip: 1\r\n'), 50);
    const { status } = parseAnswer(await closed);
    clearInterval(drip);
    expect(status).toBe(408);
  });

  it('does not hold up others', async () => {
    for (let count = 0; count < 200; count++) open().socket.write(`${POST}content-length: 1000\r\n\r\n{`);
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`);
    expect(answer.status).toBe(200);
  });
});

describe('a request that is no request', () => {
  it.each([
    ['nonsense', '\x16\x03\x01\x02\x00\x01\r\n\r\n'],
    ['both lengths', `${POST}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two lengths', `${POST}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`],
    ['a negative length', `${POST}content-length: -1\r\n\r\n`],
    ['a blank before the colon', 'GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n'],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n'],
  ])('for %s is refused', async (_case, text) => {
    const { socket, closed } = open();
    socket.write(text, 'latin1');
    expect(await closed).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('for header fields too long is refused', async () => {
    const { socket, closed } = open();
    socket.write(`GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`);
    const { status, problem } = parseAnswer(await closed);
    expect([status, problem]).toEqual([431, expect.objectContaining({ code: 'request-oversized' })]);
  });

  it('for very many header fields is refused', async () => {
    const { socket, closed } = open();
    socket.write(`GET /healthz HTTP/1.1\r\nhost: x\r\n${'a: b\r\n'.repeat(5000)}\r\n`);
    expect(parseAnswer(await closed).status).toBe(431);
  });

  it('for a path too long is refused', async () => {
    const { socket, closed } = open();
    socket.write(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`);
    expect(parseAnswer(await closed).status).toBe(431);
  });
});

describe('a body of 100 MB', () => {
  const TOTAL_BYTES = 100_000_000;
  const chunkOf = (bytes: Buffer) =>
    Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);

  it('announced as such is refused before it comes', async () => {
    const { socket, closed } = open();
    socket.write(`${POST}content-length: ${TOTAL_BYTES}\r\n\r\n`);
    expect(parseAnswer(await closed)).toEqual({
      status: 413,
      problem: expect.objectContaining({ code: 'request-oversized' }),
    });
  });

  it('that comes in chunks is refused after the first megabyte', async () => {
    const { socket, closed } = open();
    socket.write(`${POST}transfer-encoding: chunked\r\n\r\n`);
    for (let count = 0; count < 17; count++) socket.write(chunkOf(Buffer.alloc(65_536, ' ')));
    expect(parseAnswer(await closed).status).toBe(413);
  });

  it.each([
    ['announced', `content-length: ${TOTAL_BYTES}`, (bytes: Buffer) => bytes],
    ['in chunks', 'transfer-encoding: chunked', chunkOf],
  ])('%s is neither taken nor kept, however eagerly it is sent', async (_case, field, wrap) => {
    const before = process.memoryUsage().rss;
    const { socket, closed } = open();
    socket.write(`${POST}${field}\r\n\r\n`);
    const chunk = wrap(Buffer.alloc(1_000_000, ' '));
    let sentBytes = 0;
    while (sentBytes < TOTAL_BYTES && !socket.destroyed) {
      if (!socket.write(chunk)) await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
      sentBytes += chunk.length;
    }
    expect(sentBytes).toBeLessThan(TOTAL_BYTES / 2);
    expect(process.memoryUsage().rss - before).toBeLessThan(60_000_000);
  });
});

describe('a limit of requests', () => {
  const limited = (add: AddRoute) => {
    const spec = { summary: 'A test', tag: 'Test', limit: { max: 2, windowSeconds: 60 } };
    add({ ...spec, route: 'POST /v1/appeals', handle: async () => ({ audit: 'nothing changed' }) });
    add({ ...spec, route: 'GET /v1/statistics', handle: async () => ({ body: {} }) });
  };
  const ask = async (remoteAddress: string, route = 'POST /v1/appeals', headers = {}) => {
    return (await rig.send(route, { remoteAddress, headers })).statusCode;
  };

  beforeEach(async () => {
    await rig.close();
    await start([limited, addOthers], 0);
  });
  function addOthers(add: AddRoute) {
    add({ route: 'GET /v1/pack', summary: '', tag: 'Test', handle: async () => ({ body: {} }) });
  }

  it('counts each address by itself, and each route', async () => {
    expect([await ask('192.0.2.1'), await ask('192.0.2.1'), await ask('192.0.2.1')]).toEqual([204, 204, 429]);
    expect([await ask('192.0.2.2'), await ask('192.0.2.1', 'GET /v1/statistics')]).toEqual([204, 200]);
    for (let count = 0; count < 5; count++) expect(await ask('192.0.2.1', 'GET /v1/pack')).toBe(200);
  });

  it('says what it is and when to come back', async () => {
    await ask('192.0.2.1');
    await ask('192.0.2.1');
    const answer = await rig.send('POST /v1/appeals', { remoteAddress: '192.0.2.1' });
    expect(answer.json()).toMatchObject({ status: 429, code: 'request-limited' });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  it('counts a subnet of IPv6 as one, and IPv4 within IPv6 as what it is', async () => {
    expect([await ask('2001:db8::1'), await ask('2001:db8::2'), await ask('2001:db8:0:0:9::3')]).toEqual([
      204, 204, 429,
    ]);
    expect(await ask('2001:db8:0:1::1')).toBe(204);
    expect([await ask('::ffff:192.0.2.7'), await ask('192.0.2.7'), await ask('192.0.2.7')]).toEqual([204, 204, 429]);
  });

  it('does not believe X-Forwarded-For unless there are proxies to believe', async () => {
    const forged = (count: number) =>
      ask('192.0.2.1', 'POST /v1/appeals', { 'x-forwarded-for': `198.51.100.${count}` });
    expect([await forged(1), await forged(2), await forged(3)]).toEqual([204, 204, 429]);
  });

  it('believes as many proxies as there are', async () => {
    await rig.close();
    await start([limited], 1);
    const via = (list: string) => ask('192.0.2.1', 'POST /v1/appeals', { 'x-forwarded-for': list });
    expect([await via('198.51.100.1'), await via('198.51.100.1'), await via('198.51.100.1')]).toEqual([204, 204, 429]);
    expect(await via('198.51.100.2')).toBe(204);
    // What the client wrote in front of what the proxy added says nothing.
    expect(await via('203.0.113.9, 198.51.100.1')).toBe(429);
  });

  it('leaves no trace of addresses', async () => {
    for (let count = 0; count < 5; count++) await ask('192.0.2.251');
    const answer = await rig.send('POST /v1/appeals', { remoteAddress: '192.0.2.251' });
    const records = await rig.store.read(({ audit, idempotency }) =>
      Promise.all([audit.list({ limit: 100 }), idempotency.list({ limit: 100 })]),
    );
    expect(JSON.stringify([answer.headers, answer.body, records, rig.logged, rig.faults])).not.toContain('192.0.2.251');
  });

  it('comes after admission', async () => {
    expect((await rig.send('POST /v1/appeals', { as: { token: 'none' }, remoteAddress: '192.0.2.1' })).statusCode).toBe(
      401,
    );
  });
});

describe('closing', () => {
  it('lets a request under way finish, and takes no other', async () => {
    const agentless = { connection: 'keep-alive', 'content-type': 'application/json' };
    const headers = { ...agentless, authorization: `Bearer ${rig.tokens.admin}` };
    const idle = open();
    idle.socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
    const pending = fetch(`http://127.0.0.1:${port}/v1/webhooks`, { method: 'POST', headers, body: '{}' });
    await entered;
    let isClosed = false;
    const closing = rig.app.close().then(() => {
      isClosed = true;
    });
    expect(await idle.closed).toMatch(/^HTTP\/1\.1 200 /);
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
    expect(isClosed).toBe(false);
    release();
    const answer = await pending;
    expect([answer.status, await answer.json()]).toEqual([201, { done: true }]);
    await closing;
    expect(await rig.store.read(({ audit }) => audit.list({ limit: 10 }))).toHaveLength(1);
  });

  it('answers a request that was only beginning with 503', async () => {
    const { socket, closed } = open();
    socket.write('GET /healthz HTTP/1.1\r\n');
    await fetch(`http://127.0.0.1:${port}/healthz`); // by then the server has read the beginning, too
    const closing = rig.app.close();
    await sleep(20);
    socket.write('host: x\r\n\r\n');
    const { status, problem } = parseAnswer(await closed);
    expect([status, problem]).toEqual([503, expect.objectContaining({ code: 'server-closing' })]);
    await closing;
  });

  it('is not held up by a request that never ends', async () => {
    const { socket, closed } = open();
    socket.write(`${POST}content-length: 1000\r\n\r\n{`);
    const drip = setInterval(() => socket.write('x'), 50);
    await fetch(`http://127.0.0.1:${port}/healthz`);
    await rig.app.close();
    await closed;
    clearInterval(drip);
  });
});
