import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EDE, RCODE } from '../../src/dns/constants.ts';
import { ACTION, UPSTREAM_OUTCOME } from '../../src/metrics/shared-counters.ts';
import { MAX_QUERY_BYTES } from '../../src/resolver/io/datagram-io.ts';
import {
  composeOption,
  composeQuery,
  composeRecord,
  edeOf,
  join,
  optOf,
  parseMessage,
  readOptions,
  wireName,
  words,
} from '../dns/message.ts';
import { buildTable, NOW } from '../rules/fixture.ts';
import { CLIENT, CLIENT6, parseAnswer, replyTo, STRUCTURED, TestPlane } from './fixture.ts';

const table = () =>
  buildTable([
    { name: 'tree.example', entry: 1 },
    { name: 'ok.tree.example', action: 'passthru', entry: 1 },
    { name: 'exact.example', trigger: 'exact', entry: 2 },
    { name: 'ends.example', until: NOW + 20, entry: 3 },
    { name: 'other.example', entry: 4 },
  ]);

const cname = (target: string, owner: Uint8Array = Uint8Array.of(0xc0, 0x0c)) =>
  composeRecord({ owner, type: 5, ttl: 300, data: wireName(target) });
const address = composeRecord({ owner: Uint8Array.of(0xc0, 0x0c), type: 1, ttl: 300, data: Uint8Array.of(1, 2, 3, 4) });

describe('a query that no rule covers', () => {
  it('is forwarded under another identifier and answered under its own', () => {
    const test = new TestPlane({ table: table() });
    const query = composeQuery({ id: 0xbeef, name: 'Fine.Example', opt: { options: [composeOption(100)] } });
    const ids = new Set<number>();
    for (let i = 0; i < 40; i++) {
      expect(test.ask(query)).toBeUndefined();
      const { message, port } = test.forwarded;
      ids.add(parseMessage(message).header.id);
      expect([...message.slice(2)]).toEqual([...query.slice(2)]);
      const answer = test.reply(port, replyTo(message, [address]))!;
      expect(answer).toMatchObject({ client: CLIENT, listener: 0 });
      const passed = composeQuery({ id: 0xbeef, flags: 0x8180, name: 'Fine.Example', answers: [address] });
      expect([...answer.message]).toEqual([...passed]);
    }
    expect(ids.size).toBeGreaterThan(30);
    expect(test.outcomes).toEqual({ forwarded: 40 });
  });

  it('is answered from the listener it came to, over IPv6 too', () => {
    const test = new TestPlane();
    test.ask({}, CLIENT6, 1);
    expect(test.reply(test.forwarded.port, replyTo(test.forwarded.message))).toMatchObject({
      client: CLIENT6,
      listener: 1,
    });
  });

  it('gets the spelling of its name back', () => {
    const test = new TestPlane();
    test.ask({ name: 'wWw.ExAmPlE' });
    const { message, port } = test.forwarded;
    const { id } = parseMessage(message).header;
    const lowered = composeQuery({ id, flags: 0x8180, name: 'www.example', answers: [address] });
    expect(parseAnswer(test.reply(port, lowered)).questions[0]!.name).toBe('wWw.ExAmPlE');
  });

  it('of another class is forwarded though a rule covers its name', () => {
    const test = new TestPlane({ table: table() });
    expect(test.ask({ name: 'tree.example', qclass: 3 })).toBeUndefined();
    expect(test.outcomes).toEqual({ forwarded: 1 });
  });

  it.each([
    [4096, 1232],
    [1233, 1232],
    [1232, 1232],
    [512, 512],
    [100, 100],
  ])('with a payload size of %d asks upstream for %d', (udpBytes, asked) => {
    const test = new TestPlane();
    test.ask({ opt: { udpBytes, flags: 0x8000 } });
    expect(optOf(parseMessage(test.forwarded.message))).toMatchObject({ class: asked, doFlag: true });
  });

  it('is too long for a slot: counted and dropped', () => {
    const test = new TestPlane();
    const query = composeQuery();
    const option = composeOption(100, new Uint8Array(MAX_QUERY_BYTES - query.length - 11 - 4));
    expect(composeQuery({ opt: { options: [option] } })).toHaveLength(MAX_QUERY_BYTES);
    test.ask({ opt: { options: [option] } });
    expect([test.io.forwards.length, test.outcomes]).toEqual([0, { malformed: 1 }]);
    test.ask({ opt: { options: [composeOption(100, option.slice(5))] } });
    expect(test.io.forwards).toHaveLength(1);
  });

  it('has a PROXY header before it where that is set', () => {
    const test = new TestPlane({ forward: { proxyProtocol: true } });
    const query = composeQuery();
    test.ask(query, CLIENT, 0);
    test.ask(query, CLIENT6, 1);
    const [first, second] = test.io.forwards.map(({ message }) => message);
    const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21];
    expect([...first!.slice(0, 28)]).toEqual([
      ...[...signature, 0x12, 0, 12, 192, 0, 2, 7, 192, 0, 2, 1],
      ...[4444 >> 8, 4444 & 255, 0, 53],
    ]);
    expect([...first!.slice(30)]).toEqual([...query.slice(2)]);
    const host = (last: number) => [0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0), last];
    expect([...second!.slice(0, 52)]).toEqual([
      ...[...signature, 0x22, 0, 36, ...host(7), ...host(1)],
      ...[5555 >> 8, 5555 & 255, 0, 53],
    ]);
    expect([...second!.slice(54)]).toEqual([...query.slice(2)]);
    test.pass(1_000);
    expect(test.forwarded.message.slice(0, 13)).toEqual(Uint8Array.from(signature));
  });
});

