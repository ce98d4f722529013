import { cpSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { type MirrorFault, MirrorServer } from '../support/mirror-server.ts';
import { TestFollower } from '../sync/test-follower.ts';

const NAMES = ['blocked.example', 'more.example'];
/** How long a mirror that says nothing is waited for here. */
const TIMEOUT_MILLIS = 1_000;

let register: LogRegister;
let clock: FakeClock;
/** A node as it was before the update that the mirrors garble. */
let folderBefore: string;
/** Every file that a node asks for to take the update. */
let paths: string[];

beforeAll(async () => {
  clock = new FakeClock();
  register = await LogRegister.create(makeFolder(), { clock, witnesses: 2, quorum: 2 });
  await register.notice(['blocked.example']);
  folderBefore = makeFolder();
  const node = open(register.publicFolder, folderBefore);
  await node.poll();
  expect(node.blocked(NAMES)).toEqual(['blocked.example']);
  await node.close();
  register.rotateTrust('next');
  register.changeAuthorities(() => {});
  await register.notice(['more.example']);
  paths = await findPaths();
  expect([...new Set(paths.map(kindOf))].sort()).toEqual(['annex', 'checkpoint', 'tile', 'trust']);
});

afterAll(() => register.close());

function open(mirror: string, folder: string, laterSeconds = () => 0): TestFollower {
  return new TestFollower({
    mirrors: [mirror],
    rootFile: register.rootFile,
    folder,
    nowSeconds: () => clock.wall / 1000 + laterSeconds(),
    timeoutMillis: () => TIMEOUT_MILLIS,
  });
}

/** What a fault in a file comes to: the code of what is refused, by the kind of file. */
const CODES: Record<MirrorFault, { checkpoint: RegExp; trust: RegExp; tile: RegExp; annex: RegExp }> = {
  html: { checkpoint: /^note-invalid$/, trust: /^trust-invalid$/, tile: /^log-invalid$/, annex: /^annex-/ },
  garbage: { checkpoint: /^note-invalid$/, trust: /^trust-invalid$/, tile: /^log-invalid$/, annex: /^annex-/ },
  oversized: {
    checkpoint: /^note-invalid$/,
    trust: /^(trust-invalid|response-oversized)$/,
    tile: /^log-invalid$/,
    annex: /^response-oversized$/,
  },
  endless: every(/^response-oversized$/),
  slow: every(/^response-slow$/),
  silence: every(/^response-slow$/),
  broken: every(/^mirror-failed$/),
  truncated: every(/^mirror-failed$/),
  unchanged: every(/^mirror-failed$/),
  reset: every(/^mirror-failed$/),
  absent: {
    checkpoint: /^mirror-failed$/,
    trust: /^(mirror-failed|trust-invalid)$/,
    tile: /^log-invalid$/,
    annex: /^annex-missing$/,
  },
};

function every(code: RegExp) {
  return { checkpoint: code, trust: code, tile: code, annex: code };
}

const kindOf = (path: string) =>
  path === 'checkpoint'
    ? 'checkpoint'
    : path.startsWith('trust/')
      ? 'trust'
      : path.startsWith('tile/')
        ? 'tile'
        : 'annex';

async function findPaths(): Promise<string[]> {
  const server = await MirrorServer.start(register.publicFolder);
  const folder = copyFolder();
  const node = open(server.url, folder);
  expect(await node.poll()).toBeUndefined();
  expect(node.blocked(NAMES)).toEqual(NAMES);
  await node.close();
  await server.close();
  return [...server.requests.keys()];
}

function copyFolder(): string {
  const folder = makeFolder();
  cpSync(folderBefore, folder, { recursive: true });
  return folder;
}

/** Lets a mirror garble one file, then be honest again; returns what came of both. */
async function garble(path: string, fault: MirrorFault) {
  const server = await MirrorServer.start(register.publicFolder);
  let laterSeconds = 0;
  const node = open(server.url, copyFolder(), () => laterSeconds);
  server.fault = (asked) => (asked === path ? fault : undefined);
  await node.poll();
  const blocked = node.blocked(NAMES);
  const { incidents } = node;
  const { size, authoritiesVersion, receivedBytes } = node.follower.status();
  server.thaw();
  laterSeconds = 10;
  // Under load an honest answer may take longer than this node waits.
  for (let i = 0; i < 5 && (await node.poll()) !== undefined; i++);
  const after = { failure: node.failure, blocked: node.blocked(NAMES), voids: node.voids };
  await node.close();
  await server.close();
  return { blocked, incidents, size, authoritiesVersion, receivedBytes, after };
}

describe('a mirror garbles one file of an update', () => {
  const faults = Object.keys(CODES) as MirrorFault[];

  test.each(faults)(
    '%s in place of each in turn: refused by code, and the update comes when it is mended',
    async (fault) => {
      await Promise.all(
        paths.map(async (path) => {
          // The root after the newest is never there, which is how its end is known; so its absence is no fault.
          const isMissing = path === 'trust/3.root.json';
          if (isMissing && ['absent', 'slow', 'truncated'].includes(fault)) return;
          const { blocked, incidents, size, authoritiesVersion, receivedBytes, after } = await garble(path, fault);
          const kind = kindOf(path);
          const where = `${fault} ${path}`;
          expect([where, incidents]).toEqual([where, [expect.stringMatching(CODES[fault][kind])]]);
          const isRefused = kind !== 'trust';
          expect([where, blocked]).toEqual([where, isRefused ? ['blocked.example'] : NAMES]);
          expect([where, authoritiesVersion]).toEqual([where, kind === 'trust' ? 1 : 2]);
          expect([where, size]).toEqual([where, kind === 'checkpoint' || kind === 'tile' ? 1 : 2]);
          expect(receivedBytes).toBeLessThan(1_500_000);
          expect([where, after]).toEqual([where, { failure: undefined, blocked: NAMES, voids: [] }]);
        }),
      );
    },
  );

  test.each(faults)('%s in place of all of them: the node goes on with what it has', async (fault) => {
    const server = await MirrorServer.start(register.publicFolder);
    server.fault = () => fault;
    const node = open(server.url, copyFolder());
    expect(await node.poll()).toBeDefined();
    expect(node.blocked(NAMES)).toEqual(['blocked.example']);
    expect(node.follower.status().receivedBytes).toBeLessThan(1_500_000);
    await node.close();
    await server.close();
  });
});
