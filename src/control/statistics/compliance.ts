import type { PageCounts } from '../../register/pages.ts';
import { reachOf } from '../../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../../register/time.ts';
import { Coverage } from '../effect/coverage.ts';
import { countNoticePages } from '../effect/statement-effect.ts';
import { concernsLicensee, dueSecondsOf } from '../effect/statement-reach.ts';
import { type Summary, sumUp } from '../effect/summary.ts';
import { listAll } from '../nodes/list-all.ts';
import type { NodeRecord, ReceiptRecord, Tables } from '../store.ts';
import type { NoticeStanding, PlacedNotice, PlacedStatement, RegisterView } from '../view/register-view.ts';
import { findInterruptions } from '../view/standing.ts';
import { Turns } from '../view/turns.ts';

/** How long a statement took at an ISP's nodes. */
export interface ComplianceTimes extends Summary {
  readonly dueSeconds: number;
  /** Nodes that were there when it was due, and of those the ones that have not applied it. */
  readonly nodes: number;
  readonly missing: number;
}

/** A notice addressed to an ISP. */
export interface ComplianceNotice {
  readonly notice: PlacedNotice;
  readonly standing: NoticeStanding;
  /** Of an open notice that lists pages. */
  readonly pages?: PageCounts;
  readonly blocking: ComplianceTimes;
  /** Of the statement that ended the notice as a whole, or stays it. */
  readonly unblocking?: ComplianceTimes & { readonly by: PlacedStatement };
}

/** A node of an ISP in the period. */
export interface ComplianceNode {
  readonly node: NodeRecord;
  readonly receipts: number;
  readonly lastSeconds?: number;
  /** Receipts that the register replayed agrees with, and that it does not. */
  readonly agreeing: number;
  readonly disagreeing: number;
  /** Where the node held back: receipts while it only observed, and the most entries and statements it ever refused. */
  readonly observing: number;
  readonly refusedEntries: number;
  readonly rejectedStatements: number;
  /** Receipts of lists with pages while the node sent their hosts to no gateway, and so blocked none of them. */
  readonly pagesNotSteered: number;
}

/** What an ISP can show of its compliance. */
export interface Compliance {
  readonly notices: readonly ComplianceNotice[];
  readonly nodes: readonly ComplianceNode[];
  readonly exemptions: readonly PlacedStatement[];
}

/** What is asked for: `fromSeconds <= t < toSeconds`. */
export interface ComplianceQuery {
  readonly licensee: string;
  readonly fromSeconds: number;
  readonly toSeconds: number;
}

type Counts = { -readonly [Key in keyof ComplianceNode]: ComplianceNode[Key] };

const PAGE = 1000;

/** Puts together what the register and an ISP's receipts say of its compliance in a period. */
export async function composeCompliance(
  tables: Tables,
  register: RegisterView,
  query: ComplianceQuery,
  nowSeconds: number,
): Promise<Compliance> {
  const { licensee, fromSeconds, toSeconds } = query;
  const nodes = await listAll(tables.nodes, { where: { licensee } });
  const turns = new Turns();
  const { coverages, counts } = await readReceipts(tables, nodes, query, turns);
  const isDue = (placed: PlacedStatement) => {
    const due = dueSecondsOf(placed);
    return fromSeconds <= due && due < Math.min(toSeconds, nowSeconds + 1);
  };
  const timesOf = (placed: PlacedStatement) => measure(placed, nodes, coverages);
  const notices: ComplianceNotice[] = [];
  for (const notice of register.notices()) {
    if (!isDue(notice)) continue;
    const standing = register.standingOf(notice.verified.id, nowSeconds, licensee);
    if (standing === undefined) continue;
    const by = findRelease(register, notice, nowSeconds, licensee);
    const unblocking = by && { ...timesOf(by), by };
    const pages = countNoticePages(register, notice);
    notices.push({
      notice,
      standing,
      ...(pages && { pages }),
      blocking: timesOf(notice),
      ...(unblocking && { unblocking }),
    });
    await turns.share();
  }
  const exemptions = register.statements().filter((placed) => {
    const { statement } = placed.verified;
    if (statement.type !== 'exemption' || !concernsLicensee(register, placed, licensee)) return false;
    return secondsOf(statement.from) < toSeconds && secondsOf(statement.until) > fromSeconds;
  });
  return { notices, nodes: [...counts.values()], exemptions };
}

