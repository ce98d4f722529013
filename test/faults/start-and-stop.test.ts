import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask, DatagramClient, frame, StreamClient } from '../support/dns-client.ts';
import { composeQuery } from '../support/dns-message.ts';
import { makeFolder } from '../support/folders.ts';
import { findFreePort } from '../support/ports.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, startWarta } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

let upstream: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream((query) => (query.includes('silent') ? undefined : composeReply(query)), {
    keep: true,
  });
});

afterAll(() => upstream?.close());

/** Starts the demo, which is what `npm start` runs, with everything in `folder`. */
async function startDemo(folder: string) {
  const port = await findFreePort();
  const metrics = await findFreePort();
  const program = startWarta([
    'demo',
    ...['--var', folder, '--listen', `127.0.0.1:${port}`, '--metrics', `127.0.0.1:${metrics}`],
    ...['--upstream', `127.0.0.1:${upstream.port}`],
  ]);
  await program.waitFor(/Ctrl-C stops it/, 50_000);
  const server = { host: '127.0.0.1', port };
  await ask(server, 'www.example');
  return { program, server, metrics };
}

type Demo = Awaited<ReturnType<typeof startDemo>>;

/** Paths below a folder with what identifies each file's content. */
function listFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => `${path.slice(folder.length)} ${statSync(path).mode.toString(8)} ${statSync(path).size}`)
    .sort();
}

/** Leaves in the published log of a demo. */
function readSize(folder: string): number {
  return Number(readFileSync(join(folder, 'log/public/checkpoint'), 'utf8').split('\n')[1]);
}

/** Whether anything answers at an address. */
async function isListening(url: string): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  );
}

describe('the demo', () => {
  /** What may be open when the signal comes; each is opened by a client that never closes it. */
  const OPEN: Record<string, (at: Demo) => unknown> = {
    nothing: () => {},
    'a DNS connection': ({ server }) => StreamClient.open(server),
    'half a DNS message': async ({ server }) => {
      const client = await StreamClient.open(server);
      client.socket.write(frame(composeQuery('half.example')).subarray(0, 7));
    },
    'a query over TCP that waits for the upstream': async ({ server }) => {
      const client = await StreamClient.open(server);
      client.send(composeQuery('silent.example'));
      await waitUntil('it reaches the upstream', () => upstream.received.some((query) => query.includes('silent')));
    },
    'a query over UDP that waits for the upstream': ({ server }) => {
      const client = new DatagramClient(server);
      client.send(composeQuery('silent.example'));
    },
    'a scraper that keeps its connection': ({ metrics }) => fetch(`http://127.0.0.1:${metrics}/metrics`),
    'a scraper that sent no request yet': ({ metrics }) => once(connect(metrics, '127.0.0.1'), 'connect'),
    'a scraper that sent half of its request': async ({ metrics }) => {
      const socket = connect(metrics, '127.0.0.1');
      await once(socket, 'connect');
      socket.write('GET /metrics HTTP/1.1\r\nHost: ');
      await sleep(100);
    },
  };
  const cases = Object.keys(OPEN).flatMap((open) => [
    { open, signal: open === 'nothing' ? 'SIGTERM' : 'SIGINT' } as const,
  ]);

  const shared = join(makeFolder(), 'var');

  test.each(cases)('ends within two seconds of $signal with $open', async ({ open, signal }) => {
    const demo = await startDemo(shared);
    await OPEN[open]!(demo);
    const asked = performance.now();
    demo.program.kill(signal);
    const how = await Promise.race([demo.program.ended, sleep(6000, 'still runs')]);
    const tookMillis = performance.now() - asked;
    await demo.program.stop();
    expect([how, demo.program.output()]).toEqual([0, expect.stringContaining(`${signal}: stopping`)]);
    expect(tookMillis).toBeLessThan(2000);
  });

  test('keeps everything in its folder, and a second start finds it there', async () => {
    const folder = join(makeFolder(), 'var');
    const first = await startDemo(folder);
    expect(first.program.output()).toContain('made now');
    const answer = await ask(first.server, 'www.invest-now.example', { edns: {} });
    expect([answer.rcode, answer.ede]).toEqual(['NXDOMAIN', { code: 16, text: 'notice MCMC/2026/000101' }]);
    expect((await ask(first.server, 'complaints.invest-now.example')).rcode).toBe('NOERROR');
    await first.program.stop();
    const keys = listFiles(folder).filter((line) => /\.(pem|key) /.test(line));
    expect(keys.map((line) => line.split(' ')[0])).toEqual([
      ...['case-officer', 'officer-one', 'officer-two', 'reviewer'].map((name) => `/keys/${name}.pem`),
      ...['root', 'snapshot', 'targets', 'timestamp'].map((role) => `/keys/trust-${role}.pem`),
      ...['/log/heartbeat.key', '/log/log.key', '/log/webhook.key', '/resolver/node-key.pem', '/witness/witness.key'],
    ]);
    const tokens = listFiles(folder).filter((line) => line.includes('.token '));
    expect(tokens).toHaveLength(6);
    expect([...keys, ...tokens].filter((line) => !line.includes(' 100600 '))).toEqual([]);
    const authorities = readFileSync(join(folder, 'authorities.json'), 'utf8');
    const leaves = readSize(folder);
    // Log, witness and resolver go on writing; what was made at the first start stays.
    const made = (line: string) =>
      !/^\/(resolver|witness|log|warta)\b/.test(line) || /trust|nodes\.json|annex|\.key/.test(line);
    const files = listFiles(folder).filter(made);

    const second = await startDemo(folder);
    expect(second.program.output()).toContain('as the last start left them');
    expect((await ask(second.server, 'www.invest-now.example')).rcode).toBe('NXDOMAIN');
    await second.program.stop();
    expect(readFileSync(join(folder, 'authorities.json'), 'utf8')).toBe(authorities);
    expect(listFiles(folder).filter(made)).toEqual(files);
    expect(readSize(folder)).toBe(leaves);
  });

  test('walks a newcomer from a draft to a blocked name, an appeal, and the name resolving again', async () => {
    const folder = join(makeFolder(), 'var');
    const demo = await startDemo(folder);
    expect(demo.program.output()).toContain(`walk --var ${folder}`);
    const walk = startWarta(['walk', '--var', folder, '--yes']);
    expect([await walk.ended, walk.output()]).toEqual([0, expect.stringContaining('whole life of a block')]);
    expect(walk.output()).toMatch(/403.*blocked: the answer names notice WALK\/.*no longer blocked/s);
    await demo.program.stop();
  });

  test('takes its log and its witness along, even when it is killed', async () => {
    const demo = await startDemo(join(makeFolder(), 'var'));
    const urls = [...demo.program.output().matchAll(/(?:log|witness) +(http:\S+)/g)].map(([, url]) => url!);
    expect(urls).toHaveLength(2);
    expect(await Promise.all(urls.map(isListening))).toEqual([true, true]);
    demo.program.kill('SIGKILL');
    await waitUntil('both are gone', async () => !(await Promise.all(urls.map(isListening))).includes(true));
  });

  test('is what npm start runs', () => {
    const { scripts } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(scripts.start).toBe('node src/cli/warta.ts demo');
  });
});

