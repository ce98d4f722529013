import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_END, NO_RULE } from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { loadTable, saveTable } from '../../src/rules/table-file.ts';
import { countSpareNames, type PatchOptions, RuleTablePatch } from '../../src/rules/table-patch.ts';
import { ANSWER, CATEGORIES, compileRules, find, NOTICE, NOW, nameAt, type RuleSpec } from './fixture.ts';

/** A notice of the model: its place among all, and its rules. */
interface ModelNotice {
  reference: string;
  rank: number;
  rules: RuleSpec[];
}

/** Options of a patch that changes nothing. */
const UNCHANGED: PatchOptions = {
  categories: CATEGORIES,
  answer: ANSWER,
  builtAtSeconds: NOW + 1,
  source: 'patched',
  ranks: [0, 1, 2, 3],
  ended: [],
};

function referenceOf({ reference }: ModelNotice) {
  return { ...NOTICE, reference };
}

/** Adds the rules of one notice. */
function addRules(patch: RuleTablePatch, ordinal: number, rules: readonly RuleSpec[]): void {
  for (const { name, trigger = 'subtree', action = 'block', from = 0, until = NO_END, entry = 0 } of rules) {
    patch.addRule(name, trigger, action, from, until, ordinal, entry);
  }
}

/** Compiles notices in their order, the way that needs no patch. */
function compileAll(notices: readonly ModelNotice[]): SharedArrayBuffer {
  const ordered = notices.toSorted((one, other) => one.rank - other.rank);
  const rules = ordered.flatMap((notice, ordinal) => notice.rules.map((rule) => ({ ...rule, notice: ordinal })));
  return compileRules(rules, { notices: ordered.map(referenceOf) });
}

/** What a table answers for a name at a time, told without the numbers that differ from table to table. */
function answerOf(table: RuleTable, name: string, atSeconds: number): unknown {
  table.setTime(atSeconds, atSeconds);
  const rule = find(table, name);
  if (rule === NO_RULE) {
    const { steeredRule } = table;
    if (steeredRule === NO_RULE) return [table.matchedUntil];
    return [table.matchedUntil, table.describe().notices[table.noticeOf(steeredRule)]!.reference];
  }
  const { reference } = table.describe().notices[table.noticeOf(rule)]!;
  const where = [
    table.matchedOffset,
    table.matchedUntil,
    table.isSubtree(rule),
    table.isRedirect(rule),
    table.entryOf(rule),
  ];
  return [reference, CATEGORIES[table.categoryOf(rule)], ...where, table.windowOf(rule)];
}

function digestOf(table: SharedArrayBuffer): string {
  return createHash('sha256').update(new Uint8Array(table)).digest('hex');
}

/** A list that goes from patch to patch. */
class PatchedList {
  table: SharedArrayBuffer;
  notices: ModelNotice[];
  patches = 0;
  #ordinals = new Map<ModelNotice, number>();
  #count: number;

  constructor(notices: readonly ModelNotice[]) {
    this.notices = [...notices];
    this.table = compileAll(notices);
    this.#count = notices.length;
    this.#number();
  }

