/** A token bucket for each name: so many at once, then so many a second. Time is the caller's, in milliseconds. */
export class TokenBuckets {
  readonly #capacity: number;
  readonly #perMilli: number;
  readonly #buckets = new Map<string, { tokens: number; atMillis: number }>();

  constructor(capacity: number, perSecond: number) {
    this.#capacity = capacity;
    this.#perMilli = perSecond / 1000;
  }

  /** Takes a token of `name`'s bucket; false when it has none. Names must be few and checked: each one is kept. */
  take(name: string, nowMillis: number): boolean {
    const bucket = this.#buckets.get(name) ?? { tokens: this.#capacity, atMillis: nowMillis };
    const passed = Math.max(0, nowMillis - bucket.atMillis);
    bucket.tokens = Math.min(this.#capacity, bucket.tokens + passed * this.#perMilli);
    bucket.atMillis = nowMillis;
    this.#buckets.set(name, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }
}
