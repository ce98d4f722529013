import type DNS from 'dns2';
import { Packet } from 'dns2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isInternetClass, QueryScan, SCAN, scanQuery } from '../../src/dns/query.ts';
import { composeOpt, composeOption, composeQuery, composeRecord, parseMessage, wireName } from './message.ts';

const STRUCTURED = 65_023;

/** Scans a message that stands alone in its array. */
function scan(message: Uint8Array): [string, QueryScan] {
  const found = new QueryScan();
  return [verdictName(scanQuery(message, 0, message.length, STRUCTURED, found)), found];
}

function verdictName(verdict: number): string {
  return Object.entries(SCAN).find(([, value]) => value === verdict)![0];
}

const COOKIE = 10;
const cookie = (bytes: number) => composeOption(COOKIE, new Uint8Array(bytes).fill(7));
const address = composeRecord({ owner: wireName('a.example'), type: 1, data: Uint8Array.of(1, 2, 3, 4) });
const optRecord = composeOpt({});

describe('scanQuery tells what a message is', () => {
  const cases: [string, Uint8Array, keyof typeof SCAN][] = [
    ['a plain query', composeQuery(), 'OK'],
    ['a query for the root', composeQuery({ name: '.' }), 'OK'],
    ['a query with OPT', composeQuery({ opt: {} }), 'OK'],
    ['a response', composeQuery({ flags: 0x8180 }), 'IGNORE'],
    ['a response that is malformed too', composeQuery({ flags: 0x8180, counts: [0, 0, 0, 0] }), 'IGNORE'],
    ['no octet', new Uint8Array(0), 'IGNORE'],
    ['11 octets', composeQuery().slice(0, 11), 'IGNORE'],
    ['a header alone', composeQuery().slice(0, 12), 'MALFORMED'],
    ['opcode IQUERY', composeQuery({ flags: 0x0900 }), 'NOT_IMPLEMENTED'],
    ['opcode NOTIFY', composeQuery({ flags: 0x2100 }), 'NOT_IMPLEMENTED'],
    ['opcode UPDATE', composeQuery({ flags: 0x2900, counts: [1, 0, 0, 7] }), 'NOT_IMPLEMENTED'],
    ['opcode 15', composeQuery({ flags: 0x7900 }), 'NOT_IMPLEMENTED'],
    ['no question', composeQuery({ counts: [0, 0, 0, 0] }), 'MALFORMED'],
    ['two questions', composeQuery({ counts: [2, 0, 0, 0] }), 'MALFORMED'],
    ['257 questions', composeQuery({ counts: [257, 0, 0, 0] }), 'MALFORMED'],
    ['an octet behind the question', composeQuery({ trailing: Uint8Array.of(0) }), 'MALFORMED'],
    ['an octet behind OPT', composeQuery({ opt: {}, trailing: Uint8Array.of(0) }), 'MALFORMED'],
    ['OPT that is not counted', composeQuery({ opt: {}, counts: [1, 0, 0, 0] }), 'MALFORMED'],
    ['OPT that is missing', composeQuery({ counts: [1, 0, 0, 1] }), 'MALFORMED'],
    ['a name without its root', composeQuery({ name: Uint8Array.of(3, 119, 119, 119) }), 'MALFORMED'],
    ['a compressed name', composeQuery({ name: Uint8Array.of(0xc0, 0x0c) }), 'MALFORMED'],
    ['a label type 01', composeQuery({ name: Uint8Array.of(0x43, 97, 98, 99, 0) }), 'MALFORMED'],
    ['a question without its class', composeQuery().slice(0, -2), 'MALFORMED'],
    ['two OPTs', composeQuery({ opt: {}, additionals: [optRecord] }), 'MALFORMED'],
    ['OPT in the answer section', composeQuery({ answers: [optRecord] }), 'MALFORMED'],
    [
      'OPT of another owner than the root',
      composeQuery({ additionals: [composeRecord({ owner: wireName('a'), type: 41, class: 1232 })] }),
      'MALFORMED',
    ],
    [
      'OPT whose owner is a pointer to the root octet',
      composeQuery({ name: '.', additionals: [composeRecord({ owner: Uint8Array.of(0xc0, 12), type: 41 })] }),
      'MALFORMED',
    ],
    ['a record before OPT', composeQuery({ additionals: [address], opt: {} }), 'OK'],
    ['a record behind OPT', composeQuery({ additionals: [optRecord, address] }), 'OK'],
    ['a record in the answer section', composeQuery({ answers: [address], opt: {} }), 'OK'],
    ['a record cut short', composeQuery({ additionals: [address.slice(0, -1)] }), 'MALFORMED'],
    ['RDLENGTH past the end', composeQuery({ additionals: [composeRecord({ type: 41, length: 1 })] }), 'MALFORMED'],
    ['EDNS version 1', composeQuery({ opt: { version: 1 } }), 'BAD_VERSION'],
    [
      'EDNS version 255 with broken options',
      composeQuery({ opt: { version: 255, options: [Uint8Array.of(1)] } }),
      'BAD_VERSION',
    ],
    [
      'two OPTs, the first of version 1',
      composeQuery({ additionals: [composeOpt({ version: 1 })], opt: {} }),
      'MALFORMED',
    ],
    [
      'EDNS version 1 and an octet too many',
      composeQuery({ opt: { version: 1 }, trailing: Uint8Array.of(0) }),
      'MALFORMED',
    ],
    ['half an option header', composeQuery({ opt: { options: [Uint8Array.of(0, 10, 0)] } }), 'MALFORMED'],
    [
      'an option past its record',
      composeQuery({ opt: { options: [composeOption(100, Uint8Array.of(1), 2)] } }),
      'MALFORMED',
    ],
    ['an unknown option', composeQuery({ opt: { options: [composeOption(100, Uint8Array.of(1))] } }), 'OK'],
    ...[0, 1, 7, 9, 15, 41, 64].map((bytes): [string, Uint8Array, keyof typeof SCAN] => [
      `a cookie of ${bytes} octets`,
      composeQuery({ opt: { options: [cookie(bytes)] } }),
      'MALFORMED',
    ]),
    ...[8, 16, 24, 40].map((bytes): [string, Uint8Array, keyof typeof SCAN] => [
      `a cookie of ${bytes} octets`,
      composeQuery({ opt: { options: [cookie(bytes)] } }),
      'OK',
    ]),
  ];

  it.each(cases)('%s', (_, message, verdict) => {
    expect(scan(message)[0]).toBe(verdict);
  });

  it('a valid query cut anywhere is never OK', () => {
    const message = composeQuery({ opt: { options: [cookie(24), composeOption(STRUCTURED)] } });
    for (let length = 0; length < message.length; length++) expect(scan(message.slice(0, length))[0]).not.toBe('OK');
  });
});

