import type DNS from 'dns2';
import { Packet } from 'dns2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TargetCheck } from '../../src/resolver/target-check.ts';
import { NO_RULE } from '../../src/rules/layout.ts';
import { composeQuery, composeRecord, join, wireName, words } from '../dns/message.ts';
import { buildTable } from '../rules/fixture.ts';

const table = buildTable([
  { name: 'tree.example', entry: 1 },
  { name: 'exact.example', trigger: 'exact', entry: 2 },
]);
const check = new TargetCheck();

/** The entry that a reply's target is blocked by, or -1. The reply lies at an odd place of a larger, poisoned array. */
function entryOf(reply: Uint8Array, poison = 0xff): number {
  const wire = new Uint8Array(reply.length + 400).fill(poison);
  wire.set(reply, 9);
  const rule = check.findBlockedTarget(table, wire, 9, reply.length);
  return rule === NO_RULE ? -1 : table.entryOf(rule);
}

const CNAME = 5;
const DNAME = 39;
const SVCB = 64;
const HTTPS = 65;
const OWNER = Uint8Array.of(0xc0, 0x0c);
const RESPONSE = 0x8180;

const record = (type: number, data: Uint8Array) => composeRecord({ owner: OWNER, type, ttl: 60, data });
const service = (type: number, target: string, priority = 1) =>
  record(type, join(words(priority), wireName(target), words(3, 2, 443)));
const buildReply = (name: string, ...answers: Uint8Array[]) => composeQuery({ flags: RESPONSE, name, answers });
const reply = (...answers: Uint8Array[]) => buildReply('alias.example.net', ...answers);
const redirect = (owner: string, target: string) =>
  composeRecord({ owner: wireName(owner), type: DNAME, ttl: 60, data: wireName(target) });
const LONG = `${'a'.repeat(63)}.${'b'.repeat(30)}`;

