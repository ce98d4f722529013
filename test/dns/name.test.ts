import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import { expandName, formatName, parseName, skipName, skipPlainName, writeName } from '../../src/dns/name.ts';
import { join, wireName } from './message.ts';

const hostLabel = fc.stringMatching(/^[a-z0-9_]([a-z0-9-]{0,20}[a-z0-9])?$/);
const hostName = fc.array(hostLabel, { minLength: 1, maxLength: 8 }).map((labels) => labels.join('.'));
/** Labels of any octets. */
const wireLabels = fc.array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 6 });

/** Composes a name of any octets. */
function composeName(labels: readonly Uint8Array[]): Uint8Array {
  return join(...labels.map((label) => join(Uint8Array.of(label.length), label)), Uint8Array.of(0));
}

const LONG = 'a'.repeat(63);
/** Exactly 255 octets on the wire: three labels of 63, one of 61. */
const LONGEST = [LONG, LONG, LONG, 'a'.repeat(61)].join('.');
const MOST_LABELS = Array(127).fill('a').join('.');

describe('parseName and formatName', () => {
  it('are each other’s inverse for host names, and agree with dns2', () => {
    fc.assert(
      fc.property(hostName, (name) => {
        const wire = parseName(name);
        expect(formatName(wire)).toBe(name);
        expect([...wire]).toEqual([...wireName(name)]);
      }),
    );
  });

  it.each([
    ['a final dot', 'a.example.', 'a.example'],
    ['capitals', 'A.ExAmPlE', 'a.example'],
    ['the root', '.', '.'],
    ['a label of 63 octets', `${LONG}.example`, `${LONG}.example`],
    ['255 octets', LONGEST, LONGEST],
    ['127 labels', MOST_LABELS, MOST_LABELS],
  ])('accept %s', (_, name, text) => {
    const wire = parseName(name);
    expect(formatName(wire)).toBe(text);
    expect(skipPlainName(wire, 0, wire.length)).toBe(wire.length);
  });

  it.each([
    ['an empty text', ''],
    ['two dots', 'a..example'],
    ['a dot in front', '.example'],
    ['two final dots', 'a.example..'],
    ['a label of 64 octets', `${LONG}a.example`],
    ['256 octets', `${LONGEST}a`],
    ['128 labels', `${MOST_LABELS}.a`],
    ['letters beyond ASCII', 'grüezi.example'],
  ])('refuse %s', (_, name) => {
    expect(() => parseName(name)).toThrow(expect.objectContaining({ code: 'name-invalid' }) as WartaError);
  });

  it('show unusual octets as \\DDD', () => {
    const name = composeName([Uint8Array.of(0, 0x2e, 0x5c, 0x41, 0xff), Uint8Array.of(0x20)]);
    expect(formatName(name)).toBe('\\000\\046\\092A\\255.\\032');
  });
});

describe('writeName', () => {
  it('writes nowhere but into its place', () => {
    fc.assert(
      fc.property(hostName, fc.nat(20), (name, offset) => {
        const out = new Uint8Array(offset + name.length + 10).fill(0xee);
        const end = writeName(name, out, offset);
        expect(end).toBe(offset + name.length + 2);
        expect([...out.subarray(offset, end)]).toEqual([...wireName(name)]);
        expect(out.subarray(0, offset).every((octet) => octet === 0xee)).toBe(true);
        expect(out.subarray(end).every((octet) => octet === 0xee)).toBe(true);
      }),
    );
  });
});

describe('skipPlainName and skipName', () => {
  it('find the end of any name, and refuse it cut short', () => {
    fc.assert(
      fc.property(wireLabels, fc.nat(30), fc.nat(), (labels, offset, cut) => {
        const name = composeName(labels);
        fc.pre(name.length <= 255);
        const wire = join(new Uint8Array(offset), name, Uint8Array.of(1, 97, 0));
        const end = offset + name.length;
        for (const skip of [skipPlainName, skipName]) {
          expect(skip(wire, offset, wire.length)).toBe(end);
          expect(skip(wire, offset, end)).toBe(end);
          expect(skip(wire, offset, end - 1 - (cut % name.length))).toBe(-1);
        }
      }),
    );
  });

  it.each([
    ['a pointer', [0xc0, 0x0c], -1, 2],
    ['a label and a pointer', [1, 97, 0xc0, 0x0c], -1, 4],
    ['half a pointer', [1, 97, 0xc0], -1, -1],
    ['label type 01', [0x41, 97, 0], -1, -1],
    ['label type 10', [0x80, 97, 0], -1, -1],
    ['no octet', [], -1, -1],
  ])('%s', (_, octets, plain, compressed) => {
    const wire = Uint8Array.from(octets);
    expect(skipPlainName(wire, 0, wire.length)).toBe(plain);
    expect(skipName(wire, 0, wire.length)).toBe(compressed);
  });

  it('a plain name of 256 octets is refused', () => {
    const name = join(wireName(LONGEST).subarray(0, 254), Uint8Array.of(1, 97, 0));
    expect(skipPlainName(name, 0, name.length)).toBe(-1);
  });
});

