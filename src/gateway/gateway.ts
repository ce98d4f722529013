import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, RuleClock, systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import type { GatewayReadings } from '../metrics/gateway-metrics.ts';
import { AddressPolicy, PrefixList } from './address-policy.ts';
import { ClientAdmission } from './client-connection.ts';
import { GatewayCounters } from './gateway-counters.ts';
import { HostBook } from './host-book.ts';
import { type HttpLimits, HttpListener } from './http-listener.ts';
import { NoticeAnswers, type RenderNotice, renderPlainNotice } from './notice-answer.ts';
import { OriginConnector } from './origin-connector.ts';
import { OriginPools } from './origin-pools.ts';
import { type AddressSource, createAddressSource, OriginResolver } from './origin-resolver.ts';
import { TlsListener } from './tls-listener.ts';
import type { UrlRules } from './url-rules.ts';

/** Where one listener listens. */
export interface ListenAddress {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
}

/** Limits on clients; everything that is not given has the default beside it. */
export interface GatewayLimits extends HttpLimits {
  /** Open connections of both listeners. */
  readonly connections: number;
  /** Open connections of one IPv4 address, or of one IPv6 /56; behind an address translator stand many subscribers. */
  readonly connectionsPerClient: number;
  /** Time for a PROXY header, and for a ClientHello. */
  readonly openingSeconds: number;
}

export const DEFAULT_LIMITS: GatewayLimits = {
  connections: 20_000,
  connectionsPerClient: 1_000,
  openingSeconds: 5,
  headBytes: 16_384,
  headSeconds: 10,
  idleSeconds: 60,
  fields: 100,
  pipelined: 16,
  bytesPerSecond: 100,
  paceSeconds: 10,
  stallSeconds: 60,
  spliceIdleSeconds: 600,
};

/** How a gateway is set up. */
export interface GatewayOptions {
  /** Usually ports 80 and 443. */
  readonly http?: ListenAddress;
  readonly https?: ListenAddress;
  readonly rules: UrlRules;
  /** URL of whoever runs the gateway, for `Link: rel="blocked-by"` (RFC 7725 §4). */
  readonly blockedBy: string;
  readonly renderNotice?: RenderNotice;
  readonly origins: {
    /** Resolvers without rules, `192.0.2.1:53` or `[2001:db8::1]:53`; or a source of addresses. */
    readonly resolvers: readonly string[] | AddressSource;
    /** Addresses that the resolvers of the network steer to, where they are not those of this machine. */
    readonly ownAddresses?: readonly string[];
    /** Prefixes that origins may have though they are private: for laboratories. */
    readonly allowedPrefixes?: readonly string[];
    /** Ports a request may name, and the ports asked at the origin: `{ 80: 80, 443: 443 }`. */
    readonly ports?: Readonly<Record<number, number>>;
    readonly connectSeconds?: number;
    readonly headersSeconds?: number;
    readonly bodySeconds?: number;
    readonly connectionsPerOrigin?: number;
    readonly idleSeconds?: number;
  };
  /** Prefixes of load balancers; every connection from them begins with a PROXY header, and none from others does. */
  readonly proxyProtocolFrom?: readonly string[];
  readonly limits?: Partial<GatewayLimits>;
  readonly clock?: Clock;
  /** Ends of rules are never judged by an earlier time. */
  readonly floorSeconds?: number;
}

const DEFAULT_PORTS = { 80: 80, 443: 443 };
const CLOCK_MILLIS = 250;
const BACKLOG = 1_024;

/** The URL gateway: one process, one thread. */
export class Gateway {
  readonly #http: HttpListener | undefined;
  readonly #https: TlsListener | undefined;
  readonly #pools: OriginPools;
  readonly #hosts: HostBook;
  readonly #counters = new GatewayCounters();
  /** What rules are judged by. */
  readonly clock: RuleClock;
  #clockTimer: NodeJS.Timeout | undefined;

