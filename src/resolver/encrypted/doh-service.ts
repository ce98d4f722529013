import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { NOT_FRESH, readFreshnessSeconds } from '../../dns/freshness.ts';
import type { DohStatus, EncryptedCounters } from '../../metrics/encrypted-counters.ts';
import { VERDICT } from '../query-stages.ts';
import type { StreamClient, StreamExchange, TakeAnswer } from '../stream-exchange.ts';
import { DNS_MESSAGE, QueryBody, readDohRequest } from './doh-request.ts';

export interface DohLimits {
  /** Requests of one connection under way at once. */
  maxStreams: number;
  /** A connection without a request is closed after so long, whatever else it sends. */
  idleSeconds: number;
  /** A request that has begun must be complete after so long. */
  requestSeconds: number;
}

export interface DohOptions {
  /** Path of DoH, such as `/dns-query`. */
  path: string;
  limits: DohLimits;
  exchange: StreamExchange;
  counters: EncryptedCounters;
  monotonicMillis(): number;
}

/** Octets of a request's headers: the longest query in base64url, and room for what browsers send. */
const MAX_HEADER_BYTES = 12_288;
const MAX_HEADER_FIELDS = 48;
/** Streams that a client may reset at once and for each second after; more is an attack (CVE-2023-44487). */
const RESET_BURST = 100;
const RESETS_PER_SECOND = 10;
/** How often idle connections and slow requests are looked for. */
const SWEEP_MILLIS = 500;

/** What a connection is watched for. */
interface Watched {
  /** When it last had a request under way. */
  activeAt: number;
  underWay: number;
  close(): void;
  destroy(): void;
}

/** A request whose end has not come. */
interface Unfinished {
  since: number;
  cancel(): void;
}