describe('a reply', () => {
  const ask = () => {
    const test = new TestPlane();
    test.ask({ name: 'a.example', id: 1 });
    const { message, port } = test.forwarded;
    return { test, port, good: replyTo(message, [address]) };
  };
  const change = (message: Uint8Array, at: number, xor: number) => message.with(at, message[at]! ^ xor);

  it.each([
    ['another identifier', (good: Uint8Array) => change(good, 1, 1)],
    ['another name', (good: Uint8Array) => change(good, 13, 1)],
    ['another type', (good: Uint8Array) => change(good, 24, 1)],
    ['no QR', (good: Uint8Array) => change(good, 2, 0x80)],
    ['two questions', (good: Uint8Array) => change(good, 5, 3)],
    ['a question cut short', (good: Uint8Array) => good.slice(0, 26)],
    ['11 octets', (good: Uint8Array) => good.slice(0, 11)],
    ['nothing', () => new Uint8Array(0)],
  ])('with %s is not passed on, and the right one still is', (_, spoil) => {
    const { test, port, good } = ask();
    expect(test.reply(port, spoil(good))).toBeUndefined();
    expect(test.counters.upstream(UPSTREAM_OUTCOME.unmatched)).toBe(1);
    expect(parseAnswer(test.reply(port, good)).header.id).toBe(1);
  });

  it.each([0, 1, 2, 3])('through another port than the query left by is not passed on (%d)', (shift) => {
    const { test, port, good } = ask();
    const other = (port + shift) % 4;
    expect(test.reply(other, good) === undefined).toBe(other !== port);
  });

  it('is passed on once', () => {
    const { test, port, good } = ask();
    expect(test.reply(port, good)).toBeDefined();
    expect(test.reply(port, good)).toBeUndefined();
  });

  it('to an earlier attempt is not passed on', () => {
    const { test, port, good } = ask();
    test.pass(1_000);
    const second = test.forwarded;
    expect(test.reply(port, good)).toBeUndefined();
    expect(test.reply(second.port, replyTo(second.message))).toBeDefined();
  });

  it('of an error without a question gets the question back', () => {
    const { test, port, good } = ask();
    const header = join(good.slice(0, 2), words(0x8185, 0, 0, 0, 0));
    const parsed = parseAnswer(test.reply(port, header));
    expect(parsed.header).toMatchObject({ id: 1, rcode: RCODE.REFUSED, qdcount: 1 });
    expect(parsed.questions[0]).toMatchObject({ name: 'a.example', type: 1, class: 1 });
  });

  it.each([
    ['without EDNS', undefined, 512],
    ['with 512', { udpBytes: 512 }, 512],
    ['with less than 512', { udpBytes: 10 }, 512],
    ['with 1,000', { udpBytes: 1_000 }, 1_000],
    ['with 4,096', { udpBytes: 4_096 }, 4_096],
  ])('longer than a client %s accepts is cut with TC', (_, opt, size) => {
    const test = new TestPlane();
    const query = composeQuery({ id: 9, opt });
    for (const [bytes, cut] of [
      [size, false],
      [size + 1, true],
    ] as const) {
      test.ask(query);
      const { message, port } = test.forwarded;
      const plain = replyTo(message, [], 0x8583);
      const filler = composeRecord({ type: 16, data: new Uint8Array(bytes - plain.length - 11) });
      const reply = replyTo(message, [filler], 0x8583);
      expect(reply).toHaveLength(bytes);
      const answer = test.reply(port, reply)!;
      if (cut) {
        const parsed = parseAnswer(answer);
        expect(parsed.header).toMatchObject({ id: 9, tc: 1, ancount: 0, rcode: RCODE.NXDOMAIN, aa: 0, ra: 1 });
        expect(optOf(parsed) !== undefined).toBe(opt !== undefined);
        expect(parsed.questions[0]!.name).toBe('www.example.com');
      } else {
        expect(answer.message.slice(2)).toEqual(reply.slice(2));
      }
    }
    expect(test.counters.upstream(UPSTREAM_OUTCOME.truncated)).toBe(1);
  });
});

