import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { WartaError } from '../base/errors.ts';

/** What one commit writes; all of it or nothing. */
export interface StoreChanges {
  /** Small values by key; `null` removes one. */
  readonly values?: Readonly<Record<string, Uint8Array | null>>;
  /** Every file of the TUF repository to keep; replaces those kept before. */
  readonly trust?: ReadonlyMap<string, Uint8Array>;
  /** Leaves of the log from `firstLeaf` on, in place of any that are there. */
  readonly leaves?: readonly Uint8Array[];
  readonly firstLeaf?: number;
  /** Leaves that a log showed without its witnesses, by their leaf hash in hexadecimal. */
  readonly unwitnessed?: ReadonlyMap<string, Uint8Array>;
  /** Hashes of such leaves that are no longer needed, as the witnessed log has them. */
  readonly witnessed?: readonly string[];
  /** Annexes by digest, verified before. */
  readonly annexes?: ReadonlyMap<string, Uint8Array>;
  /** Digests of annexes that turned out to be damaged. */
  readonly droppedAnnexes?: readonly string[];
  /** Two signed notes that contradict each other, and when that was seen. */
  readonly evidence?: Evidence;
  /** A receipt to send. */
  readonly receipt?: Uint8Array;
  /** Receipts that were sent, or that the log will never take. */
  readonly droppedReceipts?: readonly number[];
}

/** Two checkpoints that cannot both be true, kept for whoever has to judge the log. */
export interface Evidence {
  readonly code: string;
  readonly atSeconds: number;
  readonly held: Uint8Array;
  readonly shown: Uint8Array;
}

/** A receipt that waits to be sent. */
export interface QueuedReceipt {
  readonly id: number;
  readonly bytes: Uint8Array;
}

/** What a node keeps of the register. Reading never waits; `commit` is durable when it returns. */
export interface NodeStore {
  value(key: string): Uint8Array | undefined;
  trust(): Map<string, Uint8Array>;
  leafCount(): number;
  /** @throws {WartaError} `store-failed` when the store does not have it. */
  leaf(index: number): Uint8Array;
  leaves(): Iterable<Uint8Array>;
  unwitnessed(): Map<string, Uint8Array>;
  hasAnnex(digest: string): boolean;
  annex(digest: string): Uint8Array | undefined;
  evidence(): Evidence[];
  receipts(limit: number): QueuedReceipt[];
  receiptCount(): number;
  /** @throws {WartaError} `store-failed`; then nothing of it was written. */
  commit(changes: StoreChanges): void;
  close(): void;
}

/** Pairs of notes kept of each kind, lest old notes of a mirror that lags crowd out a proof; the first ones say how it began. */
const MAX_EVIDENCE = 16;

/** Receipts kept while nobody takes them; then the oldest go, as a newer one says what is in force now. */
export const MAX_RECEIPTS = 1_000;

/** Leaves read together: whoever asks for one mostly asks for the next, and a query for each takes four times as long. */
const LEAVES_AHEAD = 128;

