import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import type { ReceiptRecord } from '../../src/control/store.ts';
import { CURRENT_SCHEMA, migrate, readSchema } from '../../src/store/migrate.ts';
import { openEngine } from '../../src/store/open-store.ts';
import { TABLES } from '../../src/store/tables.ts';
import { runProgram } from '../support/programs.ts';
import { describeEngines } from './engines.ts';
import { makeUser } from './records.ts';

const RECEIPT: ReceiptRecord = {
  ...{
    id: 'receipts/A/a/1.json',
    nodeId: 'A/a',
    licensee: 'A',
    appliedSeconds: 3,
    receivedSeconds: 2,
    foldedSeconds: 1,
  },
  ...{ treeSize: 4, rules: 5, rulesDigest: 'ab', mode: 'enforce', rejected: [], refusedEntries: 0 },
  ...{ agrees: null, pages: null },
};

const OPENING = `
  const { openStore } = await import(${JSON.stringify(fileURLToPath(new URL('../../src/store/open-store.ts', import.meta.url)))});
  const store = await openStore(process.argv[1]);
  await store.transaction(({ licensees }) =>
    licensees.insert({ id: String(process.pid), name: 'x', classes: [], createdSeconds: 0, version: 1 }),
  );
  await store.close();
`;

describeEngines('migrations', ({ open, makeTarget }) => {
  it('make the columns that the tables say', async () => {
    const target = await makeTarget();
    await open(target);
    const opened = await openEngine(target);
    try {
      expect(await readSchema(opened.writer)).toBe(CURRENT_SCHEMA);
      const present = await opened.writer.introspection.getTables();
      const types = {
        text: 'text',
        json: 'text',
        integer: /^(integer|int8)$/,
        boolean: /^(integer|bool)$/,
        bytes: /^(blob|bytea)$/,
      };
      for (const { name, columns } of Object.values(TABLES)) {
        const found = present.find((table) => table.name === name)?.columns ?? [];
        expect(
          found.map((column) => column.name),
          name,
        ).toEqual(columns.map((column) => column.name));
        for (const [index, { kind, isNullable }] of columns.entries()) {
          const column = found[index]!;
          expect(column.isNullable, `${name}.${column.name}`).toBe(isNullable);
          expect(column.dataType.toLowerCase(), `${name}.${column.name}`).toMatch(types[kind]);
        }
      }
      const others = present
        .map(({ name }) => name)
        .filter((name) => !Object.values(TABLES).some((t) => t.name === name));
      expect(others).toEqual([]);
    } finally {
      await opened.close();
    }
  });

  it('bring one of an earlier program up to date, and keep what it holds', async () => {
    const target = await makeTarget();
    const opened = await openEngine(target);
    await migrate(opened, '0001-first-tables');
    const { agrees: _, pages: __, ...values } = { ...RECEIPT, agrees: null };
    const row = Object.entries({ ...values, rejected: '[]' });
    const columns = row.map(([name]) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
    const names = sql.join(columns.map((name) => sql.ref(name)));
    await sql`insert into receipts (${names}) values (${sql.join(row.map(([, value]) => value))})`.execute(
      opened.writer,
    );
    await opened.close();
    const store = await open(target);
    expect(await store.read(({ receipts }) => receipts.list({ limit: 9 }))).toEqual([RECEIPT]);
    const pages = { entries: 3, httpOnly: 2, steered: false };
    await store.transaction(({ receipts }) => receipts.insert({ ...RECEIPT, id: 'later', pages }));
    expect((await store.read(({ receipts }) => receipts.get('later')))?.pages).toEqual(pages);
  });

  it('leave a database that has them alone', async () => {
    const target = await makeTarget();
    const store = await open(target);
    await store.transaction(({ users }) => users.insert(makeUser('a')));
    await store.close();
    const again = await open(target);
    expect(await again.read(({ users }) => users.list({ limit: 9 }))).toEqual([makeUser('a')]);
  });

  it('are made once when many stores of one process open at once', async () => {
    const target = await makeTarget();
    const stores = await Promise.all(Array.from({ length: 5 }, () => open(target)));
    await Promise.all(stores.map((store, i) => store.transaction(({ users }) => users.insert(makeUser(`${i}`)))));
    expect(await stores[0]!.read(({ users }) => users.count())).toBe(5);
  });

  it('are made once when several processes start at once', async () => {
    const target = await makeTarget();
    const runs = Array.from({ length: 3 }, () =>
      runProgram(process.execPath, ['--input-type=module', '-e', OPENING, target]),
    );
    for (const result of await Promise.all(runs)) expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(await (await open(target)).read(({ licensees }) => licensees.count())).toBe(3);
  });

  it('of a newer program make this one refuse the database, and change nothing', async () => {
    const target = await makeTarget();
    await (await open(target)).close();
    const opened = await openEngine(target);
    await opened.writer
      .insertInto('kysely_migration')
      .values({ name: '9999-from-the-future', timestamp: '2999-01-01T00:00:00.000Z' })
      .execute();
    await opened.close();
    await expect(open(target)).rejects.toMatchObject({
      code: 'store-failed',
      message: expect.stringMatching(/9999-from-the-future.*newer program/),
    });
  });
});
