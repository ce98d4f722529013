import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, test } from 'vitest';
import { findNamespaceFault, type Host, Network, removeStaleNamespaces } from '../support/namespaces.ts';
import { runProgram } from '../support/programs.ts';
import { startProgram } from '../support/running-program.ts';
import { waitUntil } from '../support/wait.ts';
import { titleOf } from './laboratory.ts';

const fault = findNamespaceFault();
const PLANS = [
  { name: 'one', addresses: ['198.51.100.1', '2001:db8::1'] },
  { name: 'two', addresses: ['203.0.113.2', '2001:db8::2'] },
];
/** Says its address to whoever connects to port 80. */
const SERVER = `require('net').createServer((socket) => socket.end(socket.localAddress)).listen(80, () => console.log('listening'))`;

const networks: Network[] = [];
afterEach(() => Promise.all(networks.splice(0).map((network) => network.remove())));

async function makeNetwork(): Promise<Network> {
  const network = await Network.create(PLANS);
  networks.push(network);
  return network;
}

const run = (host: Host, program: string, args: readonly string[]) => runProgram(...host.wrap(program, args));
const namespaces = () => readdirSync('/run/netns');
const isRunning = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

async function startServer(host: Host) {
  const server = startProgram(...host.wrap(process.execPath, ['-e', SERVER]));
  await server.waitFor(/listening/);
  return server;
}

describe.skipIf(fault !== undefined)(titleOf('a network of namespaces', fault), () => {
  test('its hosts reach one another, and two networks with the same addresses are two', async () => {
    const [first, second] = [await makeNetwork(), await makeNetwork()];
    await startServer(first.hosts.two!);
    for (const address of ['203.0.113.2', '[2001:db8::2]']) {
      const args = ['-sS', '--noproxy', '*', '--http0.9', '--max-time', '10', `http://${address}/`];
      expect((await run(first.hosts.one!, 'curl', args)).stdout).toContain(address.replace(/[[\]]/g, ''));
      expect((await run(second.hosts.one!, 'curl', args)).code).toBe(7); // refused
    }
  });

  test('its hosts have nothing but the switch', async () => {
    const { hosts } = await makeNetwork();
    const { stdout } = await run(hosts.one!, 'ip', ['-o', 'link']);
    expect(stdout.split('\n').map((line) => /^\d+: (\w+)/.exec(line)?.[1])).toEqual(['lo', 'eth0', undefined]);
  });

  test('an unplugged host is silent', async () => {
    const network = await makeNetwork();
    await startServer(network.hosts.two!);
    const args = ['-sS', '--noproxy', '*', '--http0.9', 'http://203.0.113.2/', '--max-time'];
    expect((await run(network.hosts.one!, 'curl', [...args, '10'])).code).toBe(0);
    network.unplug('two');
    expect((await run(network.hosts.one!, 'curl', [...args, '0.3'])).code).toBe(28); // timed out
    network.plug('two');
    expect((await run(network.hosts.one!, 'curl', [...args, '10'])).code).toBe(0);
  });

  test('it goes with its processes', async () => {
    const network = await Network.create(PLANS);
    const server = await startServer(network.hosts.two!);
    await network.remove();
    expect(await server.ended).toBe('SIGKILL');
    const own = Object.values(network.hosts).map(({ namespace }) => namespace);
    expect(namespaces().filter((name) => own.includes(name))).toEqual([]);
    await network.remove();
  });

  test('it goes, with its processes, when the run is killed', async () => {
    const program = join(import.meta.dirname, 'crash-child.ts');
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const { names, pid } = JSON.parse(line) as { names: string[]; pid: number };
    expect(namespaces()).toEqual(expect.arrayContaining(names));
    expect(isRunning(pid)).toBe(true);
    child.kill('SIGKILL');
    await waitUntil('the process is gone', () => !isRunning(pid));
    await waitUntil('the namespaces are gone', () => !namespaces().some((name) => names.includes(name)));
  });

  test('what a dead run left is removed, and what a running one has is not', async () => {
    const { hosts } = await makeNetwork();
    // A process that has ended, and one that runs but began at another time: numbers come again.
    const dead = spawn('true');
    await once(dead, 'exit');
    const left = [`warta-test-${dead.pid}-12345-1-one`, `warta-test-${process.pid}-1-1-one`];
    for (const name of left) execFileSync('ip', ['netns', 'add', name]);
    const abandoned = startProgram('ip', ['netns', 'exec', left[0]!, 'sleep', '600']);
    await waitUntil('it runs', () => execFileSync('ip', ['netns', 'pids', left[0]!]).length > 0);
    removeStaleNamespaces();
    expect(await abandoned.ended).toBe('SIGKILL');
    expect(namespaces().filter((name) => left.includes(name))).toEqual([]);
    expect(namespaces()).toContain(hosts.one!.namespace);
  });

  test('one that cannot be made leaves nothing', async () => {
    const before = new Set(namespaces());
    const plans = [{ name: 'one', addresses: ['198.51.100.1', 'nonsense'] }];
    await expect(Network.create(plans)).rejects.toThrow(/ip: .*nonsense/);
    expect(namespaces().filter((name) => !before.has(name) && name.includes(`-${process.pid}-`))).toEqual([]);
  });
});
