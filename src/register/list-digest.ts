import { createHash, hash } from 'node:crypto';
import type { EntryTable } from './annex.ts';
import type { FoldedNotice } from './fold.ts';
import type { KnownNotice } from './verify-statement.ts';

/**
 * Returns the lower-case hexadecimal SHA-256 of what is in force: over the policy pack's digest in hexadecimal, a line feed,
 * and then the digest of each folded notice (32 octets, see `digestNotice`) in order of the notices' ids. The same for every
 * node of a licensee that folded the same statements for the same second, whatever the order and the seed of its table: it
 * is what a receipt states and what an audit computes again.
 */
export function digestList(folded: readonly FoldedNotice<KnownNotice>[], packSha256: string): string {
  const ordered = folded.toSorted((one, other) => (one.notice.id < other.notice.id ? -1 : 1));
  return combineDigests(ordered.map(digestNotice), packSha256);
}

/** Returns the digest of a list from those of its notices, which are in order of id. */
export function combineDigests(digests: readonly string[], packSha256: string): string {
  const digest = createHash('sha256').update(`${packSha256}\n`);
  for (let at = 0; at < digests.length; at += DIGESTS_AT_ONCE) {
    digest.update(digests.slice(at, at + DIGESTS_AT_ONCE).join(''), 'latin1');
  }
  return digest.digest('hex');
}

const DIGESTS_AT_ONCE = 1_000;

/**
 * Returns the SHA-256 of one folded notice as 32 characters of Latin-1, over the JSON `[id, annex digest, windows, differing]`.
 * A window is `[notBefore, notAfter]` in seconds since the epoch. `differing` has `[entry id, windows, [[excluded name,
 * from], …]]` for each entry that statements named, in the annex's order.
 */
export function digestNotice({ notice, entries, windows, varied }: FoldedNotice<KnownNotice>): string {
  // Nearly no notice has entries that differ: most need no serialiser.
  const bounds = windows.map(({ notBefore, notAfter }) => `[${notBefore},${notAfter}]`).join();
  const differing = varied.size === 0 ? '[]' : JSON.stringify(describeVaried(varied, entries));
  return hash('sha256', `["${notice.id}","${notice.statement.annex.digest}",[${bounds}],${differing}]`, 'binary');
}

function describeVaried(varied: FoldedNotice['varied'], entries: EntryTable) {
  const inOrder = [...varied].sort(([one], [other]) => one - other);
  return inOrder.map(([at, { windows, exclusions }]) => [
    entries.id(at),
    windows.map(({ notBefore, notAfter }) => [notBefore, notAfter]),
    exclusions.map(({ name, fromSeconds }) => [name, fromSeconds]),
  ]);
}
