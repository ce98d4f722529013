import { WartaError } from '../../src/base/errors.ts';
import type { NodeStore, StoreChanges } from '../../src/sync/node-store.ts';

/** What becomes of a commit: nothing is written, or it is written and fails all the same. */
export type CommitFault = 'before' | 'after';

/**
 * A store that fails when it is told to. It stands before a real one, so what a commit leaves behind is what SQLite leaves.
 */
export class FaultyStore implements NodeStore {
  /** Commits so far. */
  commits = 0;
  /** Reads fail from now on. */
  failsReads = false;
  readonly #store: NodeStore;
  readonly #faultOf: (commit: number, changes: StoreChanges) => CommitFault | undefined;

  /** `faultOf` is asked for every commit, the first of which is number 1. */
  constructor(store: NodeStore, faultOf: (commit: number, changes: StoreChanges) => CommitFault | undefined) {
    this.#store = store;
    this.#faultOf = faultOf;
  }

  commit(changes: StoreChanges): void {
    const fault = this.#faultOf(++this.commits, changes);
    if (fault !== 'before') this.#store.commit(changes);
    if (fault !== undefined) throw new WartaError('store-failed', `commit ${this.commits} failed (${fault})`);
  }

  #read<T>(read: () => T): T {
    if (this.failsReads) throw new WartaError('store-failed', 'the disk cannot be read');
    return read();
  }

  value(key: string) {
    return this.#read(() => this.#store.value(key));
  }
  trust() {
    return this.#read(() => this.#store.trust());
  }
  leafCount() {
    return this.#read(() => this.#store.leafCount());
  }
  leaf(index: number) {
    return this.#read(() => this.#store.leaf(index));
  }
  leaves() {
    return this.#read(() => this.#store.leaves());
  }
  unwitnessed() {
    return this.#read(() => this.#store.unwitnessed());
  }
  hasAnnex(digest: string) {
    return this.#read(() => this.#store.hasAnnex(digest));
  }
  annex(digest: string) {
    return this.#read(() => this.#store.annex(digest));
  }
  evidence() {
    return this.#read(() => this.#store.evidence());
  }
  receipts(limit: number) {
    return this.#read(() => this.#store.receipts(limit));
  }
  receiptCount() {
    return this.#read(() => this.#store.receiptCount());
  }

  close(): void {
    this.#store.close();
  }
}
