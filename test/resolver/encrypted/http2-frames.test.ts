import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAG, FRAME, PREFACE, SETTING } from '../../../src/resolver/encrypted/http2/frame.ts';
import type { Field } from './naive-hpack.ts';
import {
  BEGINNING,
  block,
  frame,
  GET,
  get,
  LIMITS,
  RawHttp2,
  respond,
  settings,
  settle,
  uint32,
  withPath,
} from './raw-http2.ts';

const POST: Field[] = [[':method', 'POST'], ...withPath('/body').slice(1)];
const post = (streamId: number, more: Field[] = []) =>
  frame(FRAME.HEADERS, FLAG.END_HEADERS, streamId, block([...POST, ...more]));
const data = (streamId: number, text: string, flags: number = FLAG.END_STREAM) =>
  frame(FRAME.DATA, flags, streamId, Buffer.from(text));
const open = (limits = {}) => new RawHttp2(limits).listen().send(BEGINNING);

describe('a connection', () => {
  test('begins with settings on both sides', async () => {
    const server = await open();
    expect(server.frames.map(({ type, flags }) => [type, flags])).toEqual([
      [FRAME.SETTINGS, 0],
      [FRAME.SETTINGS, FLAG.ACK],
    ]);
    const told = settings(
      [SETTING.MAX_CONCURRENT_STREAMS, LIMITS.maxStreams],
      [SETTING.MAX_HEADER_LIST_SIZE, LIMITS.maxHeaderBytes],
    );
    expect(server.frames[0]!.payload).toEqual(told);
  });

  test('answers the requests of one write in one write', async () => {
    const server = await open();
    let chunks = 0;
    server.client.on('data', () => chunks++);
    await server.send(get(1, '/now1'), get(3, '/now2'), get(5, '/none'));
    expect([server.body(1), server.body(3), server.body(5)]).toEqual(['/now1', '/now2', '']);
    expect([1, 3, 5].map((id) => server.isWhole(id))).toEqual([true, true, true]);
    expect(chunks).toBe(1);
  });

  test('gives the same answers however its octets are cut', async () => {
    const octets = Buffer.concat([
      ...[BEGINNING, get(1), post(3), data(3, 'a', 0), frame(FRAME.PING, 0, 0, Buffer.alloc(8, 1)), data(3, 'bc')],
      ...[frame(FRAME.HEADERS, FLAG.END_STREAM, 5, block(GET).subarray(0, 3))],
      ...[frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 5, block(GET).subarray(3)), post(7), frame(99, 0, 7)],
      ...[frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 7, block([['x', 'y']])), get(9, '/none')],
    ]);
    const whole = await new RawHttp2().listen().send(octets);
    expect([1, 3, 5, 7, 9].map((id) => [whole.body(id), whole.isWhole(id)])).toEqual([
      ['/now', true],
      ['abc', true],
      ['/now', true],
      ['', true],
      ['', true],
    ]);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat({ max: octets.length }), { maxLength: 30 }), async (cuts) => {
        const server = new RawHttp2().listen();
        let at = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), octets.length]) {
          await server.send(octets.subarray(at, cut));
          at = cut;
        }
        const ofStreams = (one: RawHttp2) => one.frames.filter(({ streamId }) => streamId > 0);
        expect(ofStreams(server)).toEqual(ofStreams(whole));
        expect(server.of(FRAME.PING)).toEqual(whole.of(FRAME.PING));
      }),
      { numRuns: 50 },
    );
  });

  test('tells the smallest of the tables that the client allowed, one after the other', async () => {
    const server = await open();
    const table = (...sizes: number[]) =>
      frame(
        FRAME.SETTINGS,
        0,
        0,
        settings(...sizes.map((size): [number, number] => [SETTING.HEADER_TABLE_SIZE, size])),
      );
    await server.send(get(1, '/none'), table(0, 300), get(3, '/none'));
    expect(server.of(FRAME.HEADERS, 3)[0]!.payload.toString('hex')).toMatch(/^203f8d02/);
  });

  test('answers PING and takes what it need not know', async () => {
    const server = await open();
    await server.send(
      frame(FRAME.PING, 0, 0, Buffer.from('12345678')),
      frame(FRAME.PING, FLAG.ACK, 0, Buffer.from('abcdefgh')),
      frame(FRAME.PRIORITY, 0, 3, Buffer.alloc(5)),
      frame(FRAME.SETTINGS, 0, 0, settings([SETTING.MAX_FRAME_SIZE, 1 << 20], [SETTING.ENABLE_PUSH, 0], [0x99, 7])),
      frame(0x0c, 0xff, 0, Buffer.alloc(30)),
      get(1),
    );
    expect(server.of(FRAME.PING)).toEqual([
      { type: FRAME.PING, flags: FLAG.ACK, streamId: 0, payload: Buffer.from('12345678') },
    ]);
    expect(server.body(1)).toBe('/now');
    expect(server.goAway).toBeUndefined();
  });

  test('takes padding and priorities off', async () => {
    const server = await open();
    const padded = (octets: Buffer, size: number) => Buffer.concat([Buffer.of(size), octets, Buffer.alloc(size)]);
    const prioritised = Buffer.concat([uint32(0x80000000, 0).subarray(0, 5), block(POST)]);
    const flags = FLAG.END_HEADERS | FLAG.PADDED | FLAG.PRIORITY;
    await server.send(
      frame(FRAME.HEADERS, flags, 1, padded(prioritised, 200)),
      frame(FRAME.DATA, FLAG.PADDED, 1, padded(Buffer.from('ab'), 255)),
      frame(FRAME.DATA, FLAG.PADDED, 1, padded(Buffer.alloc(0), 0)),
      frame(FRAME.DATA, FLAG.PADDED | FLAG.END_STREAM, 1, padded(Buffer.from('c'), 0)),
    );
    expect(server.body(1)).toBe('abc');
  });

  test('gives back the window that bodies use', async () => {
    const server = await open();
    for (let id = 1; id < 60; id += 2) await server.send(post(id), data(id, 'x'.repeat(4_000)));
    const given = server.of(FRAME.WINDOW_UPDATE).reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
    expect(given).toBeGreaterThan(30 * 4_000 - 65_535);
    expect(given).toBeLessThanOrEqual(30 * 4_000);
    expect(server.goAway).toBeUndefined();
  });

  test('acknowledges at once what brings no answer: more room, and its settings taken', async () => {
    const server = await open();
    for (const one of [frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(99)), frame(FRAME.SETTINGS, FLAG.ACK, 0)]) {
      const before = server.frames.length;
      await server.send(one);
      expect(server.frames.slice(before).map(({ type, payload }) => [type, payload.readUInt32BE(0)])).toEqual([
        [FRAME.WINDOW_UPDATE, 1],
      ]);
    }
    const before = server.frames.length;
    await server.send(frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(99)), get(1));
    expect(server.frames.slice(before).map(({ type }) => type)).toEqual([FRAME.HEADERS, FRAME.DATA]);
  });
});

