import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import {
  MAX_PROXY_HEADER_BYTES,
  PROXY_HEADER,
  readProxyHeader,
  writeProxyHeader,
} from '../../src/resolver/proxy-header.ts';
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
        wire.set(kept.subarray(150 - length, 150), 150 - length);
        expect(wire).toEqual(kept);
      }),
    );
  });
});

describe('readProxyHeader', () => {
  const client = parseSocketAddress('192.0.2.7:4444', 53);
  const listener = parseSocketAddress('192.0.2.1:853', 53);
  const compose = (from = '192.0.2.7:4444', to = listener) => {
    const wire = new Uint8Array(200);
    wire.set(sockaddrOf(from), 100);
    return Buffer.from(wire.slice(100 - writeProxyHeader(wire, 100, 100, to, true), 100));
  };

  it('reads what is written, and leaves what follows', () => {
    expect(readProxyHeader(Buffer.concat([compose(), Buffer.from('rest')]))).toEqual({ length: 28, client, listener });
    const to = parseSocketAddress('[2001:db8::1]:853', 53);
    const read6 = readProxyHeader(compose('[2001:db8::7]:5555', to));
    expect(read6).toEqual({ length: 52, client: parseSocketAddress('[2001:db8::7]:5555', 53), listener: to });
  });

  it('asks for more until the header is whole', () => {
    const header = compose();
    for (let length = 0; length < header.length; length++) {
      expect(readProxyHeader(header.subarray(0, length))).toBe(PROXY_HEADER.INCOMPLETE);
    }
  });

  const change = (at: number, octet: number) => {
    const header = compose();
    header[at] = octet;
    return header;
  };

  it('takes the fields that proxies add behind the addresses', () => {
    const longer = Buffer.concat([change(15, 12 + 5), Buffer.alloc(5)]);
    expect(readProxyHeader(longer)).toEqual({ length: 33, client, listener });
  });

  it("names no client for the proxy's own connections", () => {
    expect(readProxyHeader(change(12, 0x20))).toEqual({ length: 28 });
  });

  it.each([
    ['TLS', Buffer.of(22, 3, 1)],
    ['version 1', Buffer.from('PROXY TCP4 ')],
    ['another version', change(12, 0x31)],
    ['another command', change(12, 0x22)],
    ['UDP', change(13, 0x12)],
    ['a Unix socket', change(13, 0x31)],
    ['addresses too short', change(15, 11)],
    ['a header without end', change(14, 0x7f)],
  ])('refuses %s', (_, bytes) => {
    expect(readProxyHeader(bytes)).toBe(PROXY_HEADER.INVALID);
  });
});
