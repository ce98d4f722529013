import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ProxyHeader, readProxyHeader, receiveProxyHeader } from '../../src/base/proxy-header.ts';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** A version 2 header. */
function compose2(command: number, family: number, payload: Buffer): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.of(command, family, payload.length >> 8, payload.length & 255), payload]);
}

const IPV4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
const IPV6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'),
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.of(0x30, 0x39, 0, 80),
]);
const OPTION = Buffer.of(4, 0, 2, 0, 0);
const NOBODY = {};
const ENDS4 = {
  client: { host: '192.0.2.7', port: 12_345, family: 4 },
  listener: { host: '10.0.0.1', port: 80, family: 4 },
};
const ENDS6 = {
  client: { host: '2001:db8::7', port: 12_345, family: 6 },
  listener: { host: '2001:db8::1', port: 80, family: 6 },
};

describe('readProxyHeader', () => {
  it.each([
    ['version 1 over IPv4', Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n'), ENDS4],
    ['version 1 over IPv6', Buffer.from('PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n'), ENDS6],
    ['version 1 of the balancer itself', Buffer.from('PROXY UNKNOWN\r\n'), NOBODY],
    ['version 1, unknown with more', Buffer.from('PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n'), NOBODY],
    ['version 2 over IPv4', compose2(0x21, 0x11, IPV4), ENDS4],
    ['version 2 over IPv6', compose2(0x21, 0x21, IPV6), ENDS6],
    ['version 2 with options', compose2(0x21, 0x11, Buffer.concat([IPV4, OPTION])), ENDS4],
    ['version 2 of the balancer itself', compose2(0x20, 0, Buffer.alloc(0)), NOBODY],
    ['version 2 of the balancer itself, with addresses', compose2(0x20, 0x11, IPV4), NOBODY],
    ['version 2 over nothing that is known', compose2(0x21, 0, Buffer.alloc(0)), NOBODY],
    ['version 2 over a Unix socket', compose2(0x21, 0x31, Buffer.alloc(216)), NOBODY],
  ])('reads %s, and takes no more than it', (_what, bytes, ends) => {
    const header = { kind: 'header', lengthBytes: bytes.length, ...ends };
    expect(readProxyHeader(Buffer.concat([bytes, Buffer.from('GET /')]))).toEqual(header);
    for (let length = 0; length < bytes.length; length++) {
      expect(readProxyHeader(bytes.subarray(0, length)).kind).toBe('incomplete');
    }
  });

  it.each([
    'GET / HTTP/1.1\r\n',
    '\x16\x03\x01',
    'PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 12345 80 \r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n',
    'PROXY TCP4 2001:db8::7 2001:db8::1 1 80\r\n',
    'PROXY TCP4 192.0.2.7 2001:db8::1 1 80\r\n',
    'PROXY TCP6 192.0.2.7 10.0.0.1 1 80\r\n',
    'PROXY TCP4 010.0.0.1 10.0.0.1 1 80\r\n',
    'proxy TCP4 192.0.2.7 10.0.0.1 1 80\r\n',
    `PROXY TCP4 ${'1'.repeat(120)}`,
  ])('refuses %j', (text) => {
    expect(readProxyHeader(Buffer.from(text, 'latin1')).kind).toBe('malformed');
  });

  it.each([
    ['another version', compose2(0x31, 0x11, IPV4)],
    ['another command', compose2(0x22, 0x11, IPV4)],
    ['too few octets for its addresses', compose2(0x21, 0x11, IPV4.subarray(1))],
    ['too few octets for addresses of IPv6', compose2(0x21, 0x21, IPV4)],
    ['a length beyond reason', Buffer.concat([SIGNATURE, Buffer.of(0x21, 0x11, 0xff, 0xff)])],
    ['datagrams', compose2(0x21, 0x12, IPV4)],
    ['another family', compose2(0x21, 0x41, IPV4)],
    ['another signature', Buffer.from('\r\n\r\n\0\r\nQUIX')],
  ])('refuses version 2 with %s', (_what, bytes) => {
    expect(readProxyHeader(bytes).kind).toBe('malformed');
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120 }),
        fc.constantFrom(Buffer.from('PROXY '), SIGNATURE, Buffer.concat([SIGNATURE, Buffer.of(0x21)]), Buffer.alloc(0)),
        (tail, start) => {
          expect(['incomplete', 'malformed', 'header']).toContain(readProxyHeader(Buffer.concat([start, tail])).kind);
        },
      ),
    );
  });
});

describe('receiveProxyHeader', () => {
  /** Sends octets to a socket that waits for a header; returns what it found, and the text that was left behind it. */
  async function receive(pieces: readonly Buffer[]): Promise<{ header: ProxyHeader | string; rest: string }> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const found = new Promise<{ header: ProxyHeader | string; rest: string }>((resolve) => {
      server.on('connection', (socket: Socket) => {
        receiveProxyHeader(socket, (header) => {
          let rest = '';
          const finish = () => resolve({ header, rest });
          if (typeof header === 'string') return finish();
          socket.setEncoding('latin1').on('data', (text) => {
            rest += text;
          });
          socket.on('end', finish);
        });
        socket.on('close', () => server.close());
      });
    });
    const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', noDelay: true });
    for (const piece of pieces) {
      client.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.end();
    const result = await found;
    client.destroy();
    server.close();
    return result;
  }

  const header = compose2(0x21, 0x11, IPV4);
  const whole = Buffer.concat([header, Buffer.from('GET /')]);

  it.each([
    ['at once', [whole]],
    ['octet by octet', [...whole].map((octet) => Buffer.of(octet))],
    ['cut behind the header', [header, Buffer.from('GET /')]],
  ])('reads a header that comes %s, and leaves what follows', async (_how, pieces) => {
    const expected = { header: { kind: 'header', lengthBytes: header.length, ...ENDS4 }, rest: 'GET /' };
    expect(await receive(pieces)).toEqual(expected);
  });

  it('says that there is none', async () => {
    expect((await receive([Buffer.from('GET /')])).header).toBe('malformed');
    expect((await receive([header.subarray(0, 20)])).header).toBe('ended');
    expect((await receive([])).header).toBe('ended');
  });
});
