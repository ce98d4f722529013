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
  RawHttp2,
  respond,
  settings,
  settle,
  uint32,
  withPath,
} from './raw-http2.ts';

const POST: Field[] = [[':method', 'POST'], ...withPath('/body').slice(1)];
const SETTINGS = frame(FRAME.SETTINGS, 0, 0);
const ping = frame(FRAME.PING, 0, 0, Buffer.alloc(8));
const headers = (streamId: number, octets: Uint8Array, flags: number = FLAG.END_HEADERS | FLAG.END_STREAM) =>
  frame(FRAME.HEADERS, flags, streamId, octets);
const continuation = (streamId: number, octets: Uint8Array = Buffer.alloc(0), flags = 0) =>
  frame(FRAME.CONTINUATION, flags, streamId, octets);
const post = (streamId: number) => headers(streamId, block(POST), FLAG.END_HEADERS);
const windowUpdate = (streamId: number, bytes: number) => frame(FRAME.WINDOW_UPDATE, 0, streamId, uint32(bytes));
const resetBy = (streamId: number) => frame(FRAME.RST_STREAM, 0, streamId, uint32(8));
const setting = (...pairs: [number, number][]) => frame(FRAME.SETTINGS, 0, 0, settings(...pairs));
const times = (count: number, one: (at: number) => Buffer) => Array.from({ length: count }, (_, at) => one(at));

/** The connection is over: told why, ended, deaf, and without streams. */
async function expectEnd(server: RawHttp2, error: string): Promise<void> {
  await settle();
  expect(server.goAway).toBe(error);
  expect(server.ended).toBe(true);
  const sent = server.frames.length;
  const asked = server.asked.length;
  await server.send(get(0x7ffffff1), ping);
  expect([server.frames.length, server.asked.length, server.openStreams]).toEqual([sent, asked, 0]);
  server.connection.sweep(server.now + 1_001);
  expect(server.socket.destroyed).toBe(true);
}

