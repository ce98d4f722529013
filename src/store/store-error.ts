import { WartaError } from '../base/errors.ts';

/** Result codes of SQLite (https://www.sqlite.org/rescode.html), as `errcode` of node:sqlite's errors has them. */
export const SQLITE = { BUSY: 5, FULL: 13, FOREIGN_KEY: 787, PRIMARY_KEY: 1555, UNIQUE: 2067 } as const;

/** Error codes of PostgreSQL (its manual, appendix A). */
const POSTGRES = {
  UNIQUE: '23505',
  FOREIGN_KEY: '23503',
  SERIALIZATION: '40001',
  DEADLOCK: '40P01',
  DISK_FULL: '53100',
  LOCK_TIMEOUT: '55P03',
} as const;

/** What an engine's error has: `errcode` from SQLite, `code` from PostgreSQL or the socket. */
interface EngineError {
  readonly errcode?: number;
  readonly code?: string;
}

/** Turns whatever a query or a connection threw into the store's own refusal. */
export function toStoreError(error: unknown): WartaError {
  if (error instanceof WartaError) return error;
  const { errcode, code } = (error ?? {}) as EngineError;
  if (errcode === SQLITE.UNIQUE || errcode === SQLITE.PRIMARY_KEY || code === POSTGRES.UNIQUE) {
    return new WartaError('conflict', 'another record has one of its unique keys already', { cause: error });
  }
  if (errcode === SQLITE.FOREIGN_KEY || code === POSTGRES.FOREIGN_KEY) {
    return new WartaError('conflict', 'it refers to a record that is not there, or is referred to', { cause: error });
  }
  return new WartaError('store-failed', describeFailure({ errcode, code }), { cause: error });
}

/** Says what to do about a failure. The engine's own words are in the cause: they can quote data. */
function describeFailure({ errcode, code }: EngineError): string {
  if (errcode === SQLITE.FULL || code === POSTGRES.DISK_FULL) return "the database's disk is full: make room";
  if (isBusy(errcode) || code === POSTGRES.LOCK_TIMEOUT) {
    return 'another process has been writing to the database for too long: look what it does';
  }
  if (errcode !== undefined) return `SQLite failed with code ${errcode}: check the file's disk and owner`;
  if (code !== undefined && /^(?=.*\d)[0-9A-Z]{5}$/.test(code))
    return `PostgreSQL failed with code ${code}: see its log`;
  if (code === 'ENOENT' || code === 'EACCES' || code === 'EROFS') {
    return `the database's file cannot be opened (${code}): check its path, and its owner`;
  }
  return `the database does not answer${code === undefined ? '' : ` (${code})`}: check that it runs, and its address`;
}

/** Whether SQLite refused because another connection holds the file; extended codes keep the kind in the low byte. */
export function isBusy(errcode: number | undefined): boolean {
  return errcode !== undefined && (errcode & 0xff) === SQLITE.BUSY;
}

/** Whether PostgreSQL gave a transaction up because of another, so that it is to be run again. */
export function isSerializationFailure(error: unknown): boolean {
  const { code } = (error ?? {}) as EngineError;
  return code === POSTGRES.SERIALIZATION || code === POSTGRES.DEADLOCK;
}
