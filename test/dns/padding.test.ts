import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { appendPadding, PADDING_BLOCK_BYTES, removeHopOptions } from '../../src/dns/edns.ts';
import { QueryScan, SCAN, scanQuery } from '../../src/dns/query.ts';
import { composeOption, composeQuery, readOptions } from './message.ts';

const COOKIE = 10;
const PADDING = 12;
const START = 5;

/** A message at `START` of a larger array, with room behind it. */
function place(message: Uint8Array): Uint8Array {
  const wire = new Uint8Array(START + message.length + 2_000).fill(0xee);
  wire.set(message, START);
  return wire;
}

describe('appendPadding', () => {
  it('fills any message up to the next block, with zeros, and changes nothing before', () => {
    fc.assert(
      fc.property(fc.nat(1_500), fc.boolean(), (size, withOpt) => {
        const options = [composeOption(65_001, new Uint8Array(size))];
        const message = composeQuery(withOpt ? { name: 'a.example', opt: { options } } : { name: 'a.example' });
        const wire = place(message);
        const length = appendPadding(wire, START, message.length, 65_535);
        const least = message.length + (withOpt ? 4 : 15);
        expect(length).toBe(Math.ceil(least / PADDING_BLOCK_BYTES) * PADDING_BLOCK_BYTES);
        const padding = readOptions(wire.slice(START, START + length)).get(PADDING)!;
        expect(padding.length).toBe(length - least);
        expect(padding.every((octet) => octet === 0)).toBe(true);
        expect(wire.subarray(START + length).every((octet) => octet === 0xee)).toBe(true);
      }),
    );
  });

  it.each([
    [468 - 4, 468],
    [468 - 3, 936],
  ])('makes %i octets %i', (size, padded) => {
    const bare = composeQuery({ name: 'a.example', opt: { options: [composeOption(65_001, new Uint8Array(0))] } });
    const options = [composeOption(65_001, new Uint8Array(size - bare.length))];
    const message = composeQuery({ name: 'a.example', opt: { options } });
    expect(message.length).toBe(size);
    expect(appendPadding(place(message), START, size, 65_535)).toBe(padded);
  });

  it('goes to the limit and no further', () => {
    const message = composeQuery({ name: 'a.example', opt: {} });
    expect(appendPadding(place(message), START, message.length, 100)).toBe(100);
    expect(appendPadding(place(message), START, message.length, message.length + 3)).toBe(message.length);
  });
});

describe('removeHopOptions', () => {
  it('takes cookie and padding out, wherever they are among others', () => {
    const codes = [COOKIE, PADDING, 65_001, 3];
    fc.assert(
      fc.property(fc.shuffledSubarray(codes), fc.nat(300), (order, paddingBytes) => {
        const compose = (kept: number[]) =>
          composeQuery({
            name: 'a.example',
            opt: {
              options: kept.map((code) => composeOption(code, new Uint8Array(code === PADDING ? paddingBytes : 8))),
            },
          });
        const message = compose(order);
        const wire = place(message);
        const scan = new QueryScan();
        expect(scanQuery(wire, START, message.length, -1, scan)).toBe(SCAN.OK);
        const length = removeHopOptions(wire, START, message.length, scan);
        const expected = compose(order.filter((code) => code !== COOKIE && code !== PADDING));
        expect(Buffer.from(wire.subarray(START, START + length))).toEqual(Buffer.from(expected));
      }),
    );
  });
});
