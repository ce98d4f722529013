import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket as StreamSocket } from 'node:net';
import { type Answer, composeQuery, parseAnswer, type QueryOptions } from './dns-message.ts';
import { waitUntil } from './wait.ts';

/** Where a server listens. */
export interface Server {
  host: string;
  port: number;
}

/** An answer that takes longer counts as lost. */
const ANSWER_MILLIS = 5_000;

/** A UDP client with one socket that tells answers apart by identifier. */
export class DatagramClient {
  readonly #socket: Socket;
  readonly #server: Server;
  readonly #waiting = new Map<number, { resolve: (answer: Buffer | undefined) => void; timer: NodeJS.Timeout }>();
  /** Datagrams that no query was waiting for. */
  readonly strays: Buffer[] = [];

  constructor(server: Server) {
    this.#server = server;
    this.#socket = createSocket({ type: server.host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
    this.#socket.on('error', () => {}); // a refused port shows as a lost answer
    this.#socket.on('message', (message) => {
      const waiting = message.length < 2 ? undefined : this.#waiting.get(message.readUInt16BE(0));
      if (waiting === undefined) return void this.strays.push(message);
      this.#waiting.delete(message.readUInt16BE(0));
      clearTimeout(waiting.timer);
      waiting.resolve(message);
    });
  }

  /** Sends a message as it is and expects nothing. */
  send(message: Buffer): void {
    this.#socket.send(message, this.#server.port, this.#server.host, () => {});
  }

  /** Sends a query and returns the answer, or `undefined` when none came in time. The identifier must not be in use. */
  exchange(query: Buffer, timeoutMillis = ANSWER_MILLIS): Promise<Buffer | undefined> {
    const id = query.readUInt16BE(0);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        resolve(undefined);
      }, timeoutMillis);
      this.#waiting.set(id, { resolve, timer });
      this.send(query);
    });
  }

  /**
   * Asks about each name with at most `window` queries under way, and calls `onAnswer` with each answer's octets (or
   * `undefined` for a lost one). `perSecond` bounds the rate.
   */
  async askAll(
    names: Iterable<string>,
    onAnswer: (name: string, answer: Buffer | undefined) => void,
    {
      window = 256,
      perSecond = Number.POSITIVE_INFINITY,
      timeoutMillis,
    }: { window?: number; perSecond?: number; timeoutMillis?: number } = {},
  ): Promise<number> {
    const source = names[Symbol.iterator]();
    const began = performance.now();
    let asked = 0;
    const lane = async () => {
      for (let next = source.next(); !next.done; next = source.next()) {
        const name = next.value;
        const early = (asked++ / perSecond) * 1000 - (performance.now() - began);
        if (early > 2) await new Promise((resolve) => setTimeout(resolve, early));
        const query = composeQuery(name, { id: this.#freeId(), edns: {} });
        onAnswer(name, await this.exchange(query, timeoutMillis));
      }
    };
    await Promise.all(Array.from({ length: window }, lane));
    return asked;
  }

  #lastId = 0;

  #freeId(): number {
    do this.#lastId = (this.#lastId + 1) & 0xffff;
    while (this.#waiting.has(this.#lastId));
    return this.#lastId;
  }

  close(): void {
    for (const { resolve, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      resolve(undefined);
    }
    this.#socket.close();
  }
}

/** Asks once over UDP from a fresh port. */
export async function ask(server: Server, name: string, options: QueryOptions = {}): Promise<Answer> {
  return parseAnswer(await askRaw(server, composeQuery(name, options)));
}

/** Sends one datagram from a fresh port and returns the answer's octets. */
export async function askRaw(server: Server, query: Buffer, timeoutMillis?: number): Promise<Buffer> {
  const client = new DatagramClient(server);
  try {
    const answer = await client.exchange(query, timeoutMillis);
    if (answer === undefined) throw new Error(`no answer from ${server.host} port ${server.port}`);
    return answer;
  } finally {
    client.close();
  }
}

/** A TCP connection that sends and receives whole messages. */
export class StreamClient {
  readonly socket: StreamSocket;
  /** Messages received so far. */
  readonly received: Buffer[] = [];
  closed = false;
  #rest = Buffer.alloc(0);

  private constructor(socket: StreamSocket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= 2 && this.#rest.length >= 2 + this.#rest.readUInt16BE(0)) {
        const end = 2 + this.#rest.readUInt16BE(0);
        this.received.push(this.#rest.subarray(2, end));
        this.#rest = this.#rest.subarray(end);
      }
    });
  }

  static async open(server: Server): Promise<StreamClient> {
    const socket = connect({ host: server.host, port: server.port, noDelay: true });
    await once(socket, 'connect');
    return new StreamClient(socket);
  }

  /** Uses a connection that is open already, such as one with TLS. */
  static over(socket: StreamSocket): StreamClient {
    return new StreamClient(socket);
  }

  /** Sends messages in one segment. */
  send(...messages: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(messages.map(frame)));
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Puts the two octets of length before a message (RFC 1035 §4.2.2). */
export function frame(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** Asks once over TCP. */
export async function askStream(server: Server, name: string, options: QueryOptions = {}): Promise<Answer> {
  return parseAnswer(await askStreamRaw(server, composeQuery(name, options)));
}

/** Sends one message over TCP and returns the answer's octets. */
export async function askStreamRaw(server: Server, query: Buffer): Promise<Buffer> {
  const client = await StreamClient.open(server);
  try {
    client.send(query);
    await waitUntil('an answer over TCP', () => client.received.length > 0 || client.closed, ANSWER_MILLIS);
    if (client.received.length === 0) throw new Error('the connection was closed without an answer');
    return client.received[0]!;
  } finally {
    client.close();
  }
}