/** DNS over HTTPS (RFC 8484) on connections whose TLS handshake is done: HTTP/2, and HTTP/1.1 for what does not speak it. */
export class DohService {
  readonly #options: DohOptions;
  readonly #http1: Server;
  readonly #connections = new Set<Watched>();
  readonly #unfinished = new Set<Unfinished>();
  /** Connections of HTTP/1.1 by socket, whose requests come through the one server. */
  readonly #http1Clients = new WeakMap<object, { client: StreamClient; watched: Watched }>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: DohOptions) {
    this.#options = options;
    const seconds = options.limits.requestSeconds;
    this.#http1 = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: seconds * 1000,
        requestTimeout: seconds * 1000,
        keepAliveTimeout: options.limits.idleSeconds * 1000,
        connectionsCheckingInterval: SWEEP_MILLIS,
        insecureHTTPParser: false,
      },
      (request, response) => this.#onRequest(request, response),
    );
    this.#http1.maxHeadersCount = MAX_HEADER_FIELDS;
    // The server has no listener of its own, and looks for slow requests only from this event on.
    this.#http1.emit('listening');
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MILLIS);
    this.#timer.unref();
  }

  /** Serves a connection by the protocol that ALPN chose; without ALPN it is HTTP/1.1. */
  serve(socket: TLSSocket, client: StreamClient): void {
    if (socket.alpnProtocol === 'h2') this.#serveHttp2(socket, client);
    else this.#serveHttp1(socket, client);
  }

  /** Asks every connection to end once its requests are answered. */
  finish(): void {
    clearInterval(this.#timer);
    for (const connection of this.#connections) connection.close();
  }

  /** Ends what `finish` left. */
  destroy(): void {
    this.#http1.closeAllConnections();
    this.#http1.close();
    for (const connection of this.#connections) connection.destroy();
  }

  #watch(close: () => void, destroy: () => void): Watched {
    const watched = { activeAt: this.#options.monotonicMillis(), underWay: 0, close, destroy };
    this.#connections.add(watched);
    return watched;
  }

  #sweep(): void {
    const { limits, monotonicMillis } = this.#options;
    const now = monotonicMillis();
    for (const request of this.#unfinished) {
      if (now - request.since < limits.requestSeconds * 1000) continue;
      this.#unfinished.delete(request);
      request.cancel();
    }
    for (const connection of this.#connections) {
      if (connection.underWay > 0) connection.activeAt = now;
      else if (now - connection.activeAt > limits.idleSeconds * 1000) connection.close();
      // A client that does not go when it is asked to is cut off.
      if (now - connection.activeAt > limits.idleSeconds * 1000 + 2 * SWEEP_MILLIS) connection.destroy();
    }
  }

  #serveHttp2(socket: TLSSocket, client: StreamClient): void {
    const session = performServerHandshake(socket, {
      maxHeaderListPairs: MAX_HEADER_FIELDS,
      maxSessionMemory: 1,
      maxSettings: 16,
      maxOutstandingPings: 4,
      maxSessionInvalidFrames: 10,
      maxSessionRejectedStreams: 20,
      streamResetBurst: 2 * RESET_BURST,
      streamResetRate: 2 * RESETS_PER_SECOND,
      settings: { maxConcurrentStreams: this.#options.limits.maxStreams, maxHeaderListSize: MAX_HEADER_BYTES },
    }) as ServerHttp2Session;
    const watched = this.#watch(
      () => session.close(),
      () => session.destroy(),
    );
    session.on('error', ignore);
    session.on('close', () => {
      this.#connections.delete(watched);
      socket.destroy();
    });
    const resets = new ResetCount(this.#options.monotonicMillis);
    session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', ignore);
      this.#onStream(new Http2Request(stream), headers, client, watched, () => {
        if (!resets.add() || session.destroyed) return;
        this.#options.counters.resetFloods++;
        session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      });
    });
  }

  #onStream(
    request: Http2Request,
    headers: IncomingHttpHeaders,
    client: StreamClient,
    watched: Watched,
    onReset: () => void,
  ): void {
    const { stream } = request;
    const { path } = this.#options;
    watched.activeAt = this.#options.monotonicMillis();
    const asked = readDohRequest(
      path,
      headers[':method'] as string | undefined,
      headers[':path'] as string | undefined,
      headers['content-type'],
      headers['content-length'],
    );
    if ('query' in asked && this.#answer(asked.query, client, request)) return;
    if ('status' in asked) return this.#refuse(request, asked.status);
    // Not done yet: from here on the stream is watched.
    this.#options.counters.streams++;
    watched.underWay++;
    stream.once('aborted', onReset);
    stream.once('close', () => {
      this.#options.counters.streams--;
      watched.underWay--;
    });
    if ('body' in asked) this.#readBody(stream, request, client, () => stream.close(constants.NGHTTP2_CANCEL));
  }

  #serveHttp1(socket: TLSSocket, client: StreamClient): void {
    const watched = this.#watch(
      () => {
        if (watched.underWay === 0) socket.end();
      },
      () => socket.destroy(),
    );
    socket.once('close', () => this.#connections.delete(watched));
    this.#http1Clients.set(socket, { client, watched });
    this.#http1.emit('connection', socket);
  }

  #onRequest(message: IncomingMessage, response: ServerResponse): void {
    const known = this.#http1Clients.get(message.socket);
    if (known === undefined) return void message.socket.destroy();
    const { client, watched } = known;
    // HTTP/1.1 answers in order, so requests sent ahead only wait; nobody sends this many.
    if (watched.underWay >= this.#options.limits.maxStreams) return void message.socket.destroy();
    const request = new Http1Request(message, response);
    const { method, url, headers } = message;
    const asked = readDohRequest(this.#options.path, method, url, headers['content-type'], headers['content-length']);
    watched.activeAt = this.#options.monotonicMillis();
    watched.underWay++;
    this.#options.counters.streams++;
    response.once('close', () => {
      watched.underWay--;
      this.#options.counters.streams--;
    });
    message.on('error', ignore);
    if ('query' in asked) this.#answer(asked.query, client, request);
    else if ('status' in asked) this.#refuse(request, asked.status);
    else this.#readBody(message, request, client, () => message.socket.destroy());
  }

  /** Reads the query in a body, at most as long as a query may be and for as long as a request may take. */
  #readBody(
    source: ServerHttp2Stream | IncomingMessage,
    request: HttpRequest,
    client: StreamClient,
    cancel: () => void,
  ): void {
    const body = new QueryBody();
    const unfinished = { since: this.#options.monotonicMillis(), cancel };
    this.#unfinished.add(unfinished);
    let isOver = false;
    source.on('data', (part: Buffer) => {
      if (isOver || body.add(part)) return;
      isOver = true;
      this.#refuse(request, 413);
    });
    source.once('end', () => {
      this.#unfinished.delete(unfinished);
      if (!isOver) this.#answer(body.whole, client, request);
      isOver = true;
    });
    source.once('close', () => this.#unfinished.delete(unfinished));
  }

  /** Answers a query; true when the answer was sent at once. A message that is no query is a bad request. */
  #answer(query: Buffer, client: StreamClient, request: HttpRequest): boolean {
    const take: TakeAnswer = (wire, at, length) => this.#respond(request, wire, at, length);
    const verdict = this.#options.exchange.ask(query, 0, query.length, client, take, take);
    if (verdict === VERDICT.DROP) this.#refuse(request, 400);
    return verdict !== VERDICT.FORWARD;
  }

  #respond(request: HttpRequest, wire: Uint8Array, at: number, length: number): void {
    if (request.isGone) return;
    const fresh = readFreshnessSeconds(wire, at, length);
    this.#options.counters.addStatus(200);
    const message = Buffer.allocUnsafe(length);
    message.set(wire.subarray(at, at + length), 0);
    request.send(message, fresh === NOT_FRESH ? 'no-store' : `max-age=${fresh}`);
  }

  #refuse(request: HttpRequest, status: DohStatus): void {
    if (request.isGone) return;
    this.#options.counters.addStatus(status);
    request.refuse(status);
  }
}

