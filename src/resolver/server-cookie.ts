import SipHash from 'siphash';
import type { WriteCookie } from '../rules/answer.ts';
import { AF_INET6 } from './socket-address.ts';

/** Octets of a client cookie and of the server cookie of RFC 9018. */
const CLIENT_COOKIE_BYTES = 8;
const SERVER_COOKIE_BYTES = 16;
/** A server cookie is good for an hour, and five minutes ahead for clocks that differ (RFC 9018 §4.3). */
const LIFETIME_SECONDS = 3600;
const AHEAD_SECONDS = 300;

/**
 * Interoperable server cookies (RFC 9018): version 1, time, and SipHash-2-4 over the client cookie, those fields and the
 * client's address. Servers of one anycast address share the secret. A client that has seen cookies drops answers without
 * one (RFC 7873 §5.3), so blocked answers carry them too.
 */
export class ServerCookie {
  readonly #key: Uint32Array;

  /** @param secret 16 octets. */
  constructor(secret: Uint8Array) {
    const view = new DataView(secret.buffer, secret.byteOffset, 16);
    this.#key = Uint32Array.from([0, 4, 8, 12], (at) => view.getUint32(at, true));
  }

  /** Returns a writer of fresh server cookies for the client whose `struct sockaddr` is at `peer` of `bytes`. */
  writerFor(bytes: Uint8Array, peer: number, nowSeconds: number): WriteCookie {
    return (wire, clientCookie, out, offset) => {
      const head = new Uint8Array(8);
      head[0] = 1;
      new DataView(head.buffer).setUint32(4, nowSeconds >>> 0);
      out.set(head, offset);
      out.set(
        this.#hash(wire.subarray(clientCookie, clientCookie + CLIENT_COOKIE_BYTES), head, bytes, peer),
        offset + 8,
      );
    };
  }

  /** Whether the COOKIE option data `wire[offset, +bytes)` holds a server cookie of ours that is still good. */
  isValid(
    wire: Uint8Array,
    offset: number,
    sizeBytes: number,
    bytes: Uint8Array,
    peer: number,
    nowSeconds: number,
  ): boolean {
    if (sizeBytes !== CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES || wire[offset + 8] !== 1) return false;
    const head = wire.slice(offset + 8, offset + 16);
    const age = (nowSeconds - new DataView(head.buffer).getUint32(4)) | 0;
    if (age > LIFETIME_SECONDS || age < -AHEAD_SECONDS) return false;
    const expected = this.#hash(wire.subarray(offset, offset + CLIENT_COOKIE_BYTES), head, bytes, peer);
    let difference = 0;
    for (let i = 0; i < 8; i++) difference |= expected[i]! ^ wire[offset + 16 + i]!;
    return difference === 0;
  }

  #hash(clientCookie: Uint8Array, head: Uint8Array, bytes: Uint8Array, peer: number): Uint8Array {
    const ipv6 = bytes[peer] === AF_INET6;
    const at = peer + (ipv6 ? 8 : 4);
    const input = Buffer.concat([clientCookie, head, bytes.subarray(at, at + (ipv6 ? 16 : 4))]);
    const { h, l } = SipHash.hash(this.#key, input);
    const out = new Uint8Array(8);
    new DataView(out.buffer).setUint32(0, l >>> 0, true);
    new DataView(out.buffer).setUint32(4, h >>> 0, true);
    return out;
  }
}
