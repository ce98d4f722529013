import type { TLSSocket } from 'node:tls';
import type { EncryptedCounters } from '../../metrics/encrypted-counters.ts';
import type { StreamClient, StreamExchange } from '../stream-exchange.ts';
import { DohHttp1 } from './doh-http1.ts';
import { serveHttp2 } from './doh-http2.ts';
import { DohResponder } from './doh-responder.ts';

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

/** How often idle connections and slow requests are looked for. */
const SWEEP_MILLIS = 500;

/** A connection, as what idles is looked for. */
interface Watched {
  /** When it last had a request under way. */
  activeAt: number;
  readonly underWay: number;
  sweep(now: number): void;
  close(): void;
  destroy(): void;
}

/** DNS over HTTPS (RFC 8484) on connections whose TLS handshake is done: HTTP/2, and HTTP/1.1 for what does not speak it. */
export class DohService {
  readonly #options: DohOptions;
  readonly #responder: DohResponder;
  readonly #http1: DohHttp1;
  readonly #connections = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: DohOptions) {
    this.#options = options;
    this.#responder = new DohResponder(options.exchange, options.counters);
    this.#http1 = new DohHttp1({ ...options, responder: this.#responder, sweepMillis: SWEEP_MILLIS });
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MILLIS);
    this.#timer.unref();
  }

  /** Serves a connection by the protocol that ALPN chose; without ALPN it is HTTP/1.1. */
  serve(socket: TLSSocket, client: StreamClient): void {
    const watched = socket.alpnProtocol === 'h2' ? this.#serveHttp2(socket, client) : this.#http1.serve(socket, client);
    this.#connections.add(watched);
    socket.once('close', () => this.#connections.delete(watched));
  }

  /** Asks every connection to end once its requests are answered. */
  finish(): void {
    clearInterval(this.#timer);
    for (const connection of this.#connections) connection.close();
  }

  /** Ends what `finish` left. */
  destroy(): void {
    this.#http1.destroy();
    for (const connection of this.#connections) connection.destroy();
  }

  #sweep(): void {
    const idleMillis = this.#options.limits.idleSeconds * 1000;
    const now = this.#options.monotonicMillis();
    for (const connection of this.#connections) {
      connection.sweep(now);
      if (connection.underWay > 0) connection.activeAt = now;
      else if (now - connection.activeAt > idleMillis) connection.close();
      // A client that does not go when it is asked to is cut off.
      if (now - connection.activeAt > idleMillis + 2 * SWEEP_MILLIS) connection.destroy();
    }
  }

  #serveHttp2(socket: TLSSocket, client: StreamClient): Watched {
    const { monotonicMillis } = this.#options;
    const onActive = () => {
      watched.activeAt = monotonicMillis();
    };
    const connection = serveHttp2(socket, client, { ...this.#options, responder: this.#responder }, onActive);
    const watched: Watched = {
      activeAt: monotonicMillis(),
      get underWay() {
        return connection.openStreams;
      },
      sweep: (now) => connection.sweep(now),
      close: () => connection.close(),
      destroy: () => connection.destroy(),
    };
    return watched;
  }
}
