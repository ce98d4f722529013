import { once } from 'node:events';
import { type ClientHttp2Session, type ClientSessionOptions, connect, constants } from 'node:http2';
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { Http2Connection } from '../../../src/resolver/encrypted/http2/connection.ts';
import { RESPONSE_FIELD } from '../../../src/resolver/encrypted/http2/hpack-encoder.ts';
import type { Http2Request } from '../../../src/resolver/encrypted/http2/stream.ts';
import { LIMITS } from './raw-http2.ts';

interface Reply {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

let session: ClientHttp2Session | undefined;
afterEach(() => session?.destroy());

/**
 * A client of `node:http2` and our server: it answers with the target, or with the body where there is one, and puts the
 * content type into Cache-Control. Requests for `/later` wait in `waiting`.
 */
function start(options: ClientSessionOptions = {}, maxStreams = 100) {
  const [client, server] = duplexPair();
  const waiting: Http2Request[] = [];
  server.on('error', () => {});
  const connection = new Http2Connection(
    server,
    { ...LIMITS, maxStreams },
    {
      onRequest(request, { target, method, contentType }) {
        const reply = (body: Buffer) =>
          request.respond(
            200,
            [
              [RESPONSE_FIELD.CONTENT_TYPE, 'text/plain'],
              [RESPONSE_FIELD.CACHE_CONTROL, (contentType ?? 'none').slice(0, 100)],
            ],
            body,
            0,
            body.length,
          );
        if (target === '/later') return void waiting.push(request);
        if (method === 'GET') return reply(Buffer.from(target!, 'latin1'));
        const parts: Buffer[] = [];
        request.readBody({ onPart: (part) => void parts.push(part), onEnd: () => reply(Buffer.concat(parts)) });
      },
      onStreams() {},
      onResetFlood() {},
    },
    () => performance.now(),
  );
  const opened = connect('http://x', { ...options, createConnection: () => client });
  opened.on('error', () => {});
  session = opened;
  return { client: opened, connection, waiting };
}

/** Makes a request; rejects with the code of its reset. */
function request(
  client: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string | Buffer,
  trailers?: Record<string, string>,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const stream = client.request({ ':method': method, ...headers }, { waitForTrailers: trailers !== undefined });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers!));
    let head: Record<string, unknown> = {};
    let text = '';
    stream.setEncoding('latin1');
    stream.on('response', (received) => {
      head = received;
    });
    stream.on('data', (part: string) => {
      text += part;
    });
    stream.on('error', () => {});
    stream.on('close', () => {
      if (head[':status'] === undefined) reject(new Error(String(stream.rstCode)));
      else resolve({ status: Number(head[':status']), headers: head, body: text });
    });
    stream.end(body);
  });
}

async function turnsUntil(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a client of node:http2', () => {
  test('asks a thousand things at once', async () => {
    const { client } = start();
    const paths = Array.from({ length: 1_000 }, (_, at) => `/path/${at}`);
    const replies = await Promise.all(paths.map((path) => request(client, { ':path': path })));
    expect(replies.map(({ body }) => body)).toEqual(paths);
    expect(replies.every(({ headers }) => headers['content-type'] === 'text/plain')).toBe(true);
  });

  test('and the server read each other’s fields', async () => {
    const { client } = start();
    const value = fc.string({ unit: 'grapheme-ascii', maxLength: 80 }).map((text) => text.trim());
    const path = fc.webPath();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(path, value, value), { minLength: 1, maxLength: 8 }), async (all) => {
        const replies = await Promise.all(
          all.map(([target, type, other]) => request(client, { ':path': target || '/', 'content-type': type, other })),
        );
        expect(replies.map(({ body }) => body)).toEqual(all.map(([target]) => target || '/'));
        expect(replies.map(({ headers }) => headers['cache-control'])).toEqual(all.map(([, type]) => type));
      }),
      { numRuns: 200 },
    );
  });

  test.each([0, 100, 4_096, 65_536])('allows a table of %i octets', async (headerTableSize) => {
    const { client } = start({ settings: { headerTableSize } });
    for (let at = 0; at < 100; at++) {
      const type = `type-${at % 40}-${'x'.repeat(at % 7)}`;
      const { headers } = await request(client, { ':path': '/', 'content-type': type });
      expect(headers['cache-control']).toBe(type);
    }
  });

  test('sends bodies, in parts, with trailers', async () => {
    const { client } = start();
    for (const size of [0, 1, 4_096, 16_384, 50_000]) {
      const body = 'x'.repeat(size);
      expect((await request(client, { ':path': '/' }, body)).body).toBe(body);
      expect((await request(client, { ':path': '/' }, body, { after: 'all' })).body).toBe(body);
    }
  });

  test('changes its windows under way', async () => {
    const { client } = start({ settings: { initialWindowSize: 1 } });
    const body = 'y'.repeat(300);
    expect((await request(client, { ':path': '/' }, body)).body).toBe(body);
    client.settings({ initialWindowSize: 100_000 });
    await once(client, 'localSettings');
    const long = 'z'.repeat(60_000);
    expect((await request(client, { ':path': '/' }, long)).body).toBe(long);
  });

  test('sends long fields as long as they are allowed', async () => {
    const { client } = start();
    const { body } = await request(client, { ':path': '/', other: 'x'.repeat(11_000) });
    expect(body).toBe('/');
    const tooLong = request(client, { ':path': '/', other: 'x'.repeat(13_000) });
    await expect(tooLong).rejects.toThrow(String(constants.NGHTTP2_ENHANCE_YOUR_CALM));
    // In more than one frame: Huffman does not shorten it.
    const long = request(client, { ':path': '/', other: '\x7f'.repeat(15_000) });
    await expect(long).rejects.toThrow(String(constants.NGHTTP2_ENHANCE_YOUR_CALM));
    expect((await request(client, { ':path': '/still' })).body).toBe('/still');
  });

  test('learns the settings, and is answered its PING', async () => {
    const { client } = start({}, 7);
    await once(client, 'remoteSettings');
    expect(client.remoteSettings).toMatchObject({ maxConcurrentStreams: 7, maxHeaderListSize: LIMITS.maxHeaderBytes });
    await new Promise<void>((resolve, reject) => {
      client.ping((error) => (error === null ? resolve() : reject(error)));
    });
  });

  test('gets what it asked for when the server stops', async () => {
    const { client, connection, waiting } = start();
    const asked = request(client, { ':path': '/later' });
    await turnsUntil(() => waiting.length > 0);
    const goaway = once(client, 'goaway');
    connection.close();
    expect((await goaway)[0]).toBe(constants.NGHTTP2_NO_ERROR);
    const body = Buffer.from('at last');
    waiting[0]!.respond(200, [], body, 0, body.length);
    expect((await asked).body).toBe('at last');
    if (!client.destroyed) await once(client, 'close');
  });

  test('cancels, and asks on', async () => {
    const { client, waiting } = start();
    const stream = client.request({ ':path': '/later' });
    stream.on('error', () => {});
    await turnsUntil(() => waiting.length > 0);
    stream.close(constants.NGHTTP2_CANCEL);
    expect((await request(client, { ':path': '/next' })).body).toBe('/next');
    await turnsUntil(() => waiting[0]!.isGone);
  });
});
