import { describe, expect, it } from 'vitest';
import {
  createGuardedLookup,
  isPublicAddress,
  type ResolveHost,
  requireTarget,
} from '../../../src/control/webhooks/webhook-target.ts';

describe('an address', () => {
  it.each([
    ['8.8.8.8', true],
    ['2001:4860:4860::8888', true],
    ['127.0.0.1', false],
    ['127.8.8.8', false],
    ['0.0.0.0', false],
    ['10.0.0.1', false],
    ['172.16.5.5', false],
    ['192.168.1.1', false],
    ['169.254.169.254', false],
    ['100.64.0.1', false],
    ['192.0.2.1', false],
    ['198.18.0.1', false],
    ['224.0.0.1', false],
    ['255.255.255.255', false],
    ['::1', false],
    ['::', false],
    ['fe80::1', false],
    ['fc00::1', false],
    ['ff02::1', false],
    ['::ffff:127.0.0.1', false],
    ['::ffff:10.0.0.1', false],
    ['64:ff9b::7f00:1', false],
    ['2002:7f00:1::', false],
    ['2001:db8::1', false],
    ['no address', false],
  ])('%s is public: %s', (address, expected) => {
    expect(isPublicAddress(address)).toBe(expected);
  });
});

describe('a target', () => {
  const strict = { allowPrivateAddresses: false };

  it.each([['https://hooks.example/x?y=1'], ['https://8.8.8.8/'], ['https://hooks.example:8443/']])(
    'may be %s',
    (url) => {
      expect(requireTarget(url, strict).href).toBe(url);
    },
  );

  it.each([
    ['http://hooks.example/', 'https'],
    ['ftp://hooks.example/', 'https'],
    ['file:///etc/passwd', 'https'],
    ['hooks.example', 'https'],
    ['https://user:word@hooks.example/', 'password'],
    ['https://hooks.example/#part', '#'],
    ['https://127.0.0.1/', 'public'],
    ['https://127.1/', 'public'],
    ['https://2130706433/', 'public'],
    ['https://0x7f.1/', 'public'],
    ['https://[::1]/', 'public'],
    ['https://[::ffff:10.0.0.1]/', 'public'],
    ['https://169.254.169.254/latest/meta-data', 'public'],
  ])('may not be %s', (url, reason) => {
    expect(() => requireTarget(url, strict)).toThrow(expect.objectContaining({ code: 'request-invalid' }));
    expect(() => requireTarget(url, strict)).toThrow(reason);
  });

  it('may be inside where the configuration says so', () => {
    expect(requireTarget('http://127.0.0.1:9/', { allowPrivateAddresses: true }).port).toBe('9');
  });
});

describe('the look-up of a host', () => {
  const resolveTo =
    (...addresses: string[]): ResolveHost =>
    (_host, done) =>
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
  const look = (addresses: string[], all: boolean, allowPrivateAddresses = false) =>
    new Promise<unknown>((settle) => {
      const lookup = createGuardedLookup({ allowPrivateAddresses, resolve: resolveTo(...addresses) });
      lookup('hooks.example', { all }, (error, found) => settle(error ?? found));
    });

  it('gives what is public', async () => {
    expect(await look(['8.8.8.8', '2001:4860:4860::8888'], false)).toBe('8.8.8.8');
    expect(await look(['8.8.8.8'], true)).toEqual([{ address: '8.8.8.8', family: 4 }]);
  });

  it.each([[['127.0.0.1']], [['8.8.8.8', '10.0.0.1']], [['8.8.8.8', '::1']], [[]]])('refuses %j', async (addresses) => {
    expect(await look(addresses, true)).toBeInstanceOf(Error);
    expect(await look(addresses, false)).toBeInstanceOf(Error);
  });

  it('tells of a host that is not there, and allows what the configuration allows', async () => {
    const lookup = createGuardedLookup({
      allowPrivateAddresses: false,
      resolve: (_, done) => done(new Error('gone'), []),
    });
    const error = await new Promise((settle) => lookup('x', {}, settle));
    expect(error).toMatchObject({ message: 'gone' });
    expect(await look(['127.0.0.1'], false, true)).toBe('127.0.0.1');
  });
});
