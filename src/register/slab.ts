const SLAB_BYTES = 1 << 16;
/** What is larger gets memory of its own: a slab stays as long as anything in it is used. */
const LARGEST_SHARED_BYTES = SLAB_BYTES / 16;
/** Every piece starts at a whole word. */
const ALIGNMENT = 4;

let slab = new ArrayBuffer(0);
let used = 0;

/**
 * Returns memory for so many octets that stays in use for long. Small pieces share a slab: ten thousand small buffers of
 * their own would take as much again for their bookkeeping. Node's own pool will not do, as every passing buffer takes from
 * it too, and one octet kept would keep 64 kB of them.
 */
export function allocateKept(sizeBytes: number): Buffer<ArrayBuffer> {
  if (sizeBytes > LARGEST_SHARED_BYTES) return Buffer.allocUnsafeSlow(sizeBytes);
  const size = Math.ceil(sizeBytes / ALIGNMENT) * ALIGNMENT;
  if (used + size > slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BYTES);
    used = 0;
  }
  const piece = Buffer.from(slab, used, sizeBytes);
  used += size;
  return piece;
}
