import { CompactRange, hashLeaf } from '../log/merkle.ts';
import type { PageCounts } from '../register/pages.ts';
import type { Receipt } from '../register/receipt.ts';
import { formatInstant, secondsOf } from '../register/time.ts';
import { isChange, isNotice, type KnownStatement } from '../register/verify-statement.ts';
import type { AuditRegister } from './audit-register.ts';
import { type Finding, type FindingCode, traceTo } from './finding.ts';
import type { ReceiptBook } from './receipt-files.ts';
import { ReceiptJudge, type ReceiptJudgement } from './receipt-judge.ts';
import {
  describeTiming,
  groupByNode,
  measureNode,
  type NodeHistory,
  summariseTimings,
  type Timing,
  type TimingSummary,
} from './timings.ts';

/** What is expected of nodes. */
export interface NodeExpectations {
  readonly nowSeconds: number;
  /** How long a release may take from its signature to its effect. */
  readonly releaseSeconds: number;
  /** How long a block may take, unless its notice says by when to comply. */
  readonly blockSeconds: number;
  /** How long a node may leave the newest statement unanswered. */
  readonly answerSeconds: number;
}

/** What receipts show: findings, and how fast each licensee was. */
export interface ReceiptAudit {
  readonly findings: readonly Finding[];
  readonly timings: readonly TimingSummary[];
}

/** Most nodes, statements and times listed as evidence of one finding. */
const MAX_LISTED = 20;

/** Holds receipts against the log: its roots, the lists it gives, and the time they took. */
export function auditReceipts(
  register: AuditRegister,
  book: ReceiptBook,
  expectations: NodeExpectations,
): ReceiptAudit {
  const histories = groupByNode(book.nodes, book.receipts);
  const timings = histories.flatMap((history) => [...measureNode(register, history, expectations.nowSeconds)]);
  const findings = [
    ...book.refused.map(describeRefused),
    ...findInLists(register, book.receipts),
    ...findSlow(register, timings, expectations),
    ...histories.flatMap((history) => [...findInHistory(register, history, expectations)]),
  ];
  return { findings, timings: summariseTimings(timings) };
}

function describeRefused({ path, reason }: ReceiptBook['refused'][number]): Finding {
  const summary = `${path} is no receipt of an enrolled node: ${reason}`;
  return { code: 'receipt-invalid', severity: 'warning', summary, evidence: { path, reason } };
}

/** Names the node that a receipt is of. */
function traceReceipt({ licensee, node }: Receipt) {
  return { licensee, node };
}

/** Checks the root and the list of every receipt. Those of one kind from one node are one finding. */
function findInLists(register: AuditRegister, receipts: readonly Receipt[]): Finding[] {
  const roots = computeRoots(register, new Set(receipts.map(({ treeSize }) => treeSize)));
  const judge = new ReceiptJudge(register);
  const findings = new Map<string, { finding: Finding; receipts: string[] }>();
  for (const receipt of receipts.toSorted((one, other) => one.treeSize - other.treeSize)) {
    const finding = findFork(receipt, roots) ?? describeJudgement(register, receipt, judge.judge(receipt));
    if (finding === undefined) continue;
    const key = `${receipt.licensee} ${receipt.node} ${finding.code} ${finding.statement} ${finding.summary}`;
    const known = findings.get(key);
    if (known === undefined) findings.set(key, { finding, receipts: [receipt.appliedAt] });
    else known.receipts.push(receipt.appliedAt);
  }
  return [...findings.values()].map(({ finding, receipts }) => ({
    ...finding,
    evidence: {
      ...finding.evidence,
      receipts: receipts.length,
      firstReceipt: receipts[0],
      lastReceipt: receipts.at(-1),
    },
  }));
}

/** Returns the root at each of these sizes that the log has. */
function computeRoots(register: AuditRegister, sizes: ReadonlySet<number>): Map<number, string> {
  const range = CompactRange.empty();
  const roots = new Map<number, string>();
  for (let size = 0; ; size++) {
    if (sizes.has(size)) roots.set(size, range.root().toString('hex'));
    if (size === register.size) return roots;
    range.append(hashLeaf(register.archive.leaf(size)));
  }
}

