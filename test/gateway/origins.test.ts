import { createSocket } from 'node:dgram';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { AddressPolicy, PrefixList } from '../../src/gateway/address-policy.ts';
import { type AddressSource, createAddressSource, OriginResolver } from '../../src/gateway/origin-resolver.ts';
import { registerGatewayMetrics } from '../../src/metrics/gateway-metrics.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { exchange, HOST, startGateway } from './fixture.ts';

describe('addresses of origins', () => {
  const own = ['203.0.114.9', '2400:1:0::9', 'fe80::1'];
  const policy = new AddressPolicy(() => own, []);

  it.each([
    ...[
      '0.0.0.0',
      '0.1.2.3',
      '10.1.2.3',
      '100.64.0.1',
      '127.0.0.1',
      '127.255.255.254',
      '169.254.169.254',
      '172.16.0.1',
    ],
    ...['192.168.1.1', '192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '224.0.0.1', '239.1.1.1', '240.0.0.1'],
    ...[
      '255.255.255.255',
      '203.0.114.9',
      '2400:1::9',
      '::',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:8.8.8.8',
      '::127.0.0.1',
    ],
    ...[
      'fe80::1',
      'fe80::1%eth0',
      'fc00::1',
      'fd12::1',
      'fec0::1',
      'ff02::1',
      '2001:db8::1',
      '64:ff9b::a00:1',
      '64:ff9b:1::1',
    ],
    ...[
      '192.0.0.9',
      '192.88.99.1',
      '192.31.196.1',
      '192.52.193.1',
      '192.175.48.1',
      '198.19.255.255',
      '100.127.255.255',
    ],
    ...[
      '64:ff9b::808:808',
      '64:ff9b:1::808:808',
      '::ffff:0:808:808',
      '2002:808:808::1',
      '2001:0:808:808::1',
      '2001:20::1',
    ],
    ...['2001:1::1', '3fff::1', '5f00::1', '2620:4f:8000::1', '::808:808', '1::1', 'e000::1'],
    ...['2002:a00:1::1', '2001::1', '100::1', '4000::1', 'h.example', '', '010.0.0.1', '8.8.8', '8.8.8.8:80'],
  ])('%s is refused', (address) => {
    expect(policy.permits(address)).toBe(false);
  });

  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '203.0.114.8',
    '172.15.0.1',
    '172.32.0.1',
    '2606:4700::1111',
    '2400:1::8',
    '2a00:1450::1',
  ])('%s is permitted', (address) => {
    expect(policy.permits(address)).toBe(true);
  });

  it('are judged by the addresses that the machine has now', () => {
    const mine: string[] = [];
    const later = new AddressPolicy(() => mine, []);
    expect(later.permits('203.0.114.9')).toBe(true);
    mine.push('203.0.114.9');
    expect(later.permits('203.0.114.9')).toBe(false);
  });

  it('may be private where a laboratory says so, in no other prefix', () => {
    const lab = new AddressPolicy(() => ['10.0.0.1'], ['10.0.0.0/24', 'fd00::/8']);
    const expected = {
      '10.0.0.7': true,
      '10.0.0.1': true,
      '10.0.1.7': false,
      'fd00::1': true,
      '::ffff:10.0.0.7': true,
      '::1': false,
    };
    for (const [address, isPermitted] of Object.entries(expected))
      expect(lab.permits(address), address).toBe(isPermitted);
  });

  it.each(['10/8', '10.0.0.0', '10.0.0.0/33', '::/129', 'x/8', '010.0.0.0/8'])('%s is no prefix', (text) => {
    expect(() => new PrefixList([text])).toThrow(/no prefix/);
  });

  it('are never within a range that has a name', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (address) => {
        if (policy.permits(address)) expect(ipaddr.process(address).range()).toBe('unicast');
      }),
    );
  });
});

/** A source that counts what it is asked. */
function countingSource(answer: AddressSource['resolve4']): AddressSource & { asked: number } {
  const source = {
    asked: 0,
    resolve4: (host: string) => {
      source.asked += 1;
      return answer(host);
    },
    resolve6: async () => [],
  };
  return source;
}

