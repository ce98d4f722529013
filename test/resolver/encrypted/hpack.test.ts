import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameWriter } from '../../../src/resolver/encrypted/http2/frame-writer.ts';
import type { HeaderField } from '../../../src/resolver/encrypted/http2/header-field.ts';
import { HpackDecoder } from '../../../src/resolver/encrypted/http2/hpack-decoder.ts';
import {
  HpackEncoder,
  RESPONSE_FIELD,
  type ResponseFieldName,
} from '../../../src/resolver/encrypted/http2/hpack-encoder.ts';
import { decodedBound, decodeHuffman } from '../../../src/resolver/encrypted/http2/huffman.ts';
import { STATIC_TABLE } from '../../../src/resolver/encrypted/http2/static-table.ts';
import { encodeHuffman, huffmanBits, packBits } from './huffman-code.ts';
import { encodeNumber, encodeText, type Field, NaiveEncoder } from './naive-hpack.ts';
import { STATIC_FIELDS } from './static-fields.ts';

/** Decodes a block; undefined when it is damaged. */
function decode(decoder: HpackDecoder, block: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  const sink = { take: ({ name, value }: HeaderField) => void fields.push([name, value]) };
  return decoder.decode(block, 0, block.length, sink) ? fields : undefined;
}

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const octets = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const text = (maxLength: number) => octets(maxLength).map((bytes) => bytes.toString('latin1'));

describe('Huffman', () => {
  const decoded = (coded: Uint8Array) => {
    const target = Buffer.alloc(decodedBound(coded.length));
    const length = decodeHuffman(coded, 0, coded.length, target);
    return length < 0 ? undefined : target.subarray(0, length);
  };

  test('what is encoded is decoded', () => {
    fc.assert(fc.property(octets(300), (bytes) => decoded(encodeHuffman(bytes))?.equals(bytes)));
    const every = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet));
    expect(decoded(encodeHuffman(every))).toEqual(every);
  });

  test('the shortest code fills the room there is', () => {
    const most = Buffer.alloc(decodedBound(16_384), '0');
    expect(decoded(encodeHuffman(most))).toEqual(most);
  });

  const bits = huffmanBits(Buffer.from('a')); // five
  test.each([
    ['no padding', packBits(huffmanBits(Buffer.from('0123012a'))), '0123012a'],
    ['three bits of padding', packBits(bits), 'a'],
    ['padding with a 0', packBits(`${bits}110`), undefined],
    ['padding of eight bits', packBits(`${bits}11111111111`), undefined],
    ['the end of a string', packBits('1'.repeat(30)), undefined],
    ['the end of a string within', packBits(`${bits}${'1'.repeat(30)}${bits}`), undefined],
    ['an octet of padding alone', Buffer.of(0xff), undefined],
    ['nothing', Buffer.alloc(0), ''],
  ])('%s', (_, coded, expected) => {
    expect(decoded(coded)?.toString('latin1')).toBe(expected);
  });
});

