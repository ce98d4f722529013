import { createServer, type Server, type Socket } from 'node:net';
import { WartaError } from '../base/errors.ts';
import { FLAGS3, HEADER_BYTES, RCODE } from '../dns/constants.ts';
import { appendCookie } from '../dns/edns.ts';
import type { ClientAcl } from './client-acl.ts';
import { COOKIE_ROOM_BYTES, type QueryStages, VERDICT } from './query-stages.ts';
import { AF_INET6, formatSocketAddress, type SocketAddress, writeSocketAddress } from './socket-address.ts';
import type { ForwardResult, StreamForwarder, StreamQuery } from './stream-forwarder.ts';

export interface StreamLimits {
  maxConnections: number;
  maxConnectionsPerClient: number;
  /** Queries of one connection under way at once; more wait in the connection (RFC 7766 §6.2.1.1). */
  maxPipelined: number;
  idleSeconds: number;
}

/** Longest query taken from a stream. */
const MAX_STREAM_QUERY_BYTES = 4096;
/** Room for the client's sockaddr before the message, and for an answer behind a long query. */
const PEER_ROOM = 32;
const WORK_BYTES = PEER_ROOM + MAX_STREAM_QUERY_BYTES + 2048;
/** Longest message the two-octet length can tell. */
const MAX_MESSAGE_BYTES = 65_535;
/** Longest answer of our own over a stream. */
const ANSWER_CAPACITY = 2048;
/** A client that does not read its answers is cut off at so many octets. */
const MAX_UNREAD_BYTES = 1 << 18;
/** A message that has begun must be complete after so long, however slowly it drips. */
const MESSAGE_MILLIS = 5_000;

/** DNS over TCP (RFC 7766): pipelined queries, answers in any order, bounded in every direction. */
export class StreamListener {
  readonly #acl: ClientAcl;
  readonly #stages: QueryStages;
  readonly #forwarder: StreamForwarder;
  readonly #limits: StreamLimits;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Connection>();
  readonly #perClient = new Map<string, number>();

  constructor(acl: ClientAcl, stages: QueryStages, forwarder: StreamForwarder, limits: StreamLimits) {
    this.#acl = acl;
    this.#stages = stages;
    this.#forwarder = forwarder;
    this.#limits = limits;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /**
   * Listens on `address` and returns it with the port in use (when it was 0).
   *
   * @throws {WartaError} `socket-failed`.
   */
  open(address: SocketAddress): Promise<SocketAddress> {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#accept(socket, bound));
    const bound = { ...address };
    server.maxConnections = this.#limits.maxConnections;
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      // Stays for good: a later error, such as too many open files, costs one connection and not the process.
      server.on('error', (cause: NodeJS.ErrnoException) => {
        const hint =
          cause.code === 'EADDRINUSE'
            ? 'another program has the port; stop it or change resolver.listen'
            : (cause.code ?? cause.message);
        reject(
          new WartaError('socket-failed', `cannot listen on ${formatSocketAddress(address)} (TCP): ${hint}`, { cause }),
        );
      });
      server.listen({ host: address.host, port: address.port, ipv6Only: address.family === 6 }, () => {
        const actual = server.address();
        if (actual !== null && typeof actual === 'object') bound.port = actual.port;
        resolve(bound);
      });
    });
  }

  /** Stops listening and closes every connection. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) connection.socket.destroy();
  }

  #accept(socket: Socket, listener: SocketAddress): void {
    const host = socket.remoteAddress?.replace(/^::ffff:/, '').replace(/%.*$/, '');
    if (host === undefined) return void socket.destroy();
    const peer = new Uint8Array(PEER_ROOM);
    writeSocketAddress({ host, port: socket.remotePort ?? 0, family: host.includes(':') ? 6 : 4 }, peer, 0);
    const client = clientKey(peer);
    const open = this.#perClient.get(client) ?? 0;
    if (!this.#acl.allows(peer, 0) || open >= this.#limits.maxConnectionsPerClient) return void socket.destroy();
    this.#perClient.set(client, open + 1);
    const connection = new Connection(socket, peer, listener, this.#stages, this.#forwarder, this.#limits);
    this.#connections.add(connection);
    socket.once('close', () => {
      this.#connections.delete(connection);
      const left = this.#perClient.get(client)! - 1;
      if (left === 0) this.#perClient.delete(client);
      else this.#perClient.set(client, left);
    });
  }
}

/** What connections are counted by: an IPv4 address, or an IPv6 /64, which one client has to itself. */
function clientKey(peer: Uint8Array): string {
  return peer[0] === AF_INET6 ? String(peer.subarray(8, 16)) : String(peer.subarray(4, 8));
}

/** One client's connection. */
class Connection {
  readonly socket: Socket;
  readonly #peer: Uint8Array;
  readonly #listener: SocketAddress;
  readonly #stages: QueryStages;
  readonly #forwarder: StreamForwarder;
  readonly #limits: StreamLimits;
  #received: Buffer = Buffer.alloc(0);
  #underWay = 0;
  #messageBeganAt = 0;
  /** The client sends nothing more, but still reads (RFC 7766 §6.2.4): it gets the answers under way. */
  #ended = false;

