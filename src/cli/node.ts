import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import ipaddr from 'ipaddr.js';
import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import { type Config, countWorkers, readSystemResolvers } from '../config/config.ts';
import { createMetricsServer } from '../metrics/metrics-server.ts';
import { registerLogMetrics, registerRegisterMetrics } from '../metrics/register-metrics.ts';
import { type EncryptedReadings, registerResolverMetrics } from '../metrics/resolver-metrics.ts';
import { createKey, writePrivateKey } from '../register/key.ts';
import type { EncryptedOptions } from '../resolver/encrypted/encrypted-service.ts';
import type { ResolverInformation } from '../resolver/local-zone.ts';
import { Resolver, type ResolverEvent, type ResolverOptions } from '../resolver/resolver.ts';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { type ListEvent, ListKeeper, type ListKeeperOptions } from '../sync/list-keeper.ts';
import { TimeFloor } from '../sync/time-floor.ts';
import { composeStatus } from './node-status.ts';

/** Void statements written to the log one by one; the report has all of them. */
const MAX_LOGGED_VERDICTS = 100;
const DNS_PORT = 53;
const DOT_PORT = 853;
const DOH_PORT = 443;
const METRICS_PORT = 9100;
/** The node's own key: signs receipts, and asks for sealed annexes. */
export const NODE_KEY_FILE = 'node-key.pem';
/** How often the time floor follows the clock, first so long after the start: a clock set wrong at boot is right by then. */
const FLOOR_MILLIS = 600_000;

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
  const floor = new TimeFloor(join(config.state, 'time-floor.json'));
  const nowSeconds = () => Math.max(systemClock.wallMillis() / 1000, floor.seconds);
  let resolver: Resolver | undefined;
  const keeper = new ListKeeper({
    ...placeOptions(config),
    packFile: config.register.policyPack,
    licensee: config.register.licensee,
    answer: answerOptions(config),
    mode: config.resolver.mode,
    state: config.state,
    nowSeconds,
    onTable: (table) => resolver?.swap(table),
    onEvent: (event) => {
      logListEvent(log, event);
      if (event.kind === 'compiled') raiseFloor(floor, resolver, event.list.newestSignedAtSeconds, log);
      if (event.kind === 'looked') raiseFloor(floor, resolver, event.status.freshAtSeconds, log);
    },
    onProgress,
  });
  const upstreams = findUpstreams(config);
  const table = await keeper.open();
  let metrics: FastifyInstance;
  try {
    resolver = await Resolver.start(resolverOptions(config, upstreams, table, floor.seconds, log));
    metrics = await openMetrics(config, resolver, keeper, upstreams, nowSeconds);
  } catch (error) {
    await Promise.all([resolver?.stop(), keeper.stop()]);
    throw error;
  }
  keeper.follow();
  const running = resolver;
  const timer = setInterval(() => {
    // Starts follow a forward step only once it has stood for ten minutes: a glitch must not become the floor for good.
    running.clock.read();
    raiseFloor(floor, running, running.clock.startSeconds, log);
    const step = running.clock.stepSeconds;
    if (step > 1)
      log.warn(`the clock jumped by ${Math.round(step)} seconds: rules end by the later time, start by the earlier`);
  }, FLOOR_MILLIS);
  return {
    resolver,
    keeper,
    upstreams,
    metricsAddress: parseSocketAddress(config.metrics.listen, METRICS_PORT),
    async stop() {
      clearInterval(timer);
      await Promise.all([running.stop(), keeper.stop(), metrics.close()]);
    },
  };
}

