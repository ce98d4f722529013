import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundlePath, composeBundle, parseBundle } from '../../src/log/tile.ts';
import { annexPath } from '../../src/register/annex.ts';
import { parseEnvelope, signEnvelope } from '../../src/register/envelope.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { type Receipt, signReceipt } from '../../src/register/receipt.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, officerKey, seededKey, signerOf } from '../support/log-register.ts';
import { MirrorServer } from '../support/mirror-server.ts';
import { createForeignTrust, describeMetadata, forgeCheckpoint, forgeMetadata, readServed } from '../sync/forge.ts';
import { TestFollower, type TestFollowerOptions } from '../sync/test-follower.ts';

/**
 * The attacks that a client of a software repository has to meet (TUF specification §1.5.2), and the one on a log. Each has
 * scenarios below, whose names begin with it; the last test makes sure of that.
 */
const ATTACKS = [
  'arbitrary installation',
  'endless data',
  'extraneous dependencies',
  'fast-forward',
  'indefinite freeze',
  'malicious mirrors',
  'mix-and-match',
  'rollback',
  'slow retrieval',
  'key compromise below threshold',
  'wrong software',
  'split view',
] as const;

const covered = new Set<(typeof ATTACKS)[number]>();

/** A scenario of an attack. */
function attack(name: (typeof ATTACKS)[number], what: string, act: () => Promise<void>): void {
  covered.add(name);
  test(`${name}: ${what}`, act);
}

const DAY_SECONDS = 86_400;
const NAMES = ['blocked.example', 'more.example', 'forged.example'];
const TIMESTAMP = 'trust/timestamp.json';
/** How long a node waits for a mirror that is slow. */
const SLOW_MILLIS = 200;

let clock: FakeClock;
/** What nodes follow: three witnesses, two of which must sign, and one notice in force. */
let register: LogRegister;
let mirror: MirrorServer;
/** A node that has the notice. */
let node: TestFollower;
let folder: string;
let toClose: { close(): Promise<unknown> }[];

beforeEach(async () => {
  clock = new FakeClock();
  toClose = [];
  folder = makeFolder();
  register = await createRegister();
  mirror = await register.serve();
  await register.notice(['blocked.example']);
  node = startNode();
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
});

afterEach(async () => {
  for (const one of toClose.reverse()) await one.close();
});

async function createRegister(options: object = {}): Promise<LogRegister> {
  const created = await LogRegister.create(makeFolder(), { clock, witnesses: 3, quorum: 2, ...options });
  toClose.push(created);
  return created;
}

function startNode(options: Partial<TestFollowerOptions> = {}): TestFollower {
  const nowSeconds = () => clock.wall / 1000;
  const started = new TestFollower({ mirrors: [mirror.url], rootFile: register.rootFile, folder, nowSeconds, ...options }); // biome-ignore format: one line
  toClose.push(started);
  return started;
}

/** Ends the node and starts it again with what it kept. */
async function restartNode(options: Partial<TestFollowerOptions> = {}): Promise<void> {
  toClose.splice(toClose.indexOf(node), 1);
  await node.close();
  node = startNode(options);
}

async function serve(from: string): Promise<MirrorServer> {
  const server = await MirrorServer.start(from);
  toClose.push(server);
  return server;
}

const now = () => clock.wall / 1000;
const served = (path: string) => readServed(register.publicFolder, path);
const pass = (seconds: number) => clock.pass(seconds * 1000);

/** Polls, and requires this verdict, one incident of that code, and rules that did not change by one octet. */
async function expectRefused(code: string): Promise<void> {
  const before = node.rules;
  expect(await node.poll()).toBe(code);
  expect(node.incidents).toContain(code);
  expect(node.rules).toEqual(before);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
}

/** Requires that the node follows the true register again. */
async function expectRecovered(): Promise<void> {
  mirror.thaw();
  pass(10); // annexes that failed are asked for again a little later
  await register.notice(['more.example']);
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
}

/** Serves a file in place of one of the register's. */
const replace = (path: string, bytes: Uint8Array) => mirror.overrides.set(path, bytes);

// ---------------------------------------------------------------------------------------------------------------------

attack('arbitrary installation', 'a mirror serves the trust repository of others', async () => {
  const foreign = makeFolder();
  createForeignTrust(join(foreign, 'trust'), JSON.stringify({ ...register.authorities, version: 7 }), now());
  const lying = await serve(foreign);
  await restartNode({ mirrors: [lying.url] });
  const fresh = startNode({ mirrors: [lying.url], folder: makeFolder() });
  expect(await node.poll()).toBe('trust-invalid');
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  expect(await fresh.poll()).toBe('trust-invalid');
  expect(fresh.list).toBeUndefined();
});

