import { type CsvError, parse } from 'csv-parse/sync';
import { decodeUtf8 } from '../../../register/canonical.ts';
import { listedName } from '../../../register/draft.ts';
import { describeIssue } from '../../../register/fields.ts';
import type { RawEntry } from './judge-entry.ts';

/** How a list of names may be written. */
export const ENTRY_TYPES = ['text/csv', 'text/plain', 'application/json'] as const;

/** How a list of names is written. */
export type EntryType = (typeof ENTRY_TYPES)[number];

/** Something wrong with a line, counted from 1; in JSON, with an item of the list. */
export interface LineFault {
  readonly line: number;
  readonly message: string;
}

/** An item of a list: an entry, or what is wrong with it. */
export type ReadItem = { readonly line: number; readonly entry: RawEntry } | LineFault;

/** Reads a list of names item by item. Whether a name is one is judged later. */
export function* readItems(bytes: Uint8Array, type: EntryType): Generator<ReadItem> {
  const text = decodeUtf8(bytes)?.replace(/^\ufeff/, '');
  if (text === undefined) yield { line: findBadLine(bytes), message: 'is not UTF-8' };
  else if (type === 'text/csv') yield* readCsv(text);
  else if (type === 'application/json') yield* readJson(text);
  else yield* readPlain(text);
}

/** The first line that is not UTF-8. */
function findBadLine(bytes: Uint8Array): number {
  let line = 1;
  for (let at = 0; ; line++) {
    const end = bytes.indexOf(10, at);
    if (decodeUtf8(bytes.subarray(at, end < 0 ? bytes.length : end)) === undefined || end < 0) return line;
    at = end + 1;
  }
}

/**
 * One entry a line: a name by itself is exact, a URL by itself is a page; `subtree`, `exact` or `url` may stand before it, and
 * after a subtree `except` and the names below it that stay reachable. First of all may stand `redirect`, for a name that leads
 * to the notice page, or `any-query`, for a page whatever its query is. Blank lines and those that begin with # are left out.
 */
function* readPlain(text: string): Generator<ReadItem> {
  for (const [at, whole] of text.split(/\r?\n/).entries()) {
    const words = whole.split(/[ \t]+/).filter((word) => word !== '');
    if (words.length === 0 || words[0]!.startsWith('#')) continue;
    const line = at + 1;
    const take = (pattern: RegExp) => (pattern.test(words[0]!) && words.length > 1 ? words.shift() : undefined);
    const how = take(/^(?:redirect|any-query)$/);
    const scope = take(/^(?:exact|subtree|url)$/);
    const [name, except, ...exclude] = words as [string, ...string[]];
    if (except !== undefined && (except !== 'except' || exclude.length === 0)) {
      yield { line, message: 'expected one name a line, or a scope and a name, or: subtree NAME except NAMES' };
    } else {
      const meant = scope ?? (/^https?:\/\//i.test(name) ? 'url' : 'exact');
      const action = how === 'redirect' ? how : undefined;
      yield { line, entry: { name, scope: meant, action, query: how === 'any-query' ? 'any' : undefined, exclude } };
    }
  }
}

/**
 * Columns of CSV; those but `name` may be left out. Excluded names are separated by blanks or semicolons. `action` is block, as
 * where there is nothing, or redirect; `query` is any for a page whatever its query is.
 */
const COLUMNS = ['name', 'scope', 'exclude', 'expires', 'id', 'action', 'query'];

/** Records read at most; more than any list may have. */
const RECORDS_MAX = 200_002;

function* readCsv(text: string): Generator<ReadItem> {
  const faults: LineFault[] = [];
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(text, {
      info: true,
      trim: true,
      relax_column_count: true,
      skip_empty_lines: true,
      skip_records_with_error: true,
      comment: '#',
      comment_no_infix: true,
      max_record_size: 65_536,
      to: RECORDS_MAX,
      on_skip: (error?: CsvError) => void faults.push(describeCsvError(error)),
    }) as unknown as typeof records;
  } catch (error) {
    records = [];
    faults.push(describeCsvError(error as CsvError));
  }
  yield* faults;
  const header = records[0]?.record.map((column) => column.toLowerCase());
  if (header === undefined) return;
  const unknown = header.find((column, at) => !COLUMNS.includes(column) || header.indexOf(column) !== at);
  if (unknown !== undefined || !header.includes('name')) {
    yield { line: records[0]!.info.lines, message: `expected a header line with columns among ${COLUMNS.join(', ')}` };
    return;
  }
  for (const { record, info } of records.slice(1)) {
    if (record.length > header.length) yield { line: info.lines, message: 'has more fields than the header' };
    else yield { line: info.lines, entry: composeRecord(header, record) };
  }
}

function describeCsvError(error: CsvError | undefined): LineFault {
  const line = Number((error as { lines?: number } | undefined)?.lines ?? 1);
  return { line, message: `is no CSV (${error?.code ?? 'CSV_INVALID'})` };
}

function composeRecord(header: readonly string[], record: readonly string[]): RawEntry {
  const field = (column: string) => {
    const value = record[header.indexOf(column)] ?? '';
    return value === '' ? undefined : value;
  };
  return {
    name: field('name') ?? '',
    scope: field('scope'),
    action: field('action'),
    query: field('query'),
    exclude: field('exclude')
      ?.split(/[ ;]+/)
      .filter((name) => name !== ''),
    expires: field('expires'),
    id: field('id'),
  };
}

/** A list as the `names` of a draft. */
function* readJson(text: string): Generator<ReadItem> {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    yield { line: 1, message: 'is not JSON' };
    return;
  }
  if (!Array.isArray(list)) {
    yield { line: 1, message: 'is no list: write ["name", { "subtree": "name" }, …]' };
    return;
  }
  for (const [at, item] of list.entries()) {
    const line = at + 1;
    const result = listedName.safeParse(item);
    if (result.success) {
      const { raw, excludes, ...rest } = result.data as ListedName;
      yield { line, entry: { name: raw, exclude: excludes, ...rest } };
    } else {
      const { key, message } = describeIssue(result.error.issues[0]!);
      yield { line, message: `${key}: ${message}` };
    }
  }
}

interface ListedName {
  raw: string;
  scope: string;
  action?: string;
  query?: string;
  excludes?: string[];
  expires?: string;
  id?: string;
}
