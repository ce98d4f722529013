import { BloomFilter } from 'bloom-filters';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseName, writeName } from '../../src/dns/name.ts';
import { addToFilter, falsePositiveRate, mayContain, sizeFilter } from '../../src/rules/bloom-filter.ts';
import { HEADER, HEADER_WORDS, LINE_BYTES, linesOf, NO_RULE } from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { hashName, reduceTo, type SuffixHash } from '../../src/rules/suffix-hash.ts';
import { buildTable, compileRules, createRandom, nameAt } from './fixture.ts';

const hash: SuffixHash = { first: 0, second: 0 };

/** Hashes a dotted name. */
function hashOf(name: string, seed: readonly [number, number] = [7, 8]): SuffixHash {
  const wire = parseName(name);
  hashName(wire, 0, wire.length - 1, seed[0], seed[1], hash);
  return hash;
}

/** A filter with the names `nameAt(0 … count - 1)` in it. */
function fill(count: number, rate: number): { blocks: number; has(name: string): boolean } {
  const blocks = sizeFilter(count, rate);
  const filter = new Uint32Array(blocks * 16);
  for (let i = 0; i < count; i++) {
    const { first, second } = hashOf(nameAt(i));
    addToFilter(filter, blocks, first, second);
  }
  return {
    blocks,
    has(name) {
      const { first, second } = hashOf(name);
      return mayContain(filter, blocks, first, second);
    },
  };
}

/** Share of `probes` names outside the filter that it says may be in it. */
function measure(has: (name: string) => boolean, probes: number): number {
  let hits = 0;
  for (let i = 0; i < probes; i++) if (has(nameAt(i, 'other'))) hits++;
  return hits / probes;
}

describe('the filter', () => {
  it.each([
    [1, 0.001],
    [20, 0.01],
    [50_000, 0.001],
  ])('has each of %d names it was given', (count, rate) => {
    const filter = fill(count, rate);
    for (let i = 0; i < count; i++) if (!filter.has(nameAt(i))) throw new Error(`${nameAt(i)} is missing`);
  });

  it.each([
    [20_000, 0.02, 200_000],
    [20_000, 0.005, 200_000],
    [100_000, 0.005, 200_000],
    [200_000, 0.001, 600_000],
  ])('of %d names, sized for %d, is wrong as often as the formula says', (count, rate, probes) => {
    const filter = fill(count, rate);
    const measured = measure(filter.has, probes) / falsePositiveRate(count, filter.blocks);
    expect(measured).toBeGreaterThan(0.8);
    expect(measured).toBeLessThan(1.2);
  });

  it('meets its target at the sizes and rates in use', () => {
    for (const rate of [0.01, 0.001]) {
      for (const count of [1, 10, 100, 1_000, 100_000, 10_000_000]) {
        expect(falsePositiveRate(count, sizeFilter(count, rate)), `${count} at ${rate}`).toBeLessThanOrEqual(rate);
      }
    }
  });

  it.each([
    [10_000, 0.01, 60_000],
    [20_000, 0.002, 120_000],
  ])('of %d names is as good as that of bloom-filters at %d', (count, rate, probes) => {
    const theirs = BloomFilter.create(count, rate);
    const ours = fill(count, rate);
    for (let i = 0; i < count; i++) theirs.add(nameAt(i));
    for (let i = 0; i < count; i++) if (theirs.has(nameAt(i)) !== ours.has(nameAt(i))) throw new Error(nameAt(i));
    const [own, other] = [measure(ours.has, probes), measure((name) => theirs.has(name), probes)];
    expect(own).toBeLessThan(other * 1.2);
    expect(own).toBeGreaterThan(other / 2.5);
  });
});

