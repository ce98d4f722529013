import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import {
  formatSocketAddress,
  parseSocketAddress,
  readSocketAddress,
  writeSocketAddress,
} from '../../src/resolver/socket-address.ts';

describe('parseSocketAddress', () => {
  it.each([
    ['192.0.2.1:5300', { host: '192.0.2.1', port: 5300, family: 4 }],
    ['192.0.2.1', { host: '192.0.2.1', port: 53, family: 4 }],
    ['[2001:db8::1]:5300', { host: '2001:db8::1', port: 5300, family: 6 }],
    ['[2001:db8::1]', { host: '2001:db8::1', port: 53, family: 6 }],
    ['2001:db8::1', { host: '2001:db8::1', port: 53, family: 6 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0, family: 4 }],
    ['192.0.2.1:65535', { host: '192.0.2.1', port: 65_535, family: 4 }],
  ])('%s', (text, address) => {
    expect(parseSocketAddress(text, 53)).toEqual(address);
  });

  it.each([
    ...['', 'localhost', 'localhost:53', '192.0.2', '192.0.2.256', '192.0.2.1:65536', '192.0.2.1:', '192.0.2.1:x'],
    ...['[2001:db8::1', '[2001:db8::g]:53', '[]:53', ':53', '3221225985', '192.0.2.1:53:53'],
  ])('refuses %j and names it', (text) => {
    expect(() => parseSocketAddress(text, 53)).toThrow(
      expect.objectContaining({ code: 'config-invalid', message: expect.stringContaining(`'${text}'`) }) as WartaError,
    );
  });

  // Octal to one reader and decimal to another: an ACL or a listener must not depend on which.
  it.each(['010.0.0.1:53', '192.0.2.010'])('refuses the ambiguous %j', (text) => {
    expect(() => parseSocketAddress(text, 53)).toThrow();
  });
});

describe('struct sockaddr', () => {
  const host = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));

  it('holds every address and port, and text does too', () => {
    fc.assert(
      fc.property(host, fc.nat(0xffff), fc.nat(9), (bytes, port, offset) => {
        const family = bytes.length === 4 ? 4 : 6;
        const address = { host: ipaddr.fromByteArray([...bytes]).toString(), port, family } as const;
        const out = new Uint8Array(64).fill(0xff);
        const length = writeSocketAddress(address, out, offset);
        expect(length).toBe(family === 4 ? 16 : 28);
        expect(readSocketAddress(out, offset)).toEqual(address);
        expect(parseSocketAddress(formatSocketAddress(address), 1)).toEqual(address);
        expect([...out.subarray(0, offset), ...out.subarray(offset + 28)].every((octet) => octet === 0xff)).toBe(true);
      }),
    );
  });

  it('is laid out as Linux has it', () => {
    const out = new Uint8Array(28).fill(0xff);
    writeSocketAddress({ host: '192.0.2.1', port: 0x1234, family: 4 }, out, 0);
    expect([...out.subarray(0, 16)]).toEqual([2, 0, 0x12, 0x34, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    writeSocketAddress({ host: '2001:db8::1', port: 53, family: 6 }, out, 0);
    const address = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    expect([...out]).toEqual([10, 0, 0, 53, 0, 0, 0, 0, ...address, 0, 0, 0, 0]);
  });
});
