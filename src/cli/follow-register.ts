import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { type RuleClock, systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { createMetricsServer, type Health } from '../metrics/metrics-server.ts';
import { registerLogMetrics, registerRegisterMetrics } from '../metrics/register-metrics.ts';
import { createKey, writePrivateKey } from '../register/key.ts';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import { type ListEvent, ListKeeper, type ListKeeperOptions } from '../sync/list-keeper.ts';
import { TimeFloor } from '../sync/time-floor.ts';
import { composeStatus, type NodeStatus } from './node-status.ts';

/** The node's own key: signs receipts, and asks for sealed annexes. */
export const NODE_KEY_FILE = 'node-key.pem';
/** Void statements written to the log one by one; the report has all of them. */
const MAX_LOGGED_VERDICTS = 100;
const METRICS_PORT = 9100;
/** How often the time floor follows the clock, first so long after the start: a clock set wrong at boot is right by then. */
const FLOOR_MILLIS = 600_000;

/** What enforces the rules of a node: a resolver, or a gateway. */
export interface RuleUser {
  readonly clock: RuleClock;
  /** Takes another table into use, whole. */
  swap(table: SharedArrayBuffer): void;
  /** Raises the time below which ends are never judged. */
  raiseFloor(seconds: number): void;
}

/** The register as a node follows it: its list, and the time that the node's rules are judged by. */
export interface FollowedRegister {
  readonly keeper: ListKeeper;
  /** The saved table, or one just compiled: what to start with. */
  readonly table: SharedArrayBuffer;
  readonly floorSeconds: number;
  nowSeconds(): number;
  /** Looks for news from now on; each new table and every raise of the floor goes to `user`. */
  follow(user: RuleUser): void;
  stop(): Promise<void>;
}

/** Opens the register that the configuration names. `mode` and `steersPages` are what receipts say of this node. */
export async function openRegister(
  config: Config,
  log: Logger,
  { mode, steersPages, onProgress }: Pick<ListKeeperOptions, 'mode' | 'steersPages' | 'onProgress'>,
): Promise<FollowedRegister> {
  const floor = new TimeFloor(join(config.state, 'time-floor.json'));
  const nowSeconds = () => Math.max(systemClock.wallMillis() / 1000, floor.seconds);
  let user: RuleUser | undefined;
  let timer: NodeJS.Timeout | undefined;
  const { soaMname, soaRname, operator, language } = config.answer;
  const keeper = new ListKeeper({
    ...placeOptions(config),
    packFile: config.register.policyPack,
    licensee: config.register.licensee,
    answer: { soaMname, soaRname, operator, language },
    mode,
    steersPages,
    state: config.state,
    nowSeconds,
    onTable: (table) => user?.swap(table),
    onEvent: (event) => {
      logListEvent(log, event);
      if (event.kind === 'compiled') raiseFloor(floor, user, event.list.newestSignedAtSeconds, log);
      if (event.kind === 'looked') raiseFloor(floor, user, event.status.freshAtSeconds, log);
    },
    onProgress,
  });
  const table = await keeper.open();
  return {
    keeper,
    table,
    get floorSeconds() {
      return floor.seconds;
    },
    nowSeconds,
    follow(running) {
      user = running;
      keeper.follow();
      timer = setInterval(() => keepFloor(floor, running, log), FLOOR_MILLIS);
    },
    stop() {
      clearInterval(timer);
      return keeper.stop();
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

/** Has the floor follow the clock. Starts follow a forward step only once it has stood for ten minutes: so does the floor. */
function keepFloor(floor: TimeFloor, user: RuleUser, log: Logger): void {
  const step = readStep(user.clock);
  raiseFloor(floor, user, user.clock.startSeconds, log);
  if (step > 1)
    log.warn(`the clock jumped by ${Math.round(step)} seconds: rules end by the later time, start by the earlier`);
}

/** Raises the floor in memory, on disk and where rules are judged. A full disk costs only the memory of it across a restart. */
function raiseFloor(floor: TimeFloor, user: RuleUser | undefined, seconds: number | undefined, log: Logger): void {
  if (seconds === undefined) return;
  try {
    floor.raise(seconds);
  } catch (error) {
    log.error({ err: error }, 'the time floor could not be kept');
  }
  user?.raiseFloor(floor.seconds);
}

/** How far apart the two readings of the time are now. */
export function readStep(clock: RuleClock): number {
  clock.read();
  return clock.stepSeconds;
}

/** What the metrics server of a node shows besides the register. */
export interface NodeFacts {
  /** Has the metrics of the node's own work. */
  readonly registry: Registry;
  readonly mode: 'enforce' | 'observe';
  /** Rules in use. */
  rules(): number;
  /** Listed pages in the table in use, of a gateway; otherwise those of the list last compiled. */
  pages?(): NonNullable<NodeStatus['pages']>;
  health(): Health;
}

/**
 * Adds the register's metrics and serves metrics, health and status.
 *
 * @throws {WartaError} `socket-failed` when the address cannot be listened on.
 */
export async function openMetrics(
  config: Config,
  { keeper, nowSeconds }: FollowedRegister,
  { registry, mode, rules, pages, health }: NodeFacts,
): Promise<FastifyInstance> {
  registerRegisterMetrics(
    registry,
    {
      verdicts: () => keeper.last?.verdictCounts ?? { ok: 0 },
      refusedEntries: () => keeper.last?.refusedCount ?? 0,
      pages: () => readPages(keeper, pages?.()),
      newestSignedAtSeconds: () => keeper.last?.newestSignedAtSeconds,
      readAtSeconds: () => keeper.readAtSeconds,
      compileSeconds: () => keeper.last?.seconds ?? 0,
    },
    nowSeconds,
  );
  if (config.register.mirrors !== undefined) registerLogMetrics(registry, () => keeper.status, nowSeconds);
  const app = createMetricsServer(registry, health, () =>
    composeStatus({
      config,
      mode,
      keeper,
      nowSeconds: nowSeconds(),
      health: health(),
      rules: rules(),
      pages: pages?.(),
    }),
  );
  const address = metricsAddress(config);
  try {
    await app.listen({ host: address.host, port: address.port });
  } catch (cause) {
    const text = formatSocketAddress(address);
    throw new WartaError('socket-failed', `cannot listen on ${text} (metrics): change metrics.listen`, { cause });
  }
  return app;
}

/** Listed pages for the metrics. A gateway knows them even when it runs on a saved table. */
function readPages({ pages: listed }: ListKeeper, inUse: NodeStatus['pages']): ListKeeper['pages'] {
  if (inUse === undefined) return listed;
  return { ...listed, pages: inUse.pages, httpOnlyPages: inUse.pages - inUse.blockHostPages };
}

/** Where a node's metrics are served. */
export function metricsAddress({ metrics }: Config): SocketAddress {
  return parseSocketAddress(metrics.listen, METRICS_PORT);
}

/** What `/healthz` says of the register: that it cannot be read, is older than it should be, or contradicts itself. */
export function describeRegister(config: Config, { keeper, nowSeconds }: FollowedRegister): string[] {
  const notes: string[] = [];
  if (keeper.failure !== '') notes.push(`the register could not be read or saved: ${keeper.failure}`);
  if (keeper.last === undefined) notes.push('the register has not been read since the start');
  notes.push(...describeAge(config, keeper, nowSeconds()));
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
  if (status.evidence > 0) notes.push('the log showed two histories: the status command tells where the proof is');
  return notes;
}

/** What `/healthz` says of a clock that jumped. */
export function describeStep(clock: RuleClock): string[] {
  const step = readStep(clock);
  return step > 1 ? [`the clock jumped by ${Math.round(step)} seconds; set it right and restart`] : [];
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
