import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EDE, RCODE } from '../../src/dns/constants.ts';
import { QueryScan, scanQuery } from '../../src/dns/query.ts';
import { composeBlockedAnswer, composeEmptyAnswer, composeGatewayAnswer } from '../../src/rules/answer.ts';
import { NO_RULE } from '../../src/rules/layout.ts';
import type { RuleTable } from '../../src/rules/rule-table.ts';
import {
  composeOption,
  composeQuery,
  edeOf,
  optOf,
  type ParsedMessage,
  parseMessage,
  type QuerySpec,
  readOptions,
} from '../dns/message.ts';
import { buildTable, NOTICE, NOW } from './fixture.ts';

const STRUCTURED = 65_023;
const COOKIE = 10;
/** An odd place in a larger array, so that an offset counted from the wrong start shows. */
const START = 33;
const POISON = 0xa5;

const table = buildTable([
  { name: 'tree.example' },
  { name: 'exact.example', trigger: 'exact' },
  { name: 'ends.example', until: NOW + 20 },
  { name: 'joined.example' },
  { name: 'joined.example', from: NOW + 7 },
  { name: 'led.example', action: 'redirect' },
  { name: 'page.example', trigger: 'exact', action: 'steer' },
]);

interface Asked {
  message: Uint8Array;
  parsed: ParsedMessage;
}

interface AnswerSpec {
  table?: RuleTable;
  ttlSeconds?: number;
  capacity?: number;
  target?: boolean;
}

/** Composes an answer to `query` in place, and makes sure that no octet outside its room changed. */
function composeInPlace(
  query: Uint8Array,
  capacity: number,
  compose: (wire: Uint8Array, scan: QueryScan) => number,
): Asked {
  const wire = new Uint8Array(START + Math.max(capacity, query.length) + 64).fill(POISON);
  wire.set(query, START);
  const scan = new QueryScan();
  scanQuery(wire, START, query.length, STRUCTURED, scan);
  const length = compose(wire, scan);
  expect(length).toBeLessThanOrEqual(capacity);
  expect(wire.subarray(0, START).every((octet) => octet === POISON)).toBe(true);
  expect(wire.subarray(START + Math.max(capacity, query.length)).every((octet) => octet === POISON)).toBe(true);
  const message = wire.slice(START, START + length);
  return { message, parsed: parseMessage(message) };
}

/** The blocked answer to a query that a rule covers. */
function block(query: Uint8Array | QuerySpec, spec: AnswerSpec = {}): Asked {
  const { ttlSeconds = 60, capacity = 1232, target = false } = spec;
  const message = query instanceof Uint8Array ? query : composeQuery(query);
  return composeInPlace(message, capacity, (wire, scan) => {
    const used = spec.table ?? table;
    const rule = used.findRule(wire, scan.qname);
    expect(rule).not.toBe(NO_RULE);
    return composeBlockedAnswer(used, rule, wire, START, scan, ttlSeconds, capacity, target);
  });
}

const TREE = { name: 'www.tree.example' };

const V4 = Uint8Array.of(192, 0, 2, 80);
const V6 = Uint8Array.of(0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 80);

interface LedSpec {
  addresses?: readonly Uint8Array[];
  until?: number;
  capacity?: number;
}

/** The answer that leads to the gateway. */
function lead(query: QuerySpec, { addresses = [V4], until = NOW + 3_600, capacity = 1232 }: LedSpec = {}): Asked {
  return composeInPlace(composeQuery(query), capacity, (wire, scan) => {
    const found = table.findRule(wire, scan.qname);
    const rule = found === NO_RULE ? table.steeredRule : found;
    expect(rule).not.toBe(NO_RULE);
    return composeGatewayAnswer(table, rule, until, wire, START, scan, addresses, 60, capacity);
  });
}

