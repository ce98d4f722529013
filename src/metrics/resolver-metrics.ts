import { Gauge, type Metric, type Registry } from 'prom-client';
import { ENCRYPTED_TRANSPORTS, type EncryptedCounters, type EncryptedTransport } from './encrypted-counters.ts';
import { ACTIONS, MAX_CATEGORIES, OUTCOMES, type SharedCounters, UPSTREAM_OUTCOMES } from './shared-counters.ts';

/** What the metrics of a running resolver are read from, at the moment of a scrape. */
export interface ResolverReadings extends TableReadings {
  /** Counters of every thread; the first are those of the event loop, which serves TCP. */
  counters(): readonly SharedCounters[];
  categories(): readonly string[];
  upstreams(): readonly { name: string; up: boolean }[];
  gateways(): readonly { name: string; up: boolean }[];
  streamConnections(): number;
  /** DoT and DoH, when they are served. */
  encrypted?: EncryptedReadings;
}

export interface EncryptedReadings {
  counters: Readonly<Record<EncryptedTransport, { queries: SharedCounters; connections: EncryptedCounters }>>;
  certificateRemainingSeconds(): number;
  certificateFailed(): boolean;
}

type Sample = { labels: Record<string, string>; value: number };

/** Sums over all threads. */
function sum(counters: readonly SharedCounters[], pick: (one: SharedCounters) => number): number {
  return counters.reduce((total, one) => total + pick(one), 0);
}

/**
 * Registers the metrics of the data plane. Labels are bounded: transports, outcomes, categories of the pack, actions,
 * configured upstreams; never a name, never a client.
 */
export function registerResolverMetrics(registry: Registry, readings: ResolverReadings): void {
  const { encrypted } = readings;
  const own = encrypted ? ENCRYPTED_TRANSPORTS.map((transport) => encrypted.counters[transport].queries) : [];
  const counters = () => [...readings.counters(), ...own];
  counter(registry, 'warta_queries_total', 'DNS messages from clients by transport and what became of them.', () =>
    readTransports(readings).flatMap(([transport, parts]) =>
      OUTCOMES.map((outcome, i) => ({ labels: { transport, outcome }, value: sum(parts, (one) => one.outcome(i)) })),
    ),
  );
  counter(
    registry,
    'warta_blocked_total',
    'Blocked answers by category and action; in observe mode, those it would have given.',
    () =>
      readings
        .categories()
        .slice(0, MAX_CATEGORIES)
        .flatMap((category, c) =>
          ACTIONS.map((action, a) => ({
            labels: { category, action },
            value: sum(counters(), (one) => one.blocked(c, a)),
          })),
        ),
  );
  counter(registry, 'warta_upstream_replies_total', 'How exchanges with upstream resolvers ended.', () =>
    UPSTREAM_OUTCOMES.map((outcome, i) => ({ labels: { outcome }, value: sum(counters(), (one) => one.upstream(i)) })),
  );
  counter(registry, 'warta_send_failures_total', 'Messages the kernel did not take.', () => [
    { labels: {}, value: sum(counters(), (one) => one.sendFailures) },
  ]);
  counter(registry, 'warta_table_swaps_total', 'Rule tables taken into use, counted once for each thread.', () => [
    { labels: {}, value: sum(counters(), (one) => one.swaps) },
  ]);
  histogram(
    registry,
    'warta_policy_evaluation_seconds',
    'Time to look one name up in the rules; one query in 64 is timed.',
    () => counters().map((one) => one.policySeconds),
  );
  histogram(
    registry,
    'warta_added_latency_seconds',
    "Time a UDP query and its answer spend in the sidecar, without the upstream's.",
    () => counters().map((one) => one.addedLatencySeconds),
  );
  registerTableMetrics(registry, readings);
  gauge(registry, 'warta_filter_false_positive_ratio', 'Filter probes that the exact table refuted, of all.', () => {
    const probes = sum(counters(), (one) => one.filterProbes);
    return probes === 0 ? 0 : sum(counters(), (one) => one.filterFalseHits) / probes;
  });
  gauge(registry, 'warta_pending_queries', 'Queries waiting for an upstream.', () =>
    sum(counters(), (one) => one.pending),
  );
  gauge(registry, 'warta_stream_connections', 'Open TCP connections from clients.', readings.streamConnections);
  upstreamGauge(registry, readings);
  sampledGauge(
    registry,
    'warta_gateway_up',
    'Whether a gateway accepts connections and is steered to.',
    ['gateway'],
    () => readings.gateways().map(({ name, up }) => ({ labels: { gateway: name }, value: up ? 1 : 0 })),
  );
  if (encrypted) registerEncryptedMetrics(registry, encrypted);
}

/** What the metrics of the table in use are read from, in a resolver and in a gateway. */
export interface TableReadings {
  table(): { ruleCount: number; sizeBytes: number; builtAtSeconds: number };
  clockStepSeconds(): number;
}