/** Raised when the tables change: an older file is fetched anew. */
const FORMAT = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS trust (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS leaf (at INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS unwitnessed (hash TEXT PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS annex (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS evidence (id INTEGER PRIMARY KEY, code TEXT, at INTEGER, held BLOB, shown BLOB);
  CREATE TABLE IF NOT EXISTS receipt (id INTEGER PRIMARY KEY AUTOINCREMENT, bytes BLOB NOT NULL);
`;

/**
 * A node's store in one SQLite file: a commit is one transaction, so that after a crash the checkpoint and the leaves it
 * covers are both there or neither is.
 */
export class SqliteNodeStore implements NodeStore {
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  /** Leaves read together last, by their place in the log. */
  #leavesAhead = new Map<number, Uint8Array>();
  #lastLeaf = Number.NaN;

  /**
   * Opens the store, or makes it. A file that is damaged or of another format is set aside as `….damaged` and the register
   * is fetched anew. One that cannot be opened for another reason, as on a full disk, stays where it is.
   *
   * @throws {WartaError} `store-failed` when there can be none.
   */
  static open(path: string): SqliteNodeStore {
    try {
      mkdirSync(dirname(path), { recursive: true });
    } catch (cause) {
      throw new WartaError('store-failed', `cannot make ${dirname(path)}: check the folder's owner`, { cause });
    }
    try {
      try {
        return new SqliteNodeStore(path);
      } catch (error) {
        if (!isDamage(error)) throw error;
        setAside(path);
        return new SqliteNodeStore(path);
      }
    } catch (cause) {
      throw new WartaError('store-failed', `cannot open ${path}: check the disk's space and the folder's owner`, {
        cause,
      });
    }
  }

  private constructor(path: string) {
    this.#db = new DatabaseSync(path);
    try {
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000');
      const { user_version: format } = this.#db.prepare('PRAGMA user_version').get() as { user_version: number };
      if (format !== 0 && format !== FORMAT) throw new StoreDamage(`format ${format}`);
      // Looks at every page, 0.3 ms per megabyte: damage found later would stop the node until someone looked.
      const { quick_check: found } = this.#db.prepare('PRAGMA quick_check(1)').get() as { quick_check: string };
      if (found !== 'ok') throw new StoreDamage(found);
      // Nothing is written to a file that is as it should be: the disk may be full.
      if (format === 0) this.#db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${FORMAT}; COMMIT;`);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  value(key: string): Uint8Array | undefined {
    return this.#blob('SELECT bytes FROM value WHERE key = ?', key);
  }

  trust(): Map<string, Uint8Array> {
    const rows = this.#all('SELECT name, bytes FROM trust') as { name: string; bytes: Uint8Array }[];
    return new Map(rows.map(({ name, bytes }) => [name, bytes]));
  }

  leafCount(): number {
    return this.#count('SELECT count(*) AS n FROM leaf');
  }

  leaf(index: number): Uint8Array {
    if (!this.#leavesAhead.has(index)) this.#readLeaves(index, index === this.#lastLeaf + 1 ? LEAVES_AHEAD : 1);
    this.#lastLeaf = index;
    const bytes = this.#leavesAhead.get(index);
    if (bytes === undefined) throw new WartaError('store-failed', `leaf ${index} is gone from the node's store`);
    return bytes;
  }

  #readLeaves(first: number, count: number): void {
    const rows = this.#all('SELECT at, bytes FROM leaf WHERE at >= ? AND at < ?', first, first + count);
    this.#leavesAhead = new Map((rows as { at: number; bytes: Uint8Array }[]).map(({ at, bytes }) => [at, bytes]));
  }

  *leaves(): Iterable<Uint8Array> {
    const rows = this.#read(() => this.#prepare('SELECT bytes FROM leaf ORDER BY at').iterate());
    for (const row of rows) yield (row as { bytes: Uint8Array }).bytes;
  }

  unwitnessed(): Map<string, Uint8Array> {
    const rows = this.#all('SELECT hash, bytes FROM unwitnessed') as { hash: string; bytes: Uint8Array }[];
    return new Map(rows.map(({ hash, bytes }) => [hash, bytes]));
  }

  hasAnnex(digest: string): boolean {
    return this.#all('SELECT 1 FROM annex WHERE digest = ?', digest).length > 0;
  }

  annex(digest: string): Uint8Array | undefined {
    return this.#blob('SELECT bytes FROM annex WHERE digest = ?', digest);
  }

  evidence(): Evidence[] {
    const rows = this.#all('SELECT code, at AS atSeconds, held, shown FROM evidence ORDER BY id');
    return rows as unknown as Evidence[];
  }

  receipts(limit: number): QueuedReceipt[] {
    return this.#all('SELECT id, bytes FROM receipt ORDER BY id LIMIT ?', limit) as unknown as QueuedReceipt[];
  }

  receiptCount(): number {
    return this.#count('SELECT count(*) AS n FROM receipt');
  }

  commit(changes: StoreChanges): void {
    if (changes.leaves !== undefined || changes.firstLeaf !== undefined) this.#leavesAhead.clear();
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      try {
        this.#write(changes);
        this.#db.exec('COMMIT');
      } catch (error) {
        this.#rollBack();
        throw error;
      }
    } catch (cause) {
      throw new WartaError('store-failed', "cannot write the node's store: check the disk's space and its owner", {
        cause,
      });
    }
  }

  close(): void {
    this.#db.close();
  }

  /** SQLite may have rolled back by itself, on a full disk say. */
  #rollBack(): void {
    try {
      this.#db.exec('ROLLBACK');
    } catch {
      // Nothing was open any more.
    }
  }

  #write(changes: StoreChanges): void {
    for (const [key, bytes] of Object.entries(changes.values ?? {})) {
      if (bytes === null) this.#run('DELETE FROM value WHERE key = ?', key);
      else this.#run('INSERT OR REPLACE INTO value VALUES (?, ?)', key, bytes);
    }
    if (changes.trust) {
      this.#run('DELETE FROM trust');
      for (const [name, bytes] of changes.trust) this.#run('INSERT INTO trust VALUES (?, ?)', name, bytes);
    }
    if (changes.firstLeaf !== undefined) this.#run('DELETE FROM leaf WHERE at >= ?', changes.firstLeaf);
    let at = changes.firstLeaf ?? 0;
    for (const leaf of changes.leaves ?? []) this.#run('INSERT INTO leaf VALUES (?, ?)', at++, leaf);
    for (const [hash, leaf] of changes.unwitnessed ?? []) {
      this.#run('INSERT OR REPLACE INTO unwitnessed VALUES (?, ?)', hash, leaf);
    }
    for (const hash of changes.witnessed ?? []) this.#run('DELETE FROM unwitnessed WHERE hash = ?', hash);
    for (const [digest, bytes] of changes.annexes ?? []) {
      this.#run('INSERT OR REPLACE INTO annex VALUES (?, ?)', digest, bytes);
    }
    for (const digest of changes.droppedAnnexes ?? []) this.#run('DELETE FROM annex WHERE digest = ?', digest);
    if (changes.evidence) this.#writeEvidence(changes.evidence);
    if (changes.receipt) {
      this.#run('INSERT INTO receipt (bytes) VALUES (?)', changes.receipt);
      this.#run('DELETE FROM receipt WHERE id NOT IN (SELECT id FROM receipt ORDER BY id DESC LIMIT ?)', MAX_RECEIPTS);
    }
    for (const id of changes.droppedReceipts ?? []) this.#run('DELETE FROM receipt WHERE id = ?', id);
  }

  /** Keeps a pair of notes once; a mirror that shows the same wrong note at every poll must not fill the disk. */
  #writeEvidence({ code, atSeconds, held, shown }: Evidence): void {
    const same = this.#all('SELECT shown FROM evidence WHERE code = ?', code) as { shown: Uint8Array }[];
    if (same.length >= MAX_EVIDENCE || same.some((pair) => Buffer.compare(pair.shown, shown) === 0)) return;
    this.#run('INSERT INTO evidence (code, at, held, shown) VALUES (?, ?, ?, ?)', code, atSeconds, held, shown);
  }

  #prepare(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    const prepared = this.#db.prepare(sql);
    this.#prepared.set(sql, prepared);
    return prepared;
  }

  #run(sql: string, ...values: (string | number | Uint8Array)[]): void {
    this.#prepare(sql).run(...values);
  }

  #all(sql: string, ...values: (string | number | Uint8Array)[]): unknown[] {
    return this.#read(() => this.#prepare(sql).all(...values));
  }

  #count(sql: string): number {
    return (this.#all(sql)[0] as { n: number }).n;
  }

  #blob(sql: string, key: string | number): Uint8Array | undefined {
    return this.#read(() => this.#prepare(sql).get(key) as { bytes: Uint8Array } | undefined)?.bytes;
  }

  #read<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      throw new WartaError('store-failed', "cannot read the node's store: restart, and a damaged one is set aside", {
        cause,
      });
    }
  }
}

/** A file that is no store of this format. */
class StoreDamage extends Error {}

/** Primary result codes of SQLite for a file that is damaged (SQLITE_CORRUPT), or no database at all (SQLITE_NOTADB). */
const DAMAGE_CODES = [11, 26];

function isDamage(error: unknown): boolean {
  const { errcode = 0 } = error as { errcode?: number };
  return error instanceof StoreDamage || DAMAGE_CODES.includes(errcode & 0xff);
}

/** Moves a file that cannot be used out of the way, with what belongs to it. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.damaged`);
  } catch {
    // There was none, or the next attempt will say what is wrong.
  }
  for (const part of ['-wal', '-shm']) rmSync(`${path}${part}`, { force: true });
}