describe('a cookie', () => {
  const client = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const ask = (spec: object = {}, udpBytes = 4_096) => {
    const test = new TestPlane({ table: table(), ...spec });
    const options = [composeOption(100, client), composeOption(10, client), composeOption(101)];
    test.ask({ name: 'alias.example', opt: { udpBytes, options } });
    return test;
  };
  /** The option data that the answer carries must be the client's cookie and one of ours. */
  const expectCookie = (answer: { message: Uint8Array } | undefined) => {
    const data = readOptions(answer!.message).get(10)!;
    expect(data).toHaveLength(24);
    expect(data.slice(0, 9)).toEqual(Uint8Array.from([...client, 1]));
  };

  it('is ours to answer: it is taken out of what is forwarded and put into what is passed on', () => {
    const test = ask();
    expect([...readOptions(test.forwarded.message).keys()]).toEqual([100, 101]);
    const opt = composeRecord({ type: 41, class: 1_400, data: composeOption(15, Uint8Array.of(0, 3)) });
    const { id } = parseMessage(test.forwarded.message).header;
    const reply = composeQuery({ id, flags: 0x8180, name: 'alias.example', answers: [address], additionals: [opt] });
    const answer = test.reply(test.forwarded.port, reply);
    expectCookie(answer);
    expect(edeOf(parseAnswer(answer))).toMatchObject({ infoCode: 3 });
    expect(parseAnswer(answer).header.ancount).toBe(1);
  });

  it('comes with an OPT record of its own when the upstream sent none', () => {
    const test = ask();
    expectCookie(test.reply(test.forwarded.port, replyTo(test.forwarded.message, [address])));
  });

  it('has room kept for it in the size that the upstream is asked for', () => {
    for (const udpBytes of [4_096, 1_232, 900]) {
      const test = ask({}, udpBytes);
      const { id } = parseMessage(test.forwarded.message).header;
      const size = optOf(parseMessage(test.forwarded.message))!.class;
      const plain = composeQuery({ id, flags: 0x8180, name: 'alias.example' });
      const filler = composeRecord({ type: 16, data: new Uint8Array(size - plain.length - 11) });
      const reply = composeQuery({ id, flags: 0x8180, name: 'alias.example', answers: [filler] });
      expect(reply).toHaveLength(size);
      const answer = test.reply(test.forwarded.port, reply)!;
      expectCookie(answer);
      expect(parseAnswer(answer).header.tc).toBe(0);
      expect(answer.message.length).toBeLessThanOrEqual(Math.min(1_232, udpBytes));
    }
  });

  it('comes with every kind of answer', () => {
    const timedOut = ask({ forward: { attempts: 1 } });
    timedOut.pass(1_000);
    expectCookie(timedOut.io.answers[0]);
    const cut = ask({}, 512);
    const filler = composeRecord({ type: 16, data: new Uint8Array(600) });
    const answer = cut.reply(cut.forwarded.port, replyTo(cut.forwarded.message, [filler]));
    expect(parseAnswer(answer).header.tc).toBe(1);
    expectCookie(answer);
    const target = ask();
    const blocked = target.reply(target.forwarded.port, replyTo(target.forwarded.message, [cname('tree.example')]));
    expect(parseAnswer(blocked)).toMatchObject({ header: { ancount: 0, nscount: 1 } });
    expectCookie(blocked);
    const limited = new TestPlane({ settings: { responsesPerSecond: 1 } });
    const query = { opt: { options: [composeOption(10, client)] } };
    for (let i = 0; i < 3; i++) limited.ask(query);
    expectCookie(limited.io.answers[0]);
  });

  it('is not another client’s: each answer has the one of its own query', () => {
    const test = new TestPlane({ table: table() });
    const cookieOf = (i: number) => new Uint8Array(8).fill(i);
    for (let i = 0; i < 5; i++) {
      const opt = i === 3 ? {} : { options: [composeOption(10, cookieOf(i))] };
      test.ask({ id: i, name: `a${i}.example`, opt });
    }
    test.ask({ name: 'tree.example' });
    for (const { port, message } of [...test.io.forwards].reverse()) test.reply(port, replyTo(message, [address]));
    for (const { message } of test.io.answers.slice(1)) {
      const { id } = parseMessage(message).header;
      const cookie = readOptions(message).get(10);
      if (id === 3) expect(cookie).toBeUndefined();
      else expect(cookie!.slice(0, 8)).toEqual(cookieOf(id));
    }
    expect(readOptions(test.io.answers[0]!.message).size).toBe(0);
  });
});

