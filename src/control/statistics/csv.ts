/** What a cell of a table holds. */
export type Cell = string | number | boolean | undefined;

/** What a spreadsheet takes for the beginning of a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Composes CSV (RFC 4180) with a header line. Text that a spreadsheet would take for a formula gets an apostrophe before it:
 * it may come from outside, and whoever opens the file must not run it.
 */
export function composeCsv(header: readonly string[], rows: Iterable<readonly Cell[]>): string {
  const lines = [header.join(',')];
  for (const row of rows) lines.push(row.map(composeCell).join(','));
  return `${lines.join('\r\n')}\r\n`;
}

function composeCell(cell: Cell): string {
  if (cell === undefined) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = FORMULA.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Whether an answer is to be CSV: by `?format=csv`, or by `Accept` when no format is given. */
export function wantsCsv(format: 'json' | 'csv' | undefined, accept: string | string[] | undefined): boolean {
  return format === 'csv' || (format === undefined && /\btext\/csv\b/.test(String(accept ?? '')));
}
