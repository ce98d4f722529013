import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { WartaError } from '../../base/errors.ts';
import { formatSocketAddress, readSocketAddress, type SocketAddress, writeSocketAddress } from '../socket-address.ts';
import {
  createArena,
  type DatagramHandler,
  type DatagramIo,
  type DatagramIoOptions,
  MAX_QUERY_BYTES,
  MAX_REPLY_BYTES,
  QUERY_SLOTS_AT,
  REPLY_SLOTS_AT,
  SLOT,
  TICK_MILLIS,
} from './datagram-io.ts';

/** Socket buffers asked for, as the batch backend does: the system's default holds 277 small messages. */
const BUFFERS = { recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 };

/** A replaced socket is closed after so long. */
const LINGER_MILLIS = 10_000;

/**
 * Datagram I/O by Node's own `dgram`, one message at a time on the event loop: for systems without FFI.
 * On a wildcard address the kernel picks the source address of answers: hosts with several
 * addresses list them one by one. Clients with link-local addresses get no answer: `dgram` tells no interface.
 */
export class DgramIo implements DatagramIo {
  readonly arena: Uint8Array;
  readonly descriptors: readonly number[] = [];
  readonly #options: DatagramIoOptions;
  readonly #listeners: Socket[];
  /** Sockets to upstreams; undefined where there is no way to one now. */
  readonly #ports: (Socket | undefined)[];
  #handler: DatagramHandler | undefined;
  #stopped = false;

  private constructor(options: DatagramIoOptions, listeners: Socket[], ports: (Socket | undefined)[]) {
    this.arena = createArena(options.pendingSlots);
    this.#options = options;
    this.#listeners = listeners;
    this.#ports = ports;
  }

  /**
   * Opens and binds every socket.
   *
   * @throws {WartaError} `socket-failed` when an address cannot be bound.
   */
  static async open(options: DatagramIoOptions): Promise<DgramIo> {
    const listeners = await Promise.all(options.listen.map(openListener));
    const ports = await Promise.all(
      options.upstreams.flatMap((upstream) =>
        Array.from({ length: options.portsPerUpstream }, () => openPort(upstream)),
      ),
    );
    return new DgramIo(options, listeners, ports);
  }

  answer(listener: number, slot: number, message: number, length: number): void {
    const client = readSocketAddress(this.arena, slot + SLOT.PEER);
    const copy = Buffer.from(this.arena.subarray(message, message + length));
    this.#listeners[listener]!.send(copy, client.port, client.host, (error) => {
      if (error) this.#handler?.onSendFailures(1);
    });
  }

  forward(port: number, message: number, length: number): void {
    const copy = Buffer.from(this.arena.subarray(message, message + length));
    const socket = this.#ports[port];
    if (socket === undefined) {
      this.renewPort(port);
      setImmediate(() => this.#handler?.onRefused(port));
      return;
    }
    socket.send(copy, (error) => {
      if (error && 'code' in error && error.code === 'ECONNREFUSED') this.#handler?.onRefused(port);
      else if (error) this.#handler?.onSendFailures(1);
    });
  }

  renewPort(port: number): void {
    const upstream = this.#options.upstreams[Math.floor(port / this.#options.portsPerUpstream)]!;
    void openPort(upstream).then((fresh) => {
      if (this.#stopped) return void fresh?.close();
      const old = this.#ports[port];
      this.#ports[port] = fresh;
      this.#receiveReplies(port);
      // Replies to what was sent just before may still come by the old socket.
      if (old !== undefined) setTimeout(() => old.close(), LINGER_MILLIS).unref();
    });
  }

  run(handler: DatagramHandler): Promise<void> {
    this.#handler = handler;
    this.#listeners.forEach((socket, listener) => {
      socket.on('message', (message, from) => this.#onQuery(listener, message, from));
    });
    this.#ports.forEach((_, port) => {
      this.#receiveReplies(port);
    });
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        if (handler.tick()) return;
        clearInterval(timer);
        this.#stopped = true;
        for (const socket of [...this.#listeners, ...this.#ports]) socket?.close();
        resolve();
      }, TICK_MILLIS);
    });
  }

  #onQuery(listener: number, message: Buffer, from: RemoteInfo): void {
    if (message.length > MAX_QUERY_BYTES || from.port === 0) return; // nobody can be answered at port 0
    const slot = QUERY_SLOTS_AT;
    const family = from.family === 'IPv6' ? 6 : 4;
    const host = from.address.replace(/%.*$/, '');
    const peerBytes = writeSocketAddress({ host, port: from.port, family }, this.arena, slot + SLOT.PEER);
    this.arena[slot + SLOT.PEER_BYTES] = peerBytes;
    this.arena[slot + SLOT.CONTROL_BYTES] = 0;
    this.arena.set(message, slot + SLOT.MESSAGE);
    this.#handler!.beginBatch();
    this.#handler!.onQuery(listener, slot, message.length);
    this.#handler!.endBatch();
  }

  #receiveReplies(port: number): void {
    this.#ports[port]?.on('message', (message) => {
      const length = Math.min(message.length, MAX_REPLY_BYTES);
      this.arena.set(message.subarray(0, length), REPLY_SLOTS_AT + SLOT.MESSAGE);
      this.#handler!.beginBatch();
      this.#handler!.onReply(port, REPLY_SLOTS_AT, length);
      this.#handler!.endBatch();
    });
    this.#ports[port]?.on('error', () => this.#handler?.onRefused(port));
  }
}

function openListener(address: SocketAddress): Promise<Socket> {
  const type = address.family === 6 ? 'udp6' : 'udp4';
  const socket = createSocket({ type, reusePort: true, ipv6Only: address.family === 6, ...BUFFERS });
  return new Promise((resolve, reject) => {
    socket.on('error', (cause: NodeJS.ErrnoException) => {
      const text = `cannot listen on ${formatSocketAddress(address)} (UDP): ${cause.code ?? cause.message}`;
      reject(new WartaError('socket-failed', text, { cause }));
    });
    socket.bind(address.port, address.host, () => resolve(socket));
  });
}

/** Opens a socket to an upstream, or none when there is no way to it now. */
function openPort(upstream: SocketAddress): Promise<Socket | undefined> {
  const socket = createSocket({ type: upstream.family === 6 ? 'udp6' : 'udp4', ...BUFFERS });
  return new Promise((resolve) => {
    const done = (error?: Error) => {
      if (error === undefined) return resolve(socket);
      socket.removeAllListeners().on('error', () => {});
      socket.close();
      resolve(undefined);
    };
    socket.once('error', done);
    // Node calls back with an error where there is no route.
    socket.connect(upstream.port, upstream.host, done as () => void);
  });
}
