import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import { formatName, parseName } from '../../src/dns/name.ts';
import {
  capacityOf,
  HEADER,
  HEADER_WORDS,
  LINE_BYTES,
  linesOf,
  NO_END,
  NO_RULE,
  SECTIONS,
  STEERING_DELAY_SECONDS,
} from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { type RuleAction, RuleTableBuilder, type Trigger } from '../../src/rules/rule-table-builder.ts';
import { ANSWER, buildTable, CATEGORIES, compileRules, find, NOTICE, NOW, nameAt, type RuleSpec } from './fixture.ts';

/** The name a lookup was blocked for and by which entry, or nothing. */
function verdict(table: RuleTable, name: string): string {
  const rule = find(table, name);
  return rule === NO_RULE ? '' : `${name.slice(table.matchedOffset - 5).toLowerCase()} ${table.entryOf(rule)}`;
}

describe('findRule', () => {
  const rules: RuleSpec[] = [
    { name: 'exact.example', trigger: 'exact', entry: 1 },
    { name: 'tree.example', entry: 2 },
    { name: 'ok.tree.example', action: 'passthru', entry: 2 },
    { name: 'only.tree.example', trigger: 'exact', action: 'passthru', entry: 2 },
    { name: 'deep.tree.example', entry: 3 },
    { name: 'gone.example', until: NOW, entry: 4 },
    { name: 'late.example', from: NOW + 1, entry: 5 },
    { name: 'now.example', from: NOW, until: NOW + 1, entry: 6 },
    { name: 'twice.example', entry: 7 },
    { name: 'twice.example', trigger: 'exact', entry: 8 },
  ];
  const table = buildTable(rules);

  it.each([
    ['exact.example', 'exact.example 1'],
    ['EXACT.Example', 'exact.example 1'],
    ['below.exact.example', ''],
    ['tree.example', 'tree.example 2'],
    ['a.b.tree.example', 'tree.example 2'],
    ['atree.example', ''],
    ['tree.example.com', ''],
    ['example', ''],
    ['.', ''],
    ['ok.tree.example', ''],
    ['below.ok.tree.example', ''],
    ['not-ok.tree.example', 'tree.example 2'],
    ['only.tree.example', ''],
    ['below.only.tree.example', 'tree.example 2'],
    ['deep.tree.example', 'deep.tree.example 3'],
    ['a.deep.tree.example', 'deep.tree.example 3'],
    ['gone.example', ''],
    ['late.example', ''],
    ['now.example', 'now.example 6'],
    ['twice.example', 'twice.example 7'],
  ])('%s: %s', (name, expected) => {
    expect(verdict(table, name)).toBe(expected);
  });

  it('an exclusion narrows its own entry and never another notice', () => {
    const two = buildTable([
      { name: 'shop.example', entry: 1 },
      { name: 'ok.shop.example', action: 'passthru', entry: 1 },
      { name: 'shop.example', entry: 2 },
    ]);
    expect(verdict(two, 'www.shop.example')).toBe('shop.example 1');
    expect(verdict(two, 'ok.shop.example')).toBe('shop.example 2');
  });

  it('an exclusion that has lapsed or not begun narrows nothing', () => {
    const two = buildTable([
      { name: 'shop.example', entry: 1 },
      { name: 'was.shop.example', action: 'passthru', entry: 1, until: NOW },
      { name: 'will.shop.example', action: 'passthru', entry: 1, from: NOW + 30 },
    ]);
    expect(verdict(two, 'was.shop.example')).toBe('shop.example 1');
    expect(verdict(two, 'will.shop.example')).toBe('shop.example 1');
    expect(two.matchedUntil).toBe(NOW + 30);
  });

  it('a filter that says yes to everything blocks nothing more', () => {
    const full = compileRules(rules);
    const header = new Uint32Array(full, 0, HEADER_WORDS);
    new Uint8Array(full, header[HEADER.FILTER_LINE]! * LINE_BYTES, header[HEADER.FILTER_BLOCKS]! * LINE_BYTES).fill(
      255,
    );
    const view = new RuleTable(full);
    view.setTime(NOW, NOW);
    for (let i = 0; i < 2_000; i++) expect(find(view, nameAt(i))).toBe(NO_RULE);
    expect(view.filterFalseHits).toBe(view.filterProbes);
    expect(verdict(view, 'a.tree.example')).toBe('tree.example 2');
    expect(view.filterFalseHits).toBe(view.filterProbes - 1);
  });

  it('a name that differs by bit 5 alone is blocked if and only if that makes it the same name', () => {
    const label = fc.stringMatching(/^[a-z0-9_-]{1,12}$/);
    const flips = fc.array(fc.nat(), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(label, label, flips, (first, second, places) => {
        const name = `${first}.${second}`;
        const octets = Buffer.from(name);
        const changed = places.map((place) => place % name.length).filter((place) => name[place] !== '.');
        for (const place of new Set(changed)) octets[place]! ^= 0x20;
        const asked = octets.toString('latin1');
        const same = asked.toLowerCase() === name;
        expect(verdict(buildTable([{ name }]), asked)).toBe(same ? `${name} 0` : '');
      }),
      { numRuns: 500 },
    );
  });

  it('an empty table blocks nothing', () => {
    const empty = buildTable([]);
    expect([empty.ruleCount, verdict(empty, 'a.example'), empty.filterProbes]).toEqual([0, '', 0]);
  });
});

