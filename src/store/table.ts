import { WartaError } from '../base/errors.ts';

/** How a field is kept: `json` is anything nested, as text; a question mark allows null. */
export type ColumnKind = BareKind | `${BareKind}?`;
type BareKind = 'text' | 'integer' | 'boolean' | 'json' | 'bytes';

type BareKindOf<T> = [T] extends [string]
  ? 'text'
  : [T] extends [number]
    ? 'integer'
    : [T] extends [boolean]
      ? 'boolean'
      : [T] extends [Uint8Array]
        ? 'bytes'
        : 'json';
/** The one kind that fits a field's type, so that a table which does not fit its record is no TypeScript. */
type KindOf<T> = null extends T ? `${BareKindOf<Exclude<T, null>>}?` : BareKindOf<T>;

/** One column: `key` is the field of the record, `name` what the database calls it. */
export interface Column {
  readonly key: string;
  readonly name: string;
  readonly kind: BareKind;
  readonly isNullable: boolean;
}

/** How records of one kind lie in the database. */
export interface Table<R> {
  readonly name: string;
  readonly columns: readonly Column[];
  /** Whether records have a `version` that goes up with every change. */
  readonly isVersioned: boolean;
  readonly decode: (row: Row) => R;
}

/** What the engines give and take for one cell. PostgreSQL gives 64-bit integers as text, and booleans as such. */
export type Cell = null | string | number | boolean | Uint8Array;

/** A row by the names of its columns. */
export type Row = Record<string, Cell>;

/** What Kysely is told about the database: any table has any column. Types are made here, by `defineTable`. */
export type Database = Record<string, Row>;

/** Describes a table by the kinds of its record's fields. Columns are the fields' names in snake_case. */
export function defineTable<R extends object>(
  name: string,
  kinds: { readonly [Key in keyof R]-?: KindOf<R[Key]> },
): Table<R> {
  const columns = Object.entries<ColumnKind>(kinds).map(([key, kind]) => ({
    key,
    name: key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    kind: kind.replace('?', '') as BareKind,
    isNullable: kind.endsWith('?'),
  }));
  const decode = (row: Row) => Object.fromEntries(columns.map((column) => [column.key, decodeCell(column, row)])) as R;
  return { name, columns, isVersioned: columns.some(({ key }) => key === 'version'), decode };
}

/** Returns the column of a field. */
export function findColumn(table: Pick<Table<unknown>, 'name' | 'columns'>, key: string): Column {
  const column = table.columns.find((candidate) => candidate.key === key);
  if (column === undefined) throw new Error(`${table.name} has no field ${key}`);
  return column;
}

/**
 * Turns a field into what both engines take. A boolean is 0 or 1, which PostgreSQL reads as one.
 *
 * @throws {WartaError} `request-invalid` for text that cannot be kept as it is: PostgreSQL has no NUL in text, and half of a
 * surrogate pair has no UTF-8.
 */
export function encodeCell(column: Column, value: unknown): Cell {
  if (value === null || value === undefined) return null;
  switch (column.kind) {
    case 'text':
      return requireText(column, value as string);
    case 'json':
      return JSON.stringify(value);
    case 'boolean':
      return value ? 1 : 0;
    default:
      return value as Cell;
  }
}

function requireText(column: Column, text: string): string {
  if (!text.includes('\0') && text.isWellFormed()) return text;
  throw new WartaError(
    'request-invalid',
    `${column.key} has a character that is not text: take out NUL and half characters`,
  );
}

function decodeCell({ name, kind }: Column, row: Row): unknown {
  const cell = row[name];
  if (cell === null || cell === undefined) return null;
  switch (kind) {
    case 'integer':
      return Number(cell);
    case 'boolean':
      return Boolean(cell);
    case 'json':
      return JSON.parse(cell as string);
    case 'bytes': {
      const { buffer, byteOffset, byteLength } = cell as Uint8Array;
      return new Uint8Array(buffer, byteOffset, byteLength); // a plain one also where the driver gives a Buffer
    }
    default:
      return cell;
  }
}
