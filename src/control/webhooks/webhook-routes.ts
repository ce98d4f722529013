import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, licenceNumber } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import type { Actor, Role } from '../access/roles.ts';
import { type AddRoute, cutPage, findCursor, pageOf, pageQuery } from '../http/route.ts';
import { boundLicensee } from '../nodes/own-licensee.ts';
import { createRecordId } from '../record-id.ts';
import type { ControlServices, EventKind } from '../services.ts';
import type { DeliveryRecord, Tables, WebhookRecord } from '../store.ts';
import { requireTarget } from './webhook-target.ts';

const TAG = 'Webhooks';

const EVENTS = [
  'statement.published',
  'appeal.filed',
  'appeal.decided',
  'node.stale',
  'notice.review-due',
] as const satisfies readonly EventKind[];

/** What an ISP may be told of; appeals and reviews are the regulator's. */
const OPERATOR_EVENTS: readonly EventKind[] = ['statement.published', 'node.stale'];

/** Webhooks that one ISP, or the regulator, may have. */
const WEBHOOKS_MAX = 20;

const webhookSchema = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(z.enum(EVENTS)),
  owner: z.string(),
  licensee: licenceNumber.optional(),
  disabled: z.boolean(),
  createdAt: instant,
  version: z.int(),
});

const deliverySchema = z.object({
  id: z.string(),
  event: z.enum(EVENTS),
  state: z.enum(['waiting', 'delivered', 'dead']),
  attempts: z.int(),
  createdAt: instant,
  nextAttemptAt: instant.optional(),
  lastStatus: z.int().optional(),
  lastError: z.string().optional(),
});

const webhookParams = z.strictObject({ id: z.string().min(1).max(100) });

/** Adds the routes of webhooks. */
export function addWebhookRoutes(add: AddRoute, services: ControlServices): void {
  addWebhookCollection(add, services);
  add({
    route: 'DELETE /v1/webhooks/:id',
    summary: 'Delete a webhook and its deliveries',
    tag: TAG,
    params: webhookParams,
    async handle(call) {
      const webhook = await requireWebhook(call, call.params.id);
      if (call.ifMatch !== undefined && call.ifMatch !== webhook.version) {
        throw new WartaError('version-mismatch', 'someone changed it since you read it: read it again');
      }
      await call.tables.webhooks.remove(webhook.id);
      return { audit: { subject: `webhooks/${webhook.id}`, before: webhook } };
    },
  });
  addDeliveryRoutes(add, services);
}

function addWebhookCollection(add: AddRoute, { clock, random, webhooks }: ControlServices): void {
  add({
    route: 'GET /v1/webhooks',
    summary: 'List webhooks',
    tag: TAG,
    query: pageQuery,
    response: pageOf(webhookSchema),
    async handle(call) {
      const { tables, query } = call;
      const licensee = boundLicensee(call);
      const records = await tables.webhooks.list({
        where: licensee === undefined ? {} : { licensee },
        after: await findCursor(tables.webhooks, query.cursor),
        limit: query.limit + 1,
      });
      const { items, next } = cutPage(records, query.limit);
      return { body: { items: items.map(describeWebhook), next } };
    },
  });
  add({
    route: 'POST /v1/webhooks',
    summary: 'Have an address told of events; the answer has the key that deliveries are signed with',
    tag: TAG,
    body: z.strictObject({
      url: z.string().max(2000),
      events: z
        .array(z.enum(EVENTS))
        .min(1)
        .refine((events) => new Set(events).size === events.length, 'an event is given twice'),
    }),
    response: webhookSchema.extend({
      /** Raw Ed25519 in base64 after `whpk_`, for `v1a` signatures of the Standard Webhooks specification. */
      signingKey: z.string(),
    }),
    status: 201,
    async handle(call) {
      const { actor, body, tables, nowSeconds } = call;
      if (webhooks === undefined) throw new WartaError('conflict', 'this register sends no webhooks');
      const licensee = boundLicensee(call) ?? null;
      const refused = licensee === null ? undefined : body.events.find((event) => !OPERATOR_EVENTS.includes(event));
      if (refused !== undefined) throw new WartaError('forbidden', `${refused} is for the regulator`);
      const url = requireTarget(body.url, webhooks.terms).href;
      if ((await tables.webhooks.count({ licensee })) >= WEBHOOKS_MAX) {
        throw new WartaError('conflict', `there are ${WEBHOOKS_MAX} webhooks: delete one first`);
      }
      const record: WebhookRecord = {
        ...{ id: createRecordId(clock.wallMillis(), random), url, events: body.events, owner: actor.id, licensee },
        ...{ disabled: false, createdSeconds: nowSeconds, version: 1 },
      };
      await tables.webhooks.insert(record);
      return {
        body: { ...describeWebhook(record), signingKey: webhooks.signingKey },
        version: record.version,
        audit: { subject: `webhooks/${record.id}`, after: record },
      };
    },
  });
}

