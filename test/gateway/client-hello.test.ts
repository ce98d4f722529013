import { createServer, type Server } from 'node:net';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_HELLO_BYTES, readClientHello } from '../../src/gateway/client-hello.ts';
import { hasProgram, runProgram } from '../support/programs.ts';
import { waitUntil } from '../support/wait.ts';

/** Hellos of real clients, gathered by a server that answers nothing. */
let server: Server;
let port: number;
let captured: Buffer[] = [];

beforeAll(async () => {
  server = createServer((socket) => {
    const index = captured.push(Buffer.alloc(0)) - 1;
    socket
      .on('error', () => {})
      .on('data', (chunk: Buffer) => {
        captured[index] = Buffer.concat([captured[index]!, chunk]);
        if (readClientHello(captured[index]!).kind !== 'incomplete') socket.destroy();
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});

afterAll(() => {
  server.close();
});

async function capture(ask: () => unknown): Promise<Buffer> {
  captured = [];
  await ask();
  return waitUntil('a hello', () => captured.find((one) => readClientHello(one).kind !== 'incomplete'));
}

const nodeHello = (options: object) =>
  capture(() => connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options }).on('error', () => {}));

/** Puts the hello into records of at most `size` octets. */
function fragment(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.of(22, 3, 1, part.length >> 8, part.length & 255), part);
  }
  return Buffer.concat(records);
}

const u16 = (value: number) => Buffer.of(value >> 8, value & 255);
const vector8 = (data: Buffer) => Buffer.concat([Buffer.of(data.length), data]);
const vector16 = (data: Buffer) => Buffer.concat([u16(data.length), data]);
const extension = (type: number, data: Buffer) => Buffer.concat([u16(type), vector16(data)]);
const serverName = (...names: string[]) =>
  extension(
    0,
    vector16(Buffer.concat(names.map((name) => Buffer.concat([Buffer.of(0), vector16(Buffer.from(name))])))),
  );

/** A hello made by hand. */
function composeHello(extensions: Buffer[] | undefined, behind = Buffer.alloc(0)): Buffer {
  const parts = [
    u16(0x0303),
    Buffer.alloc(32),
    vector8(Buffer.alloc(32)),
    vector16(Buffer.of(0x13, 1, 0x1a, 0x1a)),
    vector8(Buffer.of(0)),
  ];
  if (extensions !== undefined) parts.push(vector16(Buffer.concat(extensions)));
  const body = Buffer.concat([...parts, behind]);
  const message = Buffer.concat([Buffer.of(1, 0), u16(body.length), body]);
  const whole = Buffer.concat([Buffer.of(22, 3, 1), u16(message.length), message]);
  return message.length <= 16_384 ? whole : fragment(whole, 16_384);
}

const GREASE = extension(0x0a0a, Buffer.alloc(0));
const ECH = extension(0xfe0d, Buffer.alloc(200, 7));

