import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { composeLogConfig, type LogConfig, loadLogConfig } from '../control/publishing/log-config.ts';
import { tellEvent } from '../control/publishing/log-event.ts';
import { LogSite } from '../control/publishing/log-site.ts';
import { type LogStatus, readLogStatus } from '../control/publishing/log-status.ts';
import { NodesFile } from '../control/publishing/nodes-file.ts';
import { type Accepted, submitStatement } from '../control/publishing/submit-statement.ts';
import { DirectoryStorage } from '../log/directory-storage.ts';
import { composeVerifierKey } from '../log/note.ts';
import { createKey, writePrivateKey } from '../register/key.ts';
import { formatInstant, parseInstant } from '../register/time.ts';
import { formatSocketAddress, parseSocketAddress } from '../resolver/socket-address.ts';
import { PACK_FILE } from './demo-register.ts';
import { createLog } from './log.ts';
import { composeRows, countOf, escapeControls, printJson, type Row } from './output.ts';
import { waitForSignal } from './signals.ts';
import { annexesIn, annexFoldersOf, openStatement, type StatementFile } from './statement-file.ts';

const DEFAULT_PORT = 8400;
const DEFAULT_LISTEN = `127.0.0.1:${DEFAULT_PORT}`;
const CONFIG_FILE = 'log.yaml';
/** A control API has a list of nodes of its own, which it publishes in place of what anyone else wrote. */
const CONTROL_CONFIG_FILE = 'control.yaml';
const LOG_KEY_FILE = 'log.key';
const HEARTBEAT_KEY_FILE = 'heartbeat.key';

/** Adds `warta log init`, `run`, `submit`, `status` and `enrol`. */
export function registerLogCommand(program: Command): void {
  const log = program.command('log').description('run the log of a register: take signed statements, publish the tree');
  log
    .command('init')
    .description('make the keys and the configuration of a new log')
    .requiredOption('--folder <folder>', 'where keys, configuration and the log itself are kept')
    .requiredOption('--origin <name>', 'name of the log, such as register.example/log; it never changes')
    .requiredOption('--authority <id>', 'authority in whose name heartbeats are signed')
    .option('--pack <file>', 'policy pack', PACK_FILE)
    .option('--witness <name=url>', 'a witness and its address; repeat it', collectWitness, [])
    .addOption(
      new Option('--listen <address>', 'address and port to listen on').argParser(parseListen).default(DEFAULT_LISTEN),
    )
    .option('--json', 'print JSON')
    .action(initLog);
  log
    .command('run')
    .description('sequence statements, have them witnessed, publish; serve the tree and take receipts over HTTP')
    .requiredOption('-c, --config <file>', 'configuration file (log.yaml)')
    .action(({ config }: { config: string }) => runLog(config));
  log
    .command('submit')
    .description('hand in signed statements, each with its annex')
    .argument('<files...>', 'envelopes, in the order in which they are to be appended')
    .option('--to <url>', 'address of a running log')
    .option('-c, --config <file>', 'configuration of a log that is not running')
    .option('--annexes <folder>', 'where the annexes are; beside the files otherwise')
    .option('--json', 'print JSON')
    .action(submitStatements);
  log
    .command('status')
    .description('size, age, witnesses and sequencer of a log; the exit code is 1 when something is wrong')
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--json', 'print JSON')
    .action(showStatus);
  log
    .command('enrol')
    .description("enrol an ISP's node: its receipts are taken, and it gets sealed annexes")
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--licensee <number>', "the ISP's licence number")
    .requiredOption('--node <name>', "the node's name")
    .requiredOption('--key <key>', 'its public key, as `warta resolver status` prints it there')
    .option('--json', 'print JSON')
    .action(enrolNode);
}

interface WitnessAddress {
  name: string;
  url: string;
}

function collectWitness(text: string, earlier: readonly WitnessAddress[] = []): WitnessAddress[] {
  const [, name, url] = /^([^=\s]+)=(https?:\/\/\S+)$/.exec(text) ?? [];
  if (name === undefined || url === undefined) {
    throw new InvalidArgumentError('Write a name and an address: witness.example/w1=http://127.0.0.1:5380');
  }
  return [...earlier, { name, url }];
}

function parseListen(text: string): string {
  try {
    return formatSocketAddress(parseSocketAddress(text, DEFAULT_PORT));
  } catch {
    throw new InvalidArgumentError('Write 192.0.2.1:8400 or [2001:db8::1]:8400.');
  }
}

