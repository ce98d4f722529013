import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ConfigSource } from '../../src/config/config.ts';
import { formatInstant } from '../../src/register/time.ts';
import { type DigAnswer, dig } from '../support/dig.ts';
import { makeFolder } from '../support/folders.ts';
import { findNamespaceFault, Network } from '../support/namespaces.ts';
import { findProgram, type ProgramResult, runProgram } from '../support/programs.ts';
import { RegisterFolder } from '../support/register-folder.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';
import { LICENSEE, PACK_FILE, PACKAGE_ROOT } from '../support/test-authority.ts';
import { waitUntil } from '../support/wait.ts';

/** Addresses of the hosts. All are for documentation but `hidden`, where the origin answers too. */
export const ADDRESS = {
  client: ['198.51.100.10', '2001:db8:a::10'],
  resolver: ['198.51.100.53', '2001:db8:a::53'],
  gateway: ['198.51.100.80', '2001:db8:a::80'],
  origin: ['203.0.113.80', '2001:db8:b::80'],
  /** The upstream resolver, on the origin's host. */
  upstream: ['203.0.113.53'],
  hidden: ['10.9.9.9'],
} as const;

/** What the gateway may connect to although it is not public: everything of the origin's but its hidden address. */
const ALLOWED_ORIGINS = ['203.0.113.0/24', '2001:db8:b::/48'];

/** Hosts of the origin; what is signed about them is up to the test. */
const ORIGIN_HOSTS = [
  'news.example',
  'shop.example',
  'scam.example',
  'help.scam.example',
  'login.scam.example',
  'free.example',
  'other.example',
];
/** Listed as the origin's, but at its hidden address. */
const HIDDEN_HOST = 'hidden.example';

export const RESOLVER_NAME = 'dns.isp.example';
export const OPERATOR = 'Test ISP';
export const BLOCKED_BY = 'https://isp.example/blocking';
/** The option by which a client says that it understands structured errors; any number not in use will do. */
export const STRUCTURED_OPTION = 65_280;
/** Port at which what is behind nginx listens. */
const BACKEND_PORT = 8080;
const PROGRAMS = ['unbound', 'nginx', 'dig', 'kdig', 'curl', 'openssl'];

/** Says why these suites cannot run here, or undefined. */
export function findLaboratoryFault(): string | undefined {
  const missing = PROGRAMS.find((program) => findProgram(program) === undefined);
  return missing === undefined ? findNamespaceFault() : `the program ${missing} is missing`;
}

/** The title of a suite, with the reason when it is skipped. */
export const titleOf = (title: string, fault: string | undefined) =>
  fault === undefined ? title : `${title} (skipped: ${fault})`;

/**
 * Four hosts, each a network namespace: a client, the resolver and the gateway of an ISP, and an origin, which is also the
 * upstream resolver. Resolver and gateway are the real commands, on the real ports, and follow one register.
 */
export class Laboratory {
  readonly folder: string;
  readonly register: RegisterFolder;
  readonly network: Network;
  readonly certificate: string;
  gateway!: RunningProgram;
  resolver!: RunningProgram;
  readonly #resolvConf: string;

  private constructor(network: Network) {
    this.network = network;
    this.folder = makeFolder();
    this.register = new RegisterFolder(this.folder);
    this.certificate = join(this.folder, 'certificate.pem');
    this.#resolvConf = join(this.folder, 'resolv.conf');
  }

  /** Makes the hosts, publishes what `sign` publishes, and starts everything. */
  static async open(sign: (register: RegisterFolder) => void): Promise<Laboratory> {
    const network = await Network.create([
      { name: 'client', addresses: ADDRESS.client },
      { name: 'resolver', addresses: ADDRESS.resolver },
      { name: 'gateway', addresses: ADDRESS.gateway },
      { name: 'origin', addresses: [...ADDRESS.origin, ...ADDRESS.upstream, ...ADDRESS.hidden] },
    ]);
    const laboratory = new Laboratory(network);
    try {
      await laboratory.#start(sign);
    } catch (error) {
      await network.remove();
      throw error;
    }
    return laboratory;
  }

