import { randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { FastifyInstance } from 'fastify';
import ipaddr from 'ipaddr.js';
import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { WartaError } from '../base/errors.ts';
import { type Config, countWorkers, readSystemResolvers } from '../config/config.ts';
import { type EncryptedReadings, registerResolverMetrics } from '../metrics/resolver-metrics.ts';
import type { EncryptedOptions } from '../resolver/encrypted/encrypted-service.ts';
import type { ResolverInformation } from '../resolver/local-zone.ts';
import { Resolver, type ResolverEvent, type ResolverOptions } from '../resolver/resolver.ts';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import type { ListKeeper } from '../sync/list-keeper.ts';
import {
  describeRegister,
  describeStep,
  type FollowedRegister,
  metricsAddress,
  openMetrics,
  openRegister,
  readStep,
} from './follow-register.ts';

const DNS_PORT = 53;
const DOT_PORT = 853;
const DOH_PORT = 443;

/** A running node: resolver, rule list, metrics. */
export interface Node {
  resolver: Resolver;
  keeper: ListKeeper;
  upstreams: SocketAddress[];
  metricsAddress: SocketAddress;
  stop(): Promise<void>;
}

/**
 * Starts a node as the configuration says: the saved or compiled table first, then the resolver, then metrics, then the
 * register is followed.
 *
 * @throws {WartaError} when it cannot serve; nothing is left running.
 */
export async function startNode(config: Config, log: Logger, onProgress?: (share: number) => void): Promise<Node> {
  const upstreams = findUpstreams(config);
  const register = await openRegister(config, log, {
    mode: config.resolver.mode,
    steersPages: config.resolver.gateway.addresses.length > 0,
    onProgress,
  });
  const { keeper, table, floorSeconds } = register;
  let resolver: Resolver | undefined;
  let metrics: FastifyInstance;
  try {
    resolver = await Resolver.start(resolverOptions(config, upstreams, table, floorSeconds, log));
    metrics = await openResolverMetrics(config, resolver, register, upstreams);
  } catch (error) {
    await Promise.all([resolver?.stop(), register.stop()]);
    throw error;
  }
  const running = resolver;
  register.follow(running);
  return {
    resolver,
    keeper,
    upstreams,
    metricsAddress: metricsAddress(config),
    async stop() {
      await Promise.all([running.stop(), register.stop(), metrics.close()]);
    },
  };
}

/**
 * Returns the upstreams of the configuration, or those of /etc/resolv.conf.
 *
 * @throws {WartaError} `config-invalid` when there is none, or when one is this node itself.
 */
export function findUpstreams(config: Config): SocketAddress[] {
  const { upstreams } = config.resolver;
  const listed = upstreams === 'system' ? readSystemResolvers(readFileSync('/etc/resolv.conf', 'utf8')) : upstreams;
  if (listed.length === 0) {
    throw new WartaError('config-invalid', 'resolver.upstreams: /etc/resolv.conf names no resolver; list some');
  }
  const parsed = listed.map((text) => parseSocketAddress(text, DNS_PORT));
  const listeners = config.resolver.listen.map((text) => parseSocketAddress(text, DNS_PORT));
  for (const upstream of parsed) {
    const text = formatSocketAddress(upstream);
    if (upstream.port === 0) throw new WartaError('config-invalid', `resolver.upstreams: ${text} has no port`);
    if (listeners.some((listener) => reaches(upstream, listener))) {
      throw new WartaError(
        'config-invalid',
        `resolver.upstreams: ${text} is this node itself: queries would go in circles`,
      );
    }
  }
  return parsed;
}

/** Whether messages to `address` arrive at the listener: the same address, or any of this host's for a wildcard. */
function reaches(address: SocketAddress, listener: SocketAddress): boolean {
  if (address.port !== listener.port || address.family !== listener.family) return false;
  const host = ipaddr.parse(address.host);
  const own = ipaddr.parse(listener.host);
  if (host.toNormalizedString() === own.toNormalizedString()) return true;
  if (own.range() !== 'unspecified') return false;
  const local = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const isLocal = local.some((one) => ipaddr.parse(one.address).toNormalizedString() === host.toNormalizedString());
  return isLocal || host.range() === 'loopback' || host.range() === 'unspecified';
}

function resolverOptions(
  config: Config,
  upstreams: SocketAddress[],
  table: SharedArrayBuffer,
  floorSeconds: number,
  log: Logger,
): ResolverOptions {
  const { resolver, answer } = config;
  return {
    listen: resolver.listen.map((text) => parseSocketAddress(text, DNS_PORT)),
    upstreams,
    io: resolver.io,
    workers: countWorkers(resolver.workers),
    settings: {
      allow: resolver.allow,
      responsesPerSecond: resolver.responsesPerSecond,
      rateLimitKey: randomInt(2 ** 32),
      cookieSecret: resolver.cookieSecret === undefined ? randomBytes(16) : Buffer.from(resolver.cookieSecret, 'hex'),
      observe: resolver.mode === 'observe',
      checkTargets: resolver.checkTargets,
      maxTtlSeconds: answer.maxTtlSeconds,
      structuredOption: answer.structuredErrorOption ?? -1,
      information: resolverInformation(config),
    },
    forward: {
      portsPerUpstream: resolver.portsPerUpstream,
      pendingSlots: resolver.maxPending,
      timeoutMillis: resolver.timeoutMillis,
      attempts: resolver.attempts,
      proxyProtocol: resolver.proxyProtocol,
    },
    streams: resolver.streams,
    encrypted: encryptedOptions(config),
    gateway: resolver.gateway.addresses.length === 0 ? undefined : resolver.gateway,
    health: resolver.health,
    table,
    floorSeconds,
    onEvent: (event) => logResolverEvent(log, event),
  };
}

/** What the resolver says about itself to clients that ask. */
function resolverInformation({ resolver, answer }: Config): ResolverInformation {
  const { name, addresses, infoUrl, dot, doh } = resolver.tls;
  const portOf = ([first]: readonly string[], usual: number) => first && parseSocketAddress(first, usual).port;
  return {
    ...{ name, addresses, infoUrl, dohPath: doh.path, soaMname: answer.soaMname, soaRname: answer.soaRname },
    forges: resolver.gateway.addresses.length > 0,
    dotPort: portOf(dot.listen, DOT_PORT) || undefined,
    dohPort: portOf(doh.listen, DOH_PORT) || undefined,
  };
}

/** How DoT and DoH are served, or nothing when neither has an address. */
function encryptedOptions({ resolver }: Config): EncryptedOptions | undefined {
  const { certificate, key, dot, doh, proxyFrom, idleSeconds, ...limits } = resolver.tls;
  if (dot.listen.length + doh.listen.length === 0) return undefined;
  return {
    certificate: certificate!,
    key: key!,
    dot: {
      listen: dot.listen.map((text) => parseSocketAddress(text, DOT_PORT)),
      maxPipelined: resolver.streams.maxPipelined,
    },
    doh: { ...doh, listen: doh.listen.map((text) => parseSocketAddress(text, DOH_PORT)) },
    limits,
    idleSeconds,
    proxyFrom,
  };
}

/** DoT and DoH for the metrics. */
function readEncrypted({ encrypted }: Resolver, nowSeconds: () => number): EncryptedReadings | undefined {
  return (
    encrypted && {
      counters: encrypted.counters,
      certificateRemainingSeconds: () => encrypted.certificate.expiresAtSeconds - nowSeconds(),
      certificateFailed: () => encrypted.certificate.failure !== '',
    }
  );
}

function openResolverMetrics(
  config: Config,
  resolver: Resolver,
  register: FollowedRegister,
  upstreams: readonly SocketAddress[],
): Promise<FastifyInstance> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const isUp = (upstream: number) => Atomics.load(resolver.monitor.up, upstream) === 1;
  registerResolverMetrics(registry, {
    counters: () => resolver.counters,
    categories: () => resolver.categories,
    table: () => resolver.table,
    upstreams: () => upstreams.map((upstream, i) => ({ name: formatSocketAddress(upstream), up: isUp(i) })),
    gateways: () => readGateways(config, resolver),
    streamConnections: () => resolver.streams.connectionCount,
    clockStepSeconds: () => readStep(resolver.clock),
    encrypted: readEncrypted(resolver, register.nowSeconds),
  });
  return openMetrics(config, register, {
    registry,
    mode: config.resolver.mode,
    rules: () => resolver.table.ruleCount,
    health: () => ({ serving: resolver.serving, notes: describeHealth(config, resolver, register) }),
  });
}

