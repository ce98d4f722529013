import { Counter, Histogram, type Registry } from 'prom-client';
import { gauge } from './resolver-metrics.ts';

/** What the control API counts as it happens. */
export interface ControlMetrics {
  /** A node applied a statement so long after it was due. `kind` is `blocking` or `unblocking`. */
  observeEffect(kind: 'blocking' | 'unblocking', seconds: number): void;
  /** An attempt at a webhook ended. */
  countDelivery(outcome: 'delivered' | 'failed' | 'dead'): void;
}

/** Where one process of the control API stands. */
export interface ControlReadings {
  /** Leaves of the register that it has read. */
  size(): number;
  /** When the newest heartbeat was integrated, seconds since the epoch; 0 without one. */
  heartbeatSeconds(): number;
  /** Whether it has the sequencer. */
  isSequencing(): boolean;
}

/** From one poll of a node to a day. */
const EFFECT_BUCKETS = [5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600];

/** Registers where this process stands. */
export function registerControlReadings(registry: Registry, readings: ControlReadings): void {
  gauge(registry, 'warta_register_size', 'Leaves of the register that this process has read.', readings.size);
  gauge(
    registry,
    'warta_heartbeat_timestamp_seconds',
    'When the newest heartbeat was integrated.',
    readings.heartbeatSeconds,
  );
  gauge(registry, 'warta_sequencer', 'Whether this process has the sequencer.', () =>
    readings.isSequencing() ? 1 : 0,
  );
}

/** Registers the metrics of the control API: time to effect over all nodes, and what became of webhooks. */
export function registerControlMetrics(registry: Registry): ControlMetrics {
  const effect = new Histogram({
    name: 'warta_time_to_effect_seconds',
    help: 'Time from when a statement was due until a node applied it, by its receipt.',
    labelNames: ['kind'],
    buckets: EFFECT_BUCKETS,
    registers: [registry],
  });
  const deliveries = new Counter({
    name: 'warta_webhook_attempts_total',
    help: 'Attempts to deliver an event to a webhook, by how they ended.',
    labelNames: ['outcome'],
    registers: [registry],
  });
  return {
    observeEffect: (kind, seconds) => effect.observe({ kind }, seconds),
    countDelivery: (outcome) => deliveries.inc({ outcome }),
  };
}
