import type { Clock } from '../../base/clock.ts';
import { describeError, type ErrorCode, WartaError } from '../../base/errors.ts';
import { hashRecord } from '../http/route.ts';
import type { EventSink, PublicationSink } from '../services.ts';
import type { DraftRecord, PublicationRecord, Store, Tables } from '../store.ts';
import type { Appended, RegisterPublisher } from './register-publisher.ts';

/** What a queue works with. */
export interface PublicationQueueOptions {
  readonly store: Store;
  readonly publisher: Pick<RegisterPublisher, 'submit' | 'find'>;
  readonly events: EventSink;
  readonly clock: Clock;
  /** Told of what fails and is tried again. */
  readonly onFault?: (error: unknown) => void;
}

/** How often the queue looks for what other processes put in. */
const LOOK_MILLIS = 250;

/** Publications taken at a time. */
const BATCH = 16;

/** A publication that failed waits twice as long after each attempt, up to this. */
const MAX_WAIT_SECONDS = 60;

/** A refusal that passes by itself: the clock of the process that had the sequencer before was ahead of this one's. */
const PASSING: ErrorCode = 'statement-backdated';

/** Who the audit trail names for what the sequencer did. */
const SEQUENCER = 'sequencer';

/**
 * Takes what is queued to the log, in the one process that has the sequencer. A publication is in the database before it is
 * acknowledged, and the log takes each statement once, so a process that dies at any instant leaves work that the next one
 * finishes: what the log has already is found there and marked so.
 */
export class PublicationQueue implements PublicationSink {
  readonly #options: PublicationQueueOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #started = false;
  #stopping = false;

  constructor(options: PublicationQueueOptions) {
    this.#options = options;
  }

  /** Begins to look for work. Once stopped it stays so. */
  start(): void {
    this.#started = true;
    this.wake();
  }

  wake(): void {
    if (!this.#started || this.#stopping) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#running = this.#run();
  }

  /** Ends after the publication under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    do {
      this.#again = false;
      try {
        await this.drain();
      } catch (error) {
        this.#options.onFault?.(error);
      }
    } while (this.#again && !this.#stopping);
    this.#running = undefined;
    if (!this.#stopping) this.#timer = setTimeout(() => this.wake(), LOOK_MILLIS);
  }

  /** Publishes everything that is due; for whoever does not `start` it. */
  async drain(): Promise<void> {
    const { store } = this.#options;
    for (;;) {
      const nowSeconds = this.#nowSeconds();
      const due = await store.read(({ publications }) =>
        publications.list({
          where: { state: 'queued', nextAttemptSeconds: { before: nowSeconds + 1 } },
          orderBy: 'queuedSeconds',
          limit: BATCH,
        }),
      );
      for (const publication of due) {
        if (this.#stopping) return;
        await this.#publish(publication);
      }
      if (due.length < BATCH) return;
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.#options.clock.wallMillis() / 1000);
  }

  async #publish(publication: PublicationRecord): Promise<void> {
    const { store, publisher, onFault } = this.#options;
    try {
      const annex = await store.read(({ annexes }) =>
        publication.annexDigest === null ? Promise.resolve(undefined) : annexes.get(publication.annexDigest),
      );
      await this.#settle(publication, await append(publisher, publication, annex?.bytes));
    } catch (error) {
      if (!(error instanceof WartaError) || error.code === PASSING || !/^(statement|annex)-/.test(error.code)) {
        onFault?.(error);
        await this.#postpone(publication);
        return;
      }
      await this.#refuse(publication, { code: error.code, message: describeError(error) });
    }
  }

  /** Records where the statement is. */
  #settle({ id, draftId }: PublicationRecord, { index, integratedAtSeconds }: Appended): Promise<void> {
    const { store, events } = this.#options;
    return store.transaction(async (tables) => {
      const changes = { state: 'published', leafIndex: index, integratedSeconds: integratedAtSeconds } as const;
      const draft = await this.#move(tables, draftId, changes, null);
      await tables.publications.update(id, { state: 'published' });
      const { type, authority, reference } = draft;
      await events.emit(tables, 'statement.published', { id, index, type, authority, reference });
    });
  }

  /** Records that the log will not have the statement. The draft can be returned and mended. */
  #refuse({ id, draftId }: PublicationRecord, refusal: { code: string; message: string }): Promise<void> {
    return this.#options.store.transaction(async (tables) => {
      await this.#move(tables, draftId, { state: 'refused', refusal }, refusal.code);
      await tables.publications.remove(id);
    });
  }

  #postpone({ id, attempts }: PublicationRecord): Promise<void> {
    const waitSeconds = Math.min(MAX_WAIT_SECONDS, 2 ** Math.min(attempts, 10));
    const nextAttemptSeconds = this.#nowSeconds() + waitSeconds;
    return this.#options.store.transaction(async ({ publications }) => {
      await publications.update(id, { attempts: attempts + 1, nextAttemptSeconds });
    });
  }

  /** Changes a draft and leaves a trace in the audit trail. */
  async #move(tables: Tables, id: string, changes: Partial<DraftRecord>, reason: string | null): Promise<DraftRecord> {
    const atSeconds = this.#nowSeconds();
    const before = await tables.drafts.get(id);
    const after = await tables.drafts.update(id, { ...changes, updatedSeconds: atSeconds });
    await tables.audit.append({
      atSeconds,
      actor: SEQUENCER,
      role: SEQUENCER,
      action: `draft ${changes.state}`,
      subject: `drafts/${id}`,
      reason,
      beforeHash: hashRecord(before),
      afterHash: hashRecord(after),
    });
    return after;
  }
}

/** Appends a statement, or finds it where an attempt before left it. */
async function append(
  publisher: PublicationQueueOptions['publisher'],
  { id, envelope }: PublicationRecord,
  annex: Uint8Array | undefined,
): Promise<Appended> {
  try {
    return await publisher.submit(envelope, async () => annex);
  } catch (error) {
    const isThere = error instanceof WartaError && error.code === 'statement-replayed';
    const place = isThere ? await publisher.find(id) : undefined;
    if (place === undefined) throw error;
    return place;
  }
}
