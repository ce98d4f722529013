import { type ErrorCode, WartaError } from '../base/errors.ts';
import { type Leaf, parseLeaf } from '../register/leaf.ts';
import type { StatementLeaf } from '../register/verify-statement.ts';

/** The leaves of the log in order: when each was integrated, and whether it goes back in time. */
export class LeafRecords {
  readonly #read: (index: number) => Uint8Array;
  readonly #leaves: LogLeaf[] = [];
  /** Latest time of any leaf so far: none after it may be earlier. */
  #latestSeconds = 0;
  #trustedUntilSeconds = Number.POSITIVE_INFINITY;

  /** @param read returns the octets of a leaf again, which stay in the store until they are asked for. */
  constructor(read: (index: number) => Uint8Array) {
    this.#read = read;
  }

  get count(): number {
    return this.#leaves.length;
  }

  /** Additions that were integrated later are held. */
  get trustedUntilSeconds(): number {
    return this.#trustedUntilSeconds;
  }

  sizeBytes(index: number): number {
    return this.#leaves[index]!.sizeBytes;
  }

  /** Returns the octets of a leaf. */
  read(index: number): Uint8Array {
    return this.#read(index);
  }

  /** Counts the leaves that were integrated after a time. */
  countAfter(seconds: number): number {
    let count = 0;
    for (const { integratedAtSeconds } of this.#leaves) if (integratedAtSeconds > seconds) count++;
    return count;
  }

  /** Forgets the leaves from `count` on. */
  truncate(count: number): void {
    if (count >= this.#leaves.length) return;
    this.#leaves.length = count;
    this.#latestSeconds = 0;
    for (const { integratedAtSeconds } of this.#leaves) {
      this.#latestSeconds = Math.max(this.#latestSeconds, integratedAtSeconds);
    }
  }

  append(bytes: Uint8Array): void {
    const leaf = new LogLeaf(this, this.#leaves.length, bytes, this.#latestSeconds);
    this.#latestSeconds = Math.max(this.#latestSeconds, leaf.integratedAtSeconds);
    this.#leaves.push(leaf);
  }

  /**
   * Returns the leaves for the register's reader, good until the next call. An addition that was integrated after
   * `trustedUntilSeconds` is held: whether its signers still may sign was not known any more by then.
   */
  leaves(trustedUntilSeconds: number): readonly StatementLeaf[] {
    this.#trustedUntilSeconds = trustedUntilSeconds;
    return this.#leaves;
  }
}

/** A leaf of the log as the register's reader takes it. There may be a million: what can be had from elsewhere is not kept. */
class LogLeaf implements StatementLeaf {
  readonly name: string;
  readonly integratedAtSeconds: number;
  readonly sizeBytes: number;
  readonly unreadable: string | undefined;
  readonly #log: LeafRecords;
  readonly #index: number;
  readonly #isBackdated: boolean;

  constructor(log: LeafRecords, index: number, bytes: Uint8Array, latestSeconds: number) {
    const leaf = tryParse(bytes);
    this.name = `#${index}`;
    this.integratedAtSeconds = leaf instanceof WartaError ? 0 : leaf.integratedAtSeconds;
    this.sizeBytes = bytes.length;
    this.unreadable = leaf instanceof WartaError ? leaf.message : undefined;
    this.#log = log;
    this.#index = index;
    this.#isBackdated = this.unreadable === undefined && this.integratedAtSeconds < latestSeconds;
  }

  get key(): string {
    return this.name;
  }

  get held(): ErrorCode | undefined {
    if (this.#isBackdated) return 'statement-backdated';
    return this.integratedAtSeconds > this.#log.trustedUntilSeconds ? 'trust-expired' : undefined;
  }

  get heldReason(): string | undefined {
    if (this.#isBackdated) return 'it was integrated at an earlier time than a leaf before it';
    return this.held && 'the list of who may sign had expired when it was integrated';
  }

  get envelope(): Uint8Array {
    return this.unreadable === undefined ? parseLeaf(this.#log.read(this.#index)).envelope : NOTHING;
  }
}

const NOTHING = new Uint8Array(0);

/** Describes leaves that the log showed without its witnesses: only what takes a block away counts of them. */
export function* unwitnessedLeaves(byHash: ReadonlyMap<string, Uint8Array>): Generator<StatementLeaf> {
  for (const [hash, bytes] of byHash) {
    const leaf = tryParse(bytes);
    const isReadable = !(leaf instanceof WartaError);
    yield {
      name: `unwitnessed ${hash.slice(0, 16)}`,
      key: hash,
      integratedAtSeconds: isReadable ? leaf.integratedAtSeconds : 0,
      unreadable: isReadable ? undefined : leaf.message,
      held: 'statement-unwitnessed',
      heldReason: 'the log shows it without enough witnesses: it counts once they have signed',
      envelope: isReadable ? leaf.envelope : NOTHING,
    };
  }
}

/** Takes a leaf apart, or returns why that cannot be done. */
function tryParse(bytes: Uint8Array): Leaf | WartaError {
  try {
    return parseLeaf(bytes);
  } catch (error) {
    if (error instanceof WartaError) return error;
    throw error;
  }
}
