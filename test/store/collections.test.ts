import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Collection, ListQuery, Store } from '../../src/control/store.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Column } from '../../src/store/table.ts';
import { describeEngines } from './engines.ts';
import {
  type AnyRecord,
  anyCollection,
  anyTable,
  arbitraryRecord,
  arbitraryValue,
  insertParent,
  makeRecord,
  makeUser,
  TABLE_NAMES,
  type TableName,
  UNIQUE,
} from './records.ts';

/** What a collection is compared with: a map, and everything else done the plain way. */
class MapCollection {
  readonly #records = new Map<string, AnyRecord>();
  readonly #name: TableName;

  constructor(name: TableName) {
    this.#name = name;
  }

  get(id: string): AnyRecord | undefined {
    return this.#records.get(id);
  }

  insert(record: AnyRecord): string | undefined {
    const unique = UNIQUE[this.#name];
    const isTaken = [...this.#records.values()].some(
      (other) => unique !== undefined && other[unique] !== null && other[unique] === record[unique],
    );
    if (isTaken || this.#records.has(record.id)) return 'conflict';
    this.#records.set(record.id, record);
    return undefined;
  }

  update(id: string, changes: Record<string, unknown>, expectedVersion?: number): AnyRecord | string {
    const record = this.#records.get(id);
    if (record === undefined) return 'not-found';
    const { version } = record as { version?: number };
    if (version !== undefined && expectedVersion !== undefined && version !== expectedVersion)
      return 'version-mismatch';
    const next = { ...record, ...changes, ...(version === undefined ? {} : { version: version + 1 }) };
    this.#records.set(id, next);
    return next;
  }

  remove(id: string): void {
    this.#records.delete(id);
  }

  list({ where = {}, orderBy = 'id', descending = false, after, limit }: ListQuery<AnyRecord>): AnyRecord[] {
    const compare = (a: AnyRecord, b: AnyRecord) =>
      (compareValues(a[orderBy], b[orderBy]) || compareValues(a.id, b.id)) * (descending ? -1 : 1);
    return [...this.#records.values()]
      .filter((record) => Object.entries(where).every(([key, condition]) => holds(record[key], condition)))
      .filter((record) => after === undefined || compare(record, after) > 0)
      .sort(compare)
      .slice(0, limit);
  }
}

function compareValues(a: unknown, b: unknown): number {
  if (a === null || b === null) return Number(b === null) - Number(a === null);
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  return Number(a) - Number(b);
}

function holds(value: unknown, condition: unknown): boolean {
  if (condition === null || typeof condition !== 'object') return value === condition;
  if ('in' in condition) return (condition.in as unknown[]).includes(value);
  const { from, before } = condition as { from?: unknown; before?: unknown };
  if (value === null) return from === undefined && before === undefined;
  return (
    (from === undefined || compareValues(value, from) >= 0) &&
    (before === undefined || compareValues(value, before) < 0)
  );
}

/** Makes bounds on one to three of a table's comparable columns. */
function arbitraryWhere(name: TableName): fc.Arbitrary<ListQuery<AnyRecord>['where']> {
  const conditionOf = (column: Column) => {
    const bound = arbitraryValue({ ...column, isNullable: false });
    return fc.oneof(
      arbitraryValue(column),
      fc.record({ in: fc.array(arbitraryValue(column), { maxLength: 4 }) }),
      fc.record({ from: bound, before: bound }, { requiredKeys: [] }),
    );
  };
  return fc
    .subarray(comparable(name), { maxLength: 3 })
    .chain((columns) => fc.record(Object.fromEntries(columns.map((column) => [column.key, conditionOf(column)]))));
}

function comparable(name: TableName): Column[] {
  return anyTable(name).columns.filter(({ kind }) => kind !== 'json' && kind !== 'bytes');
}

type Step = (collection: Collection<AnyRecord>, map: MapCollection) => Promise<void>;

const code = async (result: Promise<unknown>) => result.catch((error) => error.code);

/** Makes one thing to do to a collection and its map alike. */
function arbitraryStep(name: TableName): fc.Arbitrary<Step> {
  const record = arbitraryRecord(name);
  const fixed = ['id', 'version', UNIQUE[name]];
  const changes = record.chain((values) =>
    fc
      .subarray(Object.keys(values).filter((key) => !fixed.includes(key)))
      .map((keys) => Object.fromEntries(keys.map((key) => [key, values[key]]))),
  );
  const id = record.map((values) => values.id);
  return fc.oneof<fc.WeightedArbitrary<Step>[]>(
    {
      weight: 4,
      arbitrary: record.map((values) => async (collection, map) => {
        expect(await code(collection.insert(values))).toBe(map.insert(values));
      }),
    },
    {
      weight: 3,
      arbitrary: fc.tuple(id, changes, fc.option(fc.constantFrom(1, 2), { nil: undefined })).map((args) => {
        return async (collection, map) => expect(await code(collection.update(...args))).toEqual(map.update(...args));
      }),
    },
    {
      weight: 1,
      arbitrary: id.map((key) => async (collection, map) => {
        await collection.remove(key);
        map.remove(key);
      }),
    },
    {
      weight: 2,
      arbitrary: id.map((key) => async (collection, map) => {
        expect(await collection.get(key)).toEqual(map.get(key));
      }),
    },
    {
      weight: 3,
      arbitrary: fc
        .record({
          where: arbitraryWhere(name),
          orderBy: fc.constantFrom(...comparable(name).map(({ key }) => key)),
          descending: fc.boolean(),
          limit: fc.integer({ min: 1, max: 5 }),
        })
        .map((query) => (collection, map) => compareLists(collection, map, query)),
    },
  );
}

/** Walks a list page by page. */
async function compareLists(collection: Collection<AnyRecord>, map: MapCollection, query: ListQuery<AnyRecord>) {
  const expected = map.list({ ...query, limit: Number.POSITIVE_INFINITY });
  expect(await collection.count(query.where)).toBe(expected.length);
  const found: AnyRecord[] = [];
  for (let after: AnyRecord | undefined; ; ) {
    const page = await collection.list({ ...query, after });
    expect(page).toEqual(map.list({ ...query, after }));
    found.push(...page);
    if (page.length < query.limit) break;
    after = page.at(-1);
  }
  expect(found).toEqual(expected);
}

describeEngines('collections', ({ open, makeTarget }) => {
  let shared: Store;
  beforeAll(async () => {
    shared = await openStore(await makeTarget());
  });
  afterAll(() => shared?.close());

  it.each(TABLE_NAMES)('%s do what a map does', async (name) => {
    await insertParent(shared, name);
    const steps = fc.array(arbitraryStep(name), { minLength: 10, maxLength: 30, size: 'max' });
    await fc.assert(
      fc.asyncProperty(steps, async (run) => {
        await shared.transaction(async (tables) => {
          const collection = anyCollection(tables, name);
          for (const { id } of await collection.list({ limit: 1000 })) await collection.remove(id);
          const map = new MapCollection(name);
          for (const step of run) await step(collection, map);
          expect(await collection.list({ limit: 1000 })).toEqual(map.list({ limit: 1000 }));
        });
      }),
      { numRuns: 12 },
    );
  });

  it('are the same after the database was closed', async () => {
    const target = await makeTarget();
    const first = await open(target);
    for (const name of TABLE_NAMES) {
      await insertParent(first, name);
      await first.transaction((tables) => anyCollection(tables, name).insert(makeRecord(name, 'x/y')));
    }
    await first.close();
    const again = await open(target);
    for (const name of TABLE_NAMES) {
      const found = await again.read((tables) => anyCollection(tables, name).get('x/y'));
      expect(found, name).toStrictEqual(makeRecord(name, 'x/y'));
    }
  });

  it('refuse text that an engine would not keep as it is', async () => {
    const store = await open();
    for (const name of ['a\0b', 'a\ud800']) {
      const refused = { code: 'request-invalid' };
      await expect(store.transaction(({ users }) => users.insert(makeUser('a', { name })))).rejects.toMatchObject(
        refused,
      );
      await expect(store.read(({ users }) => users.get(name))).rejects.toMatchObject(refused);
      await expect(store.read(({ users }) => users.list({ where: { name }, limit: 1 }))).rejects.toMatchObject(refused);
    }
    expect(await store.read(({ users }) => users.count())).toBe(0);
  });

  it('take quotes and comments of SQL for text', async () => {
    const store = await open();
    const name = `'; drop table users; -- " \` $1 ? :x`;
    await store.transaction(({ users }) => users.insert(makeUser(name, { name })));
    expect(await store.read(({ users }) => users.list({ where: { id: name, name }, limit: 9 }))).toEqual([
      makeUser(name, { name }),
    ]);
  });

  it('fail when a bound is undefined, instead of listing everything', async () => {
    const store = await open();
    const query = { where: { authority: undefined }, limit: 1 };
    await expect(store.read(({ users }) => users.list(query))).rejects.toThrow('authority is undefined');
    await expect(store.read(({ users }) => users.count(query.where))).rejects.toThrow('authority is undefined');
  });

  it('give a record with a key that another has as a conflict, and the transaction goes on', async () => {
    const store = await open();
    await store.transaction(async ({ users }) => {
      await users.insert(makeUser('a', { oidcSubject: 's' }));
      await expect(users.insert(makeUser('a'))).rejects.toMatchObject({ code: 'conflict' });
      await expect(users.insert(makeUser('b', { oidcSubject: 's' }))).rejects.toMatchObject({ code: 'conflict' });
      await users.insert(makeUser('c'));
    });
    expect(await store.read(({ users }) => users.count())).toBe(2);
  });

  it('end the transaction when a change meets a key that another has', async () => {
    const store = await open();
    await store.transaction(async ({ users }) => {
      await users.insert(makeUser('a', { oidcSubject: 's' }));
      await users.insert(makeUser('b'));
    });
    const work = store.transaction(async ({ users }) => {
      await users.update('a', { name: 'changed' });
      await users.update('b', { oidcSubject: 's' }).catch(() => {});
    });
    await expect(work).rejects.toMatchObject({ code: 'conflict' });
    expect(await store.read(({ users }) => users.get('a'))).toMatchObject({ name: 'Officer a', version: 1 });
  });

  it('refuse a token of nobody, and let tokens go with their user', async () => {
    const store = await open();
    const token = { ...makeRecord('tokens', 't'), userId: 'a' };
    const insert = () => store.transaction((tables) => anyCollection(tables, 'tokens').insert(token));
    await expect(insert()).rejects.toMatchObject({ code: 'conflict' });
    await store.transaction(({ users }) => users.insert(makeUser('a')));
    await insert();
    await store.transaction(({ users }) => users.remove('a'));
    expect(await store.read(({ tokens }) => tokens.count())).toBe(0);
  });
});
