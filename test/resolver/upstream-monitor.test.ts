import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UpstreamMonitor } from '../../src/resolver/upstream-monitor.ts';
import { parseMessage } from '../dns/message.ts';
import { type FakeUpstream, type Respond, startFakeUpstream } from './fake-upstream.ts';
import { replyTo } from './fixture.ts';

const silent: Respond = () => [];
const alive: Respond = (message) => [replyTo(message)];
const failing: Respond = (message) => [replyTo(message, [], 0x8182)];
const forging: Respond = (message) => [replyTo(message).with(1, message[1]! ^ 1), replyTo(message).with(2, 0)];

let upstreams: FakeUpstream[];
let changes: string[];
let monitor: UpstreamMonitor;
beforeEach(async () => {
  upstreams = await Promise.all([startFakeUpstream(), startFakeUpstream()]);
  changes = [];
  monitor = new UpstreamMonitor({
    upstreams: upstreams.map(({ address }) => address),
    ...{ checkName: 'health.example', intervalMillis: 10, timeoutMillis: 250, proxyProtocol: false },
    onChange: (upstream, up) => changes.push(`${upstream} ${up ? 'up' : 'down'}`),
  });
});
afterEach(() => {
  monitor.stop();
  for (const upstream of upstreams) upstream.close();
});

/** Checks once after each upstream was told how to behave. */
async function check(...behaviour: Respond[]): Promise<number[]> {
  upstreams.forEach((upstream, i) => {
    upstream.onDatagram = behaviour[i]!;
  });
  await monitor.checkAll();
  return [...monitor.up];
}

describe('UpstreamMonitor', () => {
  it('takes every upstream for up until two checks failed, and for up again after one reply', async () => {
    expect([...monitor.up]).toEqual([1, 1]);
    expect(await check(silent, alive)).toEqual([1, 1]);
    expect(await check(silent, alive)).toEqual([0, 1]);
    expect(await check(silent, alive)).toEqual([0, 1]);
    expect(await check(alive, alive)).toEqual([1, 1]);
    expect(await check(silent, silent)).toEqual([1, 1]);
    expect(await check(alive, silent)).toEqual([1, 0]);
    expect(changes).toEqual(['0 down', '0 up', '1 down']);
  });

  it('takes an upstream that answers SERVFAIL for alive, and one that forges for silent', async () => {
    await check(failing, forging);
    expect(await check(failing, forging)).toEqual([1, 0]);
  });

  it('takes an upstream whose port is closed for down', async () => {
    upstreams[0]!.close();
    upstreams[0] = await startFakeUpstream();
    await check(silent, alive);
    expect(await check(silent, alive)).toEqual([0, 1]);
  });

  it('asks for the configured name, under a fresh identifier each time', async () => {
    const ids = new Set<number>();
    const asked: Respond = (message) => {
      const { header, questions } = parseMessage(message);
      expect(questions).toMatchObject([{ name: 'health.example', type: 2, class: 1 }]);
      expect(header).toMatchObject({ rd: 1, qr: 0 });
      ids.add(header.id);
      return alive(message);
    };
    for (let i = 0; i < 5; i++) await check(asked, asked);
    expect(ids.size).toBeGreaterThan(5);
  });

  it('checks by itself once started', async () => {
    let asked = 0;
    const counting: Respond = (message) => {
      asked++;
      return alive(message);
    };
    for (const upstream of upstreams) upstream.onDatagram = counting;
    monitor.start();
    await expect.poll(() => asked).toBeGreaterThan(4);
  });

  it('shares its words with other threads', () => {
    expect(monitor.up.buffer).toBeInstanceOf(SharedArrayBuffer);
  });
});