attack('arbitrary installation', 'a mirror serves a root of others as the next one', async () => {
  const foreign = makeFolder();
  createForeignTrust(join(foreign, 'trust'), JSON.stringify(register.authorities), now());
  const keys = ['root 1', 'root 2'].map((role) => seededKey(`somebody else's ${role}`));
  const root = readServed(foreign, 'trust/1.root.json');
  replace('trust/2.root.json', forgeMetadata(root, keys, (signed) => {
    signed.version = 2;
  })); // biome-ignore format: short
  register.refreshTimestamp();
  await expectRefused('trust-invalid');
  await expectRecovered();
});

attack('arbitrary installation', 'a mirror serves another log with other statements', async () => {
  const other = await createRegister({ origin: 'register.test/other' });
  await other.notice(['forged.example']);
  for (const path of ['checkpoint', bundlePath(0, 1)]) replace(path, readServed(other.publicFolder, path));
  await expectRefused('checkpoint-foreign');
  await expectRecovered();
});

attack('arbitrary installation', 'a notice that nobody of the register signed', async () => {
  const signed = register.sign({ type: 'notice', names: ['forged.example'] }, ['nobody', 'stranger']);
  await register.appendStatement(signed);
  expect(await node.poll()).toBeUndefined();
  expect(node.voids).toEqual(['#1 statement-unsigned']);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  await expectRecovered();
});

// ---------------------------------------------------------------------------------------------------------------------

for (const path of [TIMESTAMP, 'trust/3.snapshot.json', 'trust/3.targets.json', 'trust/targets/']) {
  attack('endless data', `in ${path}`, async () => {
    register.changeAuthorities(() => {});
    register.changeAuthorities(() => {});
    mirror.fault = (asked) => (asked.startsWith(path) ? 'endless' : undefined);
    await expectRefused('response-oversized');
    expect(node.follower.status().receivedBytes).toBeLessThan(5_000_000);
    await expectRecovered();
  });
}

attack('endless data', 'in the next root', async () => {
  register.rotateTrust('next');
  mirror.fault = (asked) => (asked === 'trust/2.root.json' ? 'endless' : undefined);
  await expectRefused('response-oversized');
  expect(node.follower.status().receivedBytes).toBeLessThan(1_000_000);
  await expectRecovered();
});

for (const path of ['checkpoint', 'tile/']) {
  attack('endless data', `in ${path}`, async () => {
    await register.notice(['more.example']);
    mirror.fault = (asked) => (asked.startsWith(path) ? 'endless' : undefined);
    await expectRefused('response-oversized');
    expect(node.follower.status().receivedBytes).toBeLessThan(1_000_000);
    await expectRecoveredWith(['blocked.example', 'more.example']);
  });
}

attack('endless data', 'in an annex', async () => {
  const { annex } = await register.notice(['more.example']);
  mirror.fault = (path) => (path.startsWith('annex/') ? 'endless' : undefined);
  expect(await node.poll()).toBeUndefined();
  expect([node.incidents, node.voids]).toEqual([['response-oversized'], ['#1 annex-missing']]);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  expect(node.follower.status().receivedBytes).toBeLessThan(200_000 + annex!.bytes.length);
  mirror.thaw();
  pass(10);
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toHaveLength(2);
});

// ---------------------------------------------------------------------------------------------------------------------

attack('extraneous dependencies', 'the online keys sign a snapshot that names more metadata', async () => {
  const { snapshot, timestamp } = register.trustKeys;
  const forged = forgeMetadata(served('trust/1.snapshot.json'), [snapshot], (signed) => {
    signed.version = 2;
    signed.meta['more.json'] = { version: 1, length: 9, hashes: { sha256: '0'.repeat(64) } };
  });
  replace('trust/2.snapshot.json', forged);
  replace(TIMESTAMP, forgeMetadata(served(TIMESTAMP), [timestamp], (signed) => {
    signed.version = 2;
    signed.meta['snapshot.json'] = describeMetadata(forged, 2);
  })); // biome-ignore format: short
  await expectRefused('trust-invalid');
  expect([...mirror.requests.keys()].filter((path) => path.includes('more'))).toEqual([]);
});

