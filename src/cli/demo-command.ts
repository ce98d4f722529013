import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { type Config, type ConfigSource, checkConfig } from '../config/config.ts';
import { formatSocketAddress } from '../resolver/socket-address.ts';
import { DemoRegister, PACK_FILE, PACKAGE_ROOT } from './demo-register.ts';
import { createLog } from './log.ts';
import { type Node, startNode } from './node.ts';
import { waitForSignal } from './signals.ts';

const SAMPLES_FOLDER = join(PACKAGE_ROOT, 'policies/samples');

/** Adds `warta demo`, which is what `npm start` runs. */
export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('run everything on this machine with demo keys and sample notices, in ./var')
    .option('--var <folder>', 'where keys, statements and tables are kept', 'var')
    .option('--listen <address>', 'address of the resolver', '127.0.0.1:5300')
    .option('--metrics <address>', 'address of the metrics', '127.0.0.1:9100')
    .option('--upstream <address...>', 'resolvers to forward to; those of /etc/resolv.conf otherwise')
    .action(async (options: { var: string; listen: string; metrics: string; upstream?: string[] }) => {
      const folder = resolve(options.var);
      const first = prepareDemo(folder, Math.floor(Date.now() / 1000));
      const config = demoConfig(folder, options);
      const asked = waitForSignal();
      const node = await startNode(config, createLog('warn'));
      console.log(describeDemo(folder, first, config, node));
      const signal = await asked;
      console.log(`\n${signal}: stopping`);
      await node.stop();
    });
}

/**
 * Makes keys, authorities and signed sample notices in `folder` unless they are there. Returns whether this was the first
 * time. Authorities are written last, so a start that was cut short begins again.
 */
export function prepareDemo(folder: string, nowSeconds: number): boolean {
  const register = new DemoRegister(folder);
  if (existsSync(register.authoritiesFile)) return false;
  for (const sample of readdirSync(SAMPLES_FOLDER).filter((name) => name.endsWith('.yaml'))) {
    register.publish(sample.replace(/\.yaml$/, ''), readFileSync(join(SAMPLES_FOLDER, sample), 'utf8'), nowSeconds);
  }
  register.writeAuthorities(nowSeconds);
  return true;
}

function demoConfig(folder: string, options: { listen: string; metrics: string; upstream?: string[] }): Config {
  const source: ConfigSource = {
    state: join(folder, 'resolver'),
    register: {
      licensee: 'DEMO-NSP-1',
      directory: join(folder, 'register'),
      authorities: join(folder, 'authorities.json'),
      policyPack: PACK_FILE,
      rescanSeconds: 2,
    },
    resolver: { listen: [options.listen], upstreams: options.upstream ?? 'system' },
    answer: { operator: 'Demo ISP' },
    metrics: { listen: options.metrics },
  };
  try {
    return checkConfig(source, join(folder, 'demo'));
  } catch (error) {
    throw new WartaError('usage', describeError(error), { cause: error });
  }
}

/** What runs where, and three commands to try. */
function describeDemo(folder: string, first: boolean, config: Config, node: Node): string {
  const { resolver, upstreams } = node;
  const listen = resolver.listen.map(formatSocketAddress).join(', ');
  const { host, port } = resolver.listen[0]!;
  const row = (what: string, where: string) => `  ${what.padEnd(11)} ${paint('cyan', where)}`;
  const dig = `dig @${host} -p ${port}`;
  const verify = `npm run -s warta -- notice verify --directory ${config.register.directory} --authorities ${config.register.authorities}`;
  const attempt = (command: string, what: string) => `  ${paint('green', command)}\n      ${what}`;
  return [
    '',
    paint('bold', 'Warta is running.'),
    row('resolver', `${listen} (UDP, TCP; ${resolver.io} I/O)`),
    row('upstream', upstreams.map(formatSocketAddress).join(', ')),
    row('rules', `${resolver.table.ruleCount} from signed sample notices`),
    row('metrics', `http://${config.metrics.listen}/metrics`),
    row(
      'files',
      `${folder} ${first ? '(demo keys made now: never use them for real)' : '(as the last start left them)'}`,
    ),
    '',
    paint('bold', 'Try:'),
    attempt(`${dig} www.invest-now.example`, "blocked: NXDOMAIN, EDE 16 and the notice's reference"),
    attempt(`${dig} complaints.invest-now.example`, 'an exclusion of the same notice: forwarded like any other name'),
    attempt(verify, 'every statement with its verdict, and what the guard-rails refuse'),
    '',
    'Ctrl-C stops it.',
  ].join('\n');
}
