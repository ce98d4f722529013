import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MAX_RECEIPTS, type NodeStore, SqliteNodeStore, type StoreChanges } from '../../src/sync/node-store.ts';
import { makeFolder } from '../support/folders.ts';

let path: string;
let opened: SqliteNodeStore[];

beforeEach(() => {
  path = join(makeFolder(), 'state/register.db');
  opened = [];
});

afterEach(() => {
  for (const store of opened) store.close();
});

function open(): SqliteNodeStore {
  const store = SqliteNodeStore.open(path);
  opened.push(store);
  return store;
}

function reopen(store: SqliteNodeStore): SqliteNodeStore {
  store.close();
  opened = opened.filter((one) => one !== store);
  return open();
}

const bytes = (text: string) => Buffer.from(text);
const texts = (items: Iterable<Uint8Array>) => [...items].map((item) => Buffer.from(item).toString());
const textMap = (map: Map<string, Uint8Array>) =>
  Object.fromEntries([...map].map(([key, value]) => [key, Buffer.from(value).toString()]));

/** Everything a store holds, in a form that compares. */
function contentsOf(store: NodeStore) {
  return {
    checkpoint: store.value('checkpoint') && Buffer.from(store.value('checkpoint')!).toString(),
    trust: textMap(store.trust()),
    leaves: texts(store.leaves()),
    unwitnessed: textMap(store.unwitnessed()),
    evidence: store.evidence().map(({ code, shown }) => [code, Buffer.from(shown).toString()]),
    receipts: store.receipts(MAX_RECEIPTS).map((receipt) => Buffer.from(receipt.bytes).toString()),
  };
}

