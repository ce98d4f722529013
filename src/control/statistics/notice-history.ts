import { reachOf } from '../../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import type { PlacedNotice, RegisterView } from '../view/register-view.ts';
import { findInterruptions, type Interruption } from '../view/standing.ts';
import type { Period } from './months.ts';

/** What became of a notice as a whole, as far as is known now. */
export interface NoticeHistory {
  readonly notice: PlacedNotice;
  /** When the register took it, and since when it was in force. */
  readonly issuedSeconds: number;
  readonly startSeconds: number;
  /** When it ended for good, and how; `NO_END_SECONDS` while nothing says so. */
  readonly endSeconds: number;
  readonly endKind?: 'expired' | 'revoked' | 'superseded';
  /** Stays and halts that began before its end. */
  readonly stays: readonly Interruption[];
  /** Whether its entries may have ended at different times. */
  readonly isVaried: boolean;
}

/** Tells what became of a notice. */
export function traceNotice(register: RegisterView, notice: PlacedNotice, nowSeconds: number): NoticeHistory {
  const { id, integratedAtSeconds, startSeconds, entries } = notice.verified;
  const changes = register.changesOf(id);
  const interruptions = findInterruptions(notice.verified, changes, nowSeconds);
  const [end] = interruptions
    .filter(({ kind }) => kind === 'expired' || kind === 'revoked' || kind === 'superseded')
    .sort((one, other) => one.fromSeconds - other.fromSeconds);
  const endSeconds = end?.fromSeconds ?? NO_END_SECONDS;
  return {
    notice,
    issuedSeconds: integratedAtSeconds,
    startSeconds: Math.max(integratedAtSeconds, startSeconds),
    endSeconds,
    endKind: end?.kind as NoticeHistory['endKind'],
    stays: interruptions.filter(({ kind, fromSeconds }) => kind === 'stayed' && fromSeconds < endSeconds),
    isVaried: changes.length > 0 || (entries?.findExpiryAfter(0) ?? -1) >= 0,
  };
}

/** Whether a notice as a whole was in force at a time. */
export function wasInForce({ startSeconds, endSeconds, stays }: NoticeHistory, seconds: number): boolean {
  if (seconds < startSeconds || seconds >= endSeconds) return false;
  return !stays.some(({ fromSeconds, untilSeconds }) => fromSeconds <= seconds && seconds < untilSeconds);
}

/**
 * Returns how long some entries of a notice (all of it when none are named) were in force, until the first revocation or
 * variation after `afterSeconds` that names the notice or one of them, or until its end, or now.
 */
export function measureForce(
  register: RegisterView,
  history: NoticeHistory,
  entries: readonly string[],
  afterSeconds: number,
  nowSeconds: number,
): number {
  const { notice, startSeconds, stays } = history;
  const releases: number[] = [];
  const pauses: Period[] = stays.map((stay) => ({ fromSeconds: stay.fromSeconds, toSeconds: stay.untilSeconds }));
  for (const { verified } of register.changesOf(notice.verified.id)) {
    const { statement, integratedAtSeconds } = verified;
    if (statement.type === 'notice' || statement.type === 'heartbeat' || statement.type === 'resumption') continue;
    const reach = reachOf(statement);
    const named = reach?.entries;
    const from = Math.max(secondsOf(statement.from), integratedAtSeconds);
    if (statement.type === 'revocation' || statement.type === 'variation') {
      const touches =
        named === undefined || named.length === 0 || entries.length === 0 || named.some((id) => entries.includes(id));
      if (touches && integratedAtSeconds >= afterSeconds) releases.push(from);
    } else if (statement.type === 'stay' && named !== undefined && entries.length > 0) {
      const toSeconds = statement.until === undefined ? NO_END_SECONDS : secondsOf(statement.until);
      if (entries.every((id) => named.includes(id))) pauses.push({ fromSeconds: from, toSeconds });
    }
  }
  const until = Math.min(history.endSeconds, nowSeconds, ...releases);
  return measureWithout({ fromSeconds: startSeconds, toSeconds: until }, pauses);
}

/** Returns how much of a period is left without others, which may overlap. */
function measureWithout({ fromSeconds, toSeconds }: Period, pauses: readonly Period[]): number {
  let at = fromSeconds;
  let left = 0;
  for (const pause of pauses.toSorted((one, other) => one.fromSeconds - other.fromSeconds)) {
    if (pause.fromSeconds >= toSeconds) break;
    left += Math.max(0, pause.fromSeconds - at);
    at = Math.max(at, pause.toSeconds);
  }
  return left + Math.max(0, toSeconds - at);
}
