import { WartaError } from '../../base/errors.ts';
import type { Pack } from '../../register/pack.ts';
import { type Actor, STAFF } from '../access/roles.ts';
import type { ControlServices } from '../services.ts';
import type { AppealEventRecord, AppealRecord, Tables } from '../store.ts';
import type { PlacedNotice, RegisterView } from '../view/register-view.ts';

/** What is worked with at one request about appeals. */
export interface AppealDesk {
  readonly tables: Tables;
  readonly services: ControlServices;
  readonly nowSeconds: number;
  readonly pack: Pack;
}

/** Most events that one appeal can have; messages stop long before. */
export const EVENTS_MAX = 1000;
const SEQUENCE_DIGITS = 6;

/** Reads the pack before the transaction, which is no time for files. */
export function readPack({ trust }: ControlServices): (call: { readonly nowSeconds: number }) => Promise<Pack> {
  return async ({ nowSeconds }) => (await trust.read(nowSeconds)).pack;
}

/** What the trail of changes calls an appeal. */
export function subjectOf({ id }: AppealRecord): string {
  return `appeals/${id}`;
}

/** Whether someone is of the regulator's staff at an authority. */
export function isStaffOf(actor: Actor, authority: string): boolean {
  return actor.authority === authority && STAFF.some((role) => actor.roles.has(role));
}

/**
 * Requires staff of the authority whose notice is appealed.
 *
 * @throws {WartaError} `forbidden`.
 */
export function requireStaffOf(actor: Actor, { id, authority }: AppealRecord): void {
  if (!isStaffOf(actor, authority)) throw new WartaError('forbidden', `appeal ${id} is for staff of ${authority}`);
}

/** @throws {WartaError} `not-found`. */
export async function readAppeal(tables: Tables, reference: string): Promise<AppealRecord> {
  const appeal = await tables.appeals.get(reference);
  if (appeal === undefined) throw new WartaError('not-found', 'there is no appeal with that reference');
  return appeal;
}

/** @throws {WartaError} `not-found` when the register no longer has it, which an honest one never does. */
export function readAppealedNotice(register: RegisterView, { noticeId }: AppealRecord): PlacedNotice {
  const notice = register.findNotice(noticeId);
  if (notice === undefined) throw new WartaError('not-found', 'the register has not got the notice of this appeal');
  return notice;
}

/** Adds to what happened in an appeal. Ids follow the order of events, so that none is told before its cause. */
export async function recordEvent(
  { tables, nowSeconds }: AppealDesk,
  appealId: string,
  event: Pick<AppealEventRecord, 'actor' | 'kind'> & Partial<Pick<AppealEventRecord, 'note' | 'privateNote'>>,
): Promise<void> {
  const number = (await tables.appealEvents.count({ appealId })) + 1;
  await tables.appealEvents.insert({
    note: null,
    privateNote: null,
    ...event,
    id: `${appealId}/${String(number).padStart(SEQUENCE_DIGITS, '0')}`,
    appealId,
    atSeconds: nowSeconds,
  });
}
