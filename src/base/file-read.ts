import { readSync } from 'node:fs';

/** Largest single read(2): Linux moves at most 2^31 - 4096 bytes a call. */
const READ_CHUNK_BYTES = 1 << 30;

/** Reads from `position` of an open file until `into` is full or the file ends; returns the bytes read. */
export function readInto(file: number, into: Uint8Array, position = 0): number {
  let at = 0;
  while (at < into.length) {
    const count = readSync(file, into, at, Math.min(READ_CHUNK_BYTES, into.length - at), position + at);
    if (count === 0) break;
    at += count;
  }
  return at;
}
