import { describe, expect, it } from 'vitest';
import { EDE, RCODE } from '../../src/dns/constants.ts';
import { ACTION } from '../../src/metrics/shared-counters.ts';
import type { StageSettings } from '../../src/resolver/stage-settings.ts';
import { composeOption, composeRecord, edeOf, parseMessage, readOptions, wireName } from '../dns/message.ts';
import { buildTable, NOTICE, NOW } from '../rules/fixture.ts';
import { CLIENT, parseAnswer, replyTo, STRUCTURED, TestPlane } from './fixture.ts';

const A = 1;
const AAAA = 28;
const HTTPS = 65;
const SVCB = 64;
const RRSIG = 46;
const ADDRESSES = ['192.0.2.80', '2001:db8::80', '192.0.2.81'];

const table = () =>
  buildTable([
    { name: 'page.example', trigger: 'exact', action: 'steer', until: NOW + 40, entry: 1 },
    { name: 'both.example', trigger: 'exact', action: 'steer', entry: 2 },
    { name: 'both.example', entry: 3 },
    { name: 'led.example', action: 'redirect', until: NOW + 40, entry: 4 },
    { name: 'free.led.example', action: 'passthru', entry: 4 },
    { name: 'later.example', trigger: 'exact', action: 'steer', entry: 5 },
    { name: 'later.example', from: NOW + 9, entry: 6 },
  ]);

/** A plane with three gateways of which the given ones serve. */
function createPlane(serving: readonly number[] = [1, 1, 1], settings: Partial<StageSettings> = {}): TestPlane {
  const up = new SharedArrayBuffer(12);
  new Int32Array(up).set(serving);
  return new TestPlane({ table: table(), settings: { ...settings, steering: { addresses: ADDRESSES, up } } });
}

const owner = Uint8Array.of(0xc0, 0x0c);
const address = composeRecord({ owner, type: A, ttl: 300, data: Uint8Array.of(203, 0, 113, 9) });
const signature = composeRecord({ owner, type: RRSIG, ttl: 300, data: new Uint8Array(40) });
const alias = composeRecord({ owner, type: 5, ttl: 300, data: wireName('other.test') });

const addressesOf = (message: ReturnType<typeof parseAnswer>) => message.answers.map(({ address }) => address).sort();