  async #start(sign: (register: RegisterFolder) => void): Promise<void> {
    makeCertificate(this.folder);
    writeFileSync(this.#resolvConf, `nameserver ${ADDRESS.resolver[0]}\noptions timeout:2 attempts:3\n`);
    sign(this.register);
    await Promise.all([this.#startUpstream(), this.#startOrigin()]);
    await Promise.all([this.startGateway(), this.#startResolver()]);
  }

  /** Ends everything. */
  close(): Promise<void> {
    return this.network.remove();
  }

  /** Runs a program on a host to its end. The client's programs look names up at the resolver. */
  run(host: string, program: string, args: readonly string[], timeoutMillis?: number): Promise<ProgramResult> {
    const resolvConf = host === 'client' ? this.#resolvConf : undefined;
    const [command, words] = this.network.hosts[host]!.wrap(program, args, resolvConf);
    return runProgram(command, words, timeoutMillis);
  }

  #launch(host: string, program: string, args: readonly string[]): RunningProgram {
    return startProgram(...this.network.hosts[host]!.wrap(program, args));
  }

  /** Asks the resolver from the client, with dig. */
  dig(name: string, ...args: string[]): Promise<DigAnswer> {
    const server = { host: ADDRESS.resolver[0], port: 53 };
    return dig(server, name, args, (program, words) => this.run('client', program, words));
  }

  /** Fetches from the client, with curl. */
  curl(...args: string[]): Promise<ProgramResult> {
    const base = ['-sS', '--noproxy', '*', '--max-time', '40', '--cacert', this.certificate];
    return this.run('client', 'curl', [...base, ...args], 60_000);
  }

  /** Fetches a page and returns its status and its body. */
  async fetch(url: string, ...args: string[]): Promise<{ status: number; body: string }> {
    const { stdout, stderr } = await this.curl('-w', '\n%{http_code}', ...args, url);
    const at = stdout.lastIndexOf('\n');
    const status = Number(stdout.slice(at + 1));
    return { status, body: status === 0 ? stderr : stdout.slice(0, at) };
  }

  /** Everything that a node's metrics say. */
  async readMetrics(host: 'gateway' | 'resolver'): Promise<string> {
    return (await this.run(host, 'curl', ['-sS', '--noproxy', '*', 'http://127.0.0.1:9100/metrics'])).stdout;
  }

  /** Reads a metric of the gateway, with its labels as they stand in the text. */
  async readGatewayMetric(name: string): Promise<number> {
    const stdout = await this.readMetrics('gateway');
    const line = stdout.split('\n').find((candidate) => candidate.startsWith(`${name} `));
    if (line === undefined) throw new Error(`no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }

  /** Everything that a node has written: its log, its metrics and its files. */
  async readTraces(host: 'gateway' | 'resolver'): Promise<string> {
    const folder = join(this.folder, `${host}-state`);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const contents = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'latin1'));
    return [this[host].output(), await this.readMetrics(host), ...contents].join('\n');
  }

  /** Waits until the resolver sends the name to the gateway, or to the origin, over IPv4 and IPv6. */
  async waitForAddress(name: string, of: 'gateway' | 'origin', timeoutMillis?: number): Promise<void> {
    let last: string[] = [];
    const look = async () => {
      const answers = await Promise.all([this.dig(name, '+short'), this.dig(name, '+short', 'AAAA')]);
      last = answers.map(({ output }) => output.trim());
      return last[0] === ADDRESS[of][0] && last[1] === ADDRESS[of][1];
    };
    await waitUntil(`${name} is at the ${of}`, look, timeoutMillis).catch((cause) => {
      const logs = `resolver: ${this.resolver.output()}\ngateway: ${this.gateway.output()}`;
      throw new Error(`${cause.message}; it is at ${last.join(' and ')}\n${logs}`);
    });
  }

  /** Starts `warta gateway` and waits until it serves. */
  async startGateway(): Promise<void> {
    const config = this.#writeConfig('gateway', {
      gateway: {
        http: '[::]:80',
        https: '[::]:443',
        blockedBy: BLOCKED_BY,
        resolvers: [`${ADDRESS.upstream[0]}:53`],
        allowedOrigins: ALLOWED_ORIGINS,
      },
      answer: { operator: OPERATOR },
    });
    this.gateway = this.#launch('gateway', process.execPath, [WARTA, 'gateway', '--config', config]);
    await this.gateway.waitFor(/"msg":"serving /);
  }

  async #startResolver(): Promise<void> {
    const [four, six] = ADDRESS.resolver;
    const listen = (port: number) => [`${four}:${port}`, `[${six}]:${port}`];
    const config = this.#writeConfig('resolver', {
      resolver: {
        listen: listen(53),
        upstreams: [`${ADDRESS.upstream[0]}:53`],
        workers: 1,
        allow: ['198.51.100.0/24', '2001:db8:a::/48'],
        health: { checkName: 'free.example' },
        gateway: { addresses: [...ADDRESS.gateway] },
        tls: {
          certificate: this.certificate,
          key: join(this.folder, 'key.pem'),
          name: RESOLVER_NAME,
          dot: { listen: listen(853) },
          doh: { listen: listen(443) },
        },
      },
      answer: { operator: OPERATOR, structuredErrorOption: STRUCTURED_OPTION },
    });
    this.resolver = this.#launch('resolver', process.execPath, [WARTA, 'resolver', '--config', config]);
    await this.resolver.waitFor(/"msg":"serving /);
  }

  #writeConfig(name: string, more: object): string {
    const config = {
      state: join(this.folder, `${name}-state`),
      register: {
        licensee: LICENSEE,
        node: name,
        directory: this.register.directory,
        authorities: this.register.authoritiesFile,
        policyPack: PACK_FILE,
        rescanSeconds: 1,
      },
      ...more,
    } satisfies ConfigSource;
    const file = join(this.folder, `${name}.yaml`);
    writeFileSync(file, stringify(config));
    return file;
  }

  /** Starts Unbound as the resolver without rules that everyone's names come from. */
  async #startUpstream(): Promise<void> {
    const file = join(this.folder, 'unbound.conf');
    writeFileSync(file, composeUnboundConfig(this.folder));
    const program = this.#launch('origin', 'unbound', ['-d', '-c', file]);
    await program.waitFor(/start of service/);
  }

  /** Starts nginx on 80 and 443, and what is behind it. */
  async #startOrigin(): Promise<void> {
    const root = this.rootFolder;
    mkdirSync(root);
    writeFileSync(join(root, 'text.txt'), TEXT);
    writeFileSync(join(root, 'listed'), 'the listed page\n');
    const file = join(this.folder, 'nginx.conf');
    writeFileSync(file, composeNginxConfig(this.folder));
    const server = join(import.meta.dirname, 'origin-server.ts');
    const backend = this.#launch('origin', process.execPath, [server, String(BACKEND_PORT)]);
    const nginx = this.#launch('origin', 'nginx', ['-c', file, '-p', this.folder, '-e', 'stderr']);
    await backend.waitFor(/listens/);
    await waitUntil('nginx answers', async () => {
      const { code, stderr } = await this.run('origin', 'curl', ['-sS', '--noproxy', '*', 'http://127.0.0.1/where']);
      if (nginx.output() !== '') throw new Error(`nginx: ${nginx.output()}${stderr}`);
      return code === 0;
    });
  }

  /** What nginx serves. */
  get rootFolder(): string {
    return join(this.folder, 'root');
  }
}

/** Fields of a notice that began a minute ago: long enough for hosts to be steered. */
export function begunEarlier(): object {
  const at = formatInstant(Math.floor(Date.now() / 1000) - 60);
  return {
    signedAt: at,
    dates: { made: at, approved: at, effectiveFrom: at },
    approvals: [{ officer: 'one', role: 'approving-officer', at }],
  };
}

const WARTA = join(PACKAGE_ROOT, 'src/cli/warta.ts');

/** A text that compresses well. */
export const TEXT = 'warta '.repeat(5_000);

/** Makes one certificate for the origin's hosts and the resolver. */
function makeCertificate(folder: string): void {
  const names = [...ORIGIN_HOSTS, HIDDEN_HOST, RESOLVER_NAME].map((name) => `DNS:${name}`);
  const addresses = ADDRESS.resolver.map((address) => `IP:${address}`);
  execFileSync(
    findProgram('openssl')!,
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'certificate.pem')],
      ...['-subj', '/CN=origin', '-addext', `subjectAltName=${[...names, ...addresses].join()}`],
    ],
    { stdio: 'ignore' },
  );
}

/** The digest of the origin's certificate, as openssl prints it. */
export function readFingerprint(certificate: string): string {
  const args = ['x509', '-in', certificate, '-noout', '-fingerprint', '-sha256'];
  return execFileSync(findProgram('openssl')!, args, { encoding: 'utf8' }).trim();
}

/** Each host has addresses, mail, text and an HTTPS record. */
function composeUnboundConfig(folder: string): string {
  const [four, six] = ADDRESS.origin;
  const records = ORIGIN_HOSTS.flatMap((host) => [
    `${host}. 60 IN A ${four}`,
    `${host}. 60 IN AAAA ${six}`,
    `${host}. 60 IN MX 10 mail.${host}.`,
    `${host}. 60 IN TXT "text of ${host}"`,
    `${host}. 60 IN HTTPS 1 . alpn="h2"`,
  ]);
  const all = [...records, `${HIDDEN_HOST}. 60 IN A ${ADDRESS.hidden[0]}`];
  return `server:
  interface: ${ADDRESS.upstream[0]}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  directory: "${folder}"
  pidfile: ""
  module-config: "iterator"
  num-threads: 1
  verbosity: 1
  local-zone: "." static
  local-data: '. 60 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60'
${all.map((record) => `  local-data: '${record}'\n`).join('')}remote-control:
  control-enable: no
`;
}

/** `/where` tells which host was asked, by which scheme, from which address. */
function composeNginxConfig(folder: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${folder}/nginx-${one};`,
  );
  return `daemon off; master_process off; user root; pid ${folder}/nginx.pid; error_log stderr crit;
events { }
http {
  access_log off; types { text/plain txt; } default_type application/octet-stream;
  gzip on; gzip_types text/plain; gzip_min_length 1;
  ${temporary.join(' ')}
  ssl_certificate ${folder}/certificate.pem; ssl_certificate_key ${folder}/key.pem;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 80; listen [::]:80 ipv6only=on; listen 443 ssl http2; listen [::]:443 ssl http2 ipv6only=on;
    root ${folder}/root; client_max_body_size 0;
    location /where { return 200 "$host $scheme $server_port $remote_addr $request_uri\\n"; }
    location /trailer/ { alias ${folder}/root/; gzip off; add_trailer X-Checksum "of $uri"; }
    location /backend/ {
      proxy_pass http://127.0.0.1:${BACKEND_PORT}; proxy_http_version 1.1; proxy_buffering off;
      proxy_request_buffering off; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}
`;
}

/** The most memory that a process was resident with, in MiB. */
export function readPeakMiB(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}
