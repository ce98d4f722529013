import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ask } from '../support/dns-client.ts';
import { runProgram } from '../support/programs.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { PACKAGE_ROOT } from '../support/test-authority.ts';
import { NodeSite } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

let upstream: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream();
});

afterAll(() => upstream?.close());

const rcode = async (site: NodeSite, name: string) => (await ask(site.server, name)).rcode;

describe('a full disk', () => {
  const FULL_BYTES = 64 * 1024;

  /** Gives the node a state folder that holds 64 KiB, which a table of 2000 rules exceeds, and starts it. */
  async function startOnFullDisk(site: NodeSite): Promise<{ program: RunningProgram; undo(): Promise<void> }> {
    const state = join(site.folder, 'state');
    mkdirSync(state);
    const mounted = await runProgram('mount', ['-t', 'tmpfs', '-o', `size=${FULL_BYTES}`, 'tmpfs', state]);
    if (mounted.code === 0) {
      const program = await site.startProcess();
      return { program, undo: async () => void (await runProgram('umount', ['-l', state])) };
    }
    // Where nothing may be mounted, a limit on the size of files takes the place of the small disk.
    const file = join(site.folder, 'warta.yaml');
    site.config.register.rescanSeconds = 1;
    writeFileSync(file, stringify(JSON.parse(JSON.stringify(site.config))));
    const warta = join(PACKAGE_ROOT, 'src/cli/warta.ts');
    const script = `ulimit -f ${FULL_BYTES / 512}; exec "$@"`;
    const program = startProgram('sh', ['-c', script, 'sh', process.execPath, warta, 'resolver', '--config', file]);
    await program.waitFor(/"msg":"serving /);
    return { program, undo: async () => {} };
  }

  test('costs the instant restart and nothing else', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    const names = Array.from({ length: 2000 }, (_, i) => ({ subtree: `bad${i}.example` }));
    site.register.notice('n', names);
    const { program, undo } = await startOnFullDisk(site);
    try {
      expect(program.output()).toMatch(/"code":"store-failed".*cannot write .*rules\.table/);
      expect([await rcode(site, 'bad5.example'), await rcode(site, 'good.example')]).toEqual(['NXDOMAIN', 'NOERROR']);
      site.register.notice('more', [{ subtree: 'more.test' }]);
      await waitUntil('an update is used all the same', async () => (await rcode(site, 'more.test')) === 'NXDOMAIN');
      expect(await rcode(site, 'bad5.example')).toBe('NXDOMAIN');
    } finally {
      await program.stop();
      await undo();
    }
  });
});

describe('the register directory', () => {
  /** Starts a node with one notice of this process. */
  async function start() {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice('one', [{ subtree: 'one.example' }]);
    site.register.notice('two', [{ subtree: 'two.example' }]);
    const node = await site.startHere();
    const blocked = async () => {
      const names = ['one.example', 'two.example', 'three.example'];
      const rcodes = await Promise.all(names.map((name) => rcode(site, name)));
      return names.filter((_, i) => rcodes[i] === 'NXDOMAIN');
    };
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    return { site, node, blocked, logged: () => node.log.join('') };
  }

  test('taken away: the last good list stays, and it is picked up again', async () => {
    const { site, node, blocked, logged } = await start();
    const { directory } = site.register;
    renameSync(directory, `${directory}.away`);
    await node.follow();
    expect(logged()).toMatch(/"code":"store-failed".*the last good list stays/);
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    renameSync(`${directory}.away`, directory);
    site.register.notice('three', [{ subtree: 'three.example' }]);
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example', 'three.example']);
    await node.stop();
  });

  test('one statement withdrawn: its names are reachable, the others stay blocked', async () => {
    const { site, node, blocked } = await start();
    site.register.withdraw('one');
    await node.follow();
    expect(await blocked()).toEqual(['two.example']);
    await node.stop();
  });

  const GARBAGE: [string, string | Buffer][] = [
    ['an HTML page', '<!DOCTYPE html><title>503 Service Unavailable</title>'],
    ['an empty file', ''],
    ['JSON that is no envelope', '{"statements":[]}'],
    ['octets', Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) & 255))],
    ['64 KiB and one', Buffer.alloc(64 * 1024 + 1, '{')],
  ];

  test.each(GARBAGE)('%s among the statements: void with a reason, the others stand', async (_, content) => {
    const { site, node, blocked, logged } = await start();
    writeFileSync(site.register.pathOf('garbage'), content);
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    expect(node.keeper.last!.void).toMatchObject([
      { name: 'garbage.json', code: expect.stringMatching(/^statement-(malformed|oversized)$/) },
    ]);
    expect(logged()).toContain('void statement garbage.json');
    await node.stop();
  });

  test('an annex damaged: its notice is void, the others stand', async () => {
    const { site, node, blocked } = await start();
    const three = site.register.notice('three', [{ subtree: 'three.example' }]);
    const annex = join(site.register.directory, 'annexes', `${three.annex!.digest}.jsonl`);
    writeFileSync(annex, Buffer.from(three.annex!.bytes).fill('x', 30, 31));
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    rmSync(annex);
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    writeFileSync(annex, three.annex!.bytes);
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example', 'three.example']);
    await node.stop();
  });

  test.each([
    ['an HTML page', '<!DOCTYPE html><title>404</title>'],
    ['no authorities', '{"version":1}'],
  ])('%s in place of authorities.json: the last good list stays', async (_, content) => {
    const { site, node, blocked, logged } = await start();
    writeFileSync(site.register.authoritiesFile, content);
    await node.follow();
    expect(logged()).toMatch(/"code":"authorities-invalid".*the last good list stays/);
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    await node.stop();
  });

  test('folders and links where statements should be: the others stand', async () => {
    const { site, node, blocked } = await start();
    mkdirSync(site.register.pathOf('folder'));
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example']);
    site.register.notice('three', [{ subtree: 'three.example' }]);
    await node.follow();
    expect(await blocked()).toEqual(['one.example', 'two.example', 'three.example']);
    await node.stop();
  });
});