describe('a host with listed pages', () => {
  it('has the gateways for its addresses, each first in turn', () => {
    const test = createPlane();
    const first = new Set<unknown>();
    for (let i = 0; i < 4; i++) {
      const answer = parseAnswer(test.ask({ name: 'Page.Example', opt: {} }));
      expect(addressesOf(answer)).toEqual(['192.0.2.80', '192.0.2.81']);
      expect(answer.answers.map(({ ttl }) => ttl)).toEqual([40, 40]);
      expect(edeOf(answer)).toMatchObject({
        infoCode: EDE.FORGED_ANSWER,
        extraText: `notice ${NOTICE.reference}`,
      });
      first.add(answer.answers[0]!.address);
    }
    expect(first.size).toBe(2);
    const v6 = parseAnswer(test.ask({ name: 'page.example', qtype: AAAA }));
    expect([v6.header.ancount, v6.answers[0]!.type]).toEqual([1, AAAA]);
    expect(test.outcomes).toEqual({ steered: 5 });
    expect(test.counters.blocked(0, ACTION.redirect)).toBe(0);
  });

  it.each([HTTPS, SVCB])('is NODATA for type %d, which would lead past the gateway', (qtype) => {
    const answer = parseAnswer(createPlane().ask({ name: 'page.example', qtype, opt: {} }));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
    expect(edeOf(answer)).toMatchObject({ infoCode: EDE.FORGED_ANSWER });
  });

  it.each([2, 15, 16, 33, 43, 255])('is forwarded for type %d', (qtype) => {
    const test = createPlane();
    expect(test.ask({ name: 'page.example', qtype })).toBeUndefined();
    expect(test.outcomes).toEqual({ forwarded: 1 });
  });

  it('is not steered under any other name: a page is listed under its own', () => {
    const test = createPlane();
    for (const name of ['www.page.example', 'xpage.example', 'example.test']) {
      expect(test.ask({ name })).toBeUndefined();
    }
    test.ask({ name: 'alias.test' });
    const cname = composeRecord({ owner, type: 5, ttl: 300, data: wireName('page.example') });
    const reply = replyTo(test.forwarded.message, [cname]);
    expect(test.reply(test.forwarded.port, reply)!.message).toHaveLength(reply.length);
    expect(test.outcomes).toEqual({ forwarded: 4 });
  });

  it('still gets an answer when structured errors are signalled, without code 4', () => {
    const opt = { options: [composeOption(STRUCTURED)] };
    const answer = parseAnswer(createPlane().ask({ name: 'page.example', opt }));
    expect([answer.header.ancount, edeOf(answer)]).toEqual([2, undefined]);
  });

  it('is blocked where another notice blocks it', () => {
    const test = createPlane();
    expect(parseAnswer(test.ask({ name: 'both.example' })).header).toMatchObject({ rcode: RCODE.NXDOMAIN, ancount: 0 });
    expect(parseAnswer(test.ask({ name: 'later.example' })).answers[0]!.ttl).toBe(9);
    test.pass(9_000);
    expect(parseAnswer(test.ask({ name: 'later.example' })).header.rcode).toBe(RCODE.NXDOMAIN);
  });

  it('has its own addresses again when the rule has ended', () => {
    const test = createPlane();
    test.pass(39_999);
    expect(parseAnswer(test.ask({ name: 'page.example' })).answers[0]!.ttl).toBe(0);
    test.pass(1);
    expect(test.ask({ name: 'page.example' })).toBeUndefined();
  });

  it('is led to the gateways that serve, and to none when none does', () => {
    expect(addressesOf(parseAnswer(createPlane([0, 1, 1]).ask({ name: 'page.example' })))).toEqual(['192.0.2.81']);
    const down = [
      [0, 0, 0],
      [0, 1, 0],
      [1, 0, 1],
    ];
    for (const test of [...down.map((serving) => createPlane(serving)), new TestPlane({ table: table() })]) {
      for (const qtype of [A, AAAA, HTTPS]) expect(test.ask({ name: 'page.example', qtype })).toBeUndefined();
      expect(test.outcomes).toEqual({ forwarded: 3 });
    }
  });

  it('is NODATA for a family that no gateway has', () => {
    const up = new SharedArrayBuffer(4);
    new Int32Array(up).fill(1);
    const test = new TestPlane({ table: table(), settings: { steering: { addresses: ['192.0.2.80'], up } } });
    expect(parseAnswer(test.ask({ name: 'page.example' })).header.ancount).toBe(1);
    const answer = parseAnswer(test.ask({ name: 'page.example', qtype: AAAA }));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
  });

  it('is steered half a minute after its rule began, when every gateway knows of it', () => {
    const rules = [{ name: 'new.example', trigger: 'exact', action: 'steer', from: NOW + 1 }] as const;
    const up = new SharedArrayBuffer(4);
    new Int32Array(up).fill(1);
    const settings = { steering: { addresses: ['192.0.2.80'], up } };
    const test = new TestPlane({ table: buildTable(rules), settings });
    for (const millis of [0, 1_000, 29_999]) {
      test.pass(millis);
      expect(test.ask({ name: 'new.example' })).toBeUndefined();
    }
    test.pass(1);
    expect(parseAnswer(test.ask({ name: 'new.example' })).header.ancount).toBe(1);
  });

  it('is counted and forwarded in observe mode', () => {
    const test = createPlane([1, 1, 1], { observe: true });
    expect(test.ask({ name: 'page.example' })).toBeUndefined();
    expect(test.outcomes).toEqual({ observed: 1, forwarded: 1 });
  });
});

