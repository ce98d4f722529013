import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { type Receipt, receiptListPath, receiptPath, verifyReceipt } from '../../register/receipt.ts';
import { formatInstant, secondsOf } from '../../register/time.ts';
import type { NodesFile } from './nodes-file.ts';
import { TokenBuckets } from './token-bucket.ts';

/** How far a node's clock may be ahead of the log's. */
const CLOCK_SKEW_SECONDS = 300;

/** Receipts a node may send at once, after an outage say, and for how long on average. */
const BURST_RECEIPTS = 500;
const RECEIPTS_PER_SECOND = 0.1;

/** Most receipts kept for one day: 1,000 nodes and 200 lists a day. */
const MAX_RECEIPTS_PER_DAY = 200_000;

/** What became of a receipt: kept, already there, another one for the same moment is there, or too many came. */
export type ReceiptOutcome = 'stored' | 'known' | 'conflict' | 'limited';

/** What a receipt store needs. */
export interface ReceiptStoreOptions {
  /** The public tree. */
  readonly storage: LogStorage;
  readonly nodes: NodesFile;
  readonly origin: string;
  readonly clock: Clock;
  /** Told of each receipt that is in the tree for the first time. */
  readonly onStored?: (receipt: Receipt, path: string) => void;
}

/**
 * Keeps nodes' receipts in the public tree, as they came. `receipts/_days/<day>.txt` lists the paths of those that arrived
 * that day (UTC), as a static mirror cannot list a folder.
 */
export class ReceiptStore {
  readonly #options: ReceiptStoreOptions;
  readonly #buckets = new TokenBuckets(BURST_RECEIPTS, RECEIPTS_PER_SECOND);
  readonly #lists: ReceiptLists;

  constructor(options: ReceiptStoreOptions) {
    this.#options = options;
    this.#lists = new ReceiptLists(options.storage);
  }

  /**
   * Verifies and keeps a receipt; when it says `stored` or `known`, the receipt survives a crash and its day's list names it.
   *
   * @throws {WartaError} `receipt-invalid` (form, signature, another register, a time to come), `credential-invalid` (not
   *   enrolled), `store-failed`.
   */
  async accept(bytes: Uint8Array): Promise<ReceiptOutcome> {
    const { storage, nodes, clock } = this.#options;
    const registry = await nodes.read();
    const receipt = verifyReceipt(bytes, (licensee, node) => registry.find(licensee, node));
    const nowSeconds = Math.floor(clock.wallMillis() / 1000);
    this.#judge(receipt, nowSeconds);
    const path = receiptPath(receipt);
    const earlier = await storage.read(path);
    if (earlier !== undefined) return Buffer.compare(earlier, bytes) === 0 ? 'known' : 'conflict';
    // Receipts are public, and anyone can send one again: only a new one counts, so nobody uses up another's share.
    if (!this.#buckets.take(`${receipt.licensee}/${receipt.node}`, clock.monotonicMillis())) return 'limited';
    // Listed first: a path that is listed and not there yet does no harm, one that is never listed would not be found.
    if (!(await this.#lists.add(formatInstant(nowSeconds).slice(0, 10), path))) return 'limited';
    await storage.create(path, bytes);
    this.#options.onStored?.(receipt, path);
    return 'stored';
  }

  #judge(receipt: Receipt, nowSeconds: number): void {
    const { origin } = this.#options;
    if (receipt.origin !== origin) throw new WartaError('receipt-invalid', `receipt: this is the register ${origin}`);
    if (secondsOf(receipt.appliedAt) > nowSeconds + CLOCK_SKEW_SECONDS) {
      throw new WartaError('receipt-invalid', `receipt: appliedAt ${receipt.appliedAt} is yet to come: set the clock`);
    }
  }
}

/** Lists of receipts by day. Additions that come while one is written go together into the next. */
class ReceiptLists {
  readonly #storage: LogStorage;
  #waiting: { day: string; path: string; settle: (outcome: Promise<boolean>) => void }[] = [];
  #busy = false;

  constructor(storage: LogStorage) {
    this.#storage = storage;
  }

  /** Lists a path unless it is listed that day; false when the day is full. */
  add(day: string, path: string): Promise<boolean> {
    return new Promise((settle) => {
      this.#waiting.push({ day, path, settle });
      if (!this.#busy) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const [day, additions] of Map.groupBy(batch, (one) => one.day)) {
        const outcome = this.#write(
          day,
          additions.map(({ path }) => path),
        );
        for (const { settle } of additions) settle(outcome);
        await outcome.catch(() => {}); // each who waits is told
      }
    }
    this.#busy = false;
  }

  async #write(day: string, paths: readonly string[]): Promise<boolean> {
    const path = receiptListPath(day);
    const before = await this.#storage.read(path);
    const listed = new Set((before === undefined ? '' : Buffer.from(before).toString()).split('\n').filter(Boolean));
    const known = listed.size;
    for (const one of paths) listed.add(one);
    if (listed.size > MAX_RECEIPTS_PER_DAY) return false;
    if (listed.size > known) await this.#storage.replace(path, Buffer.from(`${[...listed].join('\n')}\n`), before);
    return true;
  }
}
