import type { Pack } from '../../register/pack.ts';
import { DAY_SECONDS } from '../../register/time.ts';
import type { AppealRecord } from '../store.ts';

const HOUR_SECONDS = 3600;
const ERASE_AFTER_DAYS = 365;

/** By when each step of an appeal is due. */
export type Deadlines = Pick<AppealRecord, 'acknowledgeBySeconds' | 'assessBySeconds' | 'decideBySeconds'>;

/** Returns by when an appeal is to be acknowledged, assessed and decided. */
export function computeDeadlines({ appeals }: Pack, filedSeconds: number): Deadlines {
  const decideSeconds = appeals.decideWithinDays * DAY_SECONDS;
  const { assessWithinDays } = appeals;
  const assessSeconds = assessWithinDays === undefined ? Math.floor(decideSeconds / 2) : assessWithinDays * DAY_SECONDS;
  return {
    acknowledgeBySeconds: filedSeconds + appeals.acknowledgeWithinDays * DAY_SECONDS,
    assessBySeconds: filedSeconds + assessSeconds,
    decideBySeconds: filedSeconds + decideSeconds,
  };
}

/** Whether an appeal comes after the time for filing, which counts from when the notice took effect. */
export function isLate({ appeals }: Pack, effectiveSeconds: number, filedSeconds: number): boolean {
  return filedSeconds > effectiveSeconds + appeals.fileWithinDays * DAY_SECONDS;
}

/** Returns by when a release must have effect. */
export function computeReleaseBy({ appeals }: Pack, decidedSeconds: number): number {
  return decidedSeconds + appeals.releaseWithinHours * HOUR_SECONDS;
}

/** Returns when the personal data of an appeal that closes now is to be erased. */
export function computeEraseAfter({ appeals }: Pack, closedSeconds: number): number {
  return closedSeconds + (appeals.eraseContactAfterDays ?? ERASE_AFTER_DAYS) * DAY_SECONDS;
}
