import { WartaError } from '../base/errors.ts';
import type { Receipt } from '../register/receipt.ts';
import { reachOf } from '../register/statement.ts';
import { formatInstant, secondsOf } from '../register/time.ts';
import { isChange, isNotice, type KnownStatement } from '../register/verify-statement.ts';
import type { AuditRegister } from './audit-register.ts';

/** Unblocking is measured as strictly as blocking. A resumption blocks again. */
export type Direction = 'release' | 'block';

/** How long one statement took to reach one node. */
export interface Timing {
  readonly statement: KnownStatement;
  readonly direction: Direction;
  readonly licensee: string;
  readonly node: string;
  /** When it was due: signed, and not before the time it says itself. */
  readonly dueSeconds: number;
  /** When the node first said it applied a tree that holds it; absent while it has not. */
  readonly appliedSeconds?: number;
  /** From due to applied; to now while it is not. */
  readonly delaySeconds: number;
}

/** The receipts of one node, oldest first. */
export interface NodeHistory {
  readonly licensee: string;
  readonly node: string;
  readonly receipts: readonly Receipt[];
}

/** Sorts receipts by node; a node without any is there too. */
export function groupByNode(
  nodes: readonly { licensee: string; node: string }[],
  receipts: readonly Receipt[],
): NodeHistory[] {
  const histories = new Map<string, { licensee: string; node: string; receipts: Receipt[] }>();
  for (const { licensee, node } of nodes) histories.set(`${licensee} ${node}`, { licensee, node, receipts: [] });
  for (const receipt of receipts) {
    const history = histories.get(`${receipt.licensee} ${receipt.node}`);
    // A receipt was verified with its node's key, so its node is enrolled.
    if (history === undefined)
      throw new WartaError('receipt-invalid', `${receipt.licensee}/${receipt.node} is unknown`);
    history.receipts.push(receipt);
  }
  return [...histories.values()];
}

/**
 * Yields how long each statement took to reach a node. Those that were in the log before the node's first receipt are
 * left out: the node may not have been there.
 */
export function* measureNode(register: AuditRegister, history: NodeHistory, nowSeconds: number): Generator<Timing> {
  const { licensee, node, receipts } = history;
  if (receipts.length === 0) return;
  const rejected = receipts.map((receipt) => new Set(receipt.rejected.map(({ statement }) => statement)));
  const binds = createScope(register, licensee);
  let at = 0;
  for (const statement of register.read().statements) {
    const index = register.indexOf(statement.name);
    if (index < receipts[0]!.treeSize || !binds(statement)) continue;
    while (at < receipts.length && receipts[at]!.treeSize <= index) at++;
    let applied = at;
    while (applied < receipts.length && rejected[applied]!.has(`#${index}`)) applied++;
    const receipt = receipts[applied];
    const dueSeconds = Math.max(statement.signedAtSeconds, startOf(statement));
    const appliedSeconds = receipt && secondsOf(receipt.appliedAt);
    const delaySeconds = Math.max(0, (appliedSeconds ?? nowSeconds) - dueSeconds);
    yield { statement, direction: directionOf(statement), licensee, node, dueSeconds, appliedSeconds, delaySeconds };
  }
}

/** Returns whether a statement changes what a licensee must apply. */
function createScope(register: AuditRegister, licensee: string) {
  const addressed = (statement: KnownStatement) => {
    if (!isNotice(statement)) return false;
    const { recipients } = statement.statement;
    return 'all' in recipients || recipients.licensees.includes(licensee);
  };
  const byId = new Map(register.read().statements.map((statement) => [statement.id, statement]));
  return (statement: KnownStatement): boolean => {
    if (isNotice(statement)) return addressed(statement);
    if (!isChange(statement)) return false;
    const change = statement.statement;
    if (change.type === 'exemption' && change.licensee !== licensee) return false;
    const notice = reachOf(change)?.notice;
    const target = notice === undefined ? undefined : byId.get(notice);
    return target === undefined || addressed(target);
  };
}

function startOf({ statement, startSeconds }: KnownStatement): number {
  if (statement.type === 'notice') return startSeconds;
  return 'from' in statement ? secondsOf(statement.from) : 0;
}

function directionOf({ statement }: KnownStatement): Direction {
  return statement.type === 'notice' || statement.type === 'resumption' ? 'block' : 'release';
}

/** How one licensee did in one direction, all its nodes together, in seconds. */
export interface TimingSummary {
  readonly licensee: string;
  readonly direction: Direction;
  readonly applied: number;
  readonly pending: number;
  readonly medianSeconds?: number;
  readonly maxSeconds?: number;
  /** Reference of the statement that took longest. */
  readonly slowest?: string;
}

/** Sums timings up by licensee and direction. */
export function summariseTimings(timings: Iterable<Timing>): TimingSummary[] {
  const groups = Map.groupBy(timings, ({ licensee, direction }) => `${licensee} ${direction}`);
  return [...groups.values()].map((group) => {
    const applied = group.filter(({ appliedSeconds }) => appliedSeconds !== undefined);
    applied.sort((one, other) => one.delaySeconds - other.delaySeconds);
    return {
      licensee: group[0]!.licensee,
      direction: group[0]!.direction,
      applied: applied.length,
      pending: group.length - applied.length,
      medianSeconds: applied[applied.length >>> 1]?.delaySeconds,
      maxSeconds: applied.at(-1)?.delaySeconds,
      slowest: applied.at(-1)?.statement.statement.reference,
    };
  });
}

/** A timing as evidence. */
export function describeTiming({ node, dueSeconds, appliedSeconds, delaySeconds }: Timing) {
  const applied = appliedSeconds === undefined ? null : formatInstant(appliedSeconds);
  return { node, due: formatInstant(dueSeconds), applied, delaySeconds };
}
