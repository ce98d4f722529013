/** No slot, no identifier in use. */
export const NONE = -1;

/**
 * Queries under way to an upstream: a bounded number of slots, found by wire identifier, ordered by the time they were last
 * sent. Columns are public: the data plane is their one user, and reads them in its inner loop.
 */
export class PendingTable {
  readonly capacity: number;
  /** Identifier the client used. */
  readonly clientId: Uint16Array;
  /** Identifier sent upstream. */
  readonly wireId: Uint16Array;
  /** Octets of the query. */
  readonly length: Uint16Array;
  /** Octets of header and question: what a reply must repeat. */
  readonly questionBytes: Uint16Array;
  /** UDP payload size the client accepts. */
  readonly clientBytes: Uint16Array;
  readonly listener: Uint8Array;
  readonly port: Uint16Array;
  readonly attempts: Uint8Array;
  readonly preambleBytes: Uint8Array;
  /** 1 when the answer carries a cookie. */
  readonly hasCookie: Uint8Array;
  /** 1 when the reply may have to be steered. */
  readonly steersReply: Uint8Array;
  readonly sentAtMillis: Float64Array;
  /** Time the query leg took in the sidecar. */
  readonly legMillis: Float32Array;
  count = 0;
  /** Slot sent longest ago, or `NONE`. */
  oldest = NONE;
  #newest = NONE;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #byId = new Int32Array(65536).fill(NONE);
  readonly #free: Int32Array;
  readonly #random: () => number;

  /** @param random returns an unpredictable 16-bit word. */
  constructor(capacity: number, random: () => number) {
    this.capacity = capacity;
    this.clientId = new Uint16Array(capacity);
    this.wireId = new Uint16Array(capacity);
    this.length = new Uint16Array(capacity);
    this.questionBytes = new Uint16Array(capacity);
    this.clientBytes = new Uint16Array(capacity);
    this.listener = new Uint8Array(capacity);
    this.port = new Uint16Array(capacity);
    this.attempts = new Uint8Array(capacity);
    this.preambleBytes = new Uint8Array(capacity);
    this.hasCookie = new Uint8Array(capacity);
    this.steersReply = new Uint8Array(capacity);
    this.sentAtMillis = new Float64Array(capacity);
    this.legMillis = new Float32Array(capacity);
    this.#next = new Int32Array(capacity).fill(NONE);
    this.#previous = new Int32Array(capacity).fill(NONE);
    this.#free = Int32Array.from({ length: capacity }, (_, i) => capacity - 1 - i);
    this.#random = random;
  }

  /** Takes a slot and gives it an identifier nobody can predict; `NONE` when all are in use. */
  take(): number {
    if (this.count === this.capacity) return NONE;
    const slot = this.#free[this.capacity - ++this.count]!;
    this.#giveId(slot);
    return slot;
  }

  /** Slot of the query sent with this identifier, or `NONE`. */
  find(wireId: number): number {
    return this.#byId[wireId]!;
  }

  /** Gives the slot another identifier for another attempt. */
  renewId(slot: number): void {
    this.#byId[this.wireId[slot]!] = NONE;
    this.#giveId(slot);
  }

  /** Slot sent next after this one, or `NONE`. */
  following(slot: number): number {
    return this.#next[slot]!;
  }

  /** Puts the slot at the newest end of the order. */
  markSent(slot: number, nowMillis: number): void {
    this.sentAtMillis[slot] = nowMillis;
    this.#previous[slot] = this.#newest;
    this.#next[slot] = NONE;
    if (this.#newest === NONE) this.oldest = slot;
    else this.#next[this.#newest] = slot;
    this.#newest = slot;
  }

  /** Takes the slot out of the order. */
  unlink(slot: number): void {
    const previous = this.#previous[slot]!;
    const next = this.#next[slot]!;
    if (previous === NONE) this.oldest = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#newest = previous;
    else this.#previous[next] = previous;
  }

  /** Frees the slot. Its memory stays as it is until the next `take`. */
  release(slot: number): void {
    this.unlink(slot);
    this.#byId[this.wireId[slot]!] = NONE;
    this.#free[this.capacity - this.count--] = slot;
  }

  /** At most half of the identifiers are in use, so a free one is found after two draws on average. */
  #giveId(slot: number): void {
    let id = this.#random();
    while (this.#byId[id] !== NONE) id = this.#random();
    this.#byId[id] = slot;
    this.wireId[slot] = id;
  }
}

/** Most queries under way: half of the identifiers. */
export const MAX_PENDING = 32768;
