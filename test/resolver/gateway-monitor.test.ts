import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGatewayMonitor } from '../../src/resolver/gateway-monitor.ts';
import type { HealthMonitor } from '../../src/resolver/health-monitor.ts';

let server: Server;
let monitor: HealthMonitor;
let changes: [string, boolean][];

async function listen(port: number): Promise<Server> {
  const opened = createServer((socket) => socket.on('error', () => {})).listen(port, '127.0.0.1');
  await once(opened, 'listening');
  return opened;
}

beforeEach(async () => {
  server = await listen(0);
  changes = [];
  monitor = createGatewayMonitor(
    {
      addresses: ['127.0.0.1', '127.0.0.2'],
      checkPorts: [(server.address() as AddressInfo).port],
      intervalMillis: 60_000,
      timeoutMillis: 2_000,
    },
    (address, up) => changes.push([address, up]),
  );
});

afterEach(() => {
  monitor.stop();
  server.close();
});

describe('the gateway monitor', () => {
  it('takes a gateway for down until it accepted a connection', async () => {
    expect([...monitor.up]).toEqual([0, 0]);
    await monitor.checkAll();
    expect([...monitor.up]).toEqual([1, 0]);
    expect(changes).toEqual([['127.0.0.1', true]]);
  });

  it('takes a gateway for down that listens on some of its ports only', async () => {
    const other = await listen(0);
    const { port } = other.address() as AddressInfo;
    const both = createGatewayMonitor(
      {
        addresses: ['127.0.0.1'],
        checkPorts: [(server.address() as AddressInfo).port, port],
        ...{ intervalMillis: 60_000, timeoutMillis: 2_000 },
      },
      () => {},
    );
    await both.checkAll();
    expect(both.up[0]).toBe(1);
    other.close();
    await both.checkAll();
    await both.checkAll();
    expect(both.up[0]).toBe(0);
  });

  it('takes it for down after two checks without, and for up after one with', async () => {
    const { port } = server.address() as AddressInfo;
    await monitor.checkAll();
    server.close();
    await monitor.checkAll();
    expect(monitor.up[0]).toBe(1);
    await monitor.checkAll();
    expect(monitor.up[0]).toBe(0);
    server = await listen(port);
    await monitor.checkAll();
    expect(monitor.up[0]).toBe(1);
    expect(changes.map(([, up]) => up)).toEqual([true, false, true]);
  });
});
