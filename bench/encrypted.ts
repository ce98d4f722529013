/**
 * `npm run bench:encrypted`: blocked names over DoT and DoH, Warta beside dnsdist with the same rules, one core each.
 *
 * Both servers are started first, bound to one core, and asked from another; rounds take them in turn, so that a busy minute
 * hits both, and medians count. DoT is asked by dnsperf. DoH is asked by dnsperf and by h2load: dnsperf drops all but one of
 * the answers that come in one TLS record, so it can have one query under way on a connection, and waits more than it asks
 * (DNS-OARC/dnsperf issue 272): it lets Nagle's algorithm hold queries back, and sleeps a tenth of a second when its receiving
 * thread wakes the sending one before it has counted the answer, so that this figure is that of its naps as much as of the
 * server. h2load keeps 50 queries under way on each connection. CPU time for each answer says what is left unsaid by queries
 * a second when the asking side is the slower one. One round before the first is not counted: servers run for months, with
 * their code compiled. Debian packages: dnsperf, dnsdist, nghttp2-client, openssl.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { findFreePort } from '../test/support/ports.ts';
import { NXDOMAIN } from './dns-probe.ts';
import { listedQueryAt, nameAt, writeLines } from './names.ts';
import { dnsdist } from './peers/dnsdist.ts';
import type { PeerCommand, PeerDefinition, PeerSetup } from './peers/peer.ts';
import { warta } from './peers/warta.ts';
import { readCpuMicros } from './process-cpu.ts';
import { prepareFolder, runBench } from './run-bench.ts';
import { type Server, startServer } from './server.ts';
import { medianOf } from './statistics.ts';

const Options = z.strictObject({
  rules: z.coerce.number().int().min(2).max(10_000_000).default(100_000),
  seconds: z.coerce.number().int().min(1).max(600).default(5),
  rounds: z.coerce.number().int().min(1).max(100).default(5),
  profile: z.string().optional(),
});

/** What the bar is, as a share of dnsdist's queries a second. */
const BARS = { dot: 0.6, doh: 0.4 } as const;
/** Distinct queries in a file. */
const QUERIES = 20_000;
const START_SECONDS = 120;

/** Ways of asking, by the name shown. */
const KINDS = [
  { name: 'DoT, dnsperf', bar: BARS.dot },
  { name: 'DoH, dnsperf (1 query a connection)', bar: BARS.doh },
  { name: 'DoH, h2load (50 queries a connection)', bar: BARS.doh },
] as const;

interface Contender {
  name: string;
  server: Server;
  dotPort: number;
  dohPort: number;
  /** Queries a second and CPU microseconds, by kind. */
  rates: number[][];
  costs: number[][];
}

const options = readOptions();
const folder = prepareFolder('warta-encrypted-');
await runBench(run);

async function run(): Promise<void> {
  if (availableParallelism() < 2) throw new Error('one core serves and another asks: this machine has one');
  makeCertificate();
  const { rules } = options;
  writeLines(join(folder, 'queries'), QUERIES, (position) => `${listedQueryAt(position, rules)} A`);
  const contenders = [
    await start('warta', warta, addToWarta, options.profile),
    await start('dnsdist', dnsdist, addToDnsdist),
  ];
  for (let round = 0; round <= options.rounds; round++) {
    for (const contender of round % 2 === 1 ? contenders : contenders.toReversed()) measure(contender, round > 0);
  }
  await Promise.all(contenders.map(({ server }) => server.stop()));
  report(contenders);
}

/** Starts a server with DoT and DoH on one core and waits until it blocks the last name of the list. */
async function start(
  name: string,
  peer: PeerDefinition,
  addEncrypted: (command: PeerCommand, dotPort: number, dohPort: number) => void,
  profile?: string,
): Promise<Contender> {
  const own = mkdtempSync(join(folder, `${name}-`));
  const [port, upstreamPort, dotPort, dohPort] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  const setup: PeerSetup = { folder: own, port, upstreamPort, ruleCount: options.rules, policyZone: () => '' };
  const command = await peer.prepare(setup);
  addEncrypted(command, dotPort, dohPort);
  const profiled = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const server = startServer({
    command: 'taskset',
    args: ['-c', '0', command.command, ...profiled, ...command.args],
    environment: command.environment,
    port,
    outputPath: join(own, 'server.out'),
  });
  await server.waitUntilAnswered({ [nameAt(options.rules - 1)]: NXDOMAIN }, START_SECONDS);
  writeLines(join(folder, `urls-${name}`), QUERIES, (position) => {
    const message = composeQuery(listedQueryAt(position, options.rules)).toString('base64url');
    return `https://127.0.0.1:${dohPort}/dns-query?dns=${message}`;
  });
  return { name, server, dotPort, dohPort, rates: KINDS.map(() => []), costs: KINDS.map(() => []) };
}

/** Puts `resolver.tls` into the configuration that the peer's `prepare` wrote. */
function addToWarta({ args }: PeerCommand, dotPort: number, dohPort: number): void {
  const file = args.at(-1)!;
  const config = JSON.parse(readFileSync(file, 'utf8')) as { resolver: Record<string, unknown> };
  config.resolver.tls = {
    certificate: join(folder, 'cert.pem'),
    key: join(folder, 'key.pem'),
    dot: { listen: [`127.0.0.1:${dotPort}`] },
    doh: { listen: [`127.0.0.1:${dohPort}`] },
    maxConnectionsPerClient: 1000,
    handshakesPerSecondPerClient: 0,
  };
  writeFileSync(file, JSON.stringify(config));
}

