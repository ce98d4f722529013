import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { syncFolder } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import type { Cell, Column } from './table.ts';

/**
 * A backup is lines of JSON, gzipped: a head, then for each table its name and columns followed by its rows as arrays, and
 * at the end the number of rows with the SHA-256 of all lines before. Both engines write the same bytes for the same content.
 */
const FORMAT = 'warta-backup-1';

/** The first line. */
export interface BackupHead {
  readonly format: typeof FORMAT;
  /** The last migration of the database it was made from. */
  readonly schema: string;
}

/** The line before a table's rows: what its columns are called, and what they hold. */
export interface BackupTable {
  readonly table: string;
  readonly columns: readonly (readonly [name: string, kind: Column['kind']])[];
}

/** A row, in the order of the columns. Bytes are base64; nested values are the text that lies in the database. */
export type BackupRow = readonly (null | string | number | boolean)[];

/** What a backup holds after its head. */
export type BackupItem = BackupTable | BackupRow;

/** The last line. */
interface BackupTrailer {
  readonly rows: number;
  readonly sha256: string;
}

/** Turns a cell of either engine into the one form that a backup has. */
export function packCell(kind: Column['kind'], cell: Cell): BackupRow[number] {
  if (cell === null) return null;
  if (kind === 'integer') return Number(cell);
  if (kind === 'boolean') return Boolean(cell);
  if (kind === 'bytes') return Buffer.from(cell as Uint8Array).toString('base64');
  return cell as string;
}

/** Turns it back into what both engines take. */
export function unpackCell(kind: Column['kind'], value: BackupRow[number]): Cell {
  if (value === null) return null;
  if (kind === 'boolean') return value ? 1 : 0;
  if (kind === 'bytes') return Buffer.from(value as string, 'base64');
  return value;
}

/**
 * Writes a backup so that `file` is there whole or not at all, readable by its owner alone. Returns the number of rows.
 *
 * @throws {WartaError} `store-failed` when the disk does not take it; and whatever `items` throws.
 */
export async function writeBackup(file: string, schema: string, items: AsyncIterable<BackupItem>): Promise<number> {
  const staged = `${file}.staged`;
  let rows = 0;
  async function* compose(): AsyncGenerator<string> {
    const digest = createHash('sha256');
    const seal = (line: unknown) => {
      const text = `${JSON.stringify(line)}\n`;
      digest.update(text);
      return text;
    };
    yield seal({ format: FORMAT, schema } satisfies BackupHead);
    for await (const item of items) {
      if (Array.isArray(item)) rows++;
      yield seal(item);
    }
    yield `${JSON.stringify({ rows, sha256: digest.digest('hex') } satisfies BackupTrailer)}\n`;
  }
  try {
    const target = createWriteStream(staged, { mode: 0o600, flush: true });
    await pipeline(Readable.from(compose()), createGzip(), target);
    renameSync(staged, file);
    syncFolder(dirname(file));
    return rows;
  } catch (cause) {
    rmSync(staged, { force: true });
    if (!isFileError(cause)) throw cause;
    throw new WartaError('store-failed', `cannot write ${file}: check the disk's space and the folder's owner`, {
      cause,
    });
  }
}

/** A backup being read. */
export interface BackupReader {
  readonly head: BackupHead;
  /** Ends only when the whole file was read and is what was written; until then nothing of it is to be relied on. */
  readonly items: AsyncGenerator<BackupItem, void>;
}

/**
 * Opens a backup. Its items are read as they are asked for.
 *
 * @throws {WartaError} `store-failed`, there and from the items: unreadable, damaged, cut off, or of another format.
 */
export async function readBackup(file: string): Promise<BackupReader> {
  const lines = readLines(file);
  const first = await lines.next();
  const head = first.done ? undefined : (parseLine(file, first.value) as BackupHead);
  if (head?.format !== FORMAT) throw new WartaError('store-failed', `${file} is no backup that this program knows`);
  const digest = createHash('sha256').update(first.value!).update('\n');
  return { head, items: readItems(file, lines, digest) };
}

async function* readItems(file: string, lines: AsyncIterable<Buffer>, digest: Hash): AsyncGenerator<BackupItem, void> {
  let rows = 0;
  let trailer: BackupTrailer | undefined;
  for await (const line of lines) {
    if (trailer !== undefined) throw damaged(file, 'something follows its end');
    const item = parseLine(file, line) as BackupItem | BackupTrailer;
    if ('sha256' in item) {
      trailer = item;
      continue;
    }
    digest.update(line).update('\n');
    if (Array.isArray(item)) rows++;
    yield item;
  }
  if (trailer === undefined) throw damaged(file, 'it is cut off');
  if (trailer.rows !== rows || trailer.sha256 !== digest.digest('hex')) throw damaged(file, 'its digest is wrong');
}

/** The lines of a gzipped file, without their ends. By bytes: readline would also break at U+2028, which JSON may hold. */
async function* readLines(file: string): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  const source = createReadStream(file);
  const chunks = source.pipe(createGunzip());
  source.on('error', (error) => chunks.destroy(error));
  try {
    for await (const chunk of chunks as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
        yield Buffer.concat([...parts, chunk.subarray(start, end)]);
        parts = [];
        start = end + 1;
      }
      if (start < chunk.length) parts.push(chunk.subarray(start));
    }
  } catch (cause) {
    throw damaged(file, 'it cannot be read to its end', cause);
  } finally {
    source.destroy();
  }
  if (parts.length > 0) throw damaged(file, 'it is cut off');
}

function parseLine(file: string, line: Buffer): unknown {
  try {
    const value: unknown = JSON.parse(line.toString());
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw damaged(file, 'it holds what is no JSON', cause);
  }
  throw damaged(file, 'it holds what is no line of a backup');
}

function damaged(file: string, how: string, cause?: unknown): WartaError {
  return new WartaError('store-failed', `${file} is no whole backup: ${how}; take another`, { cause });
}

/** Whether an error is the file system's, not the database's. */
function isFileError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && 'path' in error;
}