/** Finds a receipt of a log that is not this one: leaves were taken away or replaced, here or there. */
function findFork(receipt: Receipt, roots: ReadonlyMap<number, string>): Finding | undefined {
  const { treeSize, rootHash, licensee, node } = receipt;
  const root = roots.get(treeSize);
  if (root === rootHash) return undefined;
  const trace = traceReceipt(receipt);
  if (root === undefined) {
    const summary = `${licensee}/${node} applied a log of ${treeSize} leaves: this one is shorter`;
    return { code: 'log-shrunk', severity: 'error', summary, ...trace, evidence: { treeSize, rootHash } };
  }
  const summary = `${licensee}/${node} applied another log: its first ${treeSize} leaves are not those of this one`;
  return { code: 'log-forked', severity: 'error', summary, ...trace, evidence: { treeSize, rootHash, rootHere: root } };
}

/** Puts a judgement into words. */
function describeJudgement(
  register: AuditRegister,
  receipt: Receipt,
  judgement: ReceiptJudgement,
): Finding | undefined {
  const { licensee, node, treeSize, foldedAt, rulesDigest } = receipt;
  const who = `${licensee}/${node}`;
  const trace = traceReceipt(receipt);
  const evidence = { treeSize, foldedAt, rulesDigest };
  const about = (statement: KnownStatement) => ({ ...traceTo(statement, register.indexOf(statement.name)), ...trace });
  switch (judgement.kind) {
    case 'agrees':
      return undefined;
    case 'held': {
      const [first] = judgement.statements;
      const summary = `${who} held back ${listReferences(judgement.statements)}, as its receipt says`;
      return { code: 'receipt-held', severity: 'warning', summary, ...about(first!), evidence };
    }
    case 'stale': {
      const { culprit, ...finding } = describeStale(receipt, judgement);
      return { ...finding, ...about(culprit), evidence: { ...evidence, ...describeListOf(judgement.listOf) } };
    }
    case 'other-count': {
      const { kind: _, ...expected } = judgement;
      const { rules, refusedEntries } = receipt;
      const { entries: pages = 0, httpOnly: httpOnlyPages = 0 } = receipt.pages ?? {};
      const found = { rules, refusedEntries, pages, httpOnlyPages };
      const summary =
        rules === expected.rules && refusedEntries === expected.refusedEntries
          ? `${who} counts ${describePages(found)} in a list with ${describePages(expected)}`
          : `${who} made ${rules} rules of a list that makes ${expected.rules}`;
      const more = { ...evidence, found, expected };
      return { code: 'receipt-disagrees', severity: 'error', summary, ...trace, evidence: more };
    }
    case 'disagrees': {
      const summary = `${who} applied a list at ${foldedAt} that the log of ${treeSize} leaves does not give`;
      const more = { ...evidence, expected: judgement.rulesDigest };
      return { code: 'receipt-disagrees', severity: 'error', summary, ...trace, evidence: more };
    }
  }
}

function describePages({ pages, httpOnlyPages }: PageCounts): string {
  return `${pages} pages (${httpOnlyPages} on HTTP alone)`;
}

type StaleJudgement = Extract<ReceiptJudgement, { kind: 'stale' }>;

/** Says what it means that a node left statements out, or kept what had ended. A release weighs most. */
function describeStale({ licensee, node, foldedAt }: Receipt, { ignored, expired }: StaleJudgement) {
  const who = `${licensee}/${node}`;
  const releases = ignored.filter((one) => isChange(one) && one.statement.type !== 'resumption');
  const wider = releases.every(({ statement }) => statement.type === 'variation' && statement.exclude !== undefined);
  const [release] = releases;
  if (release !== undefined) {
    const code: FindingCode = wider ? 'scope-wider' : 'released-applied';
    const meaning = wider ? 'it blocks more than is ordered' : 'it blocks what was released';
    const summary = `${who} applied a list at ${foldedAt} without ${listReferences(ignored)}: ${meaning}`;
    return { code, severity: 'error', summary, culprit: release } as const;
  }
  const [notice] = expired;
  if (notice !== undefined) {
    const summary = `${who} still applied ${listReferences(expired)} at ${foldedAt}, after its end`;
    return { code: 'expired-applied', severity: 'error', summary, culprit: notice } as const;
  }
  const summary = `${who} applied a list at ${foldedAt} without ${listReferences(ignored)}: some names stay reachable`;
  return { code: 'receipt-disagrees', severity: 'error', summary, culprit: ignored[0]! } as const;
}