describe('the decoder', () => {
  test('has the static table', () => {
    expect(STATIC_TABLE.map(({ name, value }) => [name, value])).toEqual(STATIC_FIELDS);
  });

  const request = (path: Field[]): Field[] => [...path, [':authority', 'www.example.com']];
  const first: Field[] = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
  ];
  const third: Field[] = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
  ];
  const response = (status: string, date: string): Field[] => [
    [':status', status],
    ['cache-control', 'private'],
    ['date', `Mon, 21 Oct 2013 20:13:${date} GMT`],
    ['location', 'https://www.example.com'],
  ];
  const cookie = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1';
  /** RFC 7541 Appendix C: a connection's blocks and what they say. */
  const vectors: [string, [string, Field[]][], number?][] = [
    ['C.2.1', [['400a637573746f6d2d6b65790d637573746f6d2d686561646572', [['custom-key', 'custom-header']]]]],
    ['C.2.2', [['040c2f73616d706c652f70617468', [[':path', '/sample/path']]]]],
    ['C.2.3', [['100870617373776f726406736563726574', [['password', 'secret']]]]],
    ['C.2.4', [['82', [[':method', 'GET']]]]],
    [
      'C.3',
      [
        ['828684410f7777772e6578616d706c652e636f6d', request(first)],
        ['828684be58086e6f2d6361636865', [...request(first), ['cache-control', 'no-cache']]],
        [
          '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
          [...request(third), ['custom-key', 'custom-value']],
        ],
      ],
    ],
    [
      'C.4',
      [
        ['828684418cf1e3c2e5f23a6ba0ab90f4ff', request(first)],
        ['828684be5886a8eb10649cbf', [...request(first), ['cache-control', 'no-cache']]],
        ['828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf', [...request(third), ['custom-key', 'custom-value']]],
      ],
    ],
    [
      'C.5',
      [
        [
          `4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54
           6e1768747470733a2f2f7777772e6578616d706c652e636f6d`,
          response('302', '21'),
        ],
        ['4803333037c1c0bf', response('307', '21')],
        [
          `88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f
           3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31`,
          [...response('200', '22'), ['content-encoding', 'gzip'], ['set-cookie', cookie]],
        ],
      ],
      256,
    ],
    [
      'C.6',
      [
        [
          `488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8
           e9ae82ae43d3`,
          response('302', '21'),
        ],
        ['4883640effc1c0bf', response('307', '21')],
        [
          `88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b
           3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007`,
          [...response('200', '22'), ['content-encoding', 'gzip'], ['set-cookie', cookie]],
        ],
      ],
      256,
    ],
  ];

  test.each(vectors)('reads the examples of RFC 7541 %s', (_, blocks, maxBytes) => {
    const decoder = new HpackDecoder();
    if (maxBytes !== undefined) decode(decoder, encodeNumber(0x20, 5, maxBytes));
    for (const [block, fields] of blocks) expect(decode(decoder, hex(block))).toEqual(fields);
  });

  test('reads whatever an encoder may write', () => {
    const name = fc.oneof(fc.constantFrom(...STATIC_FIELDS.map(([known]) => known), 'x', 'y'), text(12));
    const value = fc.oneof(fc.constantFrom('GET', '/', '', 'x'), text(40), text(1_500));
    const form = fc.record({
      whole: fc.boolean(),
      named: fc.boolean(),
      kind: fc.constantFrom('kept' as const, 'kept' as const, 'plain' as const, 'never' as const),
      huffman: fc.boolean(),
    });
    const block = fc.record({
      sizes: fc.oneof(fc.constant([]), fc.array(fc.constantFrom(0, 40, 100, 400, 4_096), { maxLength: 2 })),
      fields: fc.array(fc.tuple(fc.tuple(name, value), form), { maxLength: 10 }),
    });
    fc.assert(
      fc.property(fc.array(block, { maxLength: 12 }), (blocks) => {
        const encoder = new NaiveEncoder();
        const decoder = new HpackDecoder();
        for (const { sizes, fields } of blocks) {
          const plain = fields.map(([field]) => field);
          const forms = fields.map(([, one]) => one);
          expect(decode(decoder, encoder.encode(plain, forms, sizes))).toEqual(plain);
        }
      }),
    );
  });

  test.each([
    ['index 0', '80'],
    ['an index beyond the tables', 'be'],
    ['a name beyond the tables', '7f00 00'],
    ['an index that does not end', 'ffffff7f'],
    ['an index that is cut', 'ff'],
    ['a name without a value', '44'],
    ['a value that is cut', '4405 6162'],
    ['a length that is cut', '447f'],
    ['a literal that is cut after its name', '400161'],
    ['Huffman code with an end', '4484 ffffffff'],
    ['a table larger than allowed', '3fe220'],
    ['a table size after a field', '8220'],
  ])('refuses %s', (_, block) => {
    expect(decode(new HpackDecoder(), hex(block))).toBeUndefined();
  });

  test('takes a text as long as a block', () => {
    const long = Buffer.concat([hex('00'), encodeText('a', false), encodeText('b'.repeat(16_378), false)]);
    expect(long.length).toBe(16_384);
    expect(decode(new HpackDecoder(), long)![0]![1].length).toBe(16_378);
  });

  test('takes a table as large as allowed', () => {
    expect(decode(new HpackDecoder(), hex('3fe11f'))).toEqual([]);
  });

  test('stands any octets', () => {
    fc.assert(
      fc.property(fc.array(octets(200), { maxLength: 5 }), (blocks) => {
        const decoder = new HpackDecoder();
        for (const block of blocks) if (decode(decoder, block) === undefined) return;
      }),
      { numRuns: 2_000 },
    );
  });

  test('keeps no field that does not fit, and drops the others then', () => {
    const decoder = new HpackDecoder();
    decode(decoder, Buffer.concat([hex('40'), encodeText('a', false), encodeText('b', false)]));
    expect(decode(decoder, hex('be'))).toEqual([['a', 'b']]);
    const large = Buffer.concat([hex('40'), encodeText('a', false), encodeText('b'.repeat(4_064), false)]);
    expect(decode(decoder, large)).toHaveLength(1);
    expect(decode(decoder, hex('be'))).toBeUndefined();
  });
});

