import { releaseFreedMemory } from '../base/libc.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { RuleTableBuilder } from '../rules/rule-table-builder.ts';
import { countSpareNames, RuleTablePatch } from '../rules/table-patch.ts';
import { weighTable } from '../rules/table-weight.ts';
import { compileNotice, countEntries, type RefusedEntry, type RuleSink } from './compile.ts';
import type { Exclusion, FoldedNotice, VariedEntry, Window } from './fold.ts';
import { createGuard, type RefuseEntry } from './guard.ts';
import { combineDigests, digestNotice } from './list-digest.ts';
import type { Pack } from './pack.ts';
import { type PageCounts, sumPages } from './pages.ts';
import type { KnownNotice } from './verify-statement.ts';

type Folded = FoldedNotice<KnownNotice>;

/** What goes into a table beside the rules. */
export interface TableLabel {
  /** The whole second that was folded for. */
  readonly builtAtSeconds: number;
  /** Digest of what the table is compiled from. */
  readonly source: string;
}

/** How much the notices in force come to. */
export interface ListSums extends PageCounts {
  readonly rules: number;
  readonly entries: number;
  /** The first of the refused entries, and how many there are. */
  readonly refused: readonly RefusedEntry[];
  readonly refusedCount: number;
  /** Digest of what is in force, as `digestList` defines it: two nodes with the same list state the same. */
  readonly rulesDigest: string;
}

/** A notice whose rules are in the table. */
interface CompiledNotice extends PageCounts {
  readonly id: string;
  /** Its number in the table. */
  readonly ordinal: number;
  readonly windows: readonly Window[];
  readonly varied: ReadonlyMap<number, VariedEntry>;
  readonly rules: number;
  readonly entries: number;
  readonly refused: readonly RefusedEntry[];
  /** Digest of when which of its entries are in force. */
  readonly digest: string;
  /** Its place among the notices in force, or `NOWHERE`. */
  place: number;
}

/** The place of a notice whose rules are in the table and that is no longer in force. */
const NOWHERE = -1;

/** A notice whose rules are not in the table, or not as they should be. */
interface FreshNotice {
  readonly folded: Folded;
  readonly place: number;
  readonly known?: CompiledNotice;
}

/** How the notices in force differ from those whose rules are in the table. */
interface ListChanges {
  /** What is in the table of each notice in force, in their order. */
  readonly known: readonly (CompiledNotice | undefined)[];
  readonly fresh: readonly FreshNotice[];
  /** In the table and no longer in force. */
  readonly gone: readonly CompiledNotice[];
  /** The notices in both stand in the same order as before. */
  readonly inOrder: boolean;
}

/** Refused entries kept one by one of each notice, and of all together. */
const MAX_LISTED_REFUSALS = 10_000;

/**
 * The rule table of a list that changes. A few new, changed or ended notices are patched into a copy of the last table,
 * which takes a tenth of what building it does; when they do not fit, or nothing was built yet, all of it is compiled. Both
 * come to tables that answer alike.
 */
export class ListTable {
  readonly #packSha256: string;
  readonly #categories: readonly string[];
  readonly #answer: AnswerOptions;
  readonly #guard: RefuseEntry;
  readonly #random: () => readonly [number, number];
  #table: SharedArrayBuffer | undefined;
  /** What is in the table by the notice's id; of the notices in force in their order, and in order of id. */
  #compiled = new Map<string, CompiledNotice>();
  #inForce: readonly CompiledNotice[] = [];
  #sorted: readonly CompiledNotice[] = [];
  #noticeCount = 0;
  #nextEntry = 0;

  /** `random` returns two random 32-bit words, the seed of a table. */
  constructor(
    { pack, sha256 }: { pack: Pack; sha256: string },
    answer: AnswerOptions,
    random: () => readonly [number, number],
  ) {
    this.#packSha256 = sha256;
    this.#categories = pack.categories.map(({ id }) => id);
    this.#answer = answer;
    this.#guard = createGuard(pack);
    this.#random = random;
  }

  /** Forgets the table: what it was compiled by holds no longer. */
  reset(): void {
    this.#table = undefined;
    this.#compiled = new Map();
  }