/** Where the register is and what trust in it begins with. A node on a log gets a key of its own at its first start. */
function placeOptions({
  register,
  state,
}: Config): Pick<ListKeeperOptions, 'place' | 'anchorFile' | 'intervalSeconds'> {
  const { mirrors, sealed, receipts, node } = register;
  if (mirrors === undefined) {
    return {
      place: { kind: 'directory', directory: register.directory! },
      anchorFile: register.authorities!,
      intervalSeconds: register.rescanSeconds,
    };
  }
  const keyFile = join(state, NODE_KEY_FILE);
  if (!existsSync(keyFile)) writePrivateKey(keyFile, createKey().privatePem);
  return {
    place: { kind: 'log', mirrors, sealed, receipts, node, keyFile },
    anchorFile: register.root!,
    intervalSeconds: register.pollSeconds,
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

function answerOptions(config: Config): AnswerOptions {
  const { soaMname, soaRname, operator, language } = config.answer;
  return { soaMname, soaRname, operator, language };
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

async function openMetrics(
  config: Config,
  resolver: Resolver,
  keeper: ListKeeper,
  upstreams: readonly SocketAddress[],
  nowSeconds: () => number,
): Promise<FastifyInstance> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const isUp = (upstream: number) => Atomics.load(resolver.monitor.up, upstream) === 1;
  registerResolverMetrics(registry, {
    counters: () => resolver.counters,
    categories: () => resolver.categories,
    table: () => resolver.table,
    upstreams: () => upstreams.map((upstream, i) => ({ name: formatSocketAddress(upstream), up: isUp(i) })),
    streamConnections: () => resolver.streams.connectionCount,
    clockStepSeconds: () => readStep(resolver),
    encrypted: readEncrypted(resolver, nowSeconds),
  });
  registerRegisterMetrics(
    registry,
    {
      verdicts: () => keeper.last?.verdictCounts ?? { ok: 0 },
      refusedEntries: () => keeper.last?.refusedCount ?? 0,
      newestSignedAtSeconds: () => keeper.last?.newestSignedAtSeconds,
      readAtSeconds: () => keeper.readAtSeconds,
      compileSeconds: () => keeper.last?.seconds ?? 0,
    },
    nowSeconds,
  );
  if (config.register.mirrors !== undefined) registerLogMetrics(registry, () => keeper.status, nowSeconds);
  const health = () => ({ serving: resolver.serving, notes: describeHealth(config, resolver, keeper, nowSeconds()) });
  const app = createMetricsServer(registry, health, () =>
    composeStatus({ config, keeper, nowSeconds: nowSeconds(), health: health(), rules: resolver.table.ruleCount }),
  );
  const address = parseSocketAddress(config.metrics.listen, METRICS_PORT);
  try {
    await app.listen({ host: address.host, port: address.port });
  } catch (cause) {
    const text = formatSocketAddress(address);
    throw new WartaError('socket-failed', `cannot listen on ${text} (metrics): change metrics.listen`, { cause });
  }
  return app;
}

/** What `/healthz` says besides that the node serves. */
function describeHealth(config: Config, resolver: Resolver, keeper: ListKeeper, nowSeconds: number): string[] {
  const notes = [`mode ${config.resolver.mode}`, `${resolver.table.ruleCount} rules`];
  if (!resolver.serving) notes.push('a data-plane thread is down and being started again');
  const down = [...resolver.monitor.up].filter((up) => up === 0).length;
  if (down > 0) notes.push(`${down} of ${resolver.monitor.up.length} upstreams are down`);
  if (keeper.failure !== '') notes.push(`the register could not be read or saved: ${keeper.failure}`);
  if (keeper.last === undefined) notes.push('the register has not been read since the start');
  notes.push(...describeAge(config, keeper, nowSeconds), ...describeCertificate(resolver, nowSeconds));
  const step = readStep(resolver);
  if (step > 1) notes.push(`the clock jumped by ${Math.round(step)} seconds; set it right and restart`);
  return notes;
}

/** Alarms about a register that may be older than it should be, or that contradicts itself. */
function describeAge({ register }: Config, keeper: ListKeeper, nowSeconds: number): string[] {
  const notes: string[] = [];
  const { status } = keeper;
  const newest = keeper.last?.newestSignedAtSeconds;
  const ageHours = newest === undefined ? 0 : (nowSeconds - newest) / 3600;
  if (ageHours > register.staleAfterHours) notes.push(`the newest statement is ${Math.floor(ageHours)} hours old`);
  if (status === undefined) return notes;
  const ageMinutes = status.freshAtSeconds === undefined ? undefined : (nowSeconds - status.freshAtSeconds) / 60;
  if (ageMinutes === undefined) notes.push('no checkpoint with its witnesses has been seen');
  else if (ageMinutes > register.alarmAfterMinutes) {
    notes.push(
      `the witnesses last saw the log ${Math.floor(ageMinutes)} minutes ago: nothing newer has reached this node`,
    );
  }
  if (status.trustExpiresSeconds !== undefined && status.trustExpiresSeconds < nowSeconds) {
    notes.push('the list of who may sign has expired: new blocks wait, releases are applied');
  }
  if (status.unwitnessed > 0) notes.push(`${status.unwitnessed} statements wait for the log's witnesses`);
  if (status.evidence > 0) notes.push('the log showed two histories: warta resolver status tells where the proof is');
  return notes;
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

/** How far apart the two readings of the time are now. */
function readStep(resolver: Resolver): number {
  resolver.clock.read();
  return resolver.clock.stepSeconds;
}

/** Raises the floor in memory, on disk and in every thread. A full disk costs only the memory of it across a restart. */
function raiseFloor(floor: TimeFloor, resolver: Resolver | undefined, seconds: number | undefined, log: Logger): void {
  if (seconds === undefined) return;
  try {
    floor.raise(seconds);
  } catch (error) {
    log.error({ err: error }, 'the time floor could not be kept');
  }
  resolver?.raiseFloor(floor.seconds);
}

function logResolverEvent(log: Logger, event: ResolverEvent): void {
  if (event.kind === 'io') {
    if (event.reason === undefined) log.info(`datagram I/O: ${event.io}`);
    else log.warn(`datagram I/O: ${event.io}, because batches are not available: ${event.reason}`);
  } else if (event.kind === 'upstream') {
    const upstream = formatSocketAddress(event.upstream);
    if (event.up) log.info(`upstream ${upstream} answers again`);
    else log.warn(`upstream ${upstream} does not answer the health check`);
  } else if (event.kind === 'certificate') {
    log.info(`another certificate is in use, until ${new Date(event.expiresAtSeconds * 1000).toISOString()}`);
  } else if (event.kind === 'certificate-failed') {
    log.error(`the certificate on disk cannot be used, the earlier one stays: ${event.reason}`);
  } else {
    log.error(`data-plane thread ${event.worker} died and is started again: ${event.reason}`);
  }
}

function logListEvent(log: Logger, event: ListEvent): void {
  switch (event.kind) {
    case 'loaded':
      log.info(`saved table loaded: ${event.rules} rules in ${event.seconds.toFixed(2)} s`);
      break;
    case 'not-loaded':
      log.info({ code: event.code }, `no saved table is used: ${event.reason}`);
      break;
    case 'failed':
      log.error(
        { code: event.code },
        `the register could not be read or saved, the last good list stays: ${event.reason}`,
      );
      break;
    case 'incident':
      log.warn({ code: event.incident.code, count: event.incident.count }, `refused: ${event.incident.reason}`);
      break;
    case 'looked':
      break;
    case 'compiled':
      logCompiled(log, event);
  }
}

function logCompiled(log: Logger, { list }: Extract<ListEvent, { kind: 'compiled' }>): void {
  for (const { name, code, reason } of list.void.slice(0, MAX_LOGGED_VERDICTS)) {
    log.warn({ statement: name, code }, `void statement ${name}: ${reason}`);
  }
  if (list.voidCount > MAX_LOGGED_VERDICTS)
    log.warn(`${list.voidCount - MAX_LOGGED_VERDICTS} more void statements; see report.json`);
  if (list.refusedCount > 0) {
    log.warn(`${list.refusedCount} signed entries are refused by the guard-rails; see report.json`);
  }
  log.info(`${list.rules} rules from ${list.verdictCounts.ok} statements in ${list.seconds.toFixed(2)} s`);
}
