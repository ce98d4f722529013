import type { LogStorage } from '../../log/log-storage.ts';
import { hashHex } from '../../register/canonical.ts';
import { parseEnvelope } from '../../register/envelope.ts';
import { type Leaf, parseLeaf } from '../../register/leaf.ts';
import { readLeaves } from './register-tree.ts';

/**
 * Which statements the log holds, by id, and when the last one came. It holds places, not statements: 100,000 take some
 * 15 MB and three seconds to read at the start, and what an id names is read from the log when it is asked for.
 */
export class StatementIndex {
  readonly #storage: LogStorage;
  readonly #places = new Map<string, number>();
  #size = 0;
  #newestSeconds = 0;
  #heartbeatSeconds = 0;

  constructor(storage: LogStorage) {
    this.#storage = storage;
  }

  /** How many leaves it knows. */
  get size(): number {
    return this.#size;
  }

  /** When the newest leaf was integrated; 0 for an empty log. */
  get newestSeconds(): number {
    return this.#newestSeconds;
  }

  /** When the newest heartbeat was integrated; 0 when there is none. */
  get heartbeatSeconds(): number {
    return this.#heartbeatSeconds;
  }

  has(id: string): boolean {
    return this.#places.has(id);
  }

  /** Returns which leaf holds the statement first; `undefined` when none does. */
  placeOf(id: string): number | undefined {
    return this.#places.get(id);
  }

  /** Takes in the leaves that came since, up to `size`. */
  async catchUp(size: number): Promise<void> {
    for await (const leaf of readLeaves(this.#storage, this.#size, size)) this.add(leaf);
  }

  /** Returns the first leaf that holds the statement, taken apart; `undefined` when there is none. */
  async read(id: string): Promise<Leaf | undefined> {
    const place = this.#places.get(id);
    if (place === undefined) return undefined;
    for await (const leaf of readLeaves(this.#storage, place, this.#size)) return parseLeaf(leaf);
    return undefined;
  }

  /** Takes in the next leaf. One that is no statement, which only who has the log's key can append, has no id. */
  add(bytes: Uint8Array): void {
    const place = this.#size++;
    try {
      const { envelope, integratedAtSeconds } = parseLeaf(bytes);
      this.#newestSeconds = Math.max(this.#newestSeconds, integratedAtSeconds);
      const { payload } = parseEnvelope(envelope);
      const id = hashHex(payload);
      if (!this.#places.has(id)) this.#places.set(id, place);
      if (payload.includes('"type":"heartbeat"')) this.#heartbeatSeconds = integratedAtSeconds;
    } catch {
      // Void for every reader too.
    }
  }
}
