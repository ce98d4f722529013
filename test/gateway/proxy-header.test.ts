import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readProxyHeader } from '../../src/gateway/proxy-header.ts';
import { exchange, HOST, listPage, RawClient, startGateway } from './fixture.ts';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** A version 2 header. */
function compose2(command: number, family: number, payload: Buffer): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.of(command, family, payload.length >> 8, payload.length & 255), payload]);
}

const IPV4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
const IPV6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'),
  Buffer.alloc(16, 1),
  Buffer.of(1, 2, 0, 80),
]);
const OPTION = Buffer.of(4, 0, 2, 0, 0);

describe('readProxyHeader', () => {
  it.each([
    ['version 1 over IPv4', Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n'), '192.0.2.7'],
    ['version 1 over IPv6', Buffer.from('PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n'), '2001:db8::7'],
    ['version 1 of the balancer itself', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
    ['version 1, unknown with more', Buffer.from('PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n'), undefined],
    ['version 2 over IPv4', compose2(0x21, 0x11, IPV4), '192.0.2.7'],
    ['version 2 over IPv6', compose2(0x21, 0x21, IPV6), '2001:db8::7'],
    ['version 2 with options', compose2(0x21, 0x11, Buffer.concat([IPV4, OPTION])), '192.0.2.7'],
    ['version 2 of the balancer itself', compose2(0x20, 0, Buffer.alloc(0)), undefined],
    ['version 2 over a Unix socket', compose2(0x21, 0x31, Buffer.alloc(216)), undefined],
  ])('reads %s, and takes no more than it', (_what, bytes, client) => {
    const header = { kind: 'header', lengthBytes: bytes.length, client };
    expect(readProxyHeader(Buffer.concat([bytes, Buffer.from('GET /')]))).toEqual(header);
    for (let length = 0; length < bytes.length; length++) {
      expect(readProxyHeader(bytes.subarray(0, length)).kind).toBe('incomplete');
    }
  });

  it.each([
    'GET / HTTP/1.1\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 12345 80 \r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n',
    'PROXY TCP4 2001:db8::7 2001:db8::1 1 80\r\n',
    'PROXY TCP6 192.0.2.7 10.0.0.1 1 80\r\n',
    'PROXY TCP4 010.0.0.1 10.0.0.1 1 80\r\n',
    'proxy TCP4 192.0.2.7 10.0.0.1 1 80\r\n',
    `PROXY TCP4 ${'1'.repeat(120)}`,
  ])('refuses %j', (text) => {
    expect(readProxyHeader(Buffer.from(text)).kind).toBe('malformed');
  });

  it.each([
    ['another version', compose2(0x31, 0x11, IPV4)],
    ['another command', compose2(0x22, 0x11, IPV4)],
    ['too few octets for its addresses', compose2(0x21, 0x11, IPV4.subarray(1))],
    ['a length beyond reason', Buffer.concat([SIGNATURE, Buffer.of(0x21, 0x11, 0xff, 0xff)])],
    ['another signature', Buffer.from('\r\n\r\n\0\r\nQUIX')],
  ])('refuses version 2 with %s', (_what, bytes) => {
    expect(readProxyHeader(bytes).kind).toBe('malformed');
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120 }),
        fc.constantFrom(Buffer.from('PROXY '), SIGNATURE, Buffer.alloc(0)),
        (tail, start) => {
          expect(['incomplete', 'malformed', 'header']).toContain(readProxyHeader(Buffer.concat([start, tail])).kind);
        },
      ),
    );
  });
});

describe('the gateway behind a balancer', () => {
  const request = `GET /listed HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
  const header = 'PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n';

  it('reads the header of trusted sources, at once or octet by octet', async () => {
    const { httpPort } = await startGateway({ originPort: 1, proxyProtocolFrom: ['127.0.0.1/32'] });
    expect(await exchange(httpPort, header + request)).toMatch(/^HTTP\/1\.1 451 /);
    const binary = compose2(0x21, 0x11, IPV4).toString('latin1');
    expect(await exchange(httpPort, binary + request)).toMatch(/^HTTP\/1\.1 451 /);
    const client = new RawClient(httpPort);
    client.socket.setNoDelay(true);
    for (const octet of Buffer.from(header + request)) {
      client.send(Buffer.of(octet));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.waitForEnd()).toMatch(/^HTTP\/1\.1 451 /);
  });

  it('takes nothing else from them, and no header from others', async () => {
    const gateway = await startGateway({
      originPort: 1,
      proxyProtocolFrom: ['127.0.0.1/32'],
      limits: { openingSeconds: 1 },
    });
    expect(await exchange(gateway.httpPort, request)).toBe('');
    expect(await exchange(gateway.httpPort, '')).toBe('');
    expect(gateway.readings.refusedConnections()['proxy-header']).toBe(2);
    const other = new RawClient(gateway.httpPort, '127.0.0.2').send(header + request);
    expect(await other.waitForEnd()).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('counts the clients behind it one by one', async () => {
    const gateway = await startGateway({
      originPort: 1,
      entries: [listPage(`http://${HOST}/listed`)],
      proxyProtocolFrom: ['127.0.0.1/32'],
      limits: { connectionsPerClient: 1 },
    });
    const first = new RawClient(gateway.httpPort).send(header);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await exchange(gateway.httpPort, header + request)).toBe('');
    expect(await exchange(gateway.httpPort, header.replace('.7 ', '.8 ') + request)).toMatch(/^HTTP\/1\.1 451 /);
    first.socket.destroy();
  });
});
