import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { request } from 'undici';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { composeControlConfig } from '../control/control-config.ts';
import { composeLogConfig } from '../control/publishing/log-config.ts';
import { NodesFile } from '../control/publishing/nodes-file.ts';
import { submitStatement } from '../control/publishing/submit-statement.ts';
import { DirectoryStorage } from '../log/directory-storage.ts';
import { CHECKPOINT_PATH } from '../log/sequencer.ts';
import { publicKeyOf, readPrivateKey } from '../register/key.ts';
import { formatSocketAddress, parseSocketAddress } from '../resolver/socket-address.ts';
import { ANNEXES_FOLDER, STATEMENTS_FOLDER } from '../sync/directory-source.ts';
import { readState } from '../trust/publish.ts';
import { createTrustRepository } from '../trust/repository.ts';
import { prepareAccounts } from './demo-accounts.ts';
import { type DemoProcess, runDemoProcess, startDemoProcess } from './demo-process.ts';
import { DEMO_AUTHORITY, DemoOfficers, keepKey, PACK_FILE, PACKAGE_ROOT } from './demo-register.ts';
import { annexesIn, openStatement } from './statement-file.ts';

const SAMPLES_FOLDER = join(PACKAGE_ROOT, 'policies/samples');
const ORIGIN = 'register.example/demo';
const WITNESS_NAME = 'witness.example/demo';
const LOG_PORT = 8400;
/** Root and targets of a demo are not signed anew by anyone. */
const TERM_DAYS = { root: 3650, targets: 3650 };
/** How long to wait for what was handed in to be witnessed and published. */
const PUBLISH_MILLIS = 10_000;
const LOOK_MILLIS = 20;

/** Where the parts of a demo's register are. */
export class DemoPlaces {
  readonly folder: string;
  readonly keys: string;
  readonly log: string;
  readonly logConfig: string;
  readonly rootFile: string;
  readonly publicTree: string;
  readonly witness: string;
  readonly witnessKey: string;
  readonly authorities: string;
  readonly controlConfig: string;
  readonly database: string;
  /** Tokens of everyone who has an account. */
  readonly tokens: string;

  constructor(folder: string) {
    this.folder = folder;
    this.keys = join(folder, 'keys');
    this.log = join(folder, 'log');
    this.logConfig = join(this.log, 'log.yaml');
    this.rootFile = join(this.log, '1.root.json');
    this.publicTree = join(this.log, 'public');
    this.witness = join(folder, 'witness');
    this.witnessKey = join(this.witness, 'witness.key');
    this.authorities = join(folder, 'authorities.json');
    this.controlConfig = join(this.log, 'control.yaml');
    this.database = `sqlite:${join(this.log, 'control.db')}`;
    this.tokens = join(folder, 'tokens');
  }
}

/**
 * Makes what the demo's register is made of, unless it is there: officers' keys, the log's, the witness's, those of the
 * trust repository, the repository, signed sample notices. Returns whether this was the first time. Every step looks first,
 * so a start that was cut short goes on where it was.
 */
export async function prepareDemo(places: DemoPlaces, nowSeconds: number): Promise<boolean> {
  const officers = new DemoOfficers(places.keys);
  const logKey = keepKey(join(places.log, 'log.key'));
  const heartbeatKey = keepKey(join(places.log, 'heartbeat.key'));
  const witnessKey = await prepareWitness(places);
  const first = !existsSync(places.authorities);
  if (first) {
    const authorities = officers.composeAuthorities(nowSeconds, {
      log: { origin: ORIGIN, publicKey: publicKeyOf(logKey) },
      witnesses: [{ name: WITNESS_NAME, publicKey: witnessKey }],
      quorum: 1,
      heartbeatKey: publicKeyOf(heartbeatKey),
    });
    writeDurably(places.authorities, authorities);
  }
  prepareTrust(places, nowSeconds);
  signSamples(places, officers, nowSeconds);
  return first;
}

/** Makes the witness's key and state by its own command; returns its public key. */
async function prepareWitness({ witness, witnessKey }: DemoPlaces): Promise<string> {
  if (!existsSync(join(witness, 'witness.json'))) {
    rmSync(witnessKey, { force: true }); // left by a start that was cut short; it has cosigned nothing
    await runDemoProcess([
      'witness',
      'init',
      '--key',
      witnessKey,
      '--name',
      WITNESS_NAME,
      '--state',
      witness,
      '--json',
    ]);
  }
  return publicKeyOf(readPrivateKey(witnessKey));
}

/** Makes the trust repository in the log's public tree, and pins its first root beside the log. */
function prepareTrust({ keys, publicTree, authorities, rootFile }: DemoPlaces, nowSeconds: number): void {
  const folder = join(publicTree, 'trust');
  const [root, targets, snapshot, timestamp] = ['root', 'targets', 'snapshot', 'timestamp'].map((role) =>
    keepKey(join(keys, `trust-${role}.pem`)),
  );
  if (readState(folder) === undefined) {
    createTrustRepository({
      folder,
      keys: { root: [root!], targets: [targets!], snapshot: snapshot!, timestamp: timestamp! },
      thresholds: { root: 1, targets: 1 },
      authorities: readFileSync(authorities, 'utf8'),
      nowSeconds,
      termDays: TERM_DAYS,
    });
  }
  if (!existsSync(rootFile)) copyFileSync(join(folder, '1.root.json'), rootFile);
}

