import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import type { AddRoute } from '../http/route.ts';
import { TokenBuckets } from '../publishing/token-bucket.ts';
import type { ControlServices } from '../services.ts';
import type { Tables } from '../store.ts';
import { ChangeProbe } from './change-probe.ts';
import { addComplianceRoute } from './compliance-routes.ts';
import { countFigures, GROUPS, type Statistics, type StatisticsQuery } from './count-figures.ts';
import { type Cell, composeCsv, wantsCsv } from './csv.ts';
import { FIGURES, type Figures, SEALED_DEFINITION } from './figures.ts';
import { addMonths, month, monthOf } from './months.ts';

const TAG = 'Statistics';

/** Months of one answer at most. */
const MONTHS_MAX = 120;

/** Answers kept: what the last minute was asked for, in each form. */
const ANSWERS_KEPT = 200;

const MINUTE_SECONDS = 60;

/** Answers composed at once, and how often on average: anyone may ask, and each other span of months costs a count of it all. */
const BURST_ANSWERS = 60;
const ANSWERS_PER_SECOND = 1;

const count = z.int().min(0);

const figuresSchema = z.object({
  ...{ issued: count, entries: count, pages: count, httpOnlyPages: count, inForce: count, entriesInForce: count },
  ...{ expired: count, revoked: count, superseded: count, stayed: count },
  ...{ appealsLodged: count, appealsDecided: count, medianDays: z.number().optional() },
  ...{ overblocks: count, overblockHours: z.number() },
  ...{ takedownsRequested: count, takedownsRemoved: count },
});

const statisticsSchema = z.object({
  asOf: instant,
  /** Leaves of the register that were counted. */
  treeSize: count,
  from: month,
  to: month,
  group: z.enum(GROUPS),
  definitions: z.record(z.string(), z.object({ unit: z.string(), definition: z.string() })),
  rows: z.array(figuresSchema.extend({ group: z.string() })),
  total: figuresSchema,
  sealed: z.object({ definition: z.string(), months: z.array(z.object({ month, issued: count })) }),
});

/** An answer as it goes out. */
interface Answer {
  readonly text: string;
  readonly type: string;
}

/** Adds the routes of published figures, and of what an ISP publishes of its own compliance. */
export function addStatisticsRoutes(add: AddRoute, services: ControlServices): void {
  addComplianceRoute(add, services);
  const cache = new AnswerCache(services);
  add({
    route: 'GET /v1/statistics',
    summary: 'Count notices, appeals, overblocks and takedowns, each figure with its definition',
    tag: TAG,
    query: z.object({
      from: month.optional(),
      to: month.optional(),
      group: z.enum(GROUPS).default('month'),
      format: z.enum(['json', 'csv']).optional(),
    }),
    response: statisticsSchema,
    async handle({ query, headers, tables, nowSeconds }) {
      const asked = completeQuery(query, nowSeconds);
      const answer = await cache.answer(tables, asked, wantsCsv(query.format, headers.accept), nowSeconds);
      return {
        // Composed once for all who ask; it has the form that `response` describes.
        body: answer.text as never,
        headers: { 'content-type': answer.type, 'cache-control': 'public, max-age=30', vary: 'accept' },
      };
    },
  });
}

/** The last twelve months unless told otherwise. */
function completeQuery(
  query: Partial<StatisticsQuery> & Pick<StatisticsQuery, 'group'>,
  nowSeconds: number,
): StatisticsQuery {
  const to = query.to ?? monthOf(nowSeconds);
  const from = query.from ?? addMonths(to, -11);
  if (from > to) throw new WartaError('request-invalid', 'query.from: must not be after query.to');
  if (addMonths(from, MONTHS_MAX) <= to) {
    throw new WartaError('request-invalid', `query.from: ask for ${MONTHS_MAX} months at most`);
  }
  return { from, to, group: query.group };
}

/** Composes each answer once for a state of register and store and a minute, however many ask. */
class AnswerCache {
  readonly #services: ControlServices;
  readonly #probe = new ChangeProbe();
  readonly #answers = new Map<string, Promise<Answer>>();
  readonly #budget = new TokenBuckets(BURST_ANSWERS, ANSWERS_PER_SECOND);
  #state = '';

  constructor(services: ControlServices) {
    this.#services = services;
  }

  async answer(tables: Tables, query: StatisticsQuery, isCsv: boolean, nowSeconds: number): Promise<Answer> {
    const { register } = this.#services;
    const minute = Math.floor(nowSeconds / MINUTE_SECONDS);
    const state = `${register.revision} ${await this.#probe.read(tables)} ${minute}`;
    if (state !== this.#state) {
      this.#state = state;
      this.#answers.clear();
    }
    const key = `${query.from} ${query.to} ${query.group} ${isCsv}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    if (!this.#budget.take('', this.#services.clock.monotonicMillis())) {
      throw new WartaError('request-limited', 'too many different questions at once: ask again in a minute');
    }
    if (this.#answers.size >= ANSWERS_KEPT) this.#answers.delete(this.#answers.keys().next().value!);
    const answer = this.#compose(tables, query, isCsv, nowSeconds);
    this.#answers.set(key, answer);
    answer.catch(() => this.#answers.delete(key));
    return answer;
  }

  /** Reads in the state of whoever asked first, who waits for the answer as everyone else does. */
  async #compose(tables: Tables, query: StatisticsQuery, isCsv: boolean, nowSeconds: number): Promise<Answer> {
    const { register } = this.#services;
    const treeSize = register.size;
    const statistics = await countFigures(tables, register, query, nowSeconds);
    if (isCsv) return { text: composeStatisticsCsv(query, statistics), type: 'text/csv; charset=utf-8' };
    const { rows, total, sealed } = statistics;
    const body: z.input<typeof statisticsSchema> = {
      asOf: formatInstant(nowSeconds),
      treeSize,
      ...query,
      definitions: Object.fromEntries(FIGURES.map(({ name, ...rest }) => [name, rest])),
      rows: rows.map((row) => ({ ...row, ...roundFigures(row) })),
      total: roundFigures(total),
      sealed: { definition: SEALED_DEFINITION, months: [...sealed] },
    };
    return { text: JSON.stringify(body), type: 'application/json; charset=utf-8' };
  }
}

/** Returns figures with their fractions cut to what is meant by them. */
function roundFigures(figures: Figures): Figures {
  const { medianDays, overblockHours } = figures;
  const rounded = { ...figures, overblockHours: round(overblockHours) };
  return medianDays === undefined ? rounded : { ...rounded, medianDays: round(medianDays) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** One figure a line with its definition beside it, so that no figure is read without. */
export function composeStatisticsCsv({ from, to, group }: StatisticsQuery, statistics: Statistics): string {
  const lines: Cell[][] = [];
  const addRow = (by: string, name: string, figures: Figures) => {
    const rounded = roundFigures(figures);
    for (const { name: figure, unit, definition } of FIGURES) {
      lines.push([from, to, by, name, figure, rounded[figure], unit, definition]);
    }
  };
  for (const row of statistics.rows) addRow(group, row.group, row);
  addRow('total', '', statistics.total);
  for (const { month: name, issued } of statistics.sealed) {
    lines.push([from, to, 'month', name, 'sealedIssued', issued, 'notices', SEALED_DEFINITION]);
  }
  return composeCsv(['from', 'to', 'grouped_by', 'group', 'figure', 'value', 'unit', 'definition'], lines);
}