describe('scanQuery finds the parts', () => {
  it('of a plain query', () => {
    const [verdict, found] = scan(composeQuery({ name: 'a.example', qtype: 65, qclass: 3 }));
    expect(verdict).toBe('OK');
    expect(found).toMatchObject({ qname: 12, questionEnd: 27, qtype: 65, qclass: 3, opt: -1, cookie: -1 });
    expect(found).toMatchObject({ udpBytes: 512, dnssecOk: false, structured: false });
  });

  it('of a query with OPT', () => {
    const options = [composeOption(3), cookie(16), composeOption(STRUCTURED)];
    const message = composeQuery({ name: 'a.example', opt: { udpBytes: 4096, flags: 0x8000, options } });
    const [, found] = scan(message);
    expect(found).toMatchObject({ questionEnd: 27, opt: 27, optEnd: message.length, udpBytes: 4096, dnssecOk: true });
    expect(found).toMatchObject({ structured: true, cookie: 27 + 11 + 4 + 4, cookieBytes: 16 });
  });

  it.each([
    [0, 512],
    [511, 512],
    [512, 512],
    [1232, 1232],
    [65_535, 65_535],
  ])('takes a payload size of %d as %d', (udpBytes, taken) => {
    expect(scan(composeQuery({ opt: { udpBytes } }))[1].udpBytes).toBe(taken);
  });

  it.each([
    ['with data', [composeOption(STRUCTURED, Uint8Array.of(1))]],
    ['of another code', [composeOption(STRUCTURED - 1)]],
    ['that is missing', []],
  ])('takes no structured option %s', (_, options) => {
    expect(scan(composeQuery({ opt: { options } }))[1].structured).toBe(false);
  });

  it('knows no structured option when none is configured', () => {
    const message = composeQuery({ opt: { options: [composeOption(STRUCTURED), composeOption(0xffff)] } });
    const found = new QueryScan();
    expect(scanQuery(message, 0, message.length, -1, found)).toBe(SCAN.OK);
    expect(found.structured).toBe(false);
  });

  it('takes the first of two cookies', () => {
    const [, found] = scan(composeQuery({ name: '.', opt: { options: [cookie(8), cookie(24)] } }));
    expect([found.cookie, found.cookieBytes]).toEqual([17 + 11 + 4, 8]);
  });

  it('keeps nothing of the query before', () => {
    const found = new QueryScan();
    const options = [cookie(24), composeOption(STRUCTURED)];
    const first = composeQuery({ opt: { udpBytes: 4096, flags: 0x8000, options } });
    scanQuery(first, 0, first.length, STRUCTURED, found);
    const second = composeQuery();
    scanQuery(second, 0, second.length, STRUCTURED, found);
    expect({ ...found, optEnd: -1 }).toEqual({ ...scan(second)[1], optEnd: -1 });
  });

  it.each([
    [1, true],
    [255, true],
    [3, false],
    [254, false],
  ])('applies rules to class %d: %s', (qclass, applies) => {
    expect(isInternetClass(qclass)).toBe(applies);
  });
});