describe('an upstream that does not answer', () => {
  it('is asked once, then the other, then the client gets SERVFAIL with EDE 22', () => {
    const test = new TestPlane();
    test.ask({ id: 3, opt: {} });
    const upstreams = () => test.io.forwards.map(({ port }) => port >> 1);
    test.pass(999);
    expect(upstreams()).toHaveLength(1);
    test.pass(1);
    expect(upstreams()[1]).toBe(1 - upstreams()[0]!);
    test.pass(1_000);
    expect(upstreams()).toHaveLength(3);
    test.pass(999);
    expect(test.io.answers).toHaveLength(0);
    test.pass(1);
    const parsed = parseAnswer(test.io.answers[0]);
    expect(parsed.header).toMatchObject({ id: 3, rcode: RCODE.SERVFAIL, tc: 0, ra: 1 });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.NO_REACHABLE_AUTHORITY });
    expect(test.counters.upstream(UPSTREAM_OUTCOME.timed_out)).toBe(3);
    expect(test.counters.upstream(UPSTREAM_OUTCOME.retried)).toBe(2);
    expect(test.counters.pending).toBe(0);
  });

  it('is asked the same question under a fresh identifier each time', () => {
    const test = new TestPlane();
    const query = composeQuery({ name: 'a.example', opt: {} });
    test.ask(query);
    test.pass(1_000);
    test.pass(1_000);
    const sent = test.io.forwards.map(({ message }) => message);
    for (const message of sent) expect(message.slice(2)).toEqual(query.slice(2));
    expect(new Set(sent.map((message) => (message[0]! << 8) | message[1]!)).size).toBeGreaterThan(1);
  });

  it('is passed over for a second by later queries', () => {
    const test = new TestPlane({ forward: { attempts: 1 } });
    test.ask({});
    const failed = test.forwarded.port >> 1;
    test.pass(1_000);
    const count = test.io.forwards.length;
    for (let i = 0; i < 20; i++) test.ask({});
    expect(new Set(test.io.forwards.slice(count).map(({ port }) => port >> 1))).toEqual(new Set([1 - failed]));
  });

  it('without EDNS in the query gives SERVFAIL without OPT', () => {
    const test = new TestPlane({ forward: { attempts: 1 } });
    test.ask({});
    test.pass(1_000);
    expect(parseAnswer(test.io.answers[0])).toMatchObject({ additionals: [], header: { rcode: RCODE.SERVFAIL } });
  });
});

describe('an upstream that refuses', () => {
  it('is left at once for the other, and in the end the client gets SERVFAIL with EDE 23', () => {
    const test = new TestPlane();
    test.ask({ opt: {} });
    for (let attempt = 1; attempt < 3; attempt++) {
      const { port } = test.forwarded;
      test.plane.onRefused(port);
      expect(test.io.forwards).toHaveLength(attempt + 1);
      if (attempt === 1) expect(test.forwarded.port >> 1).toBe(1 - (port >> 1));
    }
    test.plane.onRefused(test.forwarded.port);
    const parsed = parseAnswer(test.io.answers[0]);
    expect(parsed.header.rcode).toBe(RCODE.SERVFAIL);
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.NETWORK_ERROR });
    expect(test.counters.upstream(UPSTREAM_OUTCOME.refused)).toBe(3);
  });

  it('fails over every query that waits on that port and no other', () => {
    const test = new TestPlane();
    for (let i = 0; i < 30; i++) test.ask({ id: i });
    const first = test.io.forwards.slice();
    const { port } = first[0]!;
    const waiting = first.filter((sent) => sent.port === port).length;
    test.plane.onRefused(port);
    expect(test.io.forwards).toHaveLength(30 + waiting);
    expect(test.io.forwards.slice(30).every((sent) => sent.port >> 1 !== port >> 1)).toBe(true);
  });

  it('does no harm with nothing under way, or when the port is not known', () => {
    const test = new TestPlane();
    test.plane.onRefused(0);
    test.ask({});
    test.plane.onRefused(-1);
    expect([test.io.forwards.length, test.io.answers.length]).toEqual([1, 0]);
  });
});

