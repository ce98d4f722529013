import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EffectMeter } from '../../../src/control/effect/effect-meter.ts';
import { registerControlMetrics } from '../../../src/metrics/control-metrics.ts';
import type { Receipt } from '../../../src/register/receipt.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { EffectBench } from './effect-bench.ts';

let bench: EffectBench;
beforeEach(async () => {
  bench = await EffectBench.create();
});
afterEach(() => bench.close());

it('tells how long each statement took at each node, once', async () => {
  const seen: string[] = [];
  const meter = new EffectMeter(bench.view, (kind, seconds) => seen.push(`${kind} ${seconds}`));
  const take = async (node: string, changes: Partial<Receipt> = {}) => {
    await bench.view.catchUp();
    const appliedAt = formatInstant(bench.now);
    const receipt = { licensee: 'A', node, treeSize: bench.register.size, mode: 'enforce', appliedAt, ...changes };
    meter.take(receipt as Receipt);
  };
  const early = await bench.register.notice(['a.example']);
  bench.pass(5);
  await take('one');
  await take('two');
  expect(seen).toEqual([]); // nobody knows what they had before
  const notice = await bench.register.notice(['b.example'], { reference: 'N/2' });
  await bench.register.notice(['c.example'], { reference: 'N/3', recipients: { licensees: ['B'] } });
  bench.pass(10);
  await take('one');
  await take('one');
  bench.pass(10);
  await bench.register.revoke(notice.id);
  await bench.register.revoke(early.id);
  bench.pass(10);
  await take('two', { mode: 'observe' });
  await take('two', { treeSize: 3 });
  await take('one', { treeSize: 10_000 });
  expect(seen).toEqual(['blocking 10', 'blocking 30', 'unblocking 10', 'unblocking 10']);
});

it('is shown to Prometheus', async () => {
  const registry = new Registry();
  const metrics = registerControlMetrics(registry);
  metrics.observeEffect('unblocking', 12);
  metrics.countDelivery('dead');
  const text = await registry.metrics();
  expect(text).toContain('warta_time_to_effect_seconds_bucket{le="20",kind="unblocking"} 1');
  expect(text).toContain('warta_webhook_attempts_total{outcome="dead"} 1');
});
