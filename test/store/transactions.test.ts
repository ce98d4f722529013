import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { CompiledQuery } from 'kysely';
import { expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import type { Store, Tables } from '../../src/control/store.ts';
import { KyselyStore } from '../../src/store/kysely-store.ts';
import { migrate } from '../../src/store/migrate.ts';
import { openEngine } from '../../src/store/open-store.ts';
import { query } from '../support/postgres.ts';
import { describeEngines } from './engines.ts';
import { makeEntry, makeLicensee, makeUser } from './records.ts';

/** Adds one to a counter, reading it first. */
const countUp = (store: Store) =>
  store.transaction(async ({ licensees }) => {
    const counter = await licensees.get('counter');
    await licensees.update('counter', { createdSeconds: counter!.createdSeconds + 1 });
  });

async function openCounter(store: Store): Promise<void> {
  await store.transaction(({ licensees }) => licensees.insert(makeLicensee('counter')));
}

const readCounter = async (store: Store) =>
  (await store.read(({ licensees }) => licensees.get('counter')))!.createdSeconds;

/** A promise that is fulfilled by hand. */
function makeGate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

describeEngines('transactions', ({ engine, open, makeTarget }) => {
  it('of one store add up, fifty at once', async () => {
    const store = await open();
    await openCounter(store);
    await Promise.all(Array.from({ length: 50 }, () => countUp(store)));
    expect(await readCounter(store)).toBe(50);
  });

  it('of three stores on one database add up, none of them run in vain', async () => {
    const target = await makeTarget();
    const stores = [await open(target), await open(target), await open(target)];
    await openCounter(stores[0]!);
    let runs = 0;
    const work = async ({ licensees }: Tables) => {
      runs++;
      const counter = await licensees.get('counter');
      await licensees.update('counter', { createdSeconds: counter!.createdSeconds + 1 });
    };
    await Promise.all(stores.flatMap((store) => Array.from({ length: 20 }, () => store.transaction(work))));
    expect(await readCounter(stores[1]!)).toBe(60);
    expect(runs).toBe(60);
  });

  it('refuse a change to a version that someone else changed first', async () => {
    const store = await open();
    await store.transaction(({ users }) => users.insert(makeUser('a')));
    const change = (name: string) => store.transaction(({ users }) => users.update('a', { name }, 1));
    const results = await Promise.allSettled([change('first'), change('second')]);
    expect(results[0]).toMatchObject({ status: 'fulfilled', value: { name: 'first', version: 2 } });
    expect(results[1]).toMatchObject({ status: 'rejected', reason: { code: 'version-mismatch' } });
    expect(await store.read(({ users }) => users.get('a'))).toMatchObject({ name: 'first', version: 2 });
  });

  it.each([
    ['its own refusal', new WartaError('draft-state', 'not now')],
    ['a fault of the program', new TypeError('x is not a function')],
    ['anything else', 'text'],
  ])('leave nothing of work that throws %s, and pass that on', async (_name, thrown) => {
    const store = await open();
    const work = store.transaction(async ({ users, audit }) => {
      await users.insert(makeUser('a'));
      await audit.append(makeEntry('users/a'));
      throw thrown;
    });
    await expect(work.catch((error) => error)).resolves.toBe(thrown);
    await store.read(async ({ users, audit }) => {
      expect(await users.count()).toBe(0);
      expect(await audit.list({ limit: 1 })).toEqual([]);
    });
    await store.transaction(({ users }) => users.insert(makeUser('a')));
  });

  it('include what their work did not wait for', async () => {
    const store = await open();
    await store.transaction(async ({ users }) => {
      for (let i = 0; i < 20; i++) void users.insert(makeUser(`${i}`));
    });
    expect(await store.read(({ users }) => users.count())).toBe(20);
  });

  it('hold up nobody who reads, and show them nothing before they end', async () => {
    const store = await open();
    const { open: letEnd, opened } = makeGate();
    const inserted = makeGate();
    const writing = store.transaction(async ({ users }) => {
      await users.insert(makeUser('a'));
      inserted.open();
      await opened;
    });
    await inserted.opened;
    expect(await Promise.all(Array.from({ length: 20 }, () => store.read(({ users }) => users.count())))).toEqual(
      Array(20).fill(0),
    );
    letEnd();
    await writing;
    expect(await store.read(({ users }) => users.count())).toBe(1);
  });

  it('one after another leave the process time for other things', async () => {
    const store = await open();
    await openCounter(store);
    let turns = 0;
    const immediate = () => {
      turns++;
      if (turns < 10) setImmediate(immediate);
    };
    setImmediate(immediate);
    for (let i = 0; i < 20; i++) await countUp(store);
    expect(turns).toBe(10);
  });

  it('do not disturb a read that began before them', async () => {
    const store = await open();
    await openCounter(store);
    await store.read(async ({ licensees }) => {
      const before = await licensees.get('counter');
      await store.transaction(({ licensees }) => licensees.update('counter', { createdSeconds: 7 }));
      expect(await licensees.get('counter')).toEqual(before);
      expect(await licensees.count({ createdSeconds: 7 })).toBe(0);
    });
    expect(await readCounter(store)).toBe(7);
  });

  it('within a transaction are refused; a read there sees what it has changed', async () => {
    const store = await open();
    await store.transaction(async ({ users }) => {
      await users.insert(makeUser('a'));
      expect(await store.read((tables) => tables.users.count())).toBe(1);
      await expect(countUp(store)).rejects.toThrow('a transaction within a transaction');
    });
    // What a transaction started and left behind is outside it.
    const later = makeGate();
    let result: Promise<unknown> | undefined;
    await store.transaction(async () => {
      result = later.opened.then(() => store.transaction(({ users }) => users.get('a')));
    });
    later.open();
    expect(await result).toEqual(makeUser('a'));
  });

  it('refuse their tables once they have ended', async () => {
    const store = await open();
    const tables = await store.transaction(async (given) => given);
    await expect(tables.users.insert(makeUser('a'))).rejects.toMatchObject({ code: 'store-failed' });
    expect(await store.read(({ users }) => users.count())).toBe(0);
  });

  it('are not to be had from a read', async () => {
    const store = await open();
    const work = store.read(({ users }) => users.insert(makeUser('a')));
    await expect(work).rejects.toMatchObject({ code: 'store-failed' });
    await store.transaction(({ users }) => users.insert(makeUser('a')));
  });

  it('under way are awaited when the store closes, and then refused', async () => {
    const target = await makeTarget();
    const store = await open(target);
    await openCounter(store);
    const counting = Promise.all(Array.from({ length: 10 }, () => countUp(store)));
    const reading = store.read(({ licensees }) => licensees.count());
    await store.close();
    await counting;
    expect(await reading).toBe(1);
    await expect(countUp(store)).rejects.toMatchObject({ code: 'store-failed' });
    await expect(readCounter(store)).rejects.toMatchObject({ code: 'store-failed' });
    await expect(store.lock('x')).rejects.toMatchObject({ code: 'store-failed' });
    await store.close();
    expect(await readCounter(await open(target))).toBe(10);
  });

  if (engine === 'sqlite') {
    it('that the disk has no room for fail, and leave nothing', async () => {
      const opened = await openEngine(await makeTarget());
      await migrate(opened);
      const store = new KyselyStore(opened);
      await openCounter(store);
      const limit = async (pages: number) => {
        await opened.writer.executeQuery(CompiledQuery.raw(`pragma max_page_count = ${pages}`));
      };
      const bytes = new Uint8Array(4 << 20);
      const insert = () =>
        store.transaction(async ({ licensees, annexes }) => {
          await licensees.update('counter', { createdSeconds: 5 });
          await annexes.insert({ id: 'a', entries: 0, sizeBytes: bytes.length, bytes, createdSeconds: 0 });
        });
      await limit(300);
      await expect(insert()).rejects.toMatchObject({ code: 'store-failed', message: expect.stringContaining('full') });
      expect(await readCounter(store)).toBe(0);
      await countUp(store);
      await limit(1e6);
      await insert();
      expect(await readCounter(store)).toBe(5);
      await store.close();
    });

    it('wait for another connection that writes, without stopping the process', async () => {
      const target = await makeTarget();
      const store = await open(target);
      await openCounter(store);
      const other = new DatabaseSync(target.replace('sqlite:', ''));
      other.exec('begin immediate');
      const counting = countUp(store);
      await sleep(50);
      expect(await readCounter(store)).toBe(0);
      other.exec('commit');
      other.close();
      await counting;
      expect(await readCounter(store)).toBe(1);
    });
  } else {
    it('are run again when someone by-passes the lock', async () => {
      const target = await makeTarget();
      const store = await open(target);
      await openCounter(store);
      let runs = 0;
      await store.transaction(async ({ licensees }) => {
        const counter = await licensees.get('counter');
        if (++runs <= 2) await query(target, `update licensees set created_seconds = created_seconds + 10`);
        // A refusal that the work takes no notice of counts all the same.
        await licensees.update('counter', { createdSeconds: counter!.createdSeconds + 1 }).catch(() => {});
      });
      expect(runs).toBe(3);
      expect(await readCounter(store)).toBe(21);
    });

    it('are given up when someone always does', async () => {
      const target = await makeTarget();
      const store = await open(target);
      await openCounter(store);
      const work = store.transaction(async ({ licensees }) => {
        const counter = await licensees.get('counter');
        await query(target, `update licensees set created_seconds = created_seconds + 10`);
        await licensees.update('counter', { createdSeconds: counter!.createdSeconds + 1 });
      });
      await expect(work).rejects.toMatchObject({ code: 'store-failed', cause: { code: '40001' } });
    });

    it('whose connection breaks fail, and the next one works', async () => {
      const target = await makeTarget();
      const store = await open(target);
      await openCounter(store);
      const cut = () =>
        query(
          target,
          `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()`,
        );
      const work = store.transaction(async ({ licensees }) => {
        await licensees.update('counter', { createdSeconds: 5 });
        await cut();
        await licensees.get('counter');
      });
      await expect(work).rejects.toMatchObject({ code: 'store-failed' });
      await countUp(store);
      await cut(); // while idle
      await sleep(20);
      await countUp(store);
      expect(await readCounter(store)).toBe(2);
    });
  }
});
