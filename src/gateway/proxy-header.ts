import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * PROXY protocol headers, versions 1 and 2 (haproxy's proxy-protocol.txt), as a load balancer puts them in front of a
 * connection.
 */

/** What stands at the start of a connection. */
export type ProxyHeaderVerdict =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'malformed' }
  /** `client` is undefined for the balancer's own connections (LOCAL, UNKNOWN) and for others than TCP. */
  | { readonly kind: 'header'; readonly lengthBytes: number; readonly client: string | undefined };

/** Start of a version 2 header (§2.2). */
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
/** A version 2 header with more than this in options is refused; balancers send a few dozen octets. */
const MAX_PAYLOAD_BYTES = 2_048;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
/** Longest version 1 line with its end (§2.1). */
const MAX_LINE_BYTES = 107;

const INCOMPLETE: ProxyHeaderVerdict = { kind: 'incomplete' };
const MALFORMED: ProxyHeaderVerdict = { kind: 'malformed' };

/** Reads the header at the start of `bytes`. Every connection of a trusted source must begin with one. */
export function readProxyHeader(bytes: Buffer): ProxyHeaderVerdict {
  if (bytes.length === 0) return INCOMPLETE;
  if (bytes[0] === SIGNATURE[0]) return readVersion2(bytes);
  return readVersion1(bytes);
}

function readVersion2(bytes: Buffer): ProxyHeaderVerdict {
  const seen = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, seen).equals(SIGNATURE.subarray(0, seen))) return MALFORMED;
  if (bytes.length < FIXED_BYTES) return INCOMPLETE;
  const versionAndCommand = bytes[12]!;
  const payload = bytes.readUInt16BE(14);
  if (versionAndCommand >>> 4 !== 2 || (versionAndCommand & 15) > 1 || payload > MAX_PAYLOAD_BYTES) return MALFORMED;
  const lengthBytes = FIXED_BYTES + payload;
  if (bytes.length < lengthBytes) return INCOMPLETE;
  const addressBytes = bytes[13] === TCP_OVER_IPV4 ? 4 : bytes[13] === TCP_OVER_IPV6 ? 16 : 0;
  const isLocal = (versionAndCommand & 15) === 0;
  if (isLocal || addressBytes === 0) return { kind: 'header', lengthBytes, client: undefined };
  if (payload < addressBytes * 2 + 4) return MALFORMED;
  const client = ipaddr.fromByteArray([...bytes.subarray(FIXED_BYTES, FIXED_BYTES + addressBytes)]).toString();
  return { kind: 'header', lengthBytes, client };
}

const LINE = /^PROXY (?:UNKNOWN(?: [ -~]*)?|(?:TCP4|TCP6) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (\d{1,5}) (\d{1,5}))$/;

function readVersion1(bytes: Buffer): ProxyHeaderVerdict {
  const start = bytes.toString('latin1', 0, Math.min(bytes.length, 6));
  if (!'PROXY '.startsWith(start)) return MALFORMED;
  const end = bytes.subarray(0, MAX_LINE_BYTES).indexOf('\r\n');
  if (end < 0) return bytes.length < MAX_LINE_BYTES ? INCOMPLETE : MALFORMED;
  const line = bytes.toString('latin1', 0, end);
  const match = LINE.exec(line);
  if (match === null) return MALFORMED;
  const [, client, listener] = match;
  if (client === undefined) return { kind: 'header', lengthBytes: end + 2, client: undefined };
  const family = line.startsWith('PROXY TCP4') ? 4 : 6;
  if (isIP(client) !== family || isIP(listener!) !== family) return MALFORMED;
  if (Number(match[3]) > 65_535 || Number(match[4]) > 65_535) return MALFORMED;
  return { kind: 'header', lengthBytes: end + 2, client };
}