interface InitOptions {
  folder: string;
  origin: string;
  authority: string;
  pack: string;
  witness: WitnessAddress[];
  listen: string;
  json?: boolean;
}

/** `warta log init`. */
function initLog({ folder, origin, authority, pack, witness, listen, json = false }: InitOptions): void {
  const configFile = join(folder, CONFIG_FILE);
  if (existsSync(configFile)) throw new WartaError('key-exists', `${configFile} exists: choose another folder`);
  const publicKey = makeKey(join(folder, LOG_KEY_FILE));
  const heartbeatKey = makeKey(join(folder, HEARTBEAT_KEY_FILE));
  const text = composeLogConfig({ origin, authority, policyPack: pack, listen, witnesses: witness });
  writeDurably(configFile, text);
  const log = { origin, publicKey };
  const verifierKey = composeVerifierKey({ name: origin, type: 'ed25519', publicKey });
  if (json) {
    printJson({ config: configFile, log, verifierKey, heartbeatKey });
    return;
  }
  const rows: Row[] = [
    ['configuration', paint('cyan', configFile)],
    ['log key', `${paint('green', publicKey)} (private half in ${LOG_KEY_FILE})`],
    ['verifier key', `${paint('green', verifierKey)} (for witnesses)`],
    ['heartbeat key', `${paint('green', heartbeatKey)} (private half in ${HEARTBEAT_KEY_FILE})`],
    [
      'next',
      `1. in authorities.json: "log": ${JSON.stringify(log)},
   the witnesses, and an officer of ${authority} with the heartbeat key and "may": ["heartbeat"]
2. warta trust init … publish --tree ${join(folder, 'public/trust')}
3. copy 1.root.json into ${folder}
4. warta log run --config ${configFile}`,
    ],
  ];
  console.log(composeRows(rows));
}

/** Makes a key and returns its public half. */
function makeKey(file: string): string {
  const { privatePem, publicKey } = createKey();
  writePrivateKey(file, privatePem);
  return publicKey;
}

/** `warta log run`. */
async function runLog(file: string): Promise<void> {
  const config = loadLogConfig(file);
  const log = createLog('info');
  const asked = waitForSignal();
  const site = await LogSite.open(config, { onEvent: (event) => tellEvent(log, event) });
  const server = site.createServer();
  try {
    const { host, port } = parseSocketAddress(config.listen, DEFAULT_PORT);
    const url = await listen(server, host, port);
    site.start();
    log.info(`log ${config.origin} serves ${countOf(site.sequencer.size, 'statement')} on ${url}`);
    log.info(`${await asked}: stopping`);
  } finally {
    await server.close();
    await site.close();
  }
}

async function listen(server: ReturnType<LogSite['createServer']>, host: string, port: number): Promise<string> {
  try {
    return await server.listen({ host, port });
  } catch (cause) {
    throw new WartaError('socket-failed', `cannot listen on ${host}:${port}: ${describeError(cause)}`, { cause });
  }
}

interface SubmitOptions {
  to?: string;
  config?: string;
  annexes?: string;
  json?: boolean;
}

/** What became of a file handed in. */
type Outcome = { file: string } & ({ known: true; id: string } | ({ known: false } & Accepted));

/** `warta log submit`. */
async function submitStatements(files: string[], options: SubmitOptions, command: Command): Promise<void> {
  if ((options.to === undefined) === (options.config === undefined)) command.error('error: give --to or --config');
  const statements = files.map(openStatement);
  const unsigned = statements.find(({ envelope }) => envelope === undefined);
  if (unsigned !== undefined) {
    throw new WartaError('statement-unsigned', `${unsigned.path} is a payload: sign it with warta notice sign`);
  }
  const outcomes =
    options.to === undefined
      ? await appendTo(loadLogConfig(options.config!), statements, options.annexes)
      : await submitAll(statements, options.annexes, (envelope, annex) =>
          submitStatement(options.to!, envelope, annex),
        );
  if (options.json) printJson(outcomes);
  else for (const outcome of outcomes) console.log(describeOutcome(outcome));
}

type Submit = (envelope: Uint8Array, annex?: Uint8Array) => Promise<Accepted>;

/** Appends to a log that is not running: no other process has it. */
async function appendTo(config: LogConfig, statements: StatementFile[], annexes?: string): Promise<Outcome[]> {
  const site = await LogSite.open(config);
  try {
    const outcomes = await submitAll(statements, annexes, async (envelope, annex) => {
      const { integratedAtSeconds, ...rest } = await site.publisher.submit(envelope, async () => annex);
      return { ...rest, integratedAt: formatInstant(integratedAtSeconds) };
    });
    await site.sequencer.flush();
    return outcomes;
  } finally {
    await site.close();
  }
}

