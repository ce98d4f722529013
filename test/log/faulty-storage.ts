import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WartaError } from '../../src/base/errors.ts';
import type { LogStorage } from '../../src/log/log-storage.ts';

/** One call of a storage. */
export interface Operation {
  readonly store: string;
  readonly verb: 'read' | 'create' | 'replace' | 'remove';
  readonly path: string;
  readonly bytes?: Uint8Array;
}

/** Runs one operation, or does what else it likes. */
export type Around = (operation: Operation, run: () => Promise<unknown>) => Promise<unknown>;

/** Wraps a storage so that `around` decides over each operation; locks pass. */
export function wrapStorage(storage: LogStorage, store: string, around: Around): LogStorage {
  const pass = (operation: Omit<Operation, 'store'>, run: () => Promise<unknown>) =>
    around({ store, ...operation }, run) as Promise<never>;
  return {
    read: (path) => pass({ verb: 'read', path }, () => storage.read(path)),
    create: (path, bytes) => pass({ verb: 'create', path, bytes }, () => storage.create(path, bytes)),
    replace: (path, bytes, expected) =>
      pass({ verb: 'replace', path, bytes }, () => storage.replace(path, bytes, expected)),
    remove: (path) => pass({ verb: 'remove', path }, () => storage.remove(path)),
    lock: () => storage.lock(),
  };
}

/** Ways in which an operation goes wrong. */
export const FAULTS = [
  'dies before',
  'dies after',
  'fails',
  'fails but persists',
  'is torn and dies',
  'finds the disk full',
] as const;

export type Fault = (typeof FAULTS)[number];

/** Faults after which nothing of the process runs any more. */
const DEADLY: readonly Fault[] = ['dies before', 'dies after', 'is torn and dies'];

/** Brings one fault into the operation of this number. */
export class FaultPlan {
  readonly operations: Operation[] = [];
  readonly #at: number;
  readonly #fault: Fault;
  /** Folder of each store, where a torn write leaves half a file. */
  readonly #folders: Readonly<Record<string, string>>;
  isDead = false;
  isFull = false;

  /** `at` -1: never. */
  constructor(at: number, fault: Fault, folders: Readonly<Record<string, string>> = {}) {
    this.#at = at;
    this.#fault = fault;
    this.#folders = folders;
  }

  /** Whether the fault has come. */
  get hasStruck(): boolean {
    return this.#at >= 0 && this.operations.length > this.#at;
  }

  readonly around: Around = async (operation, run) => {
    if (this.isDead) throw new WartaError('store-failed', 'the process is dead');
    const isHere = this.operations.length === this.#at;
    this.operations.push(operation);
    if (isHere) return this.#strike(operation, run);
    if (this.isFull && (operation.verb === 'create' || operation.verb === 'replace')) throw fullDisk();
    return run();
  };

  async #strike(operation: Operation, run: () => Promise<unknown>): Promise<never> {
    this.isDead = DEADLY.includes(this.#fault);
    if (this.#fault === 'finds the disk full') {
      this.isFull = true;
      throw fullDisk();
    }
    if (this.#fault === 'is torn and dies') this.#tear(operation);
    if (this.#fault === 'dies after' || this.#fault === 'fails but persists') await run();
    throw new WartaError('store-failed', `${this.#fault}: ${operation.verb} ${operation.path}`);
  }

  /** Leaves what a write leaves that is cut off: half of the file beside its place, which it never took. */
  #tear({ store, path, bytes }: Operation): void {
    const folder = this.#folders[store];
    if (folder === undefined || bytes === undefined) return;
    const staged = join(folder, `${path}.staged`);
    mkdirSync(dirname(staged), { recursive: true });
    writeFileSync(staged, bytes.subarray(0, bytes.length >> 1));
  }
}

function fullDisk(): WartaError {
  return new WartaError('store-failed', 'no space left', { cause: Object.assign(new Error(), { code: 'ENOSPC' }) });
}
