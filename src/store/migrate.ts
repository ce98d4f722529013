import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import { WartaError } from '../base/errors.ts';
import type { Engine } from './engine.ts';
import { addFirstTables } from './migrations/0001-first-tables.ts';
import { addReceiptPages } from './migrations/0002-receipt-pages.ts';
import type { SchemaChange } from './migrations/schema.ts';
import { waitWhileBusy } from './sqlite-wait.ts';
import type { Database } from './table.ts';

/** Every step from an empty database to the tables of this program, in order. A step that was released never changes. */
const STEPS: Record<string, (change: SchemaChange) => Promise<void>> = {
  '0001-first-tables': addFirstTables,
  '0002-receipt-pages': addReceiptPages,
};

const NAMES = Object.keys(STEPS).sort();
/** The step that a database must have come to for this program. */
export const CURRENT_SCHEMA = NAMES.at(-1)!;

/** Kysely's own table of the steps that were taken. */
const STEPS_TABLE = 'kysely_migration';

/** The last step that the database has taken, or `undefined` for one without Warta's tables. */
export async function readSchema(db: Kysely<Database>): Promise<string | undefined> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some(({ name }) => name === STEPS_TABLE)) return undefined;
  const { rows } = await sql<{ last: string | null }>`select max(name) as last from ${sql.table(STEPS_TABLE)}`.execute(
    db,
  );
  return rows[0]?.last ?? undefined;
}

/**
 * Brings the database to the tables of this program, or to an older step that it has not yet reached. Programs that start
 * at once wait for each other. All steps are taken in one transaction.
 *
 * @throws {WartaError} `store-failed` when a newer program has worked with it; nothing is changed then.
 */
export async function migrate({ writer, name: engine }: Engine, schema = CURRENT_SCHEMA): Promise<void> {
  const present = await waitWhileBusy(() => readSchema(writer));
  requireKnownSchema(present);
  if (present !== undefined && present >= schema) return;
  const migrations: Record<string, Migration> = Object.fromEntries(
    Object.entries(STEPS).map(([name, up]) => [name, { up: (db: Kysely<unknown>) => up({ db, engine }) }]),
  );
  const migrator = new Migrator({ db: writer, provider: { getMigrations: async () => migrations } });
  await waitWhileBusy(async () => {
    const { error } = await (schema === CURRENT_SCHEMA ? migrator.migrateToLatest() : migrator.migrateTo(schema));
    if (error !== undefined) throw error;
  });
}

/** @throws {WartaError} `store-failed` for a step that only a newer program knows. */
export function requireKnownSchema(schema: string | undefined): void {
  if (schema === undefined || NAMES.includes(schema)) return;
  throw new WartaError(
    'store-failed',
    `the database is at ${schema}, this program knows it up to ${CURRENT_SCHEMA}: run the newer program that made it so`,
  );
}
