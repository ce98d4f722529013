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
 * unevenly. With this much more the formula below stays under a target of 1 in 100 or 1 in 1,000.
 */
const SPLIT_BLOCK_ALLOWANCE = 1.12;

/** Odd multipliers, one a lane, from which the bit numbers come: the ones Apache Parquet's split-block filter fixes. */
const SALT_0 = 0x47b6137b;
const SALT_1 = 0x44974d91;
const SALT_2 = 0x8824ad5b | 0;
const SALT_3 = 0xa2b7289d | 0;
const SALT_4 = 0x705495c7;
const SALT_5 = 0x2df1424b;
const SALT_6 = 0x9efc4947 | 0;
const SALT_7 = 0x5c6bfb31;
const SALTS = [SALT_0, SALT_1, SALT_2, SALT_3, SALT_4, SALT_5, SALT_6, SALT_7];

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
    const bit = Math.imul(second, SALTS[lane]!) >>> 26;
    const word = base + lane * 2 + (bit >>> 5);
    filter[word] = filter[word]! | (1 << (bit & 31));
  }
}

/**
 * Whether the filter may hold this hash: false is certain, true is a hint.
 *
 * Four lanes are read without a branch, then the other four: whether a single bit is set is close to a coin toss, and a
 * mispredicted branch costs as much as all eight reads of the one cache line.
 */
export function mayContain(filter: Uint32Array, blocks: number, first: number, second: number): boolean {
  const base = reduceTo(first, blocks) * WORDS_PER_BLOCK;
  const b0 = Math.imul(second, SALT_0) >>> 26;
  const b1 = Math.imul(second, SALT_1) >>> 26;
  const b2 = Math.imul(second, SALT_2) >>> 26;
  const b3 = Math.imul(second, SALT_3) >>> 26;
  const half =
    (filter[base + (b0 >>> 5)]! >>> (b0 & 31)) &
    (filter[base + 2 + (b1 >>> 5)]! >>> (b1 & 31)) &
    (filter[base + 4 + (b2 >>> 5)]! >>> (b2 & 31)) &
    (filter[base + 6 + (b3 >>> 5)]! >>> (b3 & 31));
  return (half & 1) !== 0 && mayContainRest(filter, base, second);
}

/** The other four lanes. */
function mayContainRest(filter: Uint32Array, base: number, second: number): boolean {
  const b4 = Math.imul(second, SALT_4) >>> 26;
  const b5 = Math.imul(second, SALT_5) >>> 26;
  const b6 = Math.imul(second, SALT_6) >>> 26;
  const b7 = Math.imul(second, SALT_7) >>> 26;
  const half =
    (filter[base + 8 + (b4 >>> 5)]! >>> (b4 & 31)) &
    (filter[base + 10 + (b5 >>> 5)]! >>> (b5 & 31)) &
    (filter[base + 12 + (b6 >>> 5)]! >>> (b6 & 31)) &
    (filter[base + 14 + (b7 >>> 5)]! >>> (b7 & 31));
  return (half & 1) !== 0;
}
