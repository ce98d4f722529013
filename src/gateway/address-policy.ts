import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { WartaError } from '../base/errors.ts';

type Prefix = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** A list of prefixes such as `10.0.0.0/8` and `2001:db8::/32`. */
export class PrefixList {
  readonly #prefixes: readonly Prefix[];

  /** @throws {WartaError} `config-invalid` naming the prefix. */
  constructor(prefixes: readonly string[]) {
    this.#prefixes = prefixes.map(parsePrefix);
  }

  /** Whether an address, IPv4-mapped ones as IPv4, lies within. */
  includes(address: string): boolean {
    if (this.#prefixes.length === 0 || isIP(address) === 0) return false;
    const parsed = ipaddr.process(address);
    return this.#prefixes.some(([prefix, bits]) => prefix.kind() === parsed.kind() && parsed.match(prefix, bits));
  }
}

function parsePrefix(text: string): Prefix {
  const [, host = '', bits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(host); // strict: 10/8 and 010.0.0.0/8 mean different things to different parsers
  if (family === 0 || Number(bits) > (family === 6 ? 128 : 32)) {
    throw new WartaError('config-invalid', `'${text}' is no prefix: write 10.0.0.0/8 or 2001:db8::/32`);
  }
  return [ipaddr.parse(host), Number(bits)];
}

/** The only IPv6 range that is given out for the public Internet so far. */
const GLOBAL_IPV6: Prefix = [ipaddr.parse('2000::'), 3];

/**
 * Which addresses an origin may have. Public unicast ones only: whoever holds a listed name chooses its addresses, and must not
 * reach the operator's own hosts through the gateway. IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are
 * refused whole, whatever they carry. The gateway's own addresses are refused, or it would ask itself without end.
 */
export class AddressPolicy {
  readonly #listOwn: () => readonly string[];
  readonly #allowed: PrefixList;

  /**
   * @param listOwn addresses of this machine, which may change, and those that the resolver steers to.
   * @param allowed prefixes let through all the same, for laboratories.
   */
  constructor(listOwn: () => readonly string[], allowed: readonly string[]) {
    this.#listOwn = listOwn;
    this.#allowed = new PrefixList(allowed);
  }

  permits(address: string): boolean {
    if (isIP(address) === 0) return false;
    if (this.#allowed.includes(address)) return true;
    const parsed = ipaddr.parse(address);
    if (parsed.range() !== 'unicast') return false;
    if (parsed.kind() === 'ipv6' && !parsed.match(...(GLOBAL_IPV6 as [ipaddr.IPv6, number]))) return false;
    const normal = parsed.toString();
    return !this.#listOwn().some((own) => isIP(own) !== 0 && ipaddr.parse(own).toString() === normal);
  }
}
