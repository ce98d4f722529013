/**
 * Measures the rule table by itself: `npm run bench:rules`, with `--rules 100000,1000000,10000000` for the sizes,
 * `--near-miss N` to look up N names that are not listed, `--json` for the figures as one JSON object in the last line.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import bloomFilters from 'bloom-filters';
import { createProgress, paint } from '../src/base/terminal.ts';
import { NO_END, NO_RULE } from '../src/rules/layout.ts';
import { RuleTable } from '../src/rules/rule-table.ts';
import { RuleTableBuilder } from '../src/rules/rule-table-builder.ts';
import { loadTable, saveTable } from '../src/rules/table-file.ts';
import { listedQueryAt, nameAt, unlistedQueryAt } from './names.ts';
import { BATCH, type Lookups, measureNanos, prepareLookups, someSuffix } from './rules-lookups.ts';
import { countBlockedMisses } from './rules-near-miss.ts';

/** Distinct names of each kind that lookups go through. */
const DISTINCT = 128 * BATCH;
const BATCHES = 600;
/** Labels in front of a name for the deep ones. */
const DEEP_LABELS = 10;
/** For what takes microseconds a lookup. */
const SLOW_BATCHES = 60;
/** Largest size at which the baselines are measured: above it they take minutes and gigabytes. */
const BASELINE_RULES = 1_000_000;
/** Names are made outside the measured time, so many at once. */
const CHUNK = 10_000;
const FALSE_POSITIVE_RATE = 0.001;
const NOW = 1_772_355_600;

/** Figures of one size; the baselines are null where they are not measured. */
interface Figures {
  missNanos: number;
  hitNanos: number;
  deepNanos: number;
  bloomMissNanos: number | null;
  setMissNanos: number | null;
  compileSeconds: number;
  saveSeconds: number;
  reloadSeconds: number;
  bytesPerRule: number;
  falseHitShare: number;
  nearMissBlocked: number | null;
}

/** Compiles `nameAt(0 … count - 1)` as subtree rules of one notice; only the builder's work is timed. */
function compile(count: number): { table: SharedArrayBuffer; seconds: number } {
  const progress = createProgress(`Compiling ${count.toLocaleString('en')} rules`);
  let millis = 0;
  const time = <T>(work: () => T): T => {
    const startedAt = performance.now();
    const result = work();
    millis += performance.now() - startedAt;
    return result;
  };
  const builder = new RuleTableBuilder({
    categories: ['scam'],
    answer: { soaMname: 'warta.invalid', soaRname: 'hostmaster.warta.invalid', operator: 'bench', language: 'en' },
    seed: [0x243f6a88, 0x85a308d3],
    builtAtSeconds: NOW,
    source: 'bench',
    falsePositiveRate: FALSE_POSITIVE_RATE,
  });
  const notice = builder.addNotice({ reference: 'BENCH/1', category: 'scam', authority: 'bench', contacts: [] });
  for (let done = 0; done < count; done += CHUNK) {
    const names = Array.from({ length: Math.min(CHUNK, count - done) }, (_, i) => nameAt(done + i));
    time(() => {
      names.forEach((name, i) => {
        builder.addRule(name, 'subtree', 'block', 0, NO_END, notice, done + i);
      });
    });
    progress.update(done, count);
  }
  const table = time(() => builder.build());
  progress.done();
  return { table, seconds: millis / 1000 };
}

