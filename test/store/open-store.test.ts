import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { CompiledQuery } from 'kysely';
import { describe, expect, it } from 'vitest';
import { describeTarget, openEngine, openStore } from '../../src/store/open-store.ts';
import { toStoreError } from '../../src/store/store-error.ts';
import { makeFolder } from '../support/folders.ts';
import { findFreePort } from '../support/ports.ts';
import { describeEngines } from './engines.ts';
import { makeUser } from './records.ts';

describe('openStore', () => {
  it('makes a file of SQLite that its owner alone reads, in a folder that it makes', async () => {
    const folder = join(makeFolder(), 'a', 'b');
    const store = await openStore(`sqlite:${join(folder, 'warta.db')}`);
    await store.transaction(({ users }) => users.insert(makeUser('a')));
    const release = await store.lock('sequencer');
    const names = readdirSync(folder);
    expect(names).toEqual(expect.arrayContaining(['warta.db', 'warta.db-wal', 'warta.db.sequencer.lock']));
    for (const name of names) expect(statSync(join(folder, name)).mode & 0o777, name).toBe(0o600);
    expect(store.engine).toBe('sqlite');
    await release!();
    await store.close();
    expect(existsSync(join(folder, 'warta.db-wal'))).toBe(false);
  });

  it('takes a bare path for a file of SQLite', async () => {
    const path = join(makeFolder(), 'warta.db');
    await (await openStore(path)).close();
    expect(existsSync(path)).toBe(true);
  });

  it('works durably: WAL, FULL, foreign keys', async () => {
    const engine = await openEngine(join(makeFolder(), 'warta.db'));
    for (const [pragma, value] of Object.entries({ journal_mode: 'wal', synchronous: 2, foreign_keys: 1 })) {
      const { rows } = await engine.writer.executeQuery(CompiledQuery.raw(`pragma ${pragma}`));
      expect(rows).toEqual([{ [pragma]: value }]);
    }
    await engine.close();
  });

  it.each(['', 'sqlite:', 'sqlite::memory:', ':memory:', 'mysql://host/x', 'https://host/x'])(
    'refuses %j',
    async (target) => {
      await expect(openStore(target)).rejects.toMatchObject({ code: 'config-invalid' });
    },
  );

  it.each([
    ['a folder', (path: string) => mkdirSync(path)],
    ['a file of something else', (path: string) => writeFileSync(path, 'x'.repeat(5000))],
    ['below a file', (path: string) => writeFileSync(join(path, '..', 'file'), ''), 'file/warta.db'],
  ])('refuses %s', async (_name, prepare, name = 'warta.db') => {
    const folder = makeFolder();
    prepare(join(folder, 'warta.db'));
    await expect(openStore(join(folder, name))).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('leaves the mode of a file that is there', async () => {
    const path = join(makeFolder(), 'warta.db');
    await (await openStore(path)).close();
    chmodSync(path, 0o640);
    await (await openStore(path)).close();
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it.each([
    ['nobody listens', async () => {}],
    [
      'something else listens',
      async (port: number) => {
        const server = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
        server.unref();
      },
    ],
  ])('says that PostgreSQL is not there when %s, without its password', async (_name, listen) => {
    const port = await findFreePort();
    await listen(port);
    const error = await openStore(`postgresql://warta:geheim@127.0.0.1:${port}/x`).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'store-failed' });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('geheim');
  });

  it('refuses an address of PostgreSQL that is none, without its password', async () => {
    const error = await openStore('postgresql://warta:ge heim/x@host:port/x').catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'config-invalid' });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/ge heim/);
  });
});

describe('describeTarget', () => {
  it.each([
    ['sqlite:/var/lib/warta/warta.db', 'SQLite /var/lib/warta/warta.db'],
    ['/var/lib/warta.db', 'SQLite /var/lib/warta.db'],
    ['postgresql://warta:geheim@db.example:5433/warta?password=geheim', 'PostgreSQL db.example:5433/warta'],
    ['postgres:///warta?host=/run/postgresql', 'PostgreSQL /warta'],
  ])('of %s is %s', (target, description) => {
    expect(describeTarget(target)).toBe(description);
  });
});

describe('toStoreError', () => {
  it.each([
    [{ errcode: 13 }, 'store-failed', /disk is full/],
    [{ code: '53100' }, 'store-failed', /disk is full/],
    [{ errcode: 5 }, 'store-failed', /another process/],
    [{ errcode: 517 }, 'store-failed', /another process/],
    [{ code: '55P03' }, 'store-failed', /another process/],
    [{ errcode: 10 }, 'store-failed', /SQLite failed with code 10/],
    [{ code: 'XX000' }, 'store-failed', /PostgreSQL failed with code XX000/],
    [{ code: 'EPIPE' }, 'store-failed', /does not answer \(EPIPE\)/],
    [{ code: 'ENOENT' }, 'store-failed', /file cannot be opened/],
    [{}, 'store-failed', /does not answer:/],
    [undefined, 'store-failed', /does not answer:/],
    [{ errcode: 2067 }, 'conflict', /unique/],
    [{ errcode: 1555 }, 'conflict', /unique/],
    [{ code: '23505' }, 'conflict', /unique/],
    [{ errcode: 787 }, 'conflict', /not there/],
    [{ code: '23503' }, 'conflict', /not there/],
  ])('of %j is %s', (error, code, message) => {
    expect(toStoreError(error)).toMatchObject({ code, message: expect.stringMatching(message), cause: error });
  });
});

describeEngines('a password', ({ engine, makeTarget }) => {
  if (engine === 'sqlite') return it('is not needed', async () => (await openStore(await makeTarget())).close());
  it('that is wrong is refused without being quoted', async () => {
    const url = new URL(await makeTarget());
    url.password = 'geheim';
    const error = await openStore(url.href).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'store-failed', message: expect.stringContaining('28P01') });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('geheim');
  });
});
