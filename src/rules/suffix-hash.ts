/**
 * The keyed hash of a name's suffixes: two 32-bit lanes, one xor and one multiply an octet, from the last octet of the name
 * (root octet left out) to the first. Within a label (its text and its length octet) the octets go to lane A and lane B in
 * turn, so that the processor works on both at once. After the length octet of any label the lanes hold the hash of the
 * suffix that starts there: one pass yields every suffix. Only 32-bit integer steps, so that a kernel program can do the same.
 *
 * Octets are taken without bit 5, which makes letters of either case equal for one instruction instead of a table look-up.
 * It also makes some octets equal that are not (33 and 1): names are compared exactly afterwards.
 *
 * It need not resist collisions: a collision costs one comparison of names, never a wrong answer. The seed, random for each
 * table, keeps anyone from preparing names that hit the filter.
 */
export const LANE_A = 0x01000193;
export const CASE_MASK = 0xdf;
export const LANE_B = 0x85ebca6b | 0;

/** The two words of a finished suffix hash: `first` picks the block and the slot, `second` the bits and the tag. */
export interface SuffixHash {
  first: number;
  second: number;
}

/** Finishes lane values into the first word. */
export function finishFirst(a: number, b: number): number {
  let h = Math.imul(a ^ (a >>> 16), 0x7feb352d) ^ b;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Finishes lane values into the second word. */
export function finishSecond(a: number, b: number): number {
  let h = Math.imul(b ^ (b >>> 15), 0x2c1b3c6d) ^ a;
  h = Math.imul(h ^ (h >>> 13), 0x297a2d39);
  return (h ^ (h >>> 15)) >>> 0;
}

/** Hashes the whole wire name at `offset`, whose root octet is at `rootAt`. */
export function hashName(
  wire: Uint8Array,
  offset: number,
  rootAt: number,
  seedA: number,
  seedB: number,
  out: SuffixHash,
): void {
  const starts: number[] = [];
  for (let at = offset; at < rootAt; at += wire[at]! + 1) starts.push(at);
  let a = seedA;
  let b = seedB;
  let end = rootAt;
  for (let label = starts.length - 1; label >= 0; label--) {
    const start = starts[label]!;
    let i = end - 1;
    for (; i > start; i -= 2) {
      a = Math.imul(a ^ (wire[i]! & CASE_MASK), LANE_A);
      b = Math.imul(b ^ (wire[i - 1]! & CASE_MASK), LANE_B);
    }
    if (i === start) a = Math.imul(a ^ (wire[i]! & CASE_MASK), LANE_A);
    end = start;
  }
  out.first = finishFirst(a, b);
  out.second = finishSecond(a, b);
}

/** Maps a 32-bit word evenly onto `[0, count)`, `count` below 2^31, without a division: the product's high part. */
export function reduceTo(word: number, count: number): number {
  return (word * count * 2 ** -32) | 0;
}
