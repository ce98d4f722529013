import { WartaError } from '../../base/errors.ts';
import type { Actor } from '../access/roles.ts';
import type { DraftRecord, DraftState, Tables } from '../store.ts';
import type { DraftType } from './draft-body.ts';

/** Who drafts what the server finds due on its own. It can propose, and nothing else. */
export const SYSTEM = 'system';

/** Whether someone may look at the drafts of an authority: its staff, and auditors at all of them. */
function maySee({ authority, roles }: Actor, draft: DraftRecord): boolean {
  return authority === draft.authority || roles.has('auditor');
}

/** Whether the names of a sealed draft are for someone: staff of its authority, never an auditor. */
export function seesSealed({ authority }: Actor, draft: DraftRecord): boolean {
  return authority === draft.authority;
}

/**
 * Requires that someone may see the names of a draft.
 *
 * @throws {WartaError} `forbidden`.
 */
export function requireSight(actor: Actor, draft: DraftRecord): void {
  if (!draft.sealed || seesSealed(actor, draft)) return;
  throw new WartaError('forbidden', 'the names are sealed: they are for its authority alone');
}

/**
 * Returns a draft that someone may look at.
 *
 * @throws {WartaError} `not-found`, for another authority's as well: that it is there is not theirs to know.
 */
export async function findDraft(tables: Tables, type: DraftType, id: string, actor: Actor): Promise<DraftRecord> {
  const draft = await tables.drafts.get(id);
  if (draft === undefined || draft.type !== type || !maySee(actor, draft)) {
    throw new WartaError('not-found', `there is no draft ${id} of a ${type}`);
  }
  return draft;
}

/**
 * Returns a draft that someone may change: one of their own authority.
 *
 * @throws {WartaError} `not-found`, `forbidden`.
 */
export async function findOwnDraft(tables: Tables, type: DraftType, id: string, actor: Actor): Promise<DraftRecord> {
  const draft = await findDraft(tables, type, id, actor);
  if (actor.authority !== draft.authority) throw new WartaError('forbidden', `it is a draft of ${draft.authority}`);
  return draft;
}

/**
 * Requires that someone is the one who drafted: whoever could also change it might approve what they wrote themselves. What
 * the server drafted is anyone's to take over, and is then drafted by them.
 *
 * @throws {WartaError} `forbidden`.
 */
export function requireDrafter(actor: Actor, draft: DraftRecord): void {
  if (actor.id === draft.draftedBy || draft.draftedBy === SYSTEM) return;
  throw new WartaError('forbidden', `only ${draft.draftedBy}, who drafted it, may do this: return it with a reason`);
}

/**
 * Requires one of some states.
 *
 * @throws {WartaError} `draft-state`.
 */
export function requireState(draft: DraftRecord, what: string, ...states: readonly DraftState[]): void {
  if (states.includes(draft.state)) return;
  const advice = draft.state === 'proposed' || draft.state === 'approved' ? '; return it to draft first' : '';
  throw new WartaError(
    'draft-state',
    `it is ${draft.state}: only what is ${states.join(' or ')} can be ${what}${advice}`,
  );
}

/**
 * The authority of someone who drafts.
 *
 * @throws {WartaError} `forbidden` for an account that belongs to none.
 */
export function authorityOf(actor: Actor): string {
  if (actor.authority !== undefined) return actor.authority;
  throw new WartaError('forbidden', 'this account belongs to no authority: an admin can change that');
}