describe('deep and long names', () => {
  const most = Array(127).fill('a').join('.');
  const longest = [...Array(3).fill('b'.repeat(63)), 'b'.repeat(61)].join('.');
  const table = buildTable([
    { name: most, trigger: 'exact', entry: 1 },
    { name: longest, entry: 2 },
    { name: 'c.c', entry: 3 },
  ]);

  it.each([
    [most, `${most} 1`],
    [Array(126).fill('a').join('.'), ''],
    [longest, `${longest} 2`],
    [`x${longest.slice(1)}`, ''],
    [`${'c.'.repeat(126)}c`, 'c.c 3'],
    [`${'d.'.repeat(125)}c.c`, 'c.c 3'],
    [`${'c.'.repeat(126)}d`, ''],
  ])('%s', (name, expected) => {
    expect(verdict(table, name)).toBe(expected);
  });

  it('probes no suffix that is longer than every rule', () => {
    const shallow = buildTable([{ name: 'a.b.c' }]);
    find(shallow, `${'x.'.repeat(100)}y.z`);
    expect(shallow.filterProbes).toBe(2);
  });
});

describe('matchedUntil', () => {
  const table = buildTable([
    { name: 'a.example', until: NOW + 500 },
    { name: 'b.example', until: NOW + 500 },
    { name: 'x.b.example', until: NOW + 90 },
    { name: 'c.example' },
    { name: 'c.example', from: NOW + 20 },
    { name: 'd.example', until: NOW + 500 },
    { name: 'x.d.example', trigger: 'exact', from: NOW + 40 },
    { name: 'e.example' },
  ]);
  it.each([
    ['a.example', 500],
    ['x.b.example', 90],
    ['y.b.example', 500],
    ['c.example', 20],
    ['x.d.example', 40],
    ['y.x.d.example', 500],
  ])('%s: %d s', (name, seconds) => {
    expect(find(table, name)).not.toBe(NO_RULE);
    expect(table.matchedUntil - NOW).toBe(seconds);
  });

  it('is open without an end', () => {
    find(table, 'e.example');
    expect(table.matchedUntil).toBe(NO_END);
  });
});

