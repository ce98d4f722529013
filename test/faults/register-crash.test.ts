import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { startProgram } from '../support/running-program.ts';
import { PACKAGE_ROOT } from '../support/test-authority.ts';
import { TestFollower } from '../sync/test-follower.ts';

const NAMES = ['old.example', 'wrong.example', 'new.example'];
/** Leaves enough that a first replay stores them in parts. */
const MANY_LEAVES = 2_100;
/** Programs at once. */
const AT_ONCE = 3;

const clock = new FakeClock();
let register: LogRegister;
/** The public tree as it was at first. */
let treeBefore: string;

beforeAll(async () => {
  register = await LogRegister.create(makeFolder(), { clock });
  await register.notice(['old.example']);
  const { id } = await register.notice(['wrong.example']);
  const leaves = Array.from({ length: MANY_LEAVES }, (_, i) => Buffer.from(`no statement ${i}`));
  await Promise.all(leaves.map((leaf) => register.site.sequencer.append(() => leaf)));
  await register.cosign();
  treeBefore = makeFolder();
  cpSync(register.publicFolder, treeBefore, { recursive: true });
  register.rotateTrust('next');
  register.changeAuthorities(() => {});
  await register.revoke(id);
  await register.notice(['new.example']);
});

afterAll(() => register.close());

/** Runs a node that dies at a commit, in a folder of its own; returns that and how it ended. */
async function run(dies?: { at: number; when: 'before' | 'after' }) {
  const folder = makeFolder();
  const file = join(folder, 'life.json');
  const mirrors = [treeBefore, register.publicFolder];
  writeFileSync(file, JSON.stringify({ folder, rootFile: register.rootFile, mirrors, nowSeconds: clock.wall / 1000, dies })); // biome-ignore format: one line
  const program = startProgram(process.execPath, [join(PACKAGE_ROOT, 'test/support/faulty-life.ts'), file]);
  return { folder, ended: await program.ended, output: program.output() };
}

/** Opens what a node left and looks once. */
async function restart(folder: string, mirror: string) {
  const nowSeconds = () => clock.wall / 1000;
  const node = new TestFollower({ mirrors: [mirror], rootFile: register.rootFile, folder, nowSeconds });
  await node.poll();
  const { size } = node.follower.status();
  const outcome = { list: node.list !== undefined, blocked: node.blocked(NAMES), size, failure: node.failure };
  await node.close();
  return outcome;
}

describe('a node is killed', () => {
  test('between any two of its commits: what it left is whole, never a rule too many, and it goes on', async () => {
    const whole = await run();
    expect(whole.ended).toBe(0);
    const { commits } = JSON.parse(whole.output) as { commits: number };
    expect(commits).toBeGreaterThanOrEqual(9);
    // What is on disk before a commit is what was there after the last one; what half of one leaves, other tests tell.
    const points: { at: number; when: 'before' | 'after' }[] = [{ at: 1, when: 'before' }];
    for (let at = 1; at <= commits; at++) points.push({ at, when: 'after' });
    const seen = new Set<string>();
    const queue = points.values();
    const work = async () => {
      for (const point of queue) {
        const where = `${point.when} commit ${point.at}`;
        const { folder, ended } = await run(point);
        expect([where, ended]).toEqual([where, 'SIGKILL']);
        // Offline it has what some commit left: nothing yet, the first tree or the second, and of that what annexes came.
        const left = await restart(folder, join(folder, 'nothing-here'));
        const allowed =
          left.size === 0
            ? [[]]
            : left.size === MANY_LEAVES + 2
              ? [[], ['old.example', 'wrong.example']]
              : [['old.example'], ['old.example', 'new.example']];
        expect([where, allowed]).toEqual([where, expect.arrayContaining([left.blocked])]);
        expect([where, left.list]).toEqual([where, left.size > 0]);
        seen.add(`${left.size}: ${left.blocked}`);
        // Online it comes to what is in force.
        const after = await restart(folder, register.publicFolder);
        const expected = {
          list: true,
          blocked: ['old.example', 'new.example'],
          size: register.size,
          failure: undefined,
        };
        expect([where, after]).toEqual([where, expected]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    // The crashes met every state there is.
    expect([...seen].sort()).toEqual(
      [
        '0: ',
        `${MANY_LEAVES + 2}: `,
        `${MANY_LEAVES + 2}: old.example,wrong.example`,
        `${MANY_LEAVES + 4}: old.example`,
        `${MANY_LEAVES + 4}: old.example,new.example`,
      ].sort(),
    );
  });
});
