import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ask, type Server } from '../support/dns-client.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { findFreePort } from '../support/ports.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { PACKAGE_ROOT } from '../support/test-authority.ts';
import { waitUntil } from '../support/wait.ts';

/** What the profile promises (deploy/README.md). */
const MEMORY_MAX_KIB = 512 * 1024;
const STATEMENTS = 500;
const ENTRIES = 200;

let register: LogRegister;
let upstream: StubUpstream;
let resolver: RunningProgram;
let server: Server;

beforeAll(async () => {
  upstream = await startStubUpstream();
  const folder = makeFolder();
  register = await LogRegister.create(join(folder, 'register'));
  await register.bulk({ statements: STATEMENTS, entries: ENTRIES });
  const mirror = await register.serve();
  const profile = parse(readFileSync(join(PACKAGE_ROOT, 'config/small-host.yaml'), 'utf8'));
  server = { host: '127.0.0.1', port: await findFreePort() };
  const config = {
    ...profile,
    state: join(folder, 'state'),
    register: { ...profile.register, ...register.nodeConfig([mirror.url]) },
    resolver: { ...profile.resolver, listen: [`127.0.0.1:${server.port}`], upstreams: [`127.0.0.1:${upstream.port}`] },
    metrics: { listen: `127.0.0.1:${await findFreePort()}` },
  };
  writeFileSync(join(folder, 'warta.yaml'), stringify(config));
  // One core, whatever this machine has.
  const words = ['-c', '0', process.execPath, join(PACKAGE_ROOT, 'src/cli/warta.ts'), 'resolver'];
  resolver = startProgram('taskset', [...words, '--config', join(folder, 'warta.yaml')]);
  await resolver.waitFor(/"msg":"serving /, 60_000);
});

afterAll(async () => {
  await resolver?.stop();
  await register?.close();
  await upstream?.close();
});

/** The most memory that a process was resident with, in KiB. */
function readPeak(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

it('replays 100,000 entries and serves, on one core with 512 MB', async () => {
  const last = `b${STATEMENTS - 1}-${ENTRIES - 1}.example`;
  await waitUntil('the last entry is blocked', async () => (await ask(server, last)).rcode === 'NXDOMAIN', 60_000);
  expect((await ask(server, 'www.allowed.example')).rcode).toBe('NOERROR');
  await register.notice([{ subtree: 'new.example' }]);
  await waitUntil(
    'a new notice is enforced',
    async () => (await ask(server, 'new.example')).rcode === 'NXDOMAIN',
    60_000,
  );
  expect(readPeak(resolver.pid)).toBeLessThan(MEMORY_MAX_KIB);
});
