import type { Kysely } from 'kysely';
import type { Store } from '../control/store.ts';
import type { Database } from './table.ts';

/** What differs between SQLite and PostgreSQL. Errors are the engine's own. */
export interface Engine {
  readonly name: Store['engine'];
  /** The connection that writes; for migrations. */
  readonly writer: Kysely<Database>;
  /**
   * Runs `work` in one transaction that may change anything and has the database's only pen: no other, of whatever
   * process, writes until it ends. To be called by one at a time.
   */
  write<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  /** Runs `work` on one snapshot, next to whoever writes. Changes are refused. */
  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  /** Whether a transaction failed only because of another, so that it is to be run again. */
  isTransient(error: unknown): boolean;
  lock: Store['lock'];
  close(): Promise<void>;
}
