import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { StreamConnection, WriteQueue } from '../../src/resolver/stream-connection.ts';
import type { StreamClient, StreamExchange, TakeAnswer } from '../../src/resolver/stream-exchange.ts';

const ANSWER = Uint8Array.from({ length: 40 }, (_, i) => i);

/** Answers every query at once with the same octets. */
const exchange = {
  ask(_source: Uint8Array, _start: number, _length: number, _client: StreamClient, take: TakeAnswer): number {
    take(ANSWER, 0, ANSWER.length);
    return ANSWER.length;
  },
} as unknown as StreamExchange;

/** A socket of a client that reads nothing until it is told to. */
class SlowSocket extends Duplex {
  readonly written: Buffer[] = [];
  /** Calls of `write`, by which the memory that waits is counted. */
  writes = 0;
  #taken: (() => void) | undefined;
  #isReading = false;

  override write(...all: unknown[]): boolean {
    this.writes++;
    return (super.write as (...all: unknown[]) => boolean)(...all);
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk);
    if (this.#isReading) done();
    else this.#taken = done;
  }

  override _read(): void {}

  setTimeout(): this {
    return this;
  }

  /** Reads from now on. */
  readAll(): void {
    this.#isReading = true;
    this.#taken?.();
  }
}

function connect(): SlowSocket {
  const socket = new SlowSocket();
  const limits = { maxPipelined: 64, idleSeconds: 10 };
  new StreamConnection(socket as unknown as Socket, {} as StreamClient, exchange, limits, new WriteQueue());
  return socket;
}

const QUERY = Buffer.from([0, 2, 1, 1]);
const turn = () => new Promise((resolve) => setImmediate(resolve));
const settle = async () => {
  for (let i = 0; i < 5; i++) await turn();
};

test('answers that a client does not read yet stay together, and come when it reads', async () => {
  const socket = connect();
  for (let i = 0; i < 1_000; i++) {
    socket.push(QUERY);
    await turn();
  }
  expect(socket.writes).toBeLessThan(10);
  expect(socket.destroyed).toBe(false);
  socket.readAll();
  await settle();
  const frame = Buffer.from([0, ANSWER.length, ...ANSWER]);
  expect(Buffer.concat(socket.written).equals(Buffer.concat(Array.from({ length: 1_000 }, () => frame)))).toBe(true);
});

test('a client that reads nothing is cut off', async () => {
  const socket = connect();
  for (let i = 0; i < 10_000 && !socket.destroyed; i++) {
    socket.push(QUERY);
    if (i % 10 === 0) await turn();
  }
  expect(socket.destroyed).toBe(true);
});

test('a client that ends gets what is left, then the connection ends', async () => {
  const socket = connect();
  socket.push(QUERY);
  await settle();
  socket.push(QUERY);
  await settle();
  socket.push(null);
  await settle();
  expect(socket.writableEnded).toBe(false);
  socket.readAll();
  await settle();
  expect(Buffer.concat(socket.written).length).toBe(2 * (2 + ANSWER.length));
  expect(socket.writableEnded).toBe(true);
});