describe('a port in use', () => {
  /** Takes a port of 127.0.0.1 for one transport. */
  async function take(transport: 'udp' | 'tcp'): Promise<{ port: number; release(): void }> {
    const port = await findFreePort();
    if (transport === 'udp') {
      const socket = createSocket('udp4');
      await new Promise<void>((resolve) => socket.bind(port, '127.0.0.1', resolve));
      return { port, release: () => socket.close() };
    }
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return { port, release: () => server.close() };
  }

  const cases = (['batch', 'dgram'] as const).flatMap((io) =>
    (['udp', 'tcp'] as const).flatMap((transport) => [{ io, transport }]),
  );

  test.each(cases)('over $transport with $io I/O: says so and ends with code 1', async ({ io, transport }) => {
    const { port, release } = await take(transport);
    // The other address is free: what was opened on it must not keep the program alive.
    const resolver = { io, workers: 2 };
    const site = await NodeSite.prepare({ upstreams: [upstream], hosts: ['127.0.0.5', '127.0.0.1'], port, resolver });
    const program = site.spawnProcess();
    const how = await Promise.race([
      program.ended,
      new Promise((resolve) => setTimeout(resolve, 10_000, 'still runs')),
    ]);
    await program.stop();
    release();
    expect(program.output()).toMatch(
      new RegExp(
        `error \\[socket-failed\\]: cannot listen on 127\\.0\\.0\\.1:${port} \\(${transport.toUpperCase()}\\): .`,
      ),
    );
    expect(program.output()).not.toContain('serving');
    expect(how).toBe(1);
  });

  test('by the metrics: says so and ends with code 1', async () => {
    const { port, release } = await take('tcp');
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.config.metrics = { listen: `127.0.0.1:${port}` };
    const program = site.spawnProcess();
    expect(await program.ended).toBe(1);
    expect(program.output()).toContain(`cannot listen on 127.0.0.1:${port} (metrics): change metrics.listen`);
    release();
  });

  test('by another resolver of ours: the second refuses, the first goes on', async () => {
    const first = await NodeSite.prepare({ upstreams: [upstream] });
    first.register.notice('n', [{ subtree: 'bad.example' }]);
    const node = await first.startHere();
    const second = await NodeSite.prepare({ upstreams: [upstream], port: first.server.port });
    const program = second.spawnProcess();
    expect(await program.ended).toBe(1);
    expect(program.output()).toContain('another program has the port');
    for (let i = 0; i < 20; i++) expect((await ask(first.server, 'bad.example')).rcode).toBe('NXDOMAIN');
    await node.stop();
  });

  test('or an address that is not here: says so and ends with code 1', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream], hosts: ['192.0.2.1'] });
    const program = site.spawnProcess();
    expect(await program.ended).toBe(1);
    expect(program.output()).toMatch(
      /error \[socket-failed\]: cannot listen on 192\.0\.2\.1:\d+ \(TCP\): EADDRNOTAVAIL/,
    );
  });
});
