import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { WartaError } from '../base/errors.ts';
import type { Store, Tables } from '../control/store.ts';
import type { Engine } from './engine.ts';
import { Session } from './session.ts';
import { toStoreError } from './store-error.ts';
import type { Database } from './table.ts';
import { openTables } from './tables.ts';
import { TurnQueue } from './turn-queue.ts';

/** How often a transaction is run that others keep making fail. Few can: who writes takes turns. */
const ATTEMPTS = 8;
const BACKOFF_MILLIS = 10;

/** What locks may be called: it becomes part of a file's name. */
const LOCK_NAME = /^[a-z0-9][a-z0-9-]{0,39}$/;

type Work<T> = (tables: Tables) => Promise<T>;

/** What the running code is within; it has no tables any more when it outlived that. */
interface Surroundings {
  readonly isTransaction: boolean;
  tables: Tables | undefined;
}

/** The store on either engine. */
export class KyselyStore implements Store {
  readonly #engine: Engine;
  readonly #turns = new TurnQueue();
  readonly #reads = new Set<Promise<unknown>>();
  readonly #surroundings = new AsyncLocalStorage<Surroundings>();
  #closed: Promise<void> | undefined;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get engine(): Store['engine'] {
    return this.#engine.name;
  }

  async transaction<T>(work: Work<T>): Promise<T> {
    if (this.#surroundings.getStore()?.isTransaction && this.#surroundings.getStore()?.tables !== undefined) {
      throw new Error('a transaction within a transaction would wait for itself for ever');
    }
    this.#requireOpen();
    return this.#turns.run(async () => {
      for (let attempt = 1; ; attempt++) {
        const run = new Run(work);
        try {
          return await this.#engine.write((db) => this.#perform(run, db, true));
        } catch (error) {
          if (attempt === ATTEMPTS || !this.#engine.isTransient(run.failure ?? error)) throw run.explain(error);
          await sleep(BACKOFF_MILLIS * attempt);
        }
      }
    });
  }

  /** Within a transaction or another read, it looks at what that sees. */
  async read<T>(work: Work<T>): Promise<T> {
    const around = this.#surroundings.getStore()?.tables;
    if (around !== undefined) return work(around);
    this.#requireOpen();
    const run = new Run(work);
    const result = this.#engine.read((db) => this.#perform(run, db, false));
    this.#reads.add(result);
    try {
      return await result;
    } catch (error) {
      throw run.explain(error);
    } finally {
      this.#reads.delete(result);
    }
  }

  async lock(name: string, onLost?: () => void): Promise<(() => Promise<void>) | undefined> {
    if (!LOCK_NAME.test(name)) throw new Error(`${name} is no name of a lock`);
    this.#requireOpen();
    try {
      return await this.#engine.lock(name, onLost);
    } catch (error) {
      throw toStoreError(error);
    }
  }

  /** Lets what is under way end; nothing new is taken on. Locks stay with whoever took them. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#turns.run(async () => {});
    await Promise.allSettled(this.#reads);
    await this.#engine.close();
  }

  #perform<T>(run: Run<T>, db: Kysely<Database>, isTransaction: boolean): Promise<T> {
    const session = new Session(db);
    const surroundings: Surroundings = { isTransaction, tables: openTables(session) };
    return this.#surroundings.run(surroundings, async () => {
      try {
        return await run.perform(session, surroundings.tables!);
      } finally {
        surroundings.tables = undefined;
      }
    });
  }

  #requireOpen(): void {
    if (this.#closed !== undefined)
      throw new WartaError('store-failed', 'the database was closed: the program is ending');
  }
}

/** One try of a piece of work: tells what it threw itself from what the engine did. */
class Run<T> {
  readonly #work: Work<T>;
  #thrown: { readonly error: unknown } | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(work: Work<T>) {
    this.#work = work;
  }

  /** The engine's first refusal of a query. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  async perform(session: Session, tables: Tables): Promise<T> {
    let result: T | undefined;
    try {
      result = await this.#work(tables);
    } catch (error) {
      this.#thrown = { error };
    }
    await session.settle();
    this.#failure = session.failure;
    if (this.#thrown !== undefined) throw this.#thrown.error;
    if (this.#failure !== undefined) throw this.#failure.error; // the work did not mind, but some of it is undone
    return result as T;
  }

  /** What to say of a try that failed: the work's own error, or what the engine's means. */
  explain(error: unknown): unknown {
    return this.#thrown === undefined ? toStoreError(error) : this.#thrown.error;
  }
}