/** Everything a scan found, with offsets relative to the message. */
function relativeTo(start: number, verdict: number, found: QueryScan): object {
  const move = (offset: number) => (offset < 0 ? -1 : offset - start);
  const { qname, questionEnd, opt, cookie, cookieBytes, udpBytes, dnssecOk, structured } = found;
  const question = verdict === SCAN.OK || verdict === SCAN.BAD_VERSION ? [found.qtype, found.qclass] : [];
  const offsets = { qname: move(qname), questionEnd: move(questionEnd), opt: move(opt), cookie: move(cookie) };
  return { verdict, ...offsets, question, cookieBytes, udpBytes, dnssecOk, structured };
}

/** Valid queries of every shape. */
const label = fc.uint8Array({ minLength: 1, maxLength: 12 });
const name = fc
  .array(label, { maxLength: 6 })
  .map((labels) => Uint8Array.from([...labels.flatMap((octets) => [octets.length, ...octets]), 0]));
const option = fc.oneof(
  fc.constantFrom(8, 16, 24, 40).map(cookie),
  fc.constant(composeOption(STRUCTURED)),
  fc
    .tuple(fc.integer({ min: 100, max: 60_000 }), fc.uint8Array({ maxLength: 20 }))
    .map(([code, data]) => composeOption(code, data)),
);
const validQuery = fc
  .record({
    id: fc.nat(0xffff),
    flags: fc.nat(0xffff).map((flags) => flags & 0x07ff),
    name,
    qtype: fc.nat(0xffff),
    qclass: fc.constantFrom(1, 3, 255),
    opt: fc.option(
      fc.record({
        udpBytes: fc.nat(0xffff),
        flags: fc.constantFrom(0, 0x8000),
        options: fc.array(option, { maxLength: 4 }),
      }),
      { nil: undefined },
    ),
    additionals: fc.constantFrom([], [address]),
  })
  .map(composeQuery);

