import type { KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeDurably } from '../../src/base/durable-file.ts';
import { loadTrust } from '../../src/trust/client.ts';
import { parseMetadata } from '../../src/trust/metadata.ts';
import { type PublishOptions, publishChange } from '../../src/trust/publish.ts';
import {
  createTrustRepository,
  publishAuthorities,
  refreshTimestamp,
  rotateTrust,
  type TrustKeys,
} from '../../src/trust/repository.ts';
import { readFrom } from '../../src/trust/served-tree.ts';
import { allOf, DAY, forge, makeKeys, NOW, seededKey, THRESHOLDS, TrustFixture } from './fixture.ts';
import { PlainClient, serveFolder } from './plain-client.ts';

let repository: TrustFixture;
beforeEach(() => {
  repository = new TrustFixture();
});
afterEach(() => repository.clear());

describe('the served tree', () => {
  it('holds consistent snapshots: every file but the timestamp has a version or a hash in its name', () => {
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
    const names = readdirSync(repository.tree, { recursive: true, encoding: 'utf8' }).toSorted();
    expect(names).toEqual([
      '1.root.json',
      '1.snapshot.json',
      '1.targets.json',
      '2.snapshot.json',
      '2.targets.json',
      'targets',
      expect.stringMatching(/^targets\/[0-9a-f]{64}\.authorities\.json$/),
      expect.stringMatching(/^targets\/[0-9a-f]{64}\.authorities\.json$/),
      'timestamp.json',
    ]);
  });

  it('is made once only', () => {
    const { keys } = repository;
    const again = () => createTrustRepository({ ...repository.at(), keys, thresholds: THRESHOLDS, authorities: '{}' });
    expect(again).toThrow(/holds a repository already/);
  });

  it('cannot be changed before it is made', () => {
    const options = { folder: join(repository.folder, 'none'), nowSeconds: NOW, keys: repository.keys };
    expect(() => publishAuthorities({ ...options, authorities: '{}' })).toThrow(/holds no repository/);
    expect(() => refreshTimestamp(options)).toThrow(/holds no repository/);
  });

  it.each([
    ['a threshold above the count of keys', { root: 4, targets: 2 }],
    ['no threshold', { root: 0, targets: 2 }],
    ['a part of a signature', { root: 1.5, targets: 2 }],
  ])('is not made with %s', (_what, thresholds) => {
    const options = { folder: join(repository.folder, 'new'), nowSeconds: NOW, keys: repository.keys };
    expect(() => createTrustRepository({ ...options, thresholds, authorities: '{}' })).toThrow(
      expect.objectContaining({ code: 'trust-invalid' }),
    );
  });

  it('is not made with one key twice in a role', () => {
    const [key] = repository.keys.root;
    const keys = { ...repository.keys, root: [key, key, repository.keys.root[1]] };
    const options = { folder: join(repository.folder, 'new'), nowSeconds: NOW, keys };
    expect(() => createTrustRepository({ ...options, thresholds: THRESHOLDS, authorities: '{}' })).toThrow(
      /lists a key twice/,
    );
  });
});

