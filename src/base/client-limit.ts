/**
 * Counts the open connections of each client. An IPv4 client is its address; an IPv6 one is a prefix, because a client has
 * a whole network of addresses to itself. Addresses are kept in memory only, and no longer than a connection is open.
 */
export class ClientLimit {
  readonly #open = new Map<string, number>();
  readonly #most: number;
  readonly #ipv6PrefixBytes: number;

  /**
   * @param most connections of one client at once.
   * @param ipv6PrefixBytes octets of an IPv6 address that tell clients apart.
   */
  constructor(most: number, ipv6PrefixBytes: number) {
    this.#most = most;
    this.#ipv6PrefixBytes = ipv6PrefixBytes;
  }

  /**
   * Takes a place for a connection of the client whose address has these octets, 4 or 16. Returns what gives it back, to be
   * called once, or undefined when the client has its share.
   */
  enter(address: Uint8Array): (() => void) | undefined {
    const key = this.#keyOf(address);
    const open = this.#open.get(key) ?? 0;
    if (open >= this.#most) return undefined;
    this.#open.set(key, open + 1);
    return () => {
      const left = this.#open.get(key)! - 1;
      if (left === 0) this.#open.delete(key);
      else this.#open.set(key, left);
    };
  }

  #keyOf(address: Uint8Array): string {
    if (address.length === 4) return String.fromCharCode(...address);
    if (isMapped(address)) return String.fromCharCode(...address.subarray(12));
    return String.fromCharCode(...address.subarray(0, this.#ipv6PrefixBytes));
  }
}

/** Whether 16 octets carry an IPv4 address (RFC 4291 §2.5.5.2), as those of a socket for both families do. */
function isMapped(address: Uint8Array): boolean {
  return address.subarray(0, 10).every((octet) => octet === 0) && address[10] === 0xff && address[11] === 0xff;
}
