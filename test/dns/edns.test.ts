import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  appendCookie,
  COOKIE_OPTION_BYTES,
  capUdpSize,
  OPT_FIXED_BYTES,
  removeHopOptions,
} from '../../src/dns/edns.ts';
import { QueryScan, SCAN, scanQuery } from '../../src/dns/query.ts';
import {
  composeOption,
  composeQuery,
  composeRecord,
  type OptSpec,
  optOf,
  parseMessage,
  type QuerySpec,
  readOptions,
  wireName,
} from './message.ts';

const COOKIE = 10;
/** An odd place in a larger array. */
const START = 21;
const POISON = 0xa5;

const address = composeRecord({ owner: wireName('a.example'), type: 1, data: Uint8Array.of(1, 2, 3, 4) });
const option = fc
  .tuple(fc.integer({ min: 20, max: 60_000 }), fc.uint8Array({ maxLength: 20 }))
  .map(([code, data]) => composeOption(code, data));
const options = fc.array(option, { maxLength: 3 });

/** Changes a message in place in a larger array; what lies before it and behind `room` more octets must stay. */
function change(message: Uint8Array, room: number, act: (wire: Uint8Array, scan: QueryScan) => number): Uint8Array {
  const wire = new Uint8Array(START + message.length + room + 50).fill(POISON);
  wire.set(message, START);
  const scan = new QueryScan();
  scanQuery(wire, START, message.length, -1, scan);
  const length = act(wire, scan);
  expect(length).toBeLessThanOrEqual(message.length + room);
  expect(wire.subarray(0, START).every((octet) => octet === POISON)).toBe(true);
  expect(wire.subarray(START + message.length + room).every((octet) => octet === POISON)).toBe(true);
  return wire.slice(START, START + length);
}

describe('capUdpSize', () => {
  it.each([
    [4_096, 0, 1_232],
    [1_232, 0, 1_232],
    [1_000, 0, 1_000],
    [1_000, 39, 961],
    [4_096, 39, 1_193],
    [520, 39, 512],
    [100, 0, 100],
  ])('makes %d with %d in reserve %d', (udpBytes, reserve, size) => {
    const message = composeQuery({ opt: { udpBytes, flags: 0x8000, options: [composeOption(100)] } });
    const changed = change(message, 0, (wire, scan) => {
      capUdpSize(wire, scan, reserve);
      return message.length;
    });
    expect(changed).toEqual(composeQuery({ opt: { udpBytes: size, flags: 0x8000, options: [composeOption(100)] } }));
  });

  it('leaves a query without OPT as it is', () => {
    const message = composeQuery();
    const changed = change(message, 0, (wire, scan) => {
      capUdpSize(wire, scan, 0);
      return message.length;
    });
    expect(changed).toEqual(message);
  });
});

describe('removeHopOptions', () => {
  const remove = (message: Uint8Array) =>
    change(message, 0, (wire, scan) => removeHopOptions(wire, START, message.length, scan));

  it('leaves the query as if it had never had one', () => {
    const size = fc.constantFrom(8, 16, 24, 40);
    fc.assert(
      fc.property(options, options, size, fc.boolean(), (before, after, bytes, more) => {
        const compose = (own: readonly Uint8Array[]) =>
          composeQuery({ opt: { options: [...before, ...own, ...after] }, additionals: more ? [address] : [] });
        const removed = remove(compose([composeOption(COOKIE, new Uint8Array(bytes).fill(9))]));
        expect(removed).toEqual(compose([]));
        expect(scanQuery(removed, 0, removed.length, -1, new QueryScan())).toBe(SCAN.OK);
      }),
    );
  });

  it.each([
    ['without OPT', {}],
    ['without a cookie', { opt: { options: [composeOption(100, Uint8Array.of(1))] } }],
  ])('leaves a query %s as it is', (_, spec) => {
    expect(remove(composeQuery(spec))).toEqual(composeQuery(spec));
  });
});

describe('appendCookie', () => {
  const cookie = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
  const room = COOKIE_OPTION_BYTES + OPT_FIXED_BYTES;
  const append = (message: Uint8Array) =>
    change(message, room, (wire) => appendCookie(wire, START, message.length, cookie));
  const reply = (spec: QuerySpec = {}) => composeQuery({ flags: 0x8180, ...spec });

  it('puts it behind the options that are there', () => {
    fc.assert(
      fc.property(options, fc.constantFrom([], [address], [address, address]), (list, answers) => {
        const opt: OptSpec = { udpBytes: 1_400, flags: 0x8000, extendedRcode: 1, options: list };
        const withCookie = { ...opt, options: [...list, composeOption(COOKIE, cookie)] };
        expect(append(reply({ answers, opt }))).toEqual(reply({ answers, opt: withCookie }));
      }),
    );
  });

  it('adds an OPT record where there is none', () => {
    const appended = append(reply({ answers: [address] }));
    expect(parseMessage(appended).header).toMatchObject({ ancount: 1, arcount: 1 });
    expect(optOf(parseMessage(appended))).toMatchObject({ class: 1_232, version: 0, extendedRcode: 0, doFlag: false });
    expect(readOptions(appended)).toEqual(new Map([[COOKIE, cookie]]));
  });

  it('counts past 255 additional records', () => {
    const additionals = Array(255).fill(address);
    expect(parseMessage(append(reply({ additionals }))).header.arcount).toBe(256);
  });

  it.each([
    ['with a record behind OPT', reply({ additionals: [composeRecord({ type: 41, class: 1_232 }), address] })],
    ['with two OPTs', reply({ additionals: [composeRecord({ type: 41 })], opt: {} })],
    ['with octets behind it', reply({ trailing: Uint8Array.of(0) })],
    ['cut short', reply({ answers: [address] }).slice(0, -1)],
    ['without the question it counts', reply().slice(0, 12)],
    ['of a header that counts what is not there', reply({ counts: [1, 0, 0, 65_535] })],
  ])('leaves a message %s as it is', (_, message) => {
    expect(append(message)).toEqual(message);
  });

  it('never crashes, and writes nowhere but in its room', () => {
    const message = reply({ answers: [address], opt: { options: [composeOption(100, new Uint8Array(9))] } });
    const changes = fc.array(fc.tuple(fc.nat(message.length - 1), fc.nat(255)), { maxLength: 5 });
    fc.assert(
      fc.property(changes, fc.nat(message.length - 12), (list, cut) => {
        const spoilt = message.slice(0, message.length - cut);
        for (const [at, value] of list) if (at < spoilt.length) spoilt[at] = value;
        const appended = append(spoilt);
        expect([0, COOKIE_OPTION_BYTES, room]).toContain(appended.length - spoilt.length);
      }),
      { numRuns: 2_000 },
    );
  });
});
