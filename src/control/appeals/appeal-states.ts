import { WartaError } from '../../base/errors.ts';
import type { AppealRecord, AppealState } from '../store.ts';

/** What can be done with an appeal. */
export const APPEAL_ACTIONS = ['message', 'withdraw', 'acknowledge', 'assess', 'stay', 'decide', 'cure'] as const;

/** Something that can be done with an appeal. */
export type AppealAction = (typeof APPEAL_ACTIONS)[number];

/** In which states each thing can be done. */
const ALLOWED: Record<AppealAction, readonly AppealState[]> = {
  message: ['filed', 'acknowledged', 'assessed', 'decided'],
  withdraw: ['filed', 'acknowledged', 'assessed'],
  acknowledge: ['filed'],
  assess: ['acknowledged'],
  // On significant risk a stay waits for nothing.
  stay: ['filed', 'acknowledged', 'assessed'],
  decide: ['assessed'],
  cure: ['assessed', 'decided'],
};

/** The states of an appeal that still waits for its decision. */
export const OPEN_STATES = ['filed', 'acknowledged', 'assessed'] as const satisfies readonly AppealState[];

/** Whether an appeal still waits for its decision. */
export function isOpen({ state }: Pick<AppealRecord, 'state'>): boolean {
  return state !== 'decided' && state !== 'withdrawn';
}

/** Whether its appellant can still write in an appeal, or withdraw it. */
export function canAppellant(appeal: AppealRecord, action: 'message' | 'withdraw'): boolean {
  return ALLOWED[action].includes(appeal.state) && !isErased(appeal);
}

/** Whether the personal data of an appeal was erased, which is some time after it closed. */
function isErased(appeal: AppealRecord): boolean {
  return !isOpen(appeal) && appeal.eraseAfterSeconds === null;
}

/**
 * Requires that something can be done with an appeal as it stands.
 *
 * @throws {WartaError} `appeal-state`.
 */
export function requireAction(appeal: AppealRecord, action: AppealAction): void {
  const { id, state } = appeal;
  if (!ALLOWED[action].includes(state)) {
    throw new WartaError(
      'appeal-state',
      `appeal ${id} is ${state}: ${action} needs it ${ALLOWED[action].join(' or ')}`,
    );
  }
  if (action === 'cure') requireCurePending(appeal);
  if (action === 'message' && isErased(appeal)) {
    throw new WartaError('appeal-state', `appeal ${id} is closed and its personal data erased: file a new appeal`);
  }
}

function requireCurePending({ id, cure, curedSeconds }: AppealRecord): void {
  if (cure === null) throw new WartaError('appeal-state', `appeal ${id} names nothing that must be cured`);
  if (curedSeconds !== null) throw new WartaError('appeal-state', `the cure of appeal ${id} was confirmed already`);
}
