import { createServer, type Server, type Socket } from 'node:net';
import { ClientLimit } from '../base/client-limit.ts';
import { WartaError } from '../base/errors.ts';
import type { ClientAcl } from './client-acl.ts';
import { addressOctets, formatSocketAddress, type SocketAddress, writeSocketAddress } from './socket-address.ts';
import { type ConnectionLimits, StreamConnection, WriteQueue } from './stream-connection.ts';
import { PEER_ROOM, type StreamExchange } from './stream-exchange.ts';

/** Octets of an IPv6 address that tell clients apart: a host has a /64 to itself. */
export const IPV6_CLIENT_BYTES = 8;

export interface StreamLimits extends ConnectionLimits {
  maxConnections: number;
  maxConnectionsPerClient: number;
}

/** DNS over TCP (RFC 7766): pipelined queries, answers in any order, bounded in every direction. */
export class StreamListener {
  readonly #acl: ClientAcl;
  readonly #exchange: StreamExchange;
  readonly #limits: StreamLimits;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<StreamConnection>();
  readonly #clients: ClientLimit;
  readonly #queue = new WriteQueue();

  constructor(acl: ClientAcl, exchange: StreamExchange, limits: StreamLimits) {
    this.#acl = acl;
    this.#exchange = exchange;
    this.#limits = limits;
    this.#clients = new ClientLimit(limits.maxConnectionsPerClient, IPV6_CLIENT_BYTES);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /**
   * Listens on `address` and returns it with the port in use (when it was 0).
   *
   * @throws {WartaError} `socket-failed`.
   */
  async open(address: SocketAddress): Promise<SocketAddress> {
    const bound = { ...address };
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#accept(socket, bound));
    server.maxConnections = this.#limits.maxConnections;
    this.#servers.push(server);
    bound.port = await listenStream(server, address, 'TCP', 'resolver.listen');
    return bound;
  }

  /** Stops listening and closes every connection. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) connection.socket.destroy();
  }

  #accept(socket: Socket, listener: SocketAddress): void {
    const peer = readPeer(socket);
    if (peer === undefined || !this.#acl.allows(peer, 0)) return void socket.destroy();
    const leave = this.#clients.enter(addressOctets(peer));
    if (leave === undefined) return void socket.destroy();
    const connection = new StreamConnection(socket, { peer, listener }, this.#exchange, this.#limits, this.#queue);
    this.#connections.add(connection);
    socket.once('close', () => {
      this.#connections.delete(connection);
      leave();
    });
  }
}

/** The client's `struct sockaddr` in `PEER_ROOM` octets, or `undefined` when it has gone already. */
export function readPeer(socket: Socket): Uint8Array | undefined {
  const host = socket.remoteAddress?.replace(/^::ffff:/, '').replace(/%.*$/, '');
  if (host === undefined) return undefined;
  const peer = new Uint8Array(PEER_ROOM);
  writeSocketAddress({ host, port: socket.remotePort ?? 0, family: host.includes(':') ? 6 : 4 }, peer, 0);
  return peer;
}

/**
 * Listens and returns the port in use (when it was 0); `key` is what an operator changes when it cannot be had.
 *
 * @throws {WartaError} `socket-failed`.
 */
export function listenStream(server: Server, address: SocketAddress, kind: string, key: string): Promise<number> {
  return new Promise((resolve, reject) => {
    // Stays for good: a later error, such as too many open files, costs one connection and not the process.
    server.on('error', (cause: NodeJS.ErrnoException) => {
      const hint =
        cause.code === 'EADDRINUSE'
          ? `another program has the port; stop it or change ${key}`
          : (cause.code ?? cause.message);
      const text = `cannot listen on ${formatSocketAddress(address)} (${kind}): ${hint}`;
      reject(new WartaError('socket-failed', text, { cause }));
    });
    server.listen({ host: address.host, port: address.port, ipv6Only: address.family === 6 }, () => {
      const actual = server.address();
      resolve(actual !== null && typeof actual === 'object' ? actual.port : address.port);
    });
  });
}
