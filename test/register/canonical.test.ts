import { existsSync, readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeCanonical, parseCanonical } from '../../src/register/canonical.ts';

const VECTORS = new URL('../../../shared/vectors/jcs/', import.meta.url);
const present = existsSync(VECTORS);

describe.skipIf(!present)('RFC 8785 sample set', () => {
  const files = present ? readdirSync(new URL('input/', VECTORS)) : [];

  it('has samples', () => expect(files.length).toBeGreaterThan(0));

  it.each(files)('%s has the published canonical form, which is read back', (file) => {
    const input = JSON.parse(readFileSync(new URL(`input/${file}`, VECTORS), 'utf8'));
    const output = readFileSync(new URL(`output/${file}`, VECTORS));
    expect(composeCanonical(input).toString()).toBe(output.toString());
    expect(parseCanonical(output)).toEqual(input);
  });
});

describe('parseCanonical', () => {
  it('reads back whatever it composed', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const bytes = composeCanonical(value);
        expect(composeCanonical(parseCanonical(bytes)).equals(bytes)).toBe(true);
      }),
    );
  });

  it.each([
    ['a key given twice', '{"a":1,"a":1}', 'statement-not-canonical'],
    ['keys not in order', '{"b":1,"a":1}', 'statement-not-canonical'],
    ['a blank', '{"a": 1}', 'statement-not-canonical'],
    ['a line feed at the end', '{"a":1}\n', 'statement-not-canonical'],
    ['a number spelled otherwise', '{"a":1.0}', 'statement-not-canonical'],
    ['an escape that is not needed', '{"a":"\\u0041"}', 'statement-not-canonical'],
    ['a lone surrogate', '{"a":"\\ud800"}', 'statement-not-canonical'],
    ['a byte-order mark', '\ufeff{"a":1}', 'statement-malformed'],
    ['no JSON', '{"a":', 'statement-malformed'],
    ['nothing', '', 'statement-malformed'],
  ])('refuses %s', (_case, text, code) => {
    expect(() => parseCanonical(Buffer.from(text))).toThrow(expect.objectContaining({ code }));
  });

  it('refuses bytes that are no UTF-8', () => {
    expect(() => parseCanonical(Buffer.from([0x22, 0xff, 0x22]))).toThrow(
      expect.objectContaining({ code: 'statement-malformed' }),
    );
  });
});