/** What `/healthz` says besides that the node serves. */
function describeHealth(config: Config, resolver: Resolver, register: FollowedRegister): string[] {
  const notes = [`mode ${config.resolver.mode}`, `${resolver.table.ruleCount} rules`];
  if (!resolver.serving) notes.push('a data-plane thread is down and being started again');
  const down = [...resolver.monitor.up].filter((up) => up === 0).length;
  if (down > 0) notes.push(`${down} of ${resolver.monitor.up.length} upstreams are down`);
  const dead = readGateways(config, resolver).filter(({ up }) => !up);
  if (dead.length > 0) {
    const names = dead.map(({ name }) => name).join(', ');
    notes.push(`no connection to the gateway ${names}: nobody is steered to it`);
  }
  notes.push(...describeRegister(config, register), ...describeCertificate(resolver, register.nowSeconds()));
  notes.push(...describeStep(resolver.clock));
  return notes;
}

/** The gateways, and which of them serve. */
function readGateways({ resolver: { gateway } }: Config, { gateways }: Resolver): { name: string; up: boolean }[] {
  return gateway.addresses.map((name, i) => ({ name, up: Atomics.load(gateways.up, i) === 1 }));
}

/** When the certificate of DoT and DoH ends, and what is wrong with the one on disk. */
function describeCertificate({ encrypted }: Resolver, nowSeconds: number): string[] {
  if (encrypted === undefined) return [];
  const { expiresAtSeconds, failure } = encrypted.certificate;
  const days = Math.floor((expiresAtSeconds - nowSeconds) / 86_400);
  const ends = new Date(expiresAtSeconds * 1000).toISOString();
  const notes = [
    days < 0 ? `the certificate expired at ${ends}` : `the certificate expires in ${days} days, at ${ends}`,
  ];
  if (failure !== '') notes.push(`the certificate on disk cannot be used, the earlier one stays: ${failure}`);
  return notes;
}

function logResolverEvent(log: Logger, event: ResolverEvent): void {
  if (event.kind === 'io') {
    if (event.reason === undefined) log.info(`datagram I/O: ${event.io}`);
    else log.warn(`datagram I/O: ${event.io}, because batches are not available: ${event.reason}`);
  } else if (event.kind === 'upstream') {
    const upstream = formatSocketAddress(event.upstream);
    if (event.up) log.info(`upstream ${upstream} answers again`);
    else log.warn(`upstream ${upstream} does not answer the health check`);
  } else if (event.kind === 'gateway') {
    if (event.up) log.info(`gateway ${event.address} accepts connections: hosts with listed pages are steered to it`);
    else log.warn(`gateway ${event.address} accepts no connection: nobody is steered to it, listed pages are open`);
  } else if (event.kind === 'certificate') {
    log.info(`another certificate is in use, until ${new Date(event.expiresAtSeconds * 1000).toISOString()}`);
  } else if (event.kind === 'certificate-failed') {
    log.error(`the certificate on disk cannot be used, the earlier one stays: ${event.reason}`);
  } else {
    log.error(`data-plane thread ${event.worker} died and is started again: ${event.reason}`);
  }
}