describe('a request', () => {
  test.each<[string, Field[]]>([
    ['no method', GET.slice(1)],
    ['no scheme', [GET[0]!, ...GET.slice(2)]],
    ['no path', GET.slice(0, 3)],
    ['an empty path', withPath('')],
    ['an empty method', [[':method', ''], ...GET.slice(1)]],
    ['a path twice', [...GET, [':path', '/']]],
    ['a pseudo-field after others', [...GET.slice(0, 3), ['a', 'b'], GET[3]!]],
    ['a pseudo-field of responses', [...GET, [':status', '200']]],
    ['an unknown pseudo-field', [...GET, [':x', '']]],
    ['a capital in a name', [...GET, ['Accept', '*']]],
    ['a space in a name', [...GET, ['a b', '*']]],
    ['an empty name', [...GET, ['', '*']]],
    ['a line break in a value', [...GET, ['a', 'b\r\nc']]],
    ['a NUL in a value', [...GET, ['a', 'b\0c']]],
    ['a space before a value', [...GET, ['a', ' b']]],
    ['a tab after a value', [...GET, ['a', 'b\t']]],
    ['Connection', [...GET, ['connection', 'close']]],
    ['Transfer-Encoding', [...GET, ['transfer-encoding', 'chunked']]],
    ['TE other than trailers', [...GET, ['te', 'gzip']]],
    ['a length that is no number', [...GET, ['content-length', '+1']]],
    ['two lengths', [...GET, ['content-length', '0'], ['content-length', '00']]],
    ['a length without a body', [...GET, ['content-length', '3']]],
    ['CONNECT with a path', [[':method', 'CONNECT'], ...GET.slice(1)]],
  ])('with %s is malformed, and the connection goes on', async (_, fields) => {
    const server = await open();
    await server.send(frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, block(fields)), get(3));
    expect([server.reset(1), server.body(3), server.asked.length]).toEqual(['PROTOCOL_ERROR', '/now', 1]);
  });

  test.each<[string, Field[]]>([
    ['TE: trailers', [...GET, ['te', 'trailers']]],
    ['a length of nothing', [...GET, ['content-length', '0']]],
    ['the same length twice', [...GET, ['content-length', '0'], ['content-length', '0']]],
    ['octets beyond ASCII in a value', [...GET, ['a', 'bé\xff\t b']]],
    ['no authority', [GET[0]!, GET[1]!, GET[3]!]],
    ['fields up to the limit', [...GET, ...Array.from({ length: 44 }, (): Field => ['a', 'b'])]],
  ])('with %s is good', async (_, fields) => {
    const server = await open();
    await server.send(frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, block(fields)));
    expect(server.body(1)).toBe('/now');
  });

  test('by CONNECT has no path', async () => {
    const server = await open();
    const connect: Field[] = [
      [':method', 'CONNECT'],
      [':authority', 'x:443'],
    ];
    await server.send(frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, block(connect)));
    expect(server.asked.map(({ target }) => target)).toEqual([undefined]);
  });

  test.each<[string, Buffer[], string]>([
    ['more than its length', [post(1, [['content-length', '2']]), data(1, 'abc')], 'PROTOCOL_ERROR'],
    ['less than its length', [post(1, [['content-length', '4']]), data(1, 'abc')], 'PROTOCOL_ERROR'],
    [
      'trailers that do not end it',
      [post(1), frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, block([['a', 'b']]))],
      'PROTOCOL_ERROR',
    ],
    [
      'pseudo-fields in trailers',
      [post(1), frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, block([[':path', 'b']]))],
      'PROTOCOL_ERROR',
    ],
    ['data after its end', [get(1, '/later'), data(1, 'x')], 'STREAM_CLOSED'],
    ['fields after its end', [get(1, '/later'), get(1, '/later')], 'STREAM_CLOSED'],
  ])('with %s is reset, and the connection goes on', async (_, octets, error) => {
    const server = await open();
    await server.send(...octets, get(3));
    expect([server.reset(1), server.body(3)]).toEqual([error, '/now']);
    expect(server.openStreams).toBe(0);
  });

  test('that is answered before its body came is stopped without an error', async () => {
    const server = await open();
    const early = [[':method', 'POST'], ...withPath('/now').slice(1)] as Field[];
    await server.send(frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, block(early)));
    expect([server.body(1), server.reset(1)]).toEqual(['/now', 'NO_ERROR']);
    // What was on its way is thrown away.
    await server.send(data(1, 'x', 0), frame(FRAME.RST_STREAM, 0, 1, uint32(8)), data(1, 'y'), get(3));
    expect([server.goAway, server.body(3)]).toEqual([undefined, '/now']);
  });

  test('with too many fields is refused, and the tables stay the same on both sides', async () => {
    const server = await open();
    const kept = Buffer.concat([Buffer.of(0x40, 1), Buffer.from('a'), Buffer.of(1), Buffer.from('b')]);
    const many = Buffer.concat([block(GET), ...Array(50).fill(kept)]);
    await server.send(
      frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, many),
      frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 3, Buffer.concat([block(GET), Buffer.of(0xbe)])),
    );
    expect([server.reset(1), server.body(3), server.asked.length]).toEqual(['ENHANCE_YOUR_CALM', '/now', 1]);
  });

  test('beyond the number allowed is refused', async () => {
    const server = await open({ maxStreams: 2 });
    await server.send(get(1, '/a'), get(3, '/b'), get(5, '/c'), get(7));
    expect([5, 7].map((id) => server.reset(id))).toEqual(['REFUSED_STREAM', 'REFUSED_STREAM']);
    expect(server.openStreams).toBe(2);
    respond(server.asked[0]!.request, Buffer.from('a'));
    await server.send(get(9));
    expect([server.body(1), server.body(9), server.openStreams]).toEqual(['a', '/now', 1]);
  });

  test('without a body has one of no octets', async () => {
    const server = await open();
    const headers = frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, block(POST));
    await server.send(headers);
    expect([server.isWhole(1), server.reset(1), server.openStreams]).toEqual([true, undefined, 0]);
  });

  test('that is reset is gone, and its answer goes nowhere', async () => {
    const server = await open();
    await server.send(get(1, '/later'), frame(FRAME.RST_STREAM, 0, 1, uint32(8)));
    const { request } = server.asked[0]!;
    expect([request.isGone, server.openStreams]).toEqual([true, 0]);
    respond(request, Buffer.from('x'));
    await settle();
    expect(server.of(FRAME.HEADERS)).toEqual([]);
  });

  test('whose rest does not come is given up', async () => {
    const server = await open();
    await server.send(post(1), data(1, 'x', 0), get(3, '/later'));
    server.now = 5_001;
    server.connection.sweep(server.now);
    await settle();
    expect([server.reset(1), server.reset(3), server.openStreams]).toEqual(['CANCEL', undefined, 1]);
  });
});

