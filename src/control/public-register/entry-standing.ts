import type { EntryTable } from '../../register/annex.ts';
import { isBelow } from '../../register/entry-name.ts';
import { exclusionsOf, type FoldedNotice, fold, windowsOf } from '../../register/fold.ts';
import { httpsOfPages } from '../../register/pages.ts';
import { NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import { isChange, type KnownNotice } from '../../register/verify-statement.ts';
import type {
  NoticeStanding,
  PlacedNotice,
  PlacedStatement,
  RegisterView,
  StandingState,
} from '../view/register-view.ts';

/** How one entry of a notice stands; `exempted` only for a licensee that is asked about. */
export interface EntryStanding {
  readonly state: StandingState;
  readonly sinceSeconds?: number;
  readonly untilSeconds?: number;
}

/** One notice folded by itself, to look at its entries. */
export interface LoneNotice {
  readonly notice: PlacedNotice;
  readonly changes: readonly PlacedStatement[];
  /** `undefined` when nothing of it is in force now or later. */
  readonly folded?: FoldedNotice<KnownNotice>;
  readonly nowSeconds: number;
  /** How it stands as a whole; `undefined` when it is not addressed to the licensee asked about. */
  readonly whole?: NoticeStanding;
}

/**
 * Folds one notice by itself. Without a licensee it is folded as for one to whom it is addressed and whom nobody exempted.
 */
export function foldAlone(
  register: RegisterView,
  notice: PlacedNotice,
  nowSeconds: number,
  licensee?: string,
): LoneNotice {
  const known = register.changesOf(notice.verified.id);
  const changes =
    licensee === undefined ? known.filter(({ verified }) => verified.statement.type !== 'exemption') : known;
  const { recipients } = notice.verified.statement;
  const addressee = licensee ?? ('all' in recipients ? '' : recipients.licensees[0]);
  const all = fold(
    [notice, ...changes].map(({ verified }) => verified),
    addressee,
    nowSeconds,
  );
  const folded = all.find((one) => one.notice.id === notice.verified.id);
  const whole = register.standingOf(notice.verified.id, nowSeconds, licensee);
  return { notice, changes, folded, nowSeconds, whole };
}

/** Says what becomes of the name of an entry, or of its page. */
export function describeTerms(notice: PlacedNotice, entries: EntryTable, at: number) {
  const page = entries.urls.get(at);
  return {
    scope: entries.scope(at),
    action: entries.action(at),
    url: page?.url,
    query: page?.anyQuery ? ('any' as const) : undefined,
    https: page === undefined ? undefined : httpsOfPages(notice.verified.statement),
  };
}

/** Whether a name is excluded from a subtree entry now. */
export function isExcluded({ folded, nowSeconds }: LoneNotice, at: number, name: string): boolean {
  if (folded === undefined) return false;
  return exclusionsOf(folded, at).some(
    (one) => one.fromSeconds <= nowSeconds && (one.name === name || isBelow(name, one.name)),
  );
}

/** Returns how an entry stands. */
export function standingOfEntry(lone: LoneNotice, at: number): EntryStanding {
  const { notice, folded, nowSeconds, whole } = lone;
  const windows = folded === undefined ? [] : windowsOf(folded, at);
  const current = windows.find((one) => one.notBefore <= nowSeconds && nowSeconds < one.notAfter);
  if (current !== undefined) {
    const untilSeconds = current.notAfter === NO_END_SECONDS ? undefined : current.notAfter;
    return { state: 'in-force', sinceSeconds: current.notBefore, untilSeconds };
  }
  if (whole !== undefined && whole.state !== 'in-force') {
    const { state, sinceSeconds, untilSeconds } = whole;
    return { state, sinceSeconds, untilSeconds };
  }
  const { startSeconds } = notice.verified;
  if (nowSeconds < startSeconds) return { state: 'scheduled', untilSeconds: startSeconds };
  return findReason(lone, at);
}

/** Why an entry of a notice in force is not: it was lifted for good, or stayed, or had an end of its own. */
function findReason({ notice, changes, nowSeconds, folded }: LoneNotice, at: number): EntryStanding {
  const { entries } = notice.verified;
  const id = entries?.id(at);
  let found: EntryStanding = { state: 'expired', sinceSeconds: entries?.expiresSeconds(at) };
  for (const { verified } of changes) {
    if (!isChange(verified) || id === undefined) continue;
    const { statement } = verified;
    if (!('from' in statement) || secondsOf(statement.from) > nowSeconds) continue;
    const sinceSeconds = secondsOf(statement.from);
    if (statement.type === 'stay' && 'entries' in statement.target && statement.target.entries?.includes(id)) {
      const next = folded === undefined ? undefined : windowsOf(folded, at)[0];
      found = { state: 'stayed', sinceSeconds, untilSeconds: next?.notBefore };
    }
    const isLifted =
      (statement.type === 'revocation' && statement.entries?.includes(id)) ||
      (statement.type === 'variation' && statement.remove?.includes(id));
    if (isLifted) return { state: 'revoked', sinceSeconds };
    if (statement.type === 'variation') {
      const shortened = statement.expires?.find(({ entry }) => entry === id);
      if (shortened) found = { state: 'expired', sinceSeconds: Math.max(sinceSeconds, secondsOf(shortened.at)) };
    }
    if (statement.type === 'exemption' && found.state === 'expired') found = { state: 'exempted', sinceSeconds };
  }
  return found;
}