describe('upstreams', () => {
  it('share the load, over ports at random', () => {
    const test = new TestPlane({ forward: { pendingSlots: 512 } });
    for (let i = 0; i < 400; i++) test.ask({});
    const counts = [0, 1, 2, 3].map((port) => test.io.forwards.filter((sent) => sent.port === port).length);
    expect(counts[0]! + counts[1]!).toBe(200);
    expect(Math.min(counts[2]!, counts[3]!)).toBeGreaterThan(40);
  });

  it('that are down are not asked while another is up', () => {
    const test = new TestPlane();
    test.upstreamUp[0] = 0;
    for (let i = 0; i < 20; i++) test.ask({});
    expect(new Set(test.io.forwards.map(({ port }) => port >> 1))).toEqual(new Set([1]));
  });

  it('are asked all the same when all are down: the health check may be wrong', () => {
    const test = new TestPlane();
    test.upstreamUp.fill(0);
    test.ask({});
    expect(test.io.forwards).toHaveLength(1);
  });

  it('get a fresh port in turn, once nothing waits on it', () => {
    const test = new TestPlane({ forward: { timeoutMillis: 1_000_000 } });
    const waits = new Map<number, number>();
    for (let i = 0; i < 8; i++) {
      test.ask({});
      waits.set(test.forwarded.port, (waits.get(test.forwarded.port) ?? 0) + 1);
    }
    for (let i = 0; i < 40; i++) test.pass(250);
    // The first port whose turn it is with queries waiting holds the others up.
    const held = [0, 1, 2, 3].find((port) => waits.has(port))!;
    expect(test.io.renewed).toEqual([0, 1, 2, 3].slice(0, held));
    for (const { port, message } of test.io.forwards) if (port === held) test.reply(port, replyTo(message));
    test.pass(250);
    expect(test.io.renewed.at(-1)).toBe(held);
  });

  it('get no query through the port that is about to be renewed', () => {
    const test = new TestPlane({ forward: { upstreamCount: 1, portsPerUpstream: 4, pendingSlots: 512 } });
    for (let i = 0; i < 300; i++) {
      test.ask({});
      expect(test.forwarded.port).not.toBe(test.io.renewed.length % 4);
      test.reply(test.forwarded.port, replyTo(test.forwarded.message));
      test.pass(50);
    }
    expect(test.io.renewed.slice(0, 6)).toEqual([0, 1, 2, 3, 0, 1]);
  });
});

describe('overload', () => {
  it('drops what no slot is left for and recovers', () => {
    const test = new TestPlane({ forward: { pendingSlots: 64 } });
    for (let i = 0; i < 70; i++) test.ask({ id: i });
    expect(test.io.forwards).toHaveLength(64);
    expect(test.io.answers).toHaveLength(0);
    expect(test.outcomes).toEqual({ forwarded: 64, overloaded: 6 });
    const { port, message } = test.io.forwards[10]!;
    test.reply(port, replyTo(message));
    test.ask({});
    expect(test.io.forwards).toHaveLength(65);
  });

  it('still answers blocked names', () => {
    const test = new TestPlane({ table: table() });
    for (let i = 0; i < 70; i++) test.ask({ id: i });
    expect(parseAnswer(test.ask({ name: 'tree.example' })).header.rcode).toBe(RCODE.NXDOMAIN);
  });
});

