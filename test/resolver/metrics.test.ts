import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { registerRegisterMetrics } from '../../src/metrics/register-metrics.ts';
import { registerResolverMetrics } from '../../src/metrics/resolver-metrics.ts';
import {
  ACTION,
  ACTIONS,
  COUNTER_BYTES,
  createCounterBuffer,
  LATENCY_BOUNDS,
  MAX_CATEGORIES,
  OUTCOME,
  OUTCOMES,
  POLICY_BOUNDS,
  SharedCounters,
  UPSTREAM_OUTCOME,
  UPSTREAM_OUTCOMES,
} from '../../src/metrics/shared-counters.ts';
import { composeOption, composeRecord, wireName } from '../dns/message.ts';
import { buildTable, CATEGORIES, NOW } from '../rules/fixture.ts';
import { CLIENT, CLIENT6, replyTo, TestPlane } from './fixture.ts';

/** A registry over the counters of these threads, the event loop's first. */
function createRegistry(counters: readonly SharedCounters[]): Registry {
  const registry = new Registry();
  registerResolverMetrics(registry, {
    counters: () => counters,
    categories: () => CATEGORIES,
    table: () => ({ ruleCount: 3, sizeBytes: 4_096, builtAtSeconds: NOW }),
    upstreams: () => [
      { name: '192.0.2.53:53', up: true },
      { name: '[2001:db8::53]:53', up: false },
    ],
    gateways: () => [{ name: '192.0.2.80', up: true }],
    streamConnections: () => 4,
    clockStepSeconds: () => 0,
  });
  return registry;
}

/** Every sample of the exposition by its name and labels. */
async function scrape(registry: Registry): Promise<Map<string, number>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const created = () => new SharedCounters(createCounterBuffer());

describe('SharedCounters', () => {
  it('keep every counter in a cell of its own, seen by another view of the block', () => {
    const buffer = createCounterBuffer();
    const writer = new SharedCounters(buffer);
    const reader = new SharedCounters(buffer);
    let next = 1;
    const expected: [() => number, number][] = [];
    const outcomes: [readonly unknown[], (i: number) => void, (i: number) => number][] = [
      [OUTCOMES, (i) => writer.addOutcome(i), (i) => reader.outcome(i)],
      [UPSTREAM_OUTCOMES, (i) => writer.addUpstream(i), (i) => reader.upstream(i)],
      ...ACTIONS.map((_, action): (typeof outcomes)[0] => [
        Array(MAX_CATEGORIES).fill(0),
        (category) => writer.addBlocked(category, action),
        (category) => reader.blocked(category, action),
      ]),
      [POLICY_BOUNDS, (i) => writer.policySeconds.observe(POLICY_BOUNDS[i]!), (i) => reader.policySeconds.count(i)],
      [
        [...LATENCY_BOUNDS, 0],
        (i) => writer.addedLatencySeconds.observe(LATENCY_BOUNDS[i] ?? 9),
        (i) => reader.addedLatencySeconds.count(i),
      ],
      [[0], () => writer.addSwap(), () => reader.swaps],
      [[0], () => writer.addSendFailures(1), () => reader.sendFailures],
    ];
    for (const [cells, act, read] of outcomes) {
      for (let i = 0; i < cells.length; i++) {
        const count = next++;
        for (let times = 0; times < count; times++) act(i);
        expected.push([() => read(i), count]);
      }
    }
    writer.setPending(next);
    expected.push([() => reader.pending, next]);
    writer.setFilter(next + 1, 5);
    expected.push([() => reader.filterProbes, next + 1]);
    for (const [read, count] of expected) expect(read()).toBe(count);
    expect(reader.filterFalseHits).toBe(5);
    expect(buffer.byteLength).toBe(COUNTER_BYTES);
  });

  it('hold sums of durations', () => {
    const { policySeconds } = created();
    policySeconds.observe(1e-7);
    policySeconds.observe(3e-7);
    expect(policySeconds.sum).toBeCloseTo(4e-7, 12);
  });
});