/** Saves and loads the table in a folder of its own; the file is in the page cache, as after a restart of the program. */
function reload(table: SharedArrayBuffer): { saveSeconds: number; reloadSeconds: number } {
  const folder = mkdtempSync(join(tmpdir(), 'warta-bench-'));
  try {
    const path = join(folder, 'table');
    const startedAt = performance.now();
    saveTable(path, table);
    const savedAt = performance.now();
    loadTable(path);
    return { saveSeconds: (savedAt - startedAt) / 1000, reloadSeconds: (performance.now() - savedAt) / 1000 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Names of two and three labels that are not listed, half of them with `www.`. */
function prepareMisses(ruleCount: number): Lookups {
  let position = 0;
  return prepareLookups(DISTINCT, () => {
    for (;;) {
      const name = unlistedQueryAt(position++, ruleCount);
      if (name.split('.').length <= 3) return name;
    }
  });
}

/** Looks names up in the table: once over to warm the compiler up, once to measure. */
function measureTable(table: RuleTable, names: Lookups, listed: boolean): number {
  const { wire, offsets } = names;
  const lookUp = (from: number, to: number) => {
    let found = 0;
    for (let i = from; i < to; i++) if (table.findRule(wire, offsets[i]) !== NO_RULE) found++;
    return found;
  };
  measureNanos(names, BATCHES, listed, lookUp);
  return measureNanos(names, BATCHES, listed, lookUp);
}

/** The same question put to `bloom-filters` and to a `Set`: is any suffix of the name listed? */
function measureBaselines(count: number, names: Lookups): { bloom: number; set: number } {
  const { texts } = names;
  const progress = createProgress('Filling bloom-filters and Set');
  const bloom = bloomFilters.BloomFilter.create(count, FALSE_POSITIVE_RATE);
  const set = new Set<string>();
  for (let i = 0; i < count; i++) {
    bloom.add(nameAt(i));
    set.add(nameAt(i));
    if (i % 1_000 === 0) progress.update(i, count);
  }
  progress.done();
  const time = (batches: number, has: (suffix: string) => boolean) =>
    measureNanos(names, batches, false, (from, to) => {
      let found = 0;
      for (let i = from; i < to; i++) if (someSuffix(texts[i], has) && set.has(texts[i])) found++;
      return found;
    });
  return { bloom: time(SLOW_BATCHES, (suffix) => bloom.has(suffix)), set: time(BATCHES, (suffix) => set.has(suffix)) };
}

/** Names of a dozen labels that are not listed: each suffix costs a probe, up to the labels of the longest rule. */
function prepareDeepMisses(ruleCount: number): Lookups {
  const label = (i: number) => unlistedQueryAt(i * 2, ruleCount).slice(0, 5);
  return prepareLookups(DISTINCT, (index) => {
    const below = Array.from({ length: DEEP_LABELS }, (_, i) => label(index + i));
    return `${below.join('.')}.${unlistedQueryAt(index * 2, ruleCount)}`;
  });
}

/** Measures everything at one size. */
function measure(count: number, nearMisses: number): Figures {
  const { table: buffer, seconds } = compile(count);
  const table = new RuleTable(buffer);
  table.setTime(NOW, NOW);
  const misses = prepareMisses(count);
  const missNanos = measureTable(table, misses, false);
  const falseHitShare = table.filterFalseHits / table.filterProbes;
  const hits = prepareLookups(DISTINCT, (index) => listedQueryAt(index, count));
  const hitNanos = measureTable(table, hits, true);
  const deepNanos = measureTable(table, prepareDeepMisses(count), false);
  const baselines = count <= BASELINE_RULES ? measureBaselines(count, misses) : undefined;
  return {
    ...{ missNanos, hitNanos, deepNanos, falseHitShare, compileSeconds: seconds },
    bloomMissNanos: baselines?.bloom ?? null,
    setMissNanos: baselines?.set ?? null,
    ...reload(buffer),
    bytesPerRule: buffer.byteLength / count,
    nearMissBlocked: nearMisses > 0 ? countNearMisses(table, count, nearMisses) : null,
  };
}

/** Looks near misses up and says at once when one is blocked. */
function countNearMisses(table: RuleTable, ruleCount: number, count: number): number {
  const progress = createProgress(`Looking ${count.toLocaleString('en')} near misses up`);
  const { blocked, example } = countBlockedMisses(table, ruleCount, count, (done) => progress.update(done, count));
  progress.done();
  if (blocked > 0) console.error(paint('red', `${blocked} names that are not listed are blocked, such as ${example}`));
  return blocked;
}

/** The rows of the printed table. */
const ROWS: readonly (readonly [string, (figures: Figures) => number | null, number])[] = [
  ['miss, ns', (each) => each.missNanos, 1],
  ['hit, ns', (each) => each.hitNanos, 1],
  [`miss of ${DEEP_LABELS} more labels, ns`, (each) => each.deepNanos, 1],
  ['bloom-filters, miss, ns', (each) => each.bloomMissNanos, 0],
  ['Set of strings, miss, ns', (each) => each.setMissNanos, 0],
  ['compile, s', (each) => each.compileSeconds, 2],
  ['save, s', (each) => each.saveSeconds, 2],
  ['reload, s', (each) => each.reloadSeconds, 2],
  ['bytes a rule', (each) => each.bytesPerRule, 1],
  ['false hits of 1,000 probes', (each) => each.falseHitShare * 1_000, 2],
  ['near misses blocked', (each) => each.nearMissBlocked, 0],
];

/** Returns the figures as a table, one column for each size. */
function composeTable(all: ReadonlyMap<number, Figures>): string {
  const cell = (value: number | null, digits: number) => (value === null ? '–' : value.toFixed(digits)).padStart(12);
  const heading = ['rules'.padEnd(28), ...[...all.keys()].map((count) => count.toLocaleString('en').padStart(12))];
  const rows = ROWS.filter(([, read]) => [...all.values()].some((each) => read(each) !== null));
  return [
    paint('bold', heading.join('')),
    ...rows.map(
      ([label, read, digits]) => label.padEnd(28) + [...all.values()].map((e) => cell(read(e), digits)).join(''),
    ),
  ].join('\n');
}

/** Returns the figures as the JSON line: each an object by rule count. */
function composeJson(all: ReadonlyMap<number, Figures>): string {
  const digits = { missNanos: 1, hitNanos: 1, bytesPerRule: 2, compileSeconds: 3, reloadSeconds: 3 } as const;
  const figures = Object.entries(digits).map(([key, places]) => {
    const values = [...all].map(([count, each]) => [count, Number(each[key as keyof typeof digits].toFixed(places))]);
    return [key, Object.fromEntries(values)];
  });
  return JSON.stringify(Object.fromEntries(figures));
}

/** Returns the number an option gives; @throws when it is no whole number of at most 100 million. */
function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count > 100_000_000) throw new Error(`'${text}': write whole numbers, such as 1000000`);
  return count;
}

const { values } = parseArgs({
  options: {
    rules: { type: 'string', default: '100000,1000000,10000000' },
    'near-miss': { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
  },
});
const all = new Map<number, Figures>();
const nearMisses = parseCount(values['near-miss']);
for (const count of values.rules.split(',').map(parseCount)) all.set(count, measure(count, nearMisses));
console.log(`${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`);
console.log(`Median of ${BATCHES} batches of 1,000 lookups through ${DISTINCT.toLocaleString('en')} distinct names.`);
console.log(composeTable(all));
if (values.json) console.log(composeJson(all));
if ([...all.values()].some((each) => (each.nearMissBlocked ?? 0) > 0)) process.exitCode = 1;
