import { hash } from 'node:crypto';
import { canonicalize } from '@tufjs/canonical-json';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadTrust } from '../../src/trust/client.ts';
import { AUTHORITIES_FILE, MAX_BYTES } from '../../src/trust/metadata.ts';
import { publishAuthorities, refreshTimestamp, rotateTrust } from '../../src/trust/repository.ts';
import { collectTree, readFrom } from '../../src/trust/served-tree.ts';
import { trustKeyOf } from '../../src/trust/trust-key.ts';
import {
  allOf,
  DAY,
  describeFile,
  type Forger,
  forge,
  makeKeys,
  NOW,
  seededKey,
  THRESHOLDS,
  TrustFixture,
} from './fixture.ts';
import { PlainClient, serveFolder } from './plain-client.ts';

const EVIL = Buffer.from('{"text":"evil"}');
const stranger = seededKey('stranger');

let repository: TrustFixture;
beforeEach(async () => {
  repository = new TrustFixture();
  await repository.refresh();
});
afterEach(() => repository.clear());

/** Which keys an attacker holds for each role. */
interface Stolen {
  root?: readonly Forger[];
  targets?: readonly Forger[];
  snapshot?: readonly Forger[];
  timestamp?: readonly Forger[];
}

/** Serves an edition that names the attacker's text, with these versions, signed by what was stolen. */
function serveForgery(stolen: Stolen, version = 9, text: Uint8Array = EVIL): void {
  const digest = hash('sha256', text, 'hex');
  const targets = forge(repository.read('1.targets.json'), stolen.targets ?? repository.keys.targets, {
    version,
    targets: { [AUTHORITIES_FILE]: { length: text.length, hashes: { sha256: digest } } },
  });
  repository.serve(`targets/${digest}.authorities.json`, text);
  serveOnline(stolen, targets, version);
}

/** Serves snapshot and timestamp for these targets. */
function serveOnline(
  { snapshot, timestamp }: Stolen,
  targets: Uint8Array,
  version = 9,
  targetsVersion = version,
): void {
  const { keys } = repository;
  repository.serve(`${targetsVersion}.targets.json`, targets);
  const newSnapshot = forge(repository.read('1.snapshot.json'), snapshot ?? [keys.snapshot], {
    version,
    meta: { 'targets.json': describeFile(targets, targetsVersion) },
  });
  repository.serve(`${version}.snapshot.json`, newSnapshot);
  serveTimestamp(newSnapshot, version, timestamp);
}

function serveTimestamp(
  snapshot: Uint8Array,
  version: number,
  signers: readonly Forger[] = [repository.keys.timestamp],
  named: number = JSON.parse(Buffer.from(snapshot).toString()).signed.version,
): void {
  const meta = { 'snapshot.json': describeFile(snapshot, named) };
  const timestamp = forge(repository.read('timestamp.json'), signers, { version, meta });
  repository.serve('timestamp.json', timestamp);
}

/** Requires that a node which has kept something, and one which has nothing yet, both refuse; and that the first goes on. */
async function expectRefusal(code = 'trust-invalid', says = /./, nowSeconds = NOW): Promise<void> {
  for (const files of [new Map(), repository.files]) {
    repository.files = files;
    const refusal = await repository.refuse({ nowSeconds });
    expect(refusal).toMatchObject({ code, message: expect.stringMatching(says) });
  }
  expect(loadTrust(repository).authorities).toBe('{"text":1}');
}

describe('the forger of these tests', () => {
  it('is believed when it holds every key, so that each refusal below has one reason', async () => {
    serveForgery({});
    expect((await repository.refresh()).authorities).toBe('{"text":"evil"}');
  });
});

describe('arbitrary installation', () => {
  it.each(['targets', 'snapshot', 'timestamp'] as const)('refuses %s signed by a stranger', async (role) => {
    serveForgery({ [role]: [stranger, seededKey('friend')] });
    await expectRefusal('trust-invalid', new RegExp(`${role} was signed by 0/`));
  });

  it.each(['targets', 'snapshot', 'timestamp'] as const)('refuses %s without signatures', async (role) => {
    serveForgery({ [role]: [] });
    await expectRefusal();
  });

  it('refuses a key of another role', async () => {
    serveForgery({ targets: [repository.keys.snapshot, repository.keys.timestamp] });
    await expectRefusal('trust-invalid', /targets was signed by 0\/2/);
  });

  it('refuses a signature that stands under the key id of another', async () => {
    const [one, two] = repository.keys.targets;
    serveForgery({ targets: [one, { key: one, keyId: trustKeyOf(two).keyID }] });
    await expectRefusal('trust-invalid', /targets was signed by 1\/2/);
  });

  it('refuses another text under the name of the signed one, of another length or of the same', async () => {
    for (const text of ['{"text":1} ', '{"text":9}']) {
      repository.serve(`targets/${hash('sha256', '{"text":1}', 'hex')}.authorities.json`, text);
      repository.files.delete(AUTHORITIES_FILE);
      expect((await repository.refuse()).code).toMatch(/trust-invalid|response-oversized/);
    }
  });
});

