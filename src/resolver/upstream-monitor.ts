import { randomInt } from 'node:crypto';
import { FLAGS2, HEADER_BYTES, RRTYPE } from '../dns/constants.ts';
import { parseName } from '../dns/name.ts';
import { repeatsQuestion } from '../dns/reply.ts';
import { exchangeDatagram } from './datagram-exchange.ts';
import type { SocketAddress } from './socket-address.ts';

export interface MonitorOptions {
  upstreams: readonly SocketAddress[];
  /** Name asked for (QTYPE NS); the root is in every resolver's cache. */
  checkName: string;
  intervalMillis: number;
  timeoutMillis: number;
  /** The upstream expects a PROXY protocol v2 header. */
  proxyProtocol: boolean;
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
  #checking = false;

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

  /** Checks every upstream once; nothing when a check is still under way. */
  async checkAll(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    const replied = await Promise.all(this.#options.upstreams.map((upstream) => askOnce(upstream, this.#options)));
    this.#checking = false;
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

/** PROXY protocol v2 header of a connection of the proxy's own (LOCAL, haproxy's proxy-protocol.txt §2.2). */
const PROXY_LOCAL = Uint8Array.of(
  0x0d,
  0x0a,
  0x0d,
  0x0a,
  0x00,
  0x0d,
  0x0a,
  0x51,
  0x55,
  0x49,
  0x54,
  0x0a,
  0x20,
  0,
  0,
  0,
);

/** Sends one query and tells whether any response to it came in time: a resolver that answers SERVFAIL is alive. */
async function askOnce(server: SocketAddress, options: MonitorOptions): Promise<boolean> {
  const name = parseName(options.checkName);
  const query = Buffer.alloc(HEADER_BYTES + name.length + 4);
  query.writeUInt16BE(randomInt(65536), 0);
  query[2] = FLAGS2.RD;
  query[5] = 1;
  query.set(name, HEADER_BYTES);
  query.writeUInt16BE(RRTYPE.NS, query.length - 4);
  query.writeUInt16BE(1, query.length - 2);
  const reply = await exchangeDatagram({
    server,
    parts: options.proxyProtocol ? [PROXY_LOCAL, query] : [query],
    timeoutMillis: options.timeoutMillis,
    isReply: (datagram) =>
      datagram[0] === query[0] &&
      datagram[1] === query[1] &&
      repeatsQuestion(datagram, 0, datagram.length, query, 0, query.length),
  });
  return typeof reply !== 'string';
}
