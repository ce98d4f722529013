import formulas from 'bloom-filters/dist/formulas.js';
import { LINE_BYTES } from './layout.ts';
import { reduceTo } from './suffix-hash.ts';

/** 64-bit lanes of a block; each name sets one bit in each. */
export const LANES = 8;
const LANE_BITS = 64;
const WORDS_PER_BLOCK = LINE_BYTES / 4;
const BLOCK_BITS = LINE_BYTES * 8;

/**
 * Share of a classic filter's size that a split-block filter needs more for the same false-positive rate: blocks fill
 * unevenly. With a tenth more the formula below stays under the target at every size (see the test).
 */
const SPLIT_BLOCK_ALLOWANCE = 1.12;

/** Odd multipliers, one a lane, from which the bit numbers come: the ones Apache Parquet's split-block filter fixes. */
export const SALT = Int32Array.of(
  0x47b6137b,
  0x44974d91,
  0x8824ad5b | 0,
  0xa2b7289d | 0,
  0x705495c7,
  0x2df1424b,
  0x9efc4947 | 0,
  0x5c6bfb31,
);

/** Returns how many 64-byte blocks hold `names` names at about `falsePositiveRate`. */
export function sizeFilter(names: number, falsePositiveRate: number): number {
  const bits = formulas.optimalFilterSize(Math.max(1, names), falsePositiveRate) * SPLIT_BLOCK_ALLOWANCE;
  return Math.max(1, Math.ceil(bits / BLOCK_BITS));
}

/**
 * Returns the expected false-positive rate of `names` names in `blocks` blocks: the number of names in a block is Poisson
 * distributed, and a block with k names has each lane's bit set with probability 1 - (1 - 1/64)^k.
 */
export function falsePositiveRate(names: number, blocks: number): number {
  const mean = names / blocks;
  let rate = 0;
  let poisson = Math.exp(-mean);
  for (let k = 1; k <= mean * 4 + 64; k++) {
    poisson *= mean / k;
    rate += poisson * (1 - (1 - 1 / LANE_BITS) ** k) ** LANES;
  }
  return rate;
}

/** Sets the bits of one hash. `filter` is the filter section as words. */
export function addToFilter(filter: Uint32Array, blocks: number, first: number, second: number): void {
  const base = reduceTo(first, blocks) * WORDS_PER_BLOCK;
  for (let lane = 0; lane < LANES; lane++) {
    const bit = Math.imul(second, SALT[lane]!) >>> 26;
    const word = base + lane * 2 + (bit >>> 5);
    filter[word] = filter[word]! | (1 << (bit & 31));
  }
}

/** Whether the filter may hold this hash: false is certain, true is a hint. Written out again in `RuleTable.findRule`. */
export function mayContain(filter: Uint32Array, blocks: number, first: number, second: number): boolean {
  const base = reduceTo(first, blocks) * WORDS_PER_BLOCK;
  for (let lane = 0; lane < LANES; lane++) {
    const bit = Math.imul(second, SALT[lane]!) >>> 26;
    if (((filter[base + lane * 2 + (bit >>> 5)]! >>> (bit & 31)) & 1) === 0) return false;
  }
  return true;
}
