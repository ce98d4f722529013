/**
 * Measures the gateway: `npm run bench:gateway [-- --seconds 5 --rounds 3 --connections 20 --idle 10000 --json]`.
 *
 * Gateway and nginx as a reverse proxy pass requests on to the same nginx origin by turns, each on core 0, with connections kept
 * on both sides; origin, autocannon and this process share core 1. Where autocannon is the limit, requests a second say little:
 * CPU time for a request is shown beside them. The gateway is the whole program, which follows a register, started as the unit
 * in `deploy/` starts it. Memory with idle connections is measured first, the latency that each adds to one request last.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import autocannon from 'autocannon';
import type { ConfigSource } from '../src/config/config.ts';
import { TYPE } from '../test/support/dns-message.ts';
import { findFreePort } from '../test/support/ports.ts';
import { RegisterFolder } from '../test/support/register-folder.ts';
import { composeReply, startStubUpstream } from '../test/support/stub-upstream.ts';
import { LICENSEE, PACK_FILE } from '../test/support/test-authority.ts';
import { killOnExit } from './child-processes.ts';
import type { GatewayStart } from './gateway-child.ts';
import { readCpuMicros, readResidentMiB } from './process-cpu.ts';
import { medianOf } from './statistics.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '20' },
    bytes: { type: 'string', default: '1024' },
    requests: { type: 'string', default: '3000' },
    idle: { type: 'string', default: '10000' },
    json: { type: 'boolean', default: false },
  },
});
const HOST = 'site.example';
/** What `deploy/warta-gateway.service` starts Node with. */
const NODE_FLAGS = ['--max-semi-space-size=2', '--optimize-for-size'];
const NODE_ENVIRONMENT = { MALLOC_ARENA_MAX: '1' };
const MEASURED_CORE = '0';
const OTHER_CORE = '1';

const folder = mkdtempSync(join(tmpdir(), 'warta-gateway-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
execFileSync('taskset', ['-acp', OTHER_CORE, String(process.pid)], { stdio: 'ignore' });

/** A server under measurement: its port, and the process whose CPU time counts. */
interface Measured {
  readonly port: number;
  readonly pid: number;
}

interface Rate {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly failed: number;
}

mkdirSync(join(folder, 'root'));
writeFileSync(join(folder, 'root/page'), 'x'.repeat(Number(values.bytes)));
const origin = await startNginx(
  'origin',
  OTHER_CORE,
  (port) => `server { listen 127.0.0.1:${port}; root ${folder}/root; }`,
);
const nginx = await startNginx(
  'proxy',
  MEASURED_CORE,
  (port) => `upstream origin { server 127.0.0.1:${origin.port}; keepalive 128; keepalive_requests 1000000; }
  server { listen 127.0.0.1:${port}; location / {
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }`,
);
const loopback = { type: TYPE.A, data: Buffer.of(127, 0, 0, 1) };
const resolver = await startStubUpstream((query) => composeReply(query, loopback));
const gateway = await startGateway();
const emptyMiB = readResidentMiB(gateway.pid);
const idleMiB = await measureIdle(Number(values.idle));

const rates: Record<'nginx' | 'gateway' | 'blocked', Rate[]> = { nginx: [], gateway: [], blocked: [] };
for (let round = 0; round < Number(values.rounds); round++) {
  rates.nginx.push(await measureRate(nginx, '/page', 200));
  rates.gateway.push(await measureRate(gateway, '/page', 200));
  rates.blocked.push(await measureRate(gateway, '/listed', 451));
}
const latency = {
  direct: await measureLatency(origin.port),
  nginx: await measureLatency(nginx.port),
  gateway: await measureLatency(gateway.port),
};
const loadedMiB = readResidentMiB(gateway.pid);
report();
process.exit();

function report(): void {
  const median = (of: Rate[], pick: (one: Rate) => number) => medianOf(of.map(pick));
  const figures = {
    nginxPerSecond: Math.round(median(rates.nginx, (one) => one.perSecond)),
    nginxCpuMicros: median(rates.nginx, (one) => one.cpuMicros),
    gatewayPerSecond: Math.round(median(rates.gateway, (one) => one.perSecond)),
    gatewayCpuMicros: median(rates.gateway, (one) => one.cpuMicros),
    blockedPerSecond: Math.round(median(rates.blocked, (one) => one.perSecond)),
    blockedCpuMicros: median(rates.blocked, (one) => one.cpuMicros),
    addedMillis: latency.gateway - latency.direct,
    nginxAddedMillis: latency.nginx - latency.direct,
    emptyMiB,
    idleMiB,
    loadedMiB,
    failed: Object.values(rates)
      .flat()
      .reduce((sum, one) => sum + one.failed, 0),
  };
  const ratio = figures.gatewayPerSecond / figures.nginxPerSecond;
  const cpuRatio = figures.nginxCpuMicros / figures.gatewayCpuMicros;
  const fixed = (value: number) => value.toFixed(2);
  console.log(
    `passed on      nginx ${figures.nginxPerSecond} a second (${fixed(figures.nginxCpuMicros)} µs CPU), gateway ${figures.gatewayPerSecond} (${fixed(figures.gatewayCpuMicros)} µs): ${fixed(ratio)} × by rate, ${fixed(cpuRatio)} × by CPU (bar 0.35)
added latency  gateway ${fixed(figures.addedMillis)} ms, nginx ${fixed(figures.nginxAddedMillis)} ms (bar 1)
451            ${figures.blockedPerSecond} a second (${fixed(figures.blockedCpuMicros)} µs CPU) (bar 15000)
idle           ${values.idle} connections: ${fixed(idleMiB)} MiB, ${fixed(emptyMiB)} before, ${fixed(loadedMiB)} after all the load (bar 300 MB = 286 MiB)
failed         ${figures.failed}`,
  );
  if (values.json) console.log(JSON.stringify({ ...figures, ratio, cpuRatio }));
}

/** Starts nginx with one worker on a core; the process that counts is the worker. */
async function startNginx(name: string, core: string, servers: (port: number) => string): Promise<Measured> {
  const port = await findFreePort();
  const own = join(folder, name);
  mkdirSync(own);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${own}/${one};`,
  );
  writeFileSync(
    join(own, 'nginx.conf'),
    `daemon off; master_process off; pid ${own}/pid; error_log ${own}/error.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000; ${temporary.join(' ')} ${servers(port)} }
`,
  );
  const args = ['-c', core, 'nginx', '-c', join(own, 'nginx.conf'), '-p', own, '-e', join(own, 'error.log')];
  const child = spawn('taskset', args, { stdio: 'inherit' }); // taskset becomes nginx
  killOnExit(child);
  for (let tried = 0; !(await canConnect(port)); tried++) {
    if (tried === 200) throw new Error(`nginx does not listen: see ${own}/error.log`);
    await sleep(20);
  }
  return { port, pid: child.pid! };
}

async function startGateway(): Promise<Measured> {
  const program = fileURLToPath(new URL('./gateway-child.ts', import.meta.url));
  const start: GatewayStart = { config: composeConfig(await findFreePort()), originPort: origin.port };
  const args = ['-c', MEASURED_CORE, process.execPath, ...NODE_FLAGS, program, JSON.stringify(start)];
  const env = { ...process.env, ...NODE_ENVIRONMENT };
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'], env });
  killOnExit(child);
  for await (const line of createInterface(child.stdout!)) return { port: JSON.parse(line).http, pid: child.pid! };
  throw new Error('the gateway did not start');
}

/** A gateway that follows a register of one notice: a thousand names, and one page of the host that is asked for. */
function composeConfig(metricsPort: number): ConfigSource {
  const register = new RegisterFolder(folder);
  const names = Array.from({ length: 1_000 }, (_, i) => `listed-${i}.example`);
  register.notice('notice', [...names, { url: `http://${HOST}/listed` }]);
  return {
    state: join(folder, 'state'),
    register: {
      licensee: LICENSEE,
      directory: register.directory,
      authorities: register.authoritiesFile,
      policyPack: PACK_FILE,
    },
    gateway: {
      ...{ http: '127.0.0.1:0', https: '127.0.0.1:0', blockedBy: 'https://operator.example/' },
      resolvers: [`127.0.0.1:${resolver.port}`],
      allowedOrigins: ['127.0.0.0/8'],
      maxConnectionsPerClient: 20_000,
    },
    metrics: { listen: `127.0.0.1:${metricsPort}` },
  };
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy() !== undefined));
    socket.on('error', () => resolve(false));
  });
}

