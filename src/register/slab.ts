/** A piece of memory as octets and as words. */
export interface Slab {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
}

/** Room inside a slab, from `at` (in octets, a whole number of words) on. */
export interface Place {
  readonly slab: Slab;
  readonly at: number;
}

const SLAB_BYTES = 1 << 16;
/** What is larger gets a slab of its own: a shared one stays as long as anything in it is used. */
const LARGEST_SHARED_BYTES = SLAB_BYTES / 8;
const WORD_BYTES = 4;

let shared = createSlab(0);
let used = 0;

/** Creates a slab of at least so many octets. */
export function createSlab(sizeBytes: number): Slab {
  const memory = new ArrayBuffer(Math.ceil(sizeBytes / WORD_BYTES) * WORD_BYTES);
  return { bytes: Buffer.from(memory), words: new Uint32Array(memory) };
}

/**
 * Returns room for so many octets that stay in use for long. Small pieces share a slab, without a view of their own: the
 * bookkeeping of a hundred thousand small buffers takes more than what is in them. Node's own pool will not do, as every
 * passing buffer takes from it too, and one octet kept would keep 64 kB of them.
 */
export function findRoom(sizeBytes: number): Place {
  if (sizeBytes > LARGEST_SHARED_BYTES) return { slab: createSlab(sizeBytes), at: 0 };
  if (used + sizeBytes > shared.bytes.length) {
    shared = createSlab(SLAB_BYTES);
    used = 0;
  }
  const at = used;
  used += Math.ceil(sizeBytes / WORD_BYTES) * WORD_BYTES;
  return { slab: shared, at };
}
