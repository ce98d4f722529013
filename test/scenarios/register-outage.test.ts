import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RuleClock } from '../../src/base/clock.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { composeLeaf, LEAF_MAX_BYTES } from '../../src/register/leaf.ts';
import { NO_RULE } from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { TimeFloor } from '../../src/sync/time-floor.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { composeName } from '../support/dns-message.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, type LogRegisterOptions, seededKey } from '../support/log-register.ts';
import type { MirrorServer } from '../support/mirror-server.ts';
import { LICENSEE } from '../support/test-authority.ts';
import { codeOf, TestFollower, type TestFollowerOptions } from '../sync/test-follower.ts';

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;

let clock: FakeClock;
let register: LogRegister;
let mirror: MirrorServer;
let node: TestFollower;
let folder: string;
let toClose: { close(): Promise<unknown> }[];

beforeEach(() => {
  clock = new FakeClock();
  folder = makeFolder();
  toClose = [];
});

afterEach(async () => {
  for (const one of toClose.reverse()) await one.close();
});

const now = () => clock.wall / 1000;
const pass = (seconds: number) => clock.pass(seconds * 1000);

/** Makes a register with three witnesses, two of which must sign. */
async function createRegister(options: LogRegisterOptions = {}): Promise<void> {
  register = await LogRegister.create(makeFolder(), { clock, witnesses: 3, quorum: 2, ...options });
  toClose.push(register);
  mirror = await register.serve();
}

function startNode(options: Partial<TestFollowerOptions> = {}): TestFollower {
  const started = new TestFollower({ mirrors: [mirror.url], rootFile: register.rootFile, folder, nowSeconds: now, ...options }); // biome-ignore format: one line
  toClose.push(started);
  return started;
}

/** Ends the node and starts it again with what it kept. */
async function restartNode(options: Partial<TestFollowerOptions> = {}): Promise<void> {
  toClose.splice(toClose.indexOf(node), 1);
  await node.close();
  node = startNode(options);
}

const nowhere = () => ({ mirrors: [join(folder, 'nothing-here')] });
const blocked = (...names: string[]) => node.blocked(names);

describe('the witnesses are missing', () => {
  test('new blocks wait, releases are applied at once, and what waited comes in when the witnesses are back', async () => {
    await createRegister();
    const { id: first } = await register.notice(['first.example']);
    const { id: second } = await register.notice(['second.example']);
    const { id: third } = await register.notice(['third.example', 'fourth.example']);
    node = startNode();
    await node.poll();
    const names = ['first.example', 'second.example', 'third.example', 'fourth.example', 'new.example'];
    expect(node.blocked(names)).toEqual(names.slice(0, 4));
    const { size, freshAtSeconds } = node.follower.status();
    pass(MINUTE);
    await register.withoutWitnesses(async () => {
      await register.notice(['new.example']);
      await register.revoke(first);
      await register.stay(second);
      await register.revoke(third, ['e0000001']);
    });
    expect(await node.poll()).toBe('statement-unwitnessed');
    expect(node.blocked(names)).toEqual(['fourth.example']);
    expect(node.follower.status()).toMatchObject({ size, freshAtSeconds, unwitnessed: 4 });
    expect(node.voids).toEqual([expect.stringMatching(/^unwitnessed \w+ statement-unwitnessed$/)]);
    // It is kept, as long as it takes.
    await restartNode(nowhere());
    await node.poll();
    expect(node.blocked(names)).toEqual(['fourth.example']);
    await restartNode();
    pass(MINUTE);
    await register.cosign();
    expect(await node.poll()).toBeUndefined();
    expect(node.blocked(names)).toEqual(['fourth.example', 'new.example']);
    expect(node.voids).toEqual([]);
    expect(node.follower.status()).toMatchObject({ size: 7, freshAtSeconds: now(), unwitnessed: 0 });
  });

  test('what a log without witnesses may show is bounded: the rules stay, and no release of the true log is lost', async () => {
    await createRegister();
    const { id } = await register.notice(['first.example']);
    node = startNode();
    await node.poll();
    const before = node.rules;
    await register.withoutWitnesses(async () => {
      const { sequencer } = register.site;
      await Promise.all(Array.from({ length: 520 }, (_, i) => sequencer.append(() => Buffer.alloc(LEAF_MAX_BYTES, i))));
      await sequencer.flush();
    });
    expect(await node.poll()).toBe('statement-unwitnessed');
    expect(node.rules).toEqual(before);
    expect(node.follower.status()).toMatchObject({ size: 1, unwitnessed: 0 });
    pass(1);
    await register.revoke(id);
    await register.cosign();
    expect(await node.poll()).toBeUndefined();
    expect(blocked('first.example')).toEqual([]);
  });

  test('one of three is not missed', async () => {
    await createRegister();
    register.witnesses[1]!.isDown = true;
    await register.notice(['new.example']);
    node = startNode();
    expect(await node.poll()).toBeUndefined();
    expect(blocked('new.example')).toEqual(['new.example']);
  });

  test('a resumption is a new block and waits', async () => {
    await createRegister();
    const { id } = await register.notice(['stayed.example']);
    const stay = await register.stay(id);
    node = startNode();
    await node.poll();
    expect(blocked('stayed.example')).toEqual([]);
    const resumption = { type: 'resumption', target: stay.id, from: 'now' };
    await register.withoutWitnesses(() => register.publish(resumption));
    expect(await node.poll()).toBe('statement-unwitnessed');
    expect(blocked('stayed.example')).toEqual([]);
    pass(1);
    await register.cosign();
    await node.poll();
    expect(blocked('stayed.example')).toEqual(['stayed.example']);
  });
});

