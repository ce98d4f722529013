import type { Kysely } from 'kysely';
import { WartaError } from '../base/errors.ts';
import { type AuditHead, walkAuditTrail } from './audit-trail.ts';
import { type BackupItem, type BackupRow, packCell, readBackup, unpackCell, writeBackup } from './backup-file.ts';
import { CURRENT_SCHEMA, migrate, readSchema, requireKnownSchema } from './migrate.ts';
import { openEngine } from './open-store.ts';
import { Session } from './session.ts';
import { toStoreError } from './store-error.ts';
import type { Column, Database, Row, Table } from './table.ts';
import { openTables, TABLES } from './tables.ts';

/** Rows that are read at a time; few where each may hold a whole annex. */
const PAGE_ROWS = 500;
const PAGE_ROWS_WITH_BYTES = 8;

/** Rows and bytes that are inserted in one statement, at most. SQLite takes 32,766 values. */
const BATCH_ROWS = 200;
const BATCH_BYTES = 4 << 20;

/** What a backup holds. */
export interface BackupSummary {
  readonly rows: number;
  /** The end of its trail of changes. Note it elsewhere: it proves a later trail to be the continuation of this one. */
  readonly auditHead: AuditHead;
}

/**
 * Writes the whole database as of one moment to `file`, while others go on working with it. The file suits both engines.
 * It is written beside and renamed, so that an older file of that name is replaced by a whole one.
 *
 * @throws {WartaError} `store-failed`: no database there, not of this program's version, trail of changes not sound (a
 * backup that could not be restored), disk full.
 */
export async function backupStore(target: string, file: string): Promise<BackupSummary> {
  const engine = await openEngine(target, { create: false });
  try {
    return await engine.read(async (db) => {
      requireCurrentSchema(await readSchema(db));
      const auditHead = await requireSoundTrail(db);
      return { rows: await writeBackup(file, CURRENT_SCHEMA, readTables(db)), auditHead };
    });
  } catch (error) {
    throw toStoreError(error);
  } finally {
    await engine.close();
  }
}

/**
 * Fills an empty database, of either engine, from a backup, and then brings its tables up to date. Everything is restored
 * or nothing.
 *
 * @throws {WartaError} `store-failed`: database not empty, backup damaged or of a newer program, trail of changes not sound.
 */
export async function restoreStore(target: string, file: string): Promise<BackupSummary> {
  const { head, items } = await readBackup(file);
  requireKnownSchema(head.schema);
  const engine = await openEngine(target);
  try {
    const present = await readSchema(engine.writer);
    if (present !== undefined && present !== head.schema) throw notEmpty();
    await migrate(engine, head.schema);
    const summary = await engine.write(async (db) => {
      await requireEmpty(db);
      const rows = await insertItems(db, items);
      return { rows, auditHead: await requireSoundTrail(db) };
    });
    await migrate(engine);
    return summary;
  } catch (error) {
    throw toStoreError(error);
  } finally {
    await items.return();
    await engine.close();
  }
}

function requireCurrentSchema(schema: string | undefined): void {
  requireKnownSchema(schema);
  if (schema === CURRENT_SCHEMA) return;
  if (schema === undefined)
    throw new WartaError('store-failed', 'the database holds nothing of Warta: check its address');
  throw new WartaError(
    'store-failed',
    `the database is at ${schema}: back it up with the program that made it, or let this one open it first`,
  );
}

async function requireSoundTrail(db: Kysely<Database>): Promise<AuditHead> {
  const verdict = await walkAuditTrail(openTables(new Session(db)).audit);
  if (verdict.isSound) return verdict.head;
  throw new WartaError(
    'store-failed',
    `entry ${verdict.sequence} of the trail of changes was tampered with (${verdict.fault}): find out who did it, and keep a copy by the database's own means`,
  );
}

/** All tables' rows, each table by its key, so that the same content always makes the same backup. */
async function* readTables(db: Kysely<Database>): AsyncGenerator<BackupItem> {
  for (const table of Object.values<Pick<Table<unknown>, 'name' | 'columns'>>(TABLES)) {
    const { columns } = table;
    yield { table: table.name, columns: columns.map(({ name, kind }) => [name, kind]) };
    const key = columns[0]!.name;
    const limit = columns.some(({ kind }) => kind === 'bytes') ? PAGE_ROWS_WITH_BYTES : PAGE_ROWS;
    for (let last: Row | undefined; ; ) {
      let query = db.selectFrom(table.name).selectAll().orderBy(key).limit(limit);
      if (last !== undefined) query = query.where(key, '>', last[key]!);
      const page = await query.execute();
      for (const row of page) yield columns.map(({ name, kind }) => packCell(kind, row[name]!));
      last = page.at(-1);
      if (page.length < limit) break;
    }
  }
}

/** Inserts what a backup holds, in its order. Tables and columns are those of its own schema, which this program may not have. */
async function insertItems(db: Kysely<Database>, items: AsyncIterable<BackupItem>): Promise<number> {
  let table = '';
  let columns: readonly (readonly [string, Column['kind']])[] = [];
  let batch: Row[] = [];
  let batchBytes = 0;
  let rows = 0;
  const flush = async () => {
    if (batch.length > 0) await db.insertInto(table).values(batch).execute();
    rows += batch.length;
    batch = [];
    batchBytes = 0;
  };
  for await (const item of items) {
    if ('table' in item) {
      await flush();
      ({ table, columns } = item);
      continue;
    }
    batch.push(Object.fromEntries(columns.map(([name, kind], index) => [name, unpackCell(kind, item[index]!)])));
    batchBytes += measure(item);
    if (batch.length === BATCH_ROWS || batchBytes > BATCH_BYTES) await flush();
  }
  await flush();
  return rows;
}

function measure(row: BackupRow): number {
  return row.reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 8), 0);
}

/** @throws {WartaError} `store-failed` when any table has a row. */
async function requireEmpty(db: Kysely<Database>): Promise<void> {
  const present = new Set((await db.introspection.getTables()).map(({ name }) => name));
  for (const { name } of Object.values(TABLES)) {
    if (!present.has(name)) continue;
    if ((await db.selectFrom(name).selectAll().limit(1).executeTakeFirst()) !== undefined) throw notEmpty();
  }
}

function notEmpty(): WartaError {
  return new WartaError('store-failed', 'the database is in use already: restore into a new one');
}