describe('a commit', () => {
  test('is there whole after the store was opened again', () => {
    const store = open();
    store.commit({
      values: { checkpoint: bytes('note') },
      trust: new Map([['1.root.json', bytes('root')]]),
      firstLeaf: 0,
      leaves: [bytes('a'), bytes('b'), bytes('')],
      unwitnessed: new Map([['ff', bytes('u')]]),
      annexes: new Map([['aa', bytes('annex')]]),
      evidence: { code: 'checkpoint-inconsistent', atSeconds: 7, held: bytes('one'), shown: bytes('other') },
      receipt: bytes('receipt'),
    });
    const before = contentsOf(store);
    const again = reopen(store);
    expect(contentsOf(again)).toEqual(before);
    expect(before).toEqual({
      checkpoint: 'note',
      trust: { '1.root.json': 'root' },
      leaves: ['a', 'b', ''],
      unwitnessed: { ff: 'u' },
      evidence: [['checkpoint-inconsistent', 'other']],
      receipts: ['receipt'],
    });
    expect([again.leafCount(), again.hasAnnex('aa'), again.hasAnnex('bb')]).toEqual([3, true, false]);
    expect(Buffer.from(again.annex('aa')!).toString()).toBe('annex');
    expect(Buffer.from(again.leaf(1)).toString()).toBe('b');
    expect(again.evidence()[0]).toMatchObject({ atSeconds: 7 });
  });

  test('leaves nothing behind when any part of it cannot be written', () => {
    const store = open();
    store.commit({ values: { checkpoint: bytes('old') }, firstLeaf: 0, leaves: [bytes('a')] });
    const before = contentsOf(store);
    const bad: StoreChanges = {
      values: { checkpoint: bytes('new') },
      trust: new Map([['timestamp.json', bytes('t')]]),
      firstLeaf: 1,
      leaves: [bytes('b'), 'not octets' as unknown as Uint8Array, null as unknown as Uint8Array],
      receipt: bytes('r'),
    };
    expect(() => store.commit(bad)).toThrowError(expect.objectContaining({ code: 'store-failed' }));
    expect(contentsOf(store)).toEqual(before);
    store.commit({ values: { checkpoint: bytes('next') } });
    expect(contentsOf(reopen(store)).checkpoint).toBe('next');
  });

  test('replaces trust as a whole and leaves from the first one given', () => {
    const store = open();
    store.commit({ trust: new Map([['a', bytes('1')], ['b', bytes('2')]]), firstLeaf: 0, leaves: ['a', 'b', 'c'].map(bytes) }); // biome-ignore format: short
    store.commit({ trust: new Map([['b', bytes('3')]]), firstLeaf: 1, leaves: [bytes('x')] });
    expect(contentsOf(store)).toMatchObject({ trust: { b: '3' }, leaves: ['a', 'x'] });
    store.commit({ values: { checkpoint: bytes('n') } });
    store.commit({ values: { checkpoint: null } });
    expect(store.value('checkpoint')).toBeUndefined();
    expect(() => store.leaf(2)).toThrowError(expect.objectContaining({ code: 'store-failed' }));
  });

  test('does the same as a plain model, whatever comes in which order', () => {
    const text = fc.string({ maxLength: 4 }).map(bytes);
    const change = fc.record(
      {
        values: fc.record({ checkpoint: fc.option(text) }),
        firstLeaf: fc.nat({ max: 6 }),
        leaves: fc.array(text, { maxLength: 4 }),
        unwitnessed: fc.dictionary(fc.constantFrom('00', '01', '02'), text).map((o) => new Map(Object.entries(o))),
        witnessed: fc.array(fc.constantFrom('00', '01', '02')),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const store = SqliteNodeStore.open(join(makeFolder(), 'r.db'));
        let checkpoint: string | undefined;
        let leaves: string[] = [];
        const unwitnessed: Record<string, string> = {};
        for (const one of changes) {
          // A node appends right after what it holds, or cuts.
          const firstLeaf = one.leaves || one.firstLeaf !== undefined ? Math.min(one.firstLeaf ?? 0, leaves.length) : undefined; // biome-ignore format: short
          store.commit({ ...one, firstLeaf } as StoreChanges);
          if (one.values) checkpoint = one.values.checkpoint?.toString();
          if (firstLeaf !== undefined) leaves = [...leaves.slice(0, firstLeaf), ...(one.leaves ?? []).map(String)];
          for (const [hash, leaf] of one.unwitnessed ?? []) unwitnessed[hash] = String(leaf);
          for (const hash of one.witnessed ?? []) delete unwitnessed[hash];
          expect(contentsOf(store)).toMatchObject({ leaves, unwitnessed });
          expect(contentsOf(store).checkpoint).toBe(checkpoint);
        }
        store.close();
      }),
      { numRuns: 25 },
    );
  });

  test('is possible after a reading was left half way', () => {
    const store = open();
    store.commit({ firstLeaf: 0, leaves: ['a', 'b', 'c'].map(bytes) });
    for (const leaf of store.leaves()) if (Buffer.from(leaf).toString() === 'a') break;
    store.commit({ firstLeaf: 3, leaves: [bytes('d')] });
    expect(texts(store.leaves())).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('what is bounded', () => {
  const evidence = (shown: string, held = 'held') => ({
    code: 'checkpoint-inconsistent',
    atSeconds: 1,
    held: bytes(held),
    shown: bytes(shown),
  });

  test('evidence: each note shown is kept once, and the first ones stay', () => {
    const store = open();
    for (let i = 0; i < 200; i++) store.commit({ evidence: evidence('the same', `held ${i}`) });
    expect(store.evidence()).toHaveLength(1);
    for (let i = 0; i < 200; i++) store.commit({ evidence: evidence(`note ${i}`) });
    const kept = contentsOf(store).evidence.map(([, shown]) => shown);
    expect(kept.length).toBeLessThanOrEqual(64);
    expect(kept.slice(0, 3)).toEqual(['the same', 'note 0', 'note 1']);
  });

  test('evidence: what proves little leaves room for what proves more', () => {
    const store = open();
    for (let i = 0; i < 200; i++)
      store.commit({ evidence: { ...evidence(`old ${i}`), code: 'checkpoint-rolled-back' } });
    store.commit({ evidence: evidence('two histories') });
    expect(contentsOf(store).evidence).toContainEqual(['checkpoint-inconsistent', 'two histories']);
    expect(store.evidence().length).toBeLessThanOrEqual(64);
  });

  test('receipts: the newest thousand, in order', () => {
    const store = open();
    for (let i = 0; i < MAX_RECEIPTS + 5; i++) store.commit({ receipt: bytes(`receipt ${i}`) });
    expect(store.receiptCount()).toBe(MAX_RECEIPTS);
    const [first, second] = store.receipts(2);
    expect(texts([first!.bytes, second!.bytes])).toEqual(['receipt 5', 'receipt 6']);
    store.commit({ droppedReceipts: [first!.id] });
    const again = reopen(store);
    expect(texts([again.receipts(1)[0]!.bytes])).toEqual(['receipt 6']);
    // A number is never given twice: a receipt that was sent must not take a newer one with it.
    again.commit({ droppedReceipts: again.receipts(MAX_RECEIPTS).map(({ id }) => id) });
    again.commit({ receipt: bytes('after') });
    expect(again.receipts(1)[0]!.id).toBeGreaterThan(second!.id);
  });
});

describe('opening', () => {
  /** Fills a store of several pages and closes it. */
  function fill(): void {
    const store = open();
    store.commit({ values: { checkpoint: bytes('note') }, firstLeaf: 0, leaves: Array.from({ length: 400 }, (_, i) => Buffer.alloc(300, i)) }); // biome-ignore format: short
    store.close();
    opened = [];
  }

  const damages: [string, (file: string) => void][] = [
    ['text in its place', (file) => writeFileSync(file, '<!doctype html>'.repeat(1000))],
    ['its first page overwritten', (file) => overwrite(file, 0, 4096)],
    ['a page in its middle overwritten', (file) => overwrite(file, 8 * 4096, 2 * 4096)],
    ['its second half cut off', (file) => truncate(file, statSync(file).size >> 1)],
  ];

  test.each(damages)('a damaged file is set aside: %s', (_, damage) => {
    fill();
    damage(path);
    const damaged = readFileSync(path);
    const store = open();
    expect(store.leafCount()).toBe(0);
    store.commit({ firstLeaf: 0, leaves: [bytes('a')] });
    expect(readFileSync(`${path}.damaged`).equals(damaged)).toBe(true);
    expect(texts(reopen(store).leaves())).toEqual(['a']);
  });

  test('a file of another format is set aside', () => {
    fill();
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 99');
    db.close();
    expect(open().leafCount()).toBe(0);
    expect(existsSync(`${path}.damaged`)).toBe(true);
  });

  test('an empty file, and one that was never there, are new stores', () => {
    fill();
    writeFileSync(path, '');
    expect(open().leafCount()).toBe(0);
    expect(existsSync(`${path}.damaged`)).toBe(false);
  });

  test('a good file that someone else is writing is left where it is', () => {
    fill();
    const other = new DatabaseSync(path);
    other.exec('BEGIN EXCLUSIVE');
    try {
      expect(open().leafCount()).toBe(400);
    } finally {
      other.exec('ROLLBACK');
      other.close();
    }
    expect(existsSync(`${path}.damaged`)).toBe(false);
  });

  test('a folder that cannot be used is said so', () => {
    const file = join(makeFolder(), 'file');
    writeFileSync(file, '');
    expect(() => SqliteNodeStore.open(join(file, 'register.db'))).toThrowError(
      expect.objectContaining({ code: 'store-failed' }),
    );
  });
});

function overwrite(file: string, from: number, sizeBytes: number): void {
  const handle = openSync(file, 'r+');
  writeSync(handle, Buffer.alloc(sizeBytes, 0xa5), 0, sizeBytes, from);
  closeSync(handle);
}

function truncate(file: string, sizeBytes: number): void {
  const handle = openSync(file, 'r+');
  ftruncateSync(handle, sizeBytes);
  closeSync(handle);
}

describe('leaves read one after the other', () => {
  const read = (store: NodeStore, indexes: readonly number[]) =>
    indexes.map((index) => Buffer.from(store.leaf(index)).toString());

  test('are those of their places, in whatever order they are asked for', () => {
    const store = open();
    store.commit({ firstLeaf: 0, leaves: Array.from({ length: 300 }, (_, i) => bytes(`leaf ${i}`)) });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 299 }), fc.nat({ max: 5 }))), (runs) => {
        const asked = runs.flatMap(([first, more]) => Array.from({ length: more + 1 }, (_, i) => first + i));
        const indexes = asked.filter((index) => index < 300);
        expect(read(store, indexes)).toEqual(indexes.map((index) => `leaf ${index}`));
      }),
    );
  });

  test('are the new ones once others were committed in their place, or gone', () => {
    const store = open();
    store.commit({ firstLeaf: 0, leaves: ['a', 'b', 'c', 'd'].map(bytes) });
    expect(read(store, [0, 1])).toEqual(['a', 'b']);
    store.commit({ firstLeaf: 2, leaves: [bytes('C')] });
    expect(read(store, [2])).toEqual(['C']);
    expect(() => store.leaf(3)).toThrow('leaf 3 is gone');
  });
});