describe('publishing', () => {
  it('refuses below the threshold of targets, and writes nothing', () => {
    const before = repository.snapshotTree();
    const keys = { ...repository.keys, targets: repository.keys.targets.slice(1) };
    expect(() => publishAuthorities({ ...repository.at(), keys, authorities: '{}' })).toThrow(
      /targets was signed by 1\/2/,
    );
    expect(repository.snapshotTree()).toEqual(before);
  });

  it.each(['snapshot', 'timestamp'] as const)('refuses a stranger as %s key, and writes nothing', (role) => {
    const before = repository.snapshotTree();
    const keys = { ...repository.keys, [role]: seededKey('stranger') };
    expect(() => publishAuthorities({ ...repository.at(), keys, authorities: '{}' })).toThrow(/signed by 0\/1/);
    expect(repository.snapshotTree()).toEqual(before);
  });

  it('renews the snapshot with the timestamp in the second half of its term, if its key is given', () => {
    const { snapshot: _offline, ...timestampOnly } = repository.keys;
    const renew = (days: number, keys: Pick<TrustKeys, 'timestamp'> & Partial<TrustKeys>) =>
      refreshTimestamp({ ...repository.at(NOW + days * DAY), keys }).written;
    expect(renew(1, repository.keys)).toEqual(['timestamp.json']);
    expect(renew(16, timestampOnly)).toEqual(['timestamp.json']);
    expect(renew(16, repository.keys)).toEqual(['2.snapshot.json', 'timestamp.json']);
    expect(renew(17, repository.keys)).toEqual(['timestamp.json']);
  });

  it('does not renew a timestamp over a role that has expired: nodes would refuse it all the same', () => {
    const renew = () => refreshTimestamp({ ...repository.at(NOW + 181 * DAY), keys: repository.keys });
    expect(renew).toThrow(
      expect.objectContaining({ code: 'trust-expired', message: expect.stringContaining('targets') }),
    );
  });

  it.each(['targets', 'snapshot'] as const)(
    'takes a version of %s that no file has: a mirror may have copied it',
    (role) => {
      repository.serve(`7.${role}.json`, 'left over by a crash');
      const { versions } = publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{}' });
      expect(versions[role]).toBe(8);
      expect(repository.read(`7.${role}.json`)!.toString()).toBe('left over by a crash');
    },
  );

  it('refuses a first root below its own threshold, which no node would take as its pin', () => {
    const folder = join(repository.folder, 'new');
    const root = parseMetadata('root', forge(repository.read('1.root.json'), repository.keys.root.slice(1, 2)));
    const targets = parseMetadata('targets', repository.read('1.targets.json')!);
    const change = { root, targets, authorities: Buffer.from('{"text":1}') };
    const attempt = () => publishChange(change, allOf(repository.keys), { folder, nowSeconds: NOW });
    expect(attempt).toThrow(/root was signed by 1\/2/);
    expect(existsSync(folder)).toBe(false);
  });

  it('refuses to build on a tree that was tampered with', () => {
    repository.serve('1.targets.json', repository.read('1.targets.json')!.toString().replace('2026', '2027'));
    expect(() => refreshTimestamp({ ...repository.at(), keys: repository.keys })).toThrow(/targets/);
  });
});

