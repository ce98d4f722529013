import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { pino } from 'pino';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { checkConfig, type Config, type ConfigSource } from '../config/config.ts';
import { composeDraft } from '../register/draft.ts';
import { signEnvelope } from '../register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { parsePack } from '../register/pack.ts';
import { formatInstant } from '../register/time.ts';
import { formatSocketAddress } from '../resolver/socket-address.ts';
import { ANNEXES_FOLDER, STATEMENTS_FOLDER } from '../sync/directory-source.ts';
import { type Node, startNode } from './node.ts';
import { waitForSignal } from './signals.ts';

/** Root of the package: where policies/ is. */
export const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const PACK_FILE = join(PACKAGE_ROOT, 'policies/my-cma1998.yaml');
const SAMPLES_FOLDER = join(PACKAGE_ROOT, 'policies/samples');

/** The two officers of the demo; their keys lie side by side, which real ones never do. */
const OFFICERS = ['officer-one', 'officer-two'] as const;
const KEY_YEARS = 5;
const DAY_SECONDS = 86_400;

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
      const log = pino({ level: 'warn', base: undefined });
      const node = await startNode(config, log);
      console.log(describeDemo(folder, first, config, node));
      const signal = await waitForSignal();
      console.log(`\n${signal}: stopping`);
      await node.stop();
    });
}

/**
 * Makes keys, authorities and signed sample notices in `folder` unless they are there. Returns whether this was the first
 * time. Authorities are written last, so a start that was cut short begins again.
 */
export function prepareDemo(folder: string, nowSeconds: number): boolean {
  const authorities = join(folder, 'authorities.json');
  if (existsSync(authorities)) return false;
  for (const officer of OFFICERS) {
    const file = keyFile(folder, officer);
    if (!existsSync(file)) writePrivateKey(file, createKey().privatePem);
  }
  mkdirSync(join(folder, 'register', STATEMENTS_FOLDER), { recursive: true });
  mkdirSync(join(folder, 'register', ANNEXES_FOLDER), { recursive: true });
  for (const sample of readdirSync(SAMPLES_FOLDER).filter((name) => name.endsWith('.yaml'))) {
    signSample(folder, sample, nowSeconds);
  }
  writeDurably(authorities, `${JSON.stringify(demoAuthorities(folder, nowSeconds), null, 2)}\n`);
  return true;
}

const keyFile = (folder: string, officer: string) => join(folder, 'keys', `${officer}.pem`);

/** Drafts and signs one sample notice with both officers' keys. */
function signSample(folder: string, sample: string, nowSeconds: number): void {
  const source = readFileSync(join(SAMPLES_FOLDER, sample), 'utf8');
  const draft = composeDraft(source, { nowSeconds, random: (sizeBytes) => randomBytes(sizeBytes) });
  const signers = OFFICERS.map((officer) => ({ keyId: officer, privateKey: readPrivateKey(keyFile(folder, officer)) }));
  const register = join(folder, 'register');
  if (draft.annex) writeDurably(join(register, ANNEXES_FOLDER, `${draft.annex.digest}.jsonl`), draft.annex.bytes);
  const name = sample.replace(/\.yaml$/, '.json');
  writeDurably(join(register, STATEMENTS_FOLDER, name), signEnvelope(draft.payload, signers));
}

/** authorities.json of the demo: one authority with two officers, for every category and instrument of the pack. */
function demoAuthorities(folder: string, nowSeconds: number) {
  const { pack, sha256 } = parsePack(readFileSync(PACK_FILE));
  return {
    version: 1,
    policyPack: { id: pack.id, sha256 },
    authorities: [
      {
        id: 'mcmc',
        name: 'MCMC (demo keys, no authority)',
        categories: pack.categories.map((category) => category.id),
        instruments: pack.instruments.map((instrument) => instrument.id),
        thresholds: { notice: 2, release: 1 },
        officers: OFFICERS.map((officer) => ({
          id: officer,
          name: `Demo ${officer}`,
          role: 'approving-officer',
          publicKey: publicKeyFrom(keyFile(folder, officer)),
          validFrom: formatInstant(nowSeconds - DAY_SECONDS),
          validUntil: formatInstant(nowSeconds + KEY_YEARS * 365 * DAY_SECONDS),
        })),
      },
    ],
  };
}

function publicKeyFrom(file: string): string {
  return publicKeyOf(readPrivateKey(file));
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
    throw new WartaError('usage', error instanceof Error ? error.message : String(error), { cause: error });
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
    row('files', `${folder} ${first ? '(demo keys made now: never use them for real)' : '(as the last start left them)'}`),
    '',
    paint('bold', 'Try:'),
    attempt(`${dig} www.invest-now.example`, "blocked: NXDOMAIN, EDE 16 and the notice's reference"),
    attempt(`${dig} complaints.invest-now.example`, 'an exclusion of the same notice: forwarded like any other name'),
    attempt(verify, 'every statement with its verdict, and what the guard-rails refuse'),
    '',
    'Ctrl-C stops it.',
  ].join('\n');
}
