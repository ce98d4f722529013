import { request } from 'undici';
import { describeError } from '../base/errors.ts';
import { describePages, describeRejected, type Receipt, signReceipt } from '../register/receipt.ts';
import { formatInstant } from '../register/time.ts';
import type { CompiledList } from './list-compiler.ts';
import type { NodeIdentity } from './node-identity.ts';
import type { NodeStore } from './node-store.ts';
import type { FollowerStatus } from './register-follower.ts';

/** Receipts sent at one cycle: a node that was cut off for long catches up without a burst. */
const SENT_AT_ONCE = 16;
const TIMEOUT_MILLIS = 10_000;
/** Answers by which the log says that it will never take this one. */
const REFUSED = new Set([400, 413, 422]);

/** How a node uses its list. */
export interface ListUse {
  readonly mode: Receipt['mode'];
  /** Whether the hosts of listed pages are sent to a gateway. */
  readonly steersPages: boolean;
}

/** Says what this node applied, signed, and sends it when there is a way: kept across restarts, bounded by the store. */
export class ReceiptQueue {
  sent = 0;
  /** Why the last attempt failed. */
  fault: string | undefined;
  readonly #store: NodeStore;
  readonly #identity: NodeIdentity;
  readonly #url: string | undefined;

  constructor(store: NodeStore, identity: NodeIdentity, url: string | undefined) {
    this.#store = store;
    this.#identity = identity;
    this.#url = url;
  }

  get queued(): number {
    return this.#store.receiptCount();
  }

  /** Signs and keeps a receipt of a list in use. Without somewhere to send it to there is none. */
  add(list: CompiledList, status: FollowerStatus, atSeconds: number, { mode, steersPages }: ListUse): void {
    const { origin, rootHash, authoritiesVersion } = status;
    if (this.#url === undefined || origin === undefined || rootHash === undefined) return;
    const bad = list.verdicts.filter(({ ok }) => !ok);
    const receipt: Receipt = {
      version: 1,
      origin,
      licensee: this.#identity.licensee,
      node: this.#identity.node,
      treeSize: status.size,
      rootHash,
      authoritiesVersion: authoritiesVersion ?? 1,
      rules: list.rules,
      rulesDigest: list.rulesDigest,
      foldedAt: formatInstant(list.foldedAtSeconds),
      appliedAt: formatInstant(Math.floor(atSeconds)),
      mode,
      statements: { ok: list.verdicts.length - bad.length, void: bad.length },
      rejected: describeRejected(bad),
      refusedEntries: list.refusedCount,
      ...describePages(list, steersPages),
    };
    this.#store.commit({ receipt: signReceipt(receipt, this.#identity.key) });
  }

  /** Sends what waits, oldest first, until one is not taken. */
  async send(): Promise<void> {
    if (this.#url === undefined) return;
    for (const { id, bytes } of this.#store.receipts(SENT_AT_ONCE)) {
      const status = await this.#post(bytes);
      if (status === undefined) return;
      if (status >= 300 && !REFUSED.has(status)) {
        this.fault = `${this.#url} answered ${status}${status === 401 ? ': enrol this node' : ''}`;
        return;
      }
      this.#store.commit({ droppedReceipts: [id] });
      this.fault = status >= 300 ? `${this.#url} refused a receipt (${status})` : undefined;
      if (status < 300) this.sent++;
    }
  }

  async #post(bytes: Uint8Array): Promise<number | undefined> {
    try {
      const { statusCode, body } = await request(this.#url!, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: bytes,
        signal: AbortSignal.timeout(TIMEOUT_MILLIS),
      });
      await body.dump();
      return statusCode;
    } catch (error) {
      this.fault = `${this.#url}: ${describeError(error)}`;
      return undefined;
    }
  }
}
