import { DAY_SECONDS } from '../../register/time.ts';
import { listAll } from '../nodes/list-all.ts';
import type { NodeRecord, ReceiptRecord, Tables } from '../store.ts';
import type { PlacedStatement, RegisterView } from '../view/register-view.ts';
import { Turns } from '../view/turns.ts';
import { Coverage } from './coverage.ts';
import { concernsLicensee, dueSecondsOf, type EffectKind, kindOf } from './statement-reach.ts';
import { type Summary, sumUp } from './summary.ts';

/** The days that medians and worst times are of. */
export const PERIOD_DAYS = 30;

/** Rows written by other processes a little later than their time are looked for again. */
const OVERLAP_SECONDS = 120;
const PAGE = 1000;

/** How long a figure may be out of date. */
const KEPT_SECONDS = 60;

/** How long it took until a statement had its effect, at all nodes of an ISP. */
export interface EffectTimes extends Summary {
  /** Statements that concerned the ISP in the period. */
  readonly statements: number;
  /** Pairs of a statement and a node that has not applied it yet, and the longest that one has waited. */
  readonly pending: number;
  readonly longestPendingSeconds?: number;
}

/** Times to effect of one ISP. */
export type LicenseeEffect = Readonly<Record<EffectKind, EffectTimes>>;

/**
 * What receipts of the last days say, held in memory: some forty octets a list that a node applied. Reads only what is new
 * at each look.
 */
export class EffectBook {
  readonly #register: RegisterView;
  readonly #coverages = new Map<string, Coverage>();
  #lastSeconds = 0;
  #computed: { key: string; effects: Promise<Map<string, LicenseeEffect>> } | undefined;
  #reading: Promise<unknown> = Promise.resolve();

  constructor(register: RegisterView) {
    this.#register = register;
  }

  /** Returns the times to effect of each ISP that has nodes, over the last thirty days. */
  async measure(tables: Tables, nowSeconds: number): Promise<Map<string, LicenseeEffect>> {
    const key = `${Math.floor(nowSeconds / KEPT_SECONDS)} ${this.#register.revision}`;
    if (this.#computed?.key !== key) {
      const effects = this.#measure(tables, nowSeconds);
      this.#computed = { key, effects };
      effects.catch(() => {
        this.#computed = undefined;
      });
    }
    return this.#computed!.effects;
  }

  async #measure(tables: Tables, nowSeconds: number): Promise<Map<string, LicenseeEffect>> {
    const turns = new Turns();
    await this.#read(tables, nowSeconds, turns);
    const nodes = await listAll(tables.nodes, { where: { revokedSeconds: null } });
    const fromSeconds = nowSeconds - PERIOD_DAYS * DAY_SECONDS;
    const due = this.#register.statements().filter((placed) => {
      const seconds = dueSecondsOf(placed);
      return seconds >= fromSeconds && seconds <= nowSeconds;
    });
    const effects = new Map<string, LicenseeEffect>();
    for (const [licensee, own] of Map.groupBy(nodes, (node) => node.licensee)) {
      const concerned = due.filter((placed) => concernsLicensee(this.#register, placed, licensee));
      const byKind = Map.groupBy(concerned, kindOf);
      const times = async (kind: EffectKind) => this.#time(byKind.get(kind) ?? [], own, nowSeconds, turns);
      effects.set(licensee, { blocking: await times('blocking'), unblocking: await times('unblocking') });
    }
    return effects;
  }

  async #time(
    statements: readonly PlacedStatement[],
    nodes: readonly NodeRecord[],
    nowSeconds: number,
    turns: Turns,
  ): Promise<EffectTimes> {
    const seconds: number[] = [];
    let pending = 0;
    let longest = 0;
    const dues = statements.map(dueSecondsOf);
    for (const node of nodes) {
      const coverage = this.#coverages.get(node.id);
      for (let at = 0; at < statements.length; at++) {
        const due = dues[at];
        if (node.enrolledSeconds > due) continue; // it could not have known
        const applied = coverage?.find(statements[at].index);
        if (applied !== undefined) seconds.push(Math.max(0, applied - due));
        else {
          pending++;
          longest = Math.max(longest, nowSeconds - due);
        }
      }
      await turns.share();
    }
    const waits = pending === 0 ? {} : { longestPendingSeconds: longest };
    return { statements: statements.length, ...sumUp(seconds), pending, ...waits };
  }

  /** Takes in the receipts that came since the last look, one look at a time. */
  #read(tables: Tables, nowSeconds: number, turns: Turns): Promise<unknown> {
    const reading = this.#reading.then(() => this.#readNew(tables, nowSeconds, turns));
    this.#reading = reading.catch(() => {});
    return reading;
  }

  async #readNew(tables: Tables, nowSeconds: number, turns: Turns): Promise<void> {
    const from = Math.max(this.#lastSeconds - OVERLAP_SECONDS, nowSeconds - (PERIOD_DAYS + 1) * DAY_SECONDS);
    let after: ReceiptRecord | undefined;
    for (;;) {
      const query = { where: { receivedSeconds: { from } }, orderBy: 'receivedSeconds' as const, after, limit: PAGE };
      const page = await tables.receipts.list(query);
      for (const receipt of page) this.#take(receipt);
      if (page.length < PAGE) break;
      after = page.at(-1);
      await turns.share();
    }
  }

  /** Takes in a receipt; one that it has already changes nothing. */
  #take({ nodeId, mode, appliedSeconds, treeSize, receivedSeconds }: ReceiptRecord): void {
    this.#lastSeconds = Math.max(this.#lastSeconds, receivedSeconds);
    if (mode !== 'enforce') return; // whoever only observes blocks nothing
    const coverage = this.#coverages.get(nodeId) ?? new Coverage();
    this.#coverages.set(nodeId, coverage);
    coverage.add(appliedSeconds, treeSize);
  }
}
