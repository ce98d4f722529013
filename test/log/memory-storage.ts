import { WartaError } from '../../src/base/errors.ts';
import { type LogStorage, requirePath } from '../../src/log/log-storage.ts';

/** A storage that keeps its files in memory and obeys the interface to the letter. */
export class MemoryStorage implements LogStorage {
  readonly files = new Map<string, Uint8Array>();
  #isLocked = false;

  async read(path: string): Promise<Uint8Array | undefined> {
    requirePath(path);
    return this.files.get(path);
  }

  async create(path: string, bytes: Uint8Array): Promise<void> {
    const present = await this.read(path);
    if (present === undefined) this.files.set(path, Buffer.from(bytes));
    else if (Buffer.compare(present, bytes) !== 0) throw new WartaError('log-invalid', `${path} must never change`);
  }

  async replace(path: string, bytes: Uint8Array, expected: Uint8Array | undefined): Promise<void> {
    const present = await this.read(path);
    const isSame = present && expected ? Buffer.compare(present, expected) === 0 : present === expected;
    if (!isSame) throw new WartaError('log-busy', `${path} was changed`);
    this.files.set(path, Buffer.from(bytes));
  }

  async remove(path: string): Promise<void> {
    requirePath(path);
    this.files.delete(path);
    if (!path.endsWith('/')) return;
    for (const one of this.files.keys()) if (one.startsWith(path)) this.files.delete(one);
  }

  async lock(): Promise<() => void> {
    if (this.#isLocked) throw new WartaError('log-busy', 'locked');
    this.#isLocked = true;
    return () => {
      this.#isLocked = false;
    };
  }
}
