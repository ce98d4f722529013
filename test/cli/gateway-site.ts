import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createStreamServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import { stringify } from 'yaml';
import { startGateway } from '../../src/cli/gateway-node.ts';
import { type ConfigSource, checkConfig } from '../../src/config/config.ts';
import { exchange } from '../gateway/fixture.ts';
import { TYPE } from '../support/dns-message.ts';
import { makeFolder } from '../support/folders.ts';
import { findFreePort } from '../support/ports.ts';
import { RegisterFolder } from '../support/register-folder.ts';
import type { RunningProgram } from '../support/running-program.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { LICENSEE, PACK_FILE } from '../support/test-authority.ts';
import { startWarta } from '../support/test-node.ts';

const LOOPBACK = { type: TYPE.A, data: Buffer.of(127, 0, 0, 1) };

/** Where the gateway finds origins: every name is 127.0.0.1. */
export interface Internet {
  readonly resolver: StubUpstream;
  readonly originPorts: Readonly<Record<number, number>>;
  /** Connections that reached the origin on the port for HTTPS. */
  readonly secured: readonly Socket[];
}

/** Starts a resolver and an origin, which answers `origin: ` and the path; they are closed when the file's tests are done. */
export async function startInternet(): Promise<Internet> {
  const resolver = await startStubUpstream((query) => composeReply(query, LOOPBACK));
  const secured: Socket[] = [];
  const plain = createServer((request, response) => response.end(`origin: ${request.url}`));
  const tls = createStreamServer((socket) => void secured.push(socket.on('error', () => {})));
  const listen = (server: Server) =>
    new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
    });
  const originPorts = { 80: await listen(plain), 443: await listen(tls) };
  afterAll(async () => {
    plain.close().closeAllConnections();
    tls.close();
    for (const socket of secured) socket.destroy();
    await resolver.close();
  });
  return { resolver, originPorts, secured };
}

/** A place for a gateway: its folder, register and configuration. Start it as often as the test needs. */
export class GatewaySite {
  readonly folder = makeFolder();
  readonly register = new RegisterFolder(this.folder);
  readonly config: ConfigSource & Required<Pick<ConfigSource, 'gateway'>>;
  readonly #internet: Internet;

  constructor(internet: Internet, ports: readonly [http: number, https: number, metrics: number]) {
    this.#internet = internet;
    this.config = {
      state: join(this.folder, 'state'),
      register: {
        licensee: LICENSEE,
        directory: this.register.directory,
        authorities: this.register.authoritiesFile,
        policyPack: PACK_FILE,
        // In this process a test says when to look again.
        rescanSeconds: 3600,
      },
      gateway: {
        http: `127.0.0.1:${ports[0]}`,
        https: `127.0.0.1:${ports[1]}`,
        blockedBy: 'https://isp.example/blocking',
        resolvers: [`127.0.0.1:${internet.resolver.port}`],
        allowedOrigins: ['127.0.0.0/8'],
      },
      answer: { operator: 'Contoh Net' },
      metrics: { listen: `127.0.0.1:${ports[2]}` },
    };
  }

  static async prepare(internet: Internet): Promise<GatewaySite> {
    return new GatewaySite(internet, [await findFreePort(), await findFreePort(), await findFreePort()]);
  }

  /** Starts the gateway in this process; it is stopped when the file's tests are done, if not before. */
  async startHere() {
    const log: string[] = [];
    const sink = new Writable({
      write(chunk, _encoding, done) {
        log.push(String(chunk));
        done();
      },
    });
    const config = checkConfig(this.config, join(this.folder, 'gateway.yaml'));
    const { originPorts } = this.#internet;
    const node = await startGateway(config, pino({ base: undefined }, sink), { originPorts });
    running.add(node);
    await node.keeper.refresh(); // behind the node's own first look
    return {
      log,
      /** Waits until the register as it is now is in use. */
      follow: () => node.keeper.refresh(),
      async stop() {
        running.delete(node);
        await node.stop(0);
      },
    };
  }

  /** Writes the configuration to a file and returns its path. */
  writeConfig(): string {
    const file = join(this.folder, 'gateway.yaml');
    writeFileSync(file, stringify(JSON.parse(JSON.stringify(this.config))));
    return file;
  }

  /** Starts `warta gateway` as a process of its own. */
  spawnProcess(): RunningProgram {
    return startWarta(['gateway', '--config', this.writeConfig()]);
  }

  /** Puts a time floor into the state folder, as an earlier run would have left it. */
  writeFloor(seconds: number): void {
    mkdirSync(this.config.state, { recursive: true });
    writeFileSync(join(this.config.state, 'time-floor.json'), JSON.stringify({ seconds }));
  }

  get httpPort(): number {
    return portOf(this.config.gateway.http!);
  }

  /** The whole answer to a request, head and body. */
  get(url: string, fields: Readonly<Record<string, string>> = {}): Promise<string> {
    const { host, pathname, search } = new URL(url);
    const lines = Object.entries({ Host: host, Connection: 'close', ...fields }).map(
      ([name, value]) => `${name}: ${value}`,
    );
    return exchange(this.httpPort, `GET ${pathname}${search} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
  }

  /** The status and the first line of the body. */
  async outcome(url: string): Promise<string> {
    const answer = await this.get(url);
    const [head, body = ''] = answer.split('\r\n\r\n');
    const status = head.split(' ')[1]!;
    return status === '200' ? `200 ${/origin: .*/.exec(body)?.[0]}` : status;
  }

  /** Opens HTTPS to a host by way of the gateway; resolves when the connection ends or reaches the origin. */
  async reachesSecurely(host: string): Promise<boolean> {
    const before = this.#internet.secured.length;
    const socket = connectTls({ host: '127.0.0.1', port: portOf(this.config.gateway.https!), servername: host });
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        if (this.#internet.secured.length === before) return;
        clearInterval(timer);
        socket.destroy();
        resolve(true);
      }, 5);
      socket
        .on('error', () => {})
        .on('close', () => {
          clearInterval(timer);
          resolve(this.#internet.secured.length > before);
        });
    });
  }

  /** What the node says at a path of its metrics server. */
  async ask(path: string): Promise<string> {
    return (await fetch(`http://${this.config.metrics!.listen}${path}`)).text();
  }
}

const running = new Set<{ stop(graceSeconds: number): Promise<void> }>();

afterAll(async () => {
  await Promise.all([...running].map((node) => node.stop(0)));
});

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1));
}