describe('the list of who may sign has expired', () => {
  test('new blocks wait, releases are applied, and what waited comes in when it is renewed', async () => {
    await createRegister();
    const { id } = await register.notice(['first.example']);
    await register.notice(['second.example']);
    node = startNode();
    await node.poll();
    pass(8 * DAY);
    await register.appendStatement(register.sign({ type: 'notice', names: ['new.example'] }));
    await register.revoke(id);
    expect(await node.poll()).toBe('trust-expired');
    expect(blocked('first.example', 'second.example', 'new.example')).toEqual(['second.example']);
    expect(node.voids).toEqual(['#2 trust-expired']);
    expect(node.follower.status().trustExpiresSeconds).toBeLessThan(now());
    await restartNode();
    expect(await node.poll()).toBe('trust-expired');
    expect(blocked('first.example', 'second.example', 'new.example')).toEqual(['second.example']);
    register.refreshTimestamp();
    expect(await node.poll()).toBeUndefined();
    expect(blocked('first.example', 'second.example', 'new.example')).toEqual(['second.example', 'new.example']);
    expect(node.voids).toEqual([]);
  });
});

describe('keys of officers', () => {
  beforeEach(async () => {
    await createRegister();
    await register.notice(['before.example']);
    node = startNode();
    await node.poll();
    pass(HOUR);
  });

  test('a stolen one is worth nothing once it is revoked; what it signed before stands', async () => {
    const stolen = register.sign({ type: 'notice', names: ['stolen.example'] });
    register.revokeOfficer('one');
    pass(1);
    await register.appendStatement(stolen);
    await register.appendStatement(register.sign({ type: 'notice', names: ['later.example'] }));
    expect(await node.poll()).toBeUndefined();
    expect(node.voids).toEqual(['#1 statement-unsigned', '#2 statement-unsigned']);
    expect(blocked('before.example', 'stolen.example', 'later.example')).toEqual(['before.example']);
  });

  test('a leaf dated back to before the revocation is void', async () => {
    register.revokeOfficer('one', now() - MINUTE);
    await register.heartbeat();
    clock.wall -= 2 * MINUTE * 1000; // what the thief writes into it
    const backdated = register.sign({ type: 'notice', names: ['backdated.example'] });
    clock.wall += 2 * MINUTE * 1000;
    await register.appendStatement(backdated, now() - 2 * MINUTE);
    expect(await node.poll()).toBeUndefined();
    expect(node.voids).toEqual(['#2 statement-backdated']);
    expect(blocked('before.example', 'backdated.example')).toEqual(['before.example']);
  });

  test('a release that is dated back counts: nothing is blocked by it', async () => {
    const { id } = await register.notice(['wrong.example']);
    await register.heartbeat();
    const revocation = register.sign({ type: 'revocation', notice: id, from: 'now' });
    await register.appendStatement(revocation, now() - 1);
    expect(await node.poll()).toBeUndefined();
    expect(blocked('before.example', 'wrong.example')).toEqual(['before.example']);
  });

  test('a new one takes over, and what the old one signed stands', async () => {
    register.rotateOfficer('one');
    await register.notice(['after.example']);
    const old = register.sign({ type: 'notice', names: ['old-key.example'] }, ['one', 'two']);
    await register.appendStatement(old);
    expect(await node.poll()).toBeUndefined();
    expect(node.voids).toEqual(['#2 statement-unsigned']);
    expect(blocked('before.example', 'after.example', 'old-key.example')).toEqual(['before.example', 'after.example']);
  });
});