  constructor(
    socket: Socket,
    peer: Uint8Array,
    listener: SocketAddress,
    stages: QueryStages,
    forwarder: StreamForwarder,
    limits: StreamLimits,
  ) {
    this.socket = socket;
    this.#peer = peer;
    this.#listener = listener;
    this.#stages = stages;
    this.#forwarder = forwarder;
    this.#limits = limits;
    socket.setTimeout(limits.idleSeconds * 1000);
    // Not the callback of setTimeout, which is called once: the connection may go idle again after a slow answer.
    socket.on('timeout', () => {
      if (this.#underWay === 0) socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      this.#ended = true;
      this.#endWhenDone();
    });
    socket.on('data', (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#takeMessages();
    });
  }

  /** Takes whole messages as long as the connection may have more under way; the rest waits unread. */
  #takeMessages(): void {
    while (this.#underWay < this.#limits.maxPipelined && this.#received.length >= 2) {
      const length = this.#received.readUInt16BE(0);
      if (length > MAX_STREAM_QUERY_BYTES) return void this.socket.destroy();
      if (this.#received.length < 2 + length) break;
      const message = this.#received.subarray(2, 2 + length);
      this.#received = this.#received.subarray(2 + length);
      this.#messageBeganAt = 0;
      this.#handle(message);
      if (this.socket.destroyed) return;
    }
    this.#watchProgress();
    if (this.#underWay >= this.#limits.maxPipelined) this.socket.pause();
  }

  /** Cuts off a client that lets one message drip in. */
  #watchProgress(): void {
    const now = performance.now();
    if (this.#received.length === 0) this.#messageBeganAt = 0;
    else if (this.#messageBeganAt === 0) this.#messageBeganAt = now;
    else if (this.#underWay === 0 && now - this.#messageBeganAt > MESSAGE_MILLIS) this.socket.destroy();
  }

  #handle(message: Buffer): void {
    const wire = new Uint8Array(WORK_BYTES);
    wire.set(this.#peer, 0);
    wire.set(message, PEER_ROOM);
    this.#stages.readClock();
    const verdict = this.#stages.decide(wire, PEER_ROOM, message.length, 0, ANSWER_CAPACITY, true);
    if (verdict > 0) return this.#send(wire.subarray(PEER_ROOM, PEER_ROOM + verdict));
    if (verdict === VERDICT.DROP) return void this.socket.destroy();
    const { cookie, forwardBytes, scan } = this.#stages;
    const query: StreamQuery = {
      message: wire.slice(PEER_ROOM, PEER_ROOM + forwardBytes),
      questionBytes: scan.questionEnd - PEER_ROOM,
      peer: this.#peer,
      listener: this.#listener,
    };
    this.#underWay++;
    void this.#forwarder.forward(query).then((result) => {
      this.#underWay--;
      if (this.socket.destroyed) return;
      this.#sendResult(query.message, result, cookie);
      this.socket.resume();
      this.#takeMessages();
      this.#endWhenDone();
    });
  }

  #endWhenDone(): void {
    if (this.#ended && this.#underWay === 0) this.socket.end();
  }

  /** Sends the upstream's reply, or what takes its place, with the cookie if the query had one. */
  #sendResult(query: Uint8Array, result: ForwardResult, cookie: Uint8Array | undefined): void {
    const reply = 'reply' in result ? result.reply : new Uint8Array(0);
    const wire = new Uint8Array(WORK_BYTES + reply.length + COOKIE_ROOM_BYTES);
    wire.set(query, 0);
    wire.set(reply, WORK_BYTES);
    this.#stages.readClock();
    let at = 0;
    let length = 0;
    if ('ede' in result) {
      length = this.#stages.composeEmpty(wire, 0, query.length, RCODE.SERVFAIL, { ede: result.ede });
    } else {
      length = this.#stages.checkReply(wire, WORK_BYTES, reply.length, 0, query.length, ANSWER_CAPACITY);
    }
    if (length === 0 && reply.length === HEADER_BYTES) {
      length = this.#stages.composeEmpty(wire, 0, query.length, reply[3]! & FLAGS3.RCODE);
    } else if (length === 0) {
      at = WORK_BYTES;
      length = reply.length;
    }
    if (cookie !== undefined && length + COOKIE_ROOM_BYTES <= MAX_MESSAGE_BYTES) {
      length = appendCookie(wire, at, length, cookie);
    }
    this.#send(wire.subarray(at, at + length));
  }

  #send(message: Uint8Array): void {
    if (this.socket.writableLength > MAX_UNREAD_BYTES) return void this.socket.destroy();
    const framed = Buffer.alloc(2 + message.length);
    framed.writeUInt16BE(message.length);
    framed.set(message, 2);
    this.socket.write(framed);
  }
}