describe('an answer that leads to the gateway', () => {
  const asking = { name: 'pAge.example', opt: {} };

  it('has an address record of the QNAME for each gateway', () => {
    const second = V4.with(3, 81);
    const { message, parsed } = lead(asking, { addresses: [V4, second] });
    expect(parsed.header).toMatchObject({ qr: 1, aa: 0, tc: 0, ra: 1, ad: 0, rcode: 0, ancount: 2, nscount: 0 });
    const answers = parsed.answers.map(({ name, type, ttl }) => [name, type, ttl]);
    expect(answers).toEqual([1, 2].map(() => ['pAge.example', 1, 60]));
    const octets = Buffer.from(message);
    expect([V4, second].every((address) => octets.includes(address))).toBe(true);
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.FORGED_ANSWER, extraText: 'notice MCMC/2026/0001' });
  });

  it('has an AAAA record where that was asked for', () => {
    const { parsed, message } = lead({ ...asking, qtype: 28 }, { addresses: [V6] });
    expect(parsed.answers).toMatchObject([{ name: 'pAge.example', type: 28, class: 1, ttl: 60 }]);
    expect(Buffer.from(message).includes(V6)).toBe(true);
  });

  it('is NODATA where there is no address', () => {
    const { parsed } = lead({ ...asking, qtype: 65 }, { addresses: [] });
    expect(parsed.header).toMatchObject({ rcode: 0, ancount: 0, nscount: 1, arcount: 1 });
    expect(parsed.authorities[0]).toMatchObject({ name: 'pAge.example', type: 6, ttl: 60, minimum: 60 });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.FORGED_ANSWER });
  });

  it('never has code 4 for a client that signalled structured errors', () => {
    const opt = { flags: 0x8000, options: [composeOption(STRUCTURED)] };
    const { parsed, message } = lead({ ...asking, opt });
    expect(parsed.header).toMatchObject({ ancount: 1, arcount: 1 });
    expect([readOptions(message).size, optOf(parsed)]).toEqual([0, expect.objectContaining({ doFlag: true })]);
  });

  it('has OPT if and only if the query had', () => {
    expect(lead({ name: 'page.example' }).parsed.header).toMatchObject({ ancount: 1, arcount: 0 });
  });

  it.each([
    [NOW + 3_600, 60],
    [NOW + 7, 7],
    [NOW, 0],
  ])('until %d lasts %d seconds', (until, ttl) => {
    expect(lead(asking, { until }).parsed.answers[0]!.ttl).toBe(ttl);
    expect(lead(asking, { until, addresses: [] }).parsed.authorities[0]!.ttl).toBe(ttl);
  });

  it('leaves out what does not fit, last of all the address', () => {
    const sizes = new Map<number, number>();
    // Question and EDE code always fit: the least that any client takes is 512.
    const least = composeQuery({ name: asking.name }).length + 17;
    for (let capacity = least; capacity <= 200; capacity++) {
      const { parsed, message } = lead(asking, { addresses: [V4, V4, V4], capacity });
      expect(message.length).toBeLessThanOrEqual(capacity);
      expect(parsed.header.tc).toBe(parsed.header.ancount === 0 ? 1 : 0);
      expect(parsed.header.arcount).toBe(1);
      sizes.set(capacity, parsed.header.ancount);
    }
    expect([...new Set(sizes.values())]).toEqual([0, 1, 2, 3]);
  });
});

