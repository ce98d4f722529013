import { rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../base/fake-clock.ts';
import { ask } from '../support/dns-client.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, type LogRegisterOptions } from '../support/log-register.ts';
import type { MirrorFault, MirrorServer } from '../support/mirror-server.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

const HOUR = 3_600;
const DAY = 86_400;

let upstream: StubUpstream;
let register: LogRegister;
let mirror: MirrorServer;
let site: NodeSite;
let toClose: (() => Promise<unknown>)[];

beforeAll(async () => {
  upstream = await startStubUpstream();
});

afterAll(() => upstream?.close());

beforeEach(() => {
  toClose = [];
});

afterEach(async () => {
  for (const close of toClose.reverse()) await close();
});

/** A clock that is so far ahead of this machine's. */
const clockAhead = (seconds: number) => new FakeClock(Math.floor(Date.now() / 1000) + seconds);

/** Makes a register, and the place of a node that follows it over HTTP. */
async function prepare(options: LogRegisterOptions = {}): Promise<void> {
  register = await LogRegister.create(makeFolder(), { witnesses: 2, quorum: 2, ...options });
  toClose.push(() => register.close());
  mirror = await register.serve();
  site = await NodeSite.prepare({ upstreams: [upstream] });
  // In this process a test says when to look.
  site.config.register = { ...register.nodeConfig([mirror.url]), pollSeconds: 3_600 };
}

async function start(): Promise<TestNode> {
  const node = await site.startHere();
  toClose.push(() => node.stop());
  return node;
}

async function stop(node: TestNode): Promise<void> {
  toClose.pop();
  await node.stop();
}

/** Which of these names are blocked. */
async function blocked(...names: string[]): Promise<string[]> {
  const answers = await Promise.all(names.map((name) => ask(site.server, name)));
  return names.filter((_, i) => answers[i]!.rcode === 'NXDOMAIN');
}

/** These names and everything below, which is answered with NXDOMAIN. */
const below = (...names: string[]) => names.map((name) => ({ subtree: name }));

const health = async () => (await fetch(`http://127.0.0.1:${site.metricsPort}/healthz`)).text();

test('a mirror that misbehaves in any way ends neither the thread that follows it nor a block', async () => {
  await prepare();
  await register.notice(below('old.example'));
  const node = await start();
  // Of what is unchanged and what is silent other tests tell.
  const faults: MirrorFault[] = ['html', 'garbage', 'endless', 'absent', 'broken', 'truncated', 'oversized', 'reset'];
  for (const fault of faults) {
    mirror.fault = () => fault;
    await node.follow();
    expect([fault, node.keeper.failure]).toEqual([fault, expect.stringMatching(/./)]);
  }
  expect(await blocked('old.example')).toEqual(['old.example']);
  expect(node.log.join('')).not.toContain('sync thread');
  expect(await health()).toContain('the register could not be read');
  mirror.thaw();
  await register.notice(below('new.example'));
  await node.follow();
  expect(await blocked('old.example', 'new.example')).toHaveLength(2);
  expect(node.keeper.failure).toBe('');
});

test('indefinite freeze: the alarm of a node whose mirror stands still', async () => {
  await prepare({ clock: clockAhead(-3 * HOUR) });
  await register.notice(below('old.example'));
  await start();
  expect(await health()).toContain('the witnesses last saw the log 180 minutes ago');
  expect(await blocked('old.example')).toEqual(['old.example']);
});

test('the alarms of a register without witnesses, and of one whose trust has expired', async () => {
  const clock = clockAhead(0);
  await prepare({ clock });
  await register.notice(below('old.example'));
  const node = await start();
  // The witnesses are eight days ahead of this machine, which believes them.
  clock.pass(8 * DAY * 1000);
  await register.cosign();
  await node.follow();
  expect(await health()).toContain('the list of who may sign has expired');
  register.refreshTimestamp();
  await register.withoutWitnesses(() => register.notice(below('new.example')));
  await node.follow();
  expect(await health()).toContain("1 statements wait for the log's witnesses");
  expect(await blocked('old.example', 'new.example')).toEqual(['old.example']);
});

test('split view: a node on a mirror of the other tree goes on with its own and says that it has the proof', async () => {
  const clock = clockAhead(0);
  await prepare({ clock });
  await register.notice(below('old.example'));
  const node = await start();
  const other = await LogRegister.create(makeFolder(), { clock, witnesses: 2, quorum: 2 });
  toClose.push(() => other.close());
  await other.notice(below('forged.example', 'old.example'));
  const liar = await other.serve();
  await stop(node);
  site.config.register.mirrors = [liar.url];
  const again = await start();
  expect(await blocked('old.example', 'forged.example')).toEqual(['old.example']);
  expect(again.log.join('')).toContain('"code":"checkpoint-inconsistent"');
  expect(await health()).toContain('the log showed two histories');
});

test('a clock set back a day: what the witnesses say of the time ends what has lapsed, also after a restart', async () => {
  const clock = clockAhead(0);
  await prepare({ clock });
  await register.notice(below('short.example'), { term: { expires: '2h' } });
  await register.notice(below('long.example'));
  const node = await start();
  expect(await blocked('short.example', 'long.example')).toHaveLength(2);
  // The world is a day ahead of this machine.
  clock.pass(DAY * 1000);
  await register.heartbeat();
  await node.follow();
  await waitUntil('what has lapsed is reachable', async () => (await blocked('short.example')).length === 0);
  expect(await blocked('short.example', 'long.example')).toEqual(['long.example']);
  await stop(node);
  site.config.register.mirrors = [join(site.folder, 'nothing-here')];
  await start();
  expect(await blocked('short.example', 'long.example')).toEqual(['long.example']);
});

test('wrong software: a table compiled for another licensee is not used', async () => {
  await prepare();
  await register.notice(below('theirs.example'), { recipients: { licensees: ['NSP-TEST-1'] } });
  await register.notice(below('all.example'));
  await stop(await start());
  site.config.register.licensee = 'NSP-OTHER-2';
  const node = await start();
  expect(node.log.join('')).toContain('"code":"table-foreign"');
  expect(await blocked('theirs.example', 'all.example')).toEqual(['all.example']);
});

test('a damaged store with every mirror away: the saved table stays in use until they are back', async () => {
  await prepare();
  const { id } = await register.notice(below('wrong.example'));
  await register.notice(below('old.example'));
  await stop(await start());
  const database = join(site.folder, 'state/register.db');
  for (const part of ['-wal', '-shm']) rmSync(`${database}${part}`, { force: true });
  writeFileSync(database, 'not a database at all, and long enough to be taken for one'.repeat(100));
  mirror.fault = (path) => (path === 'checkpoint' ? 'broken' : undefined);
  const node = await start();
  expect(await blocked('wrong.example', 'old.example')).toHaveLength(2);
  expect(node.keeper.failure).not.toBe('');
  mirror.thaw();
  await register.revoke(id);
  await node.follow();
  expect(await blocked('wrong.example', 'old.example')).toEqual(['old.example']);
  expect(node.keeper.failure).toBe('');
});

test('receipts: whoever takes them may be silent, and a revocation does not wait; they are sent later, over a restart', async () => {
  await prepare();
  let silent = true;
  const bodies: string[] = [];
  const receiver: Server = createServer(async (request, response) => {
    if (silent) return;
    let body = '';
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    response.writeHead(201).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  toClose.push(async () => {
    receiver.closeAllConnections();
    receiver.close();
  });
  site.config.register.receipts = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/receipts`;
  const { id } = await register.notice(below('wrong.example'));
  const node = await start();
  expect(await blocked('wrong.example')).toEqual(['wrong.example']);
  await register.revoke(id);
  const began = performance.now();
  await node.follow();
  expect(await blocked('wrong.example')).toEqual([]);
  expect(performance.now() - began).toBeLessThan(9_000); // the receiver would be waited for ten seconds
  await stop(node);
  silent = false;
  receiver.closeAllConnections();
  const again = await start();
  await waitUntil('the receipts of both runs arrive', async () => {
    await again.follow();
    return bodies.length >= 3;
  });
  const sizes = bodies.map((body) => JSON.parse(Buffer.from(JSON.parse(body).payload, 'base64').toString()).treeSize);
  expect(sizes.slice(0, 3)).toEqual([1, 2, 2]);
});

test('warta resolver is killed: started again without a mirror it answers as before', async () => {
  await prepare();
  await register.notice(below('old.example'));
  const first = await site.startProcess();
  await waitUntil('it blocks', async () => (await blocked('old.example')).length === 1);
  await register.notice(below('new.example'));
  site.config.register.pollSeconds = 1;
  await first.stop();
  const savedMillis = () => statSync(join(site.folder, 'state/rules.table')).mtimeMs;
  const before = savedMillis();
  const second = await site.startProcess();
  await waitUntil('it blocks the new name', async () => (await blocked('new.example')).length === 1);
  await waitUntil('its table is saved', () => savedMillis() !== before);
  second.kill('SIGKILL');
  expect(await second.ended).toBe('SIGKILL');
  mirror.fault = () => 'silence';
  const third = await site.startProcess();
  expect(await blocked('old.example', 'new.example', 'good.example')).toEqual(['old.example', 'new.example']);
  third.kill('SIGKILL');
  await third.ended;
});
