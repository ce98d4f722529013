import { resolve } from 'node:path';
import { WartaError } from '../base/errors.ts';
import type { Store } from '../control/store.ts';
import type { Engine } from './engine.ts';
import { KyselyStore } from './kysely-store.ts';
import { migrate } from './migrate.ts';
import { PostgresEngine } from './postgres-engine.ts';
import { SqliteEngine } from './sqlite-engine.ts';
import { toStoreError } from './store-error.ts';

const POSTGRES_SCHEME = /^postgres(?:ql)?:/;
const SQLITE_SCHEME = /^sqlite:/;

/**
 * Opens the database and brings its tables up to date. `target` is `postgresql://user:password@host/database` (with
 * PostgreSQL's usual parameters), `sqlite:/path/file.db`, or the path alone.
 *
 * @throws {WartaError} `config-invalid` for a target that is none; `store-failed` when the database cannot be used or is
 * newer than this program.
 */
export async function openStore(target: string): Promise<Store> {
  const engine = await openEngine(target);
  try {
    await migrate(engine);
    return new KyselyStore(engine);
  } catch (error) {
    await engine.close().catch(() => {});
    throw toStoreError(error);
  }
}

/** Opens the database as it is. Unless told to `create` it, a file of SQLite must be there. */
export async function openEngine(target: string, { create = true } = {}): Promise<Engine> {
  try {
    if (POSTGRES_SCHEME.test(target)) return new PostgresEngine(requireUrl(target));
    return await SqliteEngine.open(findFile(target), { create });
  } catch (error) {
    throw toStoreError(error);
  }
}

/** Names a database for people and logs: never with its password. */
export function describeTarget(target: string): string {
  if (!POSTGRES_SCHEME.test(target)) return `SQLite ${findFile(target)}`;
  const { host, pathname } = new URL(requireUrl(target));
  return `PostgreSQL ${host}${pathname}`;
}

/** The URL parser's own error would quote the password. */
function requireUrl(target: string): string {
  if (URL.canParse(target)) return target;
  throw new WartaError(
    'config-invalid',
    'the address of PostgreSQL is no URL: escape special characters of the password',
  );
}

function findFile(target: string): string {
  const path = target.replace(SQLITE_SCHEME, '');
  if (path === '' || path.startsWith(':') || /^[a-z]+:\/\//i.test(target)) {
    throw new WartaError('config-invalid', 'name a database as sqlite:/path/file.db or postgresql://…');
  }
  return resolve(path);
}