describe('expandName', () => {
  const out = new Uint8Array(256);
  const expand = (octets: readonly number[], offset: number, start = 0): string => {
    const wire = Uint8Array.from(octets);
    const length = expandName(wire, start, wire.length, offset, out);
    return length < 0 ? 'malformed' : formatName(out.subarray(0, length));
  };

  it.each([
    ['a plain name', [1, 97, 1, 98, 0], 0, 'a.b'],
    ['the root', [0], 0, '.'],
    ['a pointer back', [1, 98, 0, 1, 97, 0xc0, 0], 3, 'a.b'],
    ['a pointer to a pointer', [1, 98, 0, 0xc0, 0, 1, 97, 0xc0, 3], 5, 'a.b'],
    ['a pointer to itself', [0xc0, 0], 0, 'malformed'],
    ['a pointer to its own labels', [1, 97, 0xc0, 0], 0, 'malformed'],
    ['a pointer into the middle of its own labels', [2, 0, 97, 0xc0, 1], 0, 'malformed'],
    ['a loop of two', [0xc0, 2, 0xc0, 0], 2, 'malformed'],
    ['a loop through labels', [1, 97, 0xc0, 4, 1, 98, 0xc0, 0], 4, 'malformed'],
    ['a pointer ahead', [0xc0, 2, 1, 97, 0], 0, 'malformed'],
    ['a pointer past the end', [1, 97, 0xc0, 0xff], 0, 'malformed'],
    ['half a pointer', [1, 97, 0xc0], 0, 'malformed'],
    ['a label past the end', [3, 97, 98], 0, 'malformed'],
    ['no root octet', [1, 97], 0, 'malformed'],
    ['label type 01', [0x41, 97, 0], 0, 'malformed'],
  ])('%s', (_, octets, offset, text) => {
    expect(expand(octets, offset)).toBe(text);
  });

  it('counts pointers from the start of the message', () => {
    expect(expand([9, 9, 9, 1, 98, 0, 1, 97, 0xc0, 0], 6, 3)).toBe('a.b');
  });

  it('refuses a name that is too long only when expanded', () => {
    const tail = wireName(LONGEST);
    const fits = [...tail, 0xc0, 0];
    expect(expand(fits, tail.length)).toBe(LONGEST);
    expect(expand([...tail, 1, 97, 0xc0, 0], tail.length)).toBe('malformed');
    for (const [less, fitting] of [
      [1, false],
      [2, true],
    ] as const) {
      const shorter = wireName(LONGEST.slice(less));
      const expanded = expand([...shorter, 1, 97, 0xc0, 0], shorter.length);
      expect(expanded).toBe(fitting ? `a.${LONGEST.slice(less)}` : 'malformed');
    }
  });

  it('gives back every name that was compressed', () => {
    fc.assert(
      fc.property(wireLabels, fc.nat(), fc.nat(20), (labels, split, start) => {
        const name = composeName(labels);
        fc.pre(name.length <= 255);
        const at = labels.length === 0 ? 0 : split % labels.length;
        const head = composeName(labels.slice(0, at)).slice(0, -1);
        const wire = join(new Uint8Array(start), composeName(labels.slice(at)), head, Uint8Array.of(0xc0, 0));
        const length = expandName(wire, start, wire.length, wire.length - 2 - head.length, out);
        expect([...out.subarray(0, length)]).toEqual([...name]);
      }),
    );
  });

  it('ends on any octets, within 255 of them, and only with a name', () => {
    const pointers = fc.uint8Array({ minLength: 1, maxLength: 80 }).map((octets) =>
      // Half of the octets become small labels and pointers near by: random ones would hardly ever chain.
      octets.map((octet, i) => (i % 2 === 0 ? [0xc0, 1, 2, 0][octet & 3]! : octet % 80)),
    );
    const kind = fc.oneof(pointers, fc.uint8Array({ minLength: 1, maxLength: 80 }));
    fc.assert(
      fc.property(kind, fc.nat(), (wire, at) => {
        const length = expandName(wire, 0, wire.length, at % wire.length, out);
        if (length < 0) return;
        expect(length).toBeLessThanOrEqual(255);
        expect(skipPlainName(out, 0, length)).toBe(length);
      }),
      { numRuns: 2_000 },
    );
  });
});
