import { reachOf } from '../../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import type { AppealRecord } from '../store.ts';
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
 * Returns how long what an appeal was about was in force: a notice, or some of its entries until the last of them was
 * released. Stays do not count. Names that were excluded from an entry after the appeal was filed count as its release.
 */
export function measureForce(
  register: RegisterView,
  history: NoticeHistory,
  { entries, filedSeconds }: Pick<AppealRecord, 'entries' | 'filedSeconds'>,
  nowSeconds: number,
): number {
  const { notice, startSeconds, endSeconds, stays } = history;
  const pauses = stays.map((stay) => ({ fromSeconds: stay.fromSeconds, toSeconds: stay.untilSeconds }));
  const released = new Map<string, number>(entries.map((id) => [id, NO_END_SECONDS]));
  const release = (id: string, seconds: number) => {
    const earlier = released.get(id);
    if (earlier !== undefined) released.set(id, Math.min(earlier, seconds));
  };
  for (const { verified } of register.changesOf(notice.verified.id)) {
    const { statement, integratedAtSeconds } = verified;
    if (statement.type === 'notice' || statement.type === 'heartbeat') continue;
    const from = Math.max(secondsOf(statement.from), integratedAtSeconds);
    if (statement.type === 'revocation') for (const id of statement.entries ?? []) release(id, from);
    if (statement.type === 'variation') {
      for (const id of statement.remove ?? []) release(id, from);
      for (const { entry, at } of statement.expires ?? []) release(entry, Math.max(from, secondsOf(at)));
      if (integratedAtSeconds >= filedSeconds) for (const { entry } of statement.exclude ?? []) release(entry, from);
    }
    const stayed = statement.type === 'stay' ? (reachOf(statement)?.entries ?? []) : [];
    if (statement.type === 'stay' && entries.length > 0 && entries.every((id) => stayed.includes(id))) {
      const toSeconds = statement.until === undefined ? NO_END_SECONDS : secondsOf(statement.until);
      pauses.push({ fromSeconds: from, toSeconds });
    }
  }
  const last = entries.length === 0 ? NO_END_SECONDS : Math.max(...released.values());
  return measureWithout({ fromSeconds: startSeconds, toSeconds: Math.min(endSeconds, nowSeconds, last) }, pauses);
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
