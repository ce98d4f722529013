import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import { systemClock } from '../base/clock.ts';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { createFirstAdmin } from '../control/access/first-admin.ts';
import { type ControlConfig, composeControlConfig, loadControlConfig } from '../control/control-config.ts';
import { ControlSite } from '../control/control-site.ts';
import { createMetricsServer } from '../metrics/metrics-server.ts';
import { createKey, writePrivateKey } from '../register/key.ts';
import { parseSocketAddress } from '../resolver/socket-address.ts';
import { type BackupSummary, backupStore, restoreStore } from '../store/backup.ts';
import { describeTarget, openStore } from '../store/open-store.ts';
import { createLog } from './log.ts';
import { composeRows, countOf, printJson } from './output.ts';
import { waitForSignal } from './signals.ts';

const DEFAULT_PORT = 8400;
const METRICS_PORT = 9101;
const CONFIG_FILE = 'control.yaml';
const WEBHOOK_KEY_FILE = 'webhook.key';

/** Adds `warta control init`, `run`, `admin`, `backup` and `restore`. */
export function registerControlCommand(program: Command): void {
  const control = program
    .command('control')
    .description('run the control API: drafting, approval, appeals, the register');
  control
    .command('init')
    .description('write a configuration beside that of a log, and make the key that signs webhooks')
    .requiredOption('--folder <folder>', 'where log.yaml is (see warta log init)')
    .option('--json', 'print JSON')
    .action(initControl);
  withConfig(
    control.command('run').description('serve the API, and sequence the log unless another process does'),
  ).action(({ config }: { config: string }) => runControl(config));
  withConfig(control.command('admin').description('make the first administrator and print their token, once'))
    .requiredOption('--id <id>', 'their id, such as jane.doe')
    .requiredOption('--name <name>', 'their name')
    .option('--recover', 'although there are accounts: when every administrator has lost access')
    .option('--json', 'print JSON')
    .action(makeAdmin);
  withConfig(control.command('backup').description('write everything that is in the database into one file'))
    .argument('<file>', 'where it goes')
    .option('--json', 'print JSON')
    .action((file: string, options: FileOptions) => reportBackup(backupStore, 'backed up', file, options));
  withConfig(control.command('restore').description('read a backup into an empty database, of either kind'))
    .argument('<file>', 'a file that backup wrote')
    .option('--json', 'print JSON')
    .action((file: string, options: FileOptions) => reportBackup(restoreStore, 'restored', file, options));
}

function withConfig(command: Command): Command {
  return command.requiredOption('-c, --config <file>', `configuration file (${CONFIG_FILE})`);
}

/** `warta control init`. */
function initControl({ folder, json = false }: { folder: string; json?: boolean }): void {
  const file = join(folder, CONFIG_FILE);
  if (existsSync(file)) throw new WartaError('key-exists', `${file} exists: edit it`);
  if (!existsSync(join(folder, 'log.yaml'))) {
    throw new WartaError(
      'config-unreadable',
      `${folder} has no log.yaml: begin with warta log init --folder ${folder}`,
    );
  }
  const { privatePem, publicKey } = createKey();
  writePrivateKey(join(folder, WEBHOOK_KEY_FILE), privatePem);
  writeDurably(file, composeControlConfig({ log: 'log.yaml' }));
  if (json) {
    printJson({ config: resolve(file), webhookKey: publicKey });
    return;
  }
  console.log(
    composeRows([
      ['configuration', paint('cyan', file)],
      ['webhook key', `${paint('green', publicKey)} (whoever takes webhooks verifies them with it)`],
      [
        'next',
        `1. warta control admin --config ${file} --id <id> --name <name>\n2. warta control run --config ${file}`,
      ],
    ]),
  );
}

/** `warta control run`. */
async function runControl(file: string): Promise<void> {
  const config = loadControlConfig(file);
  const log = createLog('info');
  const asked = waitForSignal();
  const store = await openStore(config.database);
  let site: ControlSite | undefined;
  let metrics: FastifyInstance | undefined;
  try {
    site = await ControlSite.open(config, { store, log });
    metrics = await openMetrics(config, site);
    await site.start();
    const { host, port } = parseSocketAddress(config.listen, DEFAULT_PORT);
    const url = await listen(site.app, host, port);
    const role = site.isSequencing ? 'with the sequencer' : 'without the sequencer, which another process has';
    log.info(`control API of ${config.log.origin}, ${describeTarget(config.database)}, ${role}, on ${url}`);
    log.info(`${await asked}: stopping`);
  } finally {
    await metrics?.close();
    await site?.close();
    await store.close();
  }
}

/** Serves the metrics of this process, where the configuration says so. */
async function openMetrics({ metrics }: ControlConfig, site: ControlSite): Promise<FastifyInstance | undefined> {
  if (metrics === undefined) return undefined;
  collectDefaultMetrics({ register: site.metrics });
  const status = () => ({ size: site.services.register.size, sequencer: site.isSequencing });
  const server = createMetricsServer(site.metrics, () => ({ serving: true, notes: [] }), status);
  const { host, port } = parseSocketAddress(metrics.listen, METRICS_PORT);
  await listen(server, host, port);
  return server;
}

async function listen(app: FastifyInstance, host: string, port: number): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    throw new WartaError('socket-failed', `cannot listen on ${host}:${port}: ${describeError(cause)}`, { cause });
  }
}

interface AdminOptions {
  config: string;
  id: string;
  name: string;
  recover?: boolean;
  json?: boolean;
}

/** `warta control admin`. */
async function makeAdmin({ config, id, name, recover = false, json = false }: AdminOptions): Promise<void> {
  const store = await openStore(loadControlConfig(config).database);
  try {
    const terms = { id, name, isRecovery: recover, nowMillis: systemClock.wallMillis(), random: randomBytes };
    const token = await createFirstAdmin(store, terms);
    if (json) printJson({ id, token });
    else {
      console.log(`${paint('green', 'made')} ${id}; the token is shown this once and ends in seven days:\n${token}`);
    }
  } finally {
    await store.close();
  }
}

interface FileOptions {
  config: string;
  json?: boolean;
}

/** `warta control backup` and `restore`. */
async function reportBackup(
  act: (target: string, file: string) => Promise<BackupSummary>,
  done: string,
  file: string,
  { config, json = false }: FileOptions,
): Promise<void> {
  const { database } = loadControlConfig(config);
  const summary = await act(database, file);
  if (json) printJson(summary);
  else
    console.log(
      `${paint('green', done)} ${countOf(summary.rows, 'record')}, ${describeTarget(database)}, ${file}\nhead of the trail of changes: ${summary.auditHead.sequence} ${summary.auditHead.hash}`,
    );
}
