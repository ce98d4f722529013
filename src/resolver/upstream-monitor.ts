import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { FLAGS2, HEADER_BYTES, RRTYPE } from '../dns/constants.ts';
import { parseName } from '../dns/name.ts';
import { repeatsQuestion } from '../dns/reply.ts';
import type { SocketAddress } from './socket-address.ts';

export interface MonitorOptions {
  upstreams: readonly SocketAddress[];
  /** Name asked for (QTYPE NS); the root is in every resolver's cache. */
  checkName: string;
  intervalMillis: number;
  timeoutMillis: number;
  /** Called when an upstream's state changes. */
  onChange(upstream: number, up: boolean): void;
}

/** An upstream is down after so many checks without a reply; one reply makes it up again. */
const FAILURES_TO_DOWN = 2;

/** Checks every upstream at a fixed interval and tells the data plane by one shared word each. */
export class UpstreamMonitor {
  /** One word for each upstream: 1 while it is up. Shared with the data-plane threads. */
  readonly up: Int32Array;
  readonly #options: MonitorOptions;
  readonly #failures: number[];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.up = new Int32Array(new SharedArrayBuffer(Math.max(4, options.upstreams.length * 4))).fill(1);
    this.#failures = options.upstreams.map(() => 0);
  }

  start(): void {
    this.#timer = setInterval(() => void this.checkAll(), this.#options.intervalMillis);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Checks every upstream once. */
  async checkAll(): Promise<void> {
    const { upstreams, checkName, timeoutMillis } = this.#options;
    const replied = await Promise.all(upstreams.map((upstream) => askOnce(upstream, checkName, timeoutMillis)));
    replied.forEach((alive, upstream) => {
      this.#record(upstream, alive);
    });
  }

  #record(upstream: number, alive: boolean): void {
    this.#failures[upstream] = alive ? 0 : this.#failures[upstream]! + 1;
    const up = alive || this.#failures[upstream]! < FAILURES_TO_DOWN;
    const wasUp = Atomics.exchange(this.up, upstream, up ? 1 : 0) === 1;
    if (up !== wasUp) this.#options.onChange(upstream, up);
  }
}

/** Sends one query and tells whether any response to it came in time: a resolver that answers SERVFAIL is alive. */
function askOnce(upstream: SocketAddress, checkName: string, timeoutMillis: number): Promise<boolean> {
  const name = parseName(checkName);
  const query = Buffer.alloc(HEADER_BYTES + name.length + 4);
  query.writeUInt16BE(randomInt(65536), 0);
  query[2] = FLAGS2.RD;
  query[5] = 1;
  query.set(name, HEADER_BYTES);
  query.writeUInt16BE(RRTYPE.NS, query.length - 4);
  query.writeUInt16BE(1, query.length - 2);
  return new Promise((resolve) => {
    const socket = createSocket(upstream.family === 6 ? 'udp6' : 'udp4');
    const finish = (alive: boolean) => {
      clearTimeout(timer);
      socket.removeAllListeners().on('error', () => {});
      socket.close();
      resolve(alive);
    };
    const timer = setTimeout(finish, timeoutMillis, false);
    socket.once('error', () => finish(false));
    socket.on('message', (reply) => {
      const same = reply.length >= 2 && reply[0] === query[0] && reply[1] === query[1];
      if (same && repeatsQuestion(reply, 0, reply.length, query, 0, query.length)) finish(true);
    });
    socket.connect(upstream.port, upstream.host, () => {
      socket.send(query, (error) => {
        if (error) finish(false);
      });
    });
  });
}
