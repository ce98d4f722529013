import { afterAll, expect, it } from 'vitest';
import { Gateway } from '../../src/gateway/gateway.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { exchange, fixedAddress, listPage } from '../gateway/fixture.ts';
import { createUrlRules } from '../gateway/naive-rules.ts';

const START = 1_800_000_000;
const gateways: Gateway[] = [];
afterAll(() => Promise.all(gateways.map((gateway) => gateway.stop(0))));

/** Starts a gateway with one page until `START + 100`; returns what tells its status. */
async function start(clock: FakeClock, floorSeconds?: number) {
  const gateway = await Gateway.start({
    http: { host: '127.0.0.1', port: 0 },
    rules: createUrlRules([listPage('http://host.example/page', { endSeconds: START + 100 })]),
    blockedBy: 'https://isp.example/',
    origins: { resolvers: fixedAddress('192.0.2.1') },
    ...{ clock, floorSeconds },
  });
  gateways.push(gateway);
  const ask = async () => {
    const request = 'GET /page HTTP/1.1\r\nHost: host.example\r\nConnection: close\r\n\r\n';
    return Number((await exchange(gateway.httpPort, request)).split(' ')[1]);
  };
  return { gateway, ask };
}

it('a rule that ended by a time the gateway was vouched for does not revive by its own clock', async () => {
  const { gateway, ask } = await start(new FakeClock(START));
  expect(await ask()).toBe(451);
  gateway.raiseFloor(START + 99);
  expect(await ask()).toBe(451);
  gateway.raiseFloor(START + 100);
  expect(await ask()).not.toBe(451);
  gateway.raiseFloor(START);
  expect(await ask()).not.toBe(451);
  expect(gateway.clock.stepSeconds).toBeGreaterThan(0);
});

it('nor does it after a restart with the clock set back', async () => {
  expect(await (await start(new FakeClock(START), START + 100)).ask()).not.toBe(451);
  expect(await (await start(new FakeClock(START), START + 99)).ask()).toBe(451);
});
