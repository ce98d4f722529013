import type { Socket } from 'node:net';
import { VERDICT } from './query-stages.ts';
import { MAX_STREAM_QUERY_BYTES, type StreamClient, type StreamExchange } from './stream-exchange.ts';

/** Bounds of one connection. */
export interface ConnectionLimits {
  /** Queries under way at once; more wait in the connection (RFC 7766 §6.2.1.1). */
  maxPipelined: number;
  idleSeconds: number;
}

/** A client that does not read its answers is cut off at so many octets. */
const MAX_UNREAD_BYTES = 1 << 18;
/** A message that has begun must be complete after so long, however slowly it drips. */
const MESSAGE_MILLIS = 5_000;
/** Octets of answers gathered before they are written, and what a first answer makes room for. */
const GATHERED_BYTES = 16_384;
const FIRST_GATHERED_BYTES = 2_048;
const NOTHING = Buffer.alloc(0);

/**
 * Connections with answers to write. Those of one turn of the event loop leave together, in one system call and one TLS
 * record for each connection: with one write for each answer the same core serves a third of the queries.
 */
export class WriteQueue {
  #waiting: StreamConnection[] = [];

  add(connection: StreamConnection): void {
    if (this.#waiting.push(connection) === 1) setImmediate(() => this.#writeAll());
  }

  #writeAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const connection of waiting) connection.write();
  }
}

/** One client's connection over TCP or DoT (RFC 7766, RFC 7858): pipelined queries, answers in any order. */
export class StreamConnection {
  readonly socket: Socket;
  readonly #client: StreamClient;
  readonly #exchange: StreamExchange;
  readonly #limits: ConnectionLimits;
  readonly #queue: WriteQueue;
  #received: Buffer = NOTHING;
  /** Where the next message starts in what was received. */
  #at = 0;
  #underWay = 0;
  #messageBeganAt = 0;
  /** Answers that wait for the end of this turn. */
  #gathered: Buffer | undefined;
  #gatheredBytes = 0;
  /** The last write has not reached the kernel. */
  #isWriting = false;
  /** The client sends nothing more, but still reads (RFC 7766 §6.2.4): it gets the answers under way. */
  #ended = false;

  constructor(
    socket: Socket,
    client: StreamClient,
    exchange: StreamExchange,
    limits: ConnectionLimits,
    queue: WriteQueue,
  ) {
    this.socket = socket;
    this.#client = client;
    this.#exchange = exchange;
    this.#limits = limits;
    this.#queue = queue;
    socket.setTimeout(limits.idleSeconds * 1000);
    // Not the callback of setTimeout, which is called once: the connection may go idle again after a slow answer.
    socket.on('timeout', () => {
      if (this.#underWay === 0) socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => this.finish());
    socket.on('data', (chunk: Buffer) => {
      const left = this.#received.length - this.#at;
      this.#received = left === 0 ? chunk : Buffer.concat([this.#received.subarray(this.#at), chunk]);
      this.#at = 0;
      this.#takeMessages();
    });
  }

  /** Takes no further message, gives the answers under way, and ends the connection. */
  finish(): void {
    this.#ended = true;
    this.#endWhenDone();
  }

  /** Takes whole messages as long as the connection may have more under way; the rest waits unread. */
  #takeMessages(): void {
    const received = this.#received;
    while (this.#underWay < this.#limits.maxPipelined && received.length - this.#at >= 2) {
      const at = this.#at;
      const length = (received[at]! << 8) | received[at + 1]!;
      if (length > MAX_STREAM_QUERY_BYTES) return void this.socket.destroy();
      if (received.length - at < 2 + length) break;
      this.#at = at + 2 + length;
      this.#messageBeganAt = 0;
      this.#handle(received, at + 2, length);
      if (this.socket.destroyed) return;
    }
    this.#watchProgress();
    if (this.#underWay >= this.#limits.maxPipelined) this.socket.pause();
  }

  /** Cuts off a client that lets one message drip in. */
  #watchProgress(): void {
    if (this.#received.length === this.#at) {
      this.#received = NOTHING; // an idle connection keeps no memory of what it sent
      this.#at = 0;
      this.#messageBeganAt = 0;
      return;
    }
    const now = performance.now();
    if (this.#messageBeganAt === 0) this.#messageBeganAt = now;
    else if (this.#underWay === 0 && now - this.#messageBeganAt > MESSAGE_MILLIS) this.socket.destroy();
  }

  #handle(received: Buffer, at: number, length: number): void {
    const verdict = this.#exchange.ask(received, at, length, this.#client, this.#gather, this.#takeReply);
    if (verdict === VERDICT.FORWARD) this.#underWay++;
    else if (verdict === VERDICT.DROP) this.socket.destroy();
  }

  /** Takes the answer to a query that was under way. */
  readonly #takeReply = (wire: Uint8Array, at: number, length: number): void => {
    this.#underWay--;
    if (this.socket.destroyed) return;
    this.#gather(wire, at, length);
    this.socket.resume();
    this.#takeMessages();
    this.#endWhenDone();
  };

  /** Adds an answer, with its length in front (RFC 1035 §4.2.2), to those that leave at the end of this turn. */
  readonly #gather = (wire: Uint8Array, at: number, length: number): void => {
    const { socket } = this;
    if (socket.destroyed) return;
    if (socket.writableLength + this.#gatheredBytes > MAX_UNREAD_BYTES) return void socket.destroy();
    const needed = this.#gatheredBytes + 2 + length;
    if (this.#gathered === undefined) {
      this.#gathered = Buffer.allocUnsafe(Math.max(FIRST_GATHERED_BYTES, needed));
      this.#queue.add(this);
    } else if (needed > this.#gathered.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#gathered.length * 2));
      this.#gathered.copy(larger, 0, 0, this.#gatheredBytes);
      this.#gathered = larger;
    }
    const out = this.#gathered;
    const start = this.#gatheredBytes;
    out[start] = length >>> 8;
    out[start + 1] = length & 0xff;
    out.set(wire.subarray(at, at + length), start + 2);
    this.#gatheredBytes = needed;
    if (needed >= GATHERED_BYTES) this.write();
  };

  /**
   * Writes what was gathered, or waits until the last write is done: what a client does not read stays together. With a
   * buffer for each turn's few octets it would take a hundred times their room.
   */
  write(): void {
    const gathered = this.#gathered;
    if (gathered === undefined || (this.#isWriting && !this.socket.destroyed)) return;
    const length = this.#gatheredBytes;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    if (!this.socket.destroyed) {
      this.#isWriting = true;
      this.socket.write(gathered.subarray(0, length), this.#onWritten);
    }
    this.#endWhenDone();
  }

  readonly #onWritten = (): void => {
    this.#isWriting = false;
    this.write();
  };

  #endWhenDone(): void {
    if (this.#ended && this.#underWay === 0 && this.#gathered === undefined) this.socket.end();
  }
}
