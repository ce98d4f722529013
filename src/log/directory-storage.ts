import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { type LogStorage, requirePath } from './log-storage.ts';

/** File that is locked by whoever writes here. */
const LOCK_FILE = 'lock.db';
const SQLITE_BUSY = 5;

/** Files below this are private to the log: readable by their owner alone. */
const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;

/**
 * A log's files in a folder. Every write goes to a file beside it, is synced and renamed, so that no crash leaves half a
 * file; `replace` compares and renames with nothing in between but this process, which is why one writer holds the lock.
 */
export class DirectoryStorage implements LogStorage {
  readonly #folder: string;
  readonly #mode: number;

  /** `isPrivate` keeps the files from other users of the machine. The folder is made when first written to. */
  constructor(folder: string, { isPrivate = false }: { isPrivate?: boolean } = {}) {
    this.#folder = folder;
    this.#mode = isPrivate ? PRIVATE_MODE : PUBLIC_MODE;
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const file = this.#locate(path);
    try {
      return readFileSync(file);
    } catch (cause) {
      if (isAbsent(cause)) return undefined;
      throw new WartaError('store-failed', `cannot read ${file}: check its owner and the disk`, { cause });
    }
  }

  async create(path: string, bytes: Uint8Array): Promise<void> {
    const present = await this.read(path);
    if (present === undefined) return this.#write(path, bytes);
    if (Buffer.compare(present, bytes) !== 0) {
      throw new WartaError('log-invalid', `${this.#locate(path)} is there with other bytes: it must never change`);
    }
  }

  async replace(path: string, bytes: Uint8Array, expected: Uint8Array | undefined): Promise<void> {
    const present = await this.read(path);
    const same = present === undefined ? expected === undefined : expected && Buffer.compare(present, expected) === 0;
    if (!same) throw new WartaError('log-busy', `${this.#locate(path)} was changed by someone else`);
    return this.#write(path, bytes);
  }

  async remove(path: string): Promise<void> {
    const file = this.#locate(path);
    try {
      rmSync(file, { force: true, recursive: path.endsWith('/') });
    } catch (cause) {
      throw new WartaError('store-failed', `cannot remove ${file}: check its owner`, { cause });
    }
  }

  /** The lock is SQLite's on a small file, which the kernel releases when the process ends in whatever way. */
  async lock(): Promise<() => void> {
    const file = join(this.#folder, LOCK_FILE);
    let database: DatabaseSync | undefined;
    try {
      mkdirSync(this.#folder, { recursive: true });
      database = new DatabaseSync(file, { timeout: 0 });
      database.exec('BEGIN EXCLUSIVE');
      return () => {
        if (database?.isOpen) database.close();
      };
    } catch (cause) {
      database?.close();
      if ((cause as { errcode?: number }).errcode === SQLITE_BUSY)
        throw new WartaError('log-busy', `another process writes to ${this.#folder}: stop it first`);
      throw new WartaError('store-failed', `cannot lock ${file}: check the folder's owner`, { cause });
    }
  }

  /** Writes, and then lets other work of the process have a turn: syncing a file takes a good part of a millisecond. */
  async #write(path: string, bytes: Uint8Array): Promise<void> {
    writeDurably(this.#locate(path), bytes, this.#mode);
    await nextTurn();
  }

  #locate(path: string): string {
    requirePath(path);
    return join(this.#folder, path);
  }
}

/** Whether a file is not there: no such file, or a folder of its path is none. */
function isAbsent(cause: unknown): boolean {
  const { code } = cause as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
