import { isIP } from 'node:net';
import { endianness } from 'node:os';
import ipaddr from 'ipaddr.js';
import { WartaError } from '../base/errors.ts';

/** Address families on Linux. */
export const AF_INET = 2;
export const AF_INET6 = 10;

/** Octets of `struct sockaddr_in` and `struct sockaddr_in6`. */
export const SOCKADDR_IN_BYTES = 16;
export const SOCKADDR_IN6_BYTES = 28;

/** An IP address and port. */
export interface SocketAddress {
  host: string;
  port: number;
  family: 4 | 6;
}

/**
 * Parses `192.0.2.1:53`, `[2001:db8::1]:53` or an address alone (with `defaultPort`).
 *
 * @throws {WartaError} `config-invalid`.
 */
export function parseSocketAddress(text: string, defaultPort: number): SocketAddress {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([0-9.]+)(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? text;
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  // Strict: some parsers read 010.0.0.1 as octal and 10.1 as 10.0.0.1.
  if (isIP(host) === 0 || port > 65535) {
    throw new WartaError('config-invalid', `'${text}' is no address: write 192.0.2.1:53 or [2001:db8::1]:53`);
  }
  return { host, port, family: host.includes(':') ? 6 : 4 };
}

/** Returns the address as `192.0.2.1:53` or `[2001:db8::1]:53`. */
export function formatSocketAddress(address: SocketAddress): string {
  return address.family === 6 ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The family is stored in the machine's order, which is little-endian on every machine Warta runs on. */
if (endianness() !== 'LE') throw new Error('Warta runs on little-endian machines only');

/** Writes a `struct sockaddr` at `offset` of `out` (28 free octets) and returns its length: 16 or 28. */
export function writeSocketAddress(address: SocketAddress, out: Uint8Array, offset: number): number {
  out.fill(0, offset, offset + SOCKADDR_IN6_BYTES);
  const bytes = ipaddr.parse(address.host).toByteArray();
  out[offset] = address.family === 6 ? AF_INET6 : AF_INET;
  out[offset + 2] = address.port >>> 8;
  out[offset + 3] = address.port & 0xff;
  out.set(bytes, offset + (address.family === 6 ? 8 : 4));
  return address.family === 6 ? SOCKADDR_IN6_BYTES : SOCKADDR_IN_BYTES;
}

/** The octets of the address in the `struct sockaddr` that `bytes` begins with, 4 or 16. */
export function addressOctets(bytes: Uint8Array): Uint8Array {
  return bytes[0] === AF_INET6 ? bytes.subarray(8, 24) : bytes.subarray(4, 8);
}

/** Reads the `struct sockaddr` at `offset`. */
export function readSocketAddress(bytes: Uint8Array, offset: number): SocketAddress {
  const family = bytes[offset] === AF_INET6 ? 6 : 4;
  const at = offset + (family === 6 ? 8 : 4);
  const host = ipaddr.fromByteArray([...bytes.subarray(at, at + (family === 6 ? 16 : 4))]).toString();
  return { host, port: (bytes[offset + 2]! << 8) | bytes[offset + 3]!, family };
}
