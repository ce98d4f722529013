import { hash } from 'node:crypto';
import { WartaError } from '../base/errors.ts';

/** Length of a SHA-256 hash. */
export const HASH_BYTES = 32;

/** Root of the tree without leaves: the hash of nothing (RFC 6962 §2.1). */
export const EMPTY_ROOT: Buffer = hash('sha256', '', 'buffer');

/** First byte of what is hashed: a leaf can never be taken for a node (RFC 6962 §2.1). */
const LEAF_PREFIX = Buffer.from([0]);
const NODE_PREFIX = Buffer.from([1]);

/** Returns the hash of a leaf (RFC 6962 §2.1). */
export function hashLeaf(leaf: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([LEAF_PREFIX, leaf]), 'buffer');
}

/** Returns the hash of the node above two hashes (RFC 6962 §2.1). */
export function hashNode(left: Uint8Array, right: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([NODE_PREFIX, left, right]), 'buffer');
}

/** Returns the root of the tree over these leaf hashes (RFC 6962 §2.1). */
export function rootOf(leafHashes: Iterable<Uint8Array>): Buffer {
  const range = CompactRange.empty();
  for (const leafHash of leafHashes) range.append(leafHash);
  return range.root();
}

/**
 * The frontier of a tree: the roots of its complete subtrees, the largest and leftmost first, one for each bit set in the
 * size. It is all that is needed to go on appending, so whoever keeps it and appends the new leaves himself gets the root of
 * the larger tree, which proves that tree an extension of his own without any consistency proof.
 */
export class CompactRange {
  #size: number;
  readonly #hashes: Buffer[];

  /**
   * Takes up a frontier that was kept.
   *
   * @throws {WartaError} `log-invalid` unless there is one hash for each bit set in `size`.
   */
  constructor(size: number, hashes: readonly Uint8Array[]) {
    requireSize(size);
    if (hashes.length !== countBits(size) || hashes.some((one) => one.length !== HASH_BYTES)) {
      throw new WartaError('log-invalid', `these ${hashes.length} hashes are not the frontier of a tree of ${size}`);
    }
    this.#size = size;
    this.#hashes = hashes.map((one) => Buffer.from(one));
  }

  /** Returns the frontier of the tree without leaves. */
  static empty(): CompactRange {
    return new CompactRange(0, []);
  }

  /** Number of leaves. */
  get size(): number {
    return this.#size;
  }

  /** Roots of the complete subtrees, the largest first. */
  get hashes(): readonly Buffer[] {
    return this.#hashes;
  }

