import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** A file as it was read. `etag` is its digest, quoted. */
export interface FileReading {
  readonly bytes: Buffer;
  readonly etag: string;
}

/** Returns what a file holds with its ETag. */
export function describeFile(bytes: Buffer): FileReading {
  return { bytes, etag: `"${hash('sha256', bytes, 'base64url')}"` };
}

/**
 * A file that is replaced now and then and asked for all the time. Whoever asks gets what the file held after the asking, and
 * all who ask before a reading begins share it, so a thousand polls cost a few readings. It is read whole, so that no
 * replacement comes in between its length and its bytes, and known by its digest: by size and time of change two
 * checkpoints of one second could not be told apart.
 */
export class FreshFile {
  readonly #path: string;
  #reading: FileReading | undefined;
  #current: Promise<unknown> = Promise.resolve();
  #next: Promise<FileReading | undefined> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns what the file holds; `undefined` when there is none. */
  read(): Promise<FileReading | undefined> {
    if (this.#next !== undefined) return this.#next;
    const next = this.#current.then(() => {
      this.#next = undefined;
      return this.#load();
    });
    this.#next = next;
    this.#current = next.catch(() => {}); // each who waits is told
    return next;
  }

  async #load(): Promise<FileReading | undefined> {
    let bytes: Buffer;
    try {
      bytes = await readFile(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    if (this.#reading === undefined || !bytes.equals(this.#reading.bytes)) {
      this.#reading = describeFile(bytes);
    }
    return this.#reading;
  }
}