describe('TargetCheck', () => {
  it.each([
    ['no answer', reply(), -1],
    ['an address', reply(record(1, Uint8Array.of(1, 2, 3, 4))), -1],
    ['CNAME to a fine name', reply(record(CNAME, wireName('fine.example'))), -1],
    ['CNAME to a subtree', reply(record(CNAME, wireName('tree.example'))), 1],
    ['CNAME below a subtree', reply(record(CNAME, wireName('a.b.tree.example'))), 1],
    ['CNAME in capitals', reply(record(CNAME, wireName('A.TREE.Example'))), 1],
    ['CNAME to an exact name', reply(record(CNAME, wireName('exact.example'))), 2],
    ['CNAME below an exact name', reply(record(CNAME, wireName('a.exact.example'))), -1],
    ['DNAME of a name above to a subtree', reply(redirect('example.net', 'tree.example')), 1],
    ['DNAME of a name above, in another case', reply(redirect('EXAMPLE.Net', 'tree.example')), 1],
    ['DNAME to above an exact name', buildReply('exact.example.net', redirect('example.net', 'example')), 2],
    [
      'DNAME to a name above a subtree that the rest leads into',
      buildReply('www.tree.other', redirect('other', 'example')),
      1,
    ],
    ['DNAME to above an exact name that the rest does not lead to', reply(redirect('example.net', 'example')), -1],
    ['DNAME of the name itself, which it does not redirect', reply(record(DNAME, wireName('tree.example'))), -1],
    ['DNAME of a name beside', reply(redirect('other.net', 'tree.example')), -1],
    ['DNAME of a name that ends alike', buildReply('aexample.net', redirect('example.net', 'tree.example')), -1],
    [
      'DNAME to a name that gets too long',
      buildReply(`${LONG}.a.net`, redirect('a.net', `${LONG}.${LONG}.tree.example`)),
      -1,
    ],
    ['SVCB to a subtree', reply(service(SVCB, 'a.tree.example')), 1],
    ['HTTPS to a subtree', reply(service(HTTPS, 'a.tree.example')), 1],
    ['HTTPS in alias mode', reply(service(HTTPS, 'exact.example', 0)), 2],
    ['HTTPS with the target .', reply(service(HTTPS, '.')), -1],
    ['NS to a subtree', reply(record(2, wireName('tree.example'))), -1],
    [
      'a blocked target behind others',
      reply(record(1, new Uint8Array(4)), service(HTTPS, '.'), record(CNAME, wireName('tree.example'))),
      1,
    ],
    [
      'the first of two blocked targets',
      reply(record(CNAME, wireName('exact.example')), record(CNAME, wireName('tree.example'))),
      2,
    ],
    ['the root', reply(record(CNAME, wireName('.'))), -1],
    ['a target of one label', reply(record(CNAME, wireName('example'))), -1],
  ])('%s', (_, message, entry) => {
    expect(entryOf(message)).toBe(entry);
  });

  it('looks at the answer section alone', () => {
    const answers = [record(CNAME, wireName('tree.example'))];
    for (const counts of [
      [1, 0, 1, 0],
      [1, 0, 0, 1],
    ] as const) {
      expect(entryOf(composeQuery({ flags: RESPONSE, answers, counts }))).toBe(-1);
    }
  });

  it('takes a reply without a question for one that leads nowhere', () => {
    const answers = composeRecord({ owner: wireName('a.example'), type: CNAME, data: wireName('tree.example') });
    expect(entryOf(join(words(1, RESPONSE, 0, 1, 0, 0), answers))).toBe(-1);
  });

  it('follows the compression that dns2 makes of a chain', () => {
    const chain = ['alias.example', 'one.tree2.example', 'two.alias.example', 'deep.tree.example'];
    const packet = new Packet();
    packet.header = { ...packet.header, id: 1, qr: 1 } as DNS.Packet.Header;
    packet.questions = [{ name: chain[0], type: 1, class: 1 } as DNS.Packet.Question];
    const link = (name: string, domain: string) =>
      ({ name, type: CNAME, class: 1, ttl: 60, domain }) as DNS.Packet.Resource;
    for (const [length, entry] of [
      [1, -1],
      [2, -1],
      [3, 1],
    ] as const) {
      packet.answers = chain.slice(0, length).map((name, i) => link(name, chain[i + 1]!));
      expect(entryOf(packet.toBuffer())).toBe(entry);
    }
  });

  it.each([
    ['a target that points to itself', reply(record(CNAME, Uint8Array.of(0xc0, 12 + 23 + 12)))],
    ['a target that points ahead', reply(record(CNAME, Uint8Array.of(0xc0, 0xff)))],
    ['a target cut short', reply(record(CNAME, wireName('tree.example'))).slice(0, -1)],
    [
      'RDLENGTH past the end',
      reply(composeRecord({ owner: OWNER, type: CNAME, data: wireName('tree.example'), length: 99 })),
    ],
    ['a record that is missing', composeQuery({ flags: RESPONSE, counts: [1, 1, 0, 0] })],
    ['a question that is missing', words(1, RESPONSE, 1, 1, 0, 0)],
    ['many questions', composeQuery({ flags: RESPONSE, counts: [65_535, 1, 0, 0] })],
    ['a label type 01', reply(record(CNAME, Uint8Array.of(0x44, 116, 114, 101, 101, 0)))],
    ['SVCB without a target', reply(record(SVCB, words(1)))],
    ['CNAME without data', reply(record(CNAME, new Uint8Array(0)))],
  ])('blocks nothing for %s', (_, message) => {
    expect(entryOf(message)).toBe(-1);
  });

  it('a malformed record hides no blocked target before it', () => {
    const good = reply(record(CNAME, wireName('tree.example')), record(CNAME, Uint8Array.of(0xc0, 0xff)));
    expect(entryOf(good)).toBe(1);
    expect(entryOf(good.slice(0, -5))).toBe(1);
  });

  it('never crashes and judges by the reply alone, whatever its octets and whatever lies around it', () => {
    const valid = reply(
      service(HTTPS, 'a.tree.example'),
      record(CNAME, join(Uint8Array.of(1, 97), OWNER)),
      record(DNAME, wireName('exact.example')),
    );
    const changes = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 });
    fc.assert(
      fc.property(changes, fc.nat(valid.length), (list, cut) => {
        const message = valid.slice(0, Math.max(12, valid.length - cut));
        for (const [at, value] of list) if (at < message.length) message[at] = value;
        const entry = entryOf(message, 0);
        expect(entryOf(message, 0xc0)).toBe(entry);
        expect(entryOf(message, 1)).toBe(entry);
      }),
      { numRuns: 3_000 },
    );
  });
});
