import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import { gunzipSync, gzipSync } from 'node:zlib';
import { CompiledQuery } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/control/store.ts';
import { verifyAuditTrail } from '../../src/store/audit-trail.ts';
import { backupStore, restoreStore } from '../../src/store/backup.ts';
import { CURRENT_SCHEMA } from '../../src/store/migrate.ts';
import { openEngine, openStore } from '../../src/store/open-store.ts';
import { makeFolder } from '../support/folders.ts';
import { hasPostgres, startPostgres, type TestPostgres } from '../support/postgres.ts';
import { describeEngines } from './engines.ts';
import { anyCollection, insertParent, makeEntry, makeLicensee, makeRecord, makeUser, TABLE_NAMES } from './records.ts';

/** Fills every table, some with more rows than are read or inserted at a time. */
async function fill(store: Store): Promise<void> {
  for (const name of TABLE_NAMES) {
    await insertParent(store, name);
    const count = name === 'licensees' ? 1203 : name === 'annexes' ? 19 : 3;
    await store.transaction(async (tables) => {
      for (let i = 0; i < count; i++) {
        // U+2028 ends a line for some readers, but not in JSON.
        await anyCollection(tables, name).insert(makeRecord(name, `${name}/${i}\n\u2028`));
      }
    });
  }
  await store.transaction(async ({ annexes, audit }) => {
    const bytes = new Uint8Array(6 << 20).map((_, index) => (index * 31) ^ (index >> 8));
    await annexes.insert({ id: 'big', entries: 40_000, sizeBytes: bytes.length, bytes, createdSeconds: 1 });
    await annexes.insert({ id: 'none', entries: 0, sizeBytes: 0, bytes: new Uint8Array(), createdSeconds: 1 });
    for (let i = 0; i < 5; i++) await audit.append(makeEntry(`drafts/${i}`));
  });
}

const readLines = (file: string) => gunzipSync(readFileSync(file)).toString().trimEnd().split('\n');

/** One value for all that records hold: comparing millions of bytes one by one takes minutes. */
const digest = (records: unknown) => createHash('sha256').update(serialize(records)).digest('hex');

/** Writes a backup whose lines are given, with a digest that fits. */
function sealLines(file: string, lines: readonly string[]): void {
  const text = lines.map((line) => `${line}\n`).join('');
  const rows = lines.filter((line) => line.startsWith('[')).length;
  const trailer = JSON.stringify({ rows, sha256: createHash('sha256').update(text).digest('hex') });
  writeFileSync(file, gzipSync(`${text}${trailer}\n`));
}

describe.skipIf(!hasPostgres())('a backup', () => {
  const folder = makeFolder();
  let postgres: TestPostgres;
  let count = 0;
  beforeAll(async () => {
    postgres = await startPostgres();
  });
  afterAll(() => postgres?.stop());
  const make = {
    SQLite: async () => join(folder, `${++count}.db`),
    PostgreSQL: () => postgres.createDatabase(),
  };
  it.each([
    ['SQLite', 'PostgreSQL'],
    ['PostgreSQL', 'SQLite'],
    ['SQLite', 'SQLite'],
    ['PostgreSQL', 'PostgreSQL'],
  ] as const)('of %s restores to %s, row by row', async (from, to) => {
    const [source, target] = [await make[from](), await make[to]()];
    const store = await openStore(source);
    await fill(store);
    const file = join(folder, `${++count}.backup`);
    const summary = await backupStore(source, file);
    expect(await restoreStore(target, file)).toEqual(summary);
    const restored = await openStore(target);
    for (const name of TABLE_NAMES) {
      const list = (of: Store) =>
        of.read(async (tables) => digest(await anyCollection(tables, name).list({ limit: 5000 })));
      expect(await list(restored), name).toEqual(await list(store));
    }
    expect(await verifyAuditTrail(restored)).toEqual({ isSound: true, head: summary.auditHead });
    // Work goes on where it ended.
    await restored.transaction(({ audit }) => audit.append(makeEntry('drafts/next')));
    await restored.close();
    await store.close();
    // A backup of either engine has the same bytes.
    const again = join(folder, `${++count}.backup`);
    const other = await make[from]();
    await restoreStore(other, file);
    await backupStore(other, again);
    expect(readFileSync(again).equals(readFileSync(file))).toBe(true);
  });
});

