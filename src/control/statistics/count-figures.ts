import { NO_PAGES } from '../../register/pages.ts';
import { countNoticePages } from '../effect/statement-effect.ts';
import { sumUp } from '../effect/summary.ts';
import { listAll } from '../nodes/list-all.ts';
import type { AppealRecord, Tables, TakedownRecord } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';
import { Turns } from '../view/turns.ts';
import { createFigures, type Figures } from './figures.ts';
import { isWithin, listMonths, type Period, periodOf } from './months.ts';
import { measureForce, type NoticeHistory, traceNotice, wasInForce } from './notice-history.ts';

/** What figures can be grouped by. */
export const GROUPS = ['month', 'category', 'instrument', 'authority', 'agency'] as const;

/** What figures are grouped by. */
export type Group = (typeof GROUPS)[number];

const DAY_SECONDS = 86_400;
const HOUR_SECONDS = 3600;

/** What is asked for. Months are both included. */
export interface StatisticsQuery {
  readonly from: string;
  readonly to: string;
  readonly group: Group;
}

/** Figures of one group; its name is empty for what belongs to none. */
export interface FigureRow extends Figures {
  readonly group: string;
}

/** Figures of a register. */
export interface Statistics {
  readonly rows: readonly FigureRow[];
  /** The figures of the whole period, whatever the group. */
  readonly total: Figures;
  /** Sealed notices by month; nothing of them is in any row. */
  readonly sealed: readonly { readonly month: string; readonly issued: number }[];
}

/** What figures are counted from. Sealed notices, and appeals against them, are not among them. */
interface Material {
  readonly histories: readonly NoticeHistory[];
  readonly appeals: readonly { readonly record: AppealRecord; readonly history: NoticeHistory }[];
  readonly takedowns: readonly TakedownRecord[];
}

/** Counts figures as of now. */
export async function countFigures(
  tables: Tables,
  register: RegisterView,
  { from, to, group }: StatisticsQuery,
  nowSeconds: number,
): Promise<Statistics> {
  const turns = new Turns();
  const material = await gather(tables, register, nowSeconds, turns);
  const counting = new Counting(register, material, nowSeconds, turns);
  const whole = periodOf(from, to);
  const months = listMonths(from, to);
  const total = (await counting.count(whole, () => '')).get('') ?? createFigures();
  const rows: FigureRow[] = [];
  if (group === 'month') {
    for (const name of months) {
      const figures = (await counting.count(periodOf(name, name), () => '')).get('') ?? createFigures();
      rows.push({ group: name, ...figures });
    }
  } else {
    const counted = await counting.count(whole, (one) => one[group] ?? '');
    const names = [...counted.keys()].sort();
    rows.push(...names.map((name) => ({ group: name, ...counted.get(name)! })));
  }
  return { rows, total, sealed: months.map((name) => ({ month: name, issued: countSealed(register, name) })) };
}

async function gather(tables: Tables, register: RegisterView, nowSeconds: number, turns: Turns): Promise<Material> {
  const histories = new Map<string, NoticeHistory>();
  for (const notice of register.notices()) {
    if (notice.verified.statement.annex.sealed) continue;
    histories.set(notice.verified.id, traceNotice(register, notice, nowSeconds));
    await turns.share();
  }
  const appeals = (await listAll(tables.appeals)).flatMap((record) => {
    const history = histories.get(record.noticeId);
    return history === undefined ? [] : [{ record, history }];
  });
  return { histories: [...histories.values()], appeals, takedowns: await listAll(tables.takedowns) };
}

function countSealed(register: RegisterView, name: string): number {
  const period = periodOf(name, name);
  return register
    .notices()
    .filter(({ verified }) => verified.statement.annex.sealed && isWithin(verified.integratedAtSeconds, period)).length;
}

/** What something belongs to. */
type Belonging = Readonly<Partial<Record<Exclude<Group, 'month'>, string>>>;