for (const [what, change] of [
  ['a second target', { targets: { 'more.json': { length: 9, hashes: { sha256: '0'.repeat(64) } } } }],
  ['a delegation', { delegations: { keys: {}, roles: [] } }],
] as const) {
  attack('extraneous dependencies', `targets with ${what}, even well signed`, async () => {
    const { targets, snapshot, timestamp } = register.trustKeys;
    const forged = forgeMetadata(served('trust/1.targets.json'), targets, (signed) => {
      signed.version = 2;
      if ('targets' in change) Object.assign(signed.targets, change.targets);
      else Object.assign(signed, change);
    });
    const listed = forgeMetadata(served('trust/1.snapshot.json'), [snapshot], (signed) => {
      signed.version = 2;
      signed.meta['targets.json'] = describeMetadata(forged, 2);
    });
    replace('trust/2.targets.json', forged);
    replace('trust/2.snapshot.json', listed);
    replace(TIMESTAMP, forgeMetadata(served(TIMESTAMP), [timestamp], (signed) => {
      signed.version = 2;
      signed.meta['snapshot.json'] = describeMetadata(listed, 2);
    })); // biome-ignore format: short
    await expectRefused('trust-invalid');
    expect([...mirror.requests.keys()].filter((path) => path.includes('more'))).toEqual([]);
  });
}

attack('extraneous dependencies', 'an annex with an entry more than its notice states', async () => {
  const { annex } = await register.notice(['more.example']);
  const stray = register.sign({ type: 'notice', names: ['forged.example'] });
  const path = annexPath(annex!.digest, false);
  replace(path, Buffer.concat([annex!.bytes, stray.annex!.bytes]));
  expect(await node.poll()).toBeUndefined();
  expect(node.incidents).toEqual(['response-oversized']);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
});

// ---------------------------------------------------------------------------------------------------------------------

attack('fast-forward', 'a stolen timestamp key signs a version far ahead: the next root mends it', async () => {
  replace(TIMESTAMP, forgeMetadata(served(TIMESTAMP), [register.trustKeys.timestamp], (signed) => {
    signed.version = 2 ** 31;
  })); // biome-ignore format: short
  const before = node.rules;
  expect(await node.poll()).toBeUndefined();
  mirror.thaw();
  register.refreshTimestamp();
  await expectRefused('trust-invalid');
  expect(node.rules).toEqual(before);
  register.rotateTrust('after the theft');
  await expectRecovered();
});

for (const [what, size, code] of [
  ['more leaves than any log has', 10 ** 15, 'log-invalid'],
  ['more leaves than are looked at without witnesses', 10 ** 6, 'statement-unwitnessed'],
  ['a few leaves that are not there', 5, 'log-invalid'],
] as const) {
  attack('fast-forward', `a stolen log key signs a checkpoint of ${what}`, async () => {
    const { origin, logKey } = register;
    replace('checkpoint', forgeCheckpoint({ origin, size, root: Buffer.alloc(32, 7) }, logKey));
    await expectRefused(code);
    expect(node.follower.status()).toMatchObject({ size: 1, unwitnessed: 0 });
    await expectRecovered();
  });
}

// ---------------------------------------------------------------------------------------------------------------------

attack('indefinite freeze', 'a mirror stands still: noticed by its age, and its rules still end on time', async () => {
  const freshAt = node.follower.status().freshAtSeconds!;
  mirror.freeze();
  const before = node.rules;
  for (let day = 0; day < 6; day++) {
    pass(DAY_SECONDS);
    await register.heartbeat();
    register.refreshTimestamp();
    expect(await node.poll()).toBeUndefined();
  }
  expect(node.follower.status().freshAtSeconds).toBe(freshAt);
  expect(now() - freshAt).toBe(6 * DAY_SECONDS);
  pass(DAY_SECONDS + 1);
  await expectRefused('trust-expired');
  expect(node.rules).toEqual(before);
  const endSeconds = freshAt + 30 * DAY_SECONDS;
  expect(node.blocked(NAMES, endSeconds - 1)).toEqual(['blocked.example']);
  expect(node.blocked(NAMES, endSeconds)).toEqual([]);
});

attack('indefinite freeze', 'a mirror that says “unchanged” whatever is asked', async () => {
  await register.notice(['more.example']);
  mirror.fault = () => 'unchanged';
  const { freshAtSeconds } = node.follower.status();
  for (let i = 0; i < 3; i++) {
    pass(1200);
    await register.cosign();
    await node.poll();
  }
  expect(node.follower.status().freshAtSeconds).toBe(freshAtSeconds);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  await expectRecovered();
});

attack('indefinite freeze', 'one mirror that stands still hides nothing for longer than a poll', async () => {
  const frozen = await serve(register.publicFolder);
  frozen.freeze();
  await restartNode({ mirrors: [frozen.url, mirror.url] });
  await register.notice(['more.example']);
  await node.poll();
  await node.poll();
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
});

// ---------------------------------------------------------------------------------------------------------------------