describeEngines('a backup', ({ engine, open, makeTarget }) => {
  const folder = makeFolder();
  let count = 0;
  const nextFile = () => join(folder, `${++count}.backup`);

  /** A small database, and its backup. */
  async function makeBackup() {
    const target = await makeTarget();
    const store = await open(target);
    await store.transaction(async ({ users, licensees, audit }) => {
      await users.insert(makeUser('a'));
      for (let i = 0; i < 300; i++) await licensees.insert(makeLicensee(`${i}`));
      for (let i = 0; i < 3; i++) await audit.append(makeEntry(`drafts/${i}`));
    });
    const file = nextFile();
    await backupStore(target, file);
    return { target, store, file };
  }

  it('is one moment of a database that goes on working, readable by its owner alone', async () => {
    const { target, store } = await makeBackup();
    await store.transaction(({ licensees }) => licensees.insert(makeLicensee('counter')));
    let isDone = false;
    let counted = 0;
    const writing = (async () => {
      for (; !isDone; counted++) {
        await store.transaction(async ({ users, licensees, audit }) => {
          await users.insert(makeUser(`user ${counted}`));
          await licensees.update('counter', { createdSeconds: counted + 1 });
          await audit.append(makeEntry(`users/${counted}`));
        });
      }
    })();
    const file = nextFile();
    const { auditHead } = await backupStore(target, file);
    isDone = true;
    await writing;
    expect(counted).toBeGreaterThan(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).filter((name) => name.endsWith('.staged'))).toEqual([]);

    const copy = await makeTarget();
    await restoreStore(copy, file);
    await (await open(copy)).read(async ({ users, licensees }) => {
      const { createdSeconds } = (await licensees.get('counter'))!;
      expect(await users.count()).toBe(1 + createdSeconds);
      expect(auditHead.sequence).toBe(3 + createdSeconds);
    });
  });

  it('replaces an older one, and leaves it when it fails', async () => {
    const { target, store, file } = await makeBackup();
    const before = readFileSync(file);
    await store.transaction(({ users }) => users.insert(makeUser('b')));
    await backupStore(target, file);
    expect(readFileSync(file).equals(before)).toBe(false);
    const after = readFileSync(file);
    await expect(backupStore(`${target}.none`, file)).rejects.toMatchObject({ code: 'store-failed' });
    expect(readFileSync(file).equals(after)).toBe(true);
    const nowhere = backupStore(target, join(folder, 'none', 'x.backup'));
    await expect(nowhere).rejects.toMatchObject({
      code: 'store-failed',
      message: expect.stringContaining('cannot write'),
    });
  });

  it('needs a database that is there and of this program', async () => {
    const target = await makeTarget();
    await expect(backupStore(target, nextFile())).rejects.toMatchObject({ code: 'store-failed' });
    if (engine === 'sqlite') expect(existsSync(target.replace('sqlite:', ''))).toBe(false);
    await (await openEngine(target)).close();
    const empty = backupStore(target, nextFile());
    await expect(empty).rejects.toMatchObject({ message: expect.stringContaining('holds nothing of Warta') });
    await open(target);
    const other = await openEngine(target);
    await other.writer
      .updateTable('kysely_migration')
      .set({ name: '9999-x' })
      .where('name', '=', CURRENT_SCHEMA)
      .execute();
    await other.close();
    await expect(backupStore(target, nextFile())).rejects.toMatchObject({ message: expect.stringContaining('newer') });
    expect(existsSync(join(folder, `${count}.backup`))).toBe(false);
  });

  it('is restored only to an empty database', async () => {
    const { target, store, file } = await makeBackup();
    await expect(restoreStore(target, file)).rejects.toMatchObject({
      message: expect.stringContaining('in use already'),
    });
    expect(await store.read(({ licensees }) => licensees.count())).toBe(300);
    const fresh = await makeTarget();
    await (await open(fresh)).close(); // has tables, but no rows
    await restoreStore(fresh, file);
    expect(await (await open(fresh)).read(({ licensees }) => licensees.count())).toBe(300);
  });

  /** Ways in which a file goes wrong, each given the sound file's lines. */
  const FAULTS: [string, (lines: string[], file: string) => void, RegExp][] = [
    ['cut off', (_, file) => writeFileSync(file, readFileSync(file).subarray(0, -20)), /cannot be read to its end/],
    [
      'cut off at a line',
      (lines, file) => writeFileSync(file, gzipSync(`${lines.slice(0, -1).join('\n')}\n`)),
      /cut off/,
    ],
    ['cut off in a line', (lines, file) => writeFileSync(file, gzipSync(lines.join('\n').slice(0, -9))), /cut off/],
    ['with a flipped bit', (_, file) => flipBit(file), /cannot be read|digest|JSON/],
    [
      'with an altered row',
      (lines, file) => writeFileSync(file, gzipSync(`${lines.join('\n').replace('Officer a', 'Officer b')}\n`)),
      /digest is wrong/,
    ],
    [
      'with more at its end',
      (lines, file) => writeFileSync(file, gzipSync(`${lines.join('\n')}\n[]\n`)),
      /follows its end/,
    ],
    ['of nothing', (_, file) => writeFileSync(file, ''), /no backup|cannot be read/],
    ['that is none', (_, file) => writeFileSync(file, gzipSync('{"format":"other"}\n')), /no backup/],
    ['that is no JSON', (_, file) => writeFileSync(file, gzipSync('hello\n')), /no JSON/],
    [
      'of a newer program',
      (lines, file) => sealLines(file, [lines[0]!.replace(CURRENT_SCHEMA, '9999-x'), ...lines.slice(1, -1)]),
      /newer program/,
    ],
    [
      'whose trail of changes was altered, with a digest that fits',
      (lines, file) =>
        sealLines(
          file,
          lines.slice(0, -1).map((line) => line.replace('drafts.create', 'drafts.delete')),
        ),
      /trail of changes was tampered with/,
    ],
    [
      'with two equal rows, with a digest that fits',
      (lines, file) =>
        sealLines(
          file,
          lines.slice(0, -1).flatMap((line) => (line.includes('Officer a') ? [line, line] : [line])),
        ),
      /unique keys/,
    ],
  ];

  it('that is not whole, or not sound, is refused and leaves nothing', async () => {
    const { file } = await makeBackup();
    const sound = readFileSync(file);
    const target = await makeTarget();
    for (const [name, spoil, message] of FAULTS) {
      const spoiled = nextFile();
      writeFileSync(spoiled, sound);
      spoil(readLines(spoiled), spoiled);
      const error = await restoreStore(target, spoiled).catch((thrown) => thrown);
      expect(error?.message, name).toMatch(message);
    }
    await expect(restoreStore(target, join(folder, 'none'))).rejects.toMatchObject({ code: 'store-failed' });
    await restoreStore(target, file);
    expect(await (await open(target)).read(({ licensees }) => licensees.count())).toBe(300);
  });

  it('is not made of a trail of changes that was tampered with', async () => {
    const { target } = await makeBackup();
    const other = await openEngine(target);
    const drop = engine === 'sqlite' ? '' : ' on audit';
    const guard = engine === 'sqlite' ? 'audit_keeps_entries' : 'audit_only_grows';
    await other.writer.executeQuery(CompiledQuery.raw(`drop trigger ${guard}${drop}`));
    await other.writer.updateTable('audit').set({ reason: 'other' }).where('sequence', '=', 2).execute();
    await other.close();
    const file = nextFile();
    await expect(backupStore(target, file)).rejects.toMatchObject({
      code: 'store-failed',
      message: expect.stringContaining('entry 2 of the trail'),
    });
    expect(existsSync(file)).toBe(false);
  });
});

/** Flips a bit in the middle of a file. */
function flipBit(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(file, bytes);
}