function describeListOf({ treeSize, atSeconds }: NonNullable<StaleJudgement['listOf']> = {}) {
  const listOf = atSeconds === undefined ? undefined : formatInstant(atSeconds);
  return { listOfTreeSize: treeSize, listOf };
}

function listReferences(statements: readonly KnownStatement[]): string {
  const references = statements.slice(0, MAX_LISTED).map(({ statement }) => statement.reference);
  const more = statements.length - references.length;
  return references.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Finds statements that took too long to reach a licensee: one finding each, with the nodes that were slow. */
function* findSlow(
  register: AuditRegister,
  timings: readonly Timing[],
  expectations: NodeExpectations,
): Generator<Finding> {
  const slow = timings.filter((timing) => timing.delaySeconds > allowedSeconds(register, timing, expectations));
  for (const group of Map.groupBy(slow, ({ statement, licensee }) => `${statement.id} ${licensee}`).values()) {
    const worst = group.reduce((one, other) => (other.delaySeconds > one.delaySeconds ? other : one));
    const { statement, licensee, direction, delaySeconds } = worst;
    const { type, reference } = statement.statement;
    const done = worst.appliedSeconds === undefined ? 'is not shown to be applied after' : 'took';
    yield {
      code: direction === 'release' ? 'release-slow' : 'block-slow',
      severity: direction === 'release' ? 'error' : 'warning',
      summary: `the ${type} ${reference} ${done} ${delaySeconds} seconds at ${licensee}, ${group.length} nodes`,
      ...traceTo(statement, register.indexOf(statement.name)),
      licensee,
      node: worst.node,
      evidence: {
        signed: formatInstant(statement.signedAtSeconds),
        integrated: formatInstant(statement.integratedAtSeconds),
        allowedSeconds: allowedSeconds(register, worst, expectations),
        nodes: group.slice(0, MAX_LISTED).map(describeTiming),
      },
    };
  }
}

/** How long a statement may take. */
function allowedSeconds(
  register: AuditRegister,
  { statement, direction, dueSeconds }: Timing,
  expectations: NodeExpectations,
): number {
  if (direction === 'release') return expectations.releaseSeconds;
  const complyBy = isNotice(statement) ? register.wholeNotice(statement).dates.complyBy : undefined;
  return complyBy === undefined ? expectations.blockSeconds : Math.max(0, secondsOf(complyBy) - dueSeconds);
}

/** Finds a node that fell silent, one that applies nothing, and one that enforces no page. */
function* findInHistory(
  register: AuditRegister,
  history: NodeHistory,
  expectations: NodeExpectations,
): Generator<Finding> {
  const { licensee, node, receipts } = history;
  const last = receipts.at(-1);
  const answered = last?.treeSize ?? 0;
  const open = answered < register.size ? (register.leafAt(answered).integratedAtSeconds ?? 0) : undefined;
  if (open !== undefined && expectations.nowSeconds - open > expectations.answerSeconds) {
    const since = last === undefined ? 'never sent a receipt' : `sent its last receipt for ${last.appliedAt}`;
    const summary = `${licensee}/${node} ${since} and leaves ${register.size - answered} statements unanswered`;
    const evidence = { lastReceipt: last?.appliedAt ?? null, treeSize: answered, unansweredSince: formatInstant(open) };
    yield { code: 'node-silent', severity: 'warning', summary, licensee, node, evidence };
  }
  if (last?.mode === 'observe') {
    const summary = `${licensee}/${node} only observes: it blocks nothing`;
    yield { code: 'node-observing', severity: 'note', summary, licensee, node, evidence: { since: last.appliedAt } };
  } else if (last?.pages?.steered === false) {
    const { entries, httpOnly } = last.pages;
    const summary = `${licensee}/${node} sends the hosts of ${entries} listed pages to no gateway: it blocks none of them`;
    const evidence = { since: last.appliedAt, pages: entries, httpOnlyPages: httpOnly };
    yield { code: 'pages-unenforced', severity: 'warning', summary, licensee, node, evidence };
  }
}