attack('malicious mirrors', 'each of several lies in its own way, one does not: its news is taken', async () => {
  const liars = await Promise.all(Array.from({ length: 6 }, () => serve(register.publicFolder)));
  const [html, garbage, endless, frozen, truncated, absent] = liars as [MirrorServer, MirrorServer, MirrorServer, MirrorServer, MirrorServer, MirrorServer]; // biome-ignore format: one line
  const older = served('checkpoint');
  await register.heartbeat();
  await node.poll();
  await register.notice(['more.example']);
  html.fault = (path) => (path === 'checkpoint' ? 'html' : undefined);
  garbage.fault = (path) => (path.startsWith('tile/') ? 'garbage' : undefined);
  endless.fault = () => 'endless';
  frozen.overrides.set('checkpoint', older);
  truncated.fault = () => 'truncated';
  absent.fault = () => 'absent';
  const { origin, logKey } = register;
  garbage.overrides.set('checkpoint', forgeCheckpoint({ origin, size: 9, root: Buffer.alloc(32) }, logKey));
  await restartNode({ mirrors: [...liars.map(({ url }) => url), mirror.url] });
  for (let i = 0; i <= liars.length; i++) expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
  expect(node.incidents).toEqual(
    expect.arrayContaining([
      'checkpoint-rolled-back',
      'log-invalid',
      'mirror-failed',
      'note-invalid',
      'response-oversized',
    ]),
  );
  const faults = node.follower.status().mirrors.map(({ fault }) => fault !== undefined);
  expect(faults).toEqual([true, true, true, true, true, true, false]);
});

attack('malicious mirrors', 'an annex that one of them falsifies is fetched from another', async () => {
  const lying = await serve(register.publicFolder);
  lying.fault = (path) => (path.startsWith('annex/') ? 'garbage' : undefined);
  await restartNode({ mirrors: [lying.url, mirror.url] });
  await register.notice(['more.example']);
  expect(await node.poll()).toBeUndefined();
  expect(node.incidents).toEqual([expect.stringMatching(/^annex-/)]);
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
});

attack('malicious mirrors', 'one that was honest so far falsifies an annex', async () => {
  const turning = await serve(register.publicFolder);
  await restartNode({ mirrors: [turning.url, mirror.url], folder: makeFolder() });
  expect(await node.poll()).toBeUndefined();
  expect(turning.requests.size).toBeGreaterThan(4);
  turning.fault = (path) => (path.startsWith('annex/') ? 'garbage' : undefined);
  await register.notice(['more.example']);
  expect(await node.poll()).toBeUndefined();
  expect(node.incidents).toEqual([expect.stringMatching(/^annex-/)]);
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
});

attack('malicious mirrors', 'what none of them can prove is not taken from any', async () => {
  const liars = await Promise.all(Array.from({ length: 3 }, () => serve(register.publicFolder)));
  for (const one of liars) one.fault = (path) => (path.startsWith('tile/') ? 'garbage' : undefined);
  await restartNode({ mirrors: liars.map(({ url }) => url) });
  await node.poll();
  await register.notice(['forged.example']);
  await expectRefused('log-invalid');
  expect(liars.map(({ requestCount }) => requestCount > 0)).toEqual([true, true, true]);
});

// ---------------------------------------------------------------------------------------------------------------------

attack('mix-and-match', 'the snapshot of one edition with the timestamp of another', async () => {
  const older = served('trust/1.snapshot.json');
  register.changeAuthorities(() => {});
  replace('trust/2.snapshot.json', older);
  await expectRefused('trust-invalid');
  await expectRecovered();
});

attack('mix-and-match', 'the targets of one edition with the snapshot of another', async () => {
  const older = served('trust/1.targets.json');
  register.changeAuthorities(() => {});
  replace('trust/2.targets.json', older);
  await expectRefused('trust-invalid');
  await expectRecovered();
});

attack('mix-and-match', 'the authorities of one edition with the targets of another', async () => {
  const path = () => `trust/targets/${JSON.parse(served(`trust/${register.authorities.version}.targets.json`).toString()).signed.targets['authorities.json'].hashes.sha256}.authorities.json`; // biome-ignore format: one line
  const older = served(path());
  register.changeAuthorities((file) => {
    file.authorities[0]!.name = 'Test Authority'; // as long as before
  });
  expect(served(path()).length).toBe(older.length);
  replace(path(), older);
  await expectRefused('trust-invalid');
  await expectRecovered();
});

attack('mix-and-match', 'the checkpoint of one moment with the leaves of another', async () => {
  await register.notice(['more.example']);
  const other = await createRegister();
  await other.notice(['blocked.example']);
  await other.notice(['forged.example']);
  replace(bundlePath(0, 2), readServed(other.publicFolder, bundlePath(0, 2)));
  await expectRefused('log-invalid');
  expect(node.follower.status().evidence).toBe(0);
  mirror.thaw();
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
});