describe('key compromise below the threshold', () => {
  it('refuses targets signed by one key of two, with both online keys stolen', async () => {
    serveForgery({ targets: [repository.keys.targets[0]] });
    await expectRefusal('trust-invalid', /targets was signed by 1\/2/);
  });

  it('refuses a root signed by one root key of two', async () => {
    const evil = rootOf([stranger], 1);
    repository.serve('2.root.json', forge(evil, [repository.keys.root[0], stranger]));
    await expectRefusal('trust-invalid', /2\.root\.json|root was signed by 1\/2/);
  });

  it('refuses a root that its own keys have not signed', async () => {
    repository.serve('2.root.json', forge(rootOf([stranger], 1), repository.keys.root));
    await expectRefusal('trust-invalid', /root was signed by 0\/1/);
  });

  it('refuses a root signed by its own keys alone', async () => {
    repository.serve('2.root.json', forge(rootOf([stranger], 1), [stranger]));
    await expectRefusal('trust-invalid', /root was signed by 0\/2/);
  });
});

/** Root 2 with other root keys. */
function rootOf(keys: readonly (typeof stranger)[], threshold: number): Buffer {
  const list = keys.map(trustKeyOf);
  return forge(repository.pinnedRoot, [], (signed) => ({
    version: 2,
    keys: { ...signed.keys, ...Object.fromEntries(list.map((key) => [key.keyID, key.toJSON()])) },
    roles: { ...signed.roles, root: { keyids: list.map(({ keyID }) => keyID), threshold } },
  }));
}

describe('one key under two key ids', () => {
  /** Lists the first targets key again with a field more, which gives it another key id. */
  function doubleKey(keyId?: string): { root: Buffer; forgers: Forger[] } {
    const [key] = repository.keys.targets;
    const double = { ...trustKeyOf(key).toJSON(), note: 'the same key' };
    const id = keyId ?? hash('sha256', canonicalize(double), 'hex');
    const root = forge(repository.pinnedRoot, repository.keys.root, (signed) => ({
      version: 2,
      keys: { ...signed.keys, [id]: double },
      roles: { ...signed.roles, targets: { keyids: [trustKeyOf(key).keyID, id], threshold: 2 } },
    }));
    return { root, forgers: [key, { key, keyId: id }] };
  }

  it.each([undefined, '0'.repeat(64)])('refuses such a root, the id being %s', async (keyId) => {
    const { root, forgers } = doubleKey(keyId);
    repository.serve('2.root.json', root);
    serveForgery({ targets: forgers });
    await expectRefusal(
      'trust-invalid',
      keyId ? /is not the hash of its key/ : /one public key stands under two key ids/,
    );
  });

  it('refuses such a pinned root', async () => {
    const { root } = doubleKey();
    const pinnedRoot = forge(root, repository.keys.root, { version: 1 });
    await expect(repository.refresh({ pinnedRoot })).rejects.toThrow(/two key ids/);
    expect(() => loadTrust({ pinnedRoot, files: repository.files })).toThrow(/two key ids/);
  });

  it('is taken by tuf-js alone: if this fails, that weak spot is mended', async () => {
    const now = new TrustFixture({ nowSeconds: Math.floor(Date.now() / 1000) });
    repository.clear();
    repository = now;
    const { root, forgers } = doubleKey();
    repository.serve('2.root.json', root);
    serveForgery({ targets: forgers });
    const server = await serveFolder(repository.tree);
    const client = new PlainClient(server.url, repository.pinnedRoot);
    try {
      expect(await client.read()).toBe('{"text":"evil"}');
    } finally {
      client.clear();
      await server.close();
    }
  });
});