/** Returns the first statement that let the names of a notice resolve again at the ISP as a whole. */
function findRelease(
  register: RegisterView,
  { verified }: PlacedNotice,
  nowSeconds: number,
  licensee: string,
): PlacedStatement | undefined {
  const [first] = findInterruptions(verified, register.changesOf(verified.id), nowSeconds, licensee)
    .filter(({ by, fromSeconds }) => by !== undefined && fromSeconds <= nowSeconds)
    .sort((one, other) => one.fromSeconds - other.fromSeconds);
  return first?.by;
}

function measure(
  placed: PlacedStatement,
  nodes: readonly NodeRecord[],
  coverages: ReadonlyMap<string, Coverage>,
): ComplianceTimes {
  const dueSeconds = dueSecondsOf(placed);
  const there = nodes.filter(
    ({ enrolledSeconds, revokedSeconds }) =>
      enrolledSeconds <= dueSeconds && (revokedSeconds ?? NO_END_SECONDS) > dueSeconds,
  );
  const seconds: number[] = [];
  let missing = 0;
  for (const node of there) {
    const applied = coverages.get(node.id)?.find(placed.index);
    if (applied !== undefined) seconds.push(Math.max(0, applied - dueSeconds));
    else if (node.revokedSeconds === null) missing++;
  }
  return { dueSeconds, nodes: there.length, missing, ...sumUp(seconds) };
}

/** Reads an ISP's receipts from the beginning of the period on: what fell due late in it may have been applied after it. */
async function readReceipts(
  tables: Tables,
  nodes: readonly NodeRecord[],
  { licensee, fromSeconds, toSeconds }: ComplianceQuery,
  turns: Turns,
): Promise<{ coverages: Map<string, Coverage>; counts: Map<string, Counts> }> {
  const coverages = new Map(nodes.map(({ id }) => [id, new Coverage()]));
  const counts = new Map(nodes.map((node) => [node.id, createCounts(node)]));
  let after: ReceiptRecord | undefined;
  for (;;) {
    const query = { where: { licensee, appliedSeconds: { from: fromSeconds } }, orderBy: 'appliedSeconds' as const };
    const page = await tables.receipts.list({ ...query, after, limit: PAGE });
    for (const receipt of page) {
      if (receipt.mode === 'enforce') coverages.get(receipt.nodeId)?.add(receipt.appliedSeconds, receipt.treeSize);
      const own = counts.get(receipt.nodeId);
      if (own !== undefined && receipt.appliedSeconds < toSeconds) countReceipt(own, receipt);
    }
    if (page.length < PAGE) return { coverages, counts };
    after = page.at(-1);
    await turns.share();
  }
}

function createCounts(node: NodeRecord): Counts {
  return {
    node,
    ...{ receipts: 0, agreeing: 0, disagreeing: 0, observing: 0, refusedEntries: 0, rejectedStatements: 0 },
    pagesNotSteered: 0,
  };
}

function countReceipt(
  counts: Counts,
  { agrees, mode, refusedEntries, rejected, appliedSeconds, pages }: ReceiptRecord,
): void {
  counts.receipts++;
  counts.lastSeconds = appliedSeconds;
  if (agrees === true) counts.agreeing++;
  if (agrees === false) counts.disagreeing++;
  if (mode === 'observe') counts.observing++;
  if (mode !== 'observe' && pages?.steered === false) counts.pagesNotSteered++;
  counts.refusedEntries = Math.max(counts.refusedEntries, refusedEntries);
  counts.rejectedStatements = Math.max(counts.rejectedStatements, Array.isArray(rejected) ? rejected.length : 0);
}

/** Names what an exemption is from. */
export function describeScope({ verified: { statement } }: PlacedStatement): string {
  if (statement.type !== 'exemption') return '';
  const { notice, entries, instrument, category } = reachOf(statement)!;
  if (instrument !== undefined) return `instrument ${instrument}`;
  if (category !== undefined) return `category ${category}`;
  return entries === undefined ? `notice ${notice}` : `${entries.length} entries of notice ${notice}`;
}
