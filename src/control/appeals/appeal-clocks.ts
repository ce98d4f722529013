import type { Pack } from '../../register/pack.ts';
import { DAY_SECONDS } from '../../register/time.ts';
import type { AppealRecord } from '../store.ts';

const HOUR_SECONDS = 3600;
const ERASE_AFTER_DAYS = 365;

/** By when each step of an appeal is due. */
export type Deadlines = Pick<AppealRecord, 'acknowledgeBySeconds' | 'assessBySeconds' | 'decideBySeconds'>;

/** Returns by when an appeal is to be acknowledged, assessed and decided. */
export function computeDeadlines(pack: Pack, filedSeconds: number): Deadlines {
  const { acknowledgeWithinDays, decideWithinDays } = pack.appeals;
  return {
    acknowledgeBySeconds: filedSeconds + acknowledgeWithinDays * DAY_SECONDS,
    assessBySeconds: filedSeconds + assessWithinSeconds(pack),
    decideBySeconds: filedSeconds + decideWithinDays * DAY_SECONDS,
  };
}

/** Returns until when an appeal is in time, which counts from when the notice took effect. */
export function computeFileBy({ appeals }: Pack, effectiveSeconds: number): number {
  return effectiveSeconds + appeals.fileWithinDays * DAY_SECONDS;
}

/** Whether an appeal comes after the time for filing. */
export function isLate(pack: Pack, effectiveSeconds: number, filedSeconds: number): boolean {
  return filedSeconds > computeFileBy(pack, effectiveSeconds);
}

/** Returns how many days after it is closed the personal data of an appeal is erased. */
export function eraseAfterDays({ appeals }: Pack): number {
  return appeals.eraseContactAfterDays ?? ERASE_AFTER_DAYS;
}

/** Returns how many seconds after its filing an appeal is to be taken up. */
export function assessWithinSeconds({ appeals }: Pack): number {
  const { assessWithinDays, decideWithinDays } = appeals;
  if (assessWithinDays !== undefined) return assessWithinDays * DAY_SECONDS;
  return Math.floor((decideWithinDays * DAY_SECONDS) / 2);
}

/** Returns by when a release must have effect. */
export function computeReleaseBy({ appeals }: Pack, decidedSeconds: number): number {
  return decidedSeconds + appeals.releaseWithinHours * HOUR_SECONDS;
}

/** Returns when the personal data of an appeal that closes now is to be erased. */
export function computeEraseAfter(pack: Pack, closedSeconds: number): number {
  return closedSeconds + eraseAfterDays(pack) * DAY_SECONDS;
}