describe('rollback', () => {
  it('refuses an older timestamp', async () => {
    const old = repository.snapshotTree();
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
    await repository.refresh();
    repository.restoreTree(old);
    const refusal = await repository.refuse();
    expect(refusal).toMatchObject({ code: 'trust-invalid', message: expect.stringMatching(/^rollback: .*timestamp/) });
    expect(loadTrust(repository).authorities).toBe('{"text":2}');
  });

  it('refuses a newer timestamp that names an older snapshot', async () => {
    const old = repository.read('1.snapshot.json')!;
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
    await repository.refresh();
    serveTimestamp(old, 9);
    expect(await repository.refuse()).toMatchObject({ message: expect.stringMatching(/^rollback: .*snapshot/) });
  });

  it('refuses a newer snapshot that names older targets', async () => {
    const old = repository.read('1.targets.json')!;
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
    await repository.refresh();
    const snapshot = forge(repository.read('2.snapshot.json'), [repository.keys.snapshot], {
      version: 3,
      meta: { 'targets.json': describeFile(old, 1) },
    });
    repository.serve('3.snapshot.json', snapshot);
    serveTimestamp(snapshot, 9);
    expect(await repository.refuse()).toMatchObject({ message: expect.stringMatching(/^rollback: .*targets/) });
  });

  it('keeps what it has of a timestamp with the same version and other content', async () => {
    const kept = repository.files.get('timestamp.json');
    serveForgery({}, 1);
    expect((await repository.refresh()).files.get('timestamp.json')).toEqual(kept);
  });

  it.each([1, 3])('refuses version %i where root 2 should be', async (version) => {
    repository.serve('2.root.json', forge(repository.pinnedRoot, repository.keys.root, { version }));
    await expectRefusal('trust-invalid', /version/);
  });
});

describe('indefinite freeze', () => {
  it.each([
    ['root', 365],
    ['targets', 180],
    ['snapshot', 30],
    ['timestamp', 7],
  ] as const)('says that %s has expired, by a mirror that stands still', async (role, days) => {
    const term = { root: 400, targets: 400, snapshot: 400, timestamp: 400, [role]: days };
    repository.clear();
    repository = new TrustFixture({ termDays: term });
    const end = NOW + days * DAY;
    await repository.refresh({ nowSeconds: end - 1 });
    await expectRefusal('trust-expired', new RegExp(`^${role}\\.json`), end);
  });

  it('is over as soon as the publisher signs again', async () => {
    await expectRefusal('trust-expired', /timestamp/, NOW + 8 * DAY);
    refreshTimestamp({ ...repository.at(NOW + 8 * DAY), keys: repository.keys });
    expect((await repository.refresh({ nowSeconds: NOW + 8 * DAY })).versions.timestamp).toBe(2);
  });
});

describe('mix and match', () => {
  beforeEach(() => {
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
  });

  it.each([
    ['2.snapshot.json', '1.snapshot.json'],
    ['2.targets.json', '1.targets.json'],
  ])('refuses, as %s, the valid one of another edition', async (path, other) => {
    repository.serve(path, repository.read(other)!);
    await expectRefusal();
  });

  it.each([
    ['2.snapshot.json', 'snapshot'],
    ['2.targets.json', 'targets'],
  ] as const)('refuses a second %s with a valid signature and the same version', async (path, role) => {
    const signers = [repository.keys[role]].flat();
    repository.serve(path, forge(repository.read(path), signers, { expires: '2026-03-31T10:00:00Z' }));
    await expectRefusal('trust-invalid', /Expected (hash|length)/);
  });

  it.each(['snapshot', 'targets'] as const)(
    'refuses %s under another version than they say, from disk too',
    async (role) => {
      // Length and hash are right, so only the version tells.
      const old = repository.read(`2.${role}.json`)!;
      if (role === 'targets') serveOnline({}, old);
      else {
        repository.serve('9.snapshot.json', old);
        serveTimestamp(old, 9, undefined, 9);
      }
      await expectRefusal('trust-invalid', /version/i);
      const files = collectTree(readFrom(repository.tree));
      expect(files.has(AUTHORITIES_FILE)).toBe(true);
      expect(() => loadTrust({ pinnedRoot: repository.pinnedRoot, files })).toThrow(/has version 2, not 9/);
    },
  );

  it.each([9, 11])(
    'refuses a text of another length than the targets say (%i), though its hash is right',
    async (length) => {
      const target = { length, hashes: { sha256: hash('sha256', '{"text":1}', 'hex') } };
      const edit = { version: 9, targets: { [AUTHORITIES_FILE]: target } };
      serveOnline({}, forge(repository.read('1.targets.json'), repository.keys.targets, edit));
      await expectRefusal(length < 10 ? 'response-oversized' : 'trust-invalid', /authorities\.json/);
    },
  );

  it('refuses the text of another edition', async () => {
    const digest = hash('sha256', '{"text":2}', 'hex');
    repository.serve(`targets/${digest}.authorities.json`, '{"text":1}');
    await expectRefusal('trust-invalid', /differs in length or hash/);
  });
});