describe('a blocked answer', () => {
  it.each([
    ['a name below a subtree', 'www.tree.example', false, 'NXDOMAIN', 'tree.example'],
    ['the subtree itself', 'tree.example', false, 'NXDOMAIN', 'tree.example'],
    ['a redirected name', 'www.led.example', false, 'NOERROR', 'led.example'],
    ['an exact name', 'exact.example', false, 'NOERROR', 'exact.example'],
    ['an alias of a blocked name', 'www.tree.example', true, 'NOERROR', 'www.tree.example'],
  ] as const)('to %s', (_, name, target, rcode, owner) => {
    const { parsed } = block({ name }, { target });
    expect(parsed.header).toMatchObject({ qr: 1, rcode: RCODE[rcode], qdcount: 1, ancount: 0, nscount: 1, arcount: 0 });
    expect(parsed.authorities[0]).toMatchObject({ name: owner, type: 6, class: 1, ttl: 60, minimum: 60 });
  });

  it('has the SOA of the node', () => {
    expect(block(TREE).parsed.authorities[0]).toMatchObject({
      ...{ primary: 'warta.invalid', admin: 'hostmaster.warta.invalid', serial: NOW },
      ...{ refresh: 3600, retry: 600, expiration: 86_400 },
    });
  });

  it.each([1, 2, 5, 6, 15, 16, 28, 43, 64, 65, 255, 65_280])('is the same for type %d', (qtype) => {
    const { parsed } = block({ ...TREE, qtype });
    expect(parsed.header).toMatchObject({ rcode: RCODE.NXDOMAIN, ancount: 0, nscount: 1 });
    expect(parsed.questions[0]).toMatchObject({ type: qtype, class: 1 });
  });

  it.each([
    ['RD', 0x0100, { rd: 1, cd: 0 }],
    ['no RD', 0x0000, { rd: 0, cd: 0 }],
    ['CD', 0x0110, { rd: 1, cd: 1 }],
    ['AD, AA, TC, Z, RA and an RCODE', 0x06ef, { rd: 0, cd: 0 }],
    ['everything but QR and OPCODE', 0x07ff, { rd: 1, cd: 1 }],
  ])('to a query with %s has the right flags', (_, flags, copied) => {
    const { parsed } = block({ ...TREE, flags, id: 0xbeef });
    const fixed = { id: 0xbeef, qr: 1, opcode: 0, aa: 0, tc: 0, ra: 1, z: 0, ad: 0, rcode: RCODE.NXDOMAIN };
    expect(parsed.header).toMatchObject({ ...fixed, ...copied });
  });

  it('echoes the question octet for octet', () => {
    const query = composeQuery({ name: 'wWw.TrEe.ExAmPlE', qtype: 65 });
    const { message, parsed } = block(query);
    expect([...message.slice(12, query.length)]).toEqual([...query.slice(12)]);
    expect(parsed.authorities[0]!.name).toBe('TrEe.ExAmPlE');
  });

  it.each([
    ['the configured most', 'tree.example', 30, 30],
    ['what is left of the rule', 'ends.example', 60, 20],
    ['the configured most of a rule with an end', 'ends.example', 10, 10],
    ['what is left until another rule starts', 'joined.example', 60, 7],
  ])('lasts %s', (_, name, ttlSeconds, ttl) => {
    const soa = block({ name }, { ttlSeconds }).parsed.authorities[0]!;
    expect([soa.ttl, soa.minimum]).toEqual([ttl, ttl]);
  });

  it('lasts whole seconds and not beyond the end, whatever fraction the clock is at', () => {
    const own = buildTable([{ name: 'ends.example', until: NOW + 20 }]);
    for (const [now, ttl] of [
      [NOW + 0.2, 19],
      [NOW + 19.9, 0],
      [NOW + 19, 1],
    ] as const) {
      own.setTime(now, now);
      expect(block({ name: 'ends.example' }, { table: own }).parsed.authorities[0]!.ttl).toBe(ttl);
    }
  });

  it('after a step ahead lasts by the later time, never below zero', () => {
    const own = buildTable([{ name: 'a.example' }, { name: 'a.example', from: NOW + 30 }]);
    own.setTime(NOW, NOW + 3_600);
    expect(block({ name: 'a.example' }, { table: own }).parsed.authorities[0]!.ttl).toBe(0);
  });
});

