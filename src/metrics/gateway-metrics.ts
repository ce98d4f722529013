import { Counter, Gauge, type Registry } from 'prom-client';
import { registerTableMetrics, type TableReadings } from './resolver-metrics.ts';

/** What the metrics of a running gateway are read from, at the moment of a scrape. */
export interface GatewayReadings {
  /** Since the start, by outcome. */
  http(): Readonly<Record<string, number>>;
  tls(): Readonly<Record<string, number>>;
  refusedConnections(): Readonly<Record<string, number>>;
  unenforceable(): number;
  /** Open connections from clients, by listener. */
  connections(): Readonly<Record<string, number>>;
}

/** Registers the metrics of the gateway. Labels are bounded: outcomes and listeners; never a name, never a client. */
export function registerGatewayMetrics(registry: Registry, readings: GatewayReadings): void {
  counter(registry, 'warta_gateway_requests_total', 'HTTP requests by what became of them.', 'outcome', readings.http);
  counter(
    registry,
    'warta_gateway_tls_connections_total',
    'HTTPS connections by what became of them; none is decrypted.',
    'outcome',
    readings.tls,
  );
  counter(
    registry,
    'warta_gateway_refused_connections_total',
    'Connections closed unread, by the limit.',
    'reason',
    readings.refusedConnections,
  );
  new Counter({
    name: 'warta_gateway_unenforceable_total',
    help: 'HTTPS connections to hosts with listed pages that were let through, because no page can be told apart there.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(readings.unenforceable());
    },
  });
  new Gauge({
    name: 'warta_gateway_connections',
    help: 'Open connections from clients.',
    labelNames: ['listener'],
    registers: [registry],
    collect() {
      for (const [listener, count] of Object.entries(readings.connections())) this.set({ listener }, count);
    },
  });
}

/** What the metrics of a gateway's rules are read from. */
export interface GatewayRuleReadings extends TableReadings {
  tableSwaps(): number;
}

/** Registers the metrics of the rules that a gateway has in use. Those that a resolver has too have the same names. */
export function registerGatewayRuleMetrics(registry: Registry, readings: GatewayRuleReadings): void {
  registerTableMetrics(registry, readings);
  new Counter({
    name: 'warta_table_swaps_total',
    help: 'Rule tables taken into use.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(readings.tableSwaps());
    },
  });
}

/** Registers a counter whose values live elsewhere. */
function counter(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  read: () => Readonly<Record<string, number>>,
): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count);
    },
  });
}
