import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bundlePath } from '../../src/log/tile.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, type LogRegisterOptions } from '../support/log-register.ts';
import type { MirrorServer } from '../support/mirror-server.ts';
import { waitUntil } from '../support/wait.ts';
import { TestFollower, type TestFollowerOptions } from './test-follower.ts';

const DAY_SECONDS = 86_400;

let clock: FakeClock;
let register: LogRegister;
let mirror: MirrorServer;
let folder: string;
let running: TestFollower[];

beforeEach(() => {
  clock = new FakeClock();
  folder = makeFolder();
  running = [];
});

afterEach(async () => {
  await Promise.all(running.map((node) => node.close()));
  await register.close();
});

async function createRegister(options: LogRegisterOptions = {}): Promise<void> {
  register = await LogRegister.create(makeFolder(), { clock, ...options });
  mirror = await register.serve();
}

function startNode(options: Partial<TestFollowerOptions> = {}): TestFollower {
  const nowSeconds = () => clock.wall / 1000;
  const node = new TestFollower({ mirrors: [mirror.url], rootFile: register.rootFile, folder, nowSeconds, ...options });
  running.push(node);
  return node;
}

async function stop(node: TestFollower): Promise<void> {
  running = running.filter((one) => one !== node);
  await node.close();
}

describe('a node', () => {
  test('fetches of an update only what is new', async () => {
    await createRegister();
    await register.bulk({ statements: 300, entries: 2 });
    const node = startNode();
    expect(await node.poll()).toBeUndefined();
    expect(node.list).toMatchObject({ rules: 600 });
    mirror.resetCounters();
    const { index } = await register.notice(['new.example']);
    expect(await node.poll()).toBeUndefined();
    expect(node.blocked(['new.example', 'b299-1.example'])).toHaveLength(2);
    const asked = [...mirror.requests.keys()];
    expect(asked.filter((path) => path.startsWith('tile/'))).toEqual([bundlePath(1, index + 1 - 256)]);
    expect(asked.filter((path) => path.startsWith('annex/'))).toHaveLength(1);
    expect(mirror.sentBytes).toBeLessThan(20_000);
    mirror.resetCounters();
    await node.poll();
    expect(mirror.sentBytes).toBeLessThan(2_000);
    expect([...mirror.requests.keys()]).toEqual(['trust/timestamp.json', 'checkpoint']);
  });

  test('starts again without a network and blocks what it blocked', async () => {
    await createRegister();
    await register.notice(['a.example']);
    const first = startNode();
    await first.poll();
    const { rulesDigest } = first.rules;
    await stop(first);
    const again = startNode({ mirrors: [join(folder, 'nothing-here')] });
    expect(await again.poll()).toBe('mirror-failed');
    expect(again.rules.rulesDigest).toBe(rulesDigest);
    expect(again.follower.status()).toMatchObject({ size: 1, quorum: 1, freshAtSeconds: clock.wall / 1000 });
  });

  test('compiles nothing before it has a checkpoint: an empty list would end every block of a saved one', async () => {
    await createRegister();
    await register.notice(['a.example']);
    mirror.fault = (path) => (path === 'checkpoint' ? 'html' : undefined);
    const node = startNode();
    expect(await node.poll()).toBe('note-invalid');
    expect(node.list).toBeUndefined();
    mirror.thaw();
    await node.poll();
    expect(node.blocked(['a.example'])).toEqual(['a.example']);
  });

  test.each(['value', 'leaf', 'trust'])('fetches anew what its disk has changed in the table %s', async (table) => {
    await createRegister();
    await register.notice(['a.example']);
    await register.notice(['b.example']);
    const first = startNode();
    await first.poll();
    await stop(first);
    flipByte(table);
    mirror.fault = () => 'absent';
    const again = startNode();
    await again.poll();
    expect(again.list).toBeUndefined();
    mirror.thaw();
    expect(await again.poll()).toBeUndefined();
    expect(again.blocked(['a.example', 'b.example'])).toHaveLength(2);
    await stop(again);
    const third = startNode({ mirrors: [join(folder, 'nothing-here')] });
    await third.poll();
    expect(third.blocked(['a.example', 'b.example'])).toHaveLength(2);
  });

  test('fetches an annex anew that its disk has changed', async () => {
    await createRegister();
    await register.notice(['a.example']);
    const first = startNode();
    await first.poll();
    await stop(first);
    flipByte('annex');
    const again = startNode();
    await again.poll();
    expect(again.blocked(['a.example'])).toEqual(['a.example']);
    await stop(again);
    const third = startNode({ mirrors: [join(folder, 'nothing-here')] });
    await third.poll();
    expect(third.blocked(['a.example'])).toEqual(['a.example']);
  });

  /** Changes one byte of every row of a table. */
  function flipByte(table: string): void {
    const db = new DatabaseSync(join(folder, 'register.db'));
    db.function('flip', (bytes) => {
      const changed = Buffer.from(bytes as Uint8Array);
      changed[changed.length >> 1]! ^= 0x01;
      return changed;
    });
    db.exec(`UPDATE ${table} SET bytes = flip(bytes)`);
    db.close();
  }

  test('keeps its leaves when the log gets another key while it is off', async () => {
    await createRegister();
    await register.notice(['a.example']);
    const first = startNode();
    await first.poll();
    // The new key is known, but no checkpoint signed with it has come.
    register.changeAuthorities((file) => {
      file.log!.publicKey = file.witnesses![0]!.publicKey;
    });
    expect(await first.poll()).toBe('checkpoint-foreign');
    expect(first.blocked(['a.example'])).toEqual(['a.example']);
    await stop(first);
    const again = startNode();
    expect(await again.poll()).toBe('checkpoint-foreign');
    expect(again.blocked(['a.example'])).toEqual(['a.example']);
    expect(again.follower.status().size).toBe(1);
  });

  test('takes in what was held while trust had expired, whatever leaf is the last', async () => {
    await createRegister();
    await register.notice(['a.example']);
    const node = startNode();
    await node.poll();
    clock.pass(20 * DAY_SECONDS * 1000);
    await register.appendStatement(register.sign({ type: 'notice', names: ['held.example'] }));
    await register.appendRaw(Buffer.from('no leaf at all'));
    expect(await node.poll()).toBe('trust-expired');
    expect(node.voids).toEqual(['#1 trust-expired', '#2 statement-unreadable']);
    register.refreshTimestamp();
    expect(await node.poll()).toBeUndefined();
    expect(node.blocked(['a.example', 'held.example'])).toEqual(['a.example', 'held.example']);
  });
});

test('an annex that comes later than a list waits for it is in the next list', async () => {
  await createRegister();
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = createServer(async (request, response) => {
    const path = join(register.publicFolder, request.url!);
    if (request.url!.startsWith('/annex/')) await held;
    if (existsSync(path)) response.end(readFileSync(path));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const node = startNode({
    mirrors: [`http://127.0.0.1:${(server.address() as AddressInfo).port}/`],
    patienceMillis: 20,
  });
  await node.poll();
  await register.notice(['late.example']);
  await node.poll();
  expect(node.voids).toEqual(['#0 annex-missing']);
  const { list } = node;
  await node.poll();
  expect(node.list).toBe(list);
  release();
  await waitUntil('the annex arrives', async () => {
    await node.poll();
    return node.list !== list;
  });
  expect(node.blocked(['late.example'])).toEqual(['late.example']);
  expect(node.voids).toEqual([]);
  server.close();
});

test('a mirror of a register with a root of another', async () => {
  await createRegister();
  const other = join(folder, 'other.root.json');
  writeFileSync(other, readFileSync(register.rootFile, 'utf8').replace('"version": 1', '"version": 2'));
  const node = startNode({ rootFile: other });
  expect(await node.poll()).toBe('trust-invalid');
});
