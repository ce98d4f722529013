import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { describeError, WartaError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { Gateway, type GatewayOptions, type ListenAddress } from '../gateway/gateway.ts';
import { createTableRules } from '../gateway/table-rules.ts';
import type { UrlRules } from '../gateway/url-rules.ts';
import { registerGatewayMetrics, registerGatewayRuleMetrics } from '../metrics/gateway-metrics.ts';
import { formatSocketAddress, parseSocketAddress } from '../resolver/socket-address.ts';
import { STEERING_DELAY_SECONDS } from '../rules/layout.ts';
import { RuleTable } from '../rules/rule-table.ts';
import type { ListKeeper } from '../sync/list-keeper.ts';
import {
  describeRegister,
  describeStep,
  type FollowedRegister,
  openMetrics,
  openRegister,
  readStep,
} from './follow-register.ts';
import { GatewayWording } from './gateway-wording.ts';
import { countOf } from './output.ts';

const HTTP_PORT = 80;
const HTTPS_PORT = 443;

/** How long a start with a saved list waits for the register as it is now. */
const CATCH_UP_MILLIS = 30_000;

/** The section of the configuration that a gateway needs. */
type GatewayConfig = NonNullable<Config['gateway']>;

/** A running gateway that follows the register. */
export interface GatewayNode {
  readonly gateway: Gateway;
  readonly keeper: ListKeeper;
  /** Where it listens, in words. */
  readonly listeners: string;
  /** Lets what is under way finish for `graceSeconds`, then closes it. */
  stop(graceSeconds?: number): Promise<void>;
}

/** What only some callers give. */
export interface GatewayStart {
  onProgress?(share: number): void;
  /** Which ports are asked at origins in place of the usual ones: `{ 80: 8080, 443: 8443 }`. */
  readonly originPorts?: GatewayOptions['origins']['ports'];
}

/**
 * Starts a gateway as the configuration says: the list as it is now first, then the listeners, then metrics, then the register
 * is followed.
 *
 * @throws {WartaError} `config-invalid` without a section `gateway`, `store-failed` without any list; others when it cannot
 *   serve. Nothing is left running.
 */
export async function startGateway(config: Config, log: Logger, start: GatewayStart = {}): Promise<GatewayNode> {
  const section = gatewaySection(config);
  warnOfSeldomLooks(config, log);
  const register = await openRegister(config, log, {
    mode: 'enforce',
    steersPages: true,
    onProgress: start.onProgress,
  });
  let gateway: Gateway | undefined;
  let inUse: RulesInUse;
  let metrics: FastifyInstance;
  try {
    const table = await catchUp(register);
    const wording = new GatewayWording(config.register.policyPack, config.answer.operator, register.nowSeconds);
    inUse = new RulesInUse(wording, log);
    gateway = await Gateway.start({
      ...gatewayOptions(section, start.originPorts),
      rules: inUse.take(table),
      renderNotice: (notice, request) => wording.render(notice, request),
      floorSeconds: register.floorSeconds,
    });
    metrics = await openGatewayMetrics(config, section, gateway, inUse, register);
  } catch (error) {
    await Promise.all([gateway?.stop(0), register.stop()]);
    throw error;
  }
  const running = gateway;
  const swap = (table: SharedArrayBuffer) => running.setRules(inUse.take(table));
  // One that came while the listeners were opened.
  if (register.keeper.last !== undefined && register.keeper.last.table !== inUse.table.buffer) {
    swap(register.keeper.last.table);
  }
  running.raiseFloor(register.floorSeconds);
  register.follow({ clock: running.clock, swap, raiseFloor: (seconds) => running.raiseFloor(seconds) });
  return {
    gateway,
    keeper: register.keeper,
    listeners: describeListeners(section),
    async stop(graceSeconds) {
      await Promise.all([running.stop(graceSeconds), register.stop(), metrics.close()]);
    },
  };
}

/** Resolvers lead people here `STEERING_DELAY_SECONDS` after a page was listed: whoever looks less often knows too late why. */
function warnOfSeldomLooks({ register: { mirrors, pollSeconds, rescanSeconds } }: Config, log: Logger): void {
  const [key, seconds] = mirrors === undefined ? ['rescanSeconds', rescanSeconds] : ['pollSeconds', pollSeconds];
  if (seconds <= STEERING_DELAY_SECONDS / 2) return;
  const most = STEERING_DELAY_SECONDS / 2;
  log.warn(
    `register.${key}: ${seconds} is too seldom for a gateway: hosts are refused until it knows of them; ${most} at most`,
  );
}

/**
 * Returns the list as the register has it now, or the saved one when the register cannot be read in time. A resolver starts
 * with a saved list that may be old, as no host is cut off by it; but whoever is led to a gateway that does not know why is
 * refused, at a host that nobody blocks. While nothing listens, nobody is led here.
 *
 * @throws {WartaError} `store-failed` when there is neither.
 */
async function catchUp({ keeper, table }: FollowedRegister): Promise<SharedArrayBuffer> {
  if (keeper.last === undefined) {
    await Promise.race([keeper.refresh(), sleep(CATCH_UP_MILLIS, undefined, { ref: false })]);
  }
  const list = keeper.last?.table ?? table;
  if (new RuleTable(list).source !== '') return list;
  throw new WartaError(
    'store-failed',
    `there is no list yet, and a gateway without one would refuse hosts that nobody blocks: ${keeper.failure}`,
  );
}

/**
 * Returns the section of a gateway.
 *
 * @throws {WartaError} `config-invalid` when the configuration has none.
 */
function gatewaySection({ gateway }: Config): GatewayConfig {
  if (gateway !== undefined) return gateway;
  throw new WartaError('config-invalid', 'the configuration has no section gateway: see config/gateway.yaml');
}

/** The rules that a gateway has in use, and what there is to say about them. */
class RulesInUse {
  table!: RuleTable;
  pages = { pages: 0, blockHostPages: 0 };
  /** Tables taken so far. */
  taken = 0;
  readonly #wording: GatewayWording;
  readonly #log: Logger;

  constructor(wording: GatewayWording, log: Logger) {
    this.#wording = wording;
    this.#log = log;
  }

  /** Returns the rules of a table, in the words of the pack that it was compiled with. */
  take(table: SharedArrayBuffer): UrlRules {
    try {
      this.#wording.refresh();
    } catch (error) {
      this.#log.error(`notice pages keep the wording of the earlier policy pack: ${describeError(error)}`);
    }
    const rules = createTableRules(table, (id, reference) => this.#wording.describe(id, reference));
    this.table = new RuleTable(table);
    this.pages = rules.countPages();
    this.taken++;
    return rules;
  }
}

function gatewayOptions(
  { http, https, blockedBy, proxyFrom, maxConnections, maxConnectionsPerClient, ...origins }: GatewayConfig,
  ports: GatewayStart['originPorts'],
): Omit<GatewayOptions, 'rules'> {
  return {
    http: listenAddress(http, HTTP_PORT),
    https: listenAddress(https, HTTPS_PORT),
    blockedBy,
    origins: {
      resolvers: origins.resolvers,
      ownAddresses: origins.ownAddresses,
      allowedPrefixes: origins.allowedOrigins,
      ports,
    },
    proxyProtocolFrom: proxyFrom,
    limits: { connections: maxConnections, connectionsPerClient: maxConnectionsPerClient },
  };
}

/** Where a listener listens, or nothing when it is off. */
function listenAddress(text: string, usualPort: number): ListenAddress | undefined {
  return text === '' ? undefined : parseSocketAddress(text, usualPort);
}

/** Says where the gateway of a configuration listens: `192.0.2.1:80 (HTTP), 192.0.2.1:443 (HTTPS)`. */
export function describeListeners({ http, https }: Pick<GatewayConfig, 'http' | 'https'>): string {
  const parts: string[] = [];
  if (http !== '') parts.push(`${formatSocketAddress(parseSocketAddress(http, HTTP_PORT))} (HTTP)`);
  if (https !== '') parts.push(`${formatSocketAddress(parseSocketAddress(https, HTTPS_PORT))} (HTTPS)`);
  return parts.join(', ');
}

function openGatewayMetrics(
  config: Config,
  section: GatewayConfig,
  gateway: Gateway,
  inUse: RulesInUse,
  register: FollowedRegister,
): Promise<FastifyInstance> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  registerGatewayMetrics(registry, gateway.readings);
  registerGatewayRuleMetrics(registry, {
    table: () => inUse.table,
    tableSwaps: () => inUse.taken,
    clockStepSeconds: () => readStep(gateway.clock),
  });
  const describeHealth = () => [
    describeListeners(section),
    `${countOf(inUse.table.ruleCount, 'rule')}, ${countOf(inUse.pages.pages, 'listed page')}`,
    ...describeRegister(config, register),
    ...describeStep(gateway.clock),
  ];
  return openMetrics(config, register, {
    registry,
    mode: 'enforce',
    rules: () => inUse.table.ruleCount,
    pages: () => inUse.pages,
    health: () => ({ serving: true, notes: describeHealth() }),
  });
}
