import { type ErrorCode, WartaError } from '../base/errors.ts';
import { parseLeaf } from '../register/leaf.ts';
import type { StatementLeaf } from '../register/verify-statement.ts';

/** Why a leaf does not count in full. */
interface Hold {
  readonly code: ErrorCode;
  readonly reason: string;
}

/** What is kept in memory of a leaf; its bytes stay in the store until they are asked for. */
interface LeafRecord {
  readonly name: string;
  readonly integratedAtSeconds: number;
  /** Octets of the leaf. */
  readonly sizeBytes: number;
  readonly hold?: Hold;
  readonly unreadable?: string;
  read(): Uint8Array;
}

/** The leaves of the log in order: when each was integrated, and whether it goes back in time. */
export class LeafRecords {
  readonly #records: LeafRecord[] = [];
  /** Latest time of any leaf so far: none after it may be earlier. */
  #latestSeconds = 0;
  /** The leaves as the register's reader takes them, and the time that those after it are held by: made once. */
  readonly #leaves: StatementLeaf[] = [];
  #trustedUntilSeconds = Number.NaN;

  get count(): number {
    return this.#records.length;
  }

  sizeBytes(index: number): number {
    return this.#records[index]!.sizeBytes;
  }

  /** Counts the leaves that were integrated after a time. */
  countAfter(seconds: number): number {
    let count = 0;
    for (const { integratedAtSeconds } of this.#records) if (integratedAtSeconds > seconds) count++;
    return count;
  }

  /** Forgets the leaves from `count` on. */
  truncate(count: number): void {
    if (count >= this.#records.length) return;
    this.#records.length = count;
    this.#leaves.length = Math.min(this.#leaves.length, count);
    this.#latestSeconds = 0;
    for (const { integratedAtSeconds } of this.#records) {
      this.#latestSeconds = Math.max(this.#latestSeconds, integratedAtSeconds);
    }
  }

  /** Appends a leaf; `read` gets its bytes again later. */
  append(bytes: Uint8Array, read: () => Uint8Array): void {
    const record = describeLeaf(`#${this.#records.length}`, bytes, this.#latestSeconds, read);
    this.#latestSeconds = Math.max(this.#latestSeconds, record.integratedAtSeconds);
    this.#records.push(record);
  }

  /**
   * Returns the leaves for the register's reader, good until the next call. An addition that was integrated after `trustedUntilSeconds` is held:
   * whether its signers still may sign was not known any more by then.
   */
  leaves(trustedUntilSeconds: number): readonly StatementLeaf[] {
    if (trustedUntilSeconds !== this.#trustedUntilSeconds) this.#leaves.length = 0;
    this.#trustedUntilSeconds = trustedUntilSeconds;
    while (this.#leaves.length < this.#records.length) {
      const record = this.#records[this.#leaves.length]!;
      this.#leaves.push(toStatementLeaf(record, trustedUntilSeconds, record.name));
    }
    return this.#leaves;
  }
}

/** Describes leaves that the log showed without its witnesses: only what takes a block away counts of them. */
export function* unwitnessedLeaves(byHash: ReadonlyMap<string, Uint8Array>): Generator<StatementLeaf> {
  const reason = 'the log shows it without enough witnesses: it counts once they have signed';
  for (const [hash, bytes] of byHash) {
    const record = describeLeaf(`unwitnessed ${hash.slice(0, 16)}`, bytes, 0, () => bytes);
    const hold: Hold = { code: 'statement-unwitnessed', reason };
    yield toStatementLeaf({ ...record, hold }, Number.POSITIVE_INFINITY, hash);
  }
}

function describeLeaf(name: string, bytes: Uint8Array, latestSeconds: number, read: () => Uint8Array): LeafRecord {
  const sizeBytes = bytes.length;
  try {
    const { integratedAtSeconds } = parseLeaf(bytes);
    const reason = 'it was integrated at an earlier time than a leaf before it';
    const hold: Hold | undefined =
      integratedAtSeconds < latestSeconds ? { code: 'statement-backdated', reason } : undefined;
    return { name, integratedAtSeconds, sizeBytes, hold, read };
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    return { name, integratedAtSeconds: 0, sizeBytes, unreadable: error.message, read };
  }
}

function toStatementLeaf(record: LeafRecord, trustedUntilSeconds: number, key: string): StatementLeaf {
  const { name, integratedAtSeconds, unreadable, read } = record;
  const stale: Hold | undefined =
    integratedAtSeconds > trustedUntilSeconds
      ? { code: 'trust-expired', reason: 'the list of who may sign had expired when it was integrated' }
      : undefined;
  const hold = record.hold ?? stale;
  return {
    name,
    key,
    integratedAtSeconds,
    unreadable,
    held: hold?.code,
    heldReason: hold?.reason,
    get envelope() {
      return unreadable === undefined ? parseLeaf(read()).envelope : new Uint8Array(0);
    },
  };
}
