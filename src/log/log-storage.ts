import { WartaError } from '../base/errors.ts';

/**
 * Where a log keeps its files: a folder, or an S3-compatible store. Paths are relative, with `/` between segments.
 *
 * Every call that writes is durable when it resolves. One that fails may have done its work all the same (the answer got
 * lost), so whoever goes on after a failure must look first.
 */
export interface LogStorage {
  /** Returns a file's bytes, `undefined` when there is none. */
  read(path: string): Promise<Uint8Array | undefined>;

  /**
   * Writes a file that never changes. The same bytes again are fine.
   *
   * @throws {WartaError} `log-invalid` when the file is there with other bytes; `store-failed`.
   */
  create(path: string, bytes: Uint8Array): Promise<void>;

  /**
   * Changes a file that may change, provided it still has the `expected` bytes (`undefined`: is not there yet).
   *
   * @throws {WartaError} `log-busy` when it has others: someone else writes to this log; `store-failed`.
   */
  replace(path: string, bytes: Uint8Array, expected: Uint8Array | undefined): Promise<void>;

  /** Removes a file, or everything below a path that ends in `/`. What is not there is fine. */
  remove(path: string): Promise<void>;

  /**
   * Keeps other writers out until the returned function is called or the process ends.
   *
   * A store that cannot tell whether a holder is still alive lets everyone in; then `replace` is what keeps two writers
   * apart.
   *
   * @throws {WartaError} `log-busy` when another holds it.
   */
  lock(): Promise<() => void>;
}

const SEGMENT = /^[A-Za-z0-9_-][A-Za-z0-9._:-]{0,199}$/;

/**
 * Requires a path inside the storage: plain segments, none that begins with a dot.
 *
 * @throws {WartaError} `store-failed`.
 */
export function requirePath(path: string): void {
  const segments = path.replace(/\/$/, '').split('/');
  if (!segments.every((segment) => SEGMENT.test(segment))) {
    throw new WartaError('store-failed', `${path} is no path of a log: letters, digits and ._:- between slashes`);
  }
}
