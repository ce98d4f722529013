/** Bits of the code of each octet, and of the end of a string (RFC 7541 Appendix B). The code is canonical, so they say it all. */
// biome-ignore format: rows of sixteen
const CODE_BITS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const END_OF_STRING = 256;
/** Shortest code: a string is at most so much shorter in code than in octets. */
const LEAST_BITS = 5;

/*
 * The code is read four bits at a time. A state is the inner node of the code tree that the bits so far lead to, the root 0;
 * a step is the next state, with the octet that was completed on the way in the bits above. No code is shorter than four bits,
 * so that one step completes at most one. A whole tree has one inner node fewer than leaves: 256 states, 4096 steps.
 */
const STATE_MASK = 0xff;
const OCTET_SHIFT = 8;
const HAS_OCTET = 0x10000;
/** The end of a string may not be written (RFC 7541 §5.2). */
const FAILED = 0x20000;
const STEPS = new Uint32Array(256 * 16);
/** States in which a string may end: after up to seven bits, all of them 1, of a code that is not complete. */
const IS_END = new Uint8Array(256);
buildSteps();

/** Most octets that `length` octets of code stand for. */
export function decodedBound(length: number): number {
  return Math.floor((length * 8) / LEAST_BITS);
}

/**
 * Decodes `source[at, at + length)` (RFC 7541 §5.2) into `target`, which has room for `decodedBound(length)`. Returns the
 * octets written, or -1 when it is no Huffman code: the end of a string within it, or other padding than up to seven bits 1.
 */
export function decodeHuffman(source: Uint8Array, at: number, length: number, target: Uint8Array): number {
  let state = 0;
  let written = 0;
  const end = at + length;
  for (let i = at; i < end; i++) {
    const octet = source[i]!;
    let step = STEPS[(state << 4) | (octet >>> 4)]!;
    if (step >= HAS_OCTET) {
      if (step >= FAILED) return -1;
      target[written++] = step >>> OCTET_SHIFT;
    }
    step = STEPS[((step & STATE_MASK) << 4) | (octet & 15)]!;
    if (step >= HAS_OCTET) {
      if (step >= FAILED) return -1;
      target[written++] = step >>> OCTET_SHIFT;
    }
    state = step & STATE_MASK;
  }
  return IS_END[state] === 1 ? written : -1;
}

/** Builds the code tree (two children for each inner node; leaves are negative), then the steps. */
function buildSteps(): void {
  const children: number[] = [0, 0];
  const symbols = CODE_BITS.map((_bits, symbol) => symbol);
  symbols.sort((a, b) => CODE_BITS[a]! - CODE_BITS[b]! || a - b);
  let code = 0;
  let bits = 0;
  for (const symbol of symbols) {
    code <<= CODE_BITS[symbol]! - bits;
    bits = CODE_BITS[symbol]!;
    let node = 0;
    for (let bit = bits - 1; bit > 0; bit--) {
      const place = 2 * node + ((code >>> bit) & 1);
      if (children[place] === 0) {
        children[place] = children.length / 2;
        children.push(0, 0);
      }
      node = children[place]!;
    }
    children[2 * node + (code & 1)] = -1 - symbol;
    code++;
  }
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < 16; nibble++) STEPS[(state << 4) | nibble] = takeStep(children, state, nibble);
  }
  for (let depth = 0, state = 0; depth <= 7; depth++, state = children[2 * state + 1]!) IS_END[state] = 1;
}

function takeStep(children: readonly number[], state: number, nibble: number): number {
  let node = state;
  let completed = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const child = children[2 * node + ((nibble >>> bit) & 1)]!;
    if (child === -1 - END_OF_STRING) return FAILED;
    if (child < 0) completed = HAS_OCTET | ((-1 - child) << OCTET_SHIFT);
    node = Math.max(0, child);
  }
  return completed | node;
}
