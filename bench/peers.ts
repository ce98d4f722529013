/**
 * `npm run bench:peers`: Warta's resolver beside the servers an ISP could use instead, on this machine, in one run.
 *
 * Every server holds the same list. All are started first and stay resident; then each round measures one after the
 * other, so that a busy minute of the machine hits all of them, and each figure is the median over the rounds. Even so,
 * absolute figures drift with the machine: quote the ratios.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { describeError } from '../src/base/errors.ts';
import { paint } from '../src/base/terminal.ts';
import { findFreePort } from '../test/support/ports.ts';
import { NOERROR, NXDOMAIN } from './dns-probe.ts';
import { measureMedianLatencyMicros, measureThroughput } from './dnsperf.ts';
import { listedQueryAt, nameAt, unlistedQueryAt, writeLines } from './names.ts';
import { bind } from './peers/bind.ts';
import { dnsdist } from './peers/dnsdist.ts';
import { knot } from './peers/knot.ts';
import { PEER_NAMES, type PeerDefinition } from './peers/peer.ts';
import { writePolicyZone } from './peers/policy-zone.ts';
import { powerdns } from './peers/powerdns.ts';
import { unbound } from './peers/unbound.ts';
import { warta } from './peers/warta.ts';
import { readCpuMicros, readResidentMiB } from './process-cpu.ts';
import { composeReport, createSamples, type Samples, summarize } from './report.ts';
import { prepareFolder, runBench } from './run-bench.ts';
import { type Server, startServer } from './server.ts';

const PEERS: PeerDefinition[] = [warta, dnsdist, unbound, bind, powerdns, knot];

/** Rate at which added latency is measured: high enough to be real, low enough that nothing queues. */
const LATENCY_QUERIES_PER_SECOND = 5000;
/** A server must be loaded after this, plus so much for each million of names. */
const START_SECONDS = 60;
const START_SECONDS_PER_MILLION = 120;
/** Time a loaded server has to answer the control queries. */
const CONTROL_SECONDS = 15;
/** Time the news of a server's death may take to arrive: it says more than the failure it caused. */
const NEWS_MILLIS = 100;

const Options = z.strictObject({
  rules: z.coerce.number().int().min(2).max(100_000_000).default(1_000_000),
  seconds: z.coerce.number().int().min(1).max(600).default(5),
  rounds: z.coerce.number().int().min(1).max(100).default(3),
  queries: z.coerce.number().int().min(2).max(100_000_000).default(100_000),
  only: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(PEER_NAMES)))
    .default([...PEER_NAMES]),
  json: z.boolean().default(false),
});
type Options = z.infer<typeof Options>;

const USAGE = `usage: npm run bench:peers -- [--rules N] [--seconds N] [--rounds N] [--queries N] [--only NAME,…] [--json]
  --rules    listed names (1000000)
  --seconds  length of each measurement (5)
  --rounds   measurements of each kind; the median counts (3)
  --queries  distinct queries, asked over and over (100000)
  --only     of ${PEER_NAMES.join(', ')}
  --json     ends with one line of JSON
`;

/** A peer that has loaded the list and still answers. */
interface Contender {
  definition: PeerDefinition;
  port: number;
  server: Server;
  samples: Samples;
}

/** What all measurements of a run share. */
interface Bench {
  options: Options;
  folder: string;
  upstreamPort: number;
  listedQueries: string;
  unlistedQueries: string;
  policyZone(): string;
}

const options = readOptions();
const folder = prepareFolder('warta-bench-');
await runBench(run);

/** Runs the whole bench and prints its outcome. */
async function run(): Promise<void> {
  const bench = await prepareBench();
  const contenders: Contender[] = [];
  for (const definition of PEERS.filter((peer) => options.only.includes(peer.name))) {
    showStep(`loading ${definition.name}`);
    try {
      contenders.push(await loadPeer(definition, bench));
    } catch (error) {
      complain(definition, error);
    }
  }
  const ceilings: number[] = [];
  for (let round = 1; round <= options.rounds && contenders.length > 0; round++) {
    await measureRound(contenders, bench, round, ceilings);
  }
  showStep('');
  await Promise.all(contenders.map(({ server }) => server.stop()));
  const figures = new Map(contenders.map(({ definition, samples }) => [definition, summarize(samples)]));
  if (contenders.length > 0) console.log(composeReport(figures, { ...options, ceilings }));
  if (options.json) {
    const byName = new Map(Array.from(figures, ([definition, summary]) => [definition.name, summary.figures]));
    console.log(JSON.stringify(Object.fromEntries(PEER_NAMES.map((name) => [name, byName.get(name) ?? null]))));
  }
  if (contenders.length === 0) process.exitCode = 1;
}

/** Writes the queries and starts the echo upstream. */
async function prepareBench(): Promise<Bench> {
  assertInstalled('dnsperf', 'dnsperf');
  showStep('writing the queries');
  const listedQueries = join(folder, 'listed.queries');
  const unlistedQueries = join(folder, 'unlisted.queries');
  const { rules, queries } = options;
  writeLines(listedQueries, queries, (position) => `${listedQueryAt(position, rules)} A`);
  writeLines(unlistedQueries, queries, (position) => `${unlistedQueryAt(position, rules)} A`);
  const upstreamPort = await findFreePort();
  const echo = startServer({
    command: process.execPath,
    args: [join(import.meta.dirname, 'echo-upstream.ts'), String(upstreamPort)],
    port: upstreamPort,
    outputPath: join(folder, 'echo.out'),
  });
  await echo.waitUntilAnswered({ [nameAt(0)]: NOERROR }, CONTROL_SECONDS);
  let zonePath: string | null = null;
  const policyZone = () => {
    if (zonePath === null) {
      zonePath = join(folder, 'rpz.zone');
      writePolicyZone(zonePath, rules);
    }
    return zonePath;
  };
  return { options, folder, upstreamPort, listedQueries, unlistedQueries, policyZone };
}