/** What HTTP/1.1 and HTTP/2 have in common here. */
interface HttpRequest {
  /** Nobody waits for the answer any more. */
  readonly isGone: boolean;
  send(message: Buffer, cacheControl: string): void;
  refuse(status: DohStatus): void;
}

class Http2Request implements HttpRequest {
  readonly stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream) {
    this.stream = stream;
  }

  get isGone(): boolean {
    return this.stream.destroyed || this.stream.closed || this.stream.headersSent;
  }

  send(message: Buffer, cacheControl: string): void {
    this.stream.respond([
      ...[':status', '200'],
      ...['content-type', DNS_MESSAGE],
      ...['content-length', String(message.length)],
      ...['cache-control', cacheControl],
    ]);
    this.stream.end(message);
  }

  refuse(status: DohStatus): void {
    const { stream } = this;
    stream.respond({ ':status': status, 'content-length': '0', ...ALLOW[status] }, { endStream: true });
    if (stream.endAfterHeaders) return;
    // What is still to come of the body is not wanted (RFC 9113 §8.1). A reset at once would take the response with it.
    stream.resume();
    setImmediate(() => setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR)));
  }
}

class Http1Request implements HttpRequest {
  readonly #message: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(message: IncomingMessage, response: ServerResponse) {
    this.#message = message;
    this.#response = response;
  }

  get isGone(): boolean {
    return this.#response.destroyed || this.#response.headersSent;
  }

  send(message: Buffer, cacheControl: string): void {
    this.#response.writeHead(200, {
      'content-type': DNS_MESSAGE,
      'content-length': message.length,
      'cache-control': cacheControl,
    });
    this.#response.end(message);
  }

  refuse(status: DohStatus): void {
    // A body that is not read to its end would be taken for the next request.
    const rest = this.#message.complete ? {} : { connection: 'close' };
    this.#response.writeHead(status, { 'content-length': 0, ...rest, ...ALLOW[status] }).end();
  }
}

const ALLOW: Partial<Record<DohStatus, { allow: string }>> = { 405: { allow: 'GET, POST' } };

/** Counts streams that a client gave up while their query was under way. */
class ResetCount {
  readonly #monotonicMillis: () => number;
  #tokens = RESET_BURST;
  #at: number;

  constructor(monotonicMillis: () => number) {
    this.#monotonicMillis = monotonicMillis;
    this.#at = monotonicMillis();
  }

  /** Counts one; true when there were too many. */
  add(): boolean {
    const now = this.#monotonicMillis();
    this.#tokens = Math.min(RESET_BURST, this.#tokens + ((now - this.#at) * RESETS_PER_SECOND) / 1000) - 1;
    this.#at = now;
    return this.#tokens < 0;
  }
}

function ignore(): void {}