describe('leaves that are no statements', () => {
  const garbage: [string, (atSeconds: number) => Uint8Array, string][] = [
    ['nothing', () => Buffer.alloc(0), 'statement-unreadable'],
    ['octets', () => Buffer.from(Array.from({ length: 999 }, (_, i) => (i * 7919) & 255)), 'statement-unreadable'],
    ['HTML', () => Buffer.from('<!doctype html><title>502</title>'), 'statement-unreadable'],
    ['as much as fits', () => Buffer.alloc(LEAF_MAX_BYTES, '{'), 'statement-unreadable'],
    [
      'a long envelope of nothing',
      (at) => frame(Buffer.from(`{"a":"${'x'.repeat(65_000)}"}`), at),
      'statement-malformed',
    ],
    ['another framing', (at) => Buffer.from(frame(Buffer.from('{}'), at).toString().replace('{"envelope"', '{ "envelope"')), 'statement-unreadable'], // biome-ignore format: short
    [
      'another order of keys',
      () => Buffer.from('{"integratedAt":"2026-03-01T09:00:00Z","envelope":{}}'),
      'statement-unreadable',
    ],
    [
      'no such time',
      () => Buffer.from('{"envelope":{},"integratedAt":"2026-02-31T09:00:00Z"}'),
      'statement-unreadable',
    ],
    ['an envelope of another type', (at) => frame(Buffer.from('{"payload":"e30=","payloadType":"text/plain","signatures":[]}'), at), 'statement-malformed'], // biome-ignore format: short
    ['an empty envelope', (at) => frame(Buffer.from('{}'), at), 'statement-malformed'],
  ];

  const frame = (envelope: Buffer, atSeconds: number) => composeLeaf(envelope, atSeconds);

  test('do not stop the rest', async () => {
    await createRegister();
    await register.notice(['before.example']);
    for (const [, compose] of garbage) await register.appendRaw(compose);
    await register.notice(['after.example']);
    node = startNode();
    expect(await node.poll()).toBeUndefined();
    expect(node.voids.toSorted()).toEqual(garbage.map(([, , code], i) => `#${i + 1} ${code}`).toSorted());
    expect(blocked('before.example', 'after.example')).toEqual(['before.example', 'after.example']);
    // Nor does each of them at the end of what a node has.
    for (const [what, compose] of garbage) {
      await register.appendRaw(compose);
      expect([what, await node.poll()]).toEqual([what, undefined]);
    }
    await register.notice(['last.example']);
    await node.poll();
    await restartNode(nowhere());
    await node.poll();
    expect(blocked('before.example', 'after.example', 'last.example')).toHaveLength(3);
  });
});

