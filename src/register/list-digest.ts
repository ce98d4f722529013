import { createHash } from 'node:crypto';
import type { EntryTable } from './annex.ts';
import type { FoldedNotice } from './fold.ts';
import type { KnownNotice } from './verify-statement.ts';

/**
 * Returns the lower-case hexadecimal SHA-256 of what is in force: the pack's digest, then one JSON line for each folded
 * notice in order of id, `[id, annex digest, windows, varied]`. A window is `[notBefore, notAfter]` in seconds since the
 * epoch; `varied` has `[entry id, windows, [[excluded name, from], …]]` for each entry that statements named, in the annex's
 * order. The same for every node of a licensee that folded the same statements for the same second, whatever the order and
 * the seed of its table: it is what a receipt states and what an audit computes again.
 */
export function digestList(folded: readonly FoldedNotice<KnownNotice>[], packSha256: string): string {
  const ordered = folded.toSorted(compareIds);
  const hash = createHash('sha256').update(`${packSha256}\n`);
  for (let at = 0; at < ordered.length; at += LINES_AT_ONCE) {
    hash.update(
      ordered
        .slice(at, at + LINES_AT_ONCE)
        .map(describeNotice)
        .join(''),
    );
  }
  return hash.digest('hex');
}

const LINES_AT_ONCE = 1_000;

function compareIds({ notice: one }: FoldedNotice<KnownNotice>, { notice: other }: FoldedNotice<KnownNotice>): number {
  return one.id < other.id ? -1 : 1;
}

/** Describes a notice in one line. Nearly none has entries that differ, so most lines need no serialiser. */
function describeNotice({ notice, entries, windows, varied }: FoldedNotice<KnownNotice>): string {
  const bounds = windows.map(({ notBefore, notAfter }) => `[${notBefore},${notAfter}]`).join();
  const differing = varied.size === 0 ? '[]' : JSON.stringify(describeVaried(varied, entries));
  return `["${notice.id}","${notice.statement.annex.digest}",[${bounds}],${differing}]\n`;
}

function describeVaried(varied: FoldedNotice['varied'], entries: EntryTable) {
  const inOrder = [...varied].sort(([one], [other]) => one - other);
  return inOrder.map(([at, { windows, exclusions }]) => [
    entries.id(at),
    windows.map(({ notBefore, notAfter }) => [notBefore, notAfter]),
    exclusions.map(({ name, fromSeconds }) => [name, fromSeconds]),
  ]);
}