describe('addRule refuses', () => {
  it.each(['com', '', '.', 'a..b', 'example.', `${'a'.repeat(64)}.example`, 'grüezi.example', 'a.b.'.repeat(64)])(
    '%j',
    (name) => {
      expect(() => buildTable([{ name }])).toThrow(expect.objectContaining({ code: 'name-invalid' }) as WartaError);
    },
  );

  it('a notice of a category that the pack does not have', () => {
    expect(() => buildTable([], { notices: [{ ...NOTICE, category: 'other' }] })).toThrow(
      expect.objectContaining({ code: 'pack-invalid' }) as WartaError,
    );
  });

  it('and a refused rule leaves the table whole', () => {
    const builder = new RuleTableBuilder({
      categories: CATEGORIES,
      answer: ANSWER,
      seed: [1, 2],
      builtAtSeconds: 0,
      source: '',
    });
    builder.addNotice(NOTICE);
    expect(() => builder.addRule('com', 'subtree', 'block', 0, NO_END, 0, 0)).toThrow();
    builder.addRule('a.example', 'subtree', 'block', 0, NO_END, 0, 7);
    const table = new RuleTable(builder.build());
    table.setTime(1, 1);
    expect([table.ruleCount, table.nameCount, verdict(table, 'a.example')]).toEqual([1, 1, 'a.example 7']);
  });
});

describe('findRule and a naive oracle', () => {
  interface Exclusion {
    below: string[];
    trigger: Trigger;
    window: [number, number];
  }
  interface Entry {
    name: string[];
    trigger: Trigger;
    action: 'block' | 'redirect' | 'steer';
    window: [number, number];
    exclusions: Exclusion[];
  }
  interface NaiveRule {
    name: string;
    trigger: Trigger;
    action: RuleAction;
    from: number;
    until: number;
    entry: number;
  }

  // Few labels, so that rules and queries fall on and below one another all the time.
  const label = fc.constantFrom('a', 'b', 'ab', 'a1-');
  const trigger = fc.constantFrom<Trigger>('exact', 'subtree');
  const window = fc.tuple(
    fc.nat(9),
    fc.oneof({ weight: 3, arbitrary: fc.nat(12) }, fc.integer({ min: 30, max: 48 }), fc.constant(NO_END)),
  );
  const exclusion = fc.record<Exclusion>({ below: fc.array(label, { minLength: 1, maxLength: 2 }), trigger, window });
  const entries = fc.array(
    fc.record<Entry>({
      name: fc.array(label, { minLength: 2, maxLength: 4 }),
      trigger,
      action: fc.constantFrom('block', 'block', 'redirect', 'steer'),
      window,
      exclusions: fc.array(exclusion, { maxLength: 3 }),
    }),
    { maxLength: 12 },
  );
  const query = fc.record({
    near: fc.nat(),
    below: fc.array(label, { maxLength: 3 }),
    cut: fc.nat(2),
    flip: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    start: fc.oneof(fc.nat(10), fc.integer({ min: 28, max: 45 })),
    step: fc.nat(4),
  });

  const rulesOf = (list: readonly Entry[]): NaiveRule[] =>
    list.flatMap(({ name, trigger, action, window: [from, until], exclusions }, entry) => [
      { name: name.join('.'), trigger: action === 'steer' ? 'exact' : trigger, action, from, until, entry },
      ...(action === 'steer' ? [] : exclusions).map(({ below, trigger, window: [from, until] }) => {
        return { name: [...below, ...name].join('.'), trigger, action: 'passthru' as const, from, until, entry };
      }),
    ]);

  const covers = (rule: NaiveRule, name: string): boolean =>
    name === rule.name || (rule.trigger === 'subtree' && name.endsWith(`.${rule.name}`));

  /** The semantics, word for word and without a data structure. */
  function judge(rules: readonly NaiveRule[], name: string, start: number, end: number): object | undefined {
    const covering = rules.filter((rule) => covers(rule, name));
    const inForce = covering.filter(({ from, until }) => from <= start && end < until);
    const excluded = new Set(inForce.filter(({ action }) => action === 'passthru').map(({ entry }) => entry));
    const blocks = inForce.filter(
      ({ action, entry }) => (action === 'block' || action === 'redirect') && !excluded.has(entry),
    );
    if (blocks.length === 0) {
      const steering = inForce.find(({ action, from }) => action === 'steer' && from + STEERING_DELAY_SECONDS <= start);
      return steering && { steers: steering.entry };
    }
    const longest = Math.max(...blocks.map((rule) => rule.name.length));
    const chosen = blocks.find((rule) => rule.name.length === longest)!;
    const starts = covering.filter(({ from }) => from > start).map(({ from }) => from);
    const redirects = chosen.action === 'redirect';
    return { name: chosen.name, redirects, entry: chosen.entry, until: Math.min(chosen.until, ...starts) };
  }

  /** What a table says, in the same words. */
  function describeVerdict(table: RuleTable, name: string): object | undefined {
    const rule = find(table, name);
    const { steeredRule } = table;
    if (rule === NO_RULE) return steeredRule === NO_RULE ? undefined : { steers: table.entryOf(steeredRule) };
    const matched = name.slice(table.matchedOffset - 5).toLowerCase();
    return {
      name: matched,
      redirects: table.isRedirect(rule),
      entry: table.entryOf(rule),
      until: table.matchedUntil,
    };
  }

  /** A name on, above or below one of the rules, in random case. */
  function spell(
    rules: readonly NaiveRule[],
    { near, below, cut, flip }: { near: number; below: string[]; cut: number; flip: bigint },
  ): string {
    const base = rules.length === 0 ? 'a.b' : rules[near % rules.length]!.name;
    const labels = [...below, ...base.split('.').slice(Math.min(cut, base.split('.').length - 1))];
    return [...labels.join('.')]
      .map((letter, i) => ((flip >> BigInt(i % 64)) & 1n ? letter.toUpperCase() : letter))
      .join('');
  }

  it('block the same names for the same suffix, entry and time', () => {
    fc.assert(
      fc.property(entries, fc.array(query, { minLength: 1, maxLength: 30 }), fc.integer(), (list, queries, seed) => {
        const rules = rulesOf(list);
        const table = buildTable(rules, { seed: [seed, ~seed], falsePositiveRate: 0.3 });
        for (const each of queries) {
          const name = spell(rules, each);
          const [start, end] = [each.start, each.start + each.step];
          table.setTime(start, end);
          expect(describeVerdict(table, name)).toEqual(judge(rules, name.toLowerCase(), start, end));
        }
      }),
      { numRuns: 1_500 },
    );
  });
});

