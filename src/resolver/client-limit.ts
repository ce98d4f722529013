import { AF_INET6 } from './socket-address.ts';

/** Counts the connections of each client. A client is an IPv4 address, or an IPv6 /64, which one client has to itself. */
export class ClientLimit {
  readonly #open = new Map<string, number>();
  readonly #most: number;

  /** @param most connections of one client at once. */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Takes one connection of the client whose `struct sockaddr` is `peer`. Returns the key to give back when it is closed, or
   * `undefined` when the client has its share.
   */
  take(peer: Uint8Array): string | undefined {
    const key = peer[0] === AF_INET6 ? String(peer.subarray(8, 16)) : String(peer.subarray(4, 8));
    const open = this.#open.get(key) ?? 0;
    if (open >= this.#most) return undefined;
    this.#open.set(key, open + 1);
    return key;
  }

  give(key: string): void {
    const left = this.#open.get(key)! - 1;
    if (left === 0) this.#open.delete(key);
    else this.#open.set(key, left);
  }
}
