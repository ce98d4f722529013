import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, slug, text } from '../../register/fields.ts';
import type { Pack } from '../../register/pack.ts';
import { formatInstant, secondsOf } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { pageQuery } from '../http/route.ts';
import { createRecordId } from '../record-id.ts';
import type { ControlServices } from '../services.ts';
import type { Tables, TakedownRecord } from '../store.ts';

const ITEMS_MAX = 10_000_000;
/** How far a clock of staff may be ahead. */
const SKEW_SECONDS = 300;

/** A new record. */
const newTakedown = z.strictObject({
  platform: text(200),
  category: slug,
  items: z.int().min(1).max(ITEMS_MAX),
  reference: text(200),
  agency: text(200).optional(),
  requestedAt: instant,
  removedAt: instant.optional(),
});

/** Says when the items of an earlier record were removed. */
const removal = z.strictObject({ id: z.uuid(), removedAt: instant });

export const takedownForm = z.union([newTakedown, removal]);

/** What is recorded of a takedown. */
export type TakedownForm = z.output<typeof takedownForm>;

export const takedownQuery = pageQuery.extend({
  category: slug.optional(),
  from: instant.optional(),
  until: instant.optional(),
});

/** Which takedowns are listed: `from` and `until` bound the time of the request. */
export type TakedownQuery = z.output<typeof takedownQuery>;

export const takedownView = z.object({
  id: z.string(),
  authority: slug,
  agency: z.string().optional(),
  platform: z.string(),
  category: slug,
  items: z.int(),
  reference: z.string(),
  requestedAt: instant,
  removedAt: instant.optional(),
  recordedBy: z.string(),
});

/** A takedown as it is answered. */
export type Takedown = z.output<typeof takedownView>;

/** Composes what is answered of a record. */
export function viewTakedown(record: TakedownRecord): Takedown {
  const { requestedSeconds, removedSeconds, agency, ...rest } = record;
  return {
    ...rest,
    agency: agency ?? undefined,
    requestedAt: formatInstant(requestedSeconds),
    removedAt: removedSeconds === null ? undefined : formatInstant(removedSeconds),
  };
}

/** What was recorded, and what there was before. */
export interface Recorded {
  readonly before?: TakedownRecord;
  readonly after: TakedownRecord;
}

/**
 * Records that a platform was asked to remove items, or that it did.
 *
 * @throws {WartaError} `forbidden` without an authority; `request-invalid`; `not-found`; `conflict` when the removal is
 *   recorded already.
 */
export async function recordTakedown(
  { tables, services, actor, nowSeconds, pack }: TakedownCall,
  form: TakedownForm,
): Promise<Recorded> {
  if (actor.authority === undefined)
    throw new WartaError('forbidden', 'takedowns are recorded by staff of an authority');
  if ('id' in form) return recordRemoval(tables, actor.authority, form, nowSeconds);
  const { requestedAt, removedAt, agency = null, ...rest } = form;
  if (!pack.categories.some(({ id }) => id === form.category)) {
    throw new WartaError('request-invalid', `category: the policy pack has no ${form.category}`);
  }
  const requestedSeconds = secondsOf(requestedAt);
  refuseFuture('requestedAt', requestedSeconds, nowSeconds);
  const after: TakedownRecord = {
    ...rest,
    id: createRecordId(services.clock.wallMillis(), services.random),
    authority: actor.authority,
    agency,
    requestedSeconds,
    removedSeconds: removedAt === undefined ? null : checkRemoval(removedAt, requestedSeconds, nowSeconds),
    recordedBy: actor.id,
  };
  await tables.takedowns.insert(after);
  return { after };
}

/** What a takedown is recorded with. */
export interface TakedownCall {
  readonly tables: Tables;
  readonly services: Pick<ControlServices, 'clock' | 'random'>;
  readonly actor: Actor;
  readonly nowSeconds: number;
  readonly pack: Pack;
}

async function recordRemoval(
  tables: Tables,
  authority: string,
  { id, removedAt }: z.output<typeof removal>,
  nowSeconds: number,
): Promise<Recorded> {
  const before = await tables.takedowns.get(id);
  if (before?.authority !== authority) throw new WartaError('not-found', `${authority} has no takedown ${id}`);
  if (before.removedSeconds !== null) throw new WartaError('conflict', 'when it was removed is recorded already');
  const removedSeconds = checkRemoval(removedAt, before.requestedSeconds, nowSeconds);
  return { before, after: await tables.takedowns.update(id, { removedSeconds }) };
}

function checkRemoval(removedAt: string, requestedSeconds: number, nowSeconds: number): number {
  const removedSeconds = secondsOf(removedAt);
  refuseFuture('removedAt', removedSeconds, nowSeconds);
  if (removedSeconds >= requestedSeconds) return removedSeconds;
  throw new WartaError('request-invalid', 'removedAt: is before requestedAt');
}

function refuseFuture(key: string, seconds: number, nowSeconds: number): void {
  if (seconds <= nowSeconds + SKEW_SECONDS) return;
  throw new WartaError('request-invalid', `${key}: is in the future; it is ${formatInstant(nowSeconds)}`);
}

/** Lists takedowns, newest request first, one more than is asked for: staff's own authority's, all for an auditor. */
export async function listTakedowns(
  tables: Tables,
  { roles, authority = '' }: Actor,
  { limit, cursor, category, from, until }: TakedownQuery,
): Promise<TakedownRecord[]> {
  const after = cursor === undefined ? undefined : await tables.takedowns.get(cursor);
  if (cursor !== undefined && after === undefined) {
    throw new WartaError('request-invalid', 'cursor: give the next of the page before');
  }
  const where = {
    ...(roles.has('auditor') ? {} : { authority }),
    ...(category && { category }),
    requestedSeconds: { from: secondsIf(from), before: secondsIf(until) },
  };
  return tables.takedowns.list({ where, orderBy: 'requestedSeconds', descending: true, after, limit: limit + 1 });
}

function secondsIf(time: string | undefined): number | undefined {
  return time === undefined ? undefined : secondsOf(time);
}
