import { createHash } from 'node:crypto';

/** RFC 6962 §2.1 word for word, as slow as it comes: what the tree in src/log is compared with. */

const sha256 = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();

/** MTH(D[n]) of RFC 6962 §2.1. */
export function naiveRoot(leaves: readonly Uint8Array[]): Buffer {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return sha256(Buffer.from([0]), leaves[0]!);
  const split = naiveSplit(leaves.length);
  return sha256(Buffer.from([1]), naiveRoot(leaves.slice(0, split)), naiveRoot(leaves.slice(split)));
}

/** PATH(m, D[n]) of RFC 6962 §2.1.1. */
export function naivePath(index: number, leaves: readonly Uint8Array[]): Buffer[] {
  if (leaves.length === 1) return [];
  const split = naiveSplit(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  if (index < split) return [...naivePath(index, left), naiveRoot(right)];
  return [...naivePath(index - split, right), naiveRoot(left)];
}

/** PROOF(m, D[n]) of RFC 6962 §2.1.2, for 0 < m < n. */
export function naiveProof(size: number, leaves: readonly Uint8Array[], isWhole = true): Buffer[] {
  if (size === leaves.length) return isWhole ? [] : [naiveRoot(leaves)];
  const split = naiveSplit(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  if (size <= split) return [...naiveProof(size, left, isWhole), naiveRoot(right)];
  return [...naiveProof(size - split, right, false), naiveRoot(left)];
}

/** The largest power of two smaller than n. */
function naiveSplit(n: number): number {
  return 2 ** (Math.ceil(Math.log2(n)) - 1);
}

/** Leaves that differ. */
export function makeLeaves(count: number, label = 'leaf'): Buffer[] {
  return Array.from({ length: count }, (_, at) => Buffer.from(`${label} ${at}`));
}