describe('the metrics of the resolver', () => {
  it('add up the threads, TCP apart from UDP', async () => {
    const [loop, first, second] = [created(), created(), created()];
    loop.addOutcome(OUTCOME.blocked);
    first.addOutcome(OUTCOME.blocked);
    first.addOutcome(OUTCOME.blocked);
    second.addOutcome(OUTCOME.blocked);
    for (const one of [loop, first, second]) {
      one.addBlocked(1, ACTION.nodata);
      one.addUpstream(UPSTREAM_OUTCOME.timed_out);
      one.addSendFailures(2);
      one.addSwap();
      one.setPending(10);
    }
    first.setFilter(1_000, 1);
    second.setFilter(3_000, 3);
    const samples = await scrape(createRegistry([loop, first, second]));
    expect(samples.get('warta_queries_total{transport="tcp",outcome="blocked"}')).toBe(1);
    expect(samples.get('warta_queries_total{transport="udp",outcome="blocked"}')).toBe(3);
    expect(samples.get('warta_blocked_total{category="gambling",action="nodata"}')).toBe(3);
    expect(samples.get('warta_blocked_total{category="scam",action="nodata"}')).toBe(0);
    expect(samples.get('warta_upstream_replies_total{outcome="timed_out"}')).toBe(3);
    expect(samples.get('warta_send_failures_total')).toBe(6);
    expect(samples.get('warta_table_swaps_total')).toBe(3);
    expect(samples.get('warta_pending_queries')).toBe(30);
    expect(samples.get('warta_filter_false_positive_ratio')).toBe(0.001);
    expect(samples.get('warta_rules')).toBe(3);
    expect(samples.get('warta_table_bytes')).toBe(4_096);
    expect(samples.get('warta_table_built_timestamp_seconds')).toBe(NOW);
    expect(samples.get('warta_stream_connections')).toBe(4);
    expect(samples.get('warta_upstream_up{upstream="192.0.2.53:53"}')).toBe(1);
    expect(samples.get('warta_upstream_up{upstream="[2001:db8::53]:53"}')).toBe(0);
  });

  it('give cumulative histograms that end with the count of all', async () => {
    const [loop, thread] = [created(), created()];
    for (const seconds of [4e-6, 1.5e-5, 1.5e-5, 3, 5e-6]) thread.addedLatencySeconds.observe(seconds);
    loop.addedLatencySeconds.observe(0.05);
    const samples = await scrape(createRegistry([loop, thread]));
    const bucket = (le: string) => samples.get(`warta_added_latency_seconds_bucket{le="${le}"}`);
    expect([bucket('0.000005'), bucket('0.00001'), bucket('0.00002'), bucket('0.1'), bucket('+Inf')]).toEqual([
      2, 2, 4, 5, 6,
    ]);
    expect(samples.get('warta_added_latency_seconds_count')).toBe(6);
    expect(samples.get('warta_added_latency_seconds_sum')).toBeCloseTo(3.050_039, 9);
    expect(samples.get('warta_policy_evaluation_seconds_bucket{le="+Inf"}')).toBe(0);
  });

  it('are described, with types, and bounded in labels', async () => {
    const text = await createRegistry([created(), created()]).metrics();
    const families = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
    expect(families.sort()).toEqual(
      [
        ...['warta_queries_total counter', 'warta_blocked_total counter', 'warta_upstream_replies_total counter'],
        ...['warta_send_failures_total counter', 'warta_table_swaps_total counter'],
        ...['warta_policy_evaluation_seconds histogram', 'warta_added_latency_seconds histogram'],
        ...['warta_rules gauge', 'warta_table_bytes gauge', 'warta_table_built_timestamp_seconds gauge'],
        ...['warta_filter_false_positive_ratio gauge', 'warta_pending_queries gauge', 'warta_stream_connections gauge'],
        ...['warta_clock_step_seconds gauge', 'warta_upstream_up gauge', 'warta_gateway_up gauge'],
      ].sort(),
    );
    for (const name of families.map((family) => family.split(' ')[0]!)) {
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.+\\.$`, 'm'));
    }
    const labels = [...text.matchAll(/[{,]([a-z_]+)="/g)].map(([, label]) => label!);
    expect([...new Set(labels)].sort()).toEqual([
      'action',
      'category',
      'gateway',
      'le',
      'outcome',
      'transport',
      'upstream',
    ]);
  });

  it('name no client and no name that was asked for', async () => {
    const test = new TestPlane({
      table: buildTable([{ name: 'secret.example' }]),
      settings: { responsesPerSecond: 3 },
    });
    const target = composeRecord({ owner: Uint8Array.of(0xc0, 12), type: 5, data: wireName('secret.example') });
    for (const client of [CLIENT, CLIENT6, '198.51.100.9:1']) {
      for (const name of ['secret.example', 'www.secret.example', 'private.example']) test.ask({ name }, client);
      test.ask({ name: 'alias.example', opt: { options: [composeOption(10, new Uint8Array(8))] } }, client);
      for (const { port, message } of test.io.forwards) test.reply(port, replyTo(message, [target]));
    }
    const text = await createRegistry([created(), test.counters]).metrics();
    expect(text).toMatch(/^warta_blocked_total\{category="scam",action="target_nodata"\} [1-9]/m);
    for (const told of ['192.0.2.7', '2001:db8::7', '198.51.100', '4444', 'secret', 'private', 'alias.example']) {
      expect(text).not.toContain(told);
    }
  });

  it('can be scraped before there is any thread', async () => {
    const samples = await scrape(createRegistry([]));
    expect(samples.get('warta_queries_total{transport="udp",outcome="blocked"}')).toBe(0);
    expect(samples.get('warta_added_latency_seconds_count')).toBe(0);
  });
});

describe('the metrics of the register', () => {
  it('follow the readings at the moment of the scrape', async () => {
    const registry = new Registry();
    const verdicts: Record<string, number> = { ok: 5, 'statement-unsigned': 1 };
    let newest: number | undefined;
    const readings = {
      verdicts: () => verdicts,
      refusedEntries: () => 2,
      pages: () => ({ pages: 5, httpOnlyPages: 3, pagesSteered: true }),
      newestSignedAtSeconds: () => newest,
      readAtSeconds: () => NOW - 30,
      compileSeconds: () => 0.25,
    };
    registerRegisterMetrics(registry, readings, () => NOW);
    const before = await scrape(registry);
    expect(before.get('warta_statements{verdict="statement-unsigned"}')).toBe(1);
    expect(before.get('warta_list_age_seconds')).toBe(-1);
    expect(before.get('warta_register_read_age_seconds')).toBe(30);
    expect(before.get('warta_refused_entries')).toBe(2);
    expect(before.get('warta_compile_seconds')).toBe(0.25);
    expect(before.get('warta_listed_pages{https="passed"}')).toBe(3);
    expect(before.get('warta_listed_pages{https="closed"}')).toBe(2);
    expect(before.get('warta_pages_steered')).toBe(1);
    delete verdicts['statement-unsigned'];
    newest = NOW - 3_600;
    const after = await scrape(registry);
    expect(after.has('warta_statements{verdict="statement-unsigned"}')).toBe(false);
    expect(after.get('warta_list_age_seconds')).toBe(3_600);
  });
});
