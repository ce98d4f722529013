import type { EntryTable, Scope } from './annex.ts';
import { type KeptChange, type Reach, reachOf } from './statement.ts';
import { NO_END_SECONDS, secondsOf } from './time.ts';
import {
  isChange,
  isNotice,
  type KnownChange,
  type KnownNotice,
  type KnownStatement,
  type VerifiedNotice,
  type VerifiedStatement,
} from './verify-statement.ts';

/** A period of force in whole seconds since the epoch: `notBefore <= t < notAfter`. */
export interface Window {
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A name below an entry that stays reachable, with all below it, from a time on. */
export interface Exclusion {
  readonly name: string;
  readonly fromSeconds: number;
}

/** An entry that differs from the rest of its notice because a statement named it. */
export interface VariedEntry {
  readonly windows: readonly Window[];
  readonly exclusions: readonly Exclusion[];
}

/**
 * A notice with the periods in which it is in force for one licensee. Nearly every entry follows `windows`; only those
 * that statements named one by one stand in `varied`, so a notice of a million entries folds in no time.
 */
export interface FoldedNotice<N extends KnownNotice = VerifiedNotice> {
  readonly notice: N;
  readonly entries: EntryTable;
  readonly windows: readonly Window[];
  readonly varied: ReadonlyMap<number, VariedEntry>;
}

/** An entry in force. */
export interface EntryInForce<N extends KnownNotice = VerifiedNotice> {
  readonly notice: N;
  readonly id: string;
  readonly name: string;
  readonly scope: Scope;
  readonly exclusions: readonly string[];
  readonly url?: string;
}

/** A period taken away from a notice, or from one of its entries, by a statement. */
interface Cut {
  readonly from: number;
  readonly until: number;
}

/**
 * Folds verified statements into what is in force for `licensee` at `atSeconds` and later, as far as is known at that
 * time: statements integrated later do not count, so any past day can be folded again. Pure; the order of `statements` does
 * not matter. Windows that ended by `atSeconds` are left out.
 */
export function fold(
  statements: readonly VerifiedStatement[],
  licensee: string,
  atSeconds: number,
): FoldedNotice<VerifiedNotice>[];
export function fold(
  statements: readonly KnownStatement[],
  licensee: string,
  atSeconds: number,
): FoldedNotice<KnownNotice>[];
export function fold(
  statements: readonly KnownStatement[],
  licensee: string,
  atSeconds: number,
): FoldedNotice<KnownNotice>[] {
  const notices: KnownNotice[] = [];
  const known: KnownChange[] = [];
  for (const verified of statements) {
    if (verified.integratedAtSeconds > atSeconds) continue;
    if (isNotice(verified)) notices.push(verified);
    else if (isChange(verified)) known.push(verified);
  }
  const changes = indexChanges(known, licensee);
  const successions = indexSuccessions(notices);
  const folded: FoldedNotice<KnownNotice>[] = [];
  for (const notice of notices) {
    if (notice.entries === undefined || !isAddressedTo(notice, licensee)) continue;
    const result = foldNotice(notice, notice.entries, changes, successions.get(notice.id) ?? [], atSeconds);
    if (result !== undefined) folded.push(result);
  }
  return folded;
}

/** Whether a notice is addressed to a licensee. */
function isAddressedTo(notice: KnownNotice, licensee: string): boolean {
  const { recipients } = notice.statement;
  return 'all' in recipients || recipients.licensees.includes(licensee);
}

/** A change with the period it takes away and what it takes it from. */
interface Effect {
  readonly change: KnownChange;
  readonly reach: Reach;
  readonly cut: Cut;
}

/** Effects by the notice, and those that reach every notice of an instrument or a category. */
interface Effects {
  readonly byNotice: ReadonlyMap<string, readonly Effect[]>;
  readonly wide: readonly Effect[];
}

/** Sorts changes by what they reach; leaves out other licensees' exemptions. */
function indexChanges(changes: readonly KnownChange[], licensee: string): Effects {
  const resumed = indexResumptions(changes);
  const byNotice = new Map<string, Effect[]>();
  const wide: Effect[] = [];
  for (const change of changes) {
    const reach = reachOf(change.statement);
    if (reach === undefined) continue;
    if (change.statement.type === 'exemption' && change.statement.licensee !== licensee) continue;
    const effect = { change, reach, cut: cutOf(change, resumed.get(change.id) ?? NO_END_SECONDS) };
    if (reach.notice === undefined) wide.push(effect);
    else append(byNotice, reach.notice, effect);
  }
  return { byNotice, wide };
}

/** Returns when each stay and halt was resumed first. */
function indexResumptions(changes: readonly KnownChange[]): Map<string, number> {
  const resumed = new Map<string, number>();
  for (const { statement } of changes) {
    if (statement.type !== 'resumption') continue;
    const from = secondsOf(statement.from);
    resumed.set(statement.target, Math.min(from, resumed.get(statement.target) ?? NO_END_SECONDS));
  }
  return resumed;
}

/** Returns the period a change takes away; a stay or halt ends where it is resumed. */
function cutOf({ statement }: KnownChange, resumedAt: number): Cut {
  const until = 'until' in statement && statement.until !== undefined ? secondsOf(statement.until) : NO_END_SECONDS;
  return { from: secondsOf(statement.from), until: Math.min(until, resumedAt) };
}

/** Returns for each notice when its successors start, which is when it ends for good, whatever becomes of them. */
function indexSuccessions(notices: readonly KnownNotice[]): Map<string, number[]> {
  const starts = new Map<string, number[]>();
  for (const { statement, entries, startSeconds } of notices) {
    if (entries === undefined) continue;
    for (const old of statement.supersedes ?? []) append(starts, old, startSeconds);
  }
  return starts;
}

/** Appends to the list of a key. */
function append<V>(lists: Map<string, V[]>, key: string, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

/** Folds one notice; `undefined` when nothing of it is in force at `atSeconds` or later. */
function foldNotice(
  notice: KnownNotice,
  entries: EntryTable,
  effects: Effects,
  successions: readonly number[],
  atSeconds: number,
): FoldedNotice<KnownNotice> | undefined {
  const own = effects.byNotice.get(notice.id);
  if (own === undefined && effects.wide.length === 0 && successions.length === 0) {
    return notice.endSeconds > atSeconds
      ? { notice, entries, windows: [termOf(notice)], varied: NONE_VARIED }
      : undefined;
  }
  const whole: Cut[] = successions.map((from) => ({ from, until: NO_END_SECONDS }));
  const single = new Map<number, { cuts: Cut[]; exclusions: Exclusion[] }>();
  const entryState = (id: string) => {
    const at = entries.indexOf(id);
    const state = single.get(at) ?? { cuts: [], exclusions: [] };
    single.set(at, state);
    return state;
  };
  for (const { change, reach, cut } of own ?? []) {
    if (change.statement.type === 'variation') applyVariation(change.statement, cut, whole, entryState);
    else if (reach.entries === undefined) whole.push(cut);
    else for (const id of reach.entries) entryState(id).cuts.push(cut);
  }
  whole.push(...effects.wide.filter((effect) => reaches(effect, notice)).map((effect) => effect.cut));
  const windows = subtract([termOf(notice)], whole, atSeconds);
  const varied = new Map<number, VariedEntry>();
  for (const [at, { cuts, exclusions }] of single) {
    varied.set(at, { windows: subtract(windows, cuts, atSeconds), exclusions });
  }
  return windows.length === 0 ? undefined : { notice, entries, windows, varied };
}

const NONE_VARIED: ReadonlyMap<number, VariedEntry> = new Map();

/** The period a notice gives itself. */
function termOf({ startSeconds, endSeconds }: KnownNotice): Window {
  return { notBefore: startSeconds, notAfter: endSeconds };
}

/** Whether a programme-wide change reaches a notice. */
function reaches({ change, reach }: Effect, notice: KnownNotice): boolean {
  if (!change.authority.mayRelease.has(notice.statement.authority)) return false;
  return reach.instrument === notice.statement.instrument || reach.category === notice.statement.category;
}

/** Adds what a variation narrows. An earlier end takes effect at that end, but not before the variation does. */
function applyVariation(
  variation: Extract<KeptChange, { type: 'variation' }>,
  cut: Cut,
  whole: Cut[],
  entryState: (id: string) => { cuts: Cut[]; exclusions: Exclusion[] },
): void {
  const endAt = (end: string) => ({ from: Math.max(cut.from, secondsOf(end)), until: NO_END_SECONDS });
  if (variation.expiresAt !== undefined) whole.push(endAt(variation.expiresAt));
  for (const id of variation.remove ?? []) entryState(id).cuts.push(cut);
  for (const { entry, at } of variation.expires ?? []) entryState(entry).cuts.push(endAt(at));
  for (const { entry, names } of variation.exclude ?? []) {
    entryState(entry).exclusions.push(...names.map((name) => ({ name, fromSeconds: cut.from })));
  }
}

/** Returns what the cuts leave of the windows, without what ended by `atSeconds`. */
function subtract(windows: readonly Window[], cuts: readonly Cut[], atSeconds: number): Window[] {
  let left = [...windows];
  for (const { from, until } of cuts) {
    if (until <= from) continue;
    left = left.flatMap(({ notBefore, notAfter }) => [
      { notBefore, notAfter: Math.min(notAfter, from) },
      { notBefore: Math.max(notBefore, until), notAfter },
    ]);
    left = left.filter(({ notBefore, notAfter }) => notBefore < notAfter);
  }
  return left.filter(({ notAfter }) => notAfter > atSeconds);
}

/** Returns the windows of one entry: its notice's or its own, cut at its own expiry. */
export function windowsOf(folded: FoldedNotice<KnownNotice>, at: number): readonly Window[] {
  const windows = folded.varied.get(at)?.windows ?? folded.windows;
  const expires = folded.entries.expiresSeconds(at);
  if (expires === NO_END_SECONDS) return windows;
  return windows
    .map(({ notBefore, notAfter }) => ({ notBefore, notAfter: Math.min(notAfter, expires) }))
    .filter(({ notBefore, notAfter }) => notBefore < notAfter);
}

/** Returns the names below one entry that stay reachable: those of the notice from the start, then those added later. */
export function exclusionsOf(folded: FoldedNotice<KnownNotice>, at: number): readonly Exclusion[] {
  const signed = (folded.entries.excludes.get(at) ?? []).map((name) => ({ name, fromSeconds: 0 }));
  return [...signed, ...(folded.varied.get(at)?.exclusions ?? [])];
}

/** Yields the entries in force at `atSeconds`, which must not lie before the time that was folded for. */
export function* entriesInForce<N extends KnownNotice>(
  folded: readonly FoldedNotice<N>[],
  atSeconds: number,
): Generator<EntryInForce<N>> {
  for (const one of folded) {
    const { entries, notice } = one;
    for (let at = 0; at < entries.count; at++) {
      if (!windowsOf(one, at).some((window) => window.notBefore <= atSeconds && atSeconds < window.notAfter)) continue;
      const exclusions = exclusionsOf(one, at).filter(({ fromSeconds }) => fromSeconds <= atSeconds);
      const names = exclusions.map(({ name }) => name);
      const url = entries.urls.get(at)?.url;
      yield { notice, id: entries.id(at), name: entries.name(at), scope: entries.scope(at), exclusions: names, url };
    }
  }
}
