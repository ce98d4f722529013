import { DAY_SECONDS, NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import { isChange } from '../../register/verify-statement.ts';
import type { AppealRecord, DraftRecord } from '../store.ts';
import type { NoticeStanding, PlacedNotice, PlacedStatement } from '../view/register-view.ts';

/** Something that needs someone now. */
export interface Due {
  readonly kind: string;
  readonly subject: string;
  readonly authority: string;
  /** When it falls, or fell, due. */
  readonly dueSeconds: number;
}

/** Days before an expiry or a review at which those concerned are reminded, the nearest first. */
const LEAD_DAYS = [3, 14, 30];
/** So long before a clock of an appeal runs out. */
const NEAR_SECONDS = DAY_SECONDS;
/** A draft that waits for others for so long is forgotten. */
const DRAFT_WAITS_SECONDS = 2 * DAY_SECONDS;

/** Returns the id of the reminder of something that is due. */
export function reminderIdOf({ kind, subject, dueSeconds }: Due): string {
  return `${kind}/${subject}/${dueSeconds}`;
}

/**
 * Returns what is due of a notice: its expiry unless something else ends it before, and its review. A notice that is stayed
 * still needs both; one that is over needs nothing.
 */
export function findNoticeDues(
  notice: PlacedNotice,
  { state }: NoticeStanding,
  changes: readonly PlacedStatement[],
  nowSeconds: number,
): Due[] {
  if (state !== 'in-force' && state !== 'stayed') return [];
  const { id, statement } = notice.verified;
  const about = { subject: `notices/${id}`, authority: statement.authority };
  const dues: Due[] = [];
  const expirySeconds = findExpiry(notice, changes);
  const expiry = expirySeconds === undefined ? undefined : leadOf(expirySeconds, nowSeconds);
  if (expiry !== undefined && expiry > 0) dues.push({ kind: `expiry-${expiry}`, ...about, dueSeconds: expirySeconds! });
  const { reviewBySeconds } = notice.outline;
  const review = reviewBySeconds === undefined ? undefined : leadOf(reviewBySeconds, nowSeconds);
  if (review !== undefined) dues.push({ kind: `review-${review}`, ...about, dueSeconds: reviewBySeconds! });
  return dues;
}

/** Whether a date that a notice gives itself is near or past; what changes it may bring another. */
export function isNear({ verified, outline }: PlacedNotice, nowSeconds: number): boolean {
  const firstSeconds = Math.min(verified.endSeconds, outline.reviewBySeconds ?? NO_END_SECONDS);
  return leadOf(firstSeconds, nowSeconds) !== undefined;
}

/** Returns the days of the reminder that is due now: 30, 14, 3, 0 once the time is there; `undefined` long before. */
function leadOf(dueSeconds: number, nowSeconds: number): number | undefined {
  const leftSeconds = dueSeconds - nowSeconds;
  return leftSeconds <= 0 ? 0 : LEAD_DAYS.find((days) => leftSeconds <= days * DAY_SECONDS);
}

/** When a notice ends by its own term; `undefined` when a successor or a revocation, in force or to come, sees to it. */
function findExpiry({ verified }: PlacedNotice, changes: readonly PlacedStatement[]): number | undefined {
  let endSeconds = verified.endSeconds;
  for (const { verified: change } of changes) {
    const { statement } = change;
    if (statement.type === 'notice') return undefined;
    if (!isChange(change)) continue;
    if (statement.type === 'revocation' && statement.entries === undefined) return undefined;
    if (statement.type === 'variation' && statement.expiresAt !== undefined) {
      endSeconds = Math.min(endSeconds, secondsOf(statement.expiresAt));
    }
  }
  return endSeconds === NO_END_SECONDS ? undefined : endSeconds;
}

/** Returns the clock of an appeal that is near its end or has passed it, if any does. */
export function findAppealDues(appeal: AppealRecord, nowSeconds: number): Due[] {
  const step = nextStepOf(appeal);
  if (step === undefined || nowSeconds < step.bySeconds - NEAR_SECONDS) return [];
  const kind = `appeal-${step.name}-${nowSeconds > step.bySeconds ? 'missed' : 'near'}`;
  return [{ kind, ...aboutAppeal(appeal), dueSeconds: step.bySeconds }];
}

function nextStepOf(appeal: AppealRecord): { name: string; bySeconds: number } | undefined {
  switch (appeal.state) {
    case 'filed':
      return { name: 'acknowledge', bySeconds: appeal.acknowledgeBySeconds };
    case 'acknowledged':
      return { name: 'assess', bySeconds: appeal.assessBySeconds };
    case 'assessed':
      return { name: 'decide', bySeconds: appeal.decideBySeconds };
    default:
      return undefined;
  }
}

/** Returns that the release which an appeal led to, and which is not published, is late: decided is not lifted. */
export function findLateRelease(appeal: AppealRecord, nowSeconds: number): Due[] {
  const { releaseBySeconds } = appeal;
  if (releaseBySeconds === null || nowSeconds <= releaseBySeconds) return [];
  return [{ kind: 'release-late', ...aboutAppeal(appeal), dueSeconds: releaseBySeconds }];
}

function aboutAppeal({ id, authority }: AppealRecord): Pick<Due, 'subject' | 'authority'> {
  return { subject: `appeals/${id}`, authority };
}

/** Returns that a draft has waited long for an approval or a signature. */
export function findWaitingDraft({ id, authority, state, updatedSeconds }: DraftRecord, nowSeconds: number): Due[] {
  const dueSeconds = updatedSeconds + DRAFT_WAITS_SECONDS;
  if (nowSeconds < dueSeconds) return [];
  const kind = state === 'proposed' ? 'draft-unapproved' : 'draft-unsigned';
  return [{ kind, subject: `drafts/${id}`, authority, dueSeconds }];
}
