import type { NodeRecord, ReceiptRecord, Tables } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';

/** Minutes without a receipt after which a node is silent: one comes with each heartbeat of the register, every hour. */
export const SILENT_MINUTES = 150;

/** What a node's last receipt says of it. */
export interface NodeState {
  readonly node: NodeRecord;
  readonly last?: ReceiptRecord;
  /** Leaves of the log that it had not applied. */
  readonly lag: number;
  /** No receipt for longer than a node at work would let pass. */
  readonly isSilent: boolean;
}

/** Returns how a node stands by its last receipt. One that never sent any is silent when it was enrolled that long ago. */
export async function findNodeState(
  tables: Pick<Tables, 'receipts'>,
  register: RegisterView,
  node: NodeRecord,
  nowSeconds: number,
  silentMinutes = SILENT_MINUTES,
): Promise<NodeState> {
  const [last] = await tables.receipts.list({
    where: { nodeId: node.id },
    orderBy: 'appliedSeconds',
    descending: true,
    limit: 1,
  });
  const heardSeconds = Math.max(node.enrolledSeconds, last?.appliedSeconds ?? 0);
  return {
    node,
    last,
    lag: Math.max(0, register.size - (last?.treeSize ?? 0)),
    isSilent: nowSeconds - heardSeconds > silentMinutes * 60,
  };
}