/** Signs the sample notices and keeps them, so that the log is handed the same ones at the next start. */
function signSamples({ folder }: DemoPlaces, officers: DemoOfficers, nowSeconds: number): void {
  for (const sample of readdirSync(SAMPLES_FOLDER).filter((name) => name.endsWith('.yaml'))) {
    const file = join(folder, STATEMENTS_FOLDER, `${basename(sample, '.yaml')}.json`);
    if (existsSync(file)) continue;
    const { annex, envelope } = officers.sign(readFileSync(join(SAMPLES_FOLDER, sample), 'utf8'), nowSeconds);
    if (annex) writeDurably(join(folder, ANNEXES_FOLDER, `${annex.digest}.jsonl`), annex.bytes);
    writeDurably(file, envelope);
  }
}

/** The running control API of a demo, which has the log, and its witness, each a process with a key of its own. */
export interface DemoLog {
  readonly url: string;
  readonly witnessUrl: string;
  stop(): Promise<void>;
}

/**
 * Starts the witness and the control API, and hands the samples in.
 *
 * @throws {WartaError} `socket-failed`, or the code of a refusal.
 */
export async function startDemoLog(places: DemoPlaces, listen: string | undefined, log: Logger): Promise<DemoLog> {
  const witness = await startWitness(places, log);
  let server: DemoProcess | undefined;
  const stop = async () => {
    await server?.stop();
    await witness.stop();
  };
  try {
    writeDurably(places.logConfig, await composeConfig(places, witness.url, listen));
    prepareControl(places);
    await prepareAccounts(places.database, places.tokens, Date.now());
    server = await startDemoProcess('control API', ['control', 'run', '--config', places.controlConfig], log);
    await submitSamples(places, server.url);
    return { url: server.url, witnessUrl: witness.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Writes the configuration of the control API unless it is there. */
function prepareControl({ log, controlConfig }: DemoPlaces): void {
  const webhookKey = join(log, 'webhook.key');
  keepKey(webhookKey);
  if (!existsSync(controlConfig)) writeDurably(controlConfig, composeControlConfig({ log: 'log.yaml' }));
}

function startWitness({ witness, witnessKey, log: folder }: DemoPlaces, log: Logger): Promise<DemoProcess> {
  const logKey = publicKeyOf(readPrivateKey(join(folder, 'log.key')));
  const whose = ['--key', witnessKey, '--name', WITNESS_NAME, '--state', witness];
  const watched = ['--origin', ORIGIN, '--log-key', logKey];
  return startDemoProcess('witness', ['witness', 'run', '--listen', '127.0.0.1:0', ...whose, ...watched], log);
}

/** Composes the log's configuration; the keys of TUF's online roles are at hand, so the log renews the timestamp itself. */
async function composeConfig(places: DemoPlaces, witnessUrl: string, listen?: string): Promise<string> {
  const text = composeLogConfig({
    origin: ORIGIN,
    authority: DEMO_AUTHORITY,
    policyPack: PACK_FILE,
    listen: listen ?? (await chooseAddress()),
    witnesses: [{ name: WITNESS_NAME, url: witnessUrl }],
  });
  const key = (role: string) => JSON.stringify(join(places.keys, `trust-${role}.pem`));
  return `${text}onlineKeys: { timestamp: ${key('timestamp')}, snapshot: ${key('snapshot')} }\n`;
}

/** Returns the usual address when it is free, so that a second start has the first one's; any free port otherwise. */
async function chooseAddress(): Promise<string> {
  const usual = parseSocketAddress(`127.0.0.1:${LOG_PORT}`, LOG_PORT);
  const isFree = await new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(usual.port, usual.host, () => probe.close(() => resolve(true)));
  });
  return formatSocketAddress(isFree ? usual : { ...usual, port: 0 });
}

/** Hands the samples to the log, which has them already but for the first time, and waits until they are published. */
async function submitSamples({ folder }: DemoPlaces, url: string): Promise<void> {
  const annexes = annexesIn([join(folder, ANNEXES_FOLDER)]);
  let size = 0;
  for (const name of readdirSync(join(folder, STATEMENTS_FOLDER)).sort()) {
    const { envelope, statement } = openStatement(join(folder, STATEMENTS_FOLDER, name));
    const annex = statement.type === 'notice' ? statement.annex : undefined;
    try {
      const accepted = await submitStatement(url, envelope!, annex && annexes.read(annex.digest, annex.sizeBytes));
      size = accepted.index + 1;
    } catch (error) {
      if (!(error instanceof WartaError) || error.code !== 'statement-replayed') throw error;
    }
  }
  const until = performance.now() + PUBLISH_MILLIS;
  while ((await readSize(url)) < size && performance.now() < until) await sleep(LOOK_MILLIS);
}

/** Reads the size of the published log. Nothing depends on it but how long to wait: the resolver verifies for itself. */
async function readSize(url: string): Promise<number> {
  const { body } = await request(`${url}${CHECKPOINT_PATH}`);
  return Number((await body.text()).split('\n')[1]);
}

/** Enrols the demo's node, so that the log takes its receipts. */
export async function enrolDemoNode(
  { publicTree }: DemoPlaces,
  licensee: string,
  node: string,
  keyFile: string,
): Promise<void> {
  const publicKey = publicKeyOf(keepKey(keyFile));
  const nodes = new NodesFile(new DirectoryStorage(publicTree));
  const known = (await nodes.read()).nodes.some((one) => one.node === node && one.publicKey === publicKey);
  if (!known) await nodes.enrol({ licensee, node, publicKey });
}
