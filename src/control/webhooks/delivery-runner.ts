import type { KeyObject } from 'node:crypto';
import { Agent, request } from 'undici';
import type { Clock } from '../../base/clock.ts';
import { describeError } from '../../base/errors.ts';
import { DAY_SECONDS } from '../../register/time.ts';
import { hashRecord } from '../http/route.ts';
import { listAll } from '../nodes/list-all.ts';
import type { DeliveryRecord, Store, Tables, WebhookRecord } from '../store.ts';
import { composeWebhookHeaders } from './webhook-signature.ts';
import { createGuardedLookup, requireTarget, type TargetTerms } from './webhook-target.ts';

/** Attempts at one delivery; the last comes some two days after the first. */
export const MAX_ATTEMPTS = 10;

/** Wait after the first failure; it quadruples with each until it is the longest. */
const FIRST_WAIT_SECONDS = 10;
const LONGEST_WAIT_SECONDS = 12 * 3600;

/** How much longer, at random, a wait is at most: so that a receiver that comes back is not met by all at once. */
const JITTER = 0.25;

/** Deliveries under way together, and of these to one webhook: a slow one must not hold up the others. */
const PARALLEL = 8;
const PARALLEL_PER_WEBHOOK = 2;

/** Deliveries to one webhook in one go. */
const DUE_AT_ONCE = 20;

const TIMEOUT_MILLIS = 10_000;
const CONNECT_TIMEOUT_MILLIS = 5_000;
const POLL_MILLIS = 5_000;
const ERROR_MAX_LENGTH = 200;

/** How long settled deliveries are kept. */
const DELIVERED_KEPT_SECONDS = 7 * DAY_SECONDS;
const DEAD_KEPT_SECONDS = 30 * DAY_SECONDS;
const REMOVED_AT_ONCE = 200;

/** By which a receiver says that it wants no more. */
const GONE = 410;

/** What delivering needs. */
export interface DeliveryRunnerOptions {
  readonly store: Pick<Store, 'read' | 'transaction'>;
  readonly clock: Clock;
  readonly random: (sizeBytes: number) => Uint8Array;
  /** Signs deliveries. */
  readonly key: KeyObject;
  readonly terms: TargetTerms;
  /** Told how each attempt ended, for metrics. */
  readonly onAttempt?: (outcome: 'delivered' | 'failed' | 'dead') => void;
  readonly onFault?: (error: unknown) => void;
}

/** How an attempt ended. */
interface Attempt {
  readonly status: number | null;
  /** `null` when it was taken. */
  readonly error: string | null;
}

/**
 * Delivers events to webhooks. One process does, so that nothing is sent twice without need; after a crash what was under way
 * is sent again. A failure is tried again later and later; what fails to the end stays to be seen and sent again by hand. Of
 * answers only the status is looked at: nothing that a receiver says is stored.
 */
export class DeliveryRunner {
  readonly #options: DeliveryRunnerOptions;
  #agent: Agent | undefined;
  #timer: NodeJS.Timeout | undefined;
  #underWay: Promise<void> | undefined;
  #isDue = false;
  #isRunning = false;
  #isStopping = false;

  constructor(options: DeliveryRunnerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#isRunning = true;
    this.#isStopping = false;
    this.wake();
    this.#timer = setInterval(() => this.wake(), POLL_MILLIS);
  }

