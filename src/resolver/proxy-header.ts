import { AF_INET, AF_INET6, readSocketAddress, type SocketAddress, writeSocketAddress } from './socket-address.ts';

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

/** Octets before the addresses. */
const FIXED_BYTES = 16;
const VERSION_2_LOCAL = 0x20;
/** Longest header read: the addresses, and the few fields that proxies add behind them. */
export const MAX_READ_PROXY_BYTES = FIXED_BYTES + 512;

/** What `readProxyHeader` found besides a header. */
export const PROXY_HEADER = { INCOMPLETE: 'incomplete', INVALID: 'invalid' } as const;

/** A header that was read. */
export interface ReadProxyHeader {
  /** Octets it takes; what follows is the client's. */
  length: number;
  /** Absent for the proxy's own connections (LOCAL), such as its health checks. */
  client?: SocketAddress;
  listener?: SocketAddress;
}

/**
 * Reads the PROXY protocol v2 header that a stream from a proxy starts with: `incomplete` asks for more octets, `invalid` is
 * anything else than such a header for TCP.
 */
export function readProxyHeader(bytes: Uint8Array): ReadProxyHeader | (typeof PROXY_HEADER)[keyof typeof PROXY_HEADER] {
  for (let i = 0; i < Math.min(bytes.length, SIGNATURE.length); i++) {
    if (bytes[i] !== SIGNATURE[i]) return PROXY_HEADER.INVALID;
  }
  if (bytes.length < FIXED_BYTES) return PROXY_HEADER.INCOMPLETE;
  const command = bytes[12]!;
  const length = FIXED_BYTES + ((bytes[14]! << 8) | bytes[15]!);
  if ((command !== VERSION_2_PROXY && command !== VERSION_2_LOCAL) || length > MAX_READ_PROXY_BYTES) {
    return PROXY_HEADER.INVALID;
  }
  if (bytes.length < length) return PROXY_HEADER.INCOMPLETE;
  if (command === VERSION_2_LOCAL) return { length };
  const ipv6 = bytes[13] === TCP_OVER_IPV6;
  const addressBytes = ipv6 ? 16 : 4;
  if ((!ipv6 && bytes[13] !== TCP_OVER_IPV4) || length < FIXED_BYTES + 2 * addressBytes + 4) {
    return PROXY_HEADER.INVALID;
  }
  const ports = FIXED_BYTES + 2 * addressBytes;
  const readAddress = (address: number, port: number): SocketAddress => {
    const sockaddr = new Uint8Array(28);
    sockaddr[0] = ipv6 ? AF_INET6 : AF_INET;
    sockaddr.set(bytes.subarray(port, port + 2), 2);
    sockaddr.set(bytes.subarray(address, address + addressBytes), ipv6 ? 8 : 4);
    return readSocketAddress(sockaddr, 0);
  };
  return {
    length,
    client: readAddress(FIXED_BYTES, ports),
    listener: readAddress(FIXED_BYTES + addressBytes, ports + 2),
  };
}