attack('mix-and-match', 'leaves in another order, one twice, one left out', async () => {
  await register.heartbeat();
  await register.notice(['more.example']);
  const [first, beat, notice] = parseBundle(served(bundlePath(0, 3)), 3) as [Buffer, Buffer, Buffer];
  for (const leaves of [
    [first, notice, beat],
    [first, notice, notice],
    [first, beat, beat],
  ]) {
    // biome-ignore format: short
    replace(bundlePath(0, 3), composeBundle(leaves));
    await expectRefused('log-invalid');
  }
  await expectRecoveredWith(['blocked.example', 'more.example']);
});

async function expectRecoveredWith(names: readonly string[]): Promise<void> {
  mirror.thaw();
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(names);
}

// ---------------------------------------------------------------------------------------------------------------------

attack('rollback', 'of the trust repository', async () => {
  mirror.freeze([TIMESTAMP]);
  const older = mirror.overrides.get(TIMESTAMP)!;
  mirror.thaw();
  register.changeAuthorities(() => {});
  await node.poll();
  replace(TIMESTAMP, older);
  await expectRefused('trust-invalid');
  expect(node.follower.status().authoritiesVersion).toBe(2);
  await restartNode();
  await node.poll();
  await expectRefused('trust-invalid');
  await expectRecovered();
});

attack('rollback', 'of the authorities by the online keys', async () => {
  const { snapshot, timestamp } = register.trustKeys;
  register.changeAuthorities(() => {});
  await node.poll();
  const forged = forgeMetadata(served('trust/2.snapshot.json'), [snapshot], (signed) => {
    signed.version = 3;
    signed.meta['targets.json'] = describeMetadata(served('trust/1.targets.json'), 1);
  });
  replace('trust/3.snapshot.json', forged);
  replace(TIMESTAMP, forgeMetadata(served(TIMESTAMP), [timestamp], (signed) => {
    signed.version = 3;
    signed.meta['snapshot.json'] = describeMetadata(forged, 3);
  })); // biome-ignore format: short
  await expectRefused('trust-invalid');
  expect(node.follower.status().authoritiesVersion).toBe(2);
});

attack('rollback', 'of the checkpoint, which would revive a revoked notice', async () => {
  const older = served('checkpoint');
  const { id } = await register.notice(['forged.example']);
  await node.poll();
  const whenInForce = served('checkpoint');
  await register.revoke(id);
  await node.poll();
  for (const note of [whenInForce, older]) {
    replace('checkpoint', note);
    await expectRefused('checkpoint-rolled-back');
  }
  await restartNode();
  await node.poll();
  await expectRefused('checkpoint-rolled-back');
  expect(node.store.evidence().map(({ code }) => code)).toEqual(['checkpoint-rolled-back', 'checkpoint-rolled-back']);
  await expectRecovered();
});

// ---------------------------------------------------------------------------------------------------------------------

for (const path of ['checkpoint', 'tile/']) {
  attack('slow retrieval', `of ${path}: given up, and another mirror asked`, async () => {
    const slow = await serve(register.publicFolder);
    slow.fault = (asked) => (asked.startsWith(path) ? 'slow' : undefined);
    await restartNode({ mirrors: [slow.url], timeoutMillis: () => SLOW_MILLIS });
    await node.poll();
    await register.notice(['more.example']);
    await expectRefused('response-slow');
    const timeoutMillis = (url: string) => (url === slow.url ? SLOW_MILLIS : 10_000);
    await restartNode({ mirrors: [slow.url, mirror.url], timeoutMillis });
    expect(await node.poll()).toBeUndefined();
    expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
    expect(node.incidents).toEqual(['response-slow']);
  });
}

attack('slow retrieval', 'of the trust repository: given up, and another mirror asked', async () => {
  const slow = await serve(register.publicFolder);
  slow.fault = (asked) => (asked.startsWith('trust/') ? 'slow' : undefined);
  await restartNode({ mirrors: [slow.url], timeoutMillis: () => SLOW_MILLIS });
  await node.poll();
  register.changeAuthorities(() => {});
  await expectRefused('response-slow');
  const timeoutMillis = (url: string) => (url === slow.url ? SLOW_MILLIS : 10_000);
  await restartNode({ mirrors: [slow.url, mirror.url], timeoutMillis });
  slow.resetCounters();
  expect(await node.poll()).toBeUndefined();
  expect(node.follower.status().authoritiesVersion).toBe(2);
  // It was waited for once and not for every file.
  expect([...slow.requests.keys()]).toEqual([TIMESTAMP]);
});

