import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteNodeStore } from '../../src/sync/node-store.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { type CommitFault, FaultyStore } from '../support/faulty-store.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { runProgram } from '../support/programs.ts';
import { TestFollower, type TestFollowerOptions } from '../sync/test-follower.ts';

let clock: FakeClock;
let register: LogRegister;
let folder: string;
let store: FaultyStore;
let toClose: { close(): Promise<unknown> }[];

beforeEach(async () => {
  clock = new FakeClock();
  folder = makeFolder();
  toClose = [];
  register = await LogRegister.create(makeFolder(), { clock, witnesses: 2, quorum: 2 });
});

afterEach(async () => {
  for (const one of toClose.reverse()) await one.close();
  await register.close();
});

const now = () => clock.wall / 1000;

function startNode(
  faultOf: (commit: number) => CommitFault | undefined = () => undefined,
  options: Partial<TestFollowerOptions> = {},
): TestFollower {
  const node = new TestFollower({
    mirrors: [register.publicFolder],
    rootFile: register.rootFile,
    folder,
    nowSeconds: now,
    wrapStore: (real) => {
      store = new FaultyStore(real, faultOf);
      return store;
    },
    ...options,
  });
  toClose.push(node);
  return node;
}

async function stop(node: TestFollower): Promise<void> {
  toClose = toClose.filter((one) => one !== node);
  await node.close();
}

const offline = () => ({ mirrors: [join(folder, 'nothing-here')] });
const NAMES = ['old.example', 'wrong.example', 'new.example'];

/**
 * The life of a node that all faults are tried on: it is installed, then trust changes, one notice is revoked and one comes;
 * then a block waits for witnesses. After each look what is blocked was in force at some time, or is by now.
 */
async function live(node: () => TestFollower, afterEachPoll: (step: number) => Promise<void>): Promise<void> {
  await register.notice(['old.example']);
  const { id } = await register.notice(['wrong.example']);
  await node().poll();
  await afterEachPoll(1);
  clock.pass(10_000);
  register.rotateTrust('next');
  register.changeAuthorities(() => {});
  await register.revoke(id);
  await register.notice(['new.example']);
  await node().poll();
  await afterEachPoll(2);
  clock.pass(10_000);
  await register.withoutWitnesses(() => register.notice(['held.example']));
  await node().poll();
  await afterEachPoll(3);
}

/** What may be blocked after each step of `live`: all that was in force at the time, or what was before. */
const ALLOWED: Record<number, string[][]> = {
  1: [[], ['old.example'], ['old.example', 'wrong.example']],
  2: [[], ['old.example', 'wrong.example'], ['old.example'], ['old.example', 'new.example']],
  3: [[], ['old.example', 'wrong.example'], ['old.example'], ['old.example', 'new.example']],
};

/** Requires that a node comes to what is in force, whatever happened to it before. */
async function expectConverged(node: TestFollower): Promise<void> {
  clock.pass(60_000);
  await register.cosign();
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked([...NAMES, 'held.example'])).toEqual(['old.example', 'new.example', 'held.example']);
  expect(node.voids).toEqual([]);
}