async function measureRate({ port, pid }: Measured, path: string, status: number): Promise<Rate> {
  const before = readCpuMicros(pid);
  const result = await autocannon({
    url: `http://127.0.0.1:${port}${path}`,
    headers: { host: HOST },
    connections: Number(values.connections),
    duration: Number(values.seconds),
  });
  const right = result.statusCodeStats?.[`${status}`]?.count ?? 0;
  const answered = result.requests.total;
  return {
    perSecond: answered / result.duration,
    cpuMicros: (readCpuMicros(pid) - before) / answered,
    failed: result.errors + answered - right,
  };
}

/** Median milliseconds of one request at a time on one connection. */
async function measureLatency(port: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const taken: number[] = [];
  for (let i = 0; i < Number(values.requests); i++) {
    const began = performance.now();
    await ask(port, agent);
    taken.push(performance.now() - began);
  }
  agent.destroy();
  return medianOf(taken.slice(taken.length >> 1)); // the first half warms up
}

function ask(port: number, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { port, host: '127.0.0.1', path: '/page', agent, headers: { host: HOST } },
      (response) => {
        response.resume().on('end', () => resolve());
      },
    );
    asked.on('error', reject).end();
  });
}

/** Opens connections that each ask once and then wait; returns the gateway's memory. */
async function measureIdle(count: number): Promise<number> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(200, count - sockets.length) }, openIdle);
    sockets.push(...(await Promise.all(batch)));
  }
  await sleep(2_000);
  const measured = readResidentMiB(gateway.pid);
  const open = sockets.filter((socket) => !socket.destroyed && socket.readable).length;
  if (open !== count) throw new Error(`only ${open} of ${count} connections are open`);
  for (const socket of sockets) socket.destroy();
  return measured;
}

function openIdle(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(gateway.port, '127.0.0.1');
    socket.on('error', reject).once('data', () => resolve(socket));
    socket.write(`HEAD /page HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  });
}