describe('the encoder', () => {
  const names: [ResponseFieldName, string][] = [
    [RESPONSE_FIELD.ALLOW, 'allow'],
    [RESPONSE_FIELD.CACHE_CONTROL, 'cache-control'],
    [RESPONSE_FIELD.CONTENT_LENGTH, 'content-length'],
    [RESPONSE_FIELD.CONTENT_TYPE, 'content-type'],
  ];

  /** One response. */
  function encode(encoder: HpackEncoder, status: number, fields: readonly [ResponseFieldName, string][]): Buffer {
    const out = new FrameWriter();
    const start = out.begin(1, 4, 1, 2_000);
    encoder.begin(out, status);
    for (const [name, value] of fields) encoder.write(out, name, value);
    out.end(start);
    return out.take().subarray(9);
  }

  test('is understood, whatever table the peer allows', () => {
    const some = fc.nat({ max: 8 }).map((number) => String(number).repeat(1 + 5 * number));
    const value = fc.oneof(some, some, fc.string({ unit: 'grapheme-ascii', maxLength: 126 }));
    const fields = fc.array(fc.tuple(fc.constantFrom(...names.map(([name]) => name)), value), { maxLength: 6 });
    const limits = fc.array(fc.constantFrom(0, 50, 100, 300, 4_096, 65_536), { maxLength: 3 });
    const blocks = fc.array(fc.tuple(limits, fc.constantFrom(200, 400, 405, 413), fields), { maxLength: 40 });
    fc.assert(
      fc.property(blocks, (all) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder();
        for (const [sizes, status, response] of all) {
          for (const size of sizes) encoder.limit(size);
          const expected = response.map(([name, one]): Field => [names.find(([known]) => known === name)![1], one]);
          expect(decode(decoder, encode(encoder, status, response))).toEqual([
            [':status', String(status)],
            ...expected,
          ]);
        }
      }),
    );
  });

  test('needs four octets for an answer like the last', () => {
    const encoder = new HpackEncoder();
    const fields: [ResponseFieldName, string][] = [
      [RESPONSE_FIELD.CONTENT_TYPE, 'application/dns-message'],
      [RESPONSE_FIELD.CACHE_CONTROL, 'max-age=60'],
      [RESPONSE_FIELD.CONTENT_LENGTH, '120'],
    ];
    expect(encode(encoder, 200, fields).length).toBeGreaterThan(30);
    expect(encode(encoder, 200, fields).length).toBe(4);
  });

  test('tells a table that was smaller for a while, and the one that holds', () => {
    const encoder = new HpackEncoder();
    encode(encoder, 200, [[RESPONSE_FIELD.ALLOW, 'GET']]);
    for (const size of [100, 0, 300]) encoder.limit(size);
    expect(encode(encoder, 200, []).toString('hex')).toBe('203f8d0288');
    expect(encode(encoder, 200, []).toString('hex')).toBe('88');
    encoder.limit(200);
    expect(encode(encoder, 200, []).toString('hex')).toBe('3fa90188');
  });

  test('keeps nothing for a peer that allows no table', () => {
    const encoder = new HpackEncoder();
    encoder.limit(0);
    const fields: [ResponseFieldName, string][] = [[RESPONSE_FIELD.ALLOW, 'GET']];
    expect(encode(encoder, 200, fields).toString('hex')).toBe('20880f0703474554');
    expect(encode(encoder, 200, fields).toString('hex')).toBe('880f0703474554');
  });
});