describe('a commit fails', () => {
  /** Commits of a life without faults. */
  async function countCommits(): Promise<number> {
    const node = startNode();
    await live(
      () => node,
      async () => {},
    );
    const { commits } = store;
    await expectConverged(node);
    await stop(node);
    return commits;
  }

  test.each<CommitFault>(['before', 'after'])(
    'each in turn, %s it is written: never a rule too many',
    async (fault) => {
      const commits = await countCommits();
      expect(commits).toBeGreaterThanOrEqual(8);
      for (let failing = 1; failing <= commits; failing++) {
        await register.close();
        clock = new FakeClock();
        register = await LogRegister.create(makeFolder(), { clock, witnesses: 2, quorum: 2 });
        folder = makeFolder();
        const node = startNode((commit) => (commit === failing ? fault : undefined));
        let failures = 0;
        await live(
          () => node,
          async (step) => {
            if (node.failure === 'store-failed' || node.incidents.includes('store-failed')) failures++;
            expect(ALLOWED[step]).toContainEqual(node.blocked(NAMES));
            expect(node.blocked(['held.example'])).toEqual([]);
          },
        );
        expect([failing, failures > 0]).toEqual([failing, true]);
        await expectConverged(node);
        await stop(node);
        // What it kept is good as well.
        const again = startNode(undefined, offline());
        await again.poll();
        expect(again.blocked([...NAMES, 'held.example'])).toEqual(['old.example', 'new.example', 'held.example']);
        await stop(again);
      }
    },
  );

  test('every one from some moment on: releases and new blocks count all the same, and are kept when there is room again', async () => {
    let full = false;
    const node = startNode(() => (full ? 'before' : undefined));
    await register.notice(['old.example']);
    const { id } = await register.notice(['wrong.example']);
    await node.poll();
    full = true;
    await register.revoke(id);
    await register.notice(['new.example']);
    expect(await node.poll()).toBe('store-failed');
    expect(node.blocked(NAMES)).toEqual(['old.example', 'new.example']);
    await register.notice(['newer.example']);
    expect(await node.poll()).toBe('store-failed');
    expect(node.blocked([...NAMES, 'newer.example'])).toEqual(['old.example', 'new.example', 'newer.example']);
    const before = startNode(undefined, offline());
    await before.poll();
    expect(before.blocked(NAMES)).toEqual(['old.example', 'wrong.example']);
    await stop(before);
    full = false;
    expect(await node.poll()).toBeUndefined();
    await stop(node);
    const again = startNode(undefined, offline());
    await again.poll();
    expect(again.blocked(['old.example', 'wrong.example'])).toEqual(['old.example']);
    expect(again.follower.status().size).toBe(register.size);
  });
});

test('reads fail: the last list stays, the node says so, and goes on when they work again', async () => {
  const node = startNode();
  await register.notice(['old.example']);
  await node.poll();
  store.failsReads = true;
  await register.notice(['new.example']);
  expect(await node.poll()).toBe('store-failed');
  expect(node.blocked(NAMES)).toEqual(['old.example']);
  store.failsReads = false;
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['old.example', 'new.example']);
});

describe('torn writes', () => {
  test('the write-ahead log is cut anywhere: what is read is what some commit left', async () => {
    const path = join(folder, 'register.db');
    const real = SqliteNodeStore.open(path);
    const snapshots: string[] = [snapshotOf(real)];
    for (let i = 0; i < 12; i++) {
      const leaves = [Buffer.alloc(100 + i * 700, i), Buffer.alloc(50, i)];
      real.commit({
        firstLeaf: i * 2,
        leaves,
        values: { checkpoint: Buffer.from(`note ${i}`) },
        trust: new Map([['timestamp.json', Buffer.from(`t${i}`)]]),
        receipt: Buffer.from(`receipt ${i}`),
      });
      snapshots.push(snapshotOf(real));
    }
    const wal = readFileSync(`${path}-wal`);
    expect(wal.length).toBeGreaterThan(50_000);
    const seen = new Set<number>();
    for (let cut = 0; cut <= 40; cut++) {
      const copy = join(folder, 'cut', 'register.db');
      rmSync(join(folder, 'cut'), { recursive: true, force: true });
      mkdirSync(join(folder, 'cut'));
      copyFileSync(path, copy);
      const sizeBytes = Math.floor((wal.length * cut) / 40);
      writeFileSync(`${copy}-wal`, wal.subarray(0, sizeBytes));
      if (cut % 3 === 1 && sizeBytes > 5000) garble(`${copy}-wal`, sizeBytes - 3000);
      const store = SqliteNodeStore.open(copy);
      seen.add(snapshots.indexOf(snapshotOf(store)));
      store.commit({ receipt: Buffer.from('goes on') });
      store.close();
      expect(existsSync(`${copy}.damaged`)).toBe(false);
    }
    real.close();
    expect(seen.has(-1)).toBe(false);
    expect(seen.size).toBeGreaterThan(5);
  });

  test('the database is cut: it is set aside and the register is fetched anew', async () => {
    await register.bulk({ statements: 100, entries: 3 });
    const node = startNode();
    await node.poll();
    await stop(node);
    const path = join(folder, 'register.db');
    truncateSync(path, Math.floor(statSync(path).size / 2));
    const again = startNode();
    expect(await again.poll()).toBeUndefined();
    expect(again.list).toMatchObject({ rules: 300 });
    expect(existsSync(`${path}.damaged`)).toBe(true);
  });

  function snapshotOf(store: SqliteNodeStore): string {
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
    const { leaves, receipts } = { leaves: [...store.leaves()].map(hex), receipts: store.receipts(99).map((one) => hex(one.bytes)) }; // biome-ignore format: one line
    return JSON.stringify([leaves, receipts, store.value('checkpoint')?.toString(), [...store.trust()].map(([name, bytes]) => [name, hex(bytes)])]); // biome-ignore format: one line
  }

  function garble(file: string, at: number): void {
    const bytes = readFileSync(file);
    bytes.fill(0x5a, at, at + 700);
    writeFileSync(file, bytes);
  }
});

