import { Counter, Histogram, type Registry } from 'prom-client';

/** What the control API counts as it happens. */
export interface ControlMetrics {
  /** A node applied a statement so long after it was due. `kind` is `blocking` or `unblocking`. */
  observeEffect(kind: 'blocking' | 'unblocking', seconds: number): void;
  /** An attempt at a webhook ended. */
  countDelivery(outcome: 'delivered' | 'failed' | 'dead'): void;
}

/** From one poll of a node to a day. */
const EFFECT_BUCKETS = [5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600];

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
