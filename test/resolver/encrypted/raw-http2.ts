import { type Duplex, duplexPair } from 'node:stream';
import { Http2Connection, type Http2Limits } from '../../../src/resolver/encrypted/http2/connection.ts';
import { ERROR, FLAG, FRAME, PREFACE } from '../../../src/resolver/encrypted/http2/frame.ts';
import type { Http2Request } from '../../../src/resolver/encrypted/http2/stream.ts';
import { type Field, NaiveEncoder } from './naive-hpack.ts';

export interface Frame {
  type: number;
  flags: number;
  streamId: number;
  payload: Buffer;
}

/** Writes a frame. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, at) => void bytes.writeUInt32BE(value >>> 0, 4 * at));
  return bytes;
}

/** The payload of SETTINGS. */
export function settings(...pairs: [setting: number, value: number][]): Buffer {
  return Buffer.concat(pairs.map(([setting, value]) => Buffer.concat([Buffer.of(0, setting), uint32(value)])));
}

export const GET: Field[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'x'],
  [':path', '/now'],
];
export const withPath = (path: string, ...more: Field[]): Field[] => [...GET.slice(0, 3), [':path', path], ...more];

/** Encodes fields without a table, so that blocks may come in any order. */
export const block = (fields: readonly Field[]): Buffer => new NaiveEncoder().encode(fields);

/** A whole request. */
export function get(streamId: number, path = '/now', more: Field[] = [], flags: number = FLAG.END_STREAM): Buffer {
  return frame(FRAME.HEADERS, FLAG.END_HEADERS | flags, streamId, block(withPath(path, ...more)));
}

export const BEGINNING = Buffer.concat([PREFACE, frame(FRAME.SETTINGS, 0, 0)]);
export const LIMITS: Http2Limits = { maxStreams: 8, requestSeconds: 5, maxHeaderBytes: 12_288, maxHeaderFields: 48 };

/** What the server under test was asked. */
interface Asked {
  request: Http2Request;
  target: string | undefined;
  body: Buffer[];
}

/**
 * A server that answers `/now…` at once with the target as body, `/body` with the request's body once it is whole, `/none`
 * with 404 and no body, and leaves everything else to the test; and a client that knows frames only.
 */
export class RawHttp2 {
  readonly client: Duplex;
  /** The server's end. */
  readonly socket: Duplex;
  readonly connection: Http2Connection;
  readonly asked: Asked[] = [];
  /** What the server sent. */
  readonly frames: Frame[] = [];
  /** The server ended the connection. */
  ended = false;
  openStreams = 0;
  resetFloods = 0;
  now = 0;
  #received = Buffer.alloc(0);

  constructor(limits: Partial<Http2Limits> = {}, highWaterMark?: number) {
    const [client, server] = duplexPair(highWaterMark === undefined ? {} : { highWaterMark });
    this.client = client;
    this.socket = server;
    server.on('error', () => {});
    client.on('error', () => {});
    this.connection = new Http2Connection(
      server,
      { ...LIMITS, ...limits },
      {
        onRequest: (request, { target }) => this.#answer(request, target),
        onStreams: (change) => {
          this.openStreams += change;
        },
        onResetFlood: () => {
          this.resetFloods++;
        },
      },
      () => this.now,
    );
  }

  /** Reads what the server sends, as frames. */
  listen(): this {
    this.client.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      while (this.#received.length >= 9 && this.#received.length >= 9 + this.#received.readUIntBE(0, 3)) {
        const end = 9 + this.#received.readUIntBE(0, 3);
        const [, , , type, flags] = this.#received;
        const streamId = this.#received.readUInt32BE(5);
        this.frames.push({ type: type!, flags: flags!, streamId, payload: this.#received.subarray(9, end) });
        this.#received = this.#received.subarray(end);
      }
    });
    this.client.on('end', () => {
      this.ended = true;
    });
    return this;
  }

  /** Sends octets and waits until the server has done with them. */
  async send(...octets: Uint8Array[]): Promise<this> {
    if (!this.client.destroyed) this.client.write(Buffer.concat(octets));
    await settle();
    return this;
  }

  of(type: number, streamId?: number): Frame[] {
    return this.frames.filter((one) => one.type === type && (streamId === undefined || one.streamId === streamId));
  }

  /** The error of GOAWAY, by name; undefined without one. */
  get goAway(): string | undefined {
    const last = this.of(FRAME.GOAWAY).at(-1);
    return last && nameError(last.payload.readUInt32BE(4));
  }

  /** The error that a stream was reset with, by name. */
  reset(streamId: number): string | undefined {
    const [one] = this.of(FRAME.RST_STREAM, streamId);
    return one && nameError(one.payload.readUInt32BE(0));
  }

  body(streamId: number): string {
    return Buffer.concat(this.of(FRAME.DATA, streamId).map(({ payload }) => payload)).toString('latin1');
  }

  /** Whether a stream's response is whole. */
  isWhole(streamId: number): boolean {
    return this.frames.some(
      ({ type, flags, streamId: id }) =>
        id === streamId && (type === FRAME.DATA || type === FRAME.HEADERS) && (flags & FLAG.END_STREAM) !== 0,
    );
  }

  #answer(request: Http2Request, target: string | undefined): void {
    const asked: Asked = { request, target, body: [] };
    this.asked.push(asked);
    if (target === '/none') return request.respond(404, [], Buffer.alloc(0), 0, 0);
    if (target?.startsWith('/now')) return respond(request, Buffer.from(target, 'latin1'));
    request.readBody({
      onPart: (part) => void asked.body.push(part),
      onEnd: () => {
        if (target === '/body') respond(request, Buffer.concat(asked.body));
      },
    });
  }
}

export function respond(request: Http2Request, body: Uint8Array): void {
  request.respond(200, [], body, 0, body.length);
}

/** Lets streams and immediates have their turns. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export function nameError(code: number): string {
  return Object.entries(ERROR).find(([, value]) => value === code)?.[0] ?? String(code);
}