describe('annexes', () => {
  test('missing on every mirror: its notice is void until one has it, and nobody asks at every poll', async () => {
    await createRegister();
    await register.notice(['before.example']);
    const { annex } = await register.notice(['late.example']);
    const path = `annex/${annex!.digest.slice(0, 2)}/${annex!.digest}.jsonl`;
    mirror.fault = (asked) => (asked === path ? 'absent' : undefined);
    node = startNode();
    expect(await node.poll()).toBeUndefined();
    expect(node.voids).toEqual(['#1 annex-missing']);
    expect(node.incidents).toEqual(['annex-missing']);
    for (let i = 0; i < 360; i++) {
      pass(10);
      await node.poll();
    }
    expect(blocked('before.example', 'late.example')).toEqual(['before.example']);
    expect(mirror.requests.get(path)).toBeLessThan(20);
    mirror.thaw();
    pass(10 * MINUTE);
    await node.poll();
    expect(blocked('before.example', 'late.example')).toEqual(['before.example', 'late.example']);
    expect(node.voids).toEqual([]);
  });

  describe('sealed', () => {
    const KEY = seededKey('node-1');
    let url: string;

    beforeEach(async () => {
      await createRegister();
      await register.notice(['open.example']);
      await register.notice(['sealed.example'], { sealed: true });
      const server = register.site.createServer();
      url = await server.listen({ host: '127.0.0.1', port: 0 });
      toClose.push({ close: () => server.close() });
    });

    const sealed = (key = KEY, origin = register.origin) => ({ sealed: { url, key, origin } });
    const both = () => blocked('open.example', 'sealed.example');

    test('without a server that gives them: the open notices stand, and the operator is told why', async () => {
      node = startNode();
      expect(await node.poll()).toBeUndefined();
      expect([both(), node.voids]).toEqual([['open.example'], ['#1 annex-missing']]);
      const [incident] = node.follower.status().incidents;
      expect(incident).toMatchObject({ code: 'annex-missing', reason: expect.stringContaining('register.sealed') });
      expect([...mirror.requests.keys()].filter((path) => path.startsWith('sealed/'))).toEqual([]);
    });

    test('to a node that is enrolled, and to nobody else', async () => {
      node = startNode(sealed());
      await node.poll();
      expect(both()).toEqual(['open.example']);
      await register.enrolNode(LICENSEE, 'node-1', publicKeyOf(KEY));
      for (const wrong of [sealed(seededKey('node-2')), sealed(KEY, 'register.test/other')]) {
        await restartNode(wrong);
        await node.poll();
        expect(both()).toEqual(['open.example']);
      }
      await restartNode(sealed());
      expect(await node.poll()).toBeUndefined();
      expect(both()).toEqual(['open.example', 'sealed.example']);
      // No mirror ever had it, and it is kept.
      expect([...mirror.requests.keys()].filter((path) => path.startsWith('sealed/'))).toEqual([]);
      await restartNode(nowhere());
      await node.poll();
      expect(both()).toEqual(['open.example', 'sealed.example']);
    });
  });
});

