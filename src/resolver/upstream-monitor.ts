import { randomInt } from 'node:crypto';
import { FLAGS2, HEADER_BYTES, RRTYPE } from '../dns/constants.ts';
import { parseName } from '../dns/name.ts';
import { repeatsQuestion } from '../dns/reply.ts';
import { exchangeDatagram } from './datagram-exchange.ts';
import { HealthMonitor } from './health-monitor.ts';
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

/** Checks every upstream at a fixed interval; all count as up until they fail. */
export class UpstreamMonitor extends HealthMonitor {
  constructor(options: MonitorOptions) {
    super({
      count: options.upstreams.length,
      intervalMillis: options.intervalMillis,
      startsUp: true,
      check: (upstream) => askOnce(options.upstreams[upstream]!, options),
      onChange: (upstream, up) => options.onChange(upstream, up),
    });
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
