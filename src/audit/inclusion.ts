import { WartaError } from '../base/errors.ts';
import { HASH_BYTES, hashNode } from '../log/merkle.ts';

/**
 * Returns the proof that leaf `index` is in the tree over these leaf hashes (RFC 6962 §2.1.1), the hash nearest to the
 * leaf first. `hashes` holds them end to end and is overwritten. Pairing level by level with an odd one carried up
 * gives the tree that the RFC splits at powers of two.
 */
export function proveAmong(hashes: Buffer, index: number): Buffer[] {
  const count = hashes.length / HASH_BYTES;
  if (!(index >= 0 && index < count)) throw new WartaError('log-invalid', `a tree of ${count} has no leaf ${index}`);
  const at = (place: number) => hashes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES);
  const proof: Buffer[] = [];
  for (let width = count, place = index; width > 1; width = (width + 1) >>> 1, place >>>= 1) {
    const sibling = place ^ 1;
    if (sibling < width) proof.push(Buffer.from(at(sibling)));
    for (let pair = 0; pair < width >>> 1; pair++) hashNode(at(2 * pair), at(2 * pair + 1)).copy(at(pair));
    if (width & 1) at(width - 1).copy(at(width >>> 1));
  }
  return proof;
}
