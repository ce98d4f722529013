import { releaseMemory } from '../base/libc.ts';

const CHUNK_BYTES = 1 << 18;

/** Collects many small pieces of bytes without an object for each: a hundred thousand notices have twice as many. */
export class ByteCollector {
  readonly #chunks: Uint8Array[] = [];
  /** Octets in the last chunk. */
  #used = CHUNK_BYTES;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Uint8Array): void {
    this.#length += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === CHUNK_BYTES) {
        this.#chunks.push(new Uint8Array(CHUNK_BYTES));
        this.#used = 0;
      }
      const piece = bytes.subarray(at, at + CHUNK_BYTES - this.#used);
      this.#chunks.at(-1)!.set(piece, this.#used);
      this.#used += piece.length;
      at += piece.length;
    }
  }

  /** Moves everything to the start of `target`. */
  moveTo(target: Uint8Array): void {
    this.#chunks.forEach((chunk, i) => {
      target.set(chunk.subarray(0, Math.min(CHUNK_BYTES, this.#length - i * CHUNK_BYTES)), i * CHUNK_BYTES);
      releaseMemory(chunk);
    });
    this.#chunks.length = 0;
    this.#used = CHUNK_BYTES;
    this.#length = 0;
  }
}
