import { AF_INET6, type SocketAddress, writeSocketAddress } from './socket-address.ts';

/** Start of every PROXY protocol version 2 header (haproxy's proxy-protocol.txt, §2.2). */
const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const VERSION_2_PROXY = 0x21;
/** Family and transport. */
const UDP_OVER_IPV4 = 0x12;
const UDP_OVER_IPV6 = 0x22;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/** Longest header written: 16 octets and two IPv6 addresses with ports. */
export const MAX_PROXY_HEADER_BYTES = 52;

const local = new Uint8Array(32);

/**
 * Writes a PROXY protocol v2 header that ends at `end` of `wire` and returns its length: 28 octets for IPv4, 52 for IPv6.
 * The client's `struct sockaddr` is at `peer` of the same array; `listener` is the address it asked.
 */
export function writeProxyHeader(
  wire: Uint8Array,
  end: number,
  peer: number,
  listener: SocketAddress,
  stream = false,
): number {
  const ipv6 = wire[peer] === AF_INET6;
  const addressBytes = ipv6 ? 16 : 4;
  const addressAt = ipv6 ? 8 : 4;
  const payload = addressBytes * 2 + 4;
  const length = 16 + payload;
  const at = end - length;
  writeSocketAddress(listener, local, 0);
  wire.set(SIGNATURE, at);
  wire[at + 12] = VERSION_2_PROXY;
  wire[at + 13] = stream ? (ipv6 ? TCP_OVER_IPV6 : TCP_OVER_IPV4) : ipv6 ? UDP_OVER_IPV6 : UDP_OVER_IPV4;
  wire[at + 14] = 0;
  wire[at + 15] = payload;
  for (let i = 0; i < addressBytes; i++) {
    wire[at + 16 + i] = wire[peer + addressAt + i]!;
    wire[at + 16 + addressBytes + i] = local[addressAt + i]!;
  }
  const ports = at + 16 + addressBytes * 2;
  wire[ports] = wire[peer + 2]!;
  wire[ports + 1] = wire[peer + 3]!;
  wire[ports + 2] = local[2]!;
  wire[ports + 3] = local[3]!;
  return length;
}
