import type { Kysely } from 'kysely';
import { toStoreError } from './store-error.ts';
import type { Database } from './table.ts';

/**
 * The queries of one transaction, one after another, on its connection. The first that the engine refuses ends the
 * transaction on both engines, even when whoever asked does not mind: PostgreSQL would refuse all that follow.
 */
export class Session {
  readonly #db: Kysely<Database>;
  #last: Promise<unknown> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(db: Kysely<Database>) {
    this.#db = db;
  }

  /** What the engine refused first, if anything. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#failure;
  }

  /** @throws {WartaError} `conflict`, `store-failed`. */
  run<T>(query: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    const result = this.#last.then(() => query(this.#db)).catch((error) => this.#fail(error));
    this.#last = result.catch(() => {});
    return result;
  }

  /** Resolves when every query asked for has been answered. */
  async settle(): Promise<void> {
    await this.#last;
  }

  #fail(error: unknown): never {
    this.#failure ??= { error };
    throw toStoreError(error);
  }
}
