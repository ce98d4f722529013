import { hash } from 'node:crypto';
import ipaddr from 'ipaddr.js';

/** IPv6 clients are counted by the prefix that a subscriber gets, IPv4 ones by their address. */
const IPV6_CLIENT_BYTES = 7;

/**
 * Counts open connections, all together and of each client. Addresses are kept as keyed hashes, in memory only, and no longer
 * than the connection lasts.
 */
export class ConnectionLimits {
  readonly #maxTotal: number;
  readonly #maxPerClient: number;
  readonly #secret: string;
  readonly #byClient = new Map<string, number>();
  #total = 0;

  constructor(maxTotal: number, maxPerClient: number, random: (length: number) => Uint8Array) {
    this.#maxTotal = maxTotal;
    this.#maxPerClient = maxPerClient;
    this.#secret = Buffer.from(random(16)).toString('hex');
  }

  get total(): number {
    return this.#total;
  }

  /** Takes a place among all connections; false when there is none. */
  enter(): boolean {
    if (this.#total >= this.#maxTotal) return false;
    this.#total += 1;
    return true;
  }

  leave(): void {
    this.#total -= 1;
  }

  /** Takes a place among those of a client; returns what gives it back, or undefined when there is none. */
  enterClient(address: string): (() => void) | undefined {
    const key = this.#keyOf(address);
    const count = this.#byClient.get(key) ?? 0;
    if (count >= this.#maxPerClient) return undefined;
    this.#byClient.set(key, count + 1);
    return () => {
      const left = this.#byClient.get(key)! - 1;
      if (left > 0) this.#byClient.set(key, left);
      else this.#byClient.delete(key);
    };
  }

  #keyOf(address: string): string {
    const parsed = ipaddr.process(address);
    const bytes = parsed.toByteArray();
    const prefix = parsed.kind() === 'ipv6' ? bytes.slice(0, IPV6_CLIENT_BYTES) : bytes;
    return hash('sha1', this.#secret + prefix.join('.'), 'base64').slice(0, 12);
  }
}
