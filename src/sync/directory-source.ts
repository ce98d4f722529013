import { createHash, hash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WartaError } from '../base/errors.ts';
import { STATEMENT_MAX_BYTES } from '../register/statement.ts';
import type { StatementLeaf } from '../register/verify-statement.ts';
import type { SourceReading, StatementSource } from './statement-source.ts';

/** Folders of a register directory. */
export const STATEMENTS_FOLDER = 'statements';
export const ANNEXES_FOLDER = 'annexes';

/** Most statements read from one directory. */
const MAX_STATEMENTS = 1_000_000;
/** How many files are looked at together while checking for changes. */
const STAT_BATCH = 256;

/**
 * A register in a directory: `statements/*.json` holds one DSSE envelope a file, `annexes/<digest>.jsonl` the annexes by
 * digest. Whoever may write to the directory may add, withhold and remove statements, but not make one.
 */
export class DirectorySource implements StatementSource {
  readonly #statements: string;
  readonly #annexes: string;

  constructor(directory: string) {
    this.#statements = join(directory, STATEMENTS_FOLDER);
    this.#annexes = join(directory, ANNEXES_FOLDER);
  }

  read(): SourceReading {
    const fingerprint = createHash('sha256');
    const leaves: StatementLeaf[] = [];
    for (const name of listStatements(this.#statements)) {
      // One octet more than allowed is read, so that an oversized file is seen to be one.
      const envelope = readBounded(join(this.#statements, name), STATEMENT_MAX_BYTES + 1);
      if (envelope === undefined) continue; // removed meanwhile; the next look finds out
      leaves.push({ name, envelope });
      fingerprint.update(`${name}\0${hash('sha256', envelope)}\n`);
    }
    for (const name of listFolder(this.#annexes).sort()) {
      const { size, mtimeMs } = statSync(join(this.#annexes, name));
      fingerprint.update(`${name}\0${size}\0${mtimeMs}\n`);
    }
    return {
      leaves,
      annexes: { read: (digest, maxBytes) => readBounded(join(this.#annexes, `${digest}.jsonl`), maxBytes + 1) },
      fingerprint: fingerprint.digest('hex'),
    };
  }

  async version(): Promise<string> {
    const digest = createHash('sha256');
    for (const folder of [this.#statements, this.#annexes]) {
      const names = await readdir(folder).catch(() => [] as string[]);
      names.sort();
      for (let at = 0; at < names.length; at += STAT_BATCH) {
        const batch = names.slice(at, at + STAT_BATCH);
        const stats = await Promise.all(batch.map((name) => stat(join(folder, name)).catch(() => undefined)));
        batch.forEach((name, i) => {
          digest.update(`${name}\0${stats[i]?.size}\0${stats[i]?.mtimeMs}\0${stats[i]?.ino}\n`);
        });
      }
    }
    return digest.digest('hex');
  }
}

/** @throws {WartaError} `store-failed` when there is no such folder, or too many statements in it. */
function listStatements(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (cause) {
    throw new WartaError('store-failed', `cannot read ${folder}: check register.directory`, { cause });
  }
  if (names.length > MAX_STATEMENTS) throw new WartaError('store-failed', `${folder} holds more than a million files`);
  return names.filter((name) => name.endsWith('.json')).sort();
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // a register without annexes has no notices; each notice will say that its annex is missing
  }
}

/** Reads at most `maxBytes` of a file; `undefined` when it is not there. */
function readBounded(path: string, maxBytes: number): Uint8Array | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const size = statSync(path).size;
    const bytes = Buffer.allocUnsafe(Math.min(maxBytes, size));
    let at = 0;
    while (at < bytes.length) {
      const count = readSync(file, bytes, at, bytes.length - at, at);
      if (count === 0) break;
      at += count;
    }
    return bytes.subarray(0, at);
  } finally {
    closeSync(file);
  }
}
