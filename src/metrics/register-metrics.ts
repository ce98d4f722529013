import { Gauge, type Registry } from 'prom-client';
import { gauge } from './resolver-metrics.ts';

/** What the last reading of the register came to. */
export interface RegisterReadings {
  /** Statements by verdict: `ok` or the code of the reason. */
  verdicts(): ReadonlyMap<string, number>;
  /** Entries that the node's guard-rails refused though they are signed. */
  refusedEntries(): number;
  /** When the newest good statement was signed, seconds since the epoch; undefined without one. */
  newestSignedAtSeconds(): number | undefined;
  /** When the register was last read without a failure. */
  readAtSeconds(): number;
  /** Seconds the last compilation took, from reading to the finished table. */
  compileSeconds(): number;
}

/** Registers the metrics of the register: how many statements stand, how many are void and why, how old the list is. */
export function registerRegisterMetrics(
  registry: Registry,
  readings: RegisterReadings,
  nowSeconds: () => number,
): void {
  new Gauge({
    name: 'warta_statements',
    help: 'Statements of the register by verdict: ok, or why one is void.',
    labelNames: ['verdict'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [verdict, count] of readings.verdicts()) this.set({ verdict }, count);
    },
  });
  gauge(
    registry,
    'warta_refused_entries',
    "Signed entries that the node's guard-rails refuse.",
    readings.refusedEntries,
  );
  gauge(registry, 'warta_list_age_seconds', 'Age of the newest good statement; -1 when there is none.', () => {
    const newest = readings.newestSignedAtSeconds();
    return newest === undefined ? -1 : nowSeconds() - newest;
  });
  gauge(
    registry,
    'warta_register_read_age_seconds',
    'Time since the register was last read without a failure.',
    () => nowSeconds() - readings.readAtSeconds(),
  );
  gauge(
    registry,
    'warta_compile_seconds',
    'Time the last compilation took, from reading to the table.',
    readings.compileSeconds,
  );
}
