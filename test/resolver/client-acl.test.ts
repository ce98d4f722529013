import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import { ClientAcl } from '../../src/resolver/client-acl.ts';
import { sockaddrOf } from './fixture.ts';

/** Whether a client may ask, its sockaddr at an odd place of a larger array. */
function allows(acl: ClientAcl, host: string): boolean {
  const bytes = new Uint8Array(64).fill(0xff);
  bytes.set(sockaddrOf(host.includes(':') ? `[${host}]:53` : `${host}:53`), 11);
  return acl.allows(bytes, 11);
}

describe('ClientAcl', () => {
  const acl = new ClientAcl([
    '10.1.2.3/8',
    '192.0.2.4/32',
    '192.0.2.8/32',
    '192.0.2.10/32',
    '192.0.2.5/32',
    '203.0.113.0/25',
    '2001:db8::1/33',
    'fe80::/10',
  ]);
  it.each([
    ['10.0.0.0', true],
    ['10.255.255.255', true],
    ['9.255.255.255', false],
    ['11.0.0.0', false],
    ['192.0.2.3', false],
    ['192.0.2.4', true],
    ['192.0.2.5', true],
    ['192.0.2.6', false],
    ['192.0.2.8', true],
    ['192.0.2.9', false],
    ['192.0.2.10', true],
    ['203.0.113.127', true],
    ['203.0.113.128', false],
    ['0.0.0.0', false],
    ['255.255.255.255', false],
    ['::ffff:10.1.1.1', true],
    ['::ffff:11.1.1.1', false],
    ['2001:db8:7fff::1', true],
    ['2001:db8:8000::1', false],
    ['febf::1', true],
    ['fec0::1', false],
    ['::1', false],
  ])('%s: %s', (host, allowed) => {
    expect(allows(acl, host)).toBe(allowed);
  });

  it('allows nobody without prefixes, and everybody of a family with one of no bits', () => {
    expect(allows(new ClientAcl([]), '127.0.0.1')).toBe(false);
    expect(allows(new ClientAcl(['0.0.0.0/0']), '255.255.255.255')).toBe(true);
    expect(allows(new ClientAcl(['0.0.0.0/0']), '::1')).toBe(false);
    expect(allows(new ClientAcl(['::/0']), 'ffff::1')).toBe(true);
    expect(allows(new ClientAcl(['::/0']), '1.2.3.4')).toBe(false);
  });

  it.each(['10.0.0.0', '10.0.0.0/33', '10.0.0/x', '2001:db8::/129', 'example/8', ''])(
    'refuses %j and names it',
    (text) => {
      expect(() => new ClientAcl([text])).toThrow(
        expect.objectContaining({
          code: 'config-invalid',
          message: expect.stringContaining(`'${text}'`),
        }) as WartaError,
      );
    },
  );

  // Octal or classful to one reader and not to another: who may ask must not depend on which.
  it.each(['010.0.0.0/8', '10.0/8', '10/8', '0x0a.0.0.0/8'])('refuses the ambiguous %j', (text) => {
    expect(() => new ClientAcl([text])).toThrow(expect.objectContaining({ code: 'config-invalid' }) as WartaError);
  });

  // Few leading octets, so that prefixes and addresses meet; every number of bits.
  const octets = (count: number) =>
    fc.array(fc.constantFrom(0, 1, 127, 128, 192, 255), { minLength: count, maxLength: count });
  const host4 = octets(4).map((bytes) => bytes.join('.'));
  const host6 = octets(16)
    .map((bytes) => ipaddr.fromByteArray(bytes).toString())
    .filter((host) => !host.startsWith('::ffff:'));
  const mapped = host4.map((host) => `::ffff:${host}`);
  const prefix4 = fc.tuple(host4, fc.nat(32)).map(([host, bits]) => `${host}/${bits}`);
  const prefix6 = fc.tuple(host6, fc.nat(128)).map(([host, bits]) => `${host}/${bits}`);

  it('agrees with ipaddr.js on any prefixes and addresses', () => {
    const prefixes = fc.array(fc.oneof(prefix4, prefix6), { maxLength: 8 });
    const hosts = fc.array(fc.oneof(host4, host6, mapped), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(prefixes, hosts, (texts, addresses) => {
        const compiled = new ClientAcl(texts);
        for (const host of addresses) {
          const address = ipaddr.process(host);
          const expected = texts
            .map((text) => ipaddr.parseCIDR(text))
            .some(([network, bits]) => {
              return network.kind() === address.kind() && address.match(network, bits);
            });
          expect(allows(compiled, host), `${host} in ${texts.join(' ')}`).toBe(expected);
        }
      }),
      { numRuns: 500 },
    );
  });
});