describe('what breaks the rules of a connection ends it', () => {
  test.each<[string, string, Buffer[]]>([
    ['another preface', 'PROTOCOL_ERROR', [Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
    ['a preface that goes wrong at its end', 'PROTOCOL_ERROR', [PREFACE.subarray(0, 23), Buffer.from('x')]],
    ['no settings first', 'PROTOCOL_ERROR', [PREFACE, ping]],
    ['an acknowledgement first', 'PROTOCOL_ERROR', [PREFACE, frame(FRAME.SETTINGS, FLAG.ACK, 0)]],
    ['a frame too long', 'FRAME_SIZE_ERROR', [BEGINNING, frame(99, 0, 0, Buffer.alloc(16_385)).subarray(0, 9)]],
    ['settings of a stream', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.SETTINGS, 0, 1)]],
    ['settings cut off', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))]],
    ['an acknowledgement with settings', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.SETTINGS, 1, 0, Buffer.alloc(6))]],
    ['settings without end', 'ENHANCE_YOUR_CALM', [BEGINNING, setting(...Array(33).fill([9, 9]))]],
    ['a push setting of 2', 'PROTOCOL_ERROR', [BEGINNING, setting([SETTING.ENABLE_PUSH, 2])]],
    ['a window too large', 'FLOW_CONTROL_ERROR', [BEGINNING, setting([SETTING.INITIAL_WINDOW_SIZE, 0x80000000])]],
    [
      'a window too large by settings',
      'FLOW_CONTROL_ERROR',
      [BEGINNING, get(1, '/later'), windowUpdate(1, 0x7fff0000), setting([SETTING.INITIAL_WINDOW_SIZE, 0x7fffffff])],
    ],
    ['frames too short', 'PROTOCOL_ERROR', [BEGINNING, setting([SETTING.MAX_FRAME_SIZE, 16_383])]],
    ['frames too large', 'PROTOCOL_ERROR', [BEGINNING, setting([SETTING.MAX_FRAME_SIZE, 0x1000000])]],
    ['a PING of a stream', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.PING, 0, 1, Buffer.alloc(8))]],
    ['a PING too short', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.PING, 0, 0, Buffer.alloc(7))]],
    ['a window of nothing', 'PROTOCOL_ERROR', [BEGINNING, windowUpdate(0, 0)]],
    ['a window that overflows', 'FLOW_CONTROL_ERROR', [BEGINNING, windowUpdate(0, 0x7fffffff)]],
    ['the window of an idle stream', 'PROTOCOL_ERROR', [BEGINNING, windowUpdate(1, 1)]],
    ['a window cut off', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))]],
    ['a reset of the connection', 'PROTOCOL_ERROR', [BEGINNING, resetBy(0)]],
    ['a reset of an idle stream', 'PROTOCOL_ERROR', [BEGINNING, resetBy(1)]],
    ['a reset cut off', 'FRAME_SIZE_ERROR', [BEGINNING, get(1), frame(FRAME.RST_STREAM, 0, 1, Buffer.alloc(3))]],
    ['a priority of the connection', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.PRIORITY, 0, 0, Buffer.alloc(5))]],
    ['a priority cut off', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.PRIORITY, 0, 1, Buffer.alloc(4))]],
    ['a GOAWAY of a stream', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.GOAWAY, 0, 1, Buffer.alloc(8))]],
    ['a GOAWAY cut off', 'FRAME_SIZE_ERROR', [BEGINNING, frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(7))]],
    ['a push', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.PUSH_PROMISE, FLAG.END_HEADERS, 1, uint32(2))]],
    ['data of the connection', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.DATA, 0, 0)]],
    ['data of an idle stream', 'PROTOCOL_ERROR', [BEGINNING, frame(FRAME.DATA, 0, 1)]],
    ['data of a stream that is over', 'STREAM_CLOSED', [BEGINNING, get(1), frame(FRAME.DATA, 0, 1)]],
    [
      'padding longer than data',
      'PROTOCOL_ERROR',
      [BEGINNING, post(1), frame(FRAME.DATA, FLAG.PADDED, 1, Buffer.of(2, 0))],
    ],
    ['padding without a length', 'PROTOCOL_ERROR', [BEGINNING, post(1), frame(FRAME.DATA, FLAG.PADDED, 1)]],
    [
      'padding longer than fields',
      'PROTOCOL_ERROR',
      [BEGINNING, headers(1, Buffer.of(9, 0x82), FLAG.END_HEADERS | FLAG.PADDED)],
    ],
    ['a priority without octets', 'FRAME_SIZE_ERROR', [BEGINNING, headers(1, Buffer.alloc(4), 0x24)]],
    ['a request of the connection', 'PROTOCOL_ERROR', [BEGINNING, get(0)]],
    ['a request of the server', 'PROTOCOL_ERROR', [BEGINNING, get(2)]],
    ['a stream used again', 'STREAM_CLOSED', [BEGINNING, get(1), get(1)]],
    ['a stream passed over', 'STREAM_CLOSED', [BEGINNING, get(3), get(1)]],
    ['fields that cannot be read', 'COMPRESSION_ERROR', [BEGINNING, headers(1, Buffer.of(0x80))]],
    ['trailers that cannot be read', 'COMPRESSION_ERROR', [BEGINNING, post(1), headers(1, Buffer.of(0xff))]],
    ['a table too large', 'COMPRESSION_ERROR', [BEGINNING, headers(1, Buffer.of(0x3f, 0xe2, 0x1f))]],
    ['CONTINUATION of nothing', 'PROTOCOL_ERROR', [BEGINNING, continuation(1)]],
    ['CONTINUATION after the end', 'PROTOCOL_ERROR', [BEGINNING, get(1, '/later'), continuation(1)]],
    ['CONTINUATION of another stream', 'PROTOCOL_ERROR', [BEGINNING, headers(1, block(GET), 1), continuation(3)]],
    ['a frame within fields', 'PROTOCOL_ERROR', [BEGINNING, headers(1, block(GET), 1), ping]],
    ['an unknown frame within fields', 'PROTOCOL_ERROR', [BEGINNING, headers(1, block(GET), 1), frame(99, 0, 0)]],
  ])('%s: %s', async (_, error, octets) => {
    const server = await new RawHttp2().listen().send(...octets);
    await expectEnd(server, error);
  });

  test('GOAWAY names the last request that was taken', async () => {
    const server = await new RawHttp2().listen().send(BEGINNING, get(1), get(7, '/later'), ping, windowUpdate(0, 0));
    expect(server.of(FRAME.GOAWAY)[0]!.payload.readUInt32BE(0)).toBe(7);
    expect(server.asked[1]!.request.isGone).toBe(true);
  });
});