  /** Appends a leaf by its hash. */
  append(leafHash: Uint8Array): void {
    let top: Buffer = Buffer.from(leafHash);
    for (let rest = this.#size; rest % 2 === 1; rest = half(rest)) top = hashNode(this.#hashes.pop()!, top);
    this.#hashes.push(top);
    this.#size++;
  }

  /** Returns the root of the tree. */
  root(): Buffer {
    if (this.#size === 0) return EMPTY_ROOT;
    return this.#hashes.reduceRight((right, left) => hashNode(left, right));
  }

  /** Returns a frontier that can be appended to without changing this one. */
  clone(): CompactRange {
    return new CompactRange(this.#size, this.#hashes);
  }
}

/** Half of a size, rounded down. Sizes go to 2^53, past what the shift operators can hold. */
function half(size: number): number {
  return Math.floor(size / 2);
}

function countBits(size: number): number {
  let bits = 0;
  for (let rest = size; rest > 0; rest = half(rest)) bits += rest % 2;
  return bits;
}

function requireSize(size: number): void {
  if (!Number.isSafeInteger(size) || size < 0) throw new WartaError('log-invalid', `${size} is no size of a tree`);
}

/**
 * Verifies that the leaf with this hash is at `index` of the tree of `size` leaves with this root (RFC 9162 §2.1.3.2).
 *
 * @throws {WartaError} `log-invalid` when it does not follow, whatever is wrong.
 */
export function verifyInclusion(
  leafHash: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): void {
  requireSize(index);
  requireSize(size);
  if (index >= size) throw new WartaError('log-invalid', `a tree of ${size} has no leaf ${index}`);
  requireHashes([leafHash, root, ...proof]);
  const walk = new ProofWalk(index, size - 1);
  let above: Uint8Array = leafHash;
  for (const hash of proof) above = walk.climb() ? hashNode(hash, above) : hashNode(above, hash);
  if (!walk.atTop || !isSame(above, root)) {
    throw new WartaError('log-invalid', `the proof does not put this leaf at ${index} of the tree of ${size}`);
  }
}

/**
 * Verifies that the tree of `size2` leaves begins with the leaves of the tree of `size1` (RFC 9162 §2.1.4.2).
 *
 * `size1` must be above zero: every tree begins with the empty one, so such a proof would say nothing about `root2`, and a
 * caller that knows nothing yet must say so itself. The same size twice needs the same root and no proof.
 *
 * @throws {WartaError} `log-invalid` when it does not follow, whatever is wrong.
 */
export function verifyConsistency(
  size1: number,
  size2: number,
  root1: Uint8Array,
  root2: Uint8Array,
  proof: readonly Uint8Array[],
): void {
  requireSize(size1);
  requireSize(size2);
  if (size1 === 0 || size1 > size2) throw new WartaError('log-invalid', `nothing proves ${size1} a start of ${size2}`);
  const roots = size1 === size2 ? foldEqual(root1, proof) : foldConsistency(size1, size2, root1, proof);
  if (roots === undefined || !isSame(roots[0], root1) || !isSame(roots[1], root2)) {
    throw new WartaError(
      'log-invalid',
      `the proof does not make the tree of ${size2} an extension of that of ${size1}`,
    );
  }
}

/** Two roots that a proof leads to, the smaller tree's first; `undefined` when it has too few or too many hashes. */
type Roots = readonly [Uint8Array, Uint8Array] | undefined;

/** A tree extends itself without any proof. */
function foldEqual(root: Uint8Array, proof: readonly Uint8Array[]): Roots {
  return proof.length === 0 ? [root, root] : undefined;
}

/** Folds a proof between two different sizes. A smaller tree that is one complete subtree is its own first hash. */
function foldConsistency(size1: number, size2: number, root1: Uint8Array, proof: readonly Uint8Array[]): Roots {
  requireHashes([root1, ...proof]);
  const hashes = countBits(size1) === 1 ? [root1, ...proof] : proof;
  if (proof.length === 0) return undefined;
  const walk = new ProofWalk(size1 - 1, size2 - 1);
  walk.skipRightTurns();
  let smaller = hashes[0];
  let larger = hashes[0];
  for (const hash of hashes.slice(1)) {
    if (walk.climb()) {
      smaller = hashNode(hash, smaller);
      larger = hashNode(hash, larger);
    } else {
      larger = hashNode(larger, hash);
    }
  }
  return walk.atTop ? [smaller, larger] : undefined;
}

/** A walk from a leaf up to the root, beside the walk from the last leaf: `fn` and `sn` in RFC 9162 §2.1.3.2. */
class ProofWalk {
  #at: number;
  #last: number;
  #overrun = false;

  constructor(index: number, lastIndex: number) {
    this.#at = index;
    this.#last = lastIndex;
  }

  /** Whether the root was reached by as many hashes as it takes. */
  get atTop(): boolean {
    return this.#last === 0 && !this.#overrun;
  }

  /** Goes up past one hash of the proof; returns whether that hash is on the left. */
  climb(): boolean {
    if (this.#last === 0) this.#overrun = true;
    const onLeft = this.#at % 2 === 1 || this.#at === this.#last;
    if (onLeft) while (this.#at % 2 === 0 && this.#at !== 0) this.#rise();
    this.#rise();
    return onLeft;
  }

  /** Goes up while the node is a right child: there the two trees do not differ. */
  skipRightTurns(): void {
    while (this.#at % 2 === 1) this.#rise();
  }

  #rise(): void {
    this.#at = half(this.#at);
    this.#last = half(this.#last);
  }
}

function requireHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.some((one) => one.length !== HASH_BYTES)) {
    throw new WartaError('log-invalid', `a proof has a hash that is not ${HASH_BYTES} bytes`);
  }
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