describe('EDNS in a blocked answer', () => {
  it('is there if and only if it is in the query', () => {
    expect(optOf(block(TREE).parsed)).toBeUndefined();
    const opt = optOf(block({ ...TREE, opt: {} }).parsed)!;
    expect(opt).toMatchObject({ name: '', class: 1232, version: 0, extendedRcode: 0, doFlag: false });
  });

  it.each([
    [0x8000, 0x8000],
    [0x7fff, 0],
    [0xffff, 0x8000],
  ])('copies DO alone of the flags %d', (flags, copied) => {
    expect(optOf(block({ ...TREE, opt: { flags } }).parsed)!.ttl & 0xffff).toBe(copied);
  });

  it('says Censored and the notice', () => {
    const { parsed, message } = block({ ...TREE, opt: {} });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.CENSORED, extraText: 'notice MCMC/2026/0001' });
    expect([...readOptions(message).keys()]).toEqual([15]);
  });

  it('echoes no unknown option, nor one of a client subnet', () => {
    const options = [composeOption(100, Uint8Array.of(1, 2)), composeOption(8, Uint8Array.of(0, 1, 24, 0, 1, 2, 3))];
    expect([...readOptions(block({ ...TREE, opt: { options } }).message).keys()]).toEqual([15]);
  });

  it('names the notice of the rule that matched', () => {
    const notices = [NOTICE, { ...NOTICE, reference: 'Б-2/網' }];
    const own = buildTable([{ name: 'tree.example' }, { name: 'www.tree.example', notice: 1 }], { notices });
    expect(edeOf(block({ ...TREE, opt: {} }, { table: own }).parsed)!.extraText).toBe('notice Б-2/網');
  });

  it('cuts an overlong reference between two characters', () => {
    const own = buildTable([{ name: 'tree.example' }], { notices: [{ ...NOTICE, reference: '網'.repeat(60) }] });
    const { extraText } = edeOf(block({ ...TREE, opt: {} }, { table: own }).parsed)!;
    expect(extraText).toBe(`notice ${'網'.repeat(40)}`);
  });
});