describe('what breaks the rules of a stream ends that', () => {
  test.each<[string, string, Buffer[]]>([
    ['a window of nothing', 'PROTOCOL_ERROR', [windowUpdate(1, 0)]],
    ['a window that overflows', 'FLOW_CONTROL_ERROR', [windowUpdate(1, 0x7fffffff)]],
    ['more data than its window', 'FLOW_CONTROL_ERROR', times(4, () => frame(FRAME.DATA, 0, 1, Buffer.alloc(16_384)))],
    [
      'more padding than its window',
      'FLOW_CONTROL_ERROR',
      times(256, () => frame(FRAME.DATA, FLAG.PADDED, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(255)]))),
    ],
  ])('%s: %s', async (_, error, octets) => {
    const silent: Field[] = [[':method', 'POST'], ...withPath('/later').slice(1)];
    const server = await new RawHttp2().listen().send(BEGINNING, headers(1, block(silent), FLAG.END_HEADERS));
    await server.send(...octets, get(3));
    expect([server.reset(1), server.body(3), server.goAway]).toEqual([error, '/now', undefined]);
    expect(server.openStreams).toBe(0);
  });
});

describe('a flood is cut off', () => {
  const anyPost: Field[] = [[':method', 'POST'], ...withPath('/later').slice(1)];
  test.each<[string, Buffer[]]>([
    ['PING', times(300, () => ping)],
    ['SETTINGS', times(300, () => SETTINGS)],
    ['acknowledgements', times(300, () => frame(FRAME.SETTINGS, FLAG.ACK, 0))],
    ['PRIORITY', times(300, () => frame(FRAME.PRIORITY, 0, 1, Buffer.alloc(5)))],
    ['windows', times(300, () => windowUpdate(0, 1))],
    ['windows of a stream that is over', [get(1), ...times(300, () => windowUpdate(1, 1))]],
    ['unknown frames', times(300, () => frame(99, 0, 0))],
    ['GOAWAY', [get(1, '/later'), ...times(300, () => frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(8)))]],
    [
      'requests after goodbye',
      [get(1, '/later'), frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(8)), ...times(300, (at) => get(3 + 2 * at))],
    ],
    ['resets of a stream that is over', [get(1), ...times(300, () => resetBy(1))]],
    ['empty data', [headers(1, block(anyPost), 4), ...times(300, () => frame(FRAME.DATA, 0, 1))]],
    ['data of one octet', [headers(1, block(anyPost), 4), ...times(300, () => frame(FRAME.DATA, 0, 1, Buffer.of(1)))]],
    ['empty CONTINUATION', [headers(1, block(GET), 1), ...times(9, () => continuation(1))]],
    ['long CONTINUATION', [headers(1, Buffer.alloc(16_384), 1), continuation(1, Buffer.alloc(1))]],
  ])('of %s', async (_, octets) => {
    const server = await new RawHttp2().listen().send(BEGINNING, ...octets);
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
    expect(server.resetFloods).toBe(0);
  });

  test.each<[string, (streamId: number) => Buffer[]]>([
    ['requests that the client resets', (id) => [get(id, '/later'), resetBy(id)]],
    ['bodies that the client resets', (id) => [post(id), resetBy(id)]],
    ['malformed requests', (id) => [headers(id, block(GET.slice(1)))]],
    ['streams that the server must reset', (id) => [get(id, '/later'), windowUpdate(id, 0)]],
    ['bodies that break their word', (id) => [headers(id, block([...POST, ['content-length', '1']]), 4), dataEnd(id)]],
  ])('of %s', async (_, one) => {
    const server = await new RawHttp2().listen().send(BEGINNING);
    let sent = 0;
    while (server.goAway === undefined && sent < 200) await server.send(...one(1 + 2 * sent++));
    expect(sent).toBe(101);
    expect(server.resetFloods).toBe(1);
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
  });

  test('of requests beyond the number allowed', async () => {
    const server = await new RawHttp2({ maxStreams: 1 }).listen().send(BEGINNING);
    await server.send(...times(300, (at) => get(1 + 2 * at, '/later')));
    expect([server.asked.length, server.resetFloods]).toEqual([1, 1]);
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
  });

  test('but not what a busy client sends over time', async () => {
    const server = await new RawHttp2().listen().send(BEGINNING);
    for (let at = 0; at < 500; at++) {
      server.now += 100;
      const id = 1 + 4 * at;
      await server.send(
        ping,
        windowUpdate(0, 100),
        get(id),
        windowUpdate(id, 100),
        get(id + 2, '/later'),
        resetBy(id + 2),
      );
    }
    expect([server.goAway, server.asked.length, server.openStreams]).toEqual([undefined, 1_000, 0]);
  });

  test('but not a thousand requests in one go', async () => {
    const server = await new RawHttp2().listen().send(BEGINNING, windowUpdate(0, 1 << 20));
    await server.send(...times(1_000, (at) => get(1 + 2 * at)));
    expect(server.of(FRAME.DATA).length).toBe(1_000);
  });

  test('but not a thousand answers of one turn, however long they are together', async () => {
    const server = await new RawHttp2({ maxStreams: 1_000 }).listen().send(BEGINNING, windowUpdate(0, 1 << 20));
    const path = (at: number) => `/now${String(at).padEnd(600, 'x')}`;
    await server.send(...times(1_000, (at) => get(1 + 2 * at, path(at))));
    for (let turn = 0; turn < 10; turn++) await settle();
    const bodies = new Map<number, string>();
    for (const { streamId, payload } of server.of(FRAME.DATA)) {
      bodies.set(streamId, (bodies.get(streamId) ?? '') + payload.toString('latin1'));
    }
    expect([...bodies].every(([id, body]) => body === path((id - 1) / 2))).toBe(true);
    expect(bodies.size).toBe(1_000);
    expect([server.openStreams, server.goAway]).toEqual([0, undefined]);
  });

  test('of answers that nobody reads', async () => {
    const server = new RawHttp2({}, 1_024);
    await server.send(BEGINNING, windowUpdate(0, 1 << 30));
    for (let at = 0; at < 14; at++) {
      await server.send(get(1 + 2 * at, '/later'));
      respond(server.asked.at(-1)!.request, Buffer.alloc(20_000));
      await settle();
    }
    // What has not left waits as if there were no room for it, and no longer.
    expect(server.openStreams).toBeGreaterThan(5);
    server.now = 5_001;
    server.connection.sweep(server.now);
    expect([server.openStreams, server.socket.destroyed]).toEqual([0, false]);
    let sent = 14;
    while (!server.socket.destroyed && sent < 40_000)
      await server.send(...times(100, () => get(1 + 2 * sent++, '/none')));
    expect(server.socket.destroyed).toBe(true);
  });

  test('of short answers that nobody reads: they are kept together, not each in a buffer of its own', async () => {
    const server = new RawHttp2({}, 1_024);
    let writes = 0;
    const { socket } = server;
    const write = socket.write;
    socket.write = ((...all: Parameters<typeof write>) => {
      writes++;
      return write.apply(socket, all);
    }) as typeof write;
    await server.send(BEGINNING, windowUpdate(0, 1 << 30));
    for (let at = 0; at < 2_000; at++) {
      server.client.write(get(1 + 2 * at));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(server.asked.length).toBeGreaterThan(1_900);
    expect(writes).toBeLessThan(100);
    // Nothing is lost: it comes when the client reads.
    server.listen();
    await settle();
    await settle();
    expect(server.of(FRAME.DATA).length).toBe(server.asked.length);
  });

  test('of settings that let answers drip, one octet of each stream at a time', async () => {
    const server = await new RawHttp2({ maxStreams: 100 }).listen().send(BEGINNING, setting([4, 0]));
    await server.send(...times(100, (at) => get(1 + 2 * at, '/later')));
    for (const { request } of server.asked) respond(request, Buffer.alloc(1_000));
    await server.send(...times(400, (at) => setting([4, at])));
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
    expect(server.of(FRAME.DATA).length).toBeLessThan(256 * 100);
  });

  test('of answers that no window lets through', async () => {
    const server = await new RawHttp2({ maxStreams: 100 }).listen().send(BEGINNING);
    await server.send(...times(30, (at) => get(1 + 2 * at, '/later')));
    for (const { request } of server.asked) respond(request, Buffer.alloc(60_000));
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
  });

  test('of fields that do not end', async () => {
    const server = await new RawHttp2().listen().send(BEGINNING, headers(1, block(GET), FLAG.END_STREAM));
    server.now = 5_001;
    server.connection.sweep(server.now);
    await expectEnd(server, 'ENHANCE_YOUR_CALM');
  });

  test('of small references to one large field: the list is as long as what it says', async () => {
    const server = await new RawHttp2().listen().send(BEGINNING);
    const large = Buffer.concat([
      Buffer.of(0x40, 1),
      Buffer.from('a'),
      Buffer.of(0x7f, 0xd1, 0x1e),
      Buffer.alloc(4_000, 'b'),
    ]);
    const bomb = Buffer.concat([block(GET), large, Buffer.alloc(12_000, 0xbe)]);
    await server.send(headers(1, bomb), get(3));
    expect([server.reset(1), server.body(3)]).toEqual(['ENHANCE_YOUR_CALM', '/now']);
  });
});