describe('a blocked name', () => {
  it('is answered without asking anyone, with its notice', () => {
    const test = new TestPlane({ table: table() });
    const parsed = parseAnswer(test.ask({ id: 77, name: 'www.tree.example', opt: {} }));
    expect(parsed.header).toMatchObject({ id: 77, rcode: RCODE.NXDOMAIN, ancount: 0 });
    expect(parsed.authorities[0]).toMatchObject({ name: 'tree.example', ttl: 60 });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.CENSORED, extraText: 'notice MCMC/2026/0001' });
    expect(parseAnswer(test.ask({ name: 'exact.example' })).header.rcode).toBe(RCODE.NOERROR);
    expect(test.io.forwards).toHaveLength(0);
    expect(test.outcomes).toEqual({ blocked: 2 });
    expect([test.counters.blocked(0, ACTION.nxdomain), test.counters.blocked(0, ACTION.nodata)]).toEqual([1, 1]);
  });

  it('is answered while every upstream is down and refuses', () => {
    const test = new TestPlane({ table: table() });
    test.upstreamUp.fill(0);
    test.ask({});
    test.plane.onRefused(test.forwarded.port);
    test.pass(5_000);
    expect(parseAnswer(test.ask({ name: 'tree.example' })).header.rcode).toBe(RCODE.NXDOMAIN);
  });

  it('is blocked until its rule ends and not a tick longer, with no message from anyone', () => {
    const test = new TestPlane({ table: table() });
    const ttl = () => parseAnswer(test.ask({ name: 'ends.example' })).authorities[0]!.ttl;
    expect(ttl()).toBe(20);
    test.pass(19_000);
    expect(ttl()).toBe(1);
    test.pass(999);
    expect(ttl()).toBe(0);
    test.pass(1);
    expect(test.ask({ name: 'ends.example' })).toBeUndefined();
    expect(test.io.forwards).toHaveLength(1);
  });

  it('whose rule has ended is not blocked again when the clock is set back', () => {
    const test = new TestPlane({ table: table() });
    test.pass(20_000);
    test.clock.wall -= 86_400_000;
    expect(test.ask({ name: 'ends.example' })).toBeUndefined();
  });

  it('is judged by the next table from the next batch on', () => {
    const test = new TestPlane({ table: table() });
    test.stages.useTable(buildTable([{ name: 'new.example' }]));
    expect(test.ask({ name: 'tree.example' })).toBeUndefined();
    expect(test.ask({ name: 'new.example' })).toBeDefined();
    expect(test.counters.swaps).toBe(1);
  });

  it('is only counted in observe mode', () => {
    const test = new TestPlane({ table: table(), settings: { observe: true } });
    expect(test.ask({ name: 'tree.example' })).toBeUndefined();
    const { port, message } = test.forwarded;
    expect(parseAnswer(test.reply(port, replyTo(message, [address]))).header.ancount).toBe(1);
    expect(test.outcomes).toMatchObject({ observed: 1 });
    expect(test.counters.blocked(0, ACTION.nxdomain)).toBe(1);
  });

  it('gives structured errors to clients that ask and a cookie to those that have one', () => {
    const test = new TestPlane({ table: table() });
    const options = [composeOption(STRUCTURED), composeOption(10, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))];
    const answer = test.ask({ name: 'tree.example', opt: { options } })!;
    expect(JSON.parse(edeOf(parseMessage(answer.message))!.extraText)).toMatchObject({ o: 'Test Network' });
    expect(readOptions(answer.message).get(10)!.slice(0, 9)).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 1));
  });

  it('fits what the client accepts, never more than 1,232 octets', () => {
    const test = new TestPlane({ table: table() });
    const name = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(40)}.tree.example`;
    for (const opt of [undefined, { udpBytes: 512 }, { udpBytes: 65_535, options: [composeOption(STRUCTURED)] }]) {
      const { message } = test.ask({ name, opt })!;
      expect(message.length).toBeLessThanOrEqual(opt?.udpBytes === 65_535 ? 1_232 : 512);
      expect(parseMessage(message).authorities).toHaveLength(1);
    }
  });
});

describe('a reply that leads to a blocked name', () => {
  const ask = (name: string, answers: readonly Uint8Array[], spec: ConstructorParameters<typeof TestPlane>[0] = {}) => {
    const test = new TestPlane({ table: table(), ...spec });
    test.ask({ id: 5, name, opt: {} });
    const { port, message } = test.forwarded;
    return { test, parsed: parseAnswer(test.reply(port, replyTo(message, answers))) };
  };

  it('becomes NODATA of the name asked for, with the notice', () => {
    const { test, parsed } = ask('Alias.example.net', [cname('www.tree.example'), address]);
    expect(parsed.header).toMatchObject({ id: 5, rcode: RCODE.NOERROR, ancount: 0, nscount: 1, aa: 0 });
    expect(parsed.authorities[0]).toMatchObject({ name: 'Alias.example.net', ttl: 60, minimum: 60 });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.CENSORED, extraText: 'notice MCMC/2026/0001' });
    expect(test.counters.blocked(0, ACTION.target_nodata)).toBe(1);
    expect(test.counters.pending).toBe(0);
  });

  it('lasts no longer than the rule of the target', () => {
    expect(ask('alias.example.net', [cname('ends.example')]).parsed.authorities[0]!.ttl).toBe(20);
  });

  it('passes where the check is off, and in observe mode', () => {
    for (const settings of [{ checkTargets: false }, { observe: true }]) {
      expect(ask('alias.example.net', [cname('tree.example')], { settings }).parsed.header.ancount).toBe(1);
    }
  });

  it('passes for an exclusion that is an alias within its own subtree', () => {
    expect(ask('ok.tree.example', [cname('cdn.tree.example')]).parsed.header.ancount).toBe(1);
  });

  it('is blocked for an exclusion that is an alias of another notice’s name', () => {
    expect(ask('ok.tree.example', [cname('www.other.example')]).parsed.header.ancount).toBe(0);
  });

  it('is blocked for an exclusion whose chain leads through its own subtree to another notice’s name', () => {
    const chain = [cname('cdn.tree.example'), cname('www.other.example', wireName('cdn.tree.example'))];
    expect(ask('ok.tree.example', chain).parsed.header.ancount).toBe(0);
  });

  it('is blocked for an exclusion that is an alias of a name which another notice lists as well', () => {
    const both = buildTable([
      { name: 'tree.example', entry: 1 },
      { name: 'ok.tree.example', action: 'passthru', entry: 1 },
      { name: 'tree.example', trigger: 'exact', entry: 2 },
    ]);
    expect(ask('ok.tree.example', [cname('tree.example')], { table: both }).parsed.header.ancount).toBe(0);
    expect(ask('ok.tree.example', [cname('cdn.tree.example')], { table: both }).parsed.header.ancount).toBe(1);
  });

  it('is looked at each time', () => {
    const test = new TestPlane({ table: table() });
    for (const blocked of [false, true, false, true]) {
      test.ask({ name: 'alias.example.net' });
      const answers = blocked ? [cname('tree.example')] : [cname('fine.example')];
      const parsed = parseAnswer(test.reply(test.forwarded.port, replyTo(test.forwarded.message, answers)));
      expect(parsed.header.ancount).toBe(blocked ? 0 : 1);
    }
  });
});

describe('what is not a good query', () => {
  it.each([
    ['FORMERR', { counts: [1, 0, 0, 1] as const }, RCODE.FORMERR, 'malformed'],
    ['NOTIMP', { flags: 0x2800 }, RCODE.NOTIMP, 'not_implemented'],
    ['BADVERS', { opt: { version: 1 } }, RCODE.BADVERS, 'bad_version'],
  ])('is answered %s', (_, spec, rcode, outcome) => {
    const test = new TestPlane({ table: table() });
    expect(parseAnswer(test.ask({ id: 8, name: 'tree.example', ...spec })).header).toMatchObject({
      id: 8,
      qr: 1,
      rcode,
    });
    expect(test.outcomes).toEqual({ [outcome]: 1 });
  });

  it.each([
    ['a response', composeQuery({ flags: 0x8100, name: 'tree.example' }), CLIENT, 'ignored'],
    ['a response of a strange opcode', composeQuery({ flags: 0xf900 }), CLIENT, 'ignored'],
    ['a few octets', Uint8Array.of(1, 2, 3), CLIENT, 'ignored'],
    ['a client that may not ask', composeQuery({ name: 'tree.example' }), '198.51.100.1:53', 'refused_acl'],
    ['an IPv6 client that may not ask', composeQuery(), '[2001:db9::1]:53', 'refused_acl'],
  ])('gets no answer at all: %s', (_, message, client, outcome) => {
    const test = new TestPlane({ table: table() });
    test.ask(message, client);
    expect([test.io.answers.length, test.io.forwards.length, test.outcomes]).toEqual([0, 0, { [outcome]: 1 }]);
  });

  it('is never answered when it is a response, whatever else it is', () => {
    const test = new TestPlane({ table: table() });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 3, maxLength: 200 }), (message) => {
        message[2]! |= 0x80;
        test.ask(message);
        expect(test.io.answers.length + test.io.forwards.length).toBe(0);
      }),
    );
  });
});

describe('the rate limit', () => {
  const settings = { responsesPerSecond: 5 };
  it('answers with TC above it, whatever is asked, and goes on for other clients', () => {
    const test = new TestPlane({ table: table(), settings });
    const truncated = (name: string, client?: string) => {
      const answer = test.ask({ name }, client);
      return answer !== undefined && parseAnswer(answer).header.tc === 1;
    };
    for (let i = 0; i < 10; i++) expect(truncated('tree.example')).toBe(false);
    expect(truncated('tree.example')).toBe(true);
    expect(truncated('fine.example', '192.0.2.200:1')).toBe(true);
    expect(truncated('tree.example', CLIENT6)).toBe(false);
    expect(test.outcomes).toEqual({ blocked: 11, limited: 2 });
    test.clock.pass(1_000);
    expect(truncated('tree.example')).toBe(false);
  });

  it('does not hold for a client that has shown its address with a cookie', () => {
    const test = new TestPlane({ table: table(), settings });
    const client = composeOption(10, new Uint8Array(8));
    const ask = (cookie: Uint8Array, from = CLIENT) =>
      test.ask({ name: 'tree.example', opt: { options: [cookie] } }, from)!;
    for (let i = 0; i < 10; i++) ask(client);
    const limited = ask(client);
    expect(parseAnswer(limited).header.tc).toBe(1);
    const full = composeOption(10, readOptions(limited.message).get(10)!);
    expect(parseAnswer(ask(full)).header).toMatchObject({ tc: 0, rcode: RCODE.NXDOMAIN });
    expect(parseAnswer(ask(full, '192.0.2.8:4444')).header.tc).toBe(1);
    const forged = full.with(full.length - 1, full.at(-1)! ^ 1);
    expect(parseAnswer(ask(forged)).header.tc).toBe(1);
  });
});

describe('any course of events', () => {
  type Event =
    | { kind: 'ask'; blocked: boolean; opt: boolean }
    | { kind: 'reply'; which: number; spoil: boolean; twice: boolean }
    | { kind: 'refuse'; port: number }
    | { kind: 'pass'; millis: number }
    | { kind: 'health'; upstream: number; up: boolean };
  const event: fc.Arbitrary<Event> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('ask' as const), blocked: fc.boolean(), opt: fc.boolean() }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('reply' as const),
        which: fc.nat(),
        spoil: fc.boolean(),
        twice: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('refuse' as const), port: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass' as const), millis: fc.nat(600) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('health' as const), upstream: fc.nat(1), up: fc.boolean() }),
    },
  );

  it('answers each query that was taken exactly once, under its own identifier, to its own client', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        const test = new TestPlane({ table: table(), forward: { pendingSlots: 64 } });
        const clientOf = (id: number) => `192.0.2.${id % 250}:${1_000 + id}`;
        let asked = 0;
        for (const each of events) {
          if (each.kind === 'ask') {
            const id = asked++;
            const name = each.blocked ? `n${id}.tree.example` : `n${id}.fine.example`;
            test.ask({ id, name, opt: each.opt ? {} : undefined }, clientOf(id));
          } else if (each.kind === 'reply') {
            const sent = test.io.forwards.at(-1 - (each.which % Math.max(1, test.io.forwards.length)));
            if (sent === undefined) continue;
            const reply = replyTo(sent.message, [address]);
            if (each.spoil) reply[13]! ^= 1;
            test.reply(sent.port, reply);
            if (each.twice) test.reply(sent.port, reply);
          } else if (each.kind === 'refuse') {
            test.plane.onRefused(each.port);
          } else if (each.kind === 'health') {
            test.upstreamUp[each.upstream] = each.up ? 1 : 0;
          } else {
            test.pass(each.millis);
          }
        }
        for (let i = 0; i < 4; i++) test.pass(1_000);
        const dropped = test.outcomes.overloaded ?? 0;
        const ids = test.io.answers.map(({ message, client }) => {
          const { header, questions } = parseMessage(message);
          expect(client).toBe(clientOf(header.id));
          expect(questions[0]!.name.startsWith(`n${header.id}.`)).toBe(true);
          return header.id;
        });
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids.length).toBe(asked - dropped);
        expect(test.counters.pending).toBe(0);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a tick', () => {
  it('asks for news and says whether to go on', () => {
    const test = new TestPlane();
    expect(test.pass(20)).toBe(true);
    expect(test.polls).toBe(1);
  });

  it('is where the time of sending upstream and back does not count as the sidecar’s', () => {
    const test = new TestPlane();
    test.ask({});
    test.clock.pass(800);
    test.reply(test.forwarded.port, replyTo(test.forwarded.message));
    const histogram = test.counters.addedLatencySeconds;
    expect(histogram.bounds.reduce((sum, _, bucket) => sum + histogram.count(bucket), 0)).toBe(1);
    expect(histogram.sum).toBe(0);
  });
});
