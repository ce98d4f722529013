import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import {
  type DatabaseConnection,
  type Dialect,
  type Kysely,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { waitWhileBusy } from './sqlite-wait.ts';

/** Compiled statements that are kept; the program has a few dozen, and lists with odd bounds some more. */
const KEPT_STATEMENTS = 300;

/** Kysely's SQLite dialect on Node's own SQLite. A transaction takes the pen at its beginning, unless it only reads. */
export class NodeSqliteDialect implements Dialect {
  readonly #database: DatabaseSync;
  readonly #writes: boolean;

  constructor(database: DatabaseSync, { writes }: { writes: boolean }) {
    this.#database = database;
    this.#writes = writes;
  }

  createDriver(): SqliteDriver {
    return new NodeSqliteDriver(this.#database, this.#writes);
  }

  createQueryCompiler(): SqliteQueryCompiler {
    return new SqliteQueryCompiler();
  }

  createAdapter(): SqliteAdapter {
    return new TransactionalSqliteAdapter();
  }

  createIntrospector(db: Kysely<unknown>): SqliteIntrospector {
    return new SqliteIntrospector(db);
  }
}

/** Makes migrations run within a transaction, which SQLite can do, so that half of one is never seen. */
class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class NodeSqliteDriver extends SqliteDriver {
  readonly #database: DatabaseSync;
  readonly #writes: boolean;

  constructor(database: DatabaseSync, writes: boolean) {
    super({ database: adaptDatabase(database) });
    this.#database = database;
    this.#writes = writes;
  }

  override async beginTransaction(_connection: DatabaseConnection): Promise<void> {
    if (!this.#writes) return this.#database.exec('begin');
    await waitWhileBusy(() => this.#database.exec('begin immediate'));
  }

  /** A full disk can make SQLite roll back by itself; rolling back once more would hide why. */
  override async rollbackTransaction(_connection: DatabaseConnection): Promise<void> {
    if (this.#database.isTransaction) this.#database.exec('rollback');
  }
}

/** Shows a database of node:sqlite as what Kysely's driver expects, and keeps compiled statements. */
function adaptDatabase(database: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, ReturnType<typeof adaptStatement>>();
  return {
    close() {
      statements.clear();
      database.close();
    },
    prepare(text) {
      let statement = statements.get(text);
      if (statement === undefined) {
        if (statements.size >= KEPT_STATEMENTS) statements.clear();
        statement = adaptStatement(database.prepare(text));
        statements.set(text, statement);
      }
      return statement;
    },
  };
}

function adaptStatement(statement: StatementSync) {
  const values = (parameters: readonly unknown[]) => parameters as readonly SQLInputValue[];
  return {
    reader: statement.columns().length > 0,
    all: (parameters: readonly unknown[]) => statement.all(...values(parameters)),
    run: (parameters: readonly unknown[]) => statement.run(...values(parameters)),
    iterate: (parameters: readonly unknown[]) => statement.iterate(...values(parameters)),
  };
}
