import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Mirror, type MirrorRequest, openMirror } from '../../src/sync/mirror.ts';
import { makeFolder } from '../support/folders.ts';
import { waitUntil } from '../support/wait.ts';

/** What the server writes for a request; nothing more happens unless it does it. */
type Reply = (socket: Socket, head: string) => void;

const TIMEOUT_MILLIS = 200;
const FILE: MirrorRequest = { path: 'some/file', maxBytes: 1000 };

let server: Server;
let reply: Reply;
let heads: string[];
let sockets: Set<Socket>;
let mirror: Mirror;

beforeEach(async () => {
  heads = [];
  sockets = new Set();
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      for (let end = received.indexOf('\r\n\r\n'); end >= 0; end = received.indexOf('\r\n\r\n')) {
        heads.push(received.slice(0, end));
        received = received.slice(end + 4);
        reply(socket, heads.at(-1)!);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  mirror = openMirror(`${baseUrl()}/tree`, { timeoutMillis: TIMEOUT_MILLIS });
});

afterEach(async () => {
  await mirror.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

function baseUrl(): string {
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** A whole answer with these headers besides its length. */
function answer(status: number, body: string | Buffer = '', headers: Record<string, string> = {}): Reply {
  return (socket) => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${lines.join('')}\r\n`);
    socket.write(body);
  };
}

/** Gets a file and gives the outcome in a form that compares: kind and text, or the code. */
async function get(request: MirrorRequest = FILE, from: Mirror = mirror): Promise<string> {
  try {
    const { kind, bytes } = await from.get(request);
    return `${kind}:${bytes}`;
  } catch (error) {
    return String((error as { code?: string }).code ?? error);
  }
}

describe('a mirror behind HTTP', () => {
  test('gives a file, and says what it is asked for below its root', async () => {
    reply = answer(200, 'content', { etag: '"v1"' });
    expect(await mirror.get(FILE)).toMatchObject({ kind: 'whole', etag: '"v1"' });
    expect(heads[0]).toMatch(/^GET \/tree\/some\/file HTTP/);
    expect(heads[0]).toMatch(/accept-encoding: identity/i);
    expect(heads[0]).not.toMatch(/authorization|if-none-match|range/i);
    expect(mirror.receivedBytes).toBe(7);
  });

  test('sends what a request asks for, and the credential only then', async () => {
    reply = answer(200, 'x');
    await get({ ...FILE, etag: '"v1"', from: 5, authorization: 'Bearer secret' });
    await get(FILE);
    expect(heads[0]).toMatch(/if-none-match: "v1"/i);
    expect(heads[0]).toMatch(/range: bytes=5-/i);
    expect(heads[0]).toMatch(/authorization: Bearer secret/i);
    expect(heads[1]).not.toMatch(/Bearer/);
  });

  const ASKED = { ...FILE, from: 4 };
  const KNOWN = { ...FILE, etag: '"v1"' };
  const zeros = (sizeBytes: number) => Buffer.alloc(sizeBytes);

  const plain: [string, MirrorRequest, Reply, string][] = [
    ['an unchanged file', KNOWN, answer(304), 'unchanged:'],
    ['304 that was not asked for', FILE, answer(304), 'mirror-failed'],
    ['404', FILE, answer(404, 'not here'), 'absent:'],
    ['410', FILE, answer(410), 'absent:'],
    ['416: it has no more than is held', ASKED, answer(416, '', { 'content-range': 'bytes */4' }), 'absent:'],
    ['416 to no range', FILE, answer(416), 'absent:'],
    ['403', FILE, answer(403), 'mirror-failed'],
    ['500', FILE, answer(500, 'broken'), 'mirror-failed'],
    ['204', FILE, answer(204), 'mirror-failed'],
    ['a redirect', FILE, answer(302, '', { location: '/elsewhere' }), 'mirror-failed'],
    ['a redirect to another host', FILE, answer(301, '', { location: 'http://127.0.0.2:1/' }), 'mirror-failed'],
    ['the rest', ASKED, answer(206, 'rest', { 'content-range': 'bytes 4-7/8' }), 'rest:rest'],
    ['the whole where the rest was asked', ASKED, answer(200, 'the whole'), 'whole:the whole'],
    ['another range', ASKED, answer(206, 'rest', { 'content-range': 'bytes 5-8/9' }), 'mirror-failed'],
    [
      'a range that only begins alike',
      ASKED,
      answer(206, 'rest', { 'content-range': 'bytes 40-43/44' }),
      'mirror-failed',
    ],
    ['a range without saying which', ASKED, answer(206, 'rest'), 'mirror-failed'],
    ['a range that was not asked for', FILE, answer(206, 'x', { 'content-range': 'bytes 0-0/1' }), 'mirror-failed'],
    ['gzip', FILE, answer(200, zeros(20), { 'content-encoding': 'gzip' }), 'mirror-failed'],
    ['identity', FILE, answer(200, 'x', { 'content-encoding': 'identity' }), 'whole:x'],
    ['as much as allowed', FILE, answer(200, zeros(1000)), `whole:${zeros(1000)}`],
    ['one octet more than allowed', FILE, answer(200, zeros(1001)), 'response-oversized'],
    ['no HTTP', FILE, (socket) => socket.write('220 mail.example ESMTP\r\n\r\n'), 'mirror-failed'],
    ['endless headers', FILE, pourHeaders, 'mirror-failed'],
    ['a connection closed at once', FILE, (socket) => socket.destroy(), 'mirror-failed'],
    ['less than it announced', FILE, (socket) => socket.end('HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf'), 'mirror-failed'], // biome-ignore format: short
    ['chunks without an end', FILE, (socket) => socket.end('HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'), 'mirror-failed'], // biome-ignore format: short
    ['nothing', FILE, () => {}, 'response-slow'],
    ['headers and nothing', FILE, (socket) => socket.write('HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n'), 'response-slow'], // biome-ignore format: short
    ['a body without end', FILE, (socket) => pour(socket, 200), 'response-oversized'],
    ['an error page that does not come', FILE, (socket) => socket.write('HTTP/1.1 404 X\r\nContent-Length: 9\r\n\r\n'), 'absent:'], // biome-ignore format: short
    ['an error page without end', FILE, (socket) => pour(socket, 404), 'absent:'],
    ['another error page without end', FILE, (socket) => pour(socket, 503), 'mirror-failed'],
  ];

  test.each(plain)('%s', async (_, request, how, outcome) => {
    reply = how;
    expect(await get(request)).toBe(outcome);
    // It goes on working, and what was cut off is cut off: no connection goes on receiving.
    reply = answer(200, 'next');
    expect(await get()).toBe('whole:next');
    await waitUntil('connections that pour are closed', () => [...sockets].every((socket) => !pouring.has(socket)));
  });

  test('an octet now and then is too slow, however large the file may be', async () => {
    reply = (socket) => {
      socket.write(`HTTP/1.1 200 X\r\nContent-Length: ${1 << 28}\r\n\r\n`);
      const timer = setInterval(() => socket.write('.'), TIMEOUT_MILLIS / 10);
      socket.on('close', () => clearInterval(timer));
    };
    const began = performance.now();
    expect(await get({ path: 'annex', maxBytes: 1 << 28 })).toBe('response-slow');
    expect(performance.now() - began).toBeLessThan(20 * TIMEOUT_MILLIS);
  });

  test('a large file that keeps coming is not too slow', async () => {
    const part = Buffer.alloc(64 * 1024, 'x');
    const parts = 8;
    reply = (socket) => {
      socket.write(`HTTP/1.1 200 X\r\nContent-Length: ${parts * part.length}\r\n\r\n`);
      let sent = 0;
      const timer = setInterval(() => {
        socket.write(part);
        if (++sent === parts) clearInterval(timer);
      }, TIMEOUT_MILLIS / 2);
    };
    const { bytes } = await mirror.get({ path: 'annex', maxBytes: 1 << 20 });
    expect(bytes.length).toBe(parts * part.length);
  });

  test('an ETag that is none, or too long to send back, is not used', async () => {
    reply = answer(200, 'x', { etag: `"${'e'.repeat(4000)}"` });
    expect((await mirror.get(FILE)).etag).toBeUndefined();
  });

  test('a port where nobody listens', async () => {
    const nobody = openMirror('http://127.0.0.1:9/', { timeoutMillis: TIMEOUT_MILLIS });
    expect(await get(FILE, nobody)).toBe('mirror-failed');
    await nobody.close();
  });
});

const pouring = new WeakSet<Socket>();

/** Sends a body that never ends, for as long as someone reads. */
function pour(socket: Socket, status: number): void {
  pouring.add(socket);
  socket.write(`HTTP/1.1 ${status} X\r\nTransfer-Encoding: chunked\r\n\r\n`);
  const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536), Buffer.from('\r\n')]);
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}

function pourHeaders(socket: Socket): void {
  pouring.add(socket);
  socket.write('HTTP/1.1 200 X\r\n');
  const more = () => {
    while (!socket.destroyed && socket.write(`x-more: ${'y'.repeat(1000)}\r\n`));
  };
  socket.on('drain', more);
  more();
}

describe('a mirror in a folder', () => {
  let folder: string;
  let local: Mirror;

  beforeEach(() => {
    folder = makeFolder();
    mkdirSync(join(folder, 'some'));
    writeFileSync(join(folder, 'some/file'), 'content');
    local = openMirror(folder);
  });

  test.each([
    ['a file', FILE, 'whole:content'],
    ['its rest', { ...FILE, from: 3 }, 'rest:tent'],
    ['no more than is held', { ...FILE, from: 7 }, 'absent:'],
    ['less than is held', { ...FILE, from: 9 }, 'absent:'],
    ['no such file', { ...FILE, path: 'some/other' }, 'absent:'],
    ['a file where a folder should be', { ...FILE, path: 'some/file/x' }, 'absent:'],
    ['a folder', { ...FILE, path: 'some' }, 'absent:'],
    ['as much as allowed', { ...FILE, maxBytes: 7 }, 'whole:content'],
    ['more than allowed', { ...FILE, maxBytes: 6 }, 'response-oversized'],
    ['a rest that is allowed', { ...FILE, maxBytes: 6, from: 1 }, 'rest:ontent'],
  ])('%s', async (_, request, outcome) => {
    expect(await get(request, local)).toBe(outcome);
    expect(await get(request, openMirror(pathToFileURL(folder).href))).toBe(outcome);
  });

  test('a pipe that nobody writes to keeps nobody waiting', async () => {
    execFileSync('mkfifo', [join(folder, 'some/pipe')]);
    expect(await get({ ...FILE, path: 'some/pipe' }, local)).toBe('absent:');
  });

  test('a file is sent again only when it is another', async () => {
    const { etag } = await local.get(FILE);
    expect(await get({ ...FILE, etag }, local)).toBe('unchanged:');
    writeFileSync(join(folder, 'some/file'), 'CONTENT');
    expect(await get({ ...FILE, etag }, local)).toBe('whole:CONTENT');
  });

  test('an empty file is an empty file', async () => {
    truncateSync(join(folder, 'some/file'));
    expect(await get(FILE, local)).toBe('whole:');
  });
});
