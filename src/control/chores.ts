import { eraseOldContacts } from './appeals/erasure.ts';
import { ReceiptCheck } from './effect/receipt-check.ts';
import type { MissedReceipts } from './effect/receipt-rows.ts';
import { tellStaleNodes } from './effect/stale-nodes.ts';
import { IDEMPOTENCY_SECONDS } from './http/idempotency.ts';
import { lookForReminders } from './reviews/reminders.ts';
import type { ControlServices } from './services.ts';

/** Answers forgotten at a time. */
const BATCH = 1000;

/** What chores work with besides the services. */
export interface ChoreTools {
  readonly receipts: MissedReceipts;
}

/**
 * Returns what is done every minute by the process that has the sequencer. Each chore is by itself: one that fails is told
 * and keeps none of the others from being done.
 */
export function createChores(services: ControlServices, { receipts }: ChoreTools): () => Promise<void> {
  const { store, clock, register } = services;
  const check = new ReceiptCheck(store, register);
  const chores: ((nowSeconds: number) => Promise<unknown>)[] = [
    async () => services.nodes?.changed(),
    (nowSeconds) => store.transaction((tables) => lookForReminders(tables, services, nowSeconds)),
    (nowSeconds) => store.transaction((tables) => tellStaleNodes(tables, services, nowSeconds)),
    (nowSeconds) => store.transaction((tables) => eraseOldContacts(tables, nowSeconds)),
    (nowSeconds) => forgetAnswers(services, nowSeconds - IDEMPOTENCY_SECONDS),
    () => receipts.look(),
    (nowSeconds) => check.judgeSome(nowSeconds),
  ];
  return async () => {
    const faults: unknown[] = [];
    for (const chore of chores) {
      await chore(Math.floor(clock.wallMillis() / 1000)).catch((error) => faults.push(error));
    }
    services.events.wake();
    if (faults.length > 0) throw faults.length === 1 ? faults[0] : new AggregateError(faults, 'several chores failed');
  };
}

/** Forgets answers that nobody asks for again. */
async function forgetAnswers({ store }: ControlServices, beforeSeconds: number): Promise<void> {
  await store.transaction(async ({ idempotency }) => {
    const old = await idempotency.list({ where: { createdSeconds: { before: beforeSeconds } }, limit: BATCH });
    for (const { id } of old) await idempotency.remove(id);
  });
}
