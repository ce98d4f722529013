import { Kysely, PostgresDialect, sql } from 'kysely';
import { Pool, type PoolConfig } from 'pg';
import type { Engine } from './engine.ts';
import { takePostgresLock } from './postgres-lock.ts';
import { isSerializationFailure } from './store-error.ts';
import type { Database } from './table.ts';

/** Connections that read, at most, in each process. PostgreSQL allows a hundred in all unless told otherwise. */
const READERS = 8;

/** Longest a connection may take to come about, a statement, the wait for another's pen, and a transaction's idle moments. */
const CONNECT_MILLIS = 10_000;
const STATEMENT_MILLIS = 40_000;
const LOCK_MILLIS = 20_000;
const IDLE_MILLIS = 60_000;
/** When the network is gone, no server ends a statement: then this does. */
const ANSWER_MILLIS = STATEMENT_MILLIS + 5_000;

/** PostgreSQL, which any number of processes may share. Each has one connection that writes and some that read. */
export class PostgresEngine implements Engine {
  readonly name = 'postgresql';
  readonly writer: Kysely<Database>;
  readonly #reader: Kysely<Database>;
  readonly #connectionString: string;

  /** TLS is what the URL's own parameters say, such as `sslmode=verify-full&sslrootcert=/etc/ssl/pg.pem`. */
  constructor(connectionString: string) {
    this.#connectionString = connectionString;
    this.writer = openPool({ connectionString, max: 1 });
    this.#reader = openPool({ connectionString, max: READERS });
  }

  /**
   * All who write wait for a lock on a table of no rows before their first look at the data. Each would otherwise read the
   * end of the audit trail at the same time, and all but one be told to begin again.
   */
  write<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    return this.writer
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (db) => {
        await sql`lock table pen in exclusive mode`.execute(db); // takes no snapshot, unlike any function that locks
        return work(db);
      });
  }

  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    return this.#reader.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work);
  }

  isTransient(error: unknown): boolean {
    return isSerializationFailure(error);
  }

  lock(name: string, onLost?: () => void): Promise<(() => Promise<void>) | undefined> {
    return takePostgresLock({ connectionString: this.#connectionString, keepAlive: true }, name, onLost);
  }

  async close(): Promise<void> {
    await Promise.all([this.#reader.destroy(), this.writer.destroy()]);
  }
}

function openPool(config: PoolConfig): Kysely<Database> {
  const pool = new Pool({
    fallback_application_name: 'warta',
    connectionTimeoutMillis: CONNECT_MILLIS,
    statement_timeout: STATEMENT_MILLIS,
    lock_timeout: LOCK_MILLIS,
    idle_in_transaction_session_timeout: IDLE_MILLIS,
    query_timeout: ANSWER_MILLIS,
    keepAlive: true,
    ...config,
  });
  // A connection that breaks is told to whoever uses it by the failed query; these would end the process.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return new Kysely({ dialect: new PostgresDialect({ pool }) });
}