function dataEnd(streamId: number): Buffer {
  return frame(FRAME.DATA, FLAG.END_STREAM, streamId);
}

describe('whatever comes', () => {
  /** The server either goes on, and then answers, or said why not. */
  async function expectSense(server: RawHttp2): Promise<void> {
    await settle();
    expect(server.openStreams).toBe(server.connection.openStreams);
    expect(server.openStreams).toBeLessThanOrEqual(8);
    if (server.goAway !== undefined) return expect(server.ended || server.openStreams > 0).toBe(true);
    const open = server.asked.filter(({ request }) => !request.isGone);
    expect(open.length).toBeLessThanOrEqual(server.openStreams);
  }

  test('of octets', async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(chunks, async (all) => {
        const server = await new RawHttp2().listen().send(BEGINNING);
        for (const octets of all) await server.send(octets);
        await expectSense(server);
      }),
      { numRuns: 300 },
    );
  });

  test('of frames', async () => {
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(block(GET), block(POST), block(withPath('/later')), uint32(1), uint32(0, 0), Buffer.alloc(5)),
      fc.constantFrom(settings([SETTING.INITIAL_WINDOW_SIZE, 3]), settings([SETTING.HEADER_TABLE_SIZE, 0])),
    );
    const one = fc.record({
      type: fc.oneof(fc.nat({ max: 10 }), fc.constantFrom(FRAME.HEADERS, FRAME.DATA, FRAME.RST_STREAM)),
      flags: fc.oneof(fc.constantFrom(0, 1, 4, 5), fc.nat({ max: 255 })),
      streamId: fc.oneof(fc.constantFrom(0, 1, 3, 5, 7, 9), fc.nat({ max: 0x7fffffff })),
      payload,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(one, { maxLength: 8 }), { maxLength: 6 }), async (batches) => {
        const server = await new RawHttp2().listen().send(BEGINNING);
        for (const batch of batches) {
          const octets = batch.map(({ type, flags, streamId, payload: bytes }) => frame(type, flags, streamId, bytes));
          await server.send(...octets);
          for (const { request } of server.asked) respond(request, Buffer.from('late'));
        }
        await expectSense(server);
      }),
      { numRuns: 500 },
    );
  });

  test('of good frames in any order', async () => {
    const act = fc.tuple(
      fc.constantFrom('get', 'later', 'post', 'data', 'end', 'reset', 'answer', 'room', 'size'),
      fc.nat(12),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
        const server = await new RawHttp2().listen().send(BEGINNING);
        let next = 1;
        for (const [what, number] of acts) {
          const id = 1 + 2 * number;
          if (what === 'get') await server.send(get(next));
          if (what === 'later') await server.send(get(next, '/later'));
          if (what === 'post') await server.send(post(next));
          if (['get', 'later', 'post'].includes(what)) next += 2;
          else if (what === 'answer') respondIfAny(server, number);
          else if (what === 'size') await server.send(setting([SETTING.INITIAL_WINDOW_SIZE, number]));
          else if (id < next) {
            if (what === 'data') await server.send(frame(FRAME.DATA, 0, id, Buffer.from('x')));
            if (what === 'end') await server.send(dataEnd(id));
            if (what === 'reset') await server.send(resetBy(id));
            if (what === 'room') await server.send(windowUpdate(id, 1 + number));
          }
        }
        await expectSense(server);
        // No stream has more than one head, nor anything after its end.
        for (let id = 1; id < next; id += 2) {
          expect(server.of(FRAME.HEADERS, id).length).toBeLessThanOrEqual(1);
          const ends = server.frames.findIndex(
            ({ streamId, type, flags }) => streamId === id && type < 2 && (flags & 1) === 1,
          );
          if (ends < 0) continue;
          const after = server.frames.slice(ends + 1).filter(({ streamId }) => streamId === id);
          expect(after.every(({ type }) => type === FRAME.RST_STREAM)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

function respondIfAny(server: RawHttp2, number: number): void {
  const asked = server.asked[number];
  if (asked !== undefined) respond(asked.request, Buffer.from('answered later'));
}
