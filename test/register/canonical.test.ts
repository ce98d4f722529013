import { existsSync, readdirSync, readFileSync } from 'node:fs';
import canonicalize from 'canonicalize';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeCanonical, isCanonical, parseCanonical } from '../../src/register/canonical.ts';

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

describe('isCanonical', () => {
  /** What the shorter way must agree with. */
  const byTheBook = (text: string) => {
    try {
      return canonicalize(JSON.parse(text)) === text;
    } catch {
      return false;
    }
  };
  const key = fc.oneof(
    fc.string(),
    fc.constantFrom('a', 'b', 'aa', '1', '9', '10', '__proto__', 'é', '\ud83d\ude00', '\uffff'),
  );
  const { value: json } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.double(),
        fc.integer(),
        fc.boolean(),
        fc.constantFrom(null, '\\ud800'),
      ),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: false }),
    ),
  }));

  it('agrees with canonicalize about canonical and other spellings', () => {
    let canonical = 0;
    fc.assert(
      fc.property(
        json,
        fc.nat(),
        fc.constantFrom(' ', '0', '.', '"', '\\ud800', '\\uD83D', '\\u0041'),
        (value, place, stray) => {
          const plain = JSON.stringify(value);
          const broken = plain.slice(0, place % plain.length) + stray + plain.slice(place % plain.length);
          for (const text of [plain, canonicalizeOr(value, plain), broken]) {
            let parsed: unknown;
            try {
              parsed = JSON.parse(text);
            } catch {
              continue;
            }
            expect(isCanonical(parsed, text), text).toBe(byTheBook(text));
            if (isCanonical(parsed, text)) canonical++;
          }
        },
      ),
      { numRuns: 2_000 },
    );
    expect(canonical).toBeGreaterThan(500);
  });

  function canonicalizeOr(value: unknown, fallback: string): string {
    try {
      return canonicalize(value)!;
    } catch {
      return fallback;
    }
  }
});
