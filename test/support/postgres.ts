import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { findFreePort } from './ports.ts';
import { findProgram } from './programs.ts';
import { waitUntil } from './wait.ts';

/** Where Debian keeps PostgreSQL's programs, a folder for each major version. They are not in anyone's PATH. */
const DEBIAN_FOLDER = '/usr/lib/postgresql';
/** PostgreSQL refuses to run as root; Debian's package makes this account. */
const ACCOUNT = 'postgres';

/** A PostgreSQL cluster of its own for one test file. */
export interface TestPostgres {
  /** URL of a database of the cluster, with its password; of `postgres`, which is always there, when none is named. */
  url(database?: string): string;
  /** Makes an empty database and returns its URL. */
  createDatabase(): Promise<string>;
  /** Process id of the server. */
  readonly pid: number;
  /** Stops the server at once and removes its files. */
  stop(): Promise<void>;
}

/** Returns the folder of `initdb` and `postgres`, or `undefined` when PostgreSQL's server is not installed. */
export function findPostgres(): string | undefined {
  const versions = existsSync(DEBIAN_FOLDER) ? readdirSync(DEBIAN_FOLDER) : [];
  const folders = versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(DEBIAN_FOLDER, version, 'bin'));
  const inPath = findProgram('initdb');
  if (inPath !== undefined) folders.push(join(inPath, '..'));
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

/** Whether `startPostgres` can work here: `describe.skipIf(!hasPostgres())` shows what is left out. */
export function hasPostgres(): boolean {
  return findPostgres() !== undefined && (process.getuid?.() !== 0 || findAccount() !== undefined);
}

/**
 * Starts a throw-away PostgreSQL on a loopback port and in a temporary folder of its own. It sorts text by the rules of
 * English, as many servers do, and asks for a password. Unless it is `durable`, it never waits for the disk. It ends with
 * this process at the latest.
 */
export async function startPostgres({ durable = false } = {}): Promise<TestPostgres> {
  const programs = findPostgres();
  if (programs === undefined) throw new Error('PostgreSQL is not installed (Debian package postgresql)');
  const folder = mkdtempSync(join(tmpdir(), 'warta-postgres-'));
  const password = randomBytes(12).toString('hex');
  try {
    initialize(programs, folder, password);
    const port = await findFreePort();
    return await run(programs, folder, port, password, durable);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Makes the cluster's files in `folder/data`. */
function initialize(programs: string, folder: string, password: string): void {
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  chmodSync(folder, 0o700);
  if (process.getuid?.() === 0) {
    const account = findAccount();
    if (account === undefined) throw new Error(`there is no account ${ACCOUNT} to run PostgreSQL as`);
    for (const path of [folder, passwordFile]) chownSync(path, account.uid, account.gid);
  }
  const locale = ['--encoding=UTF8', '--locale=C.UTF-8', '--locale-provider=icu', '--icu-locale=en-US'];
  const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
  const [command, ...args] = asAccount(join(programs, 'initdb'));
  execFileSync(command!, [...args, '--no-sync', ...locale, ...access, '-D', join(folder, 'data')], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs the server until it answers. */
async function run(
  programs: string,
  folder: string,
  port: number,
  password: string,
  durable: boolean,
): Promise<TestPostgres> {
  const settings = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    max_connections: '100',
    shared_buffers: '32MB',
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const [command, ...args] = asAccount(join(programs, 'postgres'));
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawn(command!, [...args, '-D', join(folder, 'data'), ...options], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (text) => (printed += text));
  let exited = false;
  const ended = new Promise<void>((resolve) => {
    server.on('error', () => resolve());
    server.on('exit', () => resolve());
  }).then(() => {
    exited = true;
  });
  // SIGQUIT is PostgreSQL's immediate shutdown: the postmaster ends its children, which SIGKILL would leave behind.
  const quit = () => void server.kill('SIGQUIT');
  process.on('exit', quit);
  const stop = async () => {
    process.off('exit', quit);
    if (!exited) quit();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };

  const url = (database = 'postgres') => `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`;
  try {
    await waitUntil('PostgreSQL answers', async () => {
      if (exited) throw new Error(`PostgreSQL ended: ${printed}`);
      return query(url(), 'select 1').catch(() => undefined);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  let databases = 0;
  return {
    url,
    async createDatabase() {
      const name = `test_${++databases}`;
      await query(url(), `create database ${name}`);
      return url(name);
    },
    pid: server.pid!,
    stop,
  };
}

/** Runs one statement on a connection of its own and returns the rows. */
export async function query(url: string, text: string, values?: unknown[]): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** The command line that runs `program` as someone PostgreSQL accepts. setpriv(1) replaces itself: signals arrive. */
function asAccount(program: string): string[] {
  if (process.getuid?.() !== 0) return [program];
  const { uid, gid } = findAccount()!;
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--', program];
}

/** The account's numbers from passwd(5). */
function findAccount(): { uid: number; gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${ACCOUNT}:`));
  if (line === undefined) return undefined;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}
