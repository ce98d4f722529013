import type { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import type { Actor } from '../access/roles.ts';
import type { RouteLimit } from '../http/route.ts';
import type { AppealRecord } from '../store.ts';
import { computeEraseAfter } from './appeal-clocks.ts';
import { type AppealDesk, isStaffOf, readAppealedNotice, recordEvent } from './appeal-desk.ts';
import type { messageForm, withdrawForm } from './appeal-forms.ts';
import { isSecret, SECRET_HEADER } from './appeal-secret.ts';
import { requireAction } from './appeal-states.ts';
import { INTERNAL, type Viewer } from './appeal-view.ts';
import { refuseSealedNames } from './sealed-names.ts';

/** How often one address may write messages. */
export const MESSAGE_LIMIT: RouteLimit = { max: 60, windowSeconds: 3600, shared: true };

/** Most messages that an appellant can write, and most of both sides: she cannot take staff's room. */
export const MESSAGES_MAX = 100;
const ALL_MESSAGES_MAX = 500;

/** An appeal has so many messages that it takes no more. */
export class MessagesFull extends WartaError {
  constructor({ id }: AppealRecord) {
    super('request-limited', `appeal ${id} takes no more messages`);
  }
}

/**
 * Finds out who looks at an appeal or writes in it: its appellant by the secret, staff of the notice's authority, or anyone.
 *
 * @throws {WartaError} `forbidden` for a secret that is not this appeal's.
 */
export function identifyViewer(
  appeal: AppealRecord,
  actor: Actor,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Viewer {
  const { [SECRET_HEADER]: given } = headers;
  if (given !== undefined) {
    if (typeof given === 'string' && isSecret(given, appeal.secretHash)) return 'appellant';
    throw new WartaError('forbidden', `${SECRET_HEADER}: this is not the secret of appeal ${appeal.id}`);
  }
  return isStaffOf(actor, appeal.authority) ? 'staff' : 'public';
}

/**
 * Adds a message of the appellant or of staff. Staff may write for the appellant, for staff alone or for the public.
 *
 * @throws {WartaError} `unauthenticated` for anyone else, `appeal-state`, `request-limited`.
 */
export async function postMessage(
  desk: AppealDesk,
  appeal: AppealRecord,
  { actor, viewer }: { actor: Actor; viewer: Viewer },
  { text, audience = 'appellant' }: z.output<typeof messageForm>,
): Promise<void> {
  if (viewer === 'public') throw needSecret();
  if (viewer === 'appellant' && audience !== 'appellant') {
    throw new WartaError('request-invalid', 'audience: what an appellant writes is for her and staff alone');
  }
  requireAction(appeal, 'message');
  const { tables } = desk;
  const messages = { appealId: appeal.id, kind: { in: ['message', INTERNAL] } };
  const isFull =
    viewer === 'appellant'
      ? (await tables.appealEvents.count({ ...messages, actor: 'appellant' })) >= MESSAGES_MAX
      : (await tables.appealEvents.count(messages)) >= ALL_MESSAGES_MAX;
  if (isFull) throw new MessagesFull(appeal);
  if (audience === 'public') refuseSealed(desk, appeal, text);
  await recordEvent(desk, appeal.id, {
    actor: viewer === 'appellant' ? 'appellant' : actor.id,
    kind: audience === 'staff' ? INTERNAL : 'message',
    ...(audience === 'public' ? { note: text } : { privateNote: text }),
  });
}

/**
 * Withdraws an appeal; its appellant alone can.
 *
 * @throws {WartaError} `unauthenticated`, `appeal-state`, `version-mismatch`.
 */
export async function withdrawAppeal(
  desk: AppealDesk,
  appeal: AppealRecord,
  viewer: Viewer,
  { reason }: z.output<typeof withdrawForm>,
  expectedVersion?: number,
): Promise<AppealRecord> {
  if (viewer !== 'appellant') throw needSecret();
  requireAction(appeal, 'withdraw');
  const { tables, nowSeconds, pack } = desk;
  const changes = {
    state: 'withdrawn',
    withdrawnSeconds: nowSeconds,
    eraseAfterSeconds: computeEraseAfter(pack, nowSeconds),
  } as const;
  const changed = await tables.appeals.update(appeal.id, changes, expectedVersion);
  await recordEvent(desk, appeal.id, { actor: 'appellant', kind: 'withdrawn', privateNote: reason ?? null });
  return changed;
}

/**
 * Refuses text for the public that has a name of a sealed annex in it.
 *
 * @throws {WartaError} `request-invalid`.
 */
export function refuseSealed({ services }: AppealDesk, appeal: AppealRecord, ...texts: (string | undefined)[]): void {
  const { id, statement } = readAppealedNotice(services.register, appeal).verified;
  if (!statement.annex.sealed) return;
  const entries = services.register.entriesOf(id);
  if (entries === undefined) {
    throw new WartaError('annex-missing', 'the sealed annex is not at hand, and text cannot be checked against it');
  }
  for (const text of texts) if (text !== undefined) refuseSealedNames(text, entries);
}

function needSecret(): WartaError {
  return new WartaError('unauthenticated', `give the secret of the appeal in the header ${SECRET_HEADER}`);
}
