import { describe, expect, it } from 'vitest';
import type { ResolverInformation } from '../../src/resolver/local-zone.ts';
import { composeRecord, optOf, parseMessage, type QuerySpec, wireName } from '../dns/message.ts';
import { buildTable } from '../rules/fixture.ts';
import { parseAnswer, TestPlane } from './fixture.ts';

const INFORMATION: ResolverInformation & { name: string } = {
  ...{ name: 'dns.isp.example', dotPort: 853, dohPort: 8443, dohPath: '/q', addresses: [] },
  ...{ soaMname: 'ns.isp.example', soaRname: 'dns.isp.example' },
};
const SVCB = 64;
const RESINFO = 261;

const createPlane = (information?: ResolverInformation) =>
  new TestPlane({ table: buildTable([]), settings: { information } });

describe('resolver.arpa', () => {
  it.each<[QuerySpec]>([
    [{ name: 'resolver.arpa' }],
    [{ name: 'RESOLVER.arpa', qtype: 28 }],
    [{ name: '_dns.resolver.arpa', qtype: 16 }],
    [{ name: '_dns.resolver.arpa', qtype: SVCB }],
    [{ name: 'a.b._dns.resolver.arpa', qtype: SVCB }],
    [{ name: `${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(50)}.resolver.arpa` }],
    [{ name: 'resolver.arpa', qtype: RESINFO }],
    [{ name: 'resolver.arpa', opt: { flags: 0x8000 } }],
  ])('is NODATA with an SOA and never forwarded: %j', (query) => {
    const plane = createPlane();
    const answer = parseAnswer(plane.ask(query));
    expect(answer).toMatchObject({ answers: [], authorities: [{ type: 6, ttl: 300 }] });
    expect(answer.authorities[0]!.name.toLowerCase()).toBe('resolver.arpa');
    expect(optOf(answer) === undefined).toBe(query.opt === undefined);
    expect(plane.io.forwards.length).toBe(0);
    expect(plane.outcomes).toEqual({ local: 1 });
  });

  it.each([
    [{ name: 'myresolver.arpa' }],
    [{ name: 'arpa' }],
    [{ name: 'resolver.arpa.example' }],
    [{ name: '\\010resolver.arpa' }],
    [{ name: 'resolver.arpb' }],
    [{ name: 'dns.isp.example' }],
    [{ name: 'other.isp.example', qtype: RESINFO }],
  ])('is not %j', (query) => {
    const plane = createPlane(INFORMATION);
    expect(plane.ask(query)).toBeUndefined();
    expect(plane.io.forwards.length).toBe(1);
  });

  it('names DoT and DoH, the usual port unsaid', () => {
    const answer = parseAnswer(createPlane(INFORMATION).ask({ name: '_DNS.resolver.arpa', qtype: SVCB }));
    expect(answer.answers.map(({ type, ttl }) => [type, ttl])).toEqual([
      [SVCB, 300],
      [SVCB, 300],
    ]);
    const message = createPlane(INFORMATION).ask({ name: '_dns.resolver.arpa', qtype: SVCB })!.message;
    const target = wireName(INFORMATION.name);
    const dot = Uint8Array.of(0, 1, ...target, 0, 1, 0, 4, 3, ...Buffer.from('dot'));
    const path = Buffer.from('/q{?dns}');
    const doh = [
      0,
      2,
      ...target,
      0,
      1,
      0,
      3,
      2,
      ...Buffer.from('h2'),
      0,
      3,
      0,
      2,
      8443 >>> 8,
      8443 & 255,
      0,
      7,
      0,
      8,
      ...path,
    ];
    const owner = Uint8Array.of(0xc0, 12);
    const records = [dot, Uint8Array.from(doh)].map((data) => composeRecord({ owner, type: SVCB, ttl: 300, data }));
    expect(Buffer.from(message.slice(-records[0]!.length - records[1]!.length))).toEqual(Buffer.concat(records));
    expect(message[2]! & 4).toBe(4);
  });

  it('is cut for a client that takes little, and says so', () => {
    const long = { ...INFORMATION, addresses: Array.from({ length: 16 }, (_, i) => `2001:db8::${i}`) };
    const answer = parseAnswer(createPlane(long).ask({ name: '_dns.resolver.arpa', qtype: SVCB }));
    expect([answer.header.tc, answer.answers.length]).toEqual([1, 0]);
    const whole = createPlane(long).ask({ name: '_dns.resolver.arpa', qtype: SVCB, opt: {} })!.message;
    expect(parseMessage(whole).answers.length).toBe(2);
  });

  it('says what the resolver does by its own name too', () => {
    for (const name of ['dns.isp.example', 'DNS.isp.example', 'resolver.arpa']) {
      const plane = createPlane(INFORMATION);
      const { message } = plane.ask({ name, qtype: RESINFO, flags: 0 })!;
      expect(Buffer.from(message).subarray(-16).toString('latin1')).toBe('\x0fexterr=16,22-23');
      expect(message[2]! & 4).toBe(4);
    }
  });

  it('says that it forges answers where it leads clients to a gateway', () => {
    const { message } = createPlane({ ...INFORMATION, forges: true }).ask({ name: 'resolver.arpa', qtype: RESINFO })!;
    expect(Buffer.from(message).subarray(-18).toString('latin1')).toBe('\x11exterr=4,16,22-23');
  });
});