describe('structured errors', () => {
  const asked = (name = TREE.name, udpBytes = 1232) => ({
    name,
    opt: { udpBytes, options: [composeOption(STRUCTURED)] },
  });

  it('are minified JSON with contact, justification, organisation and language', () => {
    const { infoCode, extraText } = edeOf(block(asked()).parsed)!;
    expect(infoCode).toBe(EDE.CENSORED);
    expect(JSON.stringify(JSON.parse(extraText))).toBe(extraText);
    expect(JSON.parse(extraText)).toEqual({
      c: ['mailto:appeal@example.org', 'tel:+60312345678'],
      j: 'Test Commission: notice MCMC/2026/0001',
      o: 'Test Network',
      l: 'en',
    });
  });

  it('are brief in an answer that has no room for more', () => {
    const whole = block(asked());
    expect(JSON.parse(edeOf(block(asked(), { capacity: whole.message.length }).parsed)!.extraText).j).toBeDefined();
    const { parsed } = block(asked(), { capacity: whole.message.length - 1 });
    expect(JSON.parse(edeOf(parsed)!.extraText)).toEqual({ c: NOTICE.contacts });
    expect(parsed.authorities).toHaveLength(1);
  });

  it('are the code alone where not even that has room', () => {
    const long = { ...NOTICE, contacts: [`mailto:${'x'.repeat(200)}@example.org`] };
    const own = buildTable([{ name: 'tree.example' }], { notices: [long] });
    const name = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.tree.example`;
    const { parsed } = block(asked(name), { capacity: 512, table: own });
    expect(edeOf(parsed)).toMatchObject({ infoCode: EDE.CENSORED, extraText: '' });
  });

  it('are brief when the full text is overlong, and valid when even the contact is', () => {
    const operator = 'o'.repeat(500);
    const own = buildTable([{ name: 'tree.example' }], { answer: { operator } });
    expect(JSON.parse(edeOf(block(asked(), { table: own }).parsed)!.extraText)).toEqual({ c: NOTICE.contacts });
    const notices = [{ ...NOTICE, contacts: [`mailto:${'x'.repeat(500)}@example.org`] }];
    const other = buildTable([{ name: 'tree.example' }], { notices });
    expect(JSON.parse(edeOf(block(asked(), { table: other }).parsed)!.extraText)).toEqual({ c: [] });
  });

  it('are not given to clients that did not ask', () => {
    expect(edeOf(block({ ...TREE, opt: {} }).parsed)!.extraText).toBe('notice MCMC/2026/0001');
  });
});

describe('small answers', () => {
  const label = 'a'.repeat(63);
  /** 255 octets, all of it below a listed name. */
  const longest = `${label}.${label}.${label}.${'b'.repeat(48)}.tree.example`;
  const wide = { soaMname: `m${'n'.repeat(61)}`, soaRname: `r${'n'.repeat(61)}` };
  const full = buildTable([{ name: 'tree.example' }], {
    answer: wide,
    notices: [{ ...NOTICE, reference: 'R'.repeat(120) }],
  });

  it.each([
    ['no EDNS', undefined],
    ['EDNS of 512', { udpBytes: 512 }],
    ['a wish for structured errors', { udpBytes: 512, options: [composeOption(STRUCTURED)] }],
    ['a cookie, which is not echoed', { udpBytes: 512, options: [composeOption(COOKIE, new Uint8Array(8))] }],
  ])('to the longest question with %s fit into 512 octets with their SOA', (_, opt) => {
    const { parsed } = block({ name: longest, opt }, { table: full, capacity: 512 });
    expect(parsed.questions[0]!.name).toBe(longest);
    expect(parsed.header).toMatchObject({ rcode: RCODE.NXDOMAIN, tc: 0, nscount: 1 });
    expect(optOf(parsed) !== undefined).toBe(opt !== undefined);
    if (opt) expect(edeOf(parsed)!.infoCode).toBe(EDE.CENSORED);
  });

  it('lose the text first, then the SOA with TC set', () => {
    const query = composeQuery({ ...TREE, opt: {} });
    const whole = block(query);
    const soaBytes = table.soaBytes;
    const shapes: [string, number][] = [];
    for (let capacity = whole.message.length; capacity >= query.length + 6; capacity--) {
      const { parsed, message } = block(query, { capacity });
      const shape = `${edeOf(parsed)!.extraText ? 'text' : 'code'} ${parsed.authorities.length} ${parsed.header.tc}`;
      if (shapes.at(-1)?.[0] !== shape) shapes.push([shape, message.length]);
    }
    const text = 'notice MCMC/2026/0001'.length;
    expect(shapes).toEqual([
      ['text 1 0', whole.message.length],
      ['code 1 0', whole.message.length - text],
      ['text 0 1', whole.message.length - soaBytes],
      ['code 0 1', whole.message.length - soaBytes - text],
    ]);
  });
});

describe('an answer without records', () => {
  const empty = (spec: QuerySpec, rcode: number, options?: Parameters<typeof composeEmptyAnswer>[4]) =>
    composeInPlace(composeQuery(spec), 1232, (wire, scan) => composeEmptyAnswer(wire, START, scan, rcode, options));

  it.each([
    ['FORMERR', { counts: [1, 0, 0, 3] as const }, RCODE.FORMERR, 1],
    ['FORMERR to a question that cannot be read', { counts: [2, 0, 0, 0] as const }, RCODE.FORMERR, 0],
    ['NOTIMP', { flags: 0x2100 }, RCODE.NOTIMP, 0],
    ['SERVFAIL', {}, RCODE.SERVFAIL, 1],
  ])('%s', (_, spec, rcode, questions) => {
    const { parsed, message } = empty(spec, rcode);
    const opcode = ((spec as QuerySpec).flags ?? 0) >>> 11;
    expect(parsed.header).toMatchObject({ qr: 1, opcode, rd: 1, ra: 1, aa: 0, ad: 0, rcode, qdcount: questions });
    expect(parsed.header).toMatchObject({ ancount: 0, nscount: 0, arcount: 0 });
    if (questions === 0) expect(message.length).toBe(12);
  });

  it('BADVERS has its high bits in OPT and version 0', () => {
    const { parsed } = empty({ opt: { version: 7, flags: 0x8000 } }, RCODE.BADVERS);
    expect(parsed.header.rcode).toBe(RCODE.BADVERS);
    expect(optOf(parsed)).toMatchObject({ version: 0, extendedRcode: 1, doFlag: true, class: 1232, rdata: [] });
  });

  it.each([EDE.NO_REACHABLE_AUTHORITY, EDE.NETWORK_ERROR])('SERVFAIL says why with EDE %d', (ede) => {
    const { parsed } = empty({ opt: {} }, RCODE.SERVFAIL, { ede });
    expect(edeOf(parsed)).toMatchObject({ infoCode: ede, extraText: '' });
    expect(empty({}, RCODE.SERVFAIL, { ede }).parsed.additionals).toEqual([]);
  });
});

describe('every answer', () => {
  const label = fc.stringMatching(/^[a-zA-Z0-9-]{1,63}$/);
  const below = fc
    .array(label, { maxLength: 5 })
    .map((labels) => labels.join('.').slice(0, 240).replace(/\.+$/, ''))
    .filter((prefix) => prefix === '' || !prefix.split('.').includes(''));
  const option = fc.oneof(
    fc.constantFrom(8, 24, 40).map((bytes) => composeOption(COOKIE, new Uint8Array(bytes).fill(3))),
    fc.constant(composeOption(STRUCTURED)),
    fc
      .tuple(fc.integer({ min: 100, max: 60_000 }), fc.uint8Array({ maxLength: 200 }))
      .map(([code, data]) => composeOption(code, data)),
  );
  const spec = fc.record({
    below,
    apex: fc.constantFrom('tree.example', 'exact.example', 'ends.example'),
    qtype: fc.nat(0xffff),
    flags: fc.nat(0x7ff),
    opt: fc.option(
      fc.record({ udpBytes: fc.nat(4096), flags: fc.nat(0xffff), options: fc.array(option, { maxLength: 3 }) }),
      { nil: undefined },
    ),
    capacity: fc.integer({ min: 512, max: 1232 }),
    target: fc.boolean(),
  });

  it('is a valid response to its question that fits', () => {
    fc.assert(
      fc.property(spec, ({ below: prefix, apex, capacity, target, ...rest }) => {
        const name = apex === 'exact.example' || prefix === '' ? apex : `${prefix}.${apex}`;
        fc.pre(name.length <= 253);
        const query = composeQuery({ ...rest, name });
        const { message, parsed } = block(query, { capacity, target });
        const options = readOptions(message);
        expect(message.length).toBeLessThanOrEqual(capacity);
        expect([...message.slice(12, 12 + name.length + 6)]).toEqual([...query.slice(12, 12 + name.length + 6)]);
        expect(parsed.header).toMatchObject({ qr: 1, aa: 0, tc: 0, ra: 1, z: 0, ad: 0, ancount: 0, nscount: 1 });
        expect(parsed.header.rd).toBe((rest.flags >>> 8) & 1);
        expect(parsed.header.cd).toBe((rest.flags >>> 4) & 1);
        expect(parsed.authorities[0]!.name).toBe(target ? name : apex);
        expect(optOf(parsed) !== undefined).toBe(rest.opt !== undefined);
        if (rest.opt === undefined) return;
        expect(edeOf(parsed)!.infoCode).toBe(EDE.CENSORED);
        expect(optOf(parsed)!.ttl).toBe(rest.opt.flags & 0x8000);
        expect([...options.keys()]).toEqual([15]);
      }),
      { numRuns: 600 },
    );
  });
});
