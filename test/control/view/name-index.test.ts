import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NameIndex } from '../../../src/control/view/name-index.ts';
import { EntryTable } from '../../../src/register/annex.ts';
import { NO_END_SECONDS } from '../../../src/register/time.ts';

function composeTable(names: readonly string[]): EntryTable {
  const width = 8;
  const table = new EntryTable(names.length, names.join('').length + width * names.length);
  for (const [at, name] of names.entries()) {
    table.add(String(at).padStart(width, '0'), name, 'exact', NO_END_SECONDS);
  }
  table.trim();
  return table;
}

describe('the index of names', () => {
  it('finds what a look through all tables finds', () => {
    const name = fc.integer({ min: 0, max: 40 }).map((number) => `n${number}.example`);
    fc.assert(
      fc.property(fc.array(fc.array(name, { maxLength: 20 }), { maxLength: 12 }), (tables) => {
        const index = new NameIndex();
        for (const names of tables) index.add(composeTable(names));
        for (let number = 0; number <= 41; number++) {
          const wanted = `n${number}.example`;
          const expected = tables.flatMap((names, table) =>
            names.flatMap((one, at) => (one === wanted ? [`${table}/${at}`] : [])),
          );
          const found = index.find(wanted).map(({ table, at }) => `${table}/${at}`);
          expect(found.sort()).toEqual(expected.sort());
        }
      }),
      { numRuns: 100 },
    );
  });

  it('finds names among many, wherever they came in', () => {
    const index = new NameIndex();
    const sizes = [30_000, 1, 40_000, 0, 70_000, 5_000];
    for (const [table, size] of sizes.entries()) {
      index.add(composeTable(Array.from({ length: size }, (_, at) => `t${table}-${at}.example`)));
    }
    for (const [table, size] of sizes.entries()) {
      for (const at of [0, Math.floor(size / 2), size - 1].filter((one) => one >= 0 && one < size)) {
        expect(index.find(`t${table}-${at}.example`)).toEqual([{ table, at }]);
      }
      expect(index.find(`t${table}-${size}.example`)).toEqual([]);
    }
  });
});
