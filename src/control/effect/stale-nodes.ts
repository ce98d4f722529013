import { formatInstant } from '../../register/time.ts';
import { listAll } from '../nodes/list-all.ts';
import type { ControlServices } from '../services.ts';
import type { ReminderRecord, Tables } from '../store.ts';
import { findNodeState, type NodeState, SILENT_MINUTES } from './node-state.ts';

const KIND = 'node-stale';

/**
 * Raises `node.stale` for nodes that have fallen silent, once until they are heard again. For the minute's chores, in a
 * transaction of its own. Returns how many were raised.
 */
export async function tellStaleNodes(
  tables: Tables,
  { events, register }: Pick<ControlServices, 'events' | 'register'>,
  nowSeconds: number,
  silentMinutes = SILENT_MINUTES,
): Promise<number> {
  const open = await listAll(tables.reminders, { where: { kind: KIND, settledSeconds: null } });
  const told = new Map(open.map((reminder) => [reminder.subject, reminder]));
  let raised = 0;
  for (const node of await listAll(tables.nodes, { where: { revokedSeconds: null } })) {
    const state = await findNodeState(tables, register, node, nowSeconds, silentMinutes);
    const reminder = told.get(node.id);
    if (state.isSilent) told.delete(node.id);
    if (!state.isSilent || reminder !== undefined) continue;
    await tables.reminders.insert(composeReminder(state, nowSeconds, silentMinutes));
    await events.emit(tables, 'node.stale', describeStale(state), node.licensee);
    raised++;
  }
  // What is left was heard again, or is no more.
  for (const { id } of told.values()) await tables.reminders.update(id, { settledSeconds: nowSeconds });
  return raised;
}

function composeReminder({ node, last }: NodeState, nowSeconds: number, silentMinutes: number): ReminderRecord {
  const dueSeconds = Math.max(node.enrolledSeconds, last?.appliedSeconds ?? 0) + silentMinutes * 60;
  return {
    id: `${KIND}/${node.id}/${dueSeconds}/${nowSeconds}`,
    kind: KIND,
    subject: node.id,
    authority: '',
    dueSeconds,
    toldSeconds: nowSeconds,
    settledSeconds: null,
  };
}

function describeStale({ node, last, lag }: NodeState) {
  return {
    licensee: node.licensee,
    node: node.node,
    lag,
    ...(last === undefined ? {} : { lastReceiptAt: formatInstant(last.appliedSeconds), treeSize: last.treeSize }),
  };
}