/**
 * Starts a peer, waits until it blocks the first and the last name of the list, and checks that it blocks below a
 * listed name and does not block, but forwards, others.
 */
async function loadPeer(definition: PeerDefinition, bench: Bench): Promise<Contender> {
  const { rules } = bench.options;
  assertInstalled(definition.binary, definition.debianPackage);
  const own = join(bench.folder, definition.name);
  mkdirSync(own);
  const port = await findFreePort();
  const { upstreamPort, policyZone } = bench;
  const command = await definition.prepare({ folder: own, port, upstreamPort, ruleCount: rules, policyZone });
  const samples = createSamples();
  const timeoutSeconds = START_SECONDS + (START_SECONDS_PER_MILLION * rules) / 1e6;

  const start = async () => {
    const server = startServer({ ...command, port, outputPath: join(own, 'server.out') });
    try {
      await server.waitUntilAnswered({ [nameAt(0)]: NXDOMAIN, [nameAt(rules - 1)]: NXDOMAIN }, timeoutSeconds);
      return { server, seconds: (performance.now() - server.startedAt) / 1000 };
    } catch (error) {
      await server.stop();
      throw error;
    }
  };
  let { server, seconds } = await start();
  samples.loadSeconds = seconds;
  if (definition.restarts) {
    await server.stop();
    ({ server, seconds } = await start());
    samples.reloadSeconds = seconds;
  }
  const control = { [`www.${nameAt(rules - 1)}`]: NXDOMAIN, [unlistedQueryAt(0, rules)]: NOERROR };
  try {
    await server.waitUntilAnswered(control, CONTROL_SECONDS);
    samples.residentMiB = readResidentMiB(server.pid);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { definition, port, server, samples };
}

/** Measures everything once. A peer that fails is reported, stopped and taken out of `contenders`. */
async function measureRound(contenders: Contender[], bench: Bench, round: number, ceilings: number[]): Promise<void> {
  const { seconds } = bench.options;
  const attempt = async (kind: string, contender: Contender, measure: () => Promise<void>) => {
    showStep(`round ${round} of ${bench.options.rounds}: ${kind}, ${contender.definition.name}`);
    try {
      await measure();
      const death = contender.server.findDeath();
      if (death) throw death;
    } catch (error) {
      await sleep(NEWS_MILLIS);
      complain(contender.definition, contender.server.findDeath() ?? error);
      contenders.splice(contenders.indexOf(contender), 1);
      await contender.server.stop();
    }
  };
  const echo = { port: bench.upstreamPort, queryFile: bench.unlistedQueries, seconds, rcode: 'NOERROR' } as const;

  for (const contender of [...contenders]) {
    const load = { port: contender.port, queryFile: bench.listedQueries, seconds, rcode: 'NXDOMAIN' } as const;
    await attempt('blocked', contender, async () => {
      contender.samples.blocked.push(await measureWithCpu(contender.server, load));
    });
  }
  showStep(`round ${round} of ${bench.options.rounds}: the echo upstream alone`);
  ceilings.push((await measureThroughput(echo)).queriesPerSecond);
  for (const contender of contenders.filter((each) => each.definition.forwards)) {
    await attempt('forwarded', contender, async () => {
      contender.samples.forwarded.push(await measureWithCpu(contender.server, { ...echo, port: contender.port }));
    });
  }
  for (const contender of contenders.filter((each) => each.definition.forwards)) {
    await attempt('added latency', contender, async () => {
      const direct = await measureMedianLatencyMicros(echo, LATENCY_QUERIES_PER_SECOND);
      const through = { ...echo, port: contender.port };
      const whole = await measureMedianLatencyMicros(through, LATENCY_QUERIES_PER_SECOND);
      contender.samples.addedLatencyMicros.push(whole - direct);
    });
  }
}

/** Measures one run at full speed and the server's CPU time for each answer of it. */
async function measureWithCpu(server: Server, load: Parameters<typeof measureThroughput>[0]) {
  const before = readCpuMicros(server.pid);
  const { queriesPerSecond, answered, lost } = await measureThroughput(load);
  return { queriesPerSecond, lost, cpuMicros: (readCpuMicros(server.pid) - before) / answered };
}

/** Throws, naming the Debian package, when a program is not on the path. */
function assertInstalled(binary: string, debianPackage: string): void {
  const folders = isAbsolute(binary) ? [''] : (process.env.PATH ?? '').split(delimiter);
  const found = folders.some((each) => {
    try {
      accessSync(join(each, binary), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`${binary} is not installed: apt-get install ${debianPackage}`);
}

/** Says on stderr why a peer has no figures. */
function complain({ name }: PeerDefinition, error: unknown): void {
  showStep('');
  process.stderr.write(`${paint('yellow', `${name}: not measured`, process.stderr)}: ${describeError(error)}\n`);
}

/** Shows what is being done on a terminal, in place of what was shown before. */
function showStep(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${paint('dim', text, process.stderr)}`);
}

/** Reads the command line; on an error prints it with the usage and ends with code 2. */
function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        rules: { type: 'string' },
        seconds: { type: 'string' },
        rounds: { type: 'string' },
        queries: { type: 'string' },
        only: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    return Options.parse(values);
  } catch (error) {
    process.stderr.write(`${error instanceof z.ZodError ? z.prettifyError(error) : describeError(error)}\n${USAGE}`);
    process.exit(2);
  }
}
