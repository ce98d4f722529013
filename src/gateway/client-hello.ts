/**
 * Reads the server name out of a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3) and nothing else: what a hello does not need for
 * that is only stepped over, GREASE values (RFC 8701) and unknown extensions included. With Encrypted Client Hello the name
 * is the outer one; hosts of ours give no ECH keys out, since their HTTPS records are answered NODATA.
 */

/** What the first octets of a connection are. */
export type HelloVerdict =
  /** Ask again when there are `neededBytes`. */
  | { readonly kind: 'incomplete'; readonly neededBytes: number }
  /** A whole hello; `name` is undefined without a server name. */
  | { readonly kind: 'hello'; readonly name: string | undefined }
  /** Broken TLS. */
  | { readonly kind: 'malformed' }
  | { readonly kind: 'not-tls' }
  | { readonly kind: 'oversized' };

/** Most octets of records that are read before giving up; post-quantum keys and tickets make hellos of a few kilobytes. */
export const MAX_HELLO_BYTES = 32_768;

const RECORD_HEADER_BYTES = 5;
/** 2^14 of plaintext (RFC 8446 §5.1). */
const MAX_RECORD_BYTES = 16_384;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const HANDSHAKE_HEADER_BYTES = 4;
const SERVER_NAME = 0;
const HOST_NAME = 0;

const MALFORMED: HelloVerdict = { kind: 'malformed' };
const NOT_TLS: HelloVerdict = { kind: 'not-tls' };
const OVERSIZED: HelloVerdict = { kind: 'oversized' };

/** Judges the first octets of a connection; the hello may be spread over any number of records. */
export function readClientHello(bytes: Uint8Array): HelloVerdict {
  const fragments: Uint8Array[] = [];
  let gathered = 0;
  let helloBytes = HANDSHAKE_HEADER_BYTES;
  for (let at = 0; ; ) {
    const body = checkRecord(bytes, at);
    if (typeof body !== 'number') return body;
    const end = at + RECORD_HEADER_BYTES + body;
    fragments.push(bytes.subarray(at + RECORD_HEADER_BYTES, Math.min(end, bytes.length)));
    gathered += fragments.at(-1)!.length;
    if (gathered >= HANDSHAKE_HEADER_BYTES && helloBytes === HANDSHAKE_HEADER_BYTES) {
      const header = Buffer.concat(fragments).subarray(0, HANDSHAKE_HEADER_BYTES);
      if (header[0] !== CLIENT_HELLO) return MALFORMED;
      helloBytes += header.readUIntBE(1, 3);
      if (helloBytes > MAX_HELLO_BYTES) return OVERSIZED;
    }
    if (gathered >= helloBytes && helloBytes > HANDSHAKE_HEADER_BYTES) {
      return readHello(Buffer.concat(fragments).subarray(HANDSHAKE_HEADER_BYTES, helloBytes));
    }
    if (end > MAX_HELLO_BYTES) return OVERSIZED;
    if (end > bytes.length)
      return { kind: 'incomplete', neededBytes: Math.min(end, bytes.length + helloBytes - gathered) };
    at = end;
  }
}

/** Returns the length of the record at `at`, or the verdict when there is no good one. */
function checkRecord(bytes: Uint8Array, at: number): number | HelloVerdict {
  const [type, major] = [bytes[at], bytes[at + 1]];
  if (type !== undefined && type !== HANDSHAKE) return at === 0 ? NOT_TLS : MALFORMED;
  if (major !== undefined && major !== 3) return at === 0 ? NOT_TLS : MALFORMED;
  if (at + RECORD_HEADER_BYTES > bytes.length) return { kind: 'incomplete', neededBytes: at + RECORD_HEADER_BYTES };
  const body = (bytes[at + 3]! << 8) | bytes[at + 4]!;
  // Empty handshake records are forbidden (RFC 8446 §5.1), and would let a hello go on without end.
  return body === 0 || body > MAX_RECORD_BYTES ? MALFORMED : body;
}

/** Steps over `bytes`; every read beyond the end throws RangeError. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  number(octets: number): number {
    const value = this.#bytes.readUIntBE(this.#at, octets);
    this.#at += octets;
    return value;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new RangeError('beyond the end');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** A vector with its length in front. */
  vector(lengthOctets: number): Buffer {
    return this.take(this.number(lengthOctets));
  }
}

function readHello(hello: Buffer): HelloVerdict {
  try {
    const reader = new Reader(hello);
    reader.take(2 + 32); // version, random
    reader.vector(1); // session
    reader.vector(2); // cipher suites
    reader.vector(1); // compression
    if (reader.isAtEnd) return { kind: 'hello', name: undefined };
    const name = readExtensions(new Reader(reader.vector(2)));
    return reader.isAtEnd ? { kind: 'hello', name } : MALFORMED;
  } catch (error) {
    if (error instanceof RangeError) return MALFORMED;
    throw error;
  }
}

function readExtensions(reader: Reader): string | undefined {
  let name: string | undefined;
  let isSeen = false;
  while (!reader.isAtEnd) {
    const type = reader.number(2);
    const data = reader.vector(2);
    if (type !== SERVER_NAME) continue;
    // Two of them, and the origin might take the other.
    if (isSeen) throw new RangeError('two server names');
    isSeen = true;
    name = readServerName(data);
  }
  return name;
}

/** RFC 6066 §3: a list that holds at most one name of each type; the only type there is is a host's. */
function readServerName(data: Buffer): string | undefined {
  const outer = new Reader(data);
  const list = new Reader(outer.vector(2));
  if (!outer.isAtEnd) throw new RangeError('octets behind the list');
  if (list.number(1) !== HOST_NAME) throw new RangeError('no host name');
  const name = list.vector(2);
  if (!list.isAtEnd || name.length === 0) throw new RangeError('more than one name, or none');
  return name.toString('latin1');
}
