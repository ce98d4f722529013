import { Gauge, type Registry } from 'prom-client';
import { gauge } from './resolver-metrics.ts';

/** What the last reading of the register came to. */
export interface RegisterReadings {
  /** Statements by verdict: `ok` or the code of the reason. */
  verdicts(): Readonly<Record<string, number>>;
  /** Entries that the node's guard-rails refused though they are signed. */
  refusedEntries(): number;
  /** Entries of the list that list a page, those of them that hold on HTTP alone, and whether their hosts are sent to a gateway. */
  pages(): { readonly pages: number; readonly httpOnlyPages: number; readonly pagesSteered: boolean };
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
      for (const [verdict, count] of Object.entries(readings.verdicts())) this.set({ verdict }, count);
    },
  });
  gauge(
    registry,
    'warta_refused_entries',
    "Signed entries that the node's guard-rails refuse.",
    readings.refusedEntries,
  );
  new Gauge({
    name: 'warta_listed_pages',
    help: 'Entries that list a page, by what becomes of HTTPS to its host: closed, or passed (the page holds on HTTP alone).',
    labelNames: ['https'],
    registers: [registry],
    collect() {
      const { pages, httpOnlyPages } = readings.pages();
      this.set({ https: 'closed' }, pages - httpOnlyPages);
      this.set({ https: 'passed' }, httpOnlyPages);
    },
  });
  gauge(
    registry,
    'warta_pages_steered',
    'Whether the hosts of listed pages are sent to a gateway (1), or no page is enforced here (0).',
    () => Number(readings.pages().pagesSteered),
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

/** Where the node stands with the log; times in seconds since the epoch. */
export interface LogReadings {
  readonly size: number;
  readonly freshAtSeconds?: number;
  readonly trustExpiresSeconds?: number;
  readonly unwitnessed: number;
  readonly evidence: number;
  readonly receivedBytes: number;
  readonly receiptsQueued: number;
  readonly receiptsSent: number;
  readonly incidents: readonly { code: string; count: number }[];
}

/** Registers the metrics of following the log. `read` gives nothing before the first look. */
export function registerLogMetrics(
  registry: Registry,
  read: () => LogReadings | undefined,
  nowSeconds: () => number,
): void {
  const age = (seconds: number | undefined) => (seconds === undefined ? -1 : nowSeconds() - seconds);
  const add = (name: string, help: string, value: (readings: LogReadings) => number) =>
    gauge(registry, name, help, () => {
      const readings = read();
      return readings === undefined ? -1 : value(readings);
    });
  add('warta_log_size', 'Statements in the log as of the last checkpoint with its witnesses.', ({ size }) => size);
  add('warta_checkpoint_age_seconds', 'Time since a quorum of witnesses saw the log; -1 when none has.', (one) =>
    age(one.freshAtSeconds),
  );
  add(
    'warta_trust_remaining_seconds',
    'Time until the list of who may sign expires.',
    (one) => -age(one.trustExpiresSeconds),
  );
  add('warta_unwitnessed_statements', 'Statements that wait for witnesses.', (one) => one.unwitnessed);
  add('warta_log_contradictions', 'Pairs of checkpoints kept that contradict each other.', (one) => one.evidence);
  add('warta_sync_received_bytes', 'Octets received from mirrors since the start.', (one) => one.receivedBytes);
  add('warta_receipts_queued', 'Receipts that wait to be sent.', (one) => one.receiptsQueued);
  add('warta_receipts_sent', 'Receipts sent since the start.', (one) => one.receiptsSent);
  new Gauge({
    name: 'warta_sync_incidents',
    help: 'What was refused while following the register since the start, by code.',
    labelNames: ['code'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { code, count } of read()?.incidents ?? []) this.set({ code }, count);
    },
  });
}