describe('the suffix hash', () => {
  const label = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
  const labels = fc.array(label, { minLength: 2, maxLength: 6 });

  it('makes findRule meet every suffix as the builder stored it', () => {
    fc.assert(
      fc.property(labels, fc.nat(), fc.integer(), fc.integer(), (parts, at, a, b) => {
        const suffix = parts.slice(at % (parts.length - 1)).join('.');
        const table = buildTable([{ name: suffix }], { seed: [a, b] });
        const rule = table.findRule(parseName(parts.join('.')), 0);
        expect(rule).not.toBe(NO_RULE);
      }),
    );
  });

  it('spreads names evenly over blocks and bits, whatever the seed', () => {
    const bins = 64;
    for (const seed of [
      [0, 0],
      [1, 1],
      [-1, 0x7fffffff],
    ] as const) {
      const firsts = new Uint32Array(bins);
      const seconds = new Uint32Array(bins);
      const count = 64_000;
      for (let i = 0; i < count; i++) {
        const { first, second } = hashOf(nameAt(i), seed);
        firsts[reduceTo(first, bins)]!++;
        seconds[second >>> 26]!++;
      }
      // Chi-square with 63 degrees of freedom: 120 is beyond 1 in 50,000.
      for (const counts of [firsts, seconds]) {
        const chi = counts.reduce((sum, each) => sum + (each - count / bins) ** 2 / (count / bins), 0);
        expect(chi).toBeLessThan(120);
      }
    }
  });

  it('depends on the seed: names that hit the filter of one table by chance miss it in another', () => {
    const rules = Array.from({ length: 20_000 }, (_, i) => ({ name: nameAt(i) }));
    const falseHits = (seed: [number, number]): Set<number> => {
      const table = buildTable(rules, { seed, falsePositiveRate: 0.01 });
      const hits = new Set<number>();
      for (let i = 0; i < 100_000; i++) {
        const before = table.filterFalseHits;
        table.findRule(parseName(nameAt(i, 'other')), 0);
        if (table.filterFalseHits > before) hits.add(i);
      }
      return hits;
    };
    const [one, two] = [falseHits([1, 2]), falseHits([1, 3])];
    expect(one.size).toBeGreaterThan(200);
    expect([...one].filter((i) => two.has(i)).length).toBeLessThan(one.size / 10);
  });

  it('is reduced to a number below the count at any size a table may have', () => {
    const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 0xffff_ffff));
    fc.assert(
      fc.property(word, fc.integer({ min: 1, max: 0x7fff_ffff }), (value, count) => {
        const exact = Number((BigInt(value) * BigInt(count)) >> 32n);
        const reduced = reduceTo(value, count);
        expect(reduced).toBeLessThan(count);
        expect(Math.abs(reduced - exact)).toBeLessThanOrEqual(value * count < 2 ** 53 ? 0 : 1);
      }),
    );
  });
});

describe('the filter in a table', () => {
  it('says no to almost all names and never blocks by itself', () => {
    const count = 100_000;
    const listed = new Set(Array.from({ length: count }, (_, i) => nameAt(i)));
    // A filter a hundred times worse than usual: the exact table must refuse every one of its false hits.
    const table = buildTable(
      [...listed].map((name) => ({ name })),
      { falsePositiveRate: 0.1 },
    );
    const wire = new Uint8Array(300);
    const random = createRandom(99);
    const covered = (name: string): boolean => {
      for (let at = 0; at >= 0; at = name.indexOf('.', at) + 1 || -1) if (listed.has(name.slice(at))) return true;
      return false;
    };
    let blocked = 0;
    let innocent = 0;
    for (let i = 0; innocent < 1_000_000; i++) {
      const name = i % 2 === 0 ? nameAt(i, 'random') : nearMiss(nameAt(random() % count), random());
      if (covered(name)) continue;
      innocent++;
      writeName(name, wire, 0);
      if (table.findRule(wire, 0) !== NO_RULE) blocked++;
    }
    expect(blocked).toBe(0);
    expect(table.filterFalseHits).toBeGreaterThan(10_000);
  });

  /** A name that differs from a listed one by a letter, a label, a suffix or a boundary. */
  function nearMiss(name: string, random: number): string {
    const at = (random >>> 8) % name.length;
    switch (random & 7) {
      case 0:
        return `x${name}`;
      case 1:
        return name.slice(name.indexOf('.') + 1);
      case 2:
        return `${name}.com`;
      case 3:
        return name.replace(/\.[a-z]+$/, '.org');
      case 4:
        return name.replace('.', '-');
      case 5:
        return name[at] === '.' ? `a.${name}x` : `${name.slice(0, at)}q${name.slice(at + 1)}`;
      case 6:
        return name.split('.').reverse().join('.');
      default:
        return `${name.split('.')[0]}.${nameAt(random, 'else')}`;
    }
  }

  it('holds what a table of ten million rules needs, with numbers of 32 bits', () => {
    const blocks = sizeFilter(10_000_000, 0.001);
    expect(blocks * 64).toBeLessThan(25_000_000);
    expect(linesOf(blocks * LINE_BYTES)).toBe(blocks);
    expect(reduceTo(0xffff_ffff, blocks)).toBe(blocks - 1);
  });

  it('is the one that the builder sizes', () => {
    const buffer = compileRules(Array.from({ length: 10_000 }, (_, i) => ({ name: nameAt(i) })));
    const header = new Uint32Array(buffer, 0, HEADER_WORDS);
    expect(header[HEADER.FILTER_BLOCKS]).toBe(sizeFilter(10_000, 0.001));
    const table = new RuleTable(buffer);
    const wire = new Uint8Array(300);
    for (let i = 0; i < 200_000; i++) {
      writeName(nameAt(i, 'other'), wire, 0);
      table.findRule(wire, 0);
    }
    const expected = falsePositiveRate(10_000, table.filterBlocks);
    expect(table.filterFalseHits / table.filterProbes / expected).toBeGreaterThan(0.75);
    expect(table.filterFalseHits / table.filterProbes / expected).toBeLessThan(1.25);
  });
});
