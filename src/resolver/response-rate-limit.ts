import { AF_INET6 } from './socket-address.ts';

/** Buckets; two prefixes that share one share its allowance, which only a flood notices. */
const BUCKETS = 1 << 16;

/**
 * Response-rate limiting for UDP: a token bucket for each client prefix (/24, /56), found by a keyed hash. No address is
 * kept: a bucket holds a number of tokens and a time, and nothing in it leads back to a client.
 */
export class ResponseRateLimit {
  readonly #tokens = new Float64Array(BUCKETS);
  readonly #filledAt = new Float64Array(BUCKETS);
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #key: number;

  /**
   * @param perSecond responses a second for one prefix; 0 turns the limit off.
   * @param key random word, so that nobody can choose whom to share a bucket with.
   */
  constructor(perSecond: number, key: number) {
    this.#perSecond = perSecond;
    this.#burst = perSecond * 2;
    this.#key = key | 0;
    this.#tokens.fill(this.#burst);
  }

  /** Takes one response from the allowance of the client whose `struct sockaddr` is at `offset`; false when it is used up. */
  take(bytes: Uint8Array, offset: number, nowMillis: number): boolean {
    if (this.#perSecond === 0) return true;
    const bucket = this.#bucketOf(bytes, offset);
    const earned = ((nowMillis - this.#filledAt[bucket]!) * this.#perSecond) / 1000;
    const tokens = Math.min(this.#burst, this.#tokens[bucket]! + earned);
    this.#filledAt[bucket] = nowMillis;
    this.#tokens[bucket] = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }

  #bucketOf(bytes: Uint8Array, offset: number): number {
    const ipv6 = bytes[offset] === AF_INET6;
    const at = offset + (ipv6 ? 8 : 4);
    const size = ipv6 ? 7 : 3;
    let h = this.#key;
    for (let i = 0; i < size; i++) h = Math.imul(h ^ bytes[at + i]!, 0x01000193);
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    return (h ^ (h >>> 13)) & (BUCKETS - 1);
  }
}
