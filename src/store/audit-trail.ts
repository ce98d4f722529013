import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { AuditEntry, AuditRecord, AuditTrail, Store } from '../control/store.ts';
import type { Session } from './session.ts';
import { encodeCell, type Row, type Table } from './table.ts';

/** What the first entry names as the hash before it. */
export const FIRST_PREVIOUS_HASH = '0'.repeat(64);

/** Entries that are looked at in one go. */
const PAGE_ENTRIES = 1000;

/**
 * The trail of changes as a hash chain: each entry's hash covers the hash before it. Whoever appends is the only one writing
 * (see `Engine.write`), so the chain never forks, not even with several processes.
 */
export class SqlAuditTrail implements AuditTrail {
  readonly #session: Session;
  readonly #table: Table<AuditRecord>;

  constructor(session: Session, table: Table<AuditRecord>) {
    this.#session = session;
    this.#table = table;
  }

  async append(entry: AuditEntry): Promise<AuditRecord> {
    return this.#session.run(async (db) => {
      const { name, columns } = this.#table;
      const last = await db
        .selectFrom(name)
        .select(['sequence', 'hash'])
        .orderBy('sequence', 'desc')
        .limit(1)
        .executeTakeFirst();
      const record = chain(entry, Number(last?.sequence ?? 0) + 1, (last?.hash as string) ?? FIRST_PREVIOUS_HASH);
      const row: Row = {};
      for (const column of columns) row[column.name] = encodeCell(column, record[column.key as keyof AuditRecord]);
      await db.insertInto(name).values(row).execute();
      return record;
    });
  }

  async head(): Promise<AuditRecord | undefined> {
    const row = await this.#session.run((db) =>
      db.selectFrom(this.#table.name).selectAll().orderBy('sequence', 'desc').limit(1).executeTakeFirst(),
    );
    return row && this.#table.decode(row);
  }

  async list({ afterSequence, subject, actor, limit }: Parameters<AuditTrail['list']>[0]): Promise<AuditRecord[]> {
    const rows = await this.#session.run((db) => {
      let query = db.selectFrom(this.#table.name).selectAll().orderBy('sequence').limit(limit);
      if (afterSequence !== undefined) query = query.where('sequence', '>', afterSequence);
      if (subject !== undefined) query = query.where('subject', '=', subject);
      if (actor !== undefined) query = query.where('actor', '=', actor);
      return query.execute();
    });
    return rows.map((row) => this.#table.decode(row));
  }
}

/** Puts an entry in its place. Only the fields of an entry are taken, whatever else the object has. */
function chain(entry: AuditEntry, sequence: number, previousHash: string): AuditRecord {
  const { atSeconds, actor, role, action, subject, reason, beforeHash, afterHash } = entry;
  const content = {
    ...{ atSeconds, actor, role, action, subject },
    ...{ reason: reason ?? null, beforeHash: beforeHash ?? null, afterHash: afterHash ?? null },
    sequence,
    previousHash,
  };
  return { ...content, hash: hash('sha256', canonicalize(content)!, 'hex') };
}

/** The end of the trail. Keep one elsewhere: cutting entries off the end leaves a chain that looks sound by itself. */
export interface AuditHead {
  readonly sequence: number;
  readonly hash: string;
}

/** What a walk along the trail of changes found: how far it goes, or the first entry that is not what was written. */
export type AuditVerdict =
  | { readonly isSound: true; readonly head: AuditHead }
  | { readonly isSound: false; readonly sequence: number; readonly fault: string };

/**
 * Walks the trail of changes from its first entry. With `known`, a head that was noted before, the trail must also still
 * hold that entry.
 *
 * @throws {WartaError} `store-failed`.
 */
export function verifyAuditTrail(store: Store, known?: AuditHead): Promise<AuditVerdict> {
  return store.read(({ audit }) => walkAuditTrail(audit, known));
}

/** The same within a transaction. */
export async function walkAuditTrail(audit: AuditTrail, known?: AuditHead): Promise<AuditVerdict> {
  let head: AuditHead = { sequence: 0, hash: FIRST_PREVIOUS_HASH };
  for (;;) {
    const page = await audit.list({ afterSequence: head.sequence, limit: PAGE_ENTRIES });
    for (const record of page) {
      const fault = findFault(record, head, known);
      if (fault !== undefined) return { isSound: false, sequence: head.sequence + 1, fault };
      head = { sequence: record.sequence, hash: record.hash };
    }
    if (page.length < PAGE_ENTRIES) break;
  }
  if (known !== undefined && head.sequence < known.sequence) {
    const fault = `the trail ends at ${head.sequence}, but it had ${known.sequence} entries`;
    return { isSound: false, sequence: head.sequence + 1, fault };
  }
  return { isSound: true, head };
}

/** Says what is wrong with an entry, given the one before it. */
function findFault(record: AuditRecord, previous: AuditHead, known: AuditHead | undefined): string | undefined {
  if (record.sequence !== previous.sequence + 1) return `the entry is missing: the next is ${record.sequence}`;
  if (record.previousHash !== previous.hash) return 'it does not name the hash of the entry before it';
  if (chain(record, record.sequence, record.previousHash).hash !== record.hash) {
    return 'its hash is not that of its content';
  }
  if (record.sequence === known?.sequence && record.hash !== known.hash) return 'it is not the entry that was noted';
  return undefined;
}
