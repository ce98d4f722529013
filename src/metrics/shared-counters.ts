/**
 * Counters of one data-plane thread in shared memory: the thread adds with a plain store (it is the only writer), the main
 * thread reads when Prometheus scrapes. Doubles hold whole numbers exactly to 2^53.
 */

/** What became of a message, by transport: the label values of `warta_queries_total`. */
export const OUTCOMES = [
  'blocked',
  'observed',
  'forwarded',
  'refused_acl',
  'limited',
  'malformed',
  'not_implemented',
  'bad_version',
  'ignored',
  'overloaded',
  'local',
  'steered',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** How an upstream exchange ended: the label values of `warta_upstream_replies_total`. */
export const UPSTREAM_OUTCOMES = ['answered', 'retried', 'timed_out', 'refused', 'unmatched', 'truncated'] as const;
export type UpstreamOutcome = (typeof UPSTREAM_OUTCOMES)[number];

/** What a block answered: the label values of `action`. */
export const ACTIONS = ['nxdomain', 'nodata', 'target_nodata', 'redirect'] as const;

/** Categories that have a counter of their own. */
export const MAX_CATEGORIES = 64;

/** Upper bounds of the histogram of policy evaluation time, seconds. */
export const POLICY_BOUNDS = [5e-8, 1e-7, 1.5e-7, 2e-7, 3e-7, 4e-7, 6e-7, 8e-7, 1e-6, 2e-6, 4e-6, 1e-5, 1e-4] as const;

/** Upper bounds of the histogram of added latency, seconds. */
export const LATENCY_BOUNDS = [
  5e-6, 1e-5, 2e-5, 3e-5, 5e-5, 7.5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1,
] as const;

/** A histogram inside a counter block: one count for each bound, one above, the count of all and their sum. */
export class SharedHistogram {
  readonly #cells: Float64Array;
  readonly bounds: readonly number[];

  constructor(cells: Float64Array, bounds: readonly number[]) {
    this.#cells = cells;
    this.bounds = bounds;
  }

  /** Records one duration. */
  observe(seconds: number): void {
    const bounds = this.bounds;
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
    this.#cells[bucket]!++;
    this.#cells[bounds.length + 1]! += seconds;
  }

  /** Count above every bound and below, in bound order. */
  count(bucket: number): number {
    return this.#cells[bucket]!;
  }

  get sum(): number {
    return this.#cells[this.bounds.length + 1]!;
  }
}

/** Doubles a histogram takes. */
const histogramCells = (bounds: readonly number[]) => bounds.length + 2;

const OUTCOME_AT = 0;
const UPSTREAM_AT = OUTCOME_AT + OUTCOMES.length;
const BLOCKED_AT = UPSTREAM_AT + UPSTREAM_OUTCOMES.length;
const FILTER_AT = BLOCKED_AT + MAX_CATEGORIES * ACTIONS.length;
const SEND_FAILURES_AT = FILTER_AT + 2;
const SWAPS_AT = SEND_FAILURES_AT + 1;
const PENDING_AT = SWAPS_AT + 1;
const POLICY_AT = PENDING_AT + 1;
const LATENCY_AT = POLICY_AT + histogramCells(POLICY_BOUNDS);
const CELLS = LATENCY_AT + histogramCells(LATENCY_BOUNDS);

/** Octets of one block. */
export const COUNTER_BYTES = CELLS * 8;

/** A view of one thread's counters. */
export class SharedCounters {
  readonly policySeconds: SharedHistogram;
  readonly addedLatencySeconds: SharedHistogram;
  readonly #cells: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Float64Array(buffer);
    const part = (at: number, bounds: readonly number[]) =>
      new SharedHistogram(this.#cells.subarray(at, at + histogramCells(bounds)), bounds);
    this.policySeconds = part(POLICY_AT, POLICY_BOUNDS);
    this.addedLatencySeconds = part(LATENCY_AT, LATENCY_BOUNDS);
  }

  addOutcome(outcome: number): void {
    this.#cells[OUTCOME_AT + outcome]!++;
  }

  addUpstream(outcome: number): void {
    this.#cells[UPSTREAM_AT + outcome]!++;
  }

  addBlocked(category: number, action: number): void {
    this.#cells[BLOCKED_AT + (category % MAX_CATEGORIES) * ACTIONS.length + action]!++;
  }

  /** Takes the filter's running totals as they are. */
  setFilter(probes: number, falseHits: number): void {
    this.#cells[FILTER_AT] = probes;
    this.#cells[FILTER_AT + 1] = falseHits;
  }

  addSendFailures(count: number): void {
    this.#cells[SEND_FAILURES_AT]! += count;
  }

  addSwap(): void {
    this.#cells[SWAPS_AT]!++;
  }

  setPending(count: number): void {
    this.#cells[PENDING_AT] = count;
  }

  outcome(outcome: number): number {
    return this.#cells[OUTCOME_AT + outcome]!;
  }

  upstream(outcome: number): number {
    return this.#cells[UPSTREAM_AT + outcome]!;
  }

  blocked(category: number, action: number): number {
    return this.#cells[BLOCKED_AT + category * ACTIONS.length + action]!;
  }

  get filterProbes(): number {
    return this.#cells[FILTER_AT]!;
  }

  get filterFalseHits(): number {
    return this.#cells[FILTER_AT + 1]!;
  }

  get sendFailures(): number {
    return this.#cells[SEND_FAILURES_AT]!;
  }

  get swaps(): number {
    return this.#cells[SWAPS_AT]!;
  }

  get pending(): number {
    return this.#cells[PENDING_AT]!;
  }
}

/** Position of an outcome, for the hot path. */
export const OUTCOME = Object.fromEntries(OUTCOMES.map((name, i) => [name, i])) as Record<Outcome, number>;
export const UPSTREAM_OUTCOME = Object.fromEntries(UPSTREAM_OUTCOMES.map((name, i) => [name, i])) as Record<
  UpstreamOutcome,
  number
>;
export const ACTION = Object.fromEntries(ACTIONS.map((name, i) => [name, i])) as Record<
  (typeof ACTIONS)[number],
  number
>;

/** Makes a zeroed block. */
export function createCounterBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(COUNTER_BYTES);
}
