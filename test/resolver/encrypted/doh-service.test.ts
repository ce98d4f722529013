import { type Duplex, duplexPair } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EncryptedCounters } from '../../../src/metrics/encrypted-counters.ts';
import { DohService } from '../../../src/resolver/encrypted/doh-service.ts';
import { FLAG, FRAME } from '../../../src/resolver/encrypted/http2/frame.ts';
import { VERDICT } from '../../../src/resolver/query-stages.ts';
import type { StreamClient, StreamExchange, TakeAnswer } from '../../../src/resolver/stream-exchange.ts';
import type { Field } from './naive-hpack.ts';
import { BEGINNING, block, frame, settle } from './raw-http2.ts';

const SWEEP_MILLIS = 500;
/** Far more than a connection that is not read holds. */
const LARGE_ANSWER = new Uint8Array(60_000);
const REQUEST = 'GET /dns-query?dns=AAAA HTTP/1.1\r\nHost: x\r\n\r\n';

let now = 0;
let later: TakeAnswer[] = [];
let counters: EncryptedCounters;
let service: DohService;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  now = 0;
  later = [];
  counters = new EncryptedCounters();
  service = new DohService({
    path: '/dns-query',
    limits: { maxStreams: 8, idleSeconds: 30, requestSeconds: 5 },
    exchange: { ask } as unknown as StreamExchange,
    counters,
    monotonicMillis: () => now,
  });
});
afterEach(() => {
  service.finish();
  service.destroy();
  vi.useRealTimers();
});

/** Leaves every query to the test; no octets are no query. */
function ask(...[, , length, , , takeLater]: Parameters<StreamExchange['ask']>): number {
  if (length === 0) return VERDICT.DROP;
  later.push(takeLater);
  return VERDICT.FORWARD;
}

/** Opens a connection whose handshake is done. */
function open(alpnProtocol: string): { client: Duplex; socket: Duplex } {
  const [client, socket] = duplexPair({ highWaterMark: 1_024 });
  for (const end of [client, socket]) end.on('error', () => {});
  service.serve(Object.assign(socket, { alpnProtocol }) as unknown as TLSSocket, {} as StreamClient);
  return { client, socket };
}

async function pass(seconds: number): Promise<void> {
  for (let step = 0; step < seconds * 2; step++) {
    now += SWEEP_MILLIS;
    vi.advanceTimersByTime(SWEEP_MILLIS);
    await settle();
  }
}

describe('HTTP/1.1', () => {
  test('a client that does not take its answer is cut off', async () => {
    const { client, socket } = open('http/1.1');
    client.write(REQUEST);
    await settle();
    later[0]!(LARGE_ANSWER, 0, LARGE_ANSWER.length);
    await pass(5);
    expect([socket.destroyed, counters.streams]).toEqual([false, 1]);
    await pass(1);
    expect([socket.destroyed, counters.streams]).toEqual([true, 0]);
  });

  test('one that waits for its answer is not, nor one that takes them one by one', async () => {
    const { client, socket } = open('http/1.1');
    client.write(REQUEST.repeat(3));
    await settle();
    // What is answered first waits for the one before it: the client is not to blame.
    later[1]!(LARGE_ANSWER, 0, LARGE_ANSWER.length);
    later[2]!(LARGE_ANSWER, 0, LARGE_ANSWER.length);
    await pass(60);
    expect([socket.destroyed, counters.streams]).toEqual([false, 3]);
    later[0]!(LARGE_ANSWER, 0, LARGE_ANSWER.length);
    let received = 0;
    const take = () => {
      received += client.read()?.length ?? 0;
    };
    for (let at = 0; at < 40; at++) {
      await pass(1);
      take();
    }
    expect(received).toBeGreaterThan(3 * LARGE_ANSWER.length);
    expect(counters.streams).toBe(0);
  });

  test('a request that comes when the connection was ended does not keep it', async () => {
    const { client, socket } = open('http/1.1');
    await pass(30.5);
    expect([socket.writableEnded, socket.destroyed]).toEqual([true, false]);
    client.write(REQUEST);
    await settle();
    expect(counters.streams).toBe(1);
    later[0]!(LARGE_ANSWER, 0, LARGE_ANSWER.length);
    await pass(6);
    expect([socket.destroyed, counters.streams]).toEqual([true, 0]);
  });

  test('a request under way is answered before the connection ends', async () => {
    const { client } = open('http/1.1');
    let ended = false;
    let text = '';
    client.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    client.on('end', () => {
      ended = true;
    });
    client.write(REQUEST);
    await settle();
    service.finish();
    await settle();
    expect(ended).toBe(false);
    later[0]!(new Uint8Array(12), 0, 12);
    await settle();
    expect(text).toContain('200 OK');
    expect(ended).toBe(true);
  });
});

test('a POST without a body is no query, and leaves nothing under way', async () => {
  const { client } = open('h2');
  const fields: Field[] = [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':path', '/dns-query'],
    ['content-type', 'application/dns-message'],
  ];
  client.write(Buffer.concat([BEGINNING, frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, block(fields))]));
  await settle();
  expect([counters.streams, counters.statuses.get(400)]).toEqual([0, 1]);
});

test.each(['h2', 'http/1.1'])('a connection by %s without a request is closed', async (protocol) => {
  const { client, socket } = open(protocol);
  let ended = false;
  client.resume().on('end', () => {
    ended = true;
  });
  await pass(30);
  expect([socket.destroyed, ended]).toEqual([false, false]);
  await pass(3);
  expect([socket.destroyed, ended]).toEqual([true, true]);
});
