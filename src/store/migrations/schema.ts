import { type ColumnDataType, type Expression, type Kysely, sql } from 'kysely';
import type { Store } from '../../control/store.ts';

/** What migrations say of a column: its type, and whether it may be null. */
export type ColumnType = 'text' | 'integer' | 'boolean' | 'bytes';

// Text is ordered by its bytes on both engines; PostgreSQL would follow the language of whoever made the database.
const TYPES: Record<Store['engine'], Record<ColumnType, ColumnDataType | Expression<unknown>>> = {
  sqlite: { text: 'text', integer: 'integer', boolean: 'integer', bytes: 'blob' },
  postgresql: { text: sql`text collate "C"`, integer: 'bigint', boolean: 'boolean', bytes: 'bytea' },
};

/** What a migration works with. */
export interface SchemaChange {
  readonly db: Kysely<unknown>;
  readonly engine: Store['engine'];
}

/**
 * Makes a table whose first column is its primary key. A column of type `text?` may be null, `text!` is unique. `references`
 * names the table to whose `id` a column refers; records go with the one they refer to. SQLite's tables are STRICT: they
 * refuse values of another type, as PostgreSQL does.
 */
export async function createTable(
  { db, engine }: SchemaChange,
  name: string,
  columns: Record<string, `${ColumnType}${'' | '?' | '!' | '?!'}`>,
  references: Record<string, string> = {},
): Promise<void> {
  let table = db.schema.createTable(name);
  for (const [index, [column, type]] of Object.entries(columns).entries()) {
    table = table.addColumn(column, TYPES[engine][type.replace(/[?!]/g, '') as ColumnType], (definition) => {
      if (index === 0) return definition.notNull().primaryKey();
      let constrained = type.includes('?') ? definition : definition.notNull();
      if (type.includes('!')) constrained = constrained.unique();
      const target = references[column];
      return target === undefined ? constrained : constrained.references(`${target}.id`).onDelete('cascade');
    });
  }
  await (engine === 'sqlite' ? table.modifyEnd(sql`strict`) : table).execute();
}

/** Adds a column that may be null to a table; records that are there have none. */
export async function addColumn(
  { db, engine }: SchemaChange,
  table: string,
  column: string,
  type: ColumnType,
): Promise<void> {
  await db.schema.alterTable(table).addColumn(column, TYPES[engine][type]).execute();
}

/** Makes an index on some columns of a table. */
export async function createIndex({ db }: SchemaChange, table: string, ...columns: string[]): Promise<void> {
  await db.schema
    .createIndex(`${table}_by_${columns.join('_')}`)
    .on(table)
    .columns(columns)
    .execute();
}

/** Runs statements as they stand. */
export async function runStatements({ db }: SchemaChange, ...statements: string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
