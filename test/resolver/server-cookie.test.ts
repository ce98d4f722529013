import { describe, expect, it } from 'vitest';
import { ServerCookie } from '../../src/resolver/server-cookie.ts';
import { sockaddrOf } from './fixture.ts';

const octets = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const SECRET = 'e5e973e5a6b2a43f48e7dc849e37bfcf';

/** Message octets and a client's sockaddr at odd places of one array, as a receive slot holds them. */
function createSlot(data: Uint8Array, host: string): { wire: Uint8Array; offset: number; peer: number } {
  const wire = new Uint8Array(100).fill(0xff);
  wire.set(sockaddrOf(host), 5);
  wire.set(data, 53);
  return { wire, offset: 53, peer: 5 };
}

/** The server cookie that a client gets, in hexadecimal. */
function issue(secret: string, client: string, host: string, nowSeconds: number): string {
  const { wire, offset, peer } = createSlot(octets(client), host);
  const kept = wire.slice();
  const data = new ServerCookie(octets(secret)).compose(wire, offset, peer, nowSeconds);
  expect(wire).toEqual(kept);
  expect(Buffer.from(data.subarray(0, 8)).toString('hex')).toBe(client);
  return Buffer.from(data.subarray(8)).toString('hex');
}

/** Whether a whole COOKIE option's data is valid. */
function isValid(secret: string, cookie: string, host: string, nowSeconds: number): boolean {
  const { wire, offset, peer } = createSlot(octets(cookie), host);
  return new ServerCookie(octets(secret)).isValid(wire, offset, cookie.length / 2, peer, nowSeconds);
}

describe('the test vectors of RFC 9018, appendix A', () => {
  const HOST6 = '[2001:db8:220:1:59de:d0f4:8769:82b8]:53';
  it.each([
    ['A.1', SECRET, '2464c4abcf10c957', '198.51.100.100:53', '010000005cf79f111f8130c3eee29480'],
    ['A.2', SECRET, '2464c4abcf10c957', '198.51.100.100:53', '010000005cf7a871d4a564a1442aca77'],
    ['A.3', SECRET, 'fc93fc62807ddb86', '203.0.113.203:53', '010000005cf7a9acf73a7810aca2381e'],
    [
      'A.4, old secret',
      'dd3bdf9344b678b185a6f5cb60fca715',
      '22681ab97d52c298',
      HOST6,
      '010000005cf7c57926556bd0934c72f8',
    ],
    [
      'A.4, new secret',
      '445536bcd2513298075a5d379663c962',
      '22681ab97d52c298',
      HOST6,
      '010000005cf7c609a6bb79d16625507a',
    ],
  ])('%s', (_, secret, client, host, cookie) => {
    const now = Number.parseInt(cookie.slice(8, 16), 16);
    expect(issue(secret, client, host, now)).toBe(cookie);
    expect(isValid(secret, client + cookie, host, now)).toBe(true);
  });

  it('A.3 hashes reserved octets that are not zero and accepts them', () => {
    const cookie = 'fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5';
    expect(isValid(SECRET, cookie, '203.0.113.203:53', 0x5cf78f71 + 60)).toBe(true);
  });
});

describe('a server cookie', () => {
  const NOW = 1_772_355_600;
  const CLIENT = '0102030405060708';
  const HOST = '192.0.2.1:53';
  const cookie = CLIENT + issue(SECRET, CLIENT, HOST, NOW);

  it.each([
    ['at once', 0, true],
    ['after an hour', 3_600, true],
    ['after more than an hour', 3_601, false],
    ['five minutes before it was made', -300, true],
    ['longer before it was made', -301, false],
    ['half the range of times away', 2 ** 31, false],
  ])('%s is good: %s', (_, age, good) => {
    expect(isValid(SECRET, cookie, HOST, NOW + age)).toBe(good);
  });

  it('is good across the end of 32-bit time', () => {
    const late = 2 ** 32 - 10;
    expect(isValid(SECRET, CLIENT + issue(SECRET, CLIENT, HOST, late), HOST, late + 60)).toBe(true);
  });

  it('is bad with any bit changed', () => {
    for (let bit = 0; bit < 24 * 8; bit++) {
      const changed = octets(cookie);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(isValid(SECRET, Buffer.from(changed).toString('hex'), HOST, NOW), `bit ${bit}`).toBe(false);
    }
  });

  it.each([
    ['another address', SECRET, cookie, '192.0.2.2:53'],
    ['another family', SECRET, cookie, '[::ffff:192.0.2.1]:53'],
    ['another secret', `${SECRET.slice(0, -1)}e`, cookie, HOST],
    ['a client cookie alone', SECRET, CLIENT, HOST],
    ['one octet less', SECRET, cookie.slice(0, -2), HOST],
    ['one octet more', SECRET, `${cookie}00`, HOST],
    ['nothing', SECRET, '', HOST],
  ])('is bad with %s', (_, secret, text, host) => {
    expect(isValid(secret, text, host, NOW)).toBe(false);
  });

  it('is good from another port', () => {
    expect(isValid(SECRET, cookie, '192.0.2.1:9', NOW)).toBe(true);
  });

  it('holds whole seconds of a time with a fraction', () => {
    expect(issue(SECRET, CLIENT, HOST, NOW + 0.9)).toBe(issue(SECRET, CLIENT, HOST, NOW));
  });
});