/** A valid query with some octets changed, cut out or put in. */
const mutatedQuery = fc
  .tuple(
    validQuery,
    fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('change', 'cut', 'insert', 'truncate')), {
      minLength: 1,
      maxLength: 5,
    }),
  )
  .map(([message, changes]) => {
    const octets = [...message];
    for (const [at, value, kind] of changes) {
      const index = octets.length === 0 ? 0 : at % octets.length;
      if (kind === 'change') octets[index] = value;
      else if (kind === 'cut') octets.splice(index, 1);
      else if (kind === 'insert') octets.splice(index, 0, value);
      else octets.length = index;
    }
    return Uint8Array.from(octets);
  });

describe('scanQuery on any octets', () => {
  const inputs = {
    'random octets': fc.uint8Array({ maxLength: 300 }),
    'changed queries': mutatedQuery,
    'valid queries': validQuery,
  };

  it.each(Object.entries(inputs))('%s: judges by the message alone, whatever lies around it', (_, input) => {
    fc.assert(
      fc.property(input, fc.nat(64), fc.nat(255), fc.nat(255), (message, start, before, after) => {
        const [alone, around] = [new QueryScan(), new QueryScan()];
        const verdict = scanQuery(message, 0, message.length, STRUCTURED, alone);
        const buffer = new Uint8Array(start + message.length + 64).fill(after);
        buffer.fill(before, 0, start);
        buffer.set(message, start);
        const kept = buffer.slice();
        const same = scanQuery(buffer, start, message.length, STRUCTURED, around);
        if (verdict !== SCAN.IGNORE) {
          expect(relativeTo(start, same, around)).toEqual(relativeTo(0, verdict, alone));
        }
        expect(same).toBe(verdict);
        expect(Buffer.compare(buffer, kept)).toBe(0);
        for (const end of [alone.questionEnd, alone.opt + 11, alone.cookie + alone.cookieBytes]) {
          if (verdict !== SCAN.IGNORE) expect(end).toBeLessThanOrEqual(Math.max(12, message.length));
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('never takes a response for a query', () => {
    fc.assert(
      fc.property(mutatedQuery, (message) => {
        if (message.length > 2) message[2]! |= 0x80;
        expect(scan(message)[0]).toBe('IGNORE');
      }),
    );
  });
});

describe('scanQuery and dns2', () => {
  it('read a valid query alike', () => {
    fc.assert(
      fc.property(validQuery, (message) => {
        const parsed = parseMessage(message);
        const [verdict, found] = scan(message);
        const opt = parsed.additionals.find((record) => record.type === 41);
        expect(verdict).toBe('OK');
        expect(found.qtype).toBe(parsed.questions[0]!.type);
        expect(found.qclass).toBe(parsed.questions[0]!.class);
        expect(found.opt >= 0).toBe(opt !== undefined);
        expect(found.udpBytes).toBe(Math.max(512, opt?.class ?? 0));
        expect(found.dnssecOk).toBe(opt?.doFlag ?? false);
      }),
    );
  });

  it('agree on queries that dns2 composes', () => {
    const host = fc.array(fc.stringMatching(/^[a-z0-9]{1,12}$/), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(host, fc.nat(0xffff), fc.boolean(), fc.boolean(), (labels, id, withOpt, doFlag) => {
        const packet = new Packet();
        packet.header = { ...packet.header, id, rd: 1 } as DNS.Packet.Header;
        packet.questions = [{ name: labels.join('.'), type: 28, class: 1 } as DNS.Packet.Question];
        if (withOpt) packet.additionals = [Packet.Resource.EDNS([], { doFlag, udpPayloadSize: 1400 })];
        const [verdict, found] = scan(packet.toBuffer());
        expect(verdict).toBe('OK');
        expect(found).toMatchObject({ qtype: 28, qclass: 1, udpBytes: withOpt ? 1400 : 512 });
        expect(found).toMatchObject({ dnssecOk: withOpt && doFlag, questionEnd: 12 + labels.join('.').length + 6 });
      }),
    );
  });
});
