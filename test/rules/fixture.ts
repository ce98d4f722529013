import { parseName } from '../../src/dns/name.ts';
import type { AnswerOptions } from '../../src/rules/answer-template.ts';
import { NO_END } from '../../src/rules/layout.ts';
import { type RuleNotice, RuleTable, type TablePage } from '../../src/rules/rule-table.ts';
import { type RuleAction, RuleTableBuilder, type Trigger } from '../../src/rules/rule-table-builder.ts';

/** When the tables of tests are built, and judged unless a test says otherwise: 2026-03-01T09:00:00Z. */
export const NOW = 1_772_355_600;

export const ANSWER: AnswerOptions = {
  soaMname: 'warta.invalid',
  soaRname: 'hostmaster.warta.invalid',
  operator: 'Test Network',
  language: 'en',
};

export const CATEGORIES = ['scam', 'gambling'];

export const NOTICE: RuleNotice = {
  reference: 'MCMC/2026/0001',
  category: 'scam',
  authority: 'Test Commission',
  contacts: ['mailto:appeal@example.org', 'tel:+60312345678'],
};

/** One rule; a subtree block from the beginning to no end, of the first notice and an entry of its own, by default. */
export interface RuleSpec {
  name: string;
  trigger?: Trigger;
  action?: RuleAction;
  from?: number;
  until?: number;
  notice?: number;
  entry?: number;
}

export interface TableSpec {
  notices?: readonly RuleNotice[];
  seed?: readonly [number, number];
  answer?: Partial<AnswerOptions>;
  falsePositiveRate?: number;
  source?: string;
  pages?: readonly TablePage[];
}

/** Compiles rules. The entry is the rule's number unless it is given. */
export function compileRules(rules: readonly RuleSpec[], spec: TableSpec = {}): SharedArrayBuffer {
  const builder = new RuleTableBuilder({
    categories: CATEGORIES,
    answer: { ...ANSWER, ...spec.answer },
    seed: spec.seed ?? [0x12345678, 0x9abcdef0],
    builtAtSeconds: NOW,
    source: spec.source ?? 'test',
    falsePositiveRate: spec.falsePositiveRate,
  });
  for (const notice of spec.notices ?? [NOTICE]) builder.addNotice(notice);
  rules.forEach((rule, i) => {
    const { name, trigger = 'subtree', action = 'block', from = 0, until = NO_END, notice = 0, entry = i } = rule;
    builder.addRule(name, trigger, action, from, until, notice, entry);
  });
  for (const { entry, url, anyQuery } of spec.pages ?? []) builder.addPage(entry, url, anyQuery);
  return builder.build();
}

/** Compiles rules and takes a view that judges at `NOW`. */
export function buildTable(rules: readonly RuleSpec[], spec: TableSpec = {}): RuleTable {
  const table = new RuleTable(compileRules(rules, spec));
  table.setTime(NOW, NOW);
  return table;
}

/** Looks a dotted name up at an odd place of a larger array. */
export function find(table: RuleTable, name: string): number {
  const offset = 5;
  const wire = new Uint8Array(300).fill(0xff);
  const parsed = parseName(name);
  wire.set(parsed, offset);
  // parseName lowers the case: put the asked spelling back.
  for (let i = 0; i < name.length; i++) if (name[i] !== '.') wire[offset + 1 + i] = name.charCodeAt(i);
  return table.findRule(wire, offset);
}

/** A small generator of 32-bit words, the same in every run. */
export function createRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return (word ^ (word >>> 15)) >>> 0;
  };
}

/** The `i`th of a series of distinct names of two or three labels, the same in every run. */
export function nameAt(i: number, series = 'n'): string {
  const random = createRandom(i);
  const domain = `${series}${i.toString(36)}${random().toString(36)}.${['com', 'net', 'my', 'example'][random() & 3]}`;
  return random() % 3 === 0 ? `${['www', 'login', 'm'][random() % 3]}.${domain}` : domain;
}
