import fc from 'fast-check';
import type { AuditEntry, Collection, LicenseeRecord, Store, Tables, UserRecord } from '../../src/control/store.ts';
import type { Column, Table } from '../../src/store/table.ts';
import { TABLES } from '../../src/store/tables.ts';

/** Any record, by the names of its fields. */
export type AnyRecord = { id: string } & Record<string, unknown>;

/** A table of records, whatever they are. */
export type TableName = Exclude<keyof Tables, 'audit'>;

/** Every table but the trail of changes. */
export const TABLE_NAMES = Object.keys(TABLES).filter((name) => name !== 'audit') as TableName[];

/** Returns a table's specification and its records without their types. */
export function anyTable(name: TableName): Table<AnyRecord> {
  return TABLES[name] as unknown as Table<AnyRecord>;
}
export function anyCollection(tables: Tables, name: TableName): Collection<AnyRecord> {
  return tables[name] as unknown as Collection<AnyRecord>;
}

/** Fields that refer to the record `PARENT` of another table. */
export const REFERENCES: Partial<Record<TableName, { field: string; table: TableName }>> = {
  tokens: { field: 'userId', table: 'users' },
  appealEvents: { field: 'appealId', table: 'appeals' },
  deliveries: { field: 'webhookId', table: 'webhooks' },
};
export const PARENT = 'parent';

/** Fields besides the id that no two records may share. */
export const UNIQUE: Partial<Record<TableName, string>> = { users: 'oidcSubject', tokens: 'hash' };

/** Text that engines are known to order, compare or store in their own ways. */
const TEXTS = ['', 'a', 'B', 'b', 'a b', 'ä', 'z', "it's", '%', '_', '\\', 'null', '\u{fffd}', '\u{10000}', '‮abc', '1'];
const INTEGERS = [0, 1, 2, 10, -1, 1_790_000_000, Number.MAX_SAFE_INTEGER];

/** Makes values of a column, few enough that records share them. */
export function arbitraryValue(column: Column): fc.Arbitrary<unknown> {
  const value = arbitraryContent(column);
  return column.isNullable ? fc.option(value, { nil: null, freq: 3 }) : value;
}

function arbitraryContent({ kind }: Column): fc.Arbitrary<unknown> {
  switch (kind) {
    case 'text':
      return fc.constantFrom(...TEXTS);
    case 'integer':
      return fc.constantFrom(...INTEGERS);
    case 'boolean':
      return fc.boolean();
    case 'bytes':
      return fc.uint8Array({ maxLength: 40 });
    case 'json':
      return fc.oneof(
        fc.array(fc.string({ unit: 'binary' }), { maxLength: 3 }),
        fc.dictionary(fc.string(), fc.constantFrom<unknown>(null, 1, -2.5, 'x\0y', '\u2028', [true]), {
          maxKeys: 3,
          noNullPrototype: true,
        }),
      );
  }
}

/** Makes records of a table. */
export function arbitraryRecord(name: TableName): fc.Arbitrary<AnyRecord> {
  const reference = REFERENCES[name]?.field;
  return fc.record(
    Object.fromEntries(
      anyTable(name).columns.map((column) => [
        column.key,
        column.key === reference
          ? fc.constant(PARENT)
          : column.key === 'version'
            ? fc.constant(1)
            : column.key === 'id'
              ? fc.oneof(fc.integer({ min: 0, max: 9 }).map(String), fc.constantFrom(...TEXTS))
              : arbitraryValue(column),
      ]),
    ),
  ) as fc.Arbitrary<AnyRecord>;
}

const SAMPLES = new Map<TableName, AnyRecord>();

/** Makes one record of a table with the given id, the same every time. */
export function makeRecord(name: TableName, id: string): AnyRecord {
  if (!SAMPLES.has(name)) SAMPLES.set(name, fc.sample(arbitraryRecord(name), { numRuns: 1, seed: 7 })[0]!);
  const unique = UNIQUE[name];
  return { ...SAMPLES.get(name)!, id, ...(unique === undefined ? {} : { [unique]: `unique ${id}` }) };
}

/** Inserts the record that those of a table refer to, if they refer to any. */
export async function insertParent(store: Store, name: TableName): Promise<void> {
  const reference = REFERENCES[name];
  if (reference === undefined) return;
  await store.transaction((tables) =>
    anyCollection(tables, reference.table).insert(makeRecord(reference.table, PARENT)),
  );
}

/** Someone with an account. */
export function makeUser(id: string, changes: Partial<UserRecord> = {}): UserRecord {
  return {
    id,
    name: `Officer ${id}`,
    roles: ['case-officer'],
    authority: 'mcmc',
    licensee: null,
    oidcSubject: null,
    disabled: false,
    createdSeconds: 0,
    version: 1,
    ...changes,
  };
}

/** An ISP; tests count in `createdSeconds`. */
export function makeLicensee(id: string): LicenseeRecord {
  return { id, name: `ISP ${id}`, classes: ['nsp'], createdSeconds: 0, version: 1 };
}

/** An entry for the trail of changes. */
export function makeEntry(subject: string, changes: Partial<AuditEntry> = {}): AuditEntry {
  return {
    atSeconds: 1_790_000_000,
    actor: 'aminah',
    role: 'case-officer',
    action: 'drafts.create',
    subject,
    reason: null,
    beforeHash: null,
    afterHash: 'ab'.repeat(32),
    ...changes,
  };
}
