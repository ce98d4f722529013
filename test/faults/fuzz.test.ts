import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OUTCOME } from '../../src/metrics/shared-counters.ts';
import { ask, askStream, DatagramClient, frame, StreamClient } from '../support/dns-client.ts';
import { composeQuery, parseAnswer, TYPE } from '../support/dns-message.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

const NAMES = ['bad.example', 'www.bad.example', 'good.example', '.', 'a'.repeat(63), `${'x.'.repeat(120)}example`];

/** A well-formed query, with everything a query may carry. */
const query: fc.Arbitrary<Buffer> = fc
  .record({
    name: fc.constantFrom(...NAMES),
    type: fc.constantFrom(...Object.values(TYPE), 0, 65_535),
    qclass: fc.constantFrom(1, 3, 255),
    id: fc.nat(65_535),
    flags: fc.oneof(fc.constant(0x0100), fc.nat(65_535)),
    edns: fc.option(
      fc.record({
        udpBytes: fc.nat(65_535),
        version: fc.oneof(fc.constant(0), fc.nat(255)),
        flags: fc.nat(65_535),
        options: fc.array(
          fc.record({ code: fc.constantFrom(3, 8, 10, 11, 12, 15, 65_001), data: fc.uint8Array({ maxLength: 50 }) }),
          { maxLength: 4 },
        ),
      }),
      { nil: undefined },
    ),
  })
  .map(({ name, ...options }) => composeQuery(name, options));

/** What is done to a message's octets. */
const mutate = (message: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      message,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
      fc.option(fc.nat(), { freq: 2 }),
      fc.uint8Array({ maxLength: 40 }),
    )
    .map(([bytes, changes, cut, tail]) => {
      const changed = Buffer.from(bytes);
      for (const [at, value] of changes) changed[at % changed.length] = value;
      return Buffer.concat([cut === null ? changed : changed.subarray(0, cut % (changed.length + 1)), tail]);
    });

const message = fc.oneof(
  { weight: 2, arbitrary: query },
  { weight: 5, arbitrary: mutate(query) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1200, maxLength: 4500 }).map((bytes) => Buffer.from(bytes)) },
);

const isResponse = (bytes: Buffer) => bytes.length > 2 && (bytes[2]! & 0x80) !== 0;

/** Makes any message a response and gives it an identifier of its own. */
const asResponse = (bytes: Buffer, id: number) => {
  const response = Buffer.concat([bytes, Buffer.alloc(Math.max(0, 12 - bytes.length))]);
  response.writeUInt16BE(id, 0);
  response[2]! |= 0x80;
  return response;
};

/** Records of an upstream whose data may be anything, for the check of targets to read. */
const upstreamRecord = fc.record({
  type: fc.constantFrom(TYPE.CNAME, TYPE.DNAME, TYPE.SVCB, TYPE.HTTPS, TYPE.A, 255),
  data: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    // Pointers in every direction, their own place included.
    fc.array(fc.nat(60), { minLength: 1, maxLength: 4 }).map((at) => Uint8Array.from(at.flatMap((to) => [0xc0, to]))),
  ),
});

