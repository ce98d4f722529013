import { paint } from '../src/base/terminal.ts';
import type { PeerDefinition, PeerName } from './peers/peer.ts';
import { medianOf } from './statistics.ts';

/** One run at full speed. */
export interface SpeedSample {
  queriesPerSecond: number;
  cpuMicros: number;
  lost: number;
}

/** Everything measured of one peer, a value a round where there are rounds. */
export interface Samples {
  loadSeconds: number;
  /** Second start, from the compiled form; null for peers that have none. */
  reloadSeconds: number | null;
  residentMiB: number;
  blocked: SpeedSample[];
  forwarded: SpeedSample[];
  addedLatencyMicros: number[];
}

/** The figures of one peer in the JSON line; null where a peer has no such figure. */
export interface PeerFigures {
  blockedQps: number | null;
  blockedCpuMicros: number | null;
  forwardedQps: number | null;
  forwardedCpuMicros: number | null;
  loadSeconds: number;
  residentMiB: number;
  addedLatencyMicros: number | null;
}

/** Figures with what only the table shows. */
export interface PeerSummary {
  figures: PeerFigures;
  reloadSeconds: number | null;
  /** Blocked queries a second, a value a round: how steady the machine and a peer's caches were. */
  blockedByRound: number[];
  lost: number;
}

export type Figures = Map<PeerDefinition, PeerSummary>;

/** Returns samples of nothing yet. */
export function createSamples(): Samples {
  return { loadSeconds: 0, reloadSeconds: null, residentMiB: 0, blocked: [], forwarded: [], addedLatencyMicros: [] };
}

/** Takes the medians over the rounds. */
export function summarize(samples: Samples): PeerSummary {
  const { blocked, forwarded, addedLatencyMicros } = samples;
  const median = (values: number[], digits: number) => (values.length > 0 ? round(medianOf(values), digits) : null);
  return {
    figures: {
      blockedQps: median(
        blocked.map((run) => run.queriesPerSecond),
        0,
      ),
      blockedCpuMicros: median(
        blocked.map((run) => run.cpuMicros),
        2,
      ),
      forwardedQps: median(
        forwarded.map((run) => run.queriesPerSecond),
        0,
      ),
      forwardedCpuMicros: median(
        forwarded.map((run) => run.cpuMicros),
        2,
      ),
      loadSeconds: round(samples.loadSeconds, 2),
      residentMiB: round(samples.residentMiB, 0),
      addedLatencyMicros: median(addedLatencyMicros, 1),
    },
    reloadSeconds: samples.reloadSeconds === null ? null : round(samples.reloadSeconds, 2),
    blockedByRound: blocked.map((run) => round(run.queriesPerSecond, 0)),
    lost: [...blocked, ...forwarded].reduce((sum, run) => sum + run.lost, 0),
  };
}

/** How the bench was run, for the heading. */
export interface RunDescription {
  rules: number;
  seconds: number;
  rounds: number;
  queries: number;
  /** Queries a second of the echo upstream asked directly, a value a round. */
  ceilings: number[];
}

/** Returns the report for people: figures, Warta against the bars, and how each peer was configured. */
export function composeReport(figures: Figures, run: RunDescription): string {
  const heading = `${run.rules} names, ${run.queries} distinct queries, median of ${run.rounds} × ${run.seconds} s`;
  const sections = [paint('bold', heading), composeTable(figureRows(figures)), limitLines(run.ceilings)];
  const bars = barRows(figures);
  if (bars.length > 0) sections.push(paint('bold', 'Warta against its bars'), composeTable(bars));
  sections.push(paint('bold', 'Configuration'), ...noteLines(figures));
  return sections.join('\n');
}

const SPEED_COLUMNS = ['blocked q/s', 'CPU µs', 'forwarded q/s', 'CPU µs', 'added µs'];
const HEADING = ['peer', ...SPEED_COLUMNS, 'load s', 'reload s', 'MiB', 'lost'];

function figureRows(figures: Figures): string[][] {
  const rows = Array.from(figures, ([{ name }, { figures: each, reloadSeconds, lost }]) => [
    name,
    ...[each.blockedQps, each.blockedCpuMicros, each.forwardedQps, each.forwardedCpuMicros, each.addedLatencyMicros],
    ...[each.loadSeconds, reloadSeconds, each.residentMiB, lost],
  ]);
  return [HEADING, ...rows.map((row) => row.map((cell) => String(cell ?? '–')))];
}

/** What a reader must know of the limits of the measuring itself. */
function limitLines(ceilings: number[]): string {
  const rates = ceilings.map((rate) => round(rate, 0)).join(', ');
  return paint(
    'dim',
    `Echo upstream asked directly: ${rates} q/s by round, about the most that dnsperf can show.
Lost: queries of dnsperf's opening burst that a server's default receive buffer does not hold.`,
  );
}

function noteLines(figures: Figures): string[] {
  return Array.from(figures, ([{ name, description }, { blockedByRound }]) => {
    return `${name}: ${description}. Blocked q/s by round: ${blockedByRound.join(', ')}.`;
  });
}

/** A bar of Warta's: what is compared, its value, and whether the value meets it. */
function barRows(figures: Figures): string[][] {
  const byName = new Map<PeerName, PeerFigures>(Array.from(figures, ([{ name }, { figures: each }]) => [name, each]));
  const own = byName.get('warta');
  if (!own) return [];
  const others = Array.from(byName).filter(([name]) => name !== 'warta');
  const blocked = others.flatMap(([, each]) => each.blockedQps ?? []);
  const cpu = others.flatMap(([, each]) => each.blockedCpuMicros ?? []);
  const dnsdist = byName.get('dnsdist');
  const reloadSeconds = Array.from(figures).find(([{ name }]) => name === 'warta')?.[1].reloadSeconds ?? null;
  const ratio = (value: number | null, base: number | null | undefined) => {
    return value === null || base == null || !Number.isFinite(base) ? null : value / base;
  };
  return [
    ['figure', 'measured', 'bar', ''],
    bar('blocked q/s ÷ fastest peer', ratio(own.blockedQps, Math.max(...blocked)), '≥', 1.3),
    bar('CPU per blocked query ÷ best peer', ratio(own.blockedCpuMicros, Math.min(...cpu)), '≤', 0.75),
    bar('forwarded q/s ÷ dnsdist', ratio(own.forwardedQps, dnsdist?.forwardedQps), '≥', 1.25),
    bar('added median latency, µs', own.addedLatencyMicros, '≤', dnsdist?.addedLatencyMicros ?? null),
    bar('load from signed statements, s (for 1 M names)', own.loadSeconds, '≤', 6),
    bar('load from the saved table, s (for 1 M names)', reloadSeconds, '≤', 1),
  ];
}

function bar(label: string, value: number | null, relation: '≥' | '≤', limit: number | null): string[] {
  if (value === null || limit === null) return [label, '–', `${relation} ${limit ?? '–'}`, 'not measured'];
  const met = relation === '≥' ? value >= limit : value <= limit;
  const verdict = met ? paint('green', 'met') : paint('red', 'missed');
  return [label, value.toFixed(2), `${relation} ${limit}`, verdict];
}

/** Returns rows as columns: the first aligned left, the others right; the first row is the heading. */
function composeTable(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  '),
  );
  return [paint('dim', lines[0]), ...lines.slice(1)].join('\n');
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