attack('slow retrieval', 'of an annex: a revocation beside it does not wait', async () => {
  const { id } = await register.notice(['more.example']);
  await restartNode({ patienceMillis: 50, timeoutMillis: () => 60_000 });
  await node.poll();
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
  mirror.fault = (path) => (path.startsWith('annex/') ? 'slow' : undefined);
  await register.notice(['forged.example']);
  await register.revoke(id);
  expect(await node.poll()).toBeUndefined();
  expect(node.incidents).toEqual([]); // the annex is still on its way
  expect(node.voids).toEqual(['#2 annex-missing']);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
});

// ---------------------------------------------------------------------------------------------------------------------

for (const [who, signers] of [
  ['one officer of the two that it takes', ['one']],
  ['the key of the heartbeat', ['heartbeat', 'heartbeat']],
  ['one officer and the heartbeat', ['one', 'heartbeat']],
] as const) {
  attack('key compromise below threshold', `${who} signs a notice`, async () => {
    await register.appendStatement(register.sign({ type: 'notice', names: ['forged.example'] }, signers));
    expect(await node.poll()).toBeUndefined();
    expect(node.voids).toEqual(['#1 statement-unsigned']);
    expect(node.blocked(NAMES)).toEqual(['blocked.example']);
    await expectRecovered();
  });
}

attack('key compromise below threshold', 'one officer signs a notice twice, under two names', async () => {
  const signed = register.sign({ type: 'notice', names: ['forged.example'] });
  const { payload } = parseEnvelope(signed.envelope);
  const envelope = signEnvelope(payload, [signerOf('one'), { keyId: 'two', privateKey: officerKey('one') }]);
  await register.appendStatement({ ...signed, envelope });
  expect(await node.poll()).toBeUndefined();
  expect(node.voids).toEqual(['#1 statement-unsigned']);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
});

attack('key compromise below threshold', 'one key stands for two officers', async () => {
  register.changeAuthorities((file) => {
    const { officers } = file.authorities[0]!;
    officers.push({ ...officers[0]!, id: 'three' });
  });
  const signed = register.sign({ type: 'notice', names: ['forged.example'] });
  const { payload } = parseEnvelope(signed.envelope);
  const envelope = signEnvelope(payload, [signerOf('one'), { keyId: 'three', privateKey: officerKey('one') }]);
  await register.appendStatement({ ...signed, envelope });
  expect(await node.poll()).toBeUndefined();
  expect(node.voids).toEqual(['#1 statement-unsigned']);
});

attack('key compromise below threshold', 'the log and one of its witnesses', async () => {
  const [, ...others] = register.witnesses;
  for (const witness of others) witness.isDown = true;
  await register.notice(['forged.example']);
  await expectHeld();
  // The same witness twice is one witness.
  const { origin, logKey, witnesses } = register;
  const size = 2;
  const root = Buffer.from(served('checkpoint').toString().split('\n')[2]!, 'base64');
  const twice = [now(), now() + 1].map((timeSeconds) => ({ name: witnesses[0]!.name, timeSeconds }));
  replace('checkpoint', forgeCheckpoint({ origin, size, root }, logKey, twice));
  await expectRefused('statement-unwitnessed');
});

attack(
  'key compromise below threshold',
  'one witness says that it is ten years later: nothing lapses by it',
  async () => {
    const { origin, logKey, witnesses } = register;
    const root = Buffer.from(served('checkpoint').toString().split('\n')[2]!, 'base64');
    const [first, second] = witnesses;
    const cosigners = [
      { name: first!.name, timeSeconds: now() + 3650 * DAY_SECONDS },
      { name: second!.name, timeSeconds: now() + 60 },
    ];
    replace('checkpoint', forgeCheckpoint({ origin, size: 1, root }, logKey, cosigners));
    expect(await node.poll()).toBeUndefined();
    expect(node.follower.status().freshAtSeconds).toBe(now() + 60);
  },
);

/** Polls, and requires that the new notice is held for lack of witnesses. */
async function expectHeld(): Promise<void> {
  expect(await node.poll()).toBe('statement-unwitnessed');
  expect(node.voids).toEqual([expect.stringMatching(/^unwitnessed \w+ statement-unwitnessed$/)]);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
}

