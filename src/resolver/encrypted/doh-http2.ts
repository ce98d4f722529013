import type { Duplex } from 'node:stream';
import type { DohStatus, EncryptedCounters } from '../../metrics/encrypted-counters.ts';
import type { StreamClient } from '../stream-exchange.ts';
import { DNS_MESSAGE, MAX_HEADER_BYTES, MAX_HEADER_FIELDS, QueryBody, readDohRequest } from './doh-request.ts';
import { type DohResponder, type HttpRequest, METHODS } from './doh-responder.ts';
import { Http2Connection, type Http2Events } from './http2/connection.ts';
import { RESPONSE_FIELD, type ResponseFields } from './http2/hpack-encoder.ts';
import type { Http2Request } from './http2/stream.ts';

export interface DohHttp2Options {
  path: string;
  limits: { maxStreams: number; requestSeconds: number };
  responder: DohResponder;
  counters: EncryptedCounters;
  monotonicMillis(): number;
}

const NOTHING = new Uint8Array(0);
const NO_FIELDS: ResponseFields = [];
const ALLOW: ResponseFields = [[RESPONSE_FIELD.ALLOW, METHODS]];
const CONTENT_TYPE = [RESPONSE_FIELD.CONTENT_TYPE, DNS_MESSAGE] as const;

/** Serves DoH over HTTP/2 on `socket`. `onActive` is told of every request. */
export function serveHttp2(
  socket: Duplex,
  client: StreamClient,
  options: DohHttp2Options,
  onActive: () => void,
): Http2Connection {
  const { path, responder, counters, monotonicMillis } = options;
  const events: Http2Events = {
    onRequest(stream, head) {
      onActive();
      const request = new DohStream(stream);
      const { method, target, contentType, contentLength } = head;
      const asked = readDohRequest(path, method, target, contentType, contentLength);
      if ('query' in asked) responder.answer(asked.query, client, request);
      else if ('status' in asked) responder.refuse(request, asked.status);
      else readQuery(stream, request, client, responder);
    },
    onStreams(change) {
      counters.streams += change;
    },
    onResetFlood() {
      counters.resetFloods++;
    },
  };
  const limits = { ...options.limits, maxHeaderBytes: MAX_HEADER_BYTES, maxHeaderFields: MAX_HEADER_FIELDS };
  return new Http2Connection(socket, limits, events, monotonicMillis);
}

/** Reads the query in a body. */
function readQuery(stream: Http2Request, request: DohStream, client: StreamClient, responder: DohResponder): void {
  const body = new QueryBody();
  stream.readBody({
    onPart(part) {
      if (!body.add(part)) responder.refuse(request, 413);
    },
    onEnd() {
      responder.answer(body.whole, client, request);
    },
  });
}

class DohStream implements HttpRequest {
  readonly #stream: Http2Request;

  constructor(stream: Http2Request) {
    this.#stream = stream;
  }

  get isGone(): boolean {
    return this.#stream.isGone;
  }

  send(wire: Uint8Array, at: number, length: number, cacheControl: string): void {
    this.#stream.respond(200, [CONTENT_TYPE, [RESPONSE_FIELD.CACHE_CONTROL, cacheControl]], wire, at, length);
  }

  refuse(status: DohStatus): void {
    this.#stream.respond(status, status === 405 ? ALLOW : NO_FIELDS, NOTHING, 0, 0);
  }
}