/** One TCP worker, as one core is what there is; the DoH thread is one anyway. */
function addToDnsdist({ args }: PeerCommand, dotPort: number, dohPort: number): void {
  const file = args[args.indexOf('-C') + 1]!;
  const pair = `'${join(folder, 'cert.pem')}', '${join(folder, 'key.pem')}'`;
  writeFileSync(
    file,
    `setMaxTCPClientThreads(1)
addTLSLocal('127.0.0.1:${dotPort}', ${pair})
addDOHLocal('127.0.0.1:${dohPort}', ${pair}, '/dns-query')
${readFileSync(file, 'utf8')}`,
  );
}

/** Asks one server once in every way. */
function measure(contender: Contender, isCounted: boolean): void {
  const { server, dotPort, dohPort, rates, costs } = contender;
  const ways = [
    () => askByDnsperf('dot', dotPort, ['-c', '8', '-T', '1', '-q', '400']),
    () => askByDnsperf('doh', dohPort, ['-c', '8', '-T', '8', '-q', '8']),
    () => askByH2load(contender),
  ];
  ways.forEach((ask, kind) => {
    const before = readCpuMicros(server.pid);
    const { answered, perSecond } = ask();
    if (isCounted) {
      rates[kind]!.push(perSecond);
      costs[kind]!.push((readCpuMicros(server.pid) - before) / answered);
    }
    const death = server.findDeath();
    if (death) throw death;
  });
}

function askByDnsperf(mode: 'dot' | 'doh', port: number, load: string[]): { answered: number; perSecond: number } {
  const target = ['-m', mode, '-s', '127.0.0.1', '-p', String(port), '-d', join(folder, 'queries')];
  const uri = mode === 'doh' ? ['-O', `doh-uri=https://127.0.0.1:${port}/dns-query`] : [];
  const output = runOnOtherCore('dnsperf', [...target, ...load, ...uri, '-l', String(options.seconds)]);
  const answered = readNumber(output, /Queries completed:\s+(\d+)/);
  if (readNumber(output, /NXDOMAIN (\d+)/) < answered * 0.999)
    throw new Error(`not all answers are NXDOMAIN: ${output}`);
  return { answered, perSecond: readNumber(output, /Queries per second:\s+([\d.]+)/) };
}

function askByH2load({ name }: Contender): { answered: number; perSecond: number } {
  const load = ['-c', '8', '-m', '50', '-t', '1', '-D', String(options.seconds), '-i', join(folder, `urls-${name}`)];
  const output = runOnOtherCore('h2load', load);
  const answered = readNumber(output, /status codes: (\d+) 2xx/);
  if (readNumber(output, /requests: (\d+) total/) !== answered) throw new Error(`not all responses are 200: ${output}`);
  return { answered, perSecond: readNumber(output, /finished in [^,]+, ([\d.]+) req\/s/) };
}

/** Runs a program on the core that the servers do not have, to its end, and returns what it printed. */
function runOnOtherCore(program: string, args: string[]): string {
  const timeout = (options.seconds + 30) * 1000;
  const { status, stdout, stderr } = spawnSync('taskset', ['-c', '1', program, ...args], {
    ...{ encoding: 'utf8', timeout, maxBuffer: 1 << 26 },
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr.slice(-300)}`);
  return stdout;
}

function report([own, peer]: readonly Contender[]): void {
  const rows = KINDS.map(({ name, bar }, kind) => {
    const [ours, theirs] = [own!, peer!].map(({ rates }) => medianOf(rates[kind]!));
    const [ourCost, theirCost] = [own!, peer!].map(({ costs }) => medianOf(costs[kind]!));
    const share = ours! / theirs!;
    const verdict = share >= bar ? 'met' : 'MISSED';
    return [
      name.padEnd(40),
      `${Math.round(ours!)} q/s`.padStart(12),
      `${Math.round(theirs!)} q/s`.padStart(12),
      `${share.toFixed(2)} x`.padStart(8),
      `bar ${bar} x ${verdict}`.padStart(18),
      `${ourCost!.toFixed(1)} / ${theirCost!.toFixed(1)} µs CPU`.padStart(22),
    ].join(' ');
  });
  console.log(
    `blocked names, ${options.rules} rules, one core; warta, dnsdist, warta's share; medians of ${options.rounds}`,
  );
  console.log(rows.join('\n'));
}

function makeCertificate(): void {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=bench.example', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', ...curve, ...files, ...subject], { stdio: 'ignore' });
}

/** A query for the A records of `name` with RD set, identifier 0 as DoH wants it. */
function composeQuery(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')]));
  return Buffer.concat([Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

function readNumber(output: string, pattern: RegExp): number {
  const match = pattern.exec(output);
  if (!match) throw new Error(`no line matches ${pattern}: ${output.slice(-400)}`);
  return Number(match[1]);
}

function readOptions(): z.infer<typeof Options> {
  const { values } = parseArgs({
    options: {
      rules: { type: 'string' },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      profile: { type: 'string' },
    },
  });
  return Options.parse(values);
}