describe('48 hours without the control plane', () => {
  test('every expiry fires on time, nothing new appears, and the age tells', async () => {
    await createRegister();
    const start = now();
    const ends = new Map<string, number>();
    const notice = async (name: string, seconds: number, changes: object = {}) => {
      ends.set(name, start + seconds);
      const expires = new Date((start + seconds) * 1000).toISOString().replace('.000', '');
      return register.notice([name], { term: { expires }, ...changes });
    };
    for (let hours = 1; hours <= 47; hours += 2) await notice(`h${hours}.example`, hours * HOUR);
    await notice('odd.example', 31 * HOUR + 17 * MINUTE + 23);
    // An entry that ends before its notice, a stay that begins, one that ends, a revocation signed ahead.
    await register.notice([{ exact: 'entry.example', expires: instant(start + 5 * HOUR) }, 'notice.example']);
    ends.set('entry.example', start + 5 * HOUR);
    const stayed = await notice('stayed.example', 40 * HOUR);
    await register.publish({
      type: 'stay', target: { notice: stayed.id }, from: 'now', until: instant(start + 20 * HOUR),
      order: { by: 'Tribunal', reference: 'T/1' },
    }); // biome-ignore format: short
    const revoked = await notice('revoked.example', 47 * HOUR);
    await register.publish({ type: 'revocation', notice: revoked.id, from: instant(start + 11 * HOUR) });
    ends.set('revoked.example', start + 11 * HOUR);
    // One that begins while nobody is there: it was signed, so it is due.
    await notice('begins.example', 45 * HOUR, { dates: { made: 'now', approved: 'now', effectiveFrom: instant(start + 33 * HOUR) } }); // biome-ignore format: short
    node = startNode();
    expect(await node.poll()).toBeUndefined();
    const starts = new Map([
      ['stayed.example', start + 20 * HOUR],
      ['begins.example', start + 33 * HOUR],
    ]);
    const names = [...ends.keys(), 'notice.example'];
    const expected = (atSeconds: number) =>
      names.filter((name) => (starts.get(name) ?? 0) <= atSeconds && atSeconds < (ends.get(name) ?? Infinity));
    // The control plane goes away. Whatever it signs now reaches nobody.
    mirror.fault = () => 'reset';
    const moments = [...ends.values(), ...starts.values()].sort((one, other) => one - other);
    for (const [i, moment] of moments.entries()) {
      for (const atSeconds of [moment - 1, moment]) {
        pass(Math.max(0, atSeconds - now()));
        expect(await node.poll()).toBe('mirror-failed');
        expect([atSeconds - start, node.blocked(names, atSeconds)]).toEqual([atSeconds - start, expected(atSeconds)]);
      }
      if (i % 8 === 0) {
        await restartNode();
        await node.poll();
        expect(node.blocked(names)).toEqual(expected(now()));
      }
    }
    pass(48 * HOUR - (now() - start));
    await node.poll();
    expect(node.blocked(names)).toEqual(['notice.example']);
    const { freshAtSeconds, size } = node.follower.status();
    expect([now() - freshAtSeconds!, size]).toEqual([48 * HOUR, register.size]);
    expect(node.follower.status().mirrors[0]).toMatchObject({ fault: expect.stringContaining(mirror.url) });
    // It comes back.
    mirror.thaw();
    register.refreshTimestamp();
    await register.notice(['new.example']);
    expect(await node.poll()).toBeUndefined();
    expect(blocked('new.example', 'notice.example')).toHaveLength(2);
  });

  test('then the clock is set back a day: nothing that lapsed revives', async () => {
    await createRegister();
    const start = now();
    const at = (hours: number) => instant(start + hours * HOUR);
    for (const hours of [30, 40, 60]) await register.notice([`h${hours}.example`], { term: { expires: at(hours) } });
    const names = ['h30.example', 'h40.example', 'h60.example'];
    node = startNode();
    await node.poll();
    pass(41 * HOUR);
    register.refreshTimestamp();
    await register.heartbeat();
    expect(await node.poll()).toBeUndefined();
    const floorFile = join(folder, 'time-floor.json');
    new TimeFloor(floorFile).raise(node.follower.status().freshAtSeconds!);
    expect(inForce(new RuleClock(clock), names)).toEqual(['h60.example']);
    // The machine starts with its clock a day behind, and the network is gone.
    clock.wall -= DAY * 1000;
    const floor = new TimeFloor(floorFile);
    expect(floor.seconds).toBe(start + 41 * HOUR);
    const nowSeconds = () => Math.max(now(), floor.seconds);
    await restartNode({ ...nowhere(), nowSeconds });
    await node.poll();
    expect(inForce(new RuleClock(clock, floor.seconds), names)).toEqual(['h60.example']);
    // A node that believed its clock would bring both back.
    await restartNode();
    await node.poll();
    expect(inForce(new RuleClock(clock), names)).toEqual(names);
    // And with the network, what the witnesses say raises it again.
    await restartNode({ nowSeconds });
    await node.poll();
    expect(node.follower.status().freshAtSeconds).toBe(start + 41 * HOUR);
  });

  /** Names the node's table blocks by a clock, as the resolver asks it. */
  function inForce(rules: RuleClock, names: readonly string[]): string[] {
    const table = new RuleTable(node.list!.table);
    rules.read();
    table.setTime(rules.startSeconds, rules.endSeconds);
    return names.filter((name) => table.findRule(composeName(name), 0) !== NO_RULE);
  }
});

test('a mirror that was away for long is caught up with in one poll', async () => {
  await createRegister({ termDays: { timestamp: 60, snapshot: 90 } });
  node = startNode();
  await node.poll();
  for (let i = 0; i < 20; i++) {
    pass(DAY);
    await register.notice([`n${i}.example`], { term: { expires: '5d' } });
    if (i % 3 === 0) register.rotateTrust(`rotation ${i}`);
  }
  expect(await node.poll()).toBeUndefined();
  expect(node.list).toMatchObject({ rules: 5 });
  expect(await node.poll().catch(codeOf)).toBeUndefined();
});

function instant(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000', '');
}