function addDeliveryRoutes(add: AddRoute, { events }: ControlServices): void {
  add({
    route: 'GET /v1/webhooks/:id/deliveries',
    summary: 'List what was sent to a webhook, and what could not be, the newest first',
    tag: TAG,
    params: webhookParams,
    query: pageQuery.extend({ state: z.enum(['waiting', 'delivered', 'dead']).optional() }),
    response: pageOf(deliverySchema),
    async handle(call) {
      const { tables, query, params } = call;
      const webhook = await requireWebhook(call, params.id);
      const records = await tables.deliveries.list({
        where: { webhookId: webhook.id, ...(query.state === undefined ? {} : { state: query.state }) },
        descending: true,
        after: await findCursor(tables.deliveries, query.cursor),
        limit: query.limit + 1,
      });
      const { items, next } = cutPage(records, query.limit);
      return { body: { items: items.map(describeDelivery), next } };
    },
  });
  add({
    route: 'POST /v1/webhooks/:id/deliveries/:delivery/retry',
    summary: 'Send a delivery again that was given up, or at once',
    tag: TAG,
    params: webhookParams.extend({ delivery: z.string().min(1).max(100) }),
    response: deliverySchema,
    async handle(call) {
      const { tables, params, nowSeconds } = call;
      const webhook = await requireWebhook(call, params.id);
      const before = await tables.deliveries.get(params.delivery);
      if (before === undefined || before.webhookId !== webhook.id) {
        throw new WartaError('not-found', `there is no delivery ${params.delivery}`);
      }
      if (before.state === 'delivered') throw new WartaError('conflict', 'it was delivered');
      if (webhook.disabled) throw new WartaError('conflict', 'its receiver said that it is gone: make a new webhook');
      const changes = { state: 'waiting', attempts: 0, nextAttemptSeconds: nowSeconds } as const;
      const after = await tables.deliveries.update(before.id, changes);
      call.afterCommit(() => events.wake());
      return { body: describeDelivery(after), audit: { subject: `deliveries/${after.id}`, before, after } };
    },
  });
}

/** Finds a webhook of whoever asks; another's is not there for them. */
async function requireWebhook(
  call: { readonly actor: Actor; readonly role: Role; readonly tables: Tables },
  id: string,
): Promise<WebhookRecord> {
  const own = boundLicensee(call);
  const webhook = await call.tables.webhooks.get(id);
  if (webhook !== undefined && (own === undefined || webhook.licensee === own)) return webhook;
  throw new WartaError('not-found', `there is no webhook ${id}`);
}

function describeWebhook({ id, url, events, owner, licensee, disabled, createdSeconds, version }: WebhookRecord) {
  return {
    ...{ id, url, owner, disabled, version, events: events as (typeof EVENTS)[number][] },
    ...(licensee === null ? {} : { licensee }),
    createdAt: formatInstant(createdSeconds),
  };
}

function describeDelivery(record: DeliveryRecord): z.input<typeof deliverySchema> {
  const { id, event, state, attempts, createdSeconds, nextAttemptSeconds, lastStatus, lastError } = record;
  return {
    ...{ id, event: event as EventKind, state, attempts },
    createdAt: formatInstant(createdSeconds),
    ...(state === 'waiting' ? { nextAttemptAt: formatInstant(nextAttemptSeconds) } : {}),
    ...(lastStatus === null ? {} : { lastStatus }),
    ...(lastError === null ? {} : { lastError }),
  };
}
