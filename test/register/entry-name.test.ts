import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ancestorsOf, canonicaliseName, fitsWire, isBelow, isPlainName } from '../../src/register/entry-name.ts';

describe('canonicaliseName', () => {
  it.each([
    ['scam.example', 'scam.example'],
    ['Scam.EXAMPLE.', 'scam.example'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['xn--a.example', 'xn--a.example'],
    ['网络.example', 'xn--io0a7i.example'],
    ['scam。example', 'scam.example'],
    ['_dmarc.scam.example', '_dmarc.scam.example'],
    ['192.0.2.1', '192.0.2.1'],
    ['0x7f.1', '127.0.0.1'],
    ['com', 'com'],
    ['.', '.'],
  ])('%s is %s', (raw, canonical) => expect(canonicaliseName(raw)).toBe(canonical));

  it.each([
    '',
    '..',
    'a..b',
    '.a',
    'a b.example',
    '*.example',
    'http://a.example',
    'a.example/path',
    'a.example:80',
    'a%41.example',
    '[::1]',
    '::1',
    'a@b.example',
    'a\u0000.example',
  ])('%j is no name', (raw) => expect(canonicaliseName(raw)).toBeUndefined());

  it('is stable: a canonical name is its own canonical form', () => {
    fc.assert(
      fc.property(fc.oneof(fc.domain(), fc.string({ unit: 'grapheme', maxLength: 20 })), (raw) => {
        const once = canonicaliseName(raw);
        if (once !== undefined) expect(canonicaliseName(once)).toBe(once);
      }),
    );
  });

  it('calls plain only names that an IDNA conversion leaves alone', () => {
    const label = fc.oneof(fc.stringMatching(/^[a-z0-9_-]{1,8}$/), fc.stringMatching(/^xn--[a-z0-9-]{0,6}$/));
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 4 }), (labels) => {
        const name = labels.join('.');
        if (isPlainName(name)) expect(domainToASCII(name)).toBe(name);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('names', () => {
  it('fit the wire or not', () => {
    const label = 'a'.repeat(63);
    expect(fitsWire(`${label}.${label}.${label}.${'a'.repeat(61)}`)).toBe(true);
    expect(fitsWire(`${label}.${label}.${label}.${'a'.repeat(62)}`)).toBe(false);
    expect(fitsWire(`${label}a.example`)).toBe(false);
  });

  it('lie below others by whole labels', () => {
    expect(isBelow('a.b.example', 'b.example')).toBe(true);
    expect(isBelow('ab.example', 'b.example')).toBe(false);
    expect(isBelow('b.example', 'b.example')).toBe(false);
    expect([...ancestorsOf('a.b.example')]).toEqual(['b.example', 'example']);
  });
});