describe('a full disk', () => {
  const DISK_BYTES = 1 << 20;

  test('a revocation counts though an annex beside it does not fit, and a restart finds the store whole', async () => {
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const mounted = await runProgram('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk]);
    const { id } = await register.notice(['wrong.example']);
    await register.notice(['old.example']);
    const node = startNode(mounted.code === 0 ? undefined : limit, { folder: disk });
    try {
      expect(await node.poll()).toBeUndefined();
      const { size } = node.follower.status();
      // What fits no disk as small as this one.
      await register.bulk({ statements: 1, entries: 10_000 });
      await register.revoke(id);
      expect(await node.poll()).toBe('store-failed');
      expect(node.blocked(['old.example', 'wrong.example', 'b0-9999.example'])).toEqual([
        'old.example',
        'b0-9999.example',
      ]);
      // Nothing fits any more.
      if (mounted.code === 0) fill(disk);
      const long = { reasons: { public: 'Because. '.repeat(800) } };
      for (let i = 0; i < 40 && node.failure === undefined; i++) {
        await register.notice([`${i}.example`, 'new.example'], long);
        await node.poll();
        expect(node.blocked(NAMES)).toEqual(['old.example', 'new.example']);
      }
      expect(node.failure).toBe('store-failed');
      await stop(node);
      // It starts on the full disk with what was kept, and goes on.
      const again = startNode(mounted.code === 0 ? undefined : limit, { ...offline(), folder: disk });
      await again.poll();
      expect(again.follower.status().size).toBeGreaterThanOrEqual(size);
      expect(again.blocked(['old.example'])).toEqual(['old.example']);
      expect(existsSync(join(disk, 'register.db.damaged'))).toBe(false);
      await stop(again);
    } finally {
      if (mounted.code === 0) await runProgram('umount', ['-l', disk]);
    }
  });

  /** Where nothing may be mounted, a bound on what is committed takes the place of the small disk. */
  let committed = 0;
  function limit(): CommitFault | undefined {
    return ++committed > 6 ? 'before' : undefined;
  }

  /** Uses up what is left. */
  function fill(disk: string): void {
    for (const sizeBytes of [1 << 19, 1 << 16, 1 << 12, 1]) {
      for (let i = 0; i < 64; i++) {
        try {
          writeFileSync(join(disk, `filler-${sizeBytes}-${i}`), Buffer.alloc(sizeBytes));
        } catch {
          break;
        }
      }
    }
  }
});