  #number(): void {
    const ordered = this.notices.toSorted((one, other) => one.rank - other.rank);
    this.#ordinals = new Map(ordered.map((notice, ordinal) => [notice, ordinal]));
    this.#count = ordered.length;
  }

  /** Takes one notice out and another in; with `keepNumber` the new one is the old one changed. */
  replace(gone: ModelNotice | undefined, added: ModelNotice | undefined, keepNumber: boolean): void {
    const number = gone && this.#ordinals.get(gone);
    this.notices = this.notices.filter((notice) => notice !== gone);
    const ordinals = new Map(this.notices.map((notice) => [notice, this.#ordinals.get(notice)!]));
    const ordinal = keepNumber && number !== undefined ? number : this.#count;
    if (added !== undefined) {
      this.notices.push(added);
      ordinals.set(added, ordinal);
    }
    const ranks: number[] = [];
    for (const [notice, at] of ordinals) ranks[at] = notice.rank;
    const patch = new RuleTablePatch(this.table, { ...UNCHANGED, ranks, ended: number === undefined ? [] : [number] });
    if (added !== undefined) {
      if (ordinal === this.#count) expect(patch.addNotice(referenceOf(added))).toBe(ordinal);
      addRules(patch, ordinal, added.rules);
    }
    const patched = patch.finish();
    if (patched === undefined) {
      this.table = compileAll(this.notices);
      this.#number();
      return;
    }
    this.patches++;
    this.table = patched;
    this.#ordinals = ordinals;
    if (added !== undefined) this.#count = Math.max(this.#count, ordinal + 1);
  }
}

const LABELS = ['a', 'b', 'www'];
/** Few names, so that notices meet on them: all of up to two labels below two domains. */
const NAMES = ['shop.example', 'b.example'].flatMap((apex) => [
  apex,
  ...LABELS.map((label) => `${label}.${apex}`),
  ...LABELS.flatMap((label) => LABELS.map((other) => `${label}.${other}.${apex}`)),
]);
const NEAR_MISSES = NAMES.flatMap((name) => [`x${name}`, `${name}x`, `c.${name}`]);
const TIMES = [0, 1, 4, 5, 6, 9].map((offset) => NOW + offset);

const arbitraryRule: fc.Arbitrary<RuleSpec> = fc.record({
  name: fc.constantFrom(...NAMES),
  trigger: fc.constantFrom('exact', 'subtree'),
  action: fc.constantFrom('block', 'block', 'redirect', 'passthru', 'steer'),
  from: fc.constantFrom(0, NOW, NOW + 5),
  until: fc.constantFrom(NOW + 6, NOW + 9, NO_END),
  entry: fc.nat(3),
});
const arbitraryNotice = (reference: string): fc.Arbitrary<ModelNotice> =>
  fc.record({
    reference: fc.constant(reference),
    rank: fc.double({ min: 0, max: 1, noNaN: true }),
    rules: fc.array(arbitraryRule, { maxLength: 6 }),
  });

describe('a patched table', () => {
  it('answers as one that was built of the same rules, whatever was added, changed and ended', () => {
    const steps = fc.array(
      fc.record({ pick: fc.nat(), notice: arbitraryNotice('?'), kind: fc.constantFrom('add', 'end', 'change', 'add') }),
      { maxLength: 8 },
    );
    let patches = 0;
    fc.assert(
      fc.property(fc.array(arbitraryNotice('base'), { maxLength: 4 }), steps, (base, changes) => {
        const list = new PatchedList(base.map((notice, i) => ({ ...notice, reference: `base-${i}`, rank: i })));
        for (const [at, { pick, notice, kind }] of changes.entries()) {
          const gone = kind === 'add' ? undefined : list.notices[pick % Math.max(1, list.notices.length)];
          const rank = kind === 'change' && gone !== undefined ? gone.rank : notice.rank * 4 + (at + 1) / 1_000;
          const added = kind === 'end' ? undefined : { ...notice, rank, reference: `step-${at}` };
          if (kind === 'change' && gone !== undefined) added!.reference = gone.reference;
          const before = digestOf(list.table);
          const old = list.table;
          list.replace(gone, added, kind === 'change');
          expect(digestOf(old)).toBe(before);
          const ours = new RuleTable(list.table);
          const fresh = new RuleTable(compileAll(list.notices));
          expect(ours.ruleCount).toBe(fresh.ruleCount);
          for (const name of [...NAMES, ...NEAR_MISSES]) {
            for (const time of TIMES) expect(answerOf(ours, name, time)).toEqual(answerOf(fresh, name, time));
          }
        }
        patches += list.patches;
      }),
      { numRuns: 60 },
    );
    expect(patches).toBeGreaterThan(20);
  });

  const base = Array.from({ length: 400 }, (_, i) => ({ name: nameAt(i), entry: i }));
  const table = compileRules(base);

  it('has room for an eighth more names, and says when there is no more', () => {
    const spare = countSpareNames(table);
    expect(spare).toBe(50);
    const add = (count: number) => {
      const patch = new RuleTablePatch(table, UNCHANGED);
      const ordinal = patch.addNotice(NOTICE);
      addRules(
        patch,
        ordinal,
        Array.from({ length: count }, (_, i) => ({ name: nameAt(1_000 + i), entry: 1_000 + i })),
      );
      return patch.finish();
    };
    const full = add(spare)!;
    expect(countSpareNames(full)).toBe(0);
    expect(add(spare + 1)).toBeUndefined();
    const view = new RuleTable(full);
    view.setTime(NOW, NOW);
    for (let i = 0; i < 400; i++) expect(view.entryOf(find(view, nameAt(i)))).toBe(i);
    for (let i = 1_000; i < 1_000 + spare; i++) expect(view.entryOf(find(view, nameAt(i)))).toBe(i);
    for (let i = 2_000; i < 12_000; i++) expect(find(view, nameAt(i))).toBe(NO_RULE);
    expect([view.ruleCount, view.nameCount]).toEqual([450, 450]);
  });

  it.each<[string, Partial<PatchOptions>]>([
    ['a source longer than there is room for', { source: 'x'.repeat(1_000) }],
    ['other answers', { answer: { ...ANSWER, soaMname: 'another.and.longer.name.example' } }],
  ])('is not made with %s', (_, change) => {
    expect(new RuleTablePatch(table, { ...UNCHANGED, ...change }).finish()).toBeUndefined();
  });

  it('takes pages up, as many as there is room for', () => {
    const [first, second] = [1, 2].map((entry) => ({ entry, url: `http://a.example/${entry}`, anyQuery: entry === 2 }));
    const old = compileRules([{ name: 'a.example', trigger: 'exact', action: 'steer', entry: 1 }], { pages: [first!] });
    const patch = new RuleTablePatch(old, UNCHANGED);
    patch.addRule('a.example', 'exact', 'steer', 0, NO_END, 0, 2);
    patch.addPage(2, second!.url, true);
    expect([...new RuleTable(patch.finish()!).pages()]).toEqual([first, second]);
    expect([...new RuleTable(old).pages()]).toEqual([first]);
    const large = new RuleTablePatch(old, UNCHANGED);
    for (let entry = 0; entry < 1_000; entry++) large.addPage(entry, second!.url, false);
    expect(large.finish()).toBeUndefined();
  });

  it('is not made of more notices, or rules for one name, than there is room for', () => {
    const notices = new RuleTablePatch(table, UNCHANGED);
    for (let i = 0; i < 1_000; i++) notices.addNotice(NOTICE);
    expect(notices.finish()).toBeUndefined();
    const rules = new RuleTablePatch(table, UNCHANGED);
    for (let i = 0; i < 10_000; i++) rules.addRule(nameAt(i % 2), 'exact', 'block', i, NO_END, 0, i);
    expect(rules.finish()).toBeUndefined();
  });

  it('grows one name in place while it is the last', () => {
    const patch = new RuleTablePatch(table, UNCHANGED);
    for (let i = 0; i < 50; i++) patch.addRule('new.example', 'exact', 'block', NOW + i, NOW + i + 1, 0, i);
    const view = new RuleTable(patch.finish()!);
    for (let i = 0; i < 50; i++) {
      view.setTime(NOW + i, NOW + i);
      expect(view.entryOf(find(view, 'new.example'))).toBe(i);
    }
  });

  it('refuses what is no name of a rule, as the builder does', () => {
    const patch = new RuleTablePatch(table, UNCHANGED);
    for (const name of ['', 'com', '.', 'a..b', `${'a'.repeat(64)}.example`]) {
      expect(() => patch.addRule(name, 'exact', 'block', 0, 1, 0, 0)).toThrow(
        expect.objectContaining({ code: 'name-invalid' }),
      );
    }
  });

  it('finds names deeper than any the table had', () => {
    const patch = new RuleTablePatch(table, UNCHANGED);
    addRules(patch, 0, [{ name: 'a.b.c.d.e.f.g.example', entry: 9 }]);
    const view = new RuleTable(patch.finish()!);
    view.setTime(NOW, NOW);
    expect(view.entryOf(find(view, 'x.a.b.c.d.e.f.g.example'))).toBe(9);
  });

  it('tells its own time and source, and is saved and loaded like any other', () => {
    const folder = mkdtempSync(join(tmpdir(), 'warta-patch-'));
    try {
      const patch = new RuleTablePatch(table, { ...UNCHANGED, ended: [0] });
      const ordinal = patch.addNotice({ ...NOTICE, reference: 'NEW/1' });
      addRules(patch, ordinal, [{ name: 'new.example', entry: 7 }]);
      const patched = patch.finish()!;
      saveTable(join(folder, 'table'), patched);
      const loaded = loadTable(join(folder, 'table'));
      loaded.setTime(NOW, NOW);
      expect(digestOf(loaded.buffer)).toBe(digestOf(patched));
      expect([loaded.source, loaded.builtAtSeconds, loaded.ruleCount]).toEqual(['patched', NOW + 1, 1]);
      expect(loaded.categories).toEqual(CATEGORIES);
      expect(loaded.describe().notices.map(({ reference }) => reference)).toEqual([NOTICE.reference, 'NEW/1']);
      expect(loaded.entryOf(find(loaded, 'new.example'))).toBe(7);
      for (const { name } of base) expect(find(loaded, name)).toBe(NO_RULE);
      const soa = loaded.bytes.subarray(loaded.soaOffset, loaded.soaOffset + loaded.soaBytes);
      expect(Buffer.from(soa).readUInt32BE(loaded.soaBytes - 20)).toBe(NOW + 1);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
