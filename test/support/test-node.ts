import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { startNode } from '../../src/cli/node.ts';
import { type ConfigSource, checkConfig } from '../../src/config/config.ts';
import type { Server } from './dns-client.ts';
import { makeFolder } from './folders.ts';
import { findFreePort } from './ports.ts';
import { RegisterFolder } from './register-folder.ts';
import { type RunningProgram, startProgram } from './running-program.ts';
import { LICENSEE, PACK_FILE, PACKAGE_ROOT } from './test-authority.ts';
import { waitUntil } from './wait.ts';

/** What a test sets; the rest is on free loopback ports, with the limits that a test would trip over wide open. */
export interface NodeOptions {
  register?: RegisterFolder;
  upstreams: readonly Server[];
  /** Hosts to listen on, all at one port; 127.0.0.1 otherwise. */
  hosts?: readonly string[];
  port?: number;
  folder?: string;
  resolver?: ConfigSource['resolver'];
  answer?: ConfigSource['answer'];
  logLevel?: 'debug' | 'info' | 'warn' | 'error';
}

/** A place for a node: its folder, register, addresses and configuration. Start it as often as the test needs. */
export class NodeSite {
  readonly folder: string;
  readonly register: RegisterFolder;
  readonly config: ConfigSource;
  readonly server: Server;
  readonly metricsPort: number;

  private constructor(folder: string, register: RegisterFolder, config: ConfigSource, server: Server, metrics: number) {
    this.folder = folder;
    this.register = register;
    this.config = config;
    this.server = server;
    this.metricsPort = metrics;
  }

  static async prepare(options: NodeOptions): Promise<NodeSite> {
    const folder = options.folder ?? makeFolder();
    const register = options.register ?? new RegisterFolder(folder);
    const port = options.port ?? (await findFreePort());
    const metricsPort = await findFreePort();
    const hosts = options.hosts ?? ['127.0.0.1'];
    const config: ConfigSource = {
      state: join(folder, 'state'),
      register: {
        licensee: LICENSEE,
        directory: register.directory,
        authorities: register.authoritiesFile,
        policyPack: PACK_FILE,
        // In this process a test says when to look again; see `follow`.
        rescanSeconds: 3600,
      },
      resolver: {
        listen: hosts.map((host) => formatAddress({ host, port })),
        upstreams: options.upstreams.map(formatAddress),
        workers: 1,
        responsesPerSecond: 0,
        ...options.resolver,
      },
      answer: options.answer,
      metrics: { listen: `127.0.0.1:${metricsPort}` },
      log: { level: options.logLevel ?? 'info' },
    };
    return new NodeSite(folder, register, config, { host: hosts[0]!, port }, metricsPort);
  }

  /** Starts the node in this process. */
  async startHere() {
    const log: string[] = [];
    const sink = new Writable({
      write(chunk, _encoding, done) {
        log.push(String(chunk));
        done();
      },
    });
    const config = checkConfig(this.config, join(this.folder, 'warta.yaml'));
    const node = await startNode(config, pino({ level: config.log.level, base: undefined }, sink));
    await node.keeper.refresh(); // behind the node's own first look, so that `follow` meets no other
    return Object.assign(node, {
      server: this.server,
      folder: this.folder,
      /** Lines logged so far. */
      log,
      /** Waits until the register as it is now has been compiled and taken into use. */
      async follow() {
        await node.keeper.refresh();
        const [own, ...threads] = node.resolver.counters;
        await waitUntil('every thread uses the table', () => threads.every(({ swaps }) => swaps === own!.swaps));
      },
    });
  }

  /** Starts `warta resolver` as a process of its own and waits until it serves. */
  async startProcess(): Promise<RunningProgram> {
    const program = this.spawnProcess();
    await program.waitFor(/"msg":"serving /);
    return program;
  }

  /** Starts `warta resolver` and waits for nothing. */
  spawnProcess(): RunningProgram {
    this.config.register.rescanSeconds = 1;
    const file = join(this.folder, 'warta.yaml');
    writeFileSync(file, stringify(JSON.parse(JSON.stringify(this.config))));
    return startWarta(['resolver', '--config', file]);
  }

  /** Reads one metric without labels, or with the labels as they stand in the text. */
  async readMetric(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.metricsPort}/metrics`)).text();
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
    if (line === undefined) throw new Error(`no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }

  /** Waits until a metric has at least this value. */
  waitForMetric(name: string, atLeast: number): Promise<number> {
    return waitUntil(`${name} reaches ${atLeast}`, async () => {
      const value = await this.readMetric(name);
      return value >= atLeast ? value : undefined;
    });
  }
}

export type TestNode = Awaited<ReturnType<NodeSite['startHere']>>;

/** Prepares a site and starts the node in this process. */
export async function startTestNode(options: NodeOptions): Promise<TestNode> {
  const site = await NodeSite.prepare(options);
  return site.startHere();
}

/** Starts the command line program on the Node that runs the tests. */
export function startWarta(args: readonly string[], cwd = PACKAGE_ROOT): RunningProgram {
  return startProgram(process.execPath, [join(PACKAGE_ROOT, 'src/cli/warta.ts'), ...args], { cwd });
}

function formatAddress({ host, port }: Server): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
