import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { waitUntil } from '../support/wait.ts';
import { exchange, HOST, RawClient, startGateway } from './fixture.ts';

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

/** An origin that counts the requests that reached it whole or in part. */
async function startOrigin(): Promise<{ port: number; seen: string[] }> {
  const seen: string[] = [];
  const origin = createHttpServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    request.on('error', () => {});
    if (request.url === '/early') {
      response.writeHead(413, { 'Content-Length': 5 }).end('large');
      request.resume();
      return;
    }
    request.on('end', () => response.end('ok\n')).resume();
  });
  servers.push(origin);
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  return { port: (origin.address() as AddressInfo).port, seen };
}

/**
 * Sends all of `head` and `body`, whatever comes back meanwhile, and only then ends. Returns the answer, and the error that the
 * connection met if it did: a reset says that the client may have lost the answer.
 */
function sendAll(port: number, head: string, body: Buffer): Promise<{ answer: string; error: string | undefined }> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    let error: string | undefined;
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', (cause: NodeJS.ErrnoException) => {
      error = cause.code;
    });
    socket.on('close', () => resolve({ answer, error }));
    socket.write(head, 'latin1');
    socket.end(body);
  });
}

const BODY = Buffer.alloc(6_000_000, 'x');
const post = (target: string, host = HOST, more = '') =>
  `POST ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}Content-Length: ${BODY.length}\r\n\r\n`;

describe('a client that is still sending when it is refused', () => {
  let gateway: Gateway;
  let broken: Gateway;

  beforeAll(async () => {
    const origin = await startOrigin();
    gateway = await startGateway({ originPort: origin.port });
    broken = await startGateway({ originPort: 1 });
  });

  it.each([
    ['because the host is none of ours', post('/x', 'other.example'), 421],
    ['because its head is ambiguous', post('/x', HOST, 'Host: other.example\r\n'), 400],
    ['because its head cannot be parsed', post('/x', HOST, 'X : y\r\n'), 400],
    ['because its head is too large', post('/x', HOST, `X: ${'y'.repeat(20_000)}\r\n`), 431],
    ['because the method is not served', post('/x').replace('POST', 'TRACE'), 405],
    ['because nobody can meet what it expects', post('/x', HOST, 'Expect: tea\r\n'), 417],
    ['for a listed page, and asked to close', post('/listed', HOST, 'Connection: close\r\n'), 451],
    ['for a listed page, without waiting for 100', post('/listed', HOST, 'Expect: 100-continue\r\n'), 451],
    ['by the origin, early', post('/early'), 413],
    [
      'because a chunk is broken',
      `POST /x HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nzz\r\n`,
      400,
    ],
  ])('%s gets its answer and no reset', async (_why, head, status) => {
    const { answer, error } = await sendAll(gateway.httpPort, head, BODY);
    expect(error).toBeUndefined();
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
  });

  it('because the origin cannot be reached gets its answer and no reset', async () => {
    const { answer, error } = await sendAll(broken.httpPort, post('/x'), BODY);
    expect(error).toBeUndefined();
    expect(answer).toMatch(/^HTTP\/1\.1 502 /);
  });

  it('over HTTPS gets its alert and no reset', async () => {
    const { answer, error } = await sendAll(gateway.httpsPort, 'GET / HTTP/1.1\r\n\r\n', BODY);
    expect(error).toBeUndefined();
    expect(answer).toBe('');
    const malformed = await sendAll(gateway.httpsPort, '\x16\x03\x01\x00\x00', BODY);
    expect(malformed).toEqual({ answer: '\x15\x03\x03\x00\x02\x02\x32', error: undefined });
  });

  it('is not waited for without end', async () => {
    const before = gateway.readings.connections().http!;
    const client = new RawClient(gateway.httpPort).send(post('/x', 'other.example'));
    await client.waitForEnd();
    const silent = new RawClient(gateway.httpPort).send(post('/x', 'other.example'));
    await silent.waitFor(/421[\s\S]*\n$/);
    await waitUntil('the gateway gives up', () => gateway.readings.connections().http === before);
    silent.socket.destroy();
  });
});

