import { RELEASE_TYPES } from '../../register/authorities.ts';
import { reachOf } from '../../register/statement.ts';
import { secondsOf } from '../../register/time.ts';
import type { PlacedStatement, RegisterView } from '../view/register-view.ts';

/** Whether a statement makes resolvers block, or lets names resolve again. */
export type EffectKind = 'blocking' | 'unblocking';

/** Returns what a statement does at resolvers. */
export function kindOf({ verified: { statement } }: PlacedStatement): EffectKind {
  return RELEASE_TYPES.has(statement.type) ? 'unblocking' : 'blocking';
}

/** Returns when a statement should have its effect: when the log took it, or at its own start if that is later. */
export function dueSecondsOf({ verified }: PlacedStatement): number {
  const { statement, integratedAtSeconds, startSeconds } = verified;
  const from = statement.type === 'notice' ? startSeconds : 'from' in statement ? secondsOf(statement.from) : 0;
  return Math.max(integratedAtSeconds, from);
}

/** Whether a statement changes anything at the resolvers of an ISP. */
export function concernsLicensee(register: RegisterView, placed: PlacedStatement, licensee: string): boolean {
  const { statement } = placed.verified;
  switch (statement.type) {
    case 'notice':
      return 'all' in statement.recipients || statement.recipients.licensees.includes(licensee);
    case 'heartbeat':
      return false;
    case 'resumption': {
      const target = register.find(statement.target);
      return target !== undefined && concernsLicensee(register, target, licensee);
    }
    default: {
      if (statement.type === 'exemption' && statement.licensee !== licensee) return false;
      const notice = reachOf(statement)?.notice;
      const named = notice === undefined ? undefined : register.findNotice(notice);
      return named === undefined || concernsLicensee(register, named, licensee);
    }
  }
}
