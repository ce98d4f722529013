import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EDE } from '../../src/dns/constants.ts';
import {
  createCounterBuffer,
  SharedCounters,
  UPSTREAM_OUTCOME,
  type UpstreamOutcome,
} from '../../src/metrics/shared-counters.ts';
import { parseSocketAddress } from '../../src/resolver/socket-address.ts';
import {
  type ForwardResult,
  StreamForwarder,
  type StreamForwarderOptions,
} from '../../src/resolver/stream-forwarder.ts';
import { composeOption, composeQuery, composeRecord, parseMessage } from '../dns/message.ts';
import { type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import { CLIENT, replyTo, sockaddrOf } from './fixture.ts';

const address = composeRecord({ owner: Uint8Array.of(0xc0, 0x0c), type: 1, ttl: 300, data: Uint8Array.of(1, 2, 3, 4) });
const TRUNCATED = 0x8380;

let first: FakeUpstream;
let second: FakeUpstream;
let counters: SharedCounters;
beforeEach(async () => {
  [first, second] = await Promise.all([startFakeUpstream(), startFakeUpstream()]);
  counters = new SharedCounters(createCounterBuffer());
});
afterEach(() => {
  first.close();
  second.close();
});

function createForwarder(options: Partial<StreamForwarderOptions> = {}): StreamForwarder {
  return new StreamForwarder({
    ...{ upstreams: [first.address], upstreamUp: new Int32Array(2).fill(1), counters },
    ...{ timeoutMillis: 5_000, attempts: 3, maxPending: 10, proxyProtocol: false },
    ...options,
  });
}

const query = composeQuery({ id: 0xbeef, name: 'A.Example' });

function forward(forwarder: StreamForwarder, message = query): Promise<ForwardResult> {
  return forwarder.forward({
    message,
    questionBytes: 12 + 'A.Example'.length + 6,
    peer: sockaddrOf(CLIENT),
    listener: parseSocketAddress('192.0.2.1:53', 53),
  });
}

const parsed = (result: ForwardResult) => {
  if ('ede' in result) throw new Error(`failed with EDE ${result.ede}`);
  return parseMessage(result.reply);
};
const counted = (outcome: UpstreamOutcome) => counters.upstream(UPSTREAM_OUTCOME[outcome]);

describe('StreamForwarder', () => {
  it('asks by UDP under an identifier of its own and gives the reply the client’s', async () => {
    const ids = new Set<number>();
    first.onDatagram = (message) => {
      ids.add(message.readUInt16BE(0));
      return [replyTo(message, [address])];
    };
    const forwarder = createForwarder();
    for (let i = 0; i < 8; i++) {
      const reply = parsed(await forward(forwarder));
      expect(reply.header).toMatchObject({ id: 0xbeef, ancount: 1 });
      expect(reply.questions[0]!.name).toBe('A.Example');
    }
    expect(ids.size).toBeGreaterThan(4);
    expect(counted('answered')).toBe(8);
  });

  it.each([
    ['another identifier', (reply: Uint8Array) => reply.with(1, reply[1]! ^ 1)],
    ['another question', (reply: Uint8Array) => reply.with(13, 0x62)],
    ['no QR', (reply: Uint8Array) => reply.with(2, 1)],
    ['too few octets', (reply: Uint8Array) => reply.slice(0, 5)],
  ])('waits on when a reply has %s', async (_, spoil) => {
    first.onDatagram = (message) => [spoil(replyTo(message)), replyTo(message, [address])];
    expect(parsed(await forward(createForwarder())).header.ancount).toBe(1);
  });

  it('asks again by TCP when the reply is truncated', async () => {
    first.onDatagram = (message) => [replyTo(message, [], TRUNCATED)];
    first.onStream = (received) => [replyTo(received.subarray(2), [address, address])];
    expect(parsed(await forward(createForwarder())).header).toMatchObject({ id: 0xbeef, tc: 0, ancount: 2 });
  });

  it('asks by TCP at once when the query is too long for a datagram', async () => {
    first.onDatagram = () => {
      throw new Error('asked by UDP');
    };
    first.onStream = (received) =>
      received.length < 2 + received.readUInt16BE(0) ? [] : [replyTo(received.subarray(2), [address])];
    const long = composeQuery({
      id: 1,
      name: 'A.Example',
      opt: { options: [composeOption(100, new Uint8Array(2_000))] },
    });
    expect(parsed(await forward(createForwarder(), long)).header.ancount).toBe(1);
  });

  it('takes a wrong answer over TCP for a failure', async () => {
    first.onDatagram = (message) => [replyTo(message, [], TRUNCATED)];
    first.onStream = (received) => [replyTo(received.subarray(2)).with(13, 0x62)];
    expect(await forward(createForwarder({ attempts: 1 }))).toEqual({ ede: EDE.NETWORK_ERROR });
  });

  it('goes on to the other upstream when one keeps silent', async () => {
    second.onDatagram = (message) => [replyTo(message, [address])];
    const upstreams = [first.address, second.address];
    const forwarder = createForwarder({ upstreams, timeoutMillis: 400, attempts: 2 });
    for (let i = 0; i < 2; i++) expect(parsed(await forward(forwarder)).header.ancount).toBe(1);
    expect(counted('timed_out')).toBeLessThanOrEqual(2);
  });

  it('asks only what is up, and all the same when nothing is', async () => {
    const asked: string[] = [];
    first.onDatagram = (message) => {
      asked.push('first');
      return [replyTo(message)];
    };
    second.onDatagram = (message) => {
      asked.push('second');
      return [replyTo(message)];
    };
    const upstreamUp = Int32Array.of(0, 1);
    const forwarder = createForwarder({ upstreams: [first.address, second.address], upstreamUp });
    for (let i = 0; i < 3; i++) await forward(forwarder);
    expect(asked).toEqual(['second', 'second', 'second']);
    upstreamUp.fill(0);
    await forward(forwarder);
    expect(asked).toHaveLength(4);
  });

  it('fails with EDE 22 when nobody answers, after as many attempts as allowed', async () => {
    let asked = 0;
    first.onDatagram = () => {
      asked++;
      return [];
    };
    expect(await forward(createForwarder({ timeoutMillis: 60, attempts: 3 }))).toEqual({
      ede: EDE.NO_REACHABLE_AUTHORITY,
    });
    expect([asked, counted('timed_out'), counted('retried')]).toEqual([3, 3, 2]);
  });

  it('fails with EDE 23 when the upstream refuses', async () => {
    const closed = await startFakeUpstream();
    closed.close();
    expect(await forward(createForwarder({ upstreams: [closed.address] }))).toEqual({ ede: EDE.NETWORK_ERROR });
    expect(counted('refused')).toBe(3);
  });

  it('takes no more than its share at once, and takes more when that is done', async () => {
    const forwarder = createForwarder({ maxPending: 2, timeoutMillis: 400, attempts: 1 });
    const pending = [forward(forwarder), forward(forwarder)];
    expect(await forward(forwarder)).toEqual({ ede: EDE.NO_REACHABLE_AUTHORITY });
    expect(counted('timed_out')).toBe(0);
    await Promise.all(pending);
    first.onDatagram = (message) => [replyTo(message, [address])];
    expect(parsed(await forward(forwarder)).header.ancount).toBe(1);
  });

  it('puts a PROXY header in front, over UDP and over TCP', async () => {
    const seen: string[] = [];
    const strip = (message: Buffer, more: number): Buffer => {
      seen.push(message.subarray(12, 28).toString('hex'));
      return message.subarray(28 + more);
    };
    first.onDatagram = (message) => [replyTo(strip(message, 0), [], TRUNCATED)];
    first.onStream = (received) => [replyTo(strip(received, 2), [address])];
    expect(parsed(await forward(createForwarder({ proxyProtocol: true }))).header.ancount).toBe(1);
    const [from, to] = ['c0000207', 'c0000201'];
    expect(seen).toEqual([`2112000c${from}${to}115c0035`, `2111000c${from}${to}115c0035`]);
  });
});
