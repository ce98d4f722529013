import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { allocateTable } from '../base/libc.ts';
import { RuleTable } from './rule-table.ts';

const DIGEST_BYTES = 32;
/** read(2) moves at most 2^31 - 4096 bytes a call. */
const READ_CHUNK_BYTES = 1 << 30;

/** Saves a table's bytes and the SHA-256 of them, for its owner's eyes: sealed names are in it. */
export function saveTable(path: string, table: SharedArrayBuffer): void {
  const bytes = new Uint8Array(table);
  writeDurably(path, [bytes, digestOf(bytes)], 0o600);
}

/**
 * Loads a saved table.
 *
 * @throws {WartaError} `store-failed` when it cannot be read (`cause` tells; a missing file has ENOENT there),
 *   `table-damaged` when its hash is wrong, `table-foreign` when another version wrote it. Rebuild it in each case.
 */
export function loadTable(path: string): RuleTable {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    throw new WartaError('store-failed', `cannot read the saved table ${path}`, { cause });
  }
  try {
    const sizeBytes = fstatSync(file).size - DIGEST_BYTES;
    if (sizeBytes <= 0) throw new WartaError('table-damaged', `the saved table ${path} is cut short`);
    const buffer = allocateTable(sizeBytes);
    const bytes = new Uint8Array(buffer);
    const digest = new Uint8Array(DIGEST_BYTES);
    readFully(file, bytes, 0);
    readFully(file, digest, sizeBytes);
    if (Buffer.compare(digestOf(bytes), digest) !== 0) {
      throw new WartaError('table-damaged', `the saved table ${path} does not match its hash`);
    }
    return new RuleTable(buffer);
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    throw new WartaError('store-failed', `cannot read the saved table ${path}`, { cause });
  } finally {
    closeSync(file);
  }
}

function readFully(file: number, into: Uint8Array, position: number): void {
  for (let at = 0; at < into.length; ) {
    const count = readSync(file, into, at, Math.min(READ_CHUNK_BYTES, into.length - at), position + at);
    if (count === 0) throw new WartaError('table-damaged', 'the saved table ends early');
    at += count;
  }
}

/** SHA-256 of a table: also what a receipt would quote. */
export function digestOf(bytes: Uint8Array): Buffer {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += READ_CHUNK_BYTES) hash.update(bytes.subarray(at, at + READ_CHUNK_BYTES));
  return hash.digest();
}
