import { describe, expect, it } from 'vitest';
import { ResponseRateLimit } from '../../src/resolver/response-rate-limit.ts';
import { sockaddrOf } from './fixture.ts';

/** How many of `tries` responses a client gets at one moment. */
function take(limit: ResponseRateLimit, client: string, tries: number, nowMillis: number): number {
  const peer = sockaddrOf(client);
  let taken = 0;
  for (let i = 0; i < tries; i++) if (limit.take(peer, 0, nowMillis)) taken++;
  return taken;
}

const NOW = 1_772_000_000_000;

describe('ResponseRateLimit', () => {
  it('allows a burst of two seconds, then the rate', () => {
    const limit = new ResponseRateLimit(10, 1);
    expect(take(limit, '192.0.2.1:1', 50, NOW)).toBe(20);
    expect(take(limit, '192.0.2.1:1', 50, NOW + 99)).toBe(0);
    expect(take(limit, '192.0.2.1:1', 50, NOW + 500)).toBe(5);
    expect(take(limit, '192.0.2.1:1', 50, NOW + 60_000)).toBe(20);
  });

  it('allows the rate in the long run, however the asking is spread', () => {
    for (const gap of [1, 7, 40, 130]) {
      const limit = new ResponseRateLimit(10, 1);
      let taken = 0;
      for (let at = 0; at < 100_000; at += gap) taken += take(limit, '192.0.2.1:1', 3, NOW + at);
      expect(taken).toBeGreaterThan(990);
      expect(taken).toBeLessThanOrEqual(1_020);
    }
  });

  it('counts a prefix as one client: /24 and /56, whatever the port', () => {
    const limit = new ResponseRateLimit(10, 1);
    expect(take(limit, '192.0.2.1:1', 50, NOW)).toBe(20);
    expect(take(limit, '192.0.2.250:9', 50, NOW)).toBe(0);
    expect(take(limit, '192.0.3.1:1', 50, NOW)).toBe(20);
    expect(take(limit, '[2001:db8:0:1::1]:1', 50, NOW)).toBe(20);
    expect(take(limit, '[2001:db8:0:ff:9::1]:1', 50, NOW)).toBe(0);
    expect(take(limit, '[2001:db8:0:100::1]:1', 50, NOW)).toBe(20);
  });

  it('spreads prefixes over its buckets by the key', () => {
    const sharing = (key: number): string[] => {
      const limit = new ResponseRateLimit(1, key);
      const clients = Array.from({ length: 2_000 }, (_, i) => `10.${i >> 8}.${i & 255}.1:1`);
      return clients.filter((client) => take(limit, client, 9, NOW) < 2);
    };
    const [one, two] = [sharing(1), sharing(0x5eed5eed)];
    // 2,000 prefixes in 65,536 buckets: about 30 meet another.
    for (const each of [one, two]) expect(each.length).toBeLessThan(80);
    expect(one).not.toEqual(two);
  });

  it('is off at 0', () => {
    expect(take(new ResponseRateLimit(0, 1), '192.0.2.1:1', 1_000, NOW)).toBe(1_000);
  });

  it('gives nothing for a clock that goes back', () => {
    const limit = new ResponseRateLimit(10, 1);
    take(limit, '192.0.2.1:1', 50, NOW);
    expect(take(limit, '192.0.2.1:1', 50, NOW - 3_600_000)).toBe(0);
  });
});