  /**
   * Starts both listeners.
   *
   * @throws {WartaError} `config-invalid`, or `socket-failed` when an address cannot be listened on.
   */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    try {
      if (gateway.#http) await listen(gateway.#http.server, options.http!);
      if (gateway.#https) await listen(gateway.#https.server, options.https!);
    } catch (error) {
      await gateway.stop(0);
      throw error;
    }
    return gateway;
  }

  private constructor(options: GatewayOptions) {
    const { clock = systemClock, origins } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const counters = this.#counters;
    this.clock = new RuleClock(clock, options.floorSeconds);
    this.#clockTimer = setInterval(() => this.clock.read(), CLOCK_MILLIS).unref();
    const connector = createConnector(options, clock);
    const { connectionsPerOrigin = 128, idleSeconds: originIdleSeconds = 30 } = origins;
    const waits = { headersSeconds: origins.headersSeconds ?? 60, bodySeconds: origins.bodySeconds ?? 120 };
    this.#pools = new OriginPools(connector, { connectionsPerOrigin, idleSeconds: originIdleSeconds, ...waits });
    const admission = new ClientAdmission(limits, new PrefixList(options.proxyProtocolFrom ?? []), counters);
    const time = () => this.clock;
    this.#hosts = new HostBook(options.rules, time);
    const hosts = this.#hosts;
    const answers = new NoticeAnswers(options.renderNotice ?? renderPlainNotice, options.blockedBy);
    const originPorts = origins.ports ?? DEFAULT_PORTS;
    const shared = { hosts, admission, counters, time };
    if (options.http) {
      this.#http = new HttpListener({ ...shared, ...waits, answers, pools: this.#pools, limits, originPorts });
    }
    if (options.https) {
      const { openingSeconds: helloSeconds, spliceIdleSeconds: idleSeconds } = limits;
      const originPort = originPorts[443] ?? 443;
      this.#https = new TlsListener({ ...shared, connector, originPort, helloSeconds, idleSeconds });
    }
  }

  /** Takes other rules into use for every request from now on. */
  setRules(rules: UrlRules): void {
    this.#hosts.replaceRules(rules);
  }

  /** Raises the time below which ends are never judged: a rule that has lapsed does not revive. */
  raiseFloor(seconds: number): void {
    this.clock.raiseFloor(seconds);
    this.clock.read();
  }

  get httpPort(): number {
    return portOf(this.#http?.server);
  }

  get httpsPort(): number {
    return portOf(this.#https?.server);
  }

  /** What metrics are read from. */
  get readings(): GatewayReadings {
    return {
      http: () => this.#counters.http,
      tls: () => this.#counters.tls,
      refusedConnections: () => this.#counters.refusedConnections,
      unenforceable: () => this.#counters.unenforceable,
      connections: () => ({ http: this.#http?.connections ?? 0, https: this.#https?.connections ?? 0 }),
    };
  }

  /** Takes no more connections, lets what is under way finish for `graceSeconds`, then closes the rest. */
  async stop(graceSeconds = 10): Promise<void> {
    const closed = Promise.all([closeServer(this.#http?.server), closeServer(this.#https?.server)]);
    this.#http?.closeIdle();
    const grace = new AbortController();
    await Promise.race([closed, sleep(graceSeconds * 1000, undefined, { signal: grace.signal }).catch(() => {})]);
    grace.abort();
    this.#http?.closeAll();
    this.#https?.closeAll();
    await closed;
    await this.#pools.destroy();
    clearInterval(this.#clockTimer);
  }
}

function createConnector({ origins }: GatewayOptions, clock: Clock): OriginConnector {
  const { resolvers } = origins;
  const source = 'resolve4' in resolvers ? resolvers : createAddressSource(resolvers);
  const listOwn = () => [...listOwnAddresses(), ...(origins.ownAddresses ?? [])];
  const policy = new AddressPolicy(listOwn, origins.allowedPrefixes ?? []);
  return new OriginConnector(new OriginResolver(source, policy, clock), (origins.connectSeconds ?? 5) * 1000);
}

function listOwnAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.map(({ address }) => address.replace(/%.*$/, ''));
}

async function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  server.listen({ host, port, backlog: BACKLOG });
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new WartaError('socket-failed', `cannot listen on ${host} port ${port}: is it in use?`, { cause });
  }
}

function portOf(server: Server | undefined): number {
  return (server?.address() as AddressInfo | null | undefined)?.port ?? 0;
}

function closeServer(server: Server | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (server === undefined) resolve();
    else server.close(() => resolve());
  });
}