describe('fast-forward', () => {
  const FAR = 2 ** 40;

  it.each(['timestamp', 'snapshot'] as const)(
    'with a stolen %s key is undone by rotating the online keys',
    async (role) => {
      const { keys } = repository;
      const honest = repository.snapshotTree();
      if (role === 'timestamp') serveTimestamp(repository.read('1.snapshot.json')!, FAR);
      else serveOnline({}, repository.read('1.targets.json')!, FAR, 1);
      expect((await repository.refresh()).versions.timestamp).toBe(FAR);
      // The publisher finds out, and puts its own tree back: nodes that saw the far version refuse it.
      repository.restoreTree(honest);
      expect(await repository.refuse()).toMatchObject({ message: expect.stringMatching(/^rollback/) });
      const next = { ...keys, snapshot: seededKey('new snapshot'), timestamp: seededKey('new timestamp') };
      rotateTrust({
        ...repository.at(),
        keys: next,
        thresholds: THRESHOLDS,
        signers: [...allOf(keys), ...allOf(next)],
      });
      const reading = await repository.refresh();
      expect(reading.versions.root).toBe(2);
      expect(reading.versions.timestamp).toBeLessThan(10);
      expect(reading.versions.snapshot).toBeLessThan(10);
    },
  );
});

describe('endless data', () => {
  const LIMITS: [RegExp, number][] = [
    [/root\.json$/, MAX_BYTES.root],
    [/timestamp\.json$/, MAX_BYTES.timestamp],
    [/snapshot\.json$/, MAX_BYTES.snapshot],
    [/targets\.json$/, MAX_BYTES.targets],
    [/authorities\.json$/, '{"text":1}'.length],
  ];

  it('bounds every file that is asked for', async () => {
    repository.files = new Map();
    const bounds = new Map<string, number>();
    await repository.refresh({
      fetch: async (path, maxBytes) => {
        bounds.set(path, maxBytes);
        return repository.read(path);
      },
    });
    expect(bounds.size).toBe(5);
    for (const [path, maxBytes] of bounds) {
      expect(maxBytes, path).toBeLessThanOrEqual(LIMITS.find(([pattern]) => pattern.test(path))![1]);
    }
  });

  it.each(LIMITS)('refuses a file %s above its bound even if the transport lets it pass', async (pattern, limit) => {
    repository.files = new Map();
    const fetch = async (path: string) => {
      const bytes = repository.read(path);
      return pattern.test(path) ? Buffer.concat([bytes ?? Buffer.alloc(0), Buffer.alloc(limit + 1, ' ')]) : bytes;
    };
    expect(await repository.refuse({ fetch })).toMatchObject({ code: 'response-oversized' });
  });

  it('refuses signed metadata that announces a larger file', async () => {
    const { keys } = repository;
    const target = { length: MAX_BYTES.authorities + 1, hashes: { sha256: '0'.repeat(64) } };
    const targets = forge(repository.read('1.targets.json'), keys.targets, {
      version: 9,
      targets: { [AUTHORITIES_FILE]: target },
    });
    serveOnline({}, targets);
    await expectRefusal('trust-invalid', /targets\.authorities\.json\.length/);
  });
});

describe('extraneous dependencies', () => {
  const target = { length: 10, hashes: { sha256: '0'.repeat(64) } };
  it.each([
    ['a second target', { targets: { [AUTHORITIES_FILE]: target, 'other.json': target } }],
    ['another target alone', { targets: { 'other.json': target } }],
    ['no target', { targets: {} }],
    ['a delegation', { delegations: { keys: {}, roles: [] } }],
  ])('refuses targets with %s', async (_what, edit) => {
    const { keys } = repository;
    serveOnline({}, forge(repository.read('1.targets.json'), keys.targets, { version: 9, ...edit }));
    await expectRefusal('trust-invalid', /9\.targets\.json/);
  });

  it('refuses a snapshot that names other roles', async () => {
    const snapshot = forge(repository.read('1.snapshot.json'), [repository.keys.snapshot], ({ meta }) => ({
      version: 9,
      meta: { ...meta, '1.json': meta['targets.json'] },
    }));
    repository.serve('9.snapshot.json', snapshot);
    serveTimestamp(snapshot, 9);
    await expectRefusal('trust-invalid', /9\.snapshot\.json/);
  });
});

