import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describeError, WartaError } from '../base/errors.ts';
import {
  type EnrolledNode,
  NODES_MAX_BYTES,
  NodeRegistry,
  RECEIPT_MAX_BYTES,
  type Receipt,
  receiptListPath,
  verifyReceipt,
} from '../register/receipt.ts';
import { DAY_SECONDS, formatInstant } from '../register/time.ts';
import type { Mirror } from '../sync/mirror.ts';

/** Nodes' receipts as found in a register's tree. */
export interface ReceiptBook {
  readonly nodes: readonly EnrolledNode[];
  /** Receipts whose signature is that of the node they name, oldest first. */
  readonly receipts: readonly Receipt[];
  /** Files that are no such receipt, and why. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[];
}

/** Files read at once. */
const AT_ONCE = 16;
/** Largest list of one day's receipts. */
const LIST_MAX_BYTES = 64 * 1024 * 1024;

/**
 * Reads nodes.json and every receipt of a register's tree and verifies each. A folder is searched; a mirror behind HTTP
 * cannot be, so the lists of the days from `fromSeconds` to `toSeconds` are asked for.
 *
 * @throws {WartaError} what the mirror throws, `config-invalid` for a nodes.json that is none.
 */
export async function readReceipts(mirror: Mirror, fromSeconds: number, toSeconds: number): Promise<ReceiptBook> {
  const listed = await mirror.get({ path: 'nodes.json', maxBytes: NODES_MAX_BYTES });
  const registry = NodeRegistry.parse(listed.kind === 'absent' ? '[]' : listed.bytes.toString());
  const paths = /^https?:/.test(mirror.url) ? await listDays(mirror, fromSeconds, toSeconds) : listFolder(mirror.url);
  const receipts: Receipt[] = [];
  const refused: { path: string; reason: string }[] = [];
  await forEachOf([...new Set(paths)], async (path) => {
    try {
      const { kind, bytes } = await mirror.get({ path, maxBytes: RECEIPT_MAX_BYTES });
      if (kind === 'absent') throw new WartaError('receipt-invalid', 'it is listed and not there');
      receipts.push(verifyReceipt(bytes, (licensee, node) => registry.find(licensee, node)));
    } catch (error) {
      if (!(error instanceof WartaError)) throw error;
      refused.push({ path, reason: describeError(error) });
    }
  });
  receipts.sort((one, other) => compare(one.appliedAt, other.appliedAt) || one.treeSize - other.treeSize);
  refused.sort((one, other) => compare(one.path, other.path));
  return { nodes: registry.nodes, receipts, refused };
}

/** Finds the receipts in a copied tree. */
function listFolder(root: string): string[] {
  let entries: ReturnType<typeof readFolder>;
  try {
    entries = readFolder(join(root, 'receipts'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new WartaError('store-failed', `cannot read ${join(root, 'receipts')}: ${describeError(error)}`, {
      cause: error,
    });
  }
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.json'));
  return files.map((file) => relative(root, join(file.parentPath, file.name)));
}

function readFolder(folder: string) {
  return readdirSync(folder, { recursive: true, withFileTypes: true });
}

/** Reads the lists of receipts by day of arrival; a day without receipts has none. */
async function listDays(mirror: Mirror, fromSeconds: number, toSeconds: number): Promise<string[]> {
  const days: string[] = [];
  // A day more at the end: what was applied late in the day arrives the next.
  for (let at = fromSeconds; at <= toSeconds + DAY_SECONDS; at += DAY_SECONDS)
    days.push(formatInstant(at).slice(0, 10));
  const paths: string[] = [];
  await forEachOf(days, async (day) => {
    const { kind, bytes } = await mirror.get({ path: receiptListPath(day), maxBytes: LIST_MAX_BYTES });
    if (kind !== 'absent') paths.push(...bytes.toString().split('\n').filter(isReceiptPath));
  });
  return paths;
}

/** Whether a line of a list names a receipt; a list must not lead anywhere else. */
function isReceiptPath(line: string): boolean {
  return /^receipts\/[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+\.json$/.test(line) && !line.includes('..');
}

async function forEachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const drain = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, drain));
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