  /**
   * Returns the table for these notices: the last one if it answers as it should, else a new one. No table that was returned
   * is ever written again.
   *
   * @throws {WartaError} `table-too-large`.
   */
  update(
    folded: readonly Folded[],
    label: TableLabel,
    onEntries?: (done: number, total: number) => void,
  ): SharedArrayBuffer {
    const changes = this.#table && this.#compare(folded);
    if (changes === undefined) return this.#build(folded, label, onEntries);
    if (this.#keep(changes, label)) return this.#table!;
    return this.#patch(changes, label) ?? this.#build(folded, label, onEntries);
  }

  /** Sums up the notices in force as of the last `update`. */
  sumUp(): ListSums {
    let rules = 0;
    let entries = 0;
    let refusedCount = 0;
    const refused: RefusedEntry[] = [];
    for (const notice of this.#inForce) {
      rules += notice.rules;
      entries += notice.entries;
      refusedCount += notice.refused.length;
      if (notice.refused.length === 0 || refused.length >= MAX_LISTED_REFUSALS) continue;
      for (const entry of notice.refused.slice(0, MAX_LISTED_REFUSALS - refused.length)) refused.push(entry);
    }
    const digests = this.#sorted.map(({ digest }) => digest);
    const rulesDigest = combineDigests(digests, this.#packSha256);
    return { rules, entries, ...sumPages(this.#inForce), refused, refusedCount, rulesDigest };
  }

  /** Finds out what is new, what changed and what is gone since the table was made. */
  #compare(folded: readonly Folded[]): ListChanges {
    const known = folded.map(({ notice }) => this.#compiled.get(notice.id));
    const fresh: FreshNotice[] = [];
    let inOrder = true;
    let last = NOWHERE;
    for (let place = 0; place < folded.length; place++) {
      const one = known[place];
      if (one === undefined || !isUnchanged(one, folded[place])) {
        fresh.push({ folded: folded[place], place, known: one });
      }
      if (one === undefined) continue;
      inOrder &&= one.place > last;
      last = one.place;
    }
    return { known, fresh, gone: this.#findGone(known), inOrder };
  }

  /** Returns what is in the table and not among the notices known to be in force. */
  #findGone(known: readonly (CompiledNotice | undefined)[]): CompiledNotice[] {
    const stay = known.filter((notice) => notice !== undefined);
    if (stay.length === this.#compiled.size) return [];
    const inForce = new Set(stay);
    return [...this.#compiled.values()].filter((notice) => !inForce.has(notice));
  }

  /**
   * Keeps the table when nothing is new and all that is gone has lapsed: such rules match no more, and the next patch takes
   * them out.
   */
  #keep({ known, fresh, gone, inOrder }: ListChanges, { builtAtSeconds }: TableLabel): boolean {
    const hasLapsed = ({ windows }: CompiledNotice) => windows.every(({ notAfter }) => notAfter <= builtAtSeconds);
    if (fresh.length > 0 || !inOrder || !gone.every(hasLapsed)) return false;
    this.#place(known as readonly CompiledNotice[], gone, []);
    return true;
  }

  /** Returns a patched copy of the table; `undefined` when everything has to be compiled. */
  #patch({ known, fresh, gone, inOrder }: ListChanges, label: TableLabel): SharedArrayBuffer | undefined {
    // A name that gets its rules anew takes as much room as a new one.
    const entries = countEntries(fresh.map((one) => one.folded));
    if (!inOrder || entries > countSpareNames(this.#table!)) return undefined;
    const changed = fresh.flatMap((one) => one.known ?? []);
    const patch = new RuleTablePatch(this.#table!, {
      ...this.#options(label),
      ranks: rankNotices(known, this.#noticeCount),
      ended: [...gone, ...changed].map(({ ordinal }) => ordinal),
    });
    let nextEntry = this.#nextEntry;
    const compiled = fresh.map((one) => {
      const notice = this.#compile(one, patch, nextEntry);
      nextEntry += notice.entries;
      return notice;
    });
    const table = patch.finish();
    if (table === undefined) return undefined;
    for (const { id } of gone) this.#compiled.delete(id);
    const inForce = [...known];
    for (const notice of compiled) inForce[notice.place] = notice;
    this.#take(table, compiled, nextEntry);
    this.#place(inForce as CompiledNotice[], [...gone, ...changed], compiled);
    return table;
  }

  /** Compiles everything into a new table. */
  #build(
    folded: readonly Folded[],
    label: TableLabel,
    onEntries?: (done: number, total: number) => void,
  ): SharedArrayBuffer {
    releaseFreedMemory();
    const total = countEntries(folded);
    const builder = new RuleTableBuilder({ ...this.#options(label), seed: this.#random(), expectedRules: total });
    let nextEntry = 0;
    let done = 0;
    const compiled = folded.map((one, place) => {
      const onEntry = (at: number) => onEntries?.(done + at, 2 * total);
      const notice = this.#compile({ folded: one, place }, builder, nextEntry, onEntry);
      nextEntry += notice.entries;
      done += one.entries.count;
      return notice;
    });
    // Building takes about as long as what comes before it.
    const table = builder.build((at, end) => onEntries?.(total * (1 + at / end), 2 * total));
    onEntries?.(total, total);
    this.#compiled = new Map();
    this.#sorted = [];
    this.#noticeCount = 0;
    this.#take(table, compiled, nextEntry);
    this.#place(compiled, [], compiled);
    return table;
  }

  #options({ builtAtSeconds, source }: TableLabel) {
    return { categories: this.#categories, answer: this.#answer, builtAtSeconds, source };
  }

  /** Compiles one notice into a table in the making; one that is in the table already keeps its number. */
  #compile(
    { folded, place, known }: FreshNotice,
    into: RuleSink,
    firstEntry: number,
    onEntries?: (at: number) => void,
  ): CompiledNotice {
    let ordinal = known?.ordinal;
    const sink: RuleSink = {
      addNotice: (notice) => {
        ordinal ??= into.addNotice(notice);
        return ordinal;
      },
      addRule: into.addRule.bind(into),
      addPage: into.addPage.bind(into),
    };
    const compilation = compileNotice(folded, this.#guard, sink, firstEntry, onEntries);
    const { notice, windows, varied } = folded;
    return { id: notice.id, ordinal: ordinal!, windows, varied, ...compilation, digest: digestNotice(folded), place };
  }

  /** Takes a finished table over, with what was compiled into it. */
  #take(table: SharedArrayBuffer, compiled: readonly CompiledNotice[], nextEntry: number): void {
    for (const notice of compiled) {
      this.#compiled.set(notice.id, notice);
      this.#noticeCount = Math.max(this.#noticeCount, notice.ordinal + 1);
    }
    this.#table = table;
    weighTable(table);
    this.#nextEntry = nextEntry;
  }

  /** Takes note of which notices are in force, in their order; `out` are no longer and `added` were not before. */
  #place(inForce: readonly CompiledNotice[], out: readonly CompiledNotice[], added: readonly CompiledNotice[]): void {
    for (const notice of out) notice.place = NOWHERE;
    for (let place = 0; place < inForce.length; place++) inForce[place].place = place;
    this.#inForce = inForce;
    const stayed = out.length === 0 ? this.#sorted : this.#sorted.filter(({ place }) => place !== NOWHERE);
    this.#sorted = mergeById(stayed, added);
  }
}

/** Merges notices that are in order of id with others that are not. */
function mergeById(sorted: readonly CompiledNotice[], added: readonly CompiledNotice[]): readonly CompiledNotice[] {
  if (added.length === 0) return sorted;
  const rest = added.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const merged: CompiledNotice[] = [];
  let at = 0;
  for (const notice of sorted) {
    while (at < rest.length && rest[at].id < notice.id) merged.push(rest[at++]);
    merged.push(notice);
  }
  while (at < rest.length) merged.push(rest[at++]);
  return merged;
}

/** Returns the place of each notice in force by its number; new ones get the numbers from `noticeCount` on. */
function rankNotices(known: readonly (CompiledNotice | undefined)[], noticeCount: number): Uint32Array {
  const ranks = new Uint32Array(noticeCount + known.length);
  let next = noticeCount;
  known.forEach((one, place) => {
    ranks[one?.ordinal ?? next++] = place;
  });
  return ranks;
}

/** Whether a notice is in force just when its rules in the table say. */
function isUnchanged(compiled: CompiledNotice, { windows, varied }: Folded): boolean {
  if (compiled.windows === windows && compiled.varied === varied) return true;
  if (!isDeepEqual(compiled.windows, windows, isSameWindow) || compiled.varied.size !== varied.size) return false;
  for (const [at, entry] of varied) {
    const before = compiled.varied.get(at);
    if (before === undefined || !isDeepEqual(before.windows, entry.windows, isSameWindow)) return false;
    if (!isDeepEqual(before.exclusions, entry.exclusions, isSameExclusion)) return false;
  }
  return true;
}

function isDeepEqual<T>(one: readonly T[], other: readonly T[], isSame: (one: T, other: T) => boolean): boolean {
  return one.length === other.length && one.every((item, at) => isSame(item, other[at]));
}

function isSameWindow(one: Window, other: Window): boolean {
  return one.notBefore === other.notBefore && one.notAfter === other.notAfter;
}

function isSameExclusion(one: Exclusion, other: Exclusion): boolean {
  return one.name === other.name && one.fromSeconds === other.fromSeconds;
}
