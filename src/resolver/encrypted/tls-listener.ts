import { createServer, type Server, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { ClientLimit } from '../../base/client-limit.ts';
import { receiveProxyHeader } from '../../base/proxy-header.ts';
import type { EncryptedCounters, TlsFailure } from '../../metrics/encrypted-counters.ts';
import type { ClientAcl } from '../client-acl.ts';
import { ResponseRateLimit } from '../response-rate-limit.ts';
import { addressOctets, type SocketAddress, writeSocketAddress } from '../socket-address.ts';
import { PEER_ROOM, type StreamClient } from '../stream-exchange.ts';
import { IPV6_CLIENT_BYTES, listenStream, readPeer } from '../stream-listener.ts';
import type { CertificateKeeper } from './certificate-keeper.ts';

export interface TlsLimits {
  maxConnections: number;
  maxConnectionsPerClient: number;
  /** A client has so long from its first octet to the end of the handshake. */
  handshakeSeconds: number;
  /** Handshakes begun in a second by all clients, and by one client's prefix; 0 is no limit. */
  handshakesPerSecond: number;
  handshakesPerSecondPerClient: number;
}

export interface TlsListenerOptions {
  /** How it is called in errors, and the key of the configuration. */
  kind: string;
  key: string;
  /** Protocols offered by ALPN (RFC 7301), the best first. A client that names others only is refused. */
  protocols: readonly string[];
  limits: TlsLimits;
  acl: ClientAcl;
  /** Proxies whose connections begin with a PROXY protocol header, version 1 or 2. */
  proxies: ClientAcl;
  certificate: CertificateKeeper;
  counters: EncryptedCounters;
  rateLimitKey: number;
  monotonicMillis(): number;
  /** Takes a connection whose handshake is done. */
  onConnection(socket: TLSSocket, client: StreamClient): void;
}

/** The prefix that all clients together are counted under. */
const EVERYBODY = new Uint8Array(PEER_ROOM);

/** Accepts TLS connections: proxies' headers, ACL, limits and handshakes, the same for DoT and DoH. */
export class TlsListener {
  readonly #options: TlsListenerOptions;
  readonly #servers: Server[] = [];
  /** Every connection, those in the middle of a handshake too. */
  readonly #sockets = new Set<Socket>();
  readonly #clients: ClientLimit;
  readonly #rate: ResponseRateLimit;
  readonly #ownRate: ResponseRateLimit;

  constructor(options: TlsListenerOptions) {
    this.#options = options;
    this.#clients = new ClientLimit(options.limits.maxConnectionsPerClient, IPV6_CLIENT_BYTES);
    this.#rate = new ResponseRateLimit(options.limits.handshakesPerSecond, options.rateLimitKey);
    this.#ownRate = new ResponseRateLimit(options.limits.handshakesPerSecondPerClient, options.rateLimitKey);
  }

  /**
   * Listens on `address` and returns it with the port in use.
   *
   * @throws {WartaError} `socket-failed`.
   */
  async open(address: SocketAddress): Promise<SocketAddress> {
    const { kind, key } = this.#options;
    const bound = { ...address };
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#accept(socket, bound));
    this.#servers.push(server);
    bound.port = await listenStream(server, address, kind, key);
    return bound;
  }

  /** Takes no further connection. */
  stopListening(): void {
    for (const server of this.#servers) server.close();
  }

  /** Cuts off whatever is open. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket, listener: SocketAddress): void {
    const { limits, proxies, counters } = this.#options;
    const peer = readPeer(socket);
    if (peer === undefined) return void socket.destroy();
    const attempt: Attempt = { socket, failure: 'closed', timer: undefined };
    if (this.#sockets.size >= limits.maxConnections) {
      counters.addFailure('total_limit');
      return void socket.destroy();
    }
    this.#sockets.add(socket);
    attempt.timer = setTimeout(() => refuse(attempt, 'timeout'), limits.handshakeSeconds * 1000);
    attempt.timer.unref();
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(attempt.timer);
      this.#sockets.delete(socket);
      if (attempt.failure !== undefined) counters.addFailure(attempt.failure);
    });
    const client = { peer, listener };
    if (proxies.allows(peer, 0)) this.#readProxy(attempt, client);
    else this.#begin(attempt, client);
  }

  /** Reads the header that a proxy sends first and goes on with the client it names. */
  #readProxy(attempt: Attempt, proxy: StreamClient): void {
    receiveProxyHeader(attempt.socket, (header) => {
      if (header === 'malformed') return refuse(attempt, 'proxy_header');
      if (header === 'ended') return void attempt.socket.destroy();
      if (header.client === undefined) return this.#begin(attempt, proxy);
      const peer = new Uint8Array(PEER_ROOM);
      writeSocketAddress(header.client, peer, 0);
      this.#begin(attempt, { peer, listener: header.listener ?? proxy.listener });
    });
  }

  /** Checks whether the client may connect now and starts the handshake. */
  #begin(attempt: Attempt, client: StreamClient): void {
    const { acl, counters, certificate, protocols, monotonicMillis, onConnection } = this.#options;
    if (!acl.allows(client.peer, 0)) return refuse(attempt, 'acl');
    const now = monotonicMillis();
    if (!this.#ownRate.take(client.peer, 0, now) || !this.#rate.take(EVERYBODY, 0, now)) {
      return refuse(attempt, 'rate_limit');
    }
    const leave = this.#clients.enter(addressOctets(client.peer));
    if (leave === undefined) return refuse(attempt, 'client_limit');
    attempt.socket.once('close', leave);
    const socket = new TLSSocket(attempt.socket, {
      isServer: true,
      secureContext: certificate.context,
      ALPNProtocols: [...protocols],
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (attempt.failure === 'closed') attempt.failure = classifyFailure(error);
      socket.destroy();
    });
    socket.once('close', () => attempt.socket.destroy());
    socket.once('end', () => {
      if (attempt.failure !== undefined) socket.destroy();
    });
    socket.once('secure', () => {
      clearTimeout(attempt.timer);
      attempt.failure = undefined;
      counters.connections++;
      socket.once('close', () => {
        counters.connections--;
      });
      if (socket.isSessionReused()) counters.resumedHandshakes++;
      else counters.fullHandshakes++;
      onConnection(socket, client);
    });
  }
}

/** A connection on its way to a completed handshake. */
interface Attempt {
  socket: Socket;
  /** What to count when it is closed now; nothing once the handshake is done. */
  failure: TlsFailure | undefined;
  timer: NodeJS.Timeout | undefined;
}

function refuse(attempt: Attempt, kind: TlsFailure): void {
  attempt.failure = kind;
  attempt.socket.destroy();
}

/** What OpenSSL's error says, as a label. */
function classifyFailure(error: NodeJS.ErrnoException): TlsFailure {
  const code = error.code ?? '';
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'closed';
  if (/NO_APPLICATION_PROTOCOL/.test(code)) return 'alpn';
  if (/UNSUPPORTED_PROTOCOL|NO_SHARED_CIPHER|VERSION_TOO_LOW|NO_PROTOCOLS/.test(code)) return 'no_common_protocol';
  return 'protocol';
}
