import { EntryTable } from '../../register/annex.ts';
import { type FoldedNotice, fold, type Window, windowsOf } from '../../register/fold.ts';
import { reachOf } from '../../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import { isChange, type KnownNotice, type KnownStatement } from '../../register/verify-statement.ts';
import type { NoticeStanding, PlacedStatement, StandingState } from './register-view.ts';

/** A licence number nobody has: no exemption is theirs. */
const NOBODY = '-';

/** Why a notice is not in force from a time on, for a while or for good. */
export interface Interruption {
  readonly kind: 'stayed' | 'exempted' | 'revoked' | 'superseded' | 'expired';
  readonly fromSeconds: number;
  readonly untilSeconds: number;
  /** The statement that says so; none for the end of the notice's own term. */
  readonly by?: PlacedStatement;
}

/** The kinds that a notice does not come back from. */
const FINAL: ReadonlySet<string> = new Set(['revoked', 'superseded', 'expired']);

/**
 * Returns what interrupts or ends a notice as a whole, as far as was known at a time. `changes` are those that may reach it.
 * A period begins no earlier than its statement was integrated: before that nobody knew of it.
 */
export function findInterruptions(
  notice: KnownNotice,
  changes: readonly PlacedStatement[],
  knownAtSeconds: number,
  licensee = NOBODY,
): Interruption[] {
  const known = changes.filter(({ verified }) => verified.integratedAtSeconds <= knownAtSeconds);
  const resumed = indexResumptions(known);
  const found: Interruption[] = [];
  if (notice.endSeconds !== NO_END_SECONDS) found.push(endingAt('expired', notice.endSeconds));
  for (const by of known) {
    const interruption = interruptionBy(by, notice, resumed, licensee);
    if (interruption !== undefined && interruption.fromSeconds < interruption.untilSeconds) found.push(interruption);
  }
  return found;
}

function endingAt(kind: Interruption['kind'], fromSeconds: number, by?: PlacedStatement): Interruption {
  return { kind, fromSeconds, untilSeconds: NO_END_SECONDS, by };
}

/** Returns when each stay and halt was resumed first, and since when that is known. */
function indexResumptions(changes: readonly PlacedStatement[]): Map<string, number> {
  const resumed = new Map<string, number>();
  for (const { verified } of changes) {
    const { statement } = verified;
    if (statement.type !== 'resumption') continue;
    const from = Math.max(secondsOf(statement.from), verified.integratedAtSeconds);
    resumed.set(statement.target, Math.min(from, resumed.get(statement.target) ?? NO_END_SECONDS));
  }
  return resumed;
}

/** Returns what one statement does to a notice as a whole; `undefined` when it concerns entries, or nothing here. */
function interruptionBy(
  by: PlacedStatement,
  notice: KnownNotice,
  resumed: ReadonlyMap<string, number>,
  licensee: string,
): Interruption | undefined {
  const { id, statement, entries, startSeconds, integratedAtSeconds } = by.verified;
  const since = (from: string) => Math.max(secondsOf(from), integratedAtSeconds);
  switch (statement.type) {
    case 'notice': {
      const succeeds = entries !== undefined && statement.supersedes?.includes(notice.id);
      return succeeds ? endingAt('superseded', Math.max(startSeconds, integratedAtSeconds), by) : undefined;
    }
    case 'revocation':
      return statement.entries === undefined ? endingAt('revoked', since(statement.from), by) : undefined;
    case 'variation': {
      if (statement.expiresAt === undefined) return undefined;
      return endingAt('expired', Math.max(since(statement.from), secondsOf(statement.expiresAt)), by);
    }
    case 'stay':
    case 'halt':
    case 'exemption': {
      if (statement.type === 'exemption' && statement.licensee !== licensee) return undefined;
      if (reachOf(statement)?.entries !== undefined) return undefined;
      const kind = statement.type === 'exemption' ? 'exempted' : 'stayed';
      const until = statement.until === undefined ? NO_END_SECONDS : secondsOf(statement.until);
      const untilSeconds = Math.min(until, resumed.get(id) ?? NO_END_SECONDS);
      return { kind, fromSeconds: since(statement.from), untilSeconds, by };
    }
    default:
      return undefined;
  }
}

/** Says how a notice stands. `changes` are those that may reach it, in the order of the log. */
export function judgeStanding(
  notice: KnownNotice,
  changes: readonly PlacedStatement[],
  atSeconds: number,
  licensee?: string,
): NoticeStanding | undefined {
  const { recipients, annex } = notice.statement;
  if (licensee !== undefined && !('all' in recipients || recipients.licensees.includes(licensee))) return undefined;
  const known = changes.filter(({ verified }) => verified.integratedAtSeconds <= atSeconds);
  const folded = foldAlone(notice, known, atSeconds, licensee);
  const isNow = ({ notBefore, notAfter }: Window) => notBefore <= atSeconds && atSeconds < notAfter;
  const current = folded?.windows.find(isNow);
  const entriesInForce = folded === undefined || current === undefined ? 0 : countInForce(folded, annex.entries, isNow);
  const common = {
    entries: annex.entries,
    entriesInForce,
    changedBy: known.filter((one) => concerns(one, licensee)).map(({ verified }) => verified.id),
  };
  if (current !== undefined && entriesInForce > 0) {
    const sinceSeconds = Math.max(current.notBefore, notice.integratedAtSeconds);
    return { ...common, state: 'in-force', sinceSeconds, untilSeconds: endOf(current.notAfter) };
  }
  const interruptions = findInterruptions(notice, known, atSeconds, licensee);
  const missing = current === undefined ? undefined : folded && judgeEntries(folded, known, atSeconds);
  return { ...common, ...(missing ?? judgeAbsence(notice, interruptions, folded?.windows ?? [], atSeconds)) };
}