describe('a table as a whole', () => {
  it('describes itself and its rules', () => {
    const other = { ...NOTICE, reference: 'G-2', category: 'gambling' };
    const table = buildTable(
      [
        { name: 'a.example', trigger: 'exact', from: 5, until: NOW + 9, entry: 77 },
        { name: 'b.example', notice: 1, entry: 0xffff_fffe },
      ],
      { notices: [NOTICE, other], source: 'abc' },
    );
    const [a, b] = [find(table, 'a.example'), find(table, 'b.example')];
    expect(table.describe()).toEqual({ categories: CATEGORIES, notices: [NOTICE, other], source: 'abc' });
    expect([a, b].map((rule) => table.isSubtree(rule))).toEqual([false, true]);
    expect([a, b].map((rule) => table.noticeOf(rule))).toEqual([0, 1]);
    expect([a, b].map((rule) => table.categoryOf(rule))).toEqual([0, 1]);
    expect([a, b].map((rule) => table.entryOf(rule))).toEqual([77, 0xffff_fffe]);
    expect(table.windowOf(a)).toEqual({ notBefore: 5, notAfter: NOW + 9 });
    expect(table.windowOf(b)).toEqual({ notBefore: 0, notAfter: NO_END });
    expect([table.ruleCount, table.nameCount, table.noticeCount, table.builtAtSeconds]).toEqual([2, 2, 2, NOW]);
  });

  it('lists the pages of entries, and every rule that steers a host, in force or not', () => {
    const pages = [
      { entry: 4, url: 'http://a.example/%E2%82%AC?q="x"', anyQuery: false },
      { entry: 0xffff_fffe, url: 'https://a.example/', anyQuery: true },
    ];
    const table = buildTable(
      [
        { name: 'a.example', trigger: 'exact', action: 'steer', entry: 4, until: NOW + 5 },
        { name: 'a.example', trigger: 'exact', action: 'block', entry: 5, from: NOW + 9 },
        { name: 'a.example', trigger: 'exact', action: 'steer', entry: 0xffff_fffe, from: NOW + 5 },
      ],
      { pages },
    );
    expect([...table.pages()]).toEqual(pages);
    const steering = (name: string) => table.findSteering(parseName(name), 0).map((rule) => table.entryOf(rule));
    expect(['a.example', 'x.a.example', 'b.example'].map(steering)).toEqual([[4, 0xffff_fffe], [], []]);
    expect([find(table, 'a.example'), table.entryOf(table.steeredRule)]).toEqual([NO_RULE, 4]);
    expect([find(table, 'x.a.example'), table.steeredRule]).toEqual([NO_RULE, NO_RULE]);
    table.setTime(NOW + 9, NOW + 9);
    expect(table.entryOf(find(table, 'a.example'))).toBe(5);
  });

  it('keeps times in 32 bits: fractions are cut, what is beyond reads as no end', () => {
    const table = buildTable([{ name: 'a.example', from: -5, until: 2 ** 40 }]);
    expect(table.windowOf(find(table, 'a.example'))).toEqual({ notBefore: 0, notAfter: NO_END });
  });

  it('numbers notices past 65,536', () => {
    const notices = Array.from({ length: 66_000 }, (_, i) => ({ ...NOTICE, reference: String(i), contacts: [] }));
    const table = buildTable([{ name: 'a.example', notice: 65_999 }], { notices });
    expect(table.describe().notices[table.noticeOf(find(table, 'a.example'))]!.reference).toBe('65999');
  });

  it('is the same for the same input, and laid out anew by another seed', () => {
    const rules = Array.from({ length: 500 }, (_, i) => ({ name: nameAt(i) }));
    const octets = (seed: [number, number]) => Buffer.from(new Uint8Array(compileRules(rules, { seed })));
    expect(octets([1, 2]).equals(octets([1, 2]))).toBe(true);
    const header = new Uint32Array(compileRules(rules, { seed: [1, 2] }), 0, HEADER_WORDS);
    for (const [from, to] of [
      [HEADER.FILTER_LINE, HEADER.SLOTS_LINE],
      [HEADER.SLOTS_LINE, HEADER.RECORDS_LINE],
    ] as const) {
      const section = (seed: [number, number]) =>
        octets(seed).subarray(header[from]! * LINE_BYTES, header[to]! * LINE_BYTES);
      for (const seed of [
        [1, 3],
        [3, 2],
        [2, 1],
      ] as [number, number][])
        expect(section(seed)).not.toEqual(section([1, 2]));
    }
  });

  it('has every section on a line of its own, one after another', () => {
    for (const count of [0, 1, 7, 8, 1_000, 20_000]) {
      const buffer = compileRules(Array.from({ length: count }, (_, i) => ({ name: nameAt(i) })));
      const header = new Uint32Array(buffer, 0, HEADER_WORDS);
      const inUse = [
        header[HEADER.FILTER_BLOCKS]! * 64,
        header[HEADER.SLOT_COUNT]! * 8,
        header[HEADER.RECORD_WORDS]! * 4,
        header[HEADER.NOTICE_COUNT]! * 16,
        header[HEADER.TEMPLATES_BYTES]!,
        header[HEADER.SOURCE_BYTES]!,
        header[HEADER.PAGES_BYTES]!,
        header[HEADER.DESCRIPTION_BYTES]!,
      ];
      let line = linesOf(HEADER_WORDS * 4);
      SECTIONS.forEach((section, i) => {
        expect(header[section]).toBe(line);
        expect(capacityOf(header, section)).toBeGreaterThanOrEqual(inUse[i]!);
        line += capacityOf(header, section) / LINE_BYTES;
      });
      expect(line * LINE_BYTES).toBe(buffer.byteLength);
      expect(header[HEADER.TOTAL_LINES]).toBe(line);
    }
  });

  it('finds each of 100,000 names and nothing next to them', () => {
    const count = 100_000;
    const table = buildTable(Array.from({ length: count }, (_, i) => ({ name: nameAt(i), trigger: 'exact' })));
    expect(table.nameCount).toBe(count);
    for (let i = 0; i < count; i++) {
      if (table.entryOf(find(table, nameAt(i))) !== i) throw new Error(`${nameAt(i)} is not found`);
    }
    for (let i = 0; i < 20_000; i++) {
      const name = nameAt(i);
      for (const near of [`x.${name}`, `x${name}`, name.slice(1), `${name}x`, nameAt(i, 'm')]) {
        if (near.includes('..') || near.startsWith('.')) continue;
        if (find(table, near) !== NO_RULE) throw new Error(`${near} is blocked`);
      }
    }
  });

  it('is whole though it takes the place of what it is made of, and tells how far it is', () => {
    const count = 90_000;
    const builder = new RuleTableBuilder({
      categories: CATEGORIES,
      answer: ANSWER,
      seed: [1, 2],
      builtAtSeconds: NOW,
      source: 'test',
    });
    builder.addNotice(NOTICE);
    // Every name twice and far apart, the second ones in another order: a rule may follow at any distance.
    const add = (number: number, from: number, entry: number) =>
      builder.addRule(nameAt(number), 'exact', 'block', from, from + 10, 0, entry);
    for (let i = 0; i < count; i++) add(i, NOW, i);
    for (let i = 0; i < count; i++) add((i * 7_919) % count, NOW + 100, count + i);
    const told: number[] = [];
    const table = new RuleTable(
      builder.build((done, total) => {
        told.push(done / total);
      }),
    );
    expect([table.nameCount, table.ruleCount]).toEqual([count, 2 * count]);
    for (const [later, first] of [
      [0, 0],
      [100, count],
    ]) {
      table.setTime(NOW + later, NOW + later);
      for (let i = 0; i < count; i++) {
        const name = nameAt(later === 0 ? i : (i * 7_919) % count);
        if (table.entryOf(find(table, name)) !== first + i) throw new Error(`${name} is not found`);
      }
    }
    expect(told.length).toBeGreaterThan(6);
    expect(told).toEqual(told.toSorted((one, other) => one - other));
    expect([told[0], told.at(-1)! < 1]).toEqual([0, true]);
  });

  const buffer = compileRules(Array.from({ length: 50 }, (_, i) => ({ name: nameAt(i) })));
  /** The code of the error that a view of these octets throws. */
  function codeOf(octets: Uint8Array): string {
    const copy = new SharedArrayBuffer(octets.length);
    new Uint8Array(copy).set(octets);
    try {
      new RuleTable(copy);
    } catch (error) {
      return (error as WartaError).code ?? String(error);
    }
    return 'none';
  }

  it('is refused when cut short anywhere', () => {
    const octets = new Uint8Array(buffer);
    for (let length = 0; length < octets.length; length += length < 300 ? 1 : 61) {
      expect(codeOf(octets.slice(0, length)), `${length} octets`).toBe(length < 8 ? 'table-foreign' : 'table-damaged');
    }
    expect(codeOf(octets)).toBe('none');
  });

  it.each([
    ['another magic', HEADER.MAGIC, 'table-foreign'],
    ['another version', HEADER.VERSION, 'table-foreign'],
    ['another size', HEADER.TOTAL_LINES, 'table-damaged'],
  ])('is refused with %s', (_, word, code) => {
    const octets = new Uint8Array(buffer).slice();
    new Uint32Array(octets.buffer)[word]! += 1;
    expect(codeOf(octets)).toBe(code);
  });

  it('keeps names as they are looked up', () => {
    const table = buildTable([{ name: 'mixed.example' }]);
    const wire = parseName('MIXED.example');
    expect(formatName(wire, 0)).toBe('mixed.example');
    expect(table.findRule(wire, 0)).not.toBe(NO_RULE);
  });
});