attack(
  'key compromise below threshold',
  'the online keys of the trust repository cannot name new officers',
  async () => {
    const { snapshot, timestamp } = register.trustKeys;
    const authorities = Buffer.from(JSON.stringify({ ...register.authorities, version: 2 }));
    for (const signers of [[], [snapshot], [timestamp, snapshot], [register.trustKeys.targets[0]!]]) {
      const targets = forgeMetadata(served('trust/1.targets.json'), signers, (signed) => {
        signed.version = 2;
        const { length, hashes } = describeMetadata(authorities, 2);
        signed.targets['authorities.json'] = { length, hashes };
      });
      const listed = forgeMetadata(served('trust/1.snapshot.json'), [snapshot], (signed) => {
        signed.version = 2;
        signed.meta['targets.json'] = describeMetadata(targets, 2);
      });
      replace('trust/2.targets.json', targets);
      replace('trust/2.snapshot.json', listed);
      replace(TIMESTAMP, forgeMetadata(served(TIMESTAMP), [timestamp], (signed) => {
      signed.version = 2;
      signed.meta['snapshot.json'] = describeMetadata(listed, 2);
    })); // biome-ignore format: short
      await expectRefused('trust-invalid');
      expect(node.follower.status().authoritiesVersion).toBe(1);
    }
  },
);

attack('key compromise below threshold', 'one root key of the two that it takes', async () => {
  const { root } = register.trustKeys;
  for (const signers of [[root[0]!], [root[0]!, root[0]!], [root[0]!, seededKey('stranger')]]) {
    replace('trust/2.root.json', forgeMetadata(served('trust/1.root.json'), signers, (signed) => {
      signed.version = 2;
    })); // biome-ignore format: short
    register.refreshTimestamp();
    await expectRefused('trust-invalid');
  }
  await expectRecovered();
});

// ---------------------------------------------------------------------------------------------------------------------

attack('wrong software', 'the annex of another notice', async () => {
  const forged = register.sign({ type: 'notice', names: ['forged.example'] });
  const { annex } = await register.notice(['bigger.example'.padStart(30, 'x')]);
  replace(annexPath(annex!.digest, false), forged.annex!.bytes);
  expect(await node.poll()).toBeUndefined();
  expect([node.incidents, node.voids]).toEqual([['annex-mismatch'], ['#1 annex-missing']]);
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
});

attack('wrong software', 'the checkpoint of another log, with all its witnesses', async () => {
  const other = await createRegister({ origin: 'register.test/other' });
  await other.notice(['forged.example']);
  await other.notice(['more.example']);
  replace('checkpoint', readServed(other.publicFolder, 'checkpoint'));
  await expectRefused('checkpoint-foreign');
  await expectRecovered();
});

attack('wrong software', 'a checkpoint of this name signed by another log', async () => {
  const { origin, witnesses } = register;
  const cosigners = witnesses.map(({ name }) => ({ name, timeSeconds: now() }));
  replace('checkpoint', forgeCheckpoint({ origin, size: 2, root: Buffer.alloc(32) }, seededKey('other'), cosigners));
  await expectRefused('checkpoint-foreign');
});

attack('wrong software', 'a checkpoint of another log signed with the key and the name of this one', async () => {
  const { origin, logKey, witnesses } = register;
  const cosigners = witnesses.map(({ name }) => ({ name, timeSeconds: now() }));
  const head = { origin: 'register.test/other', size: 1, root: Buffer.alloc(32) };
  replace('checkpoint', forgeCheckpoint(head, logKey, cosigners, origin));
  await expectRefused('checkpoint-foreign');
});

attack('wrong software', 'a notice for another licensee', async () => {
  const before = node.rules.rulesDigest;
  await register.notice(['forged.example'], { recipients: { licensees: ['NSP-OTHER-2'] } });
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  expect(node.rules.rulesDigest).toBe(before);
  const other = startNode({ licensee: 'NSP-OTHER-2', folder: makeFolder() });
  await other.poll();
  expect(other.blocked(NAMES)).toEqual(['blocked.example', 'forged.example']);
});

attack('wrong software', 'authorities for another policy pack', async () => {
  const before = node.rules;
  register.changeAuthorities((file) => {
    file.policyPack.sha256 = '0'.repeat(64);
  });
  expect(await node.poll()).toBe('authorities-invalid');
  expect(node.rules).toEqual(before);
});

attack('wrong software', 'the receipt of another node, or of another register', async () => {
  const mine = seededKey('mine');
  await register.enrolNode('NSP-TEST-1', 'mine', publicKeyOf(mine));
  const receipt: Receipt = {
    version: 1, origin: register.origin, licensee: 'NSP-TEST-1', node: 'mine', treeSize: 1, rootHash: '0'.repeat(64),
    authoritiesVersion: 1, rules: 1, rulesDigest: '0'.repeat(64), foldedAt: '2026-02-25T06:13:20Z',
    appliedAt: '2026-02-25T06:13:20Z', mode: 'enforce', statements: { ok: 1, void: 0 }, rejected: [], refusedEntries: 0,
  } as const; // biome-ignore format: a table
  const accept = (bytes: Uint8Array) => register.site.receipts.accept(bytes).catch(({ code }) => code);
  expect(await accept(signReceipt({ ...receipt, node: 'theirs' }, mine))).toBe('credential-invalid');
  expect(await accept(signReceipt(receipt, seededKey('theirs')))).toBe('receipt-invalid');
  expect(await accept(signReceipt({ ...receipt, origin: 'register.test/other' }, mine))).toBe('receipt-invalid');
  expect(existsSync(join(register.publicFolder, 'receipts/NSP-TEST-1'))).toBe(false);
  expect(await accept(signReceipt(receipt, mine))).toBe('stored');
});