/** Hands statements in one after another. One that the log has already is no failure: an answer may have got lost. */
async function submitAll(statements: StatementFile[], folder: string | undefined, submit: Submit): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const file of statements) {
    try {
      const accepted = await submit(file.envelope!, readAnnex(file, folder));
      outcomes.push({ file: file.path, known: false, ...accepted });
    } catch (error) {
      if (!(error instanceof WartaError)) throw error;
      if (error.code !== 'statement-replayed') {
        throw new WartaError(error.code, `${file.path}: ${error.message}`, { cause: error });
      }
      outcomes.push({ file: file.path, known: true, id: file.id });
    }
  }
  return outcomes;
}

/** Reads the annex of a notice; the log says what it thinks of one that is missing. */
function readAnnex({ path, statement }: StatementFile, folder?: string): Uint8Array | undefined {
  if (statement.type !== 'notice') return undefined;
  const annexes = annexesIn(folder === undefined ? annexFoldersOf(path) : [folder]);
  return annexes.read(statement.annex.digest, statement.annex.sizeBytes);
}

function describeOutcome(outcome: Outcome): string {
  const { file, id } = outcome;
  if (outcome.known) return `${paint('yellow', 'known')}  ${file}: the log has it already\n       ${id}`;
  const { index, integratedAt } = outcome;
  return `${paint('green', 'ok')}     ${file}: leaf ${index} of the log at ${integratedAt}\n       ${id}`;
}

/** `warta log status`. */
async function showStatus({ config, json }: { config: string; json?: boolean }): Promise<void> {
  const nowSeconds = systemClock.wallMillis() / 1000;
  const status = await readLogStatus(loadLogConfig(config), nowSeconds);
  if (json) printJson(status);
  else console.log(composeRows(describeStatus(status, nowSeconds)));
  if (status.faults.length > 0) process.exitCode = 1;
}

function describeStatus(status: LogStatus, nowSeconds: number): Row[] {
  const { faults, newestLeafAt, ageSeconds, quorum, running } = status;
  const ago = (time: string) => `${describeSpan(nowSeconds - parseInstant(time)!)} ago`;
  const rows: Row[] = [['log', faults.length === 0 ? paint('green', 'all well') : paint('red', 'needs attention')]];
  for (const fault of faults) rows.push(['', paint('red', `! ${fault}`)]);
  rows.push(['origin', escapeControls(status.origin)]);
  rows.push(['size', `${countOf(status.size, 'statement')}, root ${status.rootHash}`]);
  if (newestLeafAt !== undefined) rows.push(['newest', `${newestLeafAt}, ${ago(newestLeafAt)}`]);
  rows.push(['witnessed', ageSeconds === undefined ? paint('red', 'no') : `${describeSpan(ageSeconds)} ago`]);
  for (const { name, cosignedAt } of status.witnesses) {
    const seen = cosignedAt === undefined ? paint('yellow', 'has not cosigned this checkpoint') : ago(cosignedAt);
    rows.push(['', `${escapeControls(name)}: ${seen}`]);
  }
  rows.push(['quorum', `${quorum} of ${countOf(status.witnesses.length, 'witness', 'witnesses')}`]);
  rows.push(['sequencer', running ? paint('green', 'running') : paint('red', 'stopped')]);
  rows.push(['authorities', `version ${status.authoritiesVersion}`]);
  return rows;
}

function describeSpan(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  return whole < 7200 ? `${Math.round(whole / 60)} min` : `${Math.round(whole / 3600)} h`;
}

interface EnrolOptions {
  config: string;
  licensee: string;
  node: string;
  key: string;
  json?: boolean;
}

/** `warta log enrol`. Counts at once, whether the log is running or not. */
async function enrolNode({ config, licensee, node, key: publicKey, json }: EnrolOptions): Promise<void> {
  if (existsSync(join(dirname(config), CONTROL_CONFIG_FILE))) {
    throw new WartaError(
      'usage',
      `${CONTROL_CONFIG_FILE} is there: the control API enrols nodes, by warta resolver enrol`,
    );
  }
  const nodes = new NodesFile(new DirectoryStorage(loadLogConfig(config).public));
  await nodes.enrol({ licensee, node, publicKey });
  if (json) printJson({ licensee, node, publicKey });
  else console.log(`${paint('green', 'enrolled')} ${escapeControls(`${licensee}/${node}`)}`);
}
