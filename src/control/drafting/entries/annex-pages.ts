import { z } from 'zod';
import { ENTRY_ACTIONS, type Entry, EntryTable, SCOPES } from '../../../register/annex.ts';
import { NO_END_SECONDS, secondsOf } from '../../../register/time.ts';
import type { Turns } from '../../view/turns.ts';
import { describeLook, unicodeFormOf } from './label-script.ts';

const LINE_FEED = 10;

/** An entry as people look at it before it is signed. */
export const previewSchema = z.object({
  id: z.string(),
  raw: z.string(),
  /** A-labels, lower-case; of a URL, its host. */
  canonical: z.string(),
  /** The canonical name in Unicode. */
  unicode: z.string(),
  scope: z.enum(SCOPES),
  /** `redirect` leads to the notice page. */
  action: z.enum(ENTRY_ACTIONS),
  url: z.string().optional(),
  /** `any`: the page whatever its query is; without it the query must be the same. */
  query: z.literal('any').optional(),
  excludes: z.array(z.string()).optional(),
  expires: z.string().optional(),
  /** What to look at twice: mixed scripts, a name that may be taken for another. */
  warnings: z.array(z.string()),
});

/** An entry as people look at it before it is signed. */
export type EntryPreview = z.output<typeof previewSchema>;

/** Yields the entries of an annex that was composed here, and so needs no proof, from a place on. */
export function* readAnnexLines(bytes: Uint8Array, from = 0): Generator<Entry> {
  const annex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let line = 0;
  for (let at = 0; at < annex.length; line++) {
    const end = annex.indexOf(LINE_FEED, at);
    if (line >= from) yield (JSON.parse(annex.toString('utf8', at, end)) as { entry: Entry }).entry;
    at = end + 1;
  }
}

/** Returns `limit` entries of an annex from a place on, as people look at them. */
export function previewEntries(bytes: Uint8Array, from: number, limit: number): EntryPreview[] {
  const previews: EntryPreview[] = [];
  for (const entry of readAnnexLines(bytes, from)) {
    if (previews.length === limit) break;
    previews.push({ ...entry, unicode: unicodeFormOf(entry.canonical), warnings: describeLook(entry.canonical) });
  }
  return previews;
}

/** Reads an annex that was composed here into a table, letting other work have its turns. */
export async function tabulateAnnex(bytes: Uint8Array, count: number, turns: Turns): Promise<EntryTable> {
  const table = new EntryTable(count, bytes.length);
  for (const { id, canonical, scope, action, expires, excludes, url, query } of readAnnexLines(bytes)) {
    await turns.share();
    const at = table.add(id, canonical, scope, expires === undefined ? NO_END_SECONDS : secondsOf(expires), action);
    table.annotate(at, excludes, url === undefined ? undefined : { url, anyQuery: query === 'any' });
  }
  table.trim();
  return table;
}
