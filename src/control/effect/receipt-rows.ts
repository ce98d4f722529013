import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { importPublicKey } from '../../register/authorities.ts';
import { type Receipt, receiptListPath, verifyReceipt } from '../../register/receipt.ts';
import { DAY_SECONDS, formatInstant, secondsOf } from '../../register/time.ts';
import type { ReceiptRecord, Store, Tables } from '../store.ts';

/** Rows written in one transaction: it must stay short, as all processes share one pen. */
const ROWS_AT_ONCE = 200;

/** Rows that wait to be written while the store is away; what comes then is found in the tree later. */
const MAX_WAITING = 20_000;

/** Composes the row of a receipt that lies at `path` in the public tree. `receivedSeconds` is when the row is made. */
export function composeReceiptRow(receipt: Receipt, path: string, receivedSeconds: number): ReceiptRecord {
  const { licensee, node, treeSize, rules, rulesDigest, mode, rejected, refusedEntries } = receipt;
  return {
    id: path,
    nodeId: `${licensee}/${node}`,
    licensee,
    appliedSeconds: secondsOf(receipt.appliedAt),
    receivedSeconds,
    foldedSeconds: secondsOf(receipt.foldedAt),
    ...{ treeSize, rules, rulesDigest, mode, rejected, refusedEntries },
    agrees: null,
    pages: receipt.pages ?? null,
  };
}

/** Inserts the rows that are not there yet. */
export async function insertRows(tables: Pick<Tables, 'receipts'>, rows: readonly ReceiptRecord[]): Promise<void> {
  const known = await findKnown(
    tables,
    rows.map(({ id }) => id),
  );
  for (const row of rows) {
    if (known.has(row.id)) continue;
    known.add(row.id);
    await tables.receipts.insert(row);
  }
}

async function findKnown(tables: Pick<Tables, 'receipts'>, ids: readonly string[]): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const rows = await tables.receipts.list({ where: { id: { in: ids } }, limit: ids.length });
  return new Set(rows.map(({ id }) => id));
}

/**
 * Writes a row for each receipt that is kept, many in one transaction. The receipt itself is durable before: a row that a
 * crash loses is made again from the tree (`MissedReceipts`).
 */
export class ReceiptRecorder {
  readonly #store: Pick<Store, 'transaction'>;
  readonly #clock: Clock;
  readonly #onFault: (error: unknown) => void;
  readonly #waiting: ReceiptRecord[] = [];
  #underWay: Promise<void> | undefined;

  constructor(store: Pick<Store, 'transaction'>, clock: Clock, onFault: (error: unknown) => void = () => {}) {
    this.#store = store;
    this.#clock = clock;
    this.#onFault = onFault;
  }

  /** To be called for each receipt once it is in the tree; returns at once. */
  record(receipt: Receipt, path: string): void {
    if (this.#waiting.length >= MAX_WAITING) return;
    this.#waiting.push(composeReceiptRow(receipt, path, Math.floor(this.#clock.wallMillis() / 1000)));
    this.#underWay ??= this.#write();
  }

  /** Resolves when nothing is left to write. */
  async settle(): Promise<void> {
    while (this.#underWay !== undefined) await this.#underWay;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const rows = this.#waiting.splice(0, ROWS_AT_ONCE);
        await this.#store.transaction((tables) => insertRows(tables, rows));
      }
    } catch (error) {
      this.#waiting.length = 0; // the tree has them
      this.#onFault(error);
    } finally {
      this.#underWay = undefined;
    }
  }
}

/** Days before today that are looked through at the first look. */
const FIRST_DAYS = 31;

/** Looks at a listed receipt that is not in the tree before it is given up: its sender was told to send it again. */
const MAX_LOOKS = 3;

/** What finding missed receipts needs. */
export interface MissedReceiptsOptions {
  readonly store: Pick<Store, 'read' | 'transaction'>;
  /** The public tree. */
  readonly tree: LogStorage;
  readonly clock: Clock;
}

