import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import { ClientLimit } from '../../src/base/client-limit.ts';

const octets = (address: string) => Uint8Array.from(ipaddr.parse(address).toByteArray());

describe('ClientLimit', () => {
  it.each([
    [7, '192.0.2.1', '192.0.2.1', true],
    [7, '192.0.2.1', '::ffff:192.0.2.1', true],
    [7, '::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
    [7, '192.0.2.1', '192.0.2.2', false],
    [7, '192.0.2.1', 'c000:201::', false],
    [7, '2001:db8:1:100::1', '2001:db8:1:1ff::2', true],
    [7, '2001:db8:1:100::1', '2001:db8:1:200::1', false],
    [8, '2001:db8:1:100::1', '2001:db8:1:100:ffff::2', true],
    [8, '2001:db8:1:100::1', '2001:db8:1:101::1', false],
  ])('with %d octets of IPv6, %s and %s are one client: %s', (prefixBytes, one, two, isSame) => {
    const limit = new ClientLimit(2, prefixBytes);
    limit.enter(octets(one));
    const leave = limit.enter(octets(one))!;
    expect(limit.enter(octets(one))).toBeUndefined();
    expect(limit.enter(octets(two)) === undefined).toBe(isSame);
    leave();
    expect(limit.enter(octets(two))).toBeDefined();
  });

  it('never lets a client have more, and forgets those that left', () => {
    const step = fc.record({ client: fc.nat(3), enters: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const limit = new ClientLimit(3, 7);
        const open: (() => void)[][] = [[], [], [], []];
        for (const { client, enters } of steps) {
          if (!enters) {
            open[client]!.pop()?.();
            continue;
          }
          const leave = limit.enter(Uint8Array.of(192, 0, 2, client));
          expect(leave === undefined).toBe(open[client]!.length === 3);
          if (leave !== undefined) open[client]!.push(leave);
        }
      }),
    );
  });
});