describe.each(['batch', 'dgram'] as const)('with %s I/O', (io) => {
  let upstream: StubUpstream;
  let node: TestNode;
  /** What the upstream answers queries for fuzz.* with; others get a plain answer. */
  let compose = (asked: Buffer): Buffer | undefined => composeReply(asked);

  beforeAll(async () => {
    upstream = await startStubUpstream(
      (asked) => {
        try {
          return asked.includes('fuzz') ? compose(asked) : composeReply(asked);
        } catch {
          return undefined; // a mutated query may have no question to answer
        }
      },
      { keep: true },
    );
    const resolver = { io, timeoutMillis: 60, attempts: 2, maxPending: 4096 };
    const site = await NodeSite.prepare({ upstreams: [upstream], resolver, answer: { structuredErrorOption: 65_001 } });
    site.register.notice('n', [{ subtree: 'bad.example' }]);
    node = await site.startHere();
  });

  afterAll(async () => {
    await node?.stop();
    await upstream?.close();
  });

  /** A blocked and a forwarded name are still answered as they should be. */
  const expectAlive = async () => {
    expect((await ask(node.server, 'www.bad.example', { edns: {} })).ede?.code).toBe(16);
    expect((await ask(node.server, 'good.example')).answers.length).toBe(1);
    expect(node.log.join('')).not.toContain('died');
  };

  test('any datagrams: no crash, no hang, and only well-formed responses to queries', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 20, maxLength: 60 }), async (messages) => {
        const client = new DatagramClient(node.server);
        for (const bytes of messages) client.send(bytes);
        await expectAlive();
        const queries = new Set(
          messages.filter((bytes) => !isResponse(bytes)).map((bytes) => bytes.toString('hex', 0, 2)),
        );
        for (const answer of client.strays) {
          expect(isResponse(answer)).toBe(true);
          expect(queries).toContain(answer.toString('hex', 0, 2));
        }
        client.close();
      }),
      { numRuns: 40 },
    );
  });

  test('responses are never answered and never forwarded', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 20, maxLength: 60 }), async (messages) => {
        const client = new DatagramClient(node.server);
        const forwarded = upstream.received.length;
        messages.forEach((bytes, id) => {
          client.send(asResponse(bytes, id));
        });
        // The same socket's messages are taken in order, so this one comes after all of them.
        const last = await client.exchange(composeQuery('bad.example', { id: 60_000 }));
        expect(parseAnswer(last!).rcode).toBe('NXDOMAIN');
        expect(client.strays).toEqual([]);
        const names = upstream.received.slice(forwarded).filter((asked) => !asked.includes('good'));
        // Of what reaches the upstream only the health check asks something else.
        expect(names.filter((asked) => asked.readUInt16BE(asked.length - 4) !== TYPE.NS)).toEqual([]);
        client.close();
      }),
      { numRuns: 20 },
    );
    const ignored = node.resolver.counters[1]!.outcome(OUTCOME.ignored);
    expect(ignored).toBeGreaterThan(200);
  });

  test('any octets over TCP: no crash, no hang, and responses end the connection', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(message, fc.boolean()), { minLength: 1, maxLength: 15 }),
        fc.array(fc.nat(200), { maxLength: 8 }),
        async (messages, cuts) => {
          const client = await StreamClient.open(node.server);
          const bytes = Buffer.concat(messages.map(([one, framed]) => (framed ? frame(one) : one)));
          let at = 0;
          for (const cut of cuts) {
            client.socket.write(bytes.subarray(at, at + cut));
            at += cut;
          }
          client.socket.write(bytes.subarray(at));
          expect((await askStream(node.server, 'bad.example')).rcode).toBe('NXDOMAIN');
          for (const answer of client.received) expect(isResponse(answer)).toBe(true);
          client.close();
        },
      ),
      { numRuns: 60 },
    );
    await expectAlive();
    const response = await StreamClient.open(node.server);
    response.send(asResponse(composeQuery('good.example'), 1));
    await waitUntil('the connection is closed', () => response.closed);
    expect(response.received).toEqual([]);
    await waitUntil('no connection is left', () => node.resolver.streams.connectionCount === 0, 30_000);
  });

  test('any replies of the upstream: each query is answered or fails, and none is blocked for nothing', async () => {
    const reply = fc.oneof(
      fc.tuple(upstreamRecord, fc.nat(255)).map(([record, count]) => (asked: Buffer) => {
        const composed = composeReply(asked, { type: record.type, data: Buffer.from(record.data) });
        composed[7] = count; // more or fewer records than there are
        return composed;
      }),
      mutate(fc.constant(Buffer.alloc(80))).map((noise) => (asked: Buffer) => {
        const composed = composeReply(asked);
        for (let i = 2; i < Math.min(noise.length, composed.length); i++) composed[i]! ^= noise[i]!;
        return composed;
      }),
      fc
        .uint8Array({ maxLength: 5000 })
        .map((bytes) => (asked: Buffer) => Buffer.concat([asked.subarray(0, 2), bytes])),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(reply, { minLength: 8, maxLength: 8 }), async (replies) => {
        compose = (asked) => replies[asked[12 + 5]! & 7]!(asked);
        const client = new DatagramClient(node.server);
        const names = Array.from({ length: 8 }, (_, i) => `fuzz${i}.example`);
        let answered = 0;
        await client.askAll(names, (_, answer) => {
          if (answer === undefined) return;
          answered++;
          expect(isResponse(answer)).toBe(true);
        });
        expect(answered).toBe(8);
        client.close();
        await expectAlive();
      }),
      { numRuns: 25 },
    );
  });
});