// ---------------------------------------------------------------------------------------------------------------------

/** A second view of the same log, with the same keys: the same first notice, then what `fork` does. */
async function createFork(fork: (other: LogRegister) => Promise<unknown>): Promise<LogRegister> {
  const other = await createRegister();
  await other.notice(['blocked.example']);
  expect(readServed(other.publicFolder, 'checkpoint')).toEqual(served('checkpoint'));
  await fork(other);
  return other;
}

/** Requires that the node keeps these two notes as proof. */
function expectEvidence(held: Uint8Array, shown: Uint8Array): void {
  expect(node.follower.status().evidence).toBe(1);
  const proof = node.store.evidence().find(({ code }) => code === 'checkpoint-inconsistent')!;
  expect(Buffer.from(proof.held).equals(held)).toBe(true);
  expect(Buffer.from(proof.shown).equals(shown)).toBe(true);
}

for (const [what, theirs, ours] of [
  ['as large as', 1, 1],
  ['larger than', 3, 1],
  ['smaller than', 1, 3],
] as const) {
  for (const witnessed of [true, false]) {
    attack(
      'split view',
      `a tree ${what} ours ${witnessed ? 'with' : 'without'} witnesses: both notes are kept`,
      async () => {
        const grow = async (other: LogRegister) => {
          for (let i = 0; i < theirs; i++) await other.notice([`${i}.forged.example`, 'forged.example']);
        };
        const other = await createFork((fork) => (witnessed ? grow(fork) : fork.withoutWitnesses(() => grow(fork))));
        for (let i = 0; i < ours; i++) {
          pass(1);
          await register.heartbeat();
        }
        await node.poll();
        const held = served('checkpoint');
        const liar = await serve(other.publicFolder);
        await restartNode({ mirrors: [liar.url] });
        await node.poll();
        await expectRefused('checkpoint-inconsistent');
        expectEvidence(held, readServed(other.publicFolder, 'checkpoint'));
        await restartNode({ mirrors: [liar.url, mirror.url] });
        await expectRecovered();
        expectEvidence(held, readServed(other.publicFolder, 'checkpoint'));
      },
    );
  }
}

attack('split view', 'a mirror with a forged bundle is no proof against the log', async () => {
  await register.notice(['more.example']);
  const [first] = parseBundle(served(bundlePath(0, 2)), 2);
  replace(bundlePath(0, 2), composeBundle([first!, Buffer.from('forged')]));
  await expectRefused('log-invalid');
  expect(node.follower.status().evidence).toBe(0);
  await expectRecoveredWith(['blocked.example', 'more.example']);
});

attack('split view', 'a tree that only this node was shown, once the witnesses have signed another', async () => {
  const other = await createFork((fork) => fork.withoutWitnesses(() => fork.notice(['forged.example'])));
  const liar = await serve(other.publicFolder);
  await restartNode({ mirrors: [liar.url, mirror.url] });
  await node.poll();
  expect(node.follower.status()).toMatchObject({ size: 1, unwitnessed: 1, evidence: 0 });
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  const shownOnlyHere = readServed(other.publicFolder, 'checkpoint');
  await register.notice(['more.example']);
  await node.poll();
  expect(node.incidents).toContain('checkpoint-inconsistent');
  expect(node.blocked(NAMES)).toEqual(['blocked.example', 'more.example']);
  expectEvidence(shownOnlyHere, served('checkpoint'));
});

attack('split view', 'an honest witness signs only one of two trees', async () => {
  const other = await createRegister({ witnesses: 3, quorum: 2 });
  await other.notice(['blocked.example']);
  await register.heartbeat();
  await node.poll();
  await other.withoutWitnesses(() => other.notice(['forged.example']));
  const body = readServed(other.publicFolder, 'checkpoint');
  const outcomes = await Promise.allSettled(
    register.witnesses.map((witness) => witness.cosign({ oldSize: 2, proof: [], note: body } as never)),
  );
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
});

// ---------------------------------------------------------------------------------------------------------------------

test('every attack has a scenario', () => {
  expect([...covered].sort()).toEqual([...ATTACKS].sort());
});