/** Registers the metrics of the table in use, and of the clock that its rules are judged by. */
export function registerTableMetrics(registry: Registry, readings: TableReadings): void {
  gauge(registry, 'warta_rules', 'Rules in the table in use.', () => readings.table().ruleCount);
  gauge(registry, 'warta_table_bytes', 'Octets of the table in use.', () => readings.table().sizeBytes);
  gauge(
    registry,
    'warta_table_built_timestamp_seconds',
    'When the table in use was compiled.',
    () => readings.table().builtAtSeconds,
  );
  gauge(
    registry,
    'warta_clock_step_seconds',
    'How far the clock jumped, as far as rules are still guarded against it.',
    readings.clockStepSeconds,
  );
}

/** The counters of each transport: of the event loop's, the first are TCP's. */
function readTransports({ counters, encrypted }: ResolverReadings): [string, readonly SharedCounters[]][] {
  const [loop, ...threads] = counters();
  return [
    ['tcp', loop === undefined ? [] : [loop]],
    ['udp', threads],
    ...(encrypted
      ? ENCRYPTED_TRANSPORTS.map((one): [string, SharedCounters[]] => [one, [encrypted.counters[one].queries]])
      : []),
  ];
}

/** Registers the metrics of DoT and DoH. */
function registerEncryptedMetrics(registry: Registry, readings: EncryptedReadings): void {
  const each = (read: (counters: EncryptedCounters) => readonly (readonly [Record<string, string>, number])[]) =>
    ENCRYPTED_TRANSPORTS.flatMap((transport) =>
      read(readings.counters[transport].connections).map(([labels, value]) => ({
        labels: { transport, ...labels },
        value,
      })),
    );
  counter(registry, 'warta_tls_handshakes_total', 'TLS handshakes completed, anew or with an earlier session.', () =>
    each((one) => [
      [{ session: 'new' }, one.fullHandshakes],
      [{ session: 'resumed' }, one.resumedHandshakes],
    ]),
  );
  counter(registry, 'warta_tls_failures_total', 'Connections to DoT and DoH that came to nothing, by reason.', () =>
    each((one) => [...one.failures].map(([reason, count]) => [{ reason }, count])),
  );
  sampledGauge(registry, 'warta_tls_connections', 'Open connections to DoT and DoH.', ['transport'], () =>
    each((one) => [[{}, one.connections]]),
  );
  const { doh } = readings.counters;
  gauge(registry, 'warta_doh_streams', 'HTTP requests that wait for an answer.', () => doh.connections.streams);
  counter(registry, 'warta_doh_responses_total', 'HTTP responses by status.', () =>
    [...doh.connections.statuses].map(([status, value]) => ({ labels: { status: String(status) }, value })),
  );
  counter(registry, 'warta_doh_reset_floods_total', 'HTTP/2 connections ended for resetting their streams.', () => [
    { labels: {}, value: doh.connections.resetFloods },
  ]);
  gauge(
    registry,
    'warta_tls_certificate_expires_seconds',
    'Time until the certificate in use expires; below zero it has.',
    () => readings.certificateRemainingSeconds(),
  );
  gauge(
    registry,
    'warta_tls_certificate_failed',
    'Whether the certificate on disk cannot be used and an earlier one is.',
    () => (readings.certificateFailed() ? 1 : 0),
  );
}

/** Registers a gauge with labels that is read when scraped. */
function sampledGauge(
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  read: () => Sample[],
): void {
  new Gauge({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      for (const { labels, value } of read()) this.set(labels, value);
    },
  });
}

/** Registers a gauge that is read when scraped. */
export function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

function upstreamGauge(registry: Registry, readings: ResolverReadings): void {
  new Gauge({
    name: 'warta_upstream_up',
    help: 'Whether an upstream resolver answers the health check.',
    labelNames: ['upstream'],
    registers: [registry],
    collect() {
      for (const { name, up } of readings.upstreams()) this.set({ upstream: name }, up ? 1 : 0);
    },
  });
}

/** Registers a counter whose values live elsewhere: prom-client asks a metric for its values by `get`. */
function counter(registry: Registry, name: string, help: string, read: () => Sample[]): void {
  registry.registerMetric({
    name,
    help,
    get: async () => ({ name, help, type: 'counter', aggregator: 'sum', values: read() }),
    reset() {},
  } as unknown as Metric);
}

interface HistogramCells {
  bounds: readonly number[];
  count(bucket: number): number;
  sum: number;
}

/** Registers a histogram whose buckets live in shared memory. */
function histogram(registry: Registry, name: string, help: string, read: () => readonly HistogramCells[]): void {
  const values = () => {
    const parts = read();
    const bounds = parts[0]?.bounds ?? [];
    let total = 0;
    const samples = [...bounds, Number.POSITIVE_INFINITY].map((bound, bucket) => {
      total += parts.reduce((all, one) => all + one.count(bucket), 0);
      const le = bound === Number.POSITIVE_INFINITY ? '+Inf' : String(bound);
      return { labels: { le }, value: total, metricName: `${name}_bucket` };
    });
    return [
      ...samples,
      { labels: {}, value: parts.reduce((all, one) => all + one.sum, 0), metricName: `${name}_sum` },
      { labels: {}, value: total, metricName: `${name}_count` },
    ];
  };
  registry.registerMetric({
    name,
    help,
    get: async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: values() }),
    reset() {},
  } as unknown as Metric);
}
