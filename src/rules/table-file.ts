import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { readInto } from '../base/file-read.ts';
import { allocateTable } from '../base/libc.ts';
import { RuleTable } from './rule-table.ts';

const DIGEST_BYTES = 32;
/** Octets hashed at once. */
const HASH_CHUNK_BYTES = 1 << 30;

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
    const count = readInto(file, bytes) + readInto(file, digest, sizeBytes);
    if (count < sizeBytes + DIGEST_BYTES) throw new WartaError('table-damaged', `the saved table ${path} ends early`);
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

/** SHA-256 of a table: also what a receipt would quote. */
export function digestOf(bytes: Uint8Array): Buffer {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASH_CHUNK_BYTES) hash.update(bytes.subarray(at, at + HASH_CHUNK_BYTES));
  return hash.digest();
}