describe('wrong repository', () => {
  it('refuses a whole valid repository of others, with one root or more', async () => {
    const other = new TrustFixture({ keySet: 'other', authorities: '{"text":"other"}' });
    repository.restoreTree(other.snapshotTree());
    await expectRefusal('trust-invalid', /timestamp was signed by 0\/1/);
    const next = makeKeys('others next');
    const signers = [...allOf(other.keys), ...allOf(next)];
    rotateTrust({ ...other.at(), keys: next, thresholds: THRESHOLDS, signers });
    repository.restoreTree(other.snapshotTree());
    await expectRefusal('trust-invalid', /root was signed by 0\/2/);
    other.clear();
  });
});

describe('files changed on the disk of the node', () => {
  /** Rotates, so that there is a second root to keep, and makes the node keep it. */
  async function keepTwoRoots(): Promise<void> {
    const next = makeKeys('second');
    const signers = [...allOf(repository.keys), ...allOf(next)];
    rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers });
    await repository.refresh();
  }

  it('does not trust a kept root that the pinned one does not lead to, and fetches the true one', async () => {
    await keepTwoRoots();
    const good = new Map(repository.files);
    const other = new TrustFixture({ keySet: 'other', authorities: '{"text":"evil"}' });
    await other.refresh();
    // All of a foreign repository, put in place of what was kept, under the pinned root.
    repository.files = new Map([...other.files, ['2.root.json', other.pinnedRoot]]);
    other.clear();
    expect(() => loadTrust(repository)).toThrow(/2\.root\.json/);
    const reading = await repository.refresh();
    expect(reading.authorities).toBe('{"text":1}');
    expect(new Map(reading.files)).toEqual(good);
  });

  it.each(['2.root.json', 'timestamp.json', 'snapshot.json', 'targets.json', AUTHORITIES_FILE])(
    'refuses %s with blanks added when loading, and mends it when refreshing',
    async (name) => {
      await keepTwoRoots();
      const good = new Map(repository.files);
      repository.files.set(name, Buffer.concat([good.get(name)!, Buffer.from(' \n')]));
      // Nothing hashes a root or the timestamp: what they say is signed, so blanks between mean nothing.
      const isHashed = !['2.root.json', 'timestamp.json'].includes(name);
      if (isHashed) expect(() => loadTrust(repository)).toThrow(expect.objectContaining({ code: 'trust-invalid' }));
      const reading = await repository.refresh();
      expect(reading.authorities).toBe('{"text":1}');
      if (isHashed) expect(new Map(reading.files)).toEqual(good);
    },
  );

  it.each(['{', '{}', '', '<html>', '{"signed":{},"signatures":[]}'])(
    'gets along with %j in place of anything',
    async (text) => {
      await keepTwoRoots();
      const good = new Map(repository.files);
      for (const name of good.keys()) {
        repository.files = new Map(good).set(name, Buffer.from(text));
        expect(new Map((await repository.refresh()).files), name).toEqual(good);
      }
    },
  );
});

describe('a mirror that serves garbage', () => {
  const GARBAGE: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['HTML', Buffer.from('<!doctype html><title>Sign in</title>')],
    ['JSON of no kind', Buffer.from('[]')],
    ['null', Buffer.from('null')],
    ['a number', Buffer.from('1e999')],
    ['nested brackets', Buffer.from('['.repeat(500))],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ['a byte-order mark', Buffer.from('\ufeff{}')],
    ['a prototype', Buffer.from('{"__proto__":{"signed":{}},"signed":{"__proto__":{}},"signatures":[]}')],
  ];
  const PATHS = ['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json'];

  it.each(PATHS.flatMap((path) => GARBAGE.map(([what, bytes]) => [path, what, bytes] as const)))(
    'refuses, as %s, %s',
    async (path, _what, bytes) => {
      repository.files = new Map();
      repository.serve(path, bytes);
      expect(await repository.refuse()).toMatchObject({
        code: 'trust-invalid',
        message: expect.stringContaining(path),
      });
    },
  );
});