  /** Looks for deliveries that are due. */
  wake(): void {
    this.#isDue = true;
    if (!this.#isRunning) return;
    this.#underWay ??= this.#run();
  }

  /** Ends after the attempts under way. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#isStopping = true;
    clearInterval(this.#timer);
    await this.#underWay;
    await this.#agent?.destroy();
    this.#agent = undefined;
  }

  #connect(): Agent {
    this.#agent ??= new Agent({
      connect: { lookup: createGuardedLookup(this.#options.terms), timeout: CONNECT_TIMEOUT_MILLIS },
      connections: PARALLEL,
      pipelining: 1,
      keepAliveTimeout: 1000,
    });
    return this.#agent;
  }

  async #run(): Promise<void> {
    try {
      while (this.#isDue && this.#isRunning) {
        this.#isDue = false;
        while (this.#isRunning && (await this.deliverDue()) > 0);
      }
      if (this.#isRunning) await this.removeOld();
    } catch (error) {
      this.#options.onFault?.(error);
    } finally {
      this.#underWay = undefined;
    }
  }

  /**
   * Attempts what is due now and returns how many that were.
   *
   * @throws {WartaError} `store-failed`.
   */
  async deliverDue(): Promise<number> {
    const queues = await this.#options.store.read((tables) => listDue(tables, this.#nowSeconds()));
    let attempted = 0;
    const lanes = Math.min(PARALLEL, queues.length * PARALLEL_PER_WEBHOOK);
    await Promise.all(
      Array.from({ length: lanes }, async (_, lane) => {
        // Lanes begin at different webhooks, and each helps the next when its own has nothing left.
        for (let turn = 0; turn < queues.length; turn++) {
          const { webhook, due } = queues[(lane + turn) % queues.length];
          for (let next = due.shift(); next !== undefined && !this.#isStopping; next = due.shift()) {
            attempted++;
            const isTaken = await this.#deliver(next, webhook);
            // A receiver in trouble gets the rest later, and holds nobody up meanwhile.
            if (!isTaken) due.length = 0;
          }
        }
      }),
    );
    return attempted;
  }

  /** Attempts one delivery, writes down how that ended, and returns whether it was taken. */
  async #deliver(delivery: DeliveryRecord, webhook: WebhookRecord): Promise<boolean> {
    const attempt = webhook.disabled
      ? { status: null, error: 'the webhook is disabled' }
      : await this.#post(webhook, delivery);
    const changes = this.#judge(delivery, attempt, webhook.disabled, this.#nowSeconds());
    await this.#options.store.transaction(async (tables) => {
      if ((await tables.deliveries.get(delivery.id)) === undefined) return; // its webhook was deleted meanwhile
      await tables.deliveries.update(delivery.id, changes);
      if (attempt.status === GONE) await disable(tables, webhook, this.#nowSeconds());
    });
    this.#options.onAttempt?.(changes.state === 'waiting' ? 'failed' : changes.state);
    return attempt.error === null || webhook.disabled;
  }

  async #post(webhook: WebhookRecord, { id, body }: DeliveryRecord): Promise<Attempt> {
    const { key, terms } = this.#options;
    try {
      const target = requireTarget(webhook.url, terms);
      const answer = await request(target, {
        method: 'POST',
        headers: composeWebhookHeaders({ id, timestampSeconds: this.#nowSeconds(), body }, key),
        body,
        signal: AbortSignal.timeout(TIMEOUT_MILLIS),
        dispatcher: this.#connect(),
      });
      const { statusCode: status } = answer;
      answer.body.on('error', () => {});
      answer.body.destroy();
      return { status, error: status >= 200 && status < 300 ? null : `the receiver answered ${status}` };
    } catch (error) {
      return { status: null, error: describeFailure(error) };
    }
  }

  #judge(
    { attempts }: DeliveryRecord,
    { status, error }: Attempt,
    isDisabled: boolean,
    nowSeconds: number,
  ): Pick<DeliveryRecord, 'state' | 'attempts' | 'nextAttemptSeconds' | 'lastStatus' | 'lastError'> {
    const made = attempts + (isDisabled ? 0 : 1);
    const common = { attempts: made, lastStatus: status, lastError: error };
    if (error === null) return { ...common, state: 'delivered', nextAttemptSeconds: nowSeconds };
    const isDead = isDisabled || status === GONE || made >= MAX_ATTEMPTS;
    if (isDead) return { ...common, state: 'dead', nextAttemptSeconds: nowSeconds };
    return { ...common, state: 'waiting', nextAttemptSeconds: nowSeconds + this.#waitSeconds(made) };
  }

  #waitSeconds(attempts: number): number {
    const wait = Math.min(FIRST_WAIT_SECONDS * 4 ** (attempts - 1), LONGEST_WAIT_SECONDS);
    const share = Buffer.from(this.#options.random(2)).readUInt16BE() / 0xffff;
    return Math.round(wait * (1 + JITTER * share));
  }

  /**
   * Removes some deliveries that were settled long ago.
   *
   * @throws {WartaError} `store-failed`.
   */
  async removeOld(): Promise<void> {
    const nowSeconds = this.#nowSeconds();
    for (const [state, keptSeconds] of [
      ['delivered', DELIVERED_KEPT_SECONDS],
      ['dead', DEAD_KEPT_SECONDS],
    ] as const) {
      const where = { state, nextAttemptSeconds: { before: nowSeconds - keptSeconds } };
      const { store } = this.#options;
      const old = await store.read((tables) => tables.deliveries.list({ where, limit: REMOVED_AT_ONCE }));
      if (old.length === 0) continue;
      await store.transaction(async (tables) => {
        for (const { id } of old) await tables.deliveries.remove(id);
      });
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.#options.clock.wallMillis() / 1000);
  }
}

/** What is due for one webhook, longest due first. */
interface DueQueue {
  readonly webhook: WebhookRecord;
  readonly due: DeliveryRecord[];
}

/** Lists what is due, some of each webhook: one with many waiting leaves room for the others. */
async function listDue(tables: Tables, nowSeconds: number): Promise<DueQueue[]> {
  const where = { state: 'waiting', nextAttemptSeconds: { before: nowSeconds + 1 } } as const;
  if ((await tables.deliveries.list({ where, limit: 1 })).length === 0) return [];
  const queues: DueQueue[] = [];
  for (const webhook of await listAll(tables.webhooks)) {
    const own = { ...where, webhookId: webhook.id };
    const due = await tables.deliveries.list({ where: own, orderBy: 'nextAttemptSeconds', limit: DUE_AT_ONCE });
    if (due.length > 0) queues.push({ webhook, due });
  }
  return queues;
}

async function disable(tables: Tables, { id }: WebhookRecord, atSeconds: number): Promise<void> {
  const before = await tables.webhooks.get(id);
  if (before === undefined || before.disabled) return;
  const after = await tables.webhooks.update(id, { disabled: true });
  await tables.audit.append({
    ...{ atSeconds, actor: 'system', role: 'system', action: 'disable a webhook', subject: `webhooks/${id}` },
    ...{ reason: `its receiver answered ${GONE}`, beforeHash: hashRecord(before), afterHash: hashRecord(after) },
  });
}

/** Says why no answer came, without anything that the other side could have put into it. */
function describeFailure(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  if (error instanceof Error && error.name === 'TimeoutError') return 'no answer in time';
  const text = describeError(error);
  const told = text === '' && typeof code === 'string' ? code : text;
  return told.replace(/[^\x20-\x7e]/g, '?').slice(0, ERROR_MAX_LENGTH);
}
