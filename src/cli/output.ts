import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { WartaError } from '../base/errors.ts';
import { readInto } from '../base/file-read.ts';

/** A label and what it says; a value of several lines stays in its column. */
export type Row = readonly [label: string, value: string];

const GAP = 2;

/** Composes labels and values in two columns. */
export function composeRows(rows: readonly Row[]): string {
  const width = Math.max(0, ...rows.map(([label]) => label.length)) + GAP;
  return rows
    .map(([label, value]) => `${label.padEnd(width)}${value.replaceAll('\n', `\n${' '.repeat(width)}`)}`)
    .join('\n');
}

/** Prints machine output: one JSON document. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/**
 * Returns text from a file or the network with its control characters spelled out: a terminal obeys them, and a statement
 * could otherwise paint its own verdict.
 */
export function escapeControls(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === '\n' ? ' ' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Returns `count` and its noun: `1 entry`, `2 entries`. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/**
 * Reads at most `maxBytes` of a file named on the command line.
 *
 * @throws {WartaError} `store-failed`.
 */
export function readInput(path: string, maxBytes = Number.POSITIVE_INFINITY): Buffer {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const stat = fstatSync(file);
    // A pipe has no size to go by, and whoever feeds it knows how much.
    if (!stat.isFile()) return readFileSync(file);
    const bytes = Buffer.allocUnsafe(Math.min(maxBytes, stat.size));
    return bytes.subarray(0, readInto(file, bytes));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown fault';
    throw new WartaError('store-failed', `cannot read ${path} (${code}): check the path and its owner`, { cause });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
