import { isIP, type Socket } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * PROXY protocol headers, versions 1 and 2 (haproxy's proxy-protocol.txt), as a load balancer puts them in front of a
 * connection.
 */

/** One end of the connection that a header speaks of. */
export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/** A header that was read. */
export interface ProxyHeader {
  readonly kind: 'header';
  /** Octets it takes; what follows is the client's. */
  readonly lengthBytes: number;
  /** Who asked, and whom. Absent for the balancer's own connections (LOCAL, UNKNOWN) and for those of no network. */
  readonly client?: ProxyAddress;
  readonly listener?: ProxyAddress;
}

/** What stands at the start of a connection. */
export type ProxyHeaderVerdict = { readonly kind: 'incomplete' } | { readonly kind: 'malformed' } | ProxyHeader;

/** Start of a version 2 header (§2.2). */
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
/** A version 2 header with more than this in addresses and options is refused; balancers send a few dozen octets. */
const MAX_PAYLOAD_BYTES = 2_048;
const LOCAL = 0x20;
const PROXY = 0x21;
/** Octets of an address by family and transport. Datagrams are not among them: what is read here is a stream. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = {
  0: 0, // unspecified
  17: 4, // TCP over IPv4
  33: 16, // TCP over IPv6
  49: 0, // a Unix socket, which says nothing about a client
};
/** Longest version 1 line with its end (§2.1). */
const MAX_LINE_BYTES = 107;

const INCOMPLETE: ProxyHeaderVerdict = { kind: 'incomplete' };
const MALFORMED: ProxyHeaderVerdict = { kind: 'malformed' };

/** Reads the header at the start of `bytes`. Every connection of a trusted source must begin with one. */
export function readProxyHeader(bytes: Buffer): ProxyHeaderVerdict {
  if (bytes.length === 0) return INCOMPLETE;
  return bytes[0] === SIGNATURE[0] ? readVersion2(bytes) : readVersion1(bytes);
}

function readVersion2(bytes: Buffer): ProxyHeaderVerdict {
  const seen = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, seen).equals(SIGNATURE.subarray(0, seen))) return MALFORMED;
  if (bytes.length < FIXED_BYTES) return INCOMPLETE;
  const command = bytes[12]!;
  const payloadBytes = bytes.readUInt16BE(14);
  if ((command !== LOCAL && command !== PROXY) || payloadBytes > MAX_PAYLOAD_BYTES) return MALFORMED;
  const lengthBytes = FIXED_BYTES + payloadBytes;
  if (bytes.length < lengthBytes) return INCOMPLETE;
  if (command === LOCAL) return { kind: 'header', lengthBytes };
  const addressBytes = ADDRESS_BYTES[bytes[13]!];
  if (addressBytes === undefined) return MALFORMED;
  if (addressBytes === 0) return { kind: 'header', lengthBytes };
  if (payloadBytes < addressBytes * 2 + 4) return MALFORMED;
  const portsAt = FIXED_BYTES + addressBytes * 2;
  const readAddress = (at: number, portAt: number): ProxyAddress => {
    const host = ipaddr.fromByteArray([...bytes.subarray(at, at + addressBytes)]).toString();
    return { host, port: bytes.readUInt16BE(portAt), family: addressBytes === 4 ? 4 : 6 };
  };
  return {
    kind: 'header',
    lengthBytes,
    client: readAddress(FIXED_BYTES, portsAt),
    listener: readAddress(FIXED_BYTES + addressBytes, portsAt + 2),
  };
}

const LINE = /^PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (\d{1,5}) (\d{1,5}))$/;

function readVersion1(bytes: Buffer): ProxyHeaderVerdict {
  const start = bytes.toString('latin1', 0, Math.min(bytes.length, 6));
  if (!'PROXY '.startsWith(start)) return MALFORMED;
  const end = bytes.subarray(0, MAX_LINE_BYTES).indexOf('\r\n');
  if (end < 0) return bytes.length < MAX_LINE_BYTES ? INCOMPLETE : MALFORMED;
  const match = LINE.exec(bytes.toString('latin1', 0, end));
  if (match === null) return MALFORMED;
  const lengthBytes = end + 2;
  const [, version, client, listener, clientPort, listenerPort] = match;
  if (client === undefined) return { kind: 'header', lengthBytes };
  const family = version === '4' ? 4 : 6;
  if (isIP(client) !== family || isIP(listener!) !== family) return MALFORMED;
  if (Number(clientPort) > 65_535 || Number(listenerPort) > 65_535) return MALFORMED;
  return {
    kind: 'header',
    lengthBytes,
    client: { host: client, port: Number(clientPort), family },
    listener: { host: listener!, port: Number(listenerPort), family },
  };
}

/**
 * Reads the header that a connection from a balancer begins with, and puts back what follows it. `done` is called once at
 * most, with `malformed` or `ended` when there is none. Returns what gives up: how long to wait is the caller's to say.
 */
export function receiveProxyHeader(
  socket: Socket,
  done: (header: ProxyHeader | 'malformed' | 'ended') => void,
): () => void {
  let gathered: Buffer = Buffer.alloc(0);
  const stop = () => socket.off('readable', onReadable).off('end', onEnd).off('error', onEnd);
  const finish = (header: ProxyHeader | 'malformed' | 'ended') => {
    stop();
    done(header);
  };
  const onEnd = () => finish('ended');
  const onReadable = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    gathered = gathered.length === 0 ? chunk : Buffer.concat([gathered, chunk]);
    const verdict = readProxyHeader(gathered);
    if (verdict.kind === 'incomplete') return;
    if (verdict.kind === 'malformed') return finish('malformed');
    const rest = gathered.subarray(verdict.lengthBytes);
    if (rest.length > 0) socket.unshift(rest);
    finish(verdict);
  };
  socket.on('readable', onReadable).once('end', onEnd).once('error', onEnd);
  return stop;
}