describe('flow control', () => {
  test('a response keeps within the windows, and comes whole as they open', async () => {
    const step = fc.record({ stream: fc.boolean(), bytes: fc.integer({ min: 1, max: 30_000 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 1, 100, 20_000, 65_535),
        fc.integer({ min: 1, max: 65_535 }),
        fc.array(step, { maxLength: 20 }),
        async (initial, length, steps) => {
          const server = new RawHttp2().listen();
          const client = frame(FRAME.SETTINGS, 0, 0, settings([SETTING.INITIAL_WINDOW_SIZE, initial]));
          await server.send(PREFACE, client, get(1, '/later'));
          const body = Buffer.from(Array.from({ length }, (_, at) => (at * 7) & 0xff));
          respond(server.asked[0]!.request, body);
          const room = { connection: 65_535, stream: initial };
          const check = () => {
            const sent = server.body(1).length;
            expect(sent).toBe(Math.min(length, room.connection, room.stream));
            expect(server.isWhole(1)).toBe(sent === length);
          };
          await settle();
          check();
          for (const { stream, bytes } of [...steps, { stream: true, bytes: 65_535 }]) {
            room[stream ? 'stream' : 'connection'] += bytes;
            await server.send(frame(FRAME.WINDOW_UPDATE, 0, stream ? 1 : 0, uint32(bytes)));
            check();
          }
          expect(server.body(1)).toBe(body.toString('latin1'));
          for (const { payload } of server.of(FRAME.DATA)) expect(payload.length).toBeLessThanOrEqual(16_384);
          expect(server.openStreams).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('what is held back of a response is a copy: its source is used for the next', async () => {
    const server = await open();
    const room = (bytes: number) => frame(FRAME.SETTINGS, 0, 0, settings([SETTING.INITIAL_WINDOW_SIZE, bytes]));
    await server.send(room(1), get(1, '/later'), get(3, '/later'));
    const source = Buffer.from('abcdefgh');
    for (const { request } of server.asked) {
      respond(request, source);
      source.fill('x');
    }
    await server.send(room(100));
    expect([server.body(1), server.body(3)]).toEqual(['abcdefgh', 'xxxxxxxx']);
  });

  test('settings open and close the windows of streams under way', async () => {
    const server = await open();
    const window = (bytes: number) => frame(FRAME.SETTINGS, 0, 0, settings([SETTING.INITIAL_WINDOW_SIZE, bytes]));
    await server.send(window(10), get(1, '/later'), window(4));
    respond(server.asked[0]!.request, Buffer.from('abcdefgh'));
    await settle();
    expect(server.body(1)).toBe('abcd');
    await server.send(window(0));
    await server.send(frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(3)));
    expect(server.body(1)).toBe('abcd'); // the window was below zero
    await server.send(window(9));
    expect([server.body(1), server.isWhole(1)]).toEqual(['abcdefgh', true]);
  });

  test('one stream that is held back does not hold back others', async () => {
    const server = await open();
    await server.send(
      frame(FRAME.SETTINGS, 0, 0, settings([SETTING.INITIAL_WINDOW_SIZE, 2])),
      ...[get(1, '/now'), get(3, '/now'), frame(FRAME.WINDOW_UPDATE, 0, 3, uint32(2))],
    );
    expect([server.body(1), server.body(3), server.isWhole(3)]).toEqual(['/n', '/now', true]);
  });

  test('a response that nobody makes room for is given up', async () => {
    const server = await open();
    await server.send(frame(FRAME.SETTINGS, 0, 0, settings([SETTING.INITIAL_WINDOW_SIZE, 0])), get(1));
    expect(server.openStreams).toBe(1);
    server.now = 5_001;
    server.connection.sweep(server.now);
    await settle();
    expect([server.reset(1), server.openStreams]).toEqual(['CANCEL', 0]);
  });
});

describe('the end', () => {
  test('what is under way is answered, what comes later is not, and the connection ends', async () => {
    const server = await open();
    await server.send(get(1, '/later'));
    server.connection.close();
    await server.send(get(3), post(5), data(5, 'x'), frame(FRAME.PING, 0, 0, Buffer.alloc(8)));
    expect([server.goAway, server.of(FRAME.GOAWAY)[0]!.payload.readUInt32BE(0)]).toEqual(['NO_ERROR', 1]);
    expect([server.asked.length, server.ended]).toEqual([1, false]);
    respond(server.asked[0]!.request, Buffer.from('x'));
    await settle();
    expect([server.body(1), server.ended]).toEqual(['x', true]);
  });

  test('a client that says goodbye gets what it asked for', async () => {
    const server = await open();
    await server.send(get(1, '/later'), frame(FRAME.GOAWAY, 0, 0, uint32(0, 0)));
    expect(server.ended).toBe(false);
    respond(server.asked[0]!.request, Buffer.from('x'));
    await settle();
    expect([server.body(1), server.ended]).toEqual(['x', true]);
  });

  test('a client that only ends its side gets what it asked for', async () => {
    const server = await open();
    await server.send(get(1, '/later'));
    server.client.end();
    await settle();
    respond(server.asked[0]!.request, Buffer.from('x'));
    await settle();
    expect([server.body(1), server.ended]).toEqual(['x', true]);
  });

  test('a client that breaks off leaves nothing', async () => {
    const server = await open();
    await server.send(get(1, '/later'), post(3));
    server.client.destroy();
    await settle();
    server.connection.destroy();
    await settle();
    expect([server.openStreams, server.asked.every(({ request }) => request.isGone)]).toEqual([0, true]);
    respond(server.asked[0]!.request, Buffer.from('x'));
  });

  test('a client that stays after it was told to go is cut off', async () => {
    const server = await open();
    server.connection.close();
    await settle();
    expect(server.ended).toBe(true);
    server.connection.sweep(1_000);
    expect(server.socket.destroyed).toBe(false);
    server.connection.sweep(1_001);
    expect(server.socket.destroyed).toBe(true);
  });
});
