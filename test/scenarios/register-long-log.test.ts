import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openRegister } from '../../src/audit/open-register.ts';
import { replayRegister } from '../../src/audit/replay.ts';
import { composeHeartbeat } from '../../src/control/publishing/heartbeat.ts';
import { TILE_WIDTH } from '../../src/log/tile.ts';
import { composeLeaf } from '../../src/register/leaf.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, signerOf } from '../support/log-register.ts';
import type { MirrorServer } from '../support/mirror-server.ts';
import { LICENSEE, PACK_FILE } from '../support/test-authority.ts';
import { TestFollower } from '../sync/test-follower.ts';

/** Years of a register: a notice now and then, and a heartbeat every hour. */
const STATEMENTS = 50_000;
const NOTICES = 1_000;
const ENTRIES = 100;
const SPELLS = 4;
const HEARTBEATS = STATEMENTS - NOTICES;
/** Two officers sign a notice, one a heartbeat. */
const SIGNATURES = 2 * NOTICES + HEARTBEATS;
/** Signatures that a look at the log has besides: on a checkpoint and on the trust files. */
const OTHER_SIGNATURES = 40;
const APPENDED_TOGETHER = 4_096;

const work = vi.hoisted(() => ({ verified: 0 }));
vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>();
  const verify = (...terms: Parameters<typeof crypto.verify>) => {
    work.verified++;
    return crypto.verify(...terms);
  };
  return { ...crypto, verify };
});

/** A store that counts the leaves read from it. */
class CountingStore extends FaultyStore {
  leafReads = 0;

  override leaf(index: number) {
    this.leafReads++;
    return super.leaf(index);
  }
}

const clock = new FakeClock();
let register: LogRegister;
let mirror: MirrorServer;
let store: CountingStore;
let node: TestFollower;

beforeAll(async () => {
  register = await LogRegister.create(makeFolder(), { clock });
  for (let spell = 0; spell < SPELLS; spell++) {
    const statements = NOTICES / SPELLS;
    await register.bulk({ statements, entries: ENTRIES, first: spell * statements });
    await appendHeartbeats((spell * HEARTBEATS) / SPELLS, HEARTBEATS / SPELLS);
  }
  mirror = await register.serve();
  node = new TestFollower({
    mirrors: [mirror.url],
    rootFile: register.rootFile,
    folder: makeFolder(),
    nowSeconds: () => clock.wall / 1000,
    wrapStore: (inner) => {
      store = new CountingStore(inner, () => undefined);
      return store;
    },
  });
}, 240_000);

afterAll(async () => {
  await node.close();
  await register.close();
});

async function appendHeartbeats(first: number, count: number): Promise<void> {
  const terms = { authority: 'mcmc', signer: signerOf('heartbeat'), intervalSeconds: 3_600 };
  const { sequencer } = register.site;
  for (let done = 0; done < count; done += APPENDED_TOGETHER) {
    const batch = Array.from({ length: Math.min(APPENDED_TOGETHER, count - done) }, (_, i) =>
      // All of the past: one signed ahead of the log's clock is void.
      composeHeartbeat(terms, register.nowSeconds - HEARTBEATS + first + done + i),
    );
    await Promise.all(batch.map((envelope) => sequencer.append((atSeconds) => composeLeaf(envelope, atSeconds))));
  }
  await sequencer.flush();
}

function startCounting(): void {
  mirror.resetCounters();
  store.leafReads = 0;
  work.verified = 0;
}

/** Requests since counting began, by the first folder of their path. */
function requestsTo(folder: string): number[] {
  return [...mirror.requests].filter(([path]) => path.startsWith(folder)).map(([, count]) => count);
}

describe(`a log of ${STATEMENTS} statements`, () => {
  test('is replayed whole, and everything in it is fetched, read and verified once', async () => {
    startCounting();
    expect(await node.poll()).toBeUndefined();
    const list = node.list!;
    expect(list).toMatchObject({ rules: NOTICES * ENTRIES, entries: NOTICES * ENTRIES, refusedCount: 0 });
    expect(list.verdicts.filter(({ ok, type }) => ok && type === 'heartbeat')).toHaveLength(HEARTBEATS);
    expect(node.voids).toEqual([]);
    expect(node.blocked(['b0-0.example', `b${NOTICES - 1}-${ENTRIES - 1}.example`, 'other.example'])).toHaveLength(2);
    expect(work.verified - SIGNATURES).toBeGreaterThan(0);
    expect(work.verified - SIGNATURES).toBeLessThan(OTHER_SIGNATURES);
    expect(store.leafReads).toBe(STATEMENTS);
    expect(requestsTo('tile/')).toEqual(Array(Math.ceil(STATEMENTS / TILE_WIDTH)).fill(1));
    expect(requestsTo('annex/')).toEqual(Array(NOTICES).fill(1));
  }, 120_000);

  test('takes an update with the work that one statement is', async () => {
    startCounting();
    const { envelope, annex } = await register.notice(['update.example']);
    work.verified = 0;
    expect(await node.poll()).toBeUndefined();
    expect(node.list!.rules).toBe(NOTICES * ENTRIES + 1);
    expect(node.blocked(['update.example', 'b0-0.example'])).toHaveLength(2);
    expect(work.verified).toBeGreaterThan(2);
    expect(work.verified).toBeLessThan(2 + OTHER_SIGNATURES);
    expect(store.leafReads).toBe(1);
    expect(requestsTo('tile/')).toEqual([1]);
    expect(requestsTo('annex/')).toEqual([1]);
    expect(mirror.requests.size).toBeLessThanOrEqual(5);
    expect(mirror.sentBytes).toBeLessThan(2 * (envelope.length + annex!.bytes.length) + 20_000);
  }, 60_000);

  test('is audited with each signature verified once, and replayed without those of heartbeats', async () => {
    startCounting();
    const { register: audited, archive } = await openRegister({
      mirrors: [mirror.url],
      pinnedRoot: readFileSync(register.rootFile),
      packs: [readFileSync(PACK_FILE)],
      cacheFolder: join(makeFolder(), 'cache'),
      annexFolders: [],
      nowSeconds: clock.wall / 1000,
    });
    try {
      const { rulesDigest, foldedAtSeconds } = node.list!;
      const replay = replayRegister(audited, LICENSEE, foldedAtSeconds);
      expect(replay).toMatchObject({ rulesDigest, treeSize: STATEMENTS + 1, unread: 0 });
      expect(work.verified - (SIGNATURES - HEARTBEATS)).toBeGreaterThan(2);
      expect(work.verified - (SIGNATURES - HEARTBEATS)).toBeLessThan(2 + OTHER_SIGNATURES);
      expect(audited.read().verdicts.filter(({ ok }) => ok)).toHaveLength(STATEMENTS + 1);
      expect(work.verified - SIGNATURES).toBeGreaterThan(2);
      expect(work.verified - SIGNATURES).toBeLessThan(2 + OTHER_SIGNATURES);
    } finally {
      await archive.close();
    }
  }, 120_000);
});