describe('the resolver of origins', () => {
  const anything = new AddressPolicy(() => [], []);

  it('keeps addresses for their TTL, within bounds, and asks once for all who wait', async () => {
    const clock = new FakeClock(0);
    const source = countingSource(async (host) => [{ address: '8.8.8.8', ttl: Number(host.split('.')[0]) }]);
    const resolver = new OriginResolver(source, anything, clock);
    await Promise.all([resolver.resolve('30.example'), resolver.resolve('30.example')]);
    expect(source.asked).toBe(1);
    clock.pass(29_000);
    await resolver.resolve('30.example');
    expect(source.asked).toBe(1);
    clock.pass(2_000);
    await resolver.resolve('30.example');
    expect(source.asked).toBe(2);
    await resolver.resolve('0.example');
    clock.pass(4_000);
    await resolver.resolve('0.example');
    expect(source.asked).toBe(3);
    await resolver.resolve('999999.example');
    clock.pass(301_000);
    await resolver.resolve('999999.example');
    expect(source.asked).toBe(5);
  });

  it('leaves out what is not permitted, and fails when nothing is left', async () => {
    const addresses = ['127.0.0.1', '8.8.8.8', '10.0.0.1'].map((address) => ({ address, ttl: 60 }));
    const some = new OriginResolver(
      countingSource(async () => addresses),
      anything,
      new FakeClock(0),
    );
    expect(await some.resolve('h.example')).toEqual([{ address: '8.8.8.8', family: 4 }]);
    const none = new OriginResolver(
      countingSource(async () => addresses.slice(0, 1)),
      anything,
      new FakeClock(0),
    );
    await expect(none.resolve('h.example')).rejects.toThrow(/must not have/);
  });

  it('remembers a failure for a moment only', async () => {
    const clock = new FakeClock(0);
    const source = countingSource(() => Promise.reject(new Error('no')));
    const resolver = new OriginResolver(source, anything, clock);
    await expect(resolver.resolve('h.example')).rejects.toThrow(/no address/);
    await expect(resolver.resolve('h.example')).rejects.toThrow(/no address/);
    expect(source.asked).toBe(1);
    clock.pass(6_000);
    await expect(resolver.resolve('h.example')).rejects.toThrow(/no address/);
    expect(source.asked).toBe(2);
  });

  it('asks the resolvers it was given, over UDP', async () => {
    const server = createSocket('udp4');
    const types: number[] = [];
    server.on('message', (query, { port, address }) => {
      const questionEnd = query.indexOf(0, 12) + 5;
      const type = query.readUInt16BE(questionEnd - 4);
      types.push(type);
      const question = query.subarray(12, questionEnd);
      const records = type === 1 ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 8, 8, 4, 4]) : Buffer.alloc(0);
      const header = Buffer.from([query[0]!, query[1]!, 0x81, 0x80, 0, 1, 0, type === 1 ? 1 : 0, 0, 0, 0, 0]);
      server.send(Buffer.concat([header, question, records]), port, address);
    });
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    const source = createAddressSource([`127.0.0.1:${server.address().port}`]);
    const resolver = new OriginResolver(source, anything, new FakeClock(0));
    expect(await resolver.resolve('h.example')).toEqual([{ address: '8.8.4.4', family: 4 }]);
    expect(types.toSorted((a, b) => a - b)).toEqual([1, 28]);
    server.close();
  });

  it('takes no name for a resolver', () => {
    expect(() => createAddressSource(['resolver.example'])).toThrow(/no resolver's address/);
  });
});

describe('an origin whose addresses change', () => {
  it('is connected to at judged addresses only, whatever is said later', async () => {
    const asked: string[] = [];
    const origins = await Promise.all(
      ['127.0.0.1', '127.0.0.2'].map(async (address) => {
        const server = createHttpServer((_request, response) => {
          asked.push(address);
          response.setHeader('Connection', 'close').end('ok');
        });
        return server;
      }),
    );
    await new Promise<void>((resolve) => origins[0]!.listen(0, '127.0.0.1', resolve));
    const { port } = origins[0]!.address() as AddressInfo;
    await new Promise<void>((resolve) => origins[1]!.listen(port, '127.0.0.2', resolve));
    const clock = new FakeClock();
    let now = [{ address: '127.0.0.1', ttl: 10 }];
    const gateway = await startGateway({
      originPort: port,
      clock,
      origins: {
        resolvers: { resolve4: async () => now, resolve6: async () => [] },
        allowedPrefixes: ['127.0.0.1/32'],
      },
    });
    const get = () => exchange(gateway.httpPort, `GET /x HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    expect(await get()).toMatch(/^HTTP\/1\.1 200 /);
    now = [{ address: '127.0.0.2', ttl: 10 }];
    expect(await get()).toMatch(/^HTTP\/1\.1 200 /);
    clock.pass(11_000);
    expect(await get()).toMatch(/^HTTP\/1\.1 502 /);
    now = [
      { address: '127.0.0.2', ttl: 10 },
      { address: '127.0.0.1', ttl: 10 },
    ];
    clock.pass(11_000);
    expect(await get()).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1']);
    for (const origin of origins) origin.close();
  });
});

describe('the metrics of the gateway', () => {
  it('show every outcome, and no name or client', async () => {
    const gateway = await startGateway({ originPort: 1 });
    const registry = new Registry();
    registerGatewayMetrics(registry, gateway.readings);
    const text = await registry.metrics();
    expect(text).toContain('warta_gateway_requests_total{outcome="blocked"} 0');
    expect(text).toContain('warta_gateway_tls_connections_total{outcome="spliced"} 0');
    expect(text).toContain('warta_gateway_refused_connections_total{reason="client"} 0');
    expect(text).toContain('warta_gateway_unenforceable_total 0');
    expect(text).toContain('warta_gateway_connections{listener="https"} 0');
    expect(text).not.toMatch(/example|127\.0/);
  });
});
