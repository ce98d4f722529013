import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Coverage } from '../../../src/control/effect/coverage.ts';
import { sumUp } from '../../../src/control/effect/summary.ts';

describe('coverage', () => {
  it('is that of a look through all receipts, in whatever order they came', () => {
    const receipt = fc.record({ applied: fc.nat(30), size: fc.nat(12) });
    fc.assert(
      fc.property(fc.array(receipt, { maxLength: 40 }), (receipts) => {
        const coverage = new Coverage();
        for (const { applied, size } of receipts) coverage.add(applied, size);
        for (let index = 0; index <= 13; index++) {
          const covering = receipts.filter(({ size }) => size > index).map(({ applied }) => applied);
          const expected = covering.length === 0 ? undefined : Math.min(...covering);
          expect(coverage.find(index)).toBe(expected);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('a summary', () => {
  it.each([
    [[], { count: 0 }],
    [[7], { count: 1, medianSeconds: 7, worstSeconds: 7 }],
    [[30, 10], { count: 2, medianSeconds: 20, worstSeconds: 30 }],
    [[100, 9, 10], { count: 3, medianSeconds: 10, worstSeconds: 100 }],
    [[4, 3, 2, 1], { count: 4, medianSeconds: 2.5, worstSeconds: 4 }],
  ])('of %j is %j', (seconds, expected) => {
    expect(sumUp(seconds)).toEqual(expected);
  });
});
