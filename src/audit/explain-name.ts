import type { EntryTable } from '../register/annex.ts';
import { ancestorsOf, isBelow } from '../register/entry-name.ts';
import { createGuard, type RefuseEntry } from '../register/guard.ts';
import type { Pack } from '../register/pack.ts';
import { refuseAt } from '../register/pages.ts';
import { isNotice, type KnownNotice } from '../register/verify-statement.ts';
import type { AuditReading } from './audit-register.ts';
import { type AppliedExclusion, type Cause, Effects } from './effects.ts';
import { describePage, type PageRule } from './replay.ts';
import { SealedEntries } from './sealed-entries.ts';

/** An entry that is about a name, and what it comes to. */
export interface Coverage {
  readonly notice: KnownNotice;
  /** Position of the entry in its annex. */
  readonly at: number;
  /**
   * `lifted`: not in force, see `causes`. `excluded`: in force, but not for this name. `refused`: by the guard-rails. `page`:
   * in force, but for one page of the name, which is not blocked itself.
   */
  readonly state: 'in-force' | 'page' | 'lifted' | 'excluded' | 'refused';
  /** Why the entry is not in force. */
  readonly causes: readonly Cause[];
  readonly exclusion?: AppliedExclusion;
  readonly refusal?: string;
  /** The page that the entry lists. */
  readonly page?: PageRule;
  /** Whether everything below the name is covered as well. */
  readonly coversBelow: boolean;
  /**
   * The answer a resolver owes while it is in force. `redirect`: the address of the notice page, or else NODATA. `steer`: the
   * address of the gateway, where there is one.
   */
  readonly answer: 'nxdomain' | 'nodata' | 'redirect' | 'steer';
}

/** What the register says about one name for one licensee at one time. */
export interface NameReport {
  readonly name: string;
  readonly blocked: boolean;
  /** Whether pages of it are listed, and it is not blocked itself: its address is that of the gateway, where there is one. */
  readonly steered: boolean;
  /** Every entry that covers the name, in force or not; the nearest name first. */
  readonly coverages: readonly Coverage[];
  /** Entries that are about names above or below it and do not cover it: `exact` ones above, any below. */
  readonly near: readonly EntryPlace[];
}

/** An entry's place: its notice, and its position in the annex. */
export interface EntryPlace {
  readonly notice: KnownNotice;
  readonly at: number;
}

/** For whom and for when names are explained. */
export interface ExplainTerms {
  readonly licensee: string;
  readonly atSeconds: number;
  readonly pack: Pack;
}

/** Most entries near a name that are told; a popular suffix has thousands below it. */
const MAX_NEAR = 20;

/**
 * Says of each name whether the register blocks it and by which entries, pages of it, or what became of those that did. One pass
 * over all entries however many names there are. Names are canonical. What sealed annexes hold that are not at hand is
 * not known: see `countUnread`.
 */
export function explainNames(
  reading: AuditReading,
  names: Iterable<string>,
  terms: ExplainTerms,
): Map<string, NameReport> {
  const found = findEntries(reading, new Set(names));
  const effects = new Effects(reading.statements, terms.licensee, terms.atSeconds);
  const refuse = createGuard(terms.pack);
  const reports = new Map<string, NameReport>();
  for (const [name, { covering, near }] of found) {
    const coverages = covering.map((place) => judge(name, place, effects, refuse));
    coverages.sort((one, other) => nameOf(other).length - nameOf(one).length);
    const blocked = coverages.some(({ state }) => state === 'in-force');
    const steered = !blocked && coverages.some(({ state }) => state === 'page');
    reports.set(name, { name, blocked, steered, coverages, near });
  }
  return reports;
}

/** Returns how many sealed notices in force for a licensee have entries that are not at hand. */
export function countUnread(reading: AuditReading, licensee: string, atSeconds: number): number {
  return reading.fold(licensee, atSeconds).filter(({ entries, windows }) => {
    const now = windows.some(({ notBefore, notAfter }) => notBefore <= atSeconds && atSeconds < notAfter);
    return entries instanceof SealedEntries && now;
  }).length;
}

function nameOf({ notice, at }: Coverage): string {
  return notice.entries!.name(at);
}

interface FoundEntries {
  readonly covering: EntryPlace[];
  readonly near: EntryPlace[];
}

/** Finds the entries about each name in one pass: an entry is looked up among the names and what is above them. */
function findEntries(reading: AuditReading, names: ReadonlySet<string>): Map<string, FoundEntries> {
  const found = new Map<string, FoundEntries>([...names].map((name) => [name, { covering: [], near: [] }]));
  const below = indexBelow(names);
  for (const notice of reading.statements) {
    if (!isNotice(notice) || notice.entries === undefined) continue;
    for (let at = 0; at < notice.entries.count; at++) noteEntry({ notice, at }, notice.entries, below, found);
  }
  return found;
}

/** Returns the names at and below each name that is one of them or above one. */
function indexBelow(names: ReadonlySet<string>): Map<string, string[]> {
  const below = new Map<string, string[]>();
  for (const name of names) {
    for (const at of [name, ...ancestorsOf(name)]) {
      const list = below.get(at);
      if (list === undefined) below.set(at, [name]);
      else list.push(name);
    }
  }
  return below;
}

function noteEntry(
  place: EntryPlace,
  entries: EntryTable,
  below: ReadonlyMap<string, readonly string[]>,
  found: ReadonlyMap<string, FoundEntries>,
): void {
  const entryName = entries.name(place.at);
  for (const name of below.get(entryName) ?? []) {
    const { covering, near } = found.get(name)!;
    if (name === entryName || entries.scope(place.at) === 'subtree') covering.push(place);
    else if (near.length < MAX_NEAR) near.push(place);
  }
  for (const above of ancestorsOf(entryName)) {
    const near = found.get(above)?.near;
    if (near !== undefined && near.length < MAX_NEAR) near.push(place);
  }
}

/** Says what an entry that covers a name comes to. */
function judge(name: string, { notice, at }: EntryPlace, effects: Effects, refuse: RefuseEntry): Coverage {
  const entries = notice.entries!;
  const causes = effects.causes(notice, at);
  const exclusions = effects.exclusions(notice, at);
  const exclusion = exclusions.find((one) => name === one.name || isBelow(name, one.name));
  const refusal = refuseAt(refuse, entries, at, notice.statement.approvals.length);
  // A name above an exclusion answers NODATA, as NXDOMAIN would deny the exclusion too (RFC 8020).
  const coversBelow = entries.scope(at) === 'subtree' && !exclusions.some((one) => isBelow(one.name, name));
  const isPage = entries.scope(at) === 'url';
  const page = isPage ? describePage(notice, entries.urls.get(at)) : undefined;
  const inForce = isPage ? 'page' : 'in-force';
  const state = causes.length > 0 ? 'lifted' : exclusion ? 'excluded' : refusal ? 'refused' : inForce;
  const answer = answerOwed(entries, at, coversBelow);
  return { notice, at, state, causes, exclusion, refusal, page, coversBelow, answer };
}

function answerOwed(entries: EntryTable, at: number, coversBelow: boolean): Coverage['answer'] {
  if (entries.scope(at) === 'url') return 'steer';
  if (entries.action(at) === 'redirect') return 'redirect';
  return coversBelow ? 'nxdomain' : 'nodata';
}
