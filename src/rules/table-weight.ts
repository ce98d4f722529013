/** Smaller tables are not worth the trouble. */
const LEAST_BYTES = 1 << 18;

const weights = new WeakMap<SharedArrayBuffer, ArrayBuffer>();

/**
 * Makes this thread's collector see how large a table is; every thread that holds one calls it once for each.
 *
 * The collector does not count shared memory: a thread that takes a new table now and then and allocates little else keeps
 * every old one (1.8 GB after 24 tables of 71 MB). Ordinary buffers do count, so one of the same size, which goes with the
 * table and is never touched, has the old tables collected in time (0.3 GB, 5 ms a collection in a thread that holds little
 * else). The system gives no memory for pages that nobody touches.
 */
export function weighTable(table: SharedArrayBuffer): void {
  if (table.byteLength < LEAST_BYTES || weights.has(table)) return;
  weights.set(table, new ArrayBuffer(table.byteLength));
}