describe('a host with listed pages, asked for with DO', () => {
  const ask = (test: TestPlane, name = 'page.example', qtype = A) => {
    expect(test.ask({ name, qtype, id: 77, opt: { flags: 0x8000 } })).toBeUndefined();
    return test.forwarded;
  };

  it('is steered when its zone is not signed', () => {
    const test = createPlane();
    const { message, port } = ask(test);
    const answer = parseAnswer(test.reply(port, replyTo(message, [alias, address])));
    expect(addressesOf(answer)).toEqual(['192.0.2.80', '192.0.2.81']);
    expect([answer.header.id, edeOf(answer)!.infoCode]).toEqual([77, EDE.FORGED_ANSWER]);
    expect(test.outcomes).toEqual({ forwarded: 1, steered: 1 });
  });

  it.each<[string, Uint8Array[], number?]>([
    ['its zone is signed', [address, signature]],
    ['its alias is signed', [alias, signature, address]],
    ['there is nothing', []],
    ['its alias leads nowhere', [alias], 0x8183],
  ])('is left alone when %s', (_, answers, flags = 0x8180) => {
    const test = createPlane();
    const { message, port } = ask(test);
    const reply = replyTo(message, answers, flags);
    const passed = test.reply(port, reply)!;
    expect([...passed.message.slice(2)]).toEqual([...reply.slice(2)]);
    expect(test.outcomes).toEqual({ forwarded: 1 });
  });

  it('is left alone when the rule ended while the upstream was asked', () => {
    const test = createPlane();
    test.pass(39_500);
    const { message, port } = ask(test);
    test.clock.pass(600);
    expect(parseMessage(test.reply(port, replyTo(message, [address]))!.message).header.ancount).toBe(1);
    expect(test.outcomes).toEqual({ forwarded: 1 });
  });

  it('is left alone when the gateway went down while the upstream was asked', () => {
    const up = new SharedArrayBuffer(4);
    const state = new Int32Array(up).fill(1);
    const test = new TestPlane({ table: table(), settings: { steering: { addresses: ['192.0.2.80'], up } } });
    const { message, port } = ask(test);
    state[0] = 0;
    expect(parseMessage(test.reply(port, replyTo(message, [address]))!.message).header.ancount).toBe(1);
    expect(test.outcomes).toEqual({ forwarded: 1 });
  });

  it('does not make another query of the same slot steered', () => {
    const test = createPlane();
    const steered = ask(test);
    test.reply(steered.port, replyTo(steered.message, [address]));
    test.ask({ name: 'fine.test', opt: { flags: 0x8000 } });
    const reply = replyTo(test.forwarded.message, [address]);
    expect(test.reply(test.forwarded.port, reply)!.message).toHaveLength(reply.length);
  });

  it('is answered with the cookie of its query', () => {
    const test = createPlane();
    const cookie = composeOption(
      10,
      Uint8Array.from({ length: 8 }, (_, i) => i),
    );
    test.ask({ name: 'page.example', opt: { flags: 0x8000, options: [cookie] } }, CLIENT);
    const { message, port } = test.forwarded;
    const answer = test.reply(port, replyTo(message, [address]))!;
    expect([...readOptions(answer.message).keys()].sort()).toEqual([10, 15]);
  });
});

describe('a redirected name', () => {
  it('has the gateways for its addresses, and everything below it too', () => {
    const test = createPlane();
    for (const name of ['led.example', 'www.led.example']) {
      const answer = parseAnswer(test.ask({ name, opt: {} }));
      expect(addressesOf(answer)).toEqual(['192.0.2.80', '192.0.2.81']);
      expect(answer.answers[0]!.ttl).toBe(40);
      expect(edeOf(answer)).toMatchObject({ infoCode: EDE.FORGED_ANSWER });
    }
    expect(test.outcomes).toEqual({ blocked: 2 });
    expect(test.counters.blocked(0, ACTION.redirect)).toBe(2);
  });

  it('is not led anywhere below an exclusion', () => {
    const test = createPlane();
    expect(test.ask({ name: 'free.led.example' })).toBeUndefined();
    expect(test.ask({ name: 'x.free.led.example' })).toBeUndefined();
  });

  it.each([HTTPS, SVCB, 16, 255])('is NODATA for type %d, with code 16', (qtype) => {
    const test = createPlane();
    const answer = parseAnswer(test.ask({ name: 'www.led.example', qtype, opt: {} }));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
    expect(answer.authorities[0]!.name).toBe('led.example');
    expect(edeOf(answer)).toMatchObject({ infoCode: EDE.CENSORED });
    expect(test.counters.blocked(0, ACTION.nodata)).toBe(1);
  });

  it.each([A, AAAA])('is negative with code 16 for type %d when structured errors are signalled', (qtype) => {
    const opt = { options: [composeOption(STRUCTURED)] };
    const answer = parseAnswer(createPlane().ask({ name: 'led.example', qtype, opt }));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
    const { infoCode, extraText } = edeOf(answer)!;
    expect([infoCode, JSON.parse(extraText)]).toEqual([EDE.CENSORED, expect.objectContaining({ c: NOTICE.contacts })]);
  });

  it('stays blocked while no gateway serves', () => {
    const answer = parseAnswer(createPlane([0, 0, 0]).ask({ name: 'led.example', opt: {} }));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
    expect(edeOf(answer)).toMatchObject({ infoCode: EDE.CENSORED });
  });

  it('is blocked whatever DO says', () => {
    const answer = parseAnswer(createPlane().ask({ name: 'led.example', opt: { flags: 0x8000 } }));
    expect(answer.header.ancount).toBe(2);
  });

  it('blocks what is an alias of it', () => {
    const test = createPlane();
    test.ask({ name: 'alias.test' });
    const cname = composeRecord({ owner, type: 5, ttl: 300, data: wireName('led.example') });
    const answer = parseAnswer(test.reply(test.forwarded.port, replyTo(test.forwarded.message, [cname])));
    expect(answer.header).toMatchObject({ rcode: RCODE.NOERROR, ancount: 0, nscount: 1 });
    expect(test.counters.blocked(0, ACTION.target_nodata)).toBe(1);
  });
});
