import { describe, expect, it } from 'vitest';
import { exchange, HOST, listPage, RawClient, startGateway } from './fixture.ts';

/** A version 2 header: 192.0.2.7, port 12345, asks 10.0.0.1, port 80. */
const BINARY_HEADER = '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\0\x50';

describe('the gateway behind a balancer', () => {
  const request = `GET /listed HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
  const header = 'PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n';

  it('reads the header of trusted sources, at once or octet by octet', async () => {
    const { httpPort } = await startGateway({ originPort: 1, proxyProtocolFrom: ['127.0.0.1/32'] });
    expect(await exchange(httpPort, header + request)).toMatch(/^HTTP\/1\.1 451 /);
    expect(await exchange(httpPort, BINARY_HEADER + request)).toMatch(/^HTTP\/1\.1 451 /);
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