function belongingOf({ notice }: NoticeHistory): Belonging {
  const { category, instrument, authority } = notice.verified.statement;
  return { category, instrument, authority, agency: notice.outline.agency };
}

/** Counts the figures of one period after another from the same material. */
class Counting {
  readonly #register: RegisterView;
  readonly #material: Material;
  readonly #nowSeconds: number;
  readonly #turns: Turns;

  constructor(register: RegisterView, material: Material, nowSeconds: number, turns: Turns) {
    this.#register = register;
    this.#material = material;
    this.#nowSeconds = nowSeconds;
    this.#turns = turns;
  }

  /** Returns the figures of each group that has any. */
  async count(period: Period, keyOf: (one: Belonging) => string): Promise<Map<string, Figures>> {
    const rows = new Map<string, Figures>();
    const rowOf = (one: Belonging) => {
      const key = keyOf(one);
      const row = rows.get(key) ?? createFigures();
      rows.set(key, row);
      return row;
    };
    for (const history of this.#material.histories) {
      this.#countNotice(history, period, () => rowOf(belongingOf(history)));
      await this.#turns.share();
    }
    const days = new Map<Figures, number[]>();
    for (const { record, history } of this.#material.appeals) {
      this.#countAppeal(record, history, period, () => rowOf(belongingOf(history)), days);
    }
    for (const [row, values] of days) row.medianDays = sumUp(values).medianSeconds;
    for (const takedown of this.#material.takedowns) {
      const { category, authority, agency, items, requestedSeconds, removedSeconds } = takedown;
      const belonging = { category, authority, agency: agency ?? undefined };
      if (isWithin(requestedSeconds, period)) rowOf(belonging).takedownsRequested += items;
      if (isWithin(removedSeconds, period)) rowOf(belonging).takedownsRemoved += items;
    }
    return rows;
  }

  #countNotice(history: NoticeHistory, period: Period, row: () => Figures): void {
    const { notice, issuedSeconds, endSeconds, endKind, stays } = history;
    const { entries } = notice.verified.statement.annex;
    if (isWithin(issuedSeconds, period)) {
      row().issued++;
      row().entries += entries;
      const { pages, httpOnlyPages } = countNoticePages(this.#register, notice) ?? NO_PAGES;
      row().pages += pages;
      row().httpOnlyPages += httpOnlyPages;
    }
    if (endKind !== undefined && endSeconds <= this.#nowSeconds && isWithin(endSeconds, period)) row()[endKind]++;
    const isPast = ({ fromSeconds }: { fromSeconds: number }) => fromSeconds <= this.#nowSeconds;
    if (stays.some((stay) => isPast(stay) && isWithin(stay.fromSeconds, period))) row().stayed++;
    const atSeconds = Math.min(period.toSeconds - 1, this.#nowSeconds);
    if (period.fromSeconds > this.#nowSeconds || !wasInForce(history, atSeconds)) return;
    const inForce = history.isVaried
      ? (this.#register.standingOf(notice.verified.id, atSeconds)?.entriesInForce ?? 0)
      : entries;
    if (inForce === 0) return;
    row().inForce++;
    row().entriesInForce += inForce;
  }

  #countAppeal(
    record: AppealRecord,
    history: NoticeHistory,
    period: Period,
    row: () => Figures,
    days: Map<Figures, number[]>,
  ): void {
    const { filedSeconds, decidedSeconds, outcome } = record;
    if (isWithin(filedSeconds, period)) row().appealsLodged++;
    if (decidedSeconds === null || !isWithin(decidedSeconds, period)) return;
    const figures = row();
    figures.appealsDecided++;
    const taken = days.get(figures) ?? [];
    taken.push((decidedSeconds - filedSeconds) / DAY_SECONDS);
    days.set(figures, taken);
    if (outcome !== 'overturned') return;
    figures.overblocks++;
    figures.overblockHours += measureForce(this.#register, history, record, this.#nowSeconds) / HOUR_SECONDS;
  }
}
