import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatInstant, NO_END_SECONDS, parseInstant } from '../../src/register/time.ts';

describe('parseInstant', () => {
  it('reads back what formatInstant writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: NO_END_SECONDS - 1 }), (seconds) => {
        expect(parseInstant(formatInstant(seconds))).toBe(seconds);
      }),
    );
  });

  const two = (max: number) => fc.nat(max).map((number) => String(number).padStart(2, '0'));
  it('takes a time if and only if that is how it is written', () => {
    const text = fc
      .tuple(fc.constantFrom('1969', '1970', '2000', '2026', '2028', '2100', '2106', '2107'), two(13), two(32))
      .chain(([year, month, date]) =>
        fc.tuple(two(25), two(61), two(61)).map((clock) => `${year}-${month}-${date}T${clock.join(':')}Z`),
      );
    let good = 0;
    fc.assert(
      fc.property(text, (written) => {
        const seconds = Date.parse(written) / 1000;
        const exact = seconds >= 0 && seconds < NO_END_SECONDS && formatInstant(seconds) === written;
        if (exact) good++;
        expect(parseInstant(written), written).toBe(exact ? seconds : undefined);
      }),
      { numRuns: 5_000 },
    );
    expect(good).toBeGreaterThan(500);
  });

  it.each([
    '2026-02-29T00:00:00Z',
    '2026-03-01T24:00:00Z',
    '2026-03-01T23:59:60Z',
    '2026-03-01T09:00:00.0Z',
    '2026-03-01T09:00:00+00:00',
    '2026-03-01t09:00:00z',
    ' 2026-03-01T09:00:00Z',
    '2026-03-01T09:00:00Z\n',
  ])('refuses %j', (text) => {
    expect(parseInstant(text)).toBeUndefined();
  });
});
