import type { Clock } from '../../base/clock.ts';
import { formatInstant } from '../../register/time.ts';
import { listAll } from '../nodes/list-all.ts';
import { createRecordId } from '../record-id.ts';
import type { EventKind, EventSink } from '../services.ts';
import type { DeliveryRecord, Tables, WebhookRecord } from '../store.ts';

/** Deliveries that may wait for one webhook; what comes then is dead at once, and can be sent again by hand. */
const MAX_WAITING = 1000;

/** Deliveries kept of one webhook in whatever state; what comes then is dropped. */
const MAX_KEPT = 10_000;

/** What a sink needs. */
export interface EventSinkOptions {
  readonly clock: Clock;
  readonly random: (sizeBytes: number) => Uint8Array;
  /** Wakes whoever delivers in this process, if anyone does. */
  readonly onWake?: () => void;
}

/** Creates what turns events into deliveries, one for each webhook that wants them. */
export function createEventSink({ clock, random, onWake = () => {} }: EventSinkOptions): EventSink {
  return {
    async emit(tables, event, data, licensee) {
      const millis = clock.wallMillis();
      const body = JSON.stringify({ type: event, timestamp: formatInstant(Math.floor(millis / 1000)), data });
      for (const webhook of await listAll(tables.webhooks, { where: { disabled: false } })) {
        if (!isFor(webhook, event, licensee)) continue;
        const delivery = compose(createRecordId(millis, random), webhook.id, event, body, Math.floor(millis / 1000));
        await insert(tables, delivery);
      }
    },
    wake: onWake,
  };
}

/** What concerns one ISP is told to that ISP and to the regulator, not to others. */
function isFor({ events, licensee: own }: WebhookRecord, event: EventKind, licensee: string | undefined): boolean {
  return events.includes(event) && (own === null || licensee === undefined || own === licensee);
}

function compose(id: string, webhookId: string, event: string, body: string, nowSeconds: number): DeliveryRecord {
  return {
    ...{ id, webhookId, event, body, state: 'waiting', attempts: 0 },
    ...{ nextAttemptSeconds: nowSeconds, lastStatus: null, lastError: null, createdSeconds: nowSeconds },
  };
}

async function insert(tables: Tables, delivery: DeliveryRecord): Promise<void> {
  const { webhookId } = delivery;
  if ((await tables.deliveries.count({ webhookId, state: 'waiting' })) < MAX_WAITING) {
    return tables.deliveries.insert(delivery);
  }
  if ((await tables.deliveries.count({ webhookId })) >= MAX_KEPT) return;
  await tables.deliveries.insert({ ...delivery, state: 'dead', lastError: 'too many deliveries were waiting' });
}
