import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { WartaError } from './errors.ts';

/** Largest single write(2): Linux moves at most 2^31 - 4096 bytes a call. */
const WRITE_CHUNK_BYTES = 1 << 30;

/**
 * Writes `data` to `path` so that after a crash the file holds either the old bytes or the new ones, never a mixture:
 * write beside it, fsync, rename, fsync the folder. Several parts are written one after another. `mode` defaults to 0644; pass 0600 for secrets.
 *
 * @throws {WartaError} `store-failed` with the cause (full disk, permission); the old file is then untouched.
 */
export function writeDurably(path: string, data: Uint8Array | string | readonly Uint8Array[], mode = 0o644): void {
  const parts = typeof data === 'string' ? [Buffer.from(data)] : data instanceof Uint8Array ? [data] : data;
  const folder = dirname(path);
  const staged = `${path}.staged`; // one writer a file; what a killed process left is written over
  try {
    mkdirSync(folder, { recursive: true });
    const file = openSync(staged, 'w', mode);
    try {
      for (const part of parts) writeFully(file, part);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(staged, path);
    syncFolder(folder);
  } catch (cause) {
    removeQuietly(staged);
    throw new WartaError('store-failed', `cannot write ${path}: check the disk's space and the folder's owner`, {
      cause,
    });
  }
}

/** Removes what a failed write left; the failure itself is what gets reported. */
function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Its folder may not exist.
  }
}

function writeFully(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(file, bytes, at, Math.min(WRITE_CHUNK_BYTES, bytes.length - at));
  }
}

/** Makes a rename in `folder` survive a power cut. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
