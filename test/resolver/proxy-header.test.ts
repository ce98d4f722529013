import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import { readProxyHeader } from '../../src/base/proxy-header.ts';
import { MAX_PROXY_HEADER_BYTES, writeProxyHeader } from '../../src/resolver/proxy-header.ts';
import { parseSocketAddress } from '../../src/resolver/socket-address.ts';
import { sockaddrOf } from './fixture.ts';

/** Reads a PROXY header version 2 as haproxy's proxy-protocol.txt §2.2 describes it. */
function read(header: Buffer): object {
  expect(header.toString('latin1', 0, 12)).toBe('\r\n\r\n\0\r\nQUIT\n');
  const ipv6 = header[13]! >> 4 === 2;
  const size = ipv6 ? 16 : 4;
  const host = (at: number) => ipaddr.fromByteArray([...header.subarray(at, at + size)]).toString();
  expect(header.readUInt16BE(14)).toBe(header.length - 16);
  return {
    version: header[12]! >> 4,
    command: header[12]! & 15,
    transport: header[13]! & 15,
    from: [host(16), header.readUInt16BE(16 + 2 * size)],
    to: [host(16 + size), header.readUInt16BE(18 + 2 * size)],
  };
}

describe('writeProxyHeader', () => {
  const host4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
  const host6 = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const pair = fc.oneof(fc.tuple(host4, host4), fc.tuple(host6, host6));
  const port = fc.nat(0xffff);

  it('says who asked and whom, and writes nowhere else', () => {
    fc.assert(
      fc.property(pair, port, port, fc.boolean(), ([client, server], clientPort, serverPort, stream) => {
        const [from, to] = [client, server].map((bytes) => ipaddr.fromByteArray([...bytes]).toString());
        const text = (host: string, number: number) =>
          host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`;
        const wire = new Uint8Array(200).fill(0xee);
        wire.set(sockaddrOf(text(from!, clientPort)), 7);
        const kept = wire.slice();
        const listener = parseSocketAddress(text(to!, serverPort), 53);
        const length = writeProxyHeader(wire, 150, 7, listener, stream);
        expect(length).toBe(client.length === 4 ? 28 : MAX_PROXY_HEADER_BYTES);
        expect(read(Buffer.from(wire.slice(150 - length, 150)))).toEqual({
          ...{ version: 2, command: 1, transport: stream ? 1 : 2 },
          ...{ from: [from, clientPort], to: [to, serverPort] },
        });
        expect(readProxyHeader(Buffer.from(wire.slice(150 - length, 150)))).toEqual(
          stream
            ? { kind: 'header', lengthBytes: length, client: parseSocketAddress(text(from!, clientPort), 53), listener }
            : { kind: 'malformed' },
        );
        wire.set(kept.subarray(150 - length, 150), 150 - length);
        expect(wire).toEqual(kept);
      }),
    );
  });
});