/**
 * Finds receipts that are in the tree and have no row, as after a crash between the two: by the lists of days, of which only
 * what is new is looked at again.
 */
export class MissedReceipts {
  readonly #options: MissedReceiptsOptions;
  /** Paths of each day's list that were dealt with. */
  readonly #done = new Map<string, number>();
  /** Listed paths that are not in the tree, with how often that was seen. */
  readonly #absent = new Map<string, number>();

  constructor(options: MissedReceiptsOptions) {
    this.#options = options;
  }

  /**
   * Makes the rows that are missing and returns how many were.
   *
   * @throws {WartaError} `store-failed`.
   */
  async look(): Promise<number> {
    const nowSeconds = Math.floor(this.#options.clock.wallMillis() / 1000);
    const days = this.#done.size === 0 ? FIRST_DAYS : 1;
    let made = await this.#takePaths([...this.#absent.keys()], nowSeconds);
    for (let ago = days; ago >= 0; ago--) {
      made += await this.#lookAtDay(formatInstant(nowSeconds - ago * DAY_SECONDS).slice(0, 10), nowSeconds);
    }
    const yesterday = formatInstant(nowSeconds - DAY_SECONDS).slice(0, 10);
    for (const day of this.#done.keys()) if (day < yesterday) this.#done.delete(day);
    return made;
  }

  async #lookAtDay(day: string, nowSeconds: number): Promise<number> {
    const bytes = await this.#options.tree.read(receiptListPath(day));
    const paths = bytes === undefined ? [] : Buffer.from(bytes).toString().split('\n').filter(Boolean);
    let made = 0;
    for (let at = this.#done.get(day) ?? 0; at < paths.length; at += ROWS_AT_ONCE) {
      const some = paths.slice(at, at + ROWS_AT_ONCE);
      made += await this.#takePaths(some, nowSeconds);
      this.#done.set(day, at + some.length);
    }
    if (!this.#done.has(day)) this.#done.set(day, 0);
    return made;
  }

  async #takePaths(paths: readonly string[], nowSeconds: number): Promise<number> {
    if (paths.length === 0) return 0;
    const { store } = this.#options;
    const known = await store.read((tables) => findKnown(tables, paths));
    const rows: ReceiptRecord[] = [];
    for (const path of paths) {
      const row = known.has(path) ? undefined : await this.#readRow(path, nowSeconds);
      if (row !== undefined) rows.push(row);
      if (row !== undefined || known.has(path)) this.#absent.delete(path);
    }
    if (rows.length > 0) await store.transaction((tables) => insertRows(tables, rows));
    return rows.length;
  }

  /** Returns the row of a receipt in the tree; `undefined` when it is not there, or not by a node that is known. */
  async #readRow(path: string, nowSeconds: number): Promise<ReceiptRecord | undefined> {
    const { tree, store } = this.#options;
    const bytes = await tree.read(path);
    if (bytes === undefined) {
      const looks = (this.#absent.get(path) ?? 0) + 1;
      if (looks < MAX_LOOKS) this.#absent.set(path, looks);
      else this.#absent.delete(path);
      return undefined;
    }
    const [, licensee, node] = /^receipts\/([^/]+)\/([^/]+)\//.exec(path) ?? [];
    if (licensee === undefined) return undefined;
    const number = licensee.replace(/_([0-9a-f]{2})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16)));
    // A revoked node's receipts from before stand.
    const record = await store.read((tables) => tables.nodes.get(`${number}/${node}`));
    if (record === undefined) return undefined;
    try {
      const key = importPublicKey(record.publicKey, record.id);
      return composeReceiptRow(
        verifyReceipt(bytes, () => key),
        path,
        nowSeconds,
      );
    } catch (error) {
      if (error instanceof WartaError && error.code !== 'store-failed') return undefined;
      throw error;
    }
  }
}
