import { accessSync, closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Kysely } from 'kysely';
import type { Engine } from './engine.ts';
import { NodeSqliteDialect } from './sqlite-dialect.ts';
import { waitWhileBusy } from './sqlite-wait.ts';
import { isBusy } from './store-error.ts';
import type { Database } from './table.ts';

/** Connections that read, at most: with each a long list or a slow reader can be under way. */
const READERS = 4;
/** SQLite's own waiting, for the moment in which another process puts the log in order. Reading waits for nothing else. */
const BUSY_MILLIS = 1000;
const PRIVATE_MODE = 0o600;

/** A connection that reads, and how much is waiting for it. */
interface Reader {
  readonly db: Kysely<Database>;
  tasks: number;
}

/**
 * SQLite in one file, readable by its owner alone. One connection writes; others read in WAL mode without waiting for it.
 * Several processes may use the file: they take turns.
 */
export class SqliteEngine implements Engine {
  readonly name = 'sqlite';
  readonly writer: Kysely<Database>;
  readonly #path: string;
  readonly #readers: Reader[] = [];

  private constructor(path: string, database: DatabaseSync) {
    this.#path = path;
    this.writer = new Kysely({ dialect: new NodeSqliteDialect(database, { writes: true }) });
  }

  /** Opens the file; with `create` it is made when it is not there. */
  static async open(path: string, { create }: { create: boolean }): Promise<SqliteEngine> {
    if (create) mkdirSync(dirname(path), { recursive: true });
    if (create) createPrivately(path);
    else accessSync(path, constants.R_OK | constants.W_OK);
    const database = new DatabaseSync(path, { timeout: 0, enableForeignKeyConstraints: true });
    try {
      // A transaction that was acknowledged survives a power cut only with FULL.
      const settings = 'pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off;';
      await waitWhileBusy(() => database.exec(settings));
    } catch (error) {
      database.close();
      throw error;
    }
    return new SqliteEngine(path, database);
  }

  /** Lets the process do other things after each: SQLite never waits, and one transaction after another would leave no gap. */
  async write<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    try {
      return await this.writer.transaction().execute(work);
    } finally {
      await nextTurn();
    }
  }

  async read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    const reader = this.#pickReader();
    reader.tasks++;
    try {
      return await reader.db.transaction().execute(work);
    } finally {
      reader.tasks--;
    }
  }

  /** The least busy connection, or a new one while all are busy. Kysely queues what waits for one. */
  #pickReader(): Reader {
    const idlest = this.#readers.toSorted((a, b) => a.tasks - b.tasks)[0];
    if (idlest !== undefined && (idlest.tasks === 0 || this.#readers.length === READERS)) return idlest;
    const database = new DatabaseSync(this.#path, { timeout: BUSY_MILLIS, readOnly: true });
    const reader = {
      db: new Kysely<Database>({ dialect: new NodeSqliteDialect(database, { writes: false }) }),
      tasks: 0,
    };
    this.#readers.push(reader);
    return reader;
  }

  isTransient(): boolean {
    return false;
  }

  /** The lock is SQLite's on a small file of its own, which the kernel releases when the process ends in whatever way. */
  async lock(name: string): Promise<(() => Promise<void>) | undefined> {
    const path = `${this.#path}.${name}.lock`;
    createPrivately(path);
    const database = new DatabaseSync(path, { timeout: 0 });
    try {
      database.exec('begin exclusive');
    } catch (error) {
      database.close();
      if (isBusy((error as { errcode?: number }).errcode)) return undefined;
      throw error;
    }
    return async () => {
      if (database.isOpen) database.close();
    };
  }

  async close(): Promise<void> {
    for (const { db } of this.#readers) await db.destroy();
    await this.writer.destroy(); // last, so that it can write the log back into the file
  }
}

/**
 * Makes a file for its owner alone, unless it is there; SQLite gives those beside it the same mode. One that is there is not
 * opened: closing it again would free every lock that this process has on it (POSIX, fcntl).
 */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'ax', PRIVATE_MODE));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
