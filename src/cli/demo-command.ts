import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { type Config, type ConfigSource, checkConfig } from '../config/config.ts';
import { formatSocketAddress } from '../resolver/socket-address.ts';
import { type DemoLog, DemoPlaces, enrolDemoNode, prepareDemo, startDemoLog } from './demo-log.ts';
import { PACK_FILE } from './demo-register.ts';
import { NODE_KEY_FILE } from './follow-register.ts';
import { createLog } from './log.ts';
import { type Node, startNode } from './node.ts';
import { waitForSignal } from './signals.ts';

const LICENSEE = 'DEMO-NSP-1';
const NODE = 'demo-node';
/** Short, so that what is submitted by hand is seen at once. */
const POLL_SECONDS = 2;

interface DemoOptions {
  var: string;
  listen: string;
  metrics: string;
  log?: string;
  upstream?: string[];
}

/** Adds `warta demo`, which is what `npm start` runs. */
export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('run everything on this machine with demo keys and sample notices, in ./var')
    .option('--var <folder>', 'where keys, statements and tables are kept', 'var')
    .option('--listen <address>', 'address of the resolver', '127.0.0.1:5300')
    .option('--metrics <address>', 'address of the metrics', '127.0.0.1:9100')
    .option('--log <address>', 'address of the log; 127.0.0.1:8400 if it is free, otherwise any port that is')
    .option('--upstream <address...>', 'resolvers to forward to; those of /etc/resolv.conf otherwise')
    .action(runDemo);
}

/** Runs the demo: a witness and a log as processes of their own, a resolver that follows the log in this one. */
async function runDemo(options: DemoOptions): Promise<void> {
  const places = new DemoPlaces(resolve(options.var));
  const configFile = join(places.folder, 'warta.yaml');
  checkDemo(composeSource(places, options, 'http://127.0.0.1/'), configFile); // a wrong option is told before anything runs
  const log = createLog('warn');
  const asked = waitForSignal();
  const first = await prepareDemo(places, Math.floor(Date.now() / 1000));
  const demoLog = await startDemoLog(places, options.log, log);
  let node: Node | undefined;
  try {
    const source = composeSource(places, options, demoLog.url);
    await enrolDemoNode(places, LICENSEE, NODE, join(source.state, NODE_KEY_FILE));
    writeDurably(configFile, stringify(JSON.parse(JSON.stringify(source))));
    const config = checkDemo(source, configFile);
    node = await startNode(config, log);
    console.log(describeDemo(places, first, config, node, demoLog));
    const signal = await asked;
    console.log(`\n${signal}: stopping`);
  } finally {
    await Promise.all([node?.stop(), demoLog.stop()]);
  }
}

function composeSource(places: DemoPlaces, options: DemoOptions, url: string): ConfigSource {
  return {
    state: join(places.folder, 'resolver'),
    register: {
      licensee: LICENSEE,
      policyPack: PACK_FILE,
      mirrors: [url],
      root: places.rootFile,
      node: NODE,
      pollSeconds: POLL_SECONDS,
      sealed: url,
      receipts: `${url}receipts`,
    },
    resolver: { listen: [options.listen], upstreams: options.upstream ?? 'system' },
    answer: { operator: 'Demo ISP' },
    metrics: { listen: options.metrics },
  };
}

/** @throws {WartaError} `usage`: in a demo only the command line can be wrong. */
function checkDemo(source: ConfigSource, file: string): Config {
  try {
    return checkConfig(source, file);
  } catch (error) {
    throw new WartaError('usage', describeError(error), { cause: error });
  }
}

/** What runs where, and a few commands to try. */
function describeDemo(places: DemoPlaces, first: boolean, config: Config, node: Node, log: DemoLog): string {
  const { resolver, upstreams } = node;
  const { host, port } = resolver.listen[0]!;
  const row = (what: string, where: string) => `  ${what.padEnd(11)} ${paint('cyan', where)}`;
  const warta = 'npm run -s warta --';
  const dig = `dig @${host} -p ${port}`;
  const attempt = (command: string, what: string) => `  ${paint('green', command)}\n      ${what}`;
  const keys = first ? '(demo keys made now: never use them for real)' : '(as the last start left them)';
  return [
    '',
    paint('bold', 'Warta is running.'),
    row('control', `${log.url}v1/ (drafting, approval, appeals, statistics; described by ${log.url}v1/openapi.json)`),
    row('log', `${log.url} (checkpoints, tiles, annexes, TUF repository)`),
    row('witness', `${log.witnessUrl} (cosigns each checkpoint)`),
    row('resolver', `${resolver.listen.map(formatSocketAddress).join(', ')} (UDP, TCP; ${resolver.io} I/O)`),
    row('upstream', upstreams.map(formatSocketAddress).join(', ')),
    row('rules', `${resolver.table.ruleCount} from signed sample notices on the log`),
    row('metrics', `http://${config.metrics.listen}/metrics`),
    row('files', `${places.folder} ${keys}`),
    '',
    paint('bold', 'Try:'),
    attempt(`${dig} www.invest-now.example`, "blocked: NXDOMAIN, EDE 16 and the notice's reference"),
    attempt(`${dig} complaints.invest-now.example`, 'an exclusion of the same notice: forwarded like any other name'),
    attempt(
      `${warta} resolver status --config ${join(places.folder, 'warta.yaml')}`,
      'what is in force, and since when',
    ),
    attempt(`${warta} log status --config ${places.logConfig}`, 'the log, its witness, how fresh it is'),
    attempt(
      `${warta} walk --var ${places.folder}`,
      'in another terminal: from a draft to a blocked name, an appeal, and the name resolving again, step by step',
    ),
    '',
    'Ctrl-C stops it.',
  ].join('\n');
}
