import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { Gateway, type GatewayOptions } from '../../src/gateway/gateway.ts';
import type { AddressSource } from '../../src/gateway/origin-resolver.ts';
import type { NoticeDetails } from '../../src/gateway/url-rules.ts';
import { makeFolder } from '../support/folders.ts';
import { findFreePort } from '../support/ports.ts';
import { startProgram } from '../support/running-program.ts';
import { waitUntil } from '../support/wait.ts';
import { createUrlRules, type UrlEntry } from './naive-rules.ts';

export const HOST = 'site.example';

export const NOTICE: NoticeDetails = {
  reference: 'TEST/1',
  authority: 'The Commission',
  instrument: 'The Act',
  section: '263',
  category: 'online-scams',
  sealed: false,
  fromSeconds: 1_700_000_000,
  contacts: ['mailto:appeals@authority.example'],
  appealUrl: 'https://authority.example/appeal',
};

/** A listed page of the test host. */
export const LISTED = `http://${HOST}/listed`;

/** Returns an entry in force for ever. */
export function listPage(url: string, more: Partial<Extract<UrlEntry, { url: string }>> = {}): UrlEntry {
  return { url, notice: NOTICE, fromSeconds: 0, ...more };
}

/** Every name has this one address. */
export function fixedAddress(address: string): AddressSource {
  const none = Object.assign(new Error('no record'), { code: 'ENODATA' });
  return {
    resolve4: async () => (address.includes(':') ? Promise.reject(none) : [{ address, ttl: 60 }]),
    resolve6: async () => (address.includes(':') ? [{ address, ttl: 60 }] : Promise.reject(none)),
  };
}

const running: Gateway[] = [];

afterAll(async () => {
  await Promise.all(running.map((gateway) => gateway.stop(0)));
});

export interface TestGatewayOptions extends Partial<Omit<GatewayOptions, 'origins'>> {
  /** Port of the origin on 127.0.0.1, for HTTP and HTTPS alike. */
  readonly originPort: number;
  readonly entries?: readonly UrlEntry[];
  readonly origins?: Partial<GatewayOptions['origins']>;
}

/** Starts a gateway on free loopback ports whose every origin is 127.0.0.1; it is stopped when the tests of the file are done. */
export async function startGateway(options: TestGatewayOptions): Promise<Gateway> {
  const { originPort, entries = [listPage(LISTED)], origins, ...more } = options;
  const gateway = await Gateway.start({
    http: { host: '127.0.0.1', port: 0 },
    https: { host: '127.0.0.1', port: 0 },
    rules: createUrlRules(entries),
    blockedBy: 'https://operator.example/',
    ...more,
    origins: {
      resolvers: fixedAddress('127.0.0.1'),
      allowedPrefixes: ['127.0.0.0/8'],
      ports: { 80: originPort, 443: originPort },
      ...origins,
    },
  });
  running.push(gateway);
  return gateway;
}

/** Starts nginx with the given `server` directives; returns its port and folder, which is also its root. */
export async function startNginx(
  directives: (folder: string) => string,
): Promise<{ port: number; folder: string; pid: number }> {
  const port = await findFreePort();
  const folder = makeFolder();
  const own = join(folder, 'nginx');
  mkdirSync(own);
  const conf = join(own, 'nginx.conf');
  writeFileSync(
    conf,
    `daemon off; master_process off; pid ${own}/nginx.pid; error_log ${own}/error.log;
${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000;
  client_body_temp_path ${own}/b; proxy_temp_path ${own}/p; fastcgi_temp_path ${own}/f; uwsgi_temp_path ${own}/u; scgi_temp_path ${own}/s;
  server { listen 127.0.0.1:${port}; root ${folder}; ${directives(folder)} }
}
`,
  );
  const program = startProgram('nginx', ['-c', conf, '-p', own, '-e', join(own, 'error.log')]);
  await waitUntil('nginx listens', () => canConnect(port));
  return { port, folder, pid: program.pid };
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket
      .on('error', () => resolve(false))
      .on('connect', () => {
        socket.destroy();
        resolve(true);
      });
  });
}

/** Opens a connection to a port and gathers what comes. */
export class RawClient {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #isClosed = false;

  constructor(port: number, localAddress?: string) {
    this.socket = connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true });
    this.socket.on('data', (chunk: Buffer) => this.#received.push(chunk)).on('error', () => {});
    const onClose = () => {
      this.#isClosed = true;
    };
    this.socket.on('end', onClose).on('close', onClose);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  send(data: string | Uint8Array): this {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
    return this;
  }

  /** Waits until the text matches. */
  async waitFor(pattern: RegExp): Promise<string> {
    await waitUntil(`an answer like ${pattern}`, () => {
      if (!pattern.test(this.text) && this.#isClosed) throw new Error(`closed after ${JSON.stringify(this.text)}`);
      return pattern.test(this.text);
    });
    return this.text;
  }

  /** Waits until the other side closed. */
  async waitForEnd(): Promise<string> {
    await waitUntil('the other side closes', () => this.#isClosed);
    this.socket.destroy();
    return this.text;
  }
}

/** Sends one request that asks for the connection to be closed, and returns everything that came back. */
export function exchange(port: number, request: string): Promise<string> {
  return new RawClient(port).send(request).waitForEnd();
}
