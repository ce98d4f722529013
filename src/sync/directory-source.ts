import { createHash, hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readdirSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, WartaError } from '../base/errors.ts';
import { readInto } from '../base/file-read.ts';
import { STATEMENT_MAX_BYTES } from '../register/statement.ts';
import type { AnnexSource, StatementLeaf } from '../register/verify-statement.ts';
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
 * digest. Whoever may write to the directory may add, withhold and remove statements, but not make one. No log says when a
 * statement was there, so its own signing time has to do: for laboratories, and for looking at statements before they are
 * submitted.
 */
export class DirectorySource implements StatementSource {
  /** Text of authorities.json, pinned. */
  authorities = '';
  readonly #directory: string;
  #version = '';
  #reading: DirectoryReading | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Looks at sizes and times only: whole files are read when one of them has moved. */
  async poll(): Promise<void> {
    const version = await this.#findVersion();
    if (version === this.#version && this.#reading !== undefined) return;
    this.#reading = readDirectory(this.#directory);
    this.#version = version;
  }

  read(): SourceReading {
    this.#reading ??= readDirectory(this.#directory);
    return { ...this.#reading, authorities: this.authorities };
  }

  async #findVersion(): Promise<string> {
    const digest = createHash('sha256');
    for (const folder of [STATEMENTS_FOLDER, ANNEXES_FOLDER].map((name) => join(this.#directory, name))) {
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

/** What a directory holds. */
export interface DirectoryReading {
  leaves: StatementLeaf[];
  annexes: AnnexSource;
  fingerprint: string;
}

/**
 * Reads the statements of a register directory; annexes are read when they are asked for.
 *
 * @throws {WartaError} `store-failed` when it cannot be read at all.
 */
export function readDirectory(directory: string): DirectoryReading {
  const statements = join(directory, STATEMENTS_FOLDER);
  const annexes = join(directory, ANNEXES_FOLDER);
  const fingerprint = createHash('sha256');
  const leaves: StatementLeaf[] = [];
  for (const name of listStatements(statements)) {
    const leaf = readStatement(statements, name);
    if (leaf === undefined) continue; // removed meanwhile; the next look finds out
    const key = leaf.unreadable === undefined ? hash('sha256', leaf.envelope) : undefined;
    leaves.push({ ...leaf, key });
    fingerprint.update(`${name}\0${leaf.unreadable ?? key}\n`);
  }
  for (const name of listFolder(annexes).sort()) {
    const stats = statSync(join(annexes, name), { throwIfNoEntry: false });
    fingerprint.update(`${name}\0${stats?.size}\0${stats?.mtimeMs}\n`);
  }
  return {
    leaves,
    annexes: { read: (digest, maxBytes) => readAnnex(join(annexes, `${digest}.jsonl`), maxBytes) },
    fingerprint: fingerprint.digest('hex'),
  };
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

/** Reads one statement; what cannot be read is a leaf too, so that it is reported and not silently left out. */
function readStatement(folder: string, name: string): StatementLeaf | undefined {
  try {
    // One octet more than allowed is read, so that an oversized file is seen to be one.
    return { name, envelope: readBounded(join(folder, name), STATEMENT_MAX_BYTES + 1) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    return { name, envelope: new Uint8Array(0), unreadable: code ?? describeError(error) };
  }
}

function readAnnex(path: string, maxBytes: number): Uint8Array | undefined {
  try {
    return readBounded(path, maxBytes + 1);
  } catch {
    return undefined; // its notice is void and says that the annex is missing
  }
}

/** Reads at most `maxBytes` of a regular file; anything else, a pipe say, could keep the reader waiting for ever. */
function readBounded(path: string, maxBytes: number): Uint8Array {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new Error('it is no file');
    const bytes = Buffer.allocUnsafe(Math.min(maxBytes, stats.size));
    return bytes.subarray(0, readInto(file, bytes));
  } finally {
    closeSync(file);
  }
}