describe('hellos of real clients', () => {
  it('of Node name their host', async () => {
    expect(readClientHello(await nodeHello({ servername: 'site.example' }))).toEqual({
      kind: 'hello',
      name: 'site.example',
    });
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('of Node with %s alone', async (version) => {
    const hello = await nodeHello({ servername: 'site.example', minVersion: version, maxVersion: version });
    expect(readClientHello(hello)).toEqual({ kind: 'hello', name: 'site.example' });
  });

  it('of Node may have no name', async () => {
    expect(readClientHello(await nodeHello({}))).toEqual({ kind: 'hello', name: undefined });
  });

  it.skipIf(!hasProgram('curl'))('of curl name their host', async () => {
    const hello = await capture(() =>
      runProgram('curl', [
        '-sk',
        '--max-time',
        '5',
        '--connect-to',
        `site.example:443:127.0.0.1:${port}`,
        'https://site.example/',
      ]),
    );
    expect(readClientHello(hello)).toEqual({ kind: 'hello', name: 'site.example' });
  });

  it.skipIf(!hasProgram('openssl'))('of openssl name their host, or none', async () => {
    const args = ['s_client', '-connect', `127.0.0.1:${port}`];
    const named = await capture(() => runProgram('openssl', [...args, '-servername', 'site.example'], 5_000));
    expect(readClientHello(named)).toEqual({ kind: 'hello', name: 'site.example' });
    const nameless = await capture(() => runProgram('openssl', [...args, '-noservername'], 5_000));
    expect(readClientHello(nameless)).toEqual({ kind: 'hello', name: undefined });
  });

  it('are read from records of any size, and at no point judged too early', async () => {
    const whole = await nodeHello({ servername: 'site.example' });
    for (const size of [1, 2, 3, 5, 50, 200, 16_384]) {
      const bytes = fragment(whole, size);
      if (bytes.length > MAX_HELLO_BYTES) continue;
      let needed = 1;
      for (let length = 0; length < bytes.length; length++) {
        const verdict = readClientHello(bytes.subarray(0, length));
        expect(verdict.kind).toBe('incomplete');
        if (verdict.kind !== 'incomplete') continue;
        expect(verdict.neededBytes).toBeGreaterThan(length);
        expect(verdict.neededBytes).toBeGreaterThanOrEqual(needed);
        expect(verdict.neededBytes).toBeLessThanOrEqual(bytes.length);
        needed = verdict.neededBytes;
      }
      expect(readClientHello(bytes)).toEqual({ kind: 'hello', name: 'site.example' });
    }
  });

  it('with one octet changed, cut or put in never throw', async () => {
    const whole = await nodeHello({ servername: 'site.example' });
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.constantFrom('set', 'cut', 'insert'), (at, octet, how) => {
        const bytes = Buffer.from(whole);
        if (how === 'set') bytes[at] = octet;
        const changed =
          how === 'cut'
            ? Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])
            : how === 'insert'
              ? Buffer.concat([bytes.subarray(0, at), Buffer.of(octet), bytes.subarray(at)])
              : bytes;
        const verdict = readClientHello(changed);
        expect(['incomplete', 'hello', 'malformed', 'not-tls', 'oversized']).toContain(verdict.kind);
        if (verdict.kind === 'incomplete') expect(verdict.neededBytes).toBeGreaterThan(changed.length);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe('hellos made by hand', () => {
  it.each([
    ['with GREASE before and behind', composeHello([GREASE, serverName('h.example'), GREASE]), 'h.example'],
    [
      'with an encrypted one inside: the outer name counts',
      composeHello([ECH, serverName('outer.example')]),
      'outer.example',
    ],
    [
      'with the name behind 12 kB of others',
      composeHello([extension(21, Buffer.alloc(12_000)), serverName('h.example')]),
      'h.example',
    ],
    [
      'in two records because of their size',
      composeHello([extension(21, Buffer.alloc(20_000)), serverName('h.example')]),
      'h.example',
    ],
    ['without the name', composeHello([GREASE]), undefined],
    ['without extensions', composeHello(undefined), undefined],
    [
      'with octets of the next record behind',
      Buffer.concat([composeHello([serverName('h.example')]), Buffer.of(20, 3, 3)]),
      'h.example',
    ],
  ])('%s', (_what, bytes, name) => {
    expect(readClientHello(bytes)).toEqual({ kind: 'hello', name });
  });

  it.each([
    ['two server names', composeHello([serverName('a.example'), serverName('b.example')]), 'malformed'],
    ['two names in the list', composeHello([serverName('a.example', 'b.example')]), 'malformed'],
    ['an empty name', composeHello([serverName('')]), 'malformed'],
    ['an empty list', composeHello([extension(0, Buffer.alloc(2))]), 'malformed'],
    ['another type of name', composeHello([extension(0, vector16(Buffer.from([1, 0, 1, 65])))]), 'malformed'],
    ['octets behind the extensions', composeHello([GREASE], Buffer.of(1)), 'malformed'],
    ['another handshake message', Buffer.of(22, 3, 1, 0, 4, 2, 0, 0, 0), 'malformed'],
    ['an empty record', Buffer.of(22, 3, 1, 0, 0), 'malformed'],
    ['a record above the largest', Buffer.of(22, 3, 1, 0x40, 1), 'malformed'],
    ['a hello above the limit', Buffer.of(22, 3, 1, 0x40, 0, 1, 0, 0x80, 1), 'oversized'],
    ['an alert instead', Buffer.of(21, 3, 1, 0, 2, 2, 0), 'not-tls'],
    [
      'application data between',
      Buffer.concat([fragment(composeHello([GREASE]), 10).subarray(0, 15), Buffer.of(23, 3, 3, 0, 1, 0)]),
      'malformed',
    ],
    ['SSL 2', Buffer.from('802e0100', 'hex'), 'not-tls'],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'not-tls'],
    ['SSH', Buffer.from('SSH-2.0-x\r\n'), 'not-tls'],
  ])('with %s are %s', (_what, bytes, kind) => {
    expect(readClientHello(bytes).kind).toBe(kind);
  });

  it('of any octets never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (tail, isHello) => {
        const bytes = isHello
          ? Buffer.concat([Buffer.of(22, 3, 1, 0, Math.min(255, tail.length + 4), 1, 0, 0, tail.length), tail])
          : tail;
        expect(['incomplete', 'hello', 'malformed', 'not-tls', 'oversized']).toContain(readClientHello(bytes).kind);
      }),
      { numRuns: 3_000 },
    );
  });
});
