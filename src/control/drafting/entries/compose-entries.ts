import { createHash } from 'node:crypto';
import { type Annex, composeAnnex, type EntryDraft } from '../../../register/annex.ts';
import { judgeEntry } from './judge-entry.ts';
import { type EntryType, type LineFault, readItems } from './read-entries.ts';

/** Most entries of one upload, and its octets. */
export const UPLOAD_MAX_ENTRIES = 200_000;
export const UPLOAD_MAX_BYTES = 64 * 1024 * 1024;

/** Faults listed of one upload. */
export const FAULTS_LISTED = 1000;

/** An uploaded list: its annex, or everything that is wrong with it. */
export type ComposedEntries =
  | { readonly annex: Annex }
  | { readonly faults: readonly LineFault[]; readonly count: number };

/** What is composed: a list, how it is written, and 32 unpredictable bytes that the salts are drawn from. */
export interface EntriesJob {
  readonly bytes: Uint8Array;
  readonly type: EntryType;
  readonly seed: Uint8Array;
}

/**
 * Reads an uploaded list and composes its annex, unless a line is bad: then nothing is composed and every bad line is named.
 * The seed is not kept: from it alone all salts, and so all sealed names, could be guessed.
 */
export function composeEntries({ bytes, type, seed }: EntriesJob): ComposedEntries {
  const faults: LineFault[] = [];
  const drafts: (EntryDraft & { id: string })[] = [];
  const lines = new Map<string, number>();
  let count = 0;
  const fault = (line: number, message: string) => {
    count++;
    if (faults.length < FAULTS_LISTED) faults.push({ line, message });
  };
  for (const item of readItems(bytes, type)) {
    if (drafts.length >= UPLOAD_MAX_ENTRIES) {
      fault(item.line, `is one more than the ${UPLOAD_MAX_ENTRIES} entries of an upload: split the notice`);
      break;
    }
    if (!('entry' in item)) {
      fault(item.line, item.message);
      continue;
    }
    const judged = judgeEntry(item.entry);
    if ('fault' in judged) {
      fault(item.line, judged.fault);
      continue;
    }
    const id = judged.id ?? composeId(drafts.length);
    const taken = lines.get(id);
    if (taken !== undefined) fault(item.line, `id ${id} is that of line ${taken} already`);
    else lines.set(id, item.line);
    drafts.push({ ...judged, id });
  }
  if (count === 0 && drafts.length === 0) fault(1, 'lists no name');
  if (count > 0) return { faults: faults.sort((one, other) => one.line - other.line), count };
  return { annex: composeAnnex(drafts, createSalts(seed)) };
}

/** The id of an entry without one of its own, by its place. */
function composeId(at: number): string {
  return `e${String(at + 1).padStart(7, '0')}`;
}

/** Returns a source of bytes that nobody can tell from random ones without the seed (SHAKE256). */
export function createSalts(seed: Uint8Array): (sizeBytes: number) => Uint8Array {
  return (sizeBytes) => createHash('shake256', { outputLength: sizeBytes }).update(seed).digest();
}