describe('what becomes of a request is counted once', () => {
  const sum = (gateway: Gateway) => Object.values(gateway.readings.http()).reduce((all, one) => all + one, 0);
  const CHUNKED = `POST /x HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n`;

  it.each([
    ['a bad chunk', 'refused', `${CHUNKED}4\r\nabcd\r\nzz\r\n`],
    ['a bad chunk at the start', 'refused', `${CHUNKED}zz\r\n`],
    ['a bad chunk of a listed page', 'blocked', `${CHUNKED.replace('/x', '/listed')}zz\r\n`],
    ['a bad chunk of a host that is none of ours', 'misdirected', `${CHUNKED.replace(HOST, 'other.example')}zz\r\n`],
    ['a bad head', 'refused', 'GET / HTTP/1.1\r\nHost : x\r\n\r\n'],
    ['an upload that trickles', 'timed-out', `POST /x HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9\r\n\r\nabc`],
    ['a head that does not end', 'timed-out', `GET / HTTP/1.1\r\nHost: ${HOST}\r\n`],
    ['an expectation', 'refused', `GET / HTTP/1.1\r\nHost: ${HOST}\r\nExpect: tea\r\n\r\n`],
    ['CONNECT', 'refused', `CONNECT ${HOST}:80 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['an ordinary one', 'passed', `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`],
    [
      'an upgrade refused',
      'misdirected',
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
  ])('%s: %s', async (_what, outcome, request) => {
    const origin = await startOrigin();
    const limits = { headSeconds: 1, idleSeconds: 1, paceSeconds: 1 };
    const gateway = await startGateway({ originPort: origin.port, limits });
    await exchange(gateway.httpPort, request);
    await waitUntil('the end', () => gateway.readings.connections().http === 0);
    expect(gateway.readings.http()[outcome]).toBe(1);
    expect(sum(gateway)).toBe(1);
  });

  it('also when the rest of a blocked upload turns out bad after its answer', async () => {
    const gateway = await startGateway({ originPort: 1 });
    const client = new RawClient(gateway.httpPort).send(CHUNKED.replace('/x', '/listed'));
    await client.waitFor(/^HTTP\/1\.1 451 [\s\S]*\r\nConnection: close\r\n[\s\S]*authority\.example\n$/);
    client.send('zz\r\n');
    const answer = await client.waitForEnd();
    await waitUntil('the end', () => gateway.readings.connections().http === 0);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(gateway.readings.http().blocked).toBe(1);
    expect(sum(gateway)).toBe(1);
  });

  it('also when the client goes away in the middle', async () => {
    const silent = createServer((socket) => socket.on('error', () => {}));
    servers.push(silent);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const gateway = await startGateway({ originPort: (silent.address() as AddressInfo).port });
    const client = new RawClient(gateway.httpPort).send(
      `POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9\r\n\r\nab`,
    );
    await waitUntil('the connection', () => gateway.readings.connections().http === 1);
    await sleep(50);
    client.socket.resetAndDestroy();
    await waitUntil('the end', () => gateway.readings.connections().http === 0);
    expect(gateway.readings.http()['client-gone']).toBe(1);
    expect(sum(gateway)).toBe(1);
  });
});

describe('requests sent together', () => {
  const get = (target: string, host = HOST, more = '') => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
  const statuses = (answer: string) => [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));

  it.each([
    ['behind a host that is none of ours', get('/x', 'other.example'), [421]],
    ['behind two hosts', get('/x', HOST, `Host: ${HOST}\r\n`), [400]],
    ['behind a bad head', get('/x', HOST, 'X : y\r\n'), [400]],
    ['behind a wish to close', get('/x', HOST, 'Connection: close\r\n'), [200]],
    ['behind a request of HTTP/1.0', `GET /x HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`, [200]],
  ])('%s are not served', async (_what, first, expected) => {
    const origin = await startOrigin();
    const gateway = await startGateway({ originPort: origin.port });
    const answer = await exchange(gateway.httpPort, `${first}${get('/behind')}${get('/further')}`);
    expect(statuses(answer)).toEqual(expected);
    await waitUntil('the end', () => gateway.readings.connections().http === 0);
    expect(origin.seen).not.toContain('GET /behind');
    expect(Object.values(gateway.readings.http()).reduce((all, one) => all + one, 0)).toBe(1);
  });

  it('are answered in full before a bad one behind them is', async () => {
    const origin = await startOrigin();
    const gateway = await startGateway({ originPort: origin.port });
    const answer = await exchange(gateway.httpPort, `${get('/one')}${get('/listed')}${get('/two')}rubbish\r\n\r\n`);
    expect(statuses(answer)).toEqual([200, 451, 200, 400]);
    expect(gateway.readings.http()).toMatchObject({ passed: 2, blocked: 1, refused: 1 });
  });

  it('reach the origin one after another, so that their order keeps its meaning', async () => {
    let open = 0;
    let most = 0;
    const order: string[] = [];
    const slow = createHttpServer((request, response) => {
      open += 1;
      most = Math.max(most, open);
      order.push(request.url!);
      setTimeout(() => {
        open -= 1;
        response.end('ok\n');
      }, 30);
    });
    servers.push(slow);
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    const gateway = await startGateway({ originPort: (slow.address() as AddressInfo).port });
    const all = ['/1', '/2', '/3'].map(
      (target) => `POST ${target} HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1\r\n\r\nx`,
    );
    const answer = await exchange(gateway.httpPort, `${all.join('')}${get('/4', HOST, 'Connection: close\r\n')}`);
    expect(statuses(answer)).toEqual([200, 200, 200, 200]);
    expect(order).toEqual(['/1', '/2', '/3', '/4']);
    expect(most).toBe(1);
  });
});

describe('a client that takes nothing', () => {
  const limits = { stallSeconds: 1 };
  const origins = { headersSeconds: 1, bodySeconds: 1 };

  it.each([
    ['asks on and on', `GET /listed HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['asks behind a refusal', `GET /listed HTTP/1.1\r\nHost: other.example\r\n\r\n`],
  ])('and %s is closed, and costs no memory', async (_how, request) => {
    const gateway = await startGateway({ originPort: 1, limits, origins });
    const client = new RawClient(gateway.httpPort);
    client.socket.pause();
    await waitUntil('the connection', () => gateway.readings.connections().http === 1);
    const many = Buffer.from(request.repeat(1_000));
    const before = process.memoryUsage().heapUsed;
    let peak = before;
    const flood = () => {
      peak = Math.max(peak, process.memoryUsage().heapUsed);
      if (client.socket.writable) client.socket.write(many, () => setImmediate(flood));
    };
    flood();
    await waitUntil('the gateway closes', () => gateway.readings.connections().http === 0);
    expect(peak - before).toBeLessThan(64 * 2 ** 20);
    client.socket.destroy();
  });

  it('and waits is closed, too', async () => {
    const page = { html: 'x'.repeat(200_000), contentType: 'text/plain', language: 'en' };
    const gateway = await startGateway({ originPort: 1, limits, origins, renderNotice: () => page });
    const client = new RawClient(gateway.httpPort);
    client.socket.pause();
    await waitUntil('the connection', () => gateway.readings.connections().http === 1);
    // One after another, until the buffers between the two are full and an answer no longer gets out.
    const isAnswered = (count: number) => gateway.readings.http().blocked === count;
    for (let asked = 1; ; asked++) {
      client.send(`GET /listed HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
      for (let waited = 0; waited < 100 && !isAnswered(asked); waited++) await sleep(5);
      if (!isAnswered(asked)) break;
    }
    await waitUntil('the gateway closes', () => gateway.readings.connections().http === 0);
    client.socket.destroy();
  });
});
