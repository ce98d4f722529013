import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { WartaError } from '../base/errors.ts';
import { AF_INET6 } from './socket-address.ts';

/** Octets 0 to 11 of an IPv4-mapped IPv6 address. */
const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

interface Prefix6 {
  bytes: Uint8Array;
  bits: number;
}

/** Which clients are answered: prefixes compiled for a check without an object on every message. */
export class ClientAcl {
  /** Sorted, disjoint IPv4 ranges: first address, last address, … */
  readonly #ranges: Uint32Array;
  readonly #prefixes6: readonly Prefix6[];

  /**
   * @param prefixes CIDR texts such as `10.0.0.0/8` and `2001:db8::/32`.
   * @throws {WartaError} `config-invalid` naming the prefix.
   */
  constructor(prefixes: readonly string[]) {
    const ranges: [number, number][] = [];
    const prefixes6: Prefix6[] = [];
    for (const text of prefixes) {
      const [address, bits] = parsePrefix(text);
      if (address.length === 16) {
        prefixes6.push({ bytes: Uint8Array.from(address), bits });
        continue;
      }
      const start = (address[0]! * 2 ** 24 + (address[1]! << 16) + (address[2]! << 8) + address[3]!) >>> 0;
      const size = 2 ** (32 - bits);
      const first = start - (start % size);
      ranges.push([first, first + size - 1]);
    }
    this.#ranges = Uint32Array.from(mergeRanges(ranges).flat());
    this.#prefixes6 = prefixes6;
  }

  /** Whether the client whose `struct sockaddr` starts at `offset` may ask. */
  allows(bytes: Uint8Array, offset: number): boolean {
    if (bytes[offset] !== AF_INET6) return this.#allows4(bytes, offset + 4);
    const address = offset + 8;
    if (isMapped(bytes, address)) return this.#allows4(bytes, address + 12);
    for (const prefix of this.#prefixes6) {
      if (hasPrefix(bytes, address, prefix)) return true;
    }
    return false;
  }

  #allows4(bytes: Uint8Array, at: number): boolean {
    const address = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
    const ranges = this.#ranges;
    let low = 0;
    let high = ranges.length >>> 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ranges[middle * 2 + 1]! < address) low = middle + 1;
      else high = middle;
    }
    return low < ranges.length >>> 1 && ranges[low * 2]! <= address;
  }
}

function parsePrefix(text: string): [number[], number] {
  const [, host = '', bits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(host); // strict: 10/8 and 010.0.0.0/8 mean different things to different parsers
  if (family === 0 || Number(bits) > (family === 6 ? 128 : 32)) {
    throw new WartaError('config-invalid', `'${text}' is no prefix: write 10.0.0.0/8 or 2001:db8::/32`);
  }
  return [ipaddr.parse(host).toByteArray(), Number(bits)];
}

/** Sorts ranges and joins those that touch. */
function mergeRanges(ranges: [number, number][]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [first, last] of ranges.sort((a, b) => a[0] - b[0])) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < MAPPED_PREFIX.length; i++) if (bytes[at + i] !== MAPPED_PREFIX[i]) return false;
  return true;
}

function hasPrefix(bytes: Uint8Array, at: number, prefix: Prefix6): boolean {
  const whole = prefix.bits >>> 3;
  for (let i = 0; i < whole; i++) if (bytes[at + i] !== prefix.bytes[i]) return false;
  const rest = prefix.bits & 7;
  return rest === 0 || ((bytes[at + whole]! ^ prefix.bytes[whole]!) & (0xff << (8 - rest)) & 0xff) === 0;
}
