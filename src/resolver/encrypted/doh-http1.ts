import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { DohStatus, EncryptedCounters } from '../../metrics/encrypted-counters.ts';
import type { StreamClient } from '../stream-exchange.ts';
import { DNS_MESSAGE, MAX_HEADER_BYTES, MAX_HEADER_FIELDS, QueryBody, readDohRequest } from './doh-request.ts';
import { type DohResponder, type HttpRequest, METHODS } from './doh-responder.ts';

export interface DohHttp1Options {
  path: string;
  limits: { maxStreams: number; idleSeconds: number; requestSeconds: number };
  /** How often slow requests are looked for. */
  sweepMillis: number;
  responder: DohResponder;
  counters: EncryptedCounters;
  monotonicMillis(): number;
}

/** One connection of HTTP/1.1. */
export class Http1Connection {
  readonly client: StreamClient;
  /** When it last had a request under way. */
  activeAt: number;
  readonly #socket: Duplex;
  readonly #takeMillis: number;
  /** Requests under way, the oldest first: they are answered in this order. */
  readonly #requests = new Set<HttpRequest>();
  /** The oldest request, when it was last looked at, and since when its answer waits for the client to take it. */
  #oldest: HttpRequest | undefined;
  #givenAt = 0;
  #isClosing = false;

  /** The client has `takeSeconds` to take a response. */
  constructor(socket: Duplex, client: StreamClient, takeSeconds: number, now: number) {
    this.#socket = socket;
    this.client = client;
    this.#takeMillis = takeSeconds * 1000;
    this.activeAt = now;
  }

  get underWay(): number {
    return this.#requests.size;
  }

  enter(request: HttpRequest, now: number): void {
    this.#requests.add(request);
    this.activeAt = now;
  }

  /** The response has left, or nobody waits for it. */
  leave(request: HttpRequest): void {
    this.#requests.delete(request);
    if (this.#isClosing) this.close();
  }

  /** Cuts off a client that does not read its answers; requests that are slow to come are the server's to look for. */
  sweep(now: number): void {
    const [oldest] = this.#requests;
    const waits = oldest?.isGone && oldest === this.#oldest;
    if (!waits) this.#givenAt = now;
    this.#oldest = oldest;
    if (now - this.#givenAt > this.#takeMillis) this.destroy();
  }

  /** Ends the connection once its requests are answered. */
  close(): void {
    this.#isClosing = true;
    if (this.underWay === 0) this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** DoH over HTTP/1.1, for what does not speak HTTP/2: the requests of all connections come through one server. */
export class DohHttp1 {
  readonly #options: DohHttp1Options;
  readonly #server: Server;
  readonly #connections = new WeakMap<object, Http1Connection>();

  constructor(options: DohHttp1Options) {
    this.#options = options;
    const { idleSeconds, requestSeconds } = options.limits;
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: requestSeconds * 1000,
        requestTimeout: requestSeconds * 1000,
        keepAliveTimeout: idleSeconds * 1000,
        connectionsCheckingInterval: options.sweepMillis,
        insecureHTTPParser: false,
      },
      (message, response) => this.#onRequest(message, response),
    );
    this.#server.maxHeadersCount = MAX_HEADER_FIELDS;
    // The server has no listener of its own, and looks for slow requests only from this event on.
    this.#server.emit('listening');
  }

  /** Serves a connection. */
  serve(socket: Duplex, client: StreamClient): Http1Connection {
    const { limits, monotonicMillis } = this.#options;
    const connection = new Http1Connection(socket, client, limits.requestSeconds, monotonicMillis());
    this.#connections.set(socket, connection);
    this.#server.emit('connection', socket);
    return connection;
  }

  destroy(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #onRequest(message: IncomingMessage, response: ServerResponse): void {
    const { path, limits, responder, counters, monotonicMillis } = this.#options;
    const connection = this.#connections.get(message.socket);
    // HTTP/1.1 answers in order, so requests sent ahead only wait; nobody sends this many.
    if (connection === undefined || connection.underWay >= limits.maxStreams) return void message.socket.destroy();
    const { client } = connection;
    const request = new DohMessage(message, response);
    connection.enter(request, monotonicMillis());
    counters.streams++;
    response.once('close', () => {
      connection.leave(request);
      counters.streams--;
    });
    message.on('error', () => {});
    const { method, url, headers } = message;
    const asked = readDohRequest(path, method, url, headers['content-type'], headers['content-length']);
    if ('query' in asked) responder.answer(asked.query, client, request);
    else if ('status' in asked) responder.refuse(request, asked.status);
    else this.#readQuery(message, request, client);
  }

  /** Reads the query in a body, at most as long as a query may be; the server sees to it that it comes in time. */
  #readQuery(message: IncomingMessage, request: DohMessage, client: StreamClient): void {
    const { responder } = this.#options;
    const body = new QueryBody();
    message.on('data', (part: Buffer) => {
      if (!request.isGone && !body.add(part)) responder.refuse(request, 413);
    });
    message.once('end', () => {
      if (!request.isGone) responder.answer(body.whole, client, request);
    });
  }
}

class DohMessage implements HttpRequest {
  readonly #message: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(message: IncomingMessage, response: ServerResponse) {
    this.#message = message;
    this.#response = response;
  }

  get isGone(): boolean {
    return this.#response.destroyed || this.#response.headersSent;
  }

  send(wire: Uint8Array, at: number, length: number, cacheControl: string): void {
    this.#response.writeHead(200, {
      'content-type': DNS_MESSAGE,
      'content-length': length,
      'cache-control': cacheControl,
    });
    this.#response.end(Buffer.from(wire.subarray(at, at + length)));
  }

  refuse(status: DohStatus): void {
    // A body that is not read to its end would be taken for the next request.
    const rest = this.#message.complete ? {} : { connection: 'close' };
    const allow = status === 405 ? { allow: METHODS } : {};
    this.#response.writeHead(status, { 'content-length': 0, ...rest, ...allow }).end();
  }
}
