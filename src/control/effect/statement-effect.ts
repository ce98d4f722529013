import { RELEASE_TYPES } from '../../register/authorities.ts';
import { countsOf, type PageCounts } from '../../register/pages.ts';
import { CLOCK_SKEW_SECONDS } from '../../register/verify-statement.ts';
import { listAll } from '../nodes/list-all.ts';
import type { NodeRecord, ReceiptRecord, Tables } from '../store.ts';
import type { PlacedStatement, RegisterView } from '../view/register-view.ts';
import { findInterruptions } from '../view/standing.ts';
import { Turns } from '../view/turns.ts';
import { concernsLicensee, dueSecondsOf } from './statement-reach.ts';
import { type Summary, sumUp } from './summary.ts';

/** A node that has not applied a statement after this long lags: it polls every ten seconds. */
export const LAG_SECONDS = 600;

/** What became of a statement at one node. */
export interface NodeEffect {
  readonly licensee: string;
  readonly node: string;
  /** When the first list with it came into use there. */
  readonly appliedSeconds?: number;
  /** Whether the register replayed comes to the same list; absent while that was not looked at. */
  readonly verified?: boolean;
  /** Of a notice that is over: when the names resolved again there. Of a release the same as applied. */
  readonly removedSeconds?: number;
  /** From when it was due until it was applied; absent for a node that was enrolled later. */
  readonly seconds?: number;
  /** Of a notice with pages: whether the node, as of its last receipt, sends their hosts to a gateway. */
  readonly pagesSteered?: boolean;
  /** Whether the node was there when it was due, and has not applied it. */
  readonly isMissing: boolean;
}

/** What became of a statement at the nodes that it concerns. */
export interface StatementEffect extends Summary {
  readonly dueSeconds: number;
  /** Of an open notice with pages: without a gateway a node that applied it blocks none of them. */
  readonly pages?: PageCounts;
  readonly nodes: readonly NodeEffect[];
  /** ISPs with a node that has waited, or did wait, too long. */
  readonly lagging: readonly string[];
}

/** Finds out where a statement has had its effect, from receipts. With `licensee` only at that ISP's nodes. */
export async function findStatementEffect(
  tables: Tables,
  register: RegisterView,
  placed: PlacedStatement,
  nowSeconds: number,
  licensee?: string,
): Promise<StatementEffect> {
  const dueSeconds = dueSecondsOf(placed);
  const where = { revokedSeconds: null, ...(licensee === undefined ? {} : { licensee }) };
  const pages = countNoticePages(register, placed);
  const nodes: NodeEffect[] = [];
  const turns = new Turns();
  for (const node of await listAll(tables.nodes, { where })) {
    if (!concernsLicensee(register, placed, node.licensee)) continue;
    const effect = await findNodeEffect(tables, register, placed, node, nowSeconds);
    nodes.push(pages === undefined ? effect : { ...effect, ...(await findSteering(tables, node, effect)) });
    await turns.share();
  }
  const seconds = nodes.flatMap((node) => (node.seconds === undefined ? [] : [node.seconds]));
  const isLate = (node: NodeEffect) =>
    (node.seconds ?? 0) > LAG_SECONDS || (node.isMissing && nowSeconds - dueSeconds > LAG_SECONDS);
  const lagging = [...new Set(nodes.filter(isLate).map((node) => node.licensee))];
  return { dueSeconds, ...(pages && { pages }), ...sumUp(seconds), nodes, lagging };
}

/** Counts the pages of an open notice; `undefined` when it has none. */
export function countNoticePages(register: RegisterView, { verified }: PlacedStatement): PageCounts | undefined {
  const { statement } = verified;
  if (statement.type !== 'notice' || statement.annex.sealed) return undefined;
  const pages = register.entriesOf(verified.id)?.urls.size ?? 0;
  return pages === 0 ? undefined : countsOf(statement, pages);
}

/** Finds out whether a node that applied a notice sends the hosts of its pages to a gateway now. */
async function findSteering(
  tables: Tables,
  node: NodeRecord,
  { appliedSeconds }: NodeEffect,
): Promise<Pick<NodeEffect, 'pagesSteered'>> {
  if (appliedSeconds === undefined) return {};
  const [last] = await tables.receipts.list({
    where: { nodeId: node.id, mode: 'enforce' },
    orderBy: 'appliedSeconds',
    descending: true,
    limit: 1,
  });
  return last === undefined || last.pages === null ? {} : { pagesSteered: last.pages.steered };
}

async function findNodeEffect(
  tables: Tables,
  register: RegisterView,
  placed: PlacedStatement,
  node: NodeRecord,
  nowSeconds: number,
): Promise<NodeEffect> {
  const dueSeconds = dueSecondsOf(placed);
  const wasThere = node.enrolledSeconds <= dueSeconds && dueSeconds <= nowSeconds;
  const common = { licensee: node.licensee, node: node.node };
  const receipt = await findFirstReceipt(tables, node, placed);
  if (receipt === undefined) return { ...common, isMissing: wasThere };
  const { appliedSeconds, agrees } = receipt;
  const removedSeconds = RELEASE_TYPES.has(placed.verified.statement.type)
    ? Math.max(appliedSeconds, dueSeconds)
    : await findRemoval(tables, register, placed, node, nowSeconds);
  return {
    ...common,
    appliedSeconds,
    ...(agrees === null ? {} : { verified: agrees }),
    ...(removedSeconds === undefined ? {} : { removedSeconds }),
    ...(wasThere ? { seconds: Math.max(0, appliedSeconds - dueSeconds) } : {}),
    isMissing: false,
  };
}

/** Returns a node's first receipt of a list with that statement in it. */
async function findFirstReceipt(
  tables: Tables,
  node: NodeRecord,
  { index, verified }: PlacedStatement,
): Promise<ReceiptRecord | undefined> {
  const [receipt] = await tables.receipts.list({
    where: {
      nodeId: node.id,
      mode: 'enforce',
      treeSize: { from: index + 1 },
      appliedSeconds: { from: verified.integratedAtSeconds - CLOCK_SKEW_SECONDS },
    },
    orderBy: 'appliedSeconds',
    limit: 1,
  });
  return receipt;
}

/** Returns when a notice that is over ended at a node; `undefined` while it is not, or no receipt proves it. */
async function findRemoval(
  tables: Tables,
  register: RegisterView,
  placed: PlacedStatement,
  node: NodeRecord,
  nowSeconds: number,
): Promise<number | undefined> {
  const notice = register.findNotice(placed.verified.id);
  if (notice === undefined) return undefined;
  const [end] = findInterruptions(notice.verified, register.changesOf(notice.verified.id), nowSeconds)
    .filter(({ kind, fromSeconds }) => kind !== 'stayed' && kind !== 'exempted' && fromSeconds <= nowSeconds)
    .sort((one, other) => one.fromSeconds - other.fromSeconds);
  if (end === undefined) return undefined;
  if (end.by !== undefined) {
    const receipt = await findFirstReceipt(tables, node, end.by);
    return receipt && Math.max(receipt.appliedSeconds, end.fromSeconds);
  }
  // Its own term ended: the node's clock did that, as the list it uses says when. It was still at work later.
  const [later] = await tables.receipts.list({
    where: { nodeId: node.id, mode: 'enforce', appliedSeconds: { from: end.fromSeconds } },
    orderBy: 'appliedSeconds',
    limit: 1,
  });
  return later && end.fromSeconds;
}