describe('rotation', () => {
  const rotate = (next: TrustKeys, signers: readonly KeyObject[], thresholds = THRESHOLDS) =>
    rotateTrust({ ...repository.at(), keys: next, thresholds, signers });

  it.each(['root', 'targets', 'snapshot', 'timestamp'] as const)(
    'of the %s key alone reaches every node',
    async (role) => {
      await repository.refresh();
      const old = repository.keys;
      const next = { ...old, [role]: makeKeys('second')[role] } as TrustKeys;
      rotate(next, [...allOf(old), ...allOf(next)]);
      const followed = await repository.refresh();
      expect(followed.versions.root).toBe(2);
      repository.files = new Map();
      expect((await repository.refresh()).versions).toEqual(followed.versions);
      // The new keys work from now on, and the old ones do not.
      publishAuthorities({ ...repository.at(), keys: next, authorities: '{"text":2}' });
      expect((await repository.refresh()).authorities).toBe('{"text":2}');
      if (role === 'root') {
        expect(() => rotate(old, allOf(old))).toThrow(/root was signed by 0\/2/);
      } else {
        expect(() => publishAuthorities({ ...repository.at(), keys: old, authorities: '{}' })).toThrow(/signed by 0\//);
      }
    },
  );

  it('of thresholds is obeyed', async () => {
    const { keys } = repository;
    rotate(keys, allOf(keys), { root: 3, targets: 1 });
    expect((await repository.refresh()).versions).toMatchObject({ root: 2, targets: 2 });
    const [one] = keys.targets;
    publishAuthorities({ ...repository.at(), keys: { ...keys, targets: [one] }, authorities: '{"text":2}' });
    expect((await repository.refresh()).authorities).toBe('{"text":2}');
    expect(() => rotate(keys, [...keys.root.slice(1), ...keys.targets, keys.snapshot, keys.timestamp])).toThrow(/2\/3/);
  });

  it('without a change renews the root for a new term', async () => {
    const later = NOW + 100 * DAY;
    const { keys } = repository;
    rotateTrust({ ...repository.at(later), keys, thresholds: THRESHOLDS, signers: allOf(keys) });
    const { expires, versions } = await repository.refresh({ nowSeconds: later });
    expect(versions).toMatchObject({ root: 2, targets: 1 });
    expect(expires.root).toBe(later + 365 * DAY);
  });

  it('goes on when old online and targets keys are lost: nodes keep what they have until it is done', async () => {
    await repository.refresh();
    const next = { ...makeKeys('second'), root: repository.keys.root };
    expect(rotate(next, allOf(next)).written.slice(-2)).toEqual(['2.root.json', 'timestamp.json']);
    expect((await repository.refresh()).versions.root).toBe(2);
  });

  it('is accepted exactly when thresholds of old and new root keys have signed', () => {
    const old = repository.keys.root;
    const fresh = makeKeys('second').root;
    const subset = (keys: readonly KeyObject[]) => fc.subarray([...keys]);
    const cases = fc.record({
      // The new root may keep some of the old keys.
      next: fc.tuple(fc.subarray([...old]), fc.subarray([...fresh])).map((parts) => parts.flat()),
      threshold: fc.integer({ min: 1, max: 4 }),
      signers: fc.tuple(subset(old), subset(fresh), subset([seededKey('stranger')])).map((parts) => parts.flat()),
    });
    const served = repository.snapshotTree();
    let accepted = 0;
    fc.assert(
      fc.property(cases, ({ next, threshold, signers }) => {
        repository.restoreTree(served);
        const { targets, snapshot, timestamp } = repository.keys;
        const keys = { ...repository.keys, root: next };
        const by = (holders: readonly KeyObject[]) => signers.filter((signer) => holders.includes(signer)).length;
        const expected = threshold <= next.length && by(old) >= 2 && by(next) >= threshold;
        const attempt = () =>
          rotate(keys, [...signers, ...targets, snapshot, timestamp], { root: threshold, targets: 2 });
        if (expected) accepted += Number(attempt().versions.root === 2);
        else expect(attempt).toThrow(expect.objectContaining({ code: 'trust-invalid' }));
      }),
      { numRuns: 150 },
    );
    expect(accepted).toBeGreaterThan(5);
  });
});

/** A way a write can go wrong. */
const FAULTS: Record<string, (path: string, bytes: Uint8Array) => void> = {
  'before it': () => {},
  'with half of it beside the file': (path, bytes) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.staged`, bytes.subarray(0, bytes.length / 2));
  },
  'after it, failed but persisted': (path, bytes) => writeDurably(path, bytes),
};

/** Writes that fail from the nth on. */
function failAt(count: number, fault: string): NonNullable<PublishOptions['write']> {
  let written = 0;
  return (path, bytes) => {
    if (written++ < count) {
      writeDurably(path, bytes);
      return;
    }
    FAULTS[fault](path, bytes);
    throw new Error('the disk is gone');
  };
}

/** Everything that is published: what it does, how many files it writes, and the text in force after it. */
const ACTS: Record<string, { act: (write?: PublishOptions['write']) => void; writes: number; text: string }> = {
  'new authorities': {
    act: (write) => publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}', write }),
    writes: 4,
    text: '{"text":2}',
  },
  'a timestamp': {
    act: (write) => refreshTimestamp({ ...repository.at(NOW + DAY), keys: repository.keys, write }),
    writes: 1,
    text: '{"text":1}',
  },
  'a timestamp and a snapshot': {
    act: (write) => refreshTimestamp({ ...repository.at(NOW + 20 * DAY), keys: repository.keys, write }),
    writes: 2,
    text: '{"text":1}',
  },
  'a rotation of every key': {
    act: (write) => {
      const next = makeKeys('second');
      const signers = [...allOf(repository.keys), ...allOf(next)];
      rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers, write });
    },
    writes: 4,
    text: '{"text":1}',
  },
};

const CRASHES = Object.entries(ACTS).flatMap(([what, { writes }]) =>
  Array.from({ length: writes }, (_none, at) => Object.keys(FAULTS).map((fault) => [what, at, fault] as const)).flat(),
);

describe('a crash', () => {
  it.each(Object.keys(ACTS))('is tried at every write of %s', (what) => {
    let count = 0;
    ACTS[what].act((path, bytes) => {
      count++;
      writeDurably(path, bytes);
    });
    expect(count).toBe(ACTS[what].writes);
  });

  it.each(CRASHES)(
    'while publishing %s, at write %i, %s: the tree is served on, and doing it again ends it',
    async (what, at, fault) => {
      const { act, text } = ACTS[what];
      const nowSeconds = NOW + (what.startsWith('a timestamp') ? 3 * DAY : 0);
      const before = await repository.refresh();
      const served = repository.snapshotTree();
      expect(() => act(failAt(at, fault))).toThrow('the disk is gone');
      const known = await repository.refresh({ nowSeconds });
      const fresh = await repository.refresh({ nowSeconds, files: new Map() });
      expect(fresh.versions).toEqual(known.versions);
      expect([before.authorities, text]).toContain(fresh.authorities);
      for (const [path, bytes] of served)
        if (path !== 'timestamp.json') expect(repository.read(path), path).toEqual(bytes);
      act();
      const after = await repository.refresh({ nowSeconds });
      expect(after.authorities).toBe(text);
      expect(after.versions.timestamp).toBeGreaterThan(before.versions.timestamp);
    },
  );

  const FIRST = Array.from({ length: 5 }, (_none, at) =>
    Object.keys(FAULTS).map((fault) => [at, fault] as const),
  ).flat();
  it.each(FIRST)(
    'while making a repository, at write %i, %s: nothing is served yet or all, and it can be done again',
    async (at, fault) => {
      const folder = mkdtempSync(join(tmpdir(), 'warta-trust-first-'));
      const options = {
        folder,
        nowSeconds: NOW,
        keys: repository.keys,
        thresholds: THRESHOLDS,
        authorities: '{"text":1}',
      };
      const make = (write?: PublishOptions['write']) => createTrustRepository({ ...options, write });
      expect(() => make(failAt(at, fault))).toThrow('the disk is gone');
      const isServed = readdirSync(folder).includes('timestamp.json');
      expect(isServed).toBe(at === 4 && fault.startsWith('after'));
      if (!isServed) make();
      const read = readFrom(folder);
      const reading = await repository.refresh({ pinnedRoot: read('1.root.json')!, fetch: async (path) => read(path) });
      expect(reading.authorities).toBe('{"text":1}');
      rmSync(folder, { recursive: true });
    },
  );

  it.each([
    [
      'by rotating again',
      (next: TrustKeys) =>
        rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers: allOf(next) }),
    ],
    ['by publishing', (keys: TrustKeys) => publishAuthorities({ ...repository.at(), keys, authorities: '{"text":1}' })],
  ])(
    'between root and timestamp of a rotation with lost keys leaves nodes with what they have, and is ended %s',
    async (_what, end) => {
      await repository.refresh();
      const next = { ...makeKeys('second'), root: repository.keys.root };
      const write = failAt(2, 'after it, failed but persisted');
      const rotate = () =>
        rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers: allOf(next), write });
      expect(rotate).toThrow('the disk is gone');
      expect(repository.read('2.root.json')).toBeDefined();
      const onRoot = (name: string, bytes: Buffer) => repository.files.set(name, bytes);
      expect(await repository.refuse({ fetch: async (path) => repository.read(path) })).toMatchObject({
        code: 'trust-invalid',
      });
      await expect(repository.refresh({ onRoot })).rejects.toThrow(/timestamp/);
      expect(loadTrust(repository)).toMatchObject({ authorities: '{"text":1}', versions: { root: 2, timestamp: 1 } });
      end(next);
      expect((await repository.refresh()).authorities).toBe('{"text":1}');
      expect(loadTrust(repository).versions.timestamp).toBeGreaterThan(1);
    },
  );
});

describe('tuf-js as a client of its own, over HTTP', () => {
  const now = Math.floor(Date.now() / 1000);
  let server: Awaited<ReturnType<typeof serveFolder>>;
  let client: PlainClient;
  beforeEach(async () => {
    repository.clear();
    repository = new TrustFixture({ nowSeconds: now });
    server = await serveFolder(repository.tree);
    client = new PlainClient(server.url, repository.pinnedRoot);
  });
  afterEach(async () => {
    client.clear();
    await server.close();
  });

  it('reads what we publish, from the first root through every change', async () => {
    const { keys } = repository;
    expect(await client.read()).toBe('{"text":1}');
    publishAuthorities({ ...repository.at(now), keys, authorities: '{"text":2}' });
    expect(await client.read()).toBe('{"text":2}');
    refreshTimestamp({ ...repository.at(now), keys });
    expect(await client.read()).toBe('{"text":2}');
    const next = makeKeys('second');
    const signers = [...allOf(keys), ...allOf(next)];
    rotateTrust({ ...repository.at(now), keys: next, thresholds: THRESHOLDS, signers });
    expect(await client.read()).toBe('{"text":2}');
    publishAuthorities({ ...repository.at(now), keys: next, authorities: '{"text":3}' });
    expect(await client.read()).toBe('{"text":3}');
    const late = new PlainClient(server.url, repository.pinnedRoot);
    expect(await late.read()).toBe('{"text":3}');
    late.clear();
  });

  it('refuses what is no longer ours', async () => {
    expect(await client.read()).toBe('{"text":1}');
    const other = new TrustFixture({ nowSeconds: now, keySet: 'other' });
    repository.restoreTree(other.snapshotTree());
    other.clear();
    await expect(client.read()).rejects.toThrow(/timestamp was signed by 0\/1/);
  });
});