/** Whether a statement changes the notice for the licensee asked about, or for anyone when none is. */
function concerns({ verified: { statement } }: PlacedStatement, licensee?: string): boolean {
  return licensee === undefined || statement.type !== 'exemption' || statement.licensee === licensee;
}

/** Folds one notice with what may change it: the same windows as among all others. */
function foldAlone(
  notice: KnownNotice,
  changes: readonly PlacedStatement[],
  atSeconds: number,
  licensee = NOBODY,
): FoldedNotice<KnownNotice> | undefined {
  const addressed = { ...notice.statement, recipients: { all: true as const } };
  const entries = notice.entries ?? standIn(changes);
  const statements: KnownStatement[] = changes.map(({ verified }) => verified);
  const folded = fold([{ ...notice, statement: addressed, entries }, ...statements], licensee, atSeconds);
  return folded.find((one) => one.notice.id === notice.id);
}

/** Stands in for the entries of an annex that is not at hand: those that changes name, without their names. */
function standIn(changes: readonly PlacedStatement[]): EntryTable {
  const ids = new Set<string>();
  for (const { verified } of changes) {
    if (!isChange(verified)) continue;
    for (const id of reachOf(verified.statement)?.entries ?? []) ids.add(id);
  }
  const table = new EntryTable(ids.size, [...ids].join('').length);
  for (const id of [...ids].sort()) table.add(id, '', 'exact', NO_END_SECONDS);
  return table;
}

/** Counts the entries in force, given that the notice as a whole is. `count` is what its annex has. */
function countInForce(folded: FoldedNotice<KnownNotice>, count: number, isNow: (window: Window) => boolean): number {
  const { entries, varied } = folded;
  if (entries.findExpiryAfter(0) < 0) {
    let out = 0;
    for (const { windows } of varied.values()) if (!windows.some(isNow)) out++;
    return count - out;
  }
  let inForce = count - entries.count;
  for (let at = 0; at < entries.count; at++) if (windowsOf(folded, at).some(isNow)) inForce++;
  return inForce;
}

type Judgement = Pick<NoticeStanding, 'state' | 'sinceSeconds' | 'untilSeconds'>;

/** Says why a notice is not in force as a whole. What ended it first decides. */
function judgeAbsence(
  notice: KnownNotice,
  interruptions: readonly Interruption[],
  windows: readonly Window[],
  atSeconds: number,
): Judgement {
  const begun = interruptions.filter(({ fromSeconds }) => fromSeconds <= atSeconds);
  const ended = begun.filter(({ kind }) => FINAL.has(kind)).sort((one, other) => one.fromSeconds - other.fromSeconds);
  if (ended.length > 0) return { state: ended[0].kind, sinceSeconds: ended[0].fromSeconds };
  const next = windows.find(({ notBefore }) => notBefore > atSeconds)?.notBefore;
  if (notice.startSeconds > atSeconds || notice.integratedAtSeconds > atSeconds) {
    const until = Math.max(next ?? notice.startSeconds, notice.integratedAtSeconds);
    return { state: 'scheduled', sinceSeconds: notice.integratedAtSeconds, untilSeconds: until };
  }
  const paused = begun.filter(({ untilSeconds }) => untilSeconds > atSeconds);
  const stayed = paused.filter(({ kind }) => kind === 'stayed');
  const reasons = stayed.length > 0 ? stayed : paused;
  const sinceSeconds = Math.min(...reasons.map(({ fromSeconds }) => fromSeconds));
  return { state: stayed.length > 0 ? 'stayed' : 'exempted', sinceSeconds, untilSeconds: next };
}

/** Says why no entry of a notice that is in force as a whole is: each was revoked, stayed or let expire one by one. */
function judgeEntries(
  folded: FoldedNotice<KnownNotice>,
  known: readonly PlacedStatement[],
  atSeconds: number,
): Judgement {
  let next = NO_END_SECONDS;
  let expired = 0;
  for (let at = 0; at < folded.entries.count; at++) {
    expired = Math.max(expired, ownExpiry(folded.entries, at, atSeconds));
    for (const { notBefore } of windowsOf(folded, at)) if (notBefore > atSeconds) next = Math.min(next, notBefore);
  }
  const named = known.filter(
    ({ verified }) => isChange(verified) && reachOf(verified.statement)?.entries !== undefined,
  );
  const sinceSeconds = Math.max(expired, ...named.map(({ verified }) => verified.integratedAtSeconds));
  if (next !== NO_END_SECONDS) {
    const exempted = named.every(({ verified }) => verified.statement.type === 'exemption');
    return { state: exempted ? 'exempted' : 'stayed', sinceSeconds, untilSeconds: next };
  }
  const open: StandingState[] = named.flatMap(({ verified: { statement } }) => {
    if (statement.type === 'stay' && statement.until === undefined) return ['stayed' as const];
    return statement.type === 'revocation' || statement.type === 'variation' ? ['revoked' as const] : [];
  });
  return { state: open[0] ?? 'expired', sinceSeconds };
}

function ownExpiry(entries: EntryTable, at: number, atSeconds: number): number {
  const expires = entries.expiresSeconds(at);
  return expires <= atSeconds ? expires : 0;
}

function endOf(seconds: number): number | undefined {
  return seconds === NO_END_SECONDS ? undefined : seconds;
}
