import SipHash from 'siphash';
import { AF_INET6 } from './socket-address.ts';

/** Octets of a client cookie and of the server cookie of RFC 9018. */
const CLIENT_COOKIE_BYTES = 8;
const SERVER_COOKIE_BYTES = 16;
/** Octets of a client cookie with our server cookie behind it. */
export const COOKIE_BYTES = CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES;
/** A server cookie is good for an hour, and five minutes ahead for clocks that differ (RFC 9018 §4.3). */
const LIFETIME_SECONDS = 3600;
const AHEAD_SECONDS = 300;

/**
 * Interoperable server cookies (RFC 9018): version 1, time, and SipHash-2-4 over the client cookie, those fields and the
 * client's address. Servers of one anycast address share the secret. A client that has seen cookies drops answers without
 * one (RFC 7873 §5.3), so the sidecar is the one server the client's cookies are for: they are taken out of what is
 * forwarded, and every answer to a query that had one carries ours.
 */
export class ServerCookie {
  readonly #key: Uint32Array;

  /** @param secret 16 octets. */
  constructor(secret: Uint8Array) {
    const view = new DataView(secret.buffer, secret.byteOffset, 16);
    this.#key = Uint32Array.from([0, 4, 8, 12], (at) => view.getUint32(at, true));
  }

  /**
   * Returns the option data (24 octets) that answers the client cookie at `wire[offset]`, for the client whose
   * `struct sockaddr` is at `peer` of the same array.
   */
  compose(wire: Uint8Array, offset: number, peer: number, nowSeconds: number): Uint8Array {
    const data = new Uint8Array(COOKIE_BYTES);
    data.set(wire.subarray(offset, offset + CLIENT_COOKIE_BYTES), 0);
    data[8] = 1;
    new DataView(data.buffer).setUint32(12, nowSeconds >>> 0);
    data.set(this.#hash(data.subarray(0, 16), wire, peer), 16);
    return data;
  }

  /** Whether the COOKIE option data `wire[offset, +sizeBytes)` holds a server cookie of ours that is still good. */
  isValid(wire: Uint8Array, offset: number, sizeBytes: number, peer: number, nowSeconds: number): boolean {
    if (sizeBytes !== COOKIE_BYTES || wire[offset + 8] !== 1) return false;
    const fields = wire.slice(offset, offset + 16);
    const age = (nowSeconds - new DataView(fields.buffer).getUint32(12)) | 0;
    if (age > LIFETIME_SECONDS || age < -AHEAD_SECONDS) return false;
    const expected = this.#hash(fields, wire, peer);
    let difference = 0;
    for (let i = 0; i < 8; i++) difference |= expected[i]! ^ wire[offset + 16 + i]!;
    return difference === 0;
  }

  /** Hashes the client cookie, version, reserved octets and time (16 octets) with the client's address. */
  #hash(fields: Uint8Array, wire: Uint8Array, peer: number): Uint8Array {
    const ipv6 = wire[peer] === AF_INET6;
    const at = peer + (ipv6 ? 8 : 4);
    const { h, l } = SipHash.hash(this.#key, Buffer.concat([fields, wire.subarray(at, at + (ipv6 ? 16 : 4))]));
    const out = new Uint8Array(8);
    new DataView(out.buffer).setUint32(0, l >>> 0, true);
    new DataView(out.buffer).setUint32(4, h >>> 0, true);
    return out;
  }
}
