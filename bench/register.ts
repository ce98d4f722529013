/**
 * Measures following the register: `npm run bench:register [-- --statements N --entries N --rounds N --seconds N --skip load,audit
 * --json]`; `--heartbeats N` adds so many to the log.
 *
 * One nginx serves the register; one `warta resolver` follows it. First replay: from an empty state to enforced. Update: from
 * the moment nginx has sent the new checkpoint to the first blocked answer. Audit: `warta audit verify` from nothing, then
 * `replay --at` of what it kept. Load: queries a second while the whole register is replayed, beside the same without, in turns.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { composeHeartbeat } from '../src/control/publishing/heartbeat.ts';
import { composeLeaf } from '../src/register/leaf.ts';
import { LogRegister, signerOf } from '../test/support/log-register.ts';
import { findFreePort } from '../test/support/ports.ts';
import { startStubUpstream } from '../test/support/stub-upstream.ts';
import { LICENSEE } from '../test/support/test-authority.ts';
import { NXDOMAIN, startProbe } from './dns-probe.ts';
import { measureThroughput } from './dnsperf.ts';
import { type Server, startServer } from './server.ts';
import { startStaticServer } from './static-server.ts';
import { medianOf } from './statistics.ts';

const { values } = parseArgs({
  options: {
    statements: { type: 'string', default: '10000' },
    entries: { type: 'string', default: '100' },
    heartbeats: { type: 'string', default: '0' },
    rounds: { type: 'string', default: '11' },
    seconds: { type: 'string', default: '10' },
    skip: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
  },
});
const statements = Number(values.statements);
const entries = Number(values.entries);
const heartbeats = Number(values.heartbeats);
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const skipped = values.skip.split(',');
const LOAD_TIMEOUT_SECONDS = 300;
/** Replays whose throughput is compared with idle, and measurements in each but the last. */
const LOAD_ROUNDS = 3;
const BUSY_WINDOWS = 2;
const CLOCK_TICKS_PER_SECOND = 100;
const BATCH = 4_096;
const WARTA = fileURLToPath(new URL('../src/cli/warta.ts', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'warta-register-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

console.log(`signing ${statements} statements of ${entries} entries`);
const register = await LogRegister.create(join(folder, 'register'));
await register.bulk({ statements, entries });
await appendHeartbeats(heartbeats);
const mirror = await startStaticServer(register.publicFolder, join(folder, 'nginx'));
const upstream = await startStubUpstream();
const port = await findFreePort();
const metricsPort = await findFreePort();
const configFile = join(folder, 'warta.yaml');
const state = join(folder, 'state');
writeFileSync(
  configFile,
  stringify({
    state,
    register: register.nodeConfig([mirror.url]),
    resolver: {
      listen: [`127.0.0.1:${port}`],
      upstreams: [`${upstream.host}:${upstream.port}`],
      workers: 1,
      responsesPerSecond: 0,
    },
    metrics: { listen: `127.0.0.1:${metricsPort}` },
    log: { level: 'warn' },
  }),
);

const figures: Record<string, number> = {};
const lastName = `b${statements - 1}-${entries - 1}.example`;

const first = await startNode();
figures.firstReplaySeconds = (performance.now() - first.startedAt) / 1000;
figures.peakResidentMB = readPeakMB(first.pid);
mirror.readAccesses();

const latencies: number[] = [];
const received: number[] = [];
for (let round = 0; round < rounds; round++) {
  const { latencyMillis, share } = await measureUpdate(round);
  latencies.push(latencyMillis);
  received.push(share);
}
figures.updateMedianMillis = medianOf(latencies);
figures.updateWorstMillis = Math.max(...latencies);
figures.updateBytesOverBar = Math.max(...received);

if (!skipped.includes('load')) Object.assign(figures, await measureLoad(first));
else await first.stop();
if (!skipped.includes('audit')) Object.assign(figures, measureAudit());
await Promise.all([mirror.stop(), register.close()]);
await upstream.close();

const rows: [what: string, figure: string, unit: string, digits: number, bar: string][] = [
  [`first replay, ${statements} statements of ${entries}`, 'firstReplaySeconds', 's', 1, '15 s'],
  ['peak resident memory of the node', 'peakResidentMB', 'MB', 0, '600 MB'],
  ['update, checkpoint seen to enforced, median', 'updateMedianMillis', 'ms', 0, '1000 ms'],
  ['the same, worst', 'updateWorstMillis', 'ms', 0, ''],
  ['octets of an update beside 2 x (statement + annex) + 20 kB', 'updateBytesOverBar', '', 2, '1'],
  ['q/s while a replay runs beside idle, median of rounds', 'loadRatio', '', 2, '0.9'],
  ['the same, worst round', 'worstRatio', '', 2, ''],
  ['that replay, under full load', 'loadedReplaySeconds', 's', 0, ''],
  ['audit verify from nothing', 'auditVerifySeconds', 's', 1, '30 s'],
  ['audit replay --at', 'auditReplaySeconds', 's', 1, '10 s'],
];
for (const [what, figure, unit, digits, bar] of rows) {
  const value = figures[figure]?.toFixed(digits) ?? 'not measured';
  console.log(`${what.padEnd(60)} ${value.padStart(8)} ${unit.padEnd(4)} ${bar && `bar ${bar}`}`);
}
if (values.json) console.log(JSON.stringify(figures));

/** Appends heartbeats one second apart, the last one now: a log that is years old has mostly these. */
async function appendHeartbeats(count: number): Promise<void> {
  const terms = { authority: 'mcmc', signer: signerOf('heartbeat'), intervalSeconds: 3_600 };
  const firstSeconds = register.nowSeconds - count;
  for (let done = 0; done < count; done += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - done) }, (_, i) =>
      composeHeartbeat(terms, firstSeconds + done + i),
    );
    await Promise.all(batch.map((one) => register.site.sequencer.append((atSeconds) => composeLeaf(one, atSeconds))));
  }
  await register.site.sequencer.flush();
}

/** Starts the node and waits until the last name is blocked. */
async function startNode(): Promise<Server> {
  const args = [WARTA, 'resolver', '--config', configFile];
  const server = startServer({ command: process.execPath, args, port, outputPath: join(folder, 'node.out') });
  await server.waitUntilAnswered({ [lastName]: NXDOMAIN }, LOAD_TIMEOUT_SECONDS);
  return server;
}

/** Publishes one notice of ten names; the clock runs from when nginx sent the checkpoint that has it. */
async function measureUpdate(round: number): Promise<{ latencyMillis: number; share: number }> {
  const names = Array.from({ length: 10 }, (_, i) => ({ subtree: `u${round}-${i}.example` }));
  const probe = startProbe(port, { [`www.u${round}-9.example`]: NXDOMAIN });
  const { envelope, annex } = await register.notice(names);
  await probe.answered;
  const enforcedMillis = Date.now();
  await sleep(200);
  const accesses = mirror.readAccesses();
  const annexAt = accesses.findIndex(({ path, status }) => path.includes(annex!.digest) && status === 200);
  const fetched = accesses.slice(0, annexAt + 1);
  const checkpoint = fetched.findLastIndex(({ path, status }) => path === 'checkpoint' && status === 200);
  const sentBytes = fetched.slice(checkpoint).reduce((sum, access) => sum + access.sentBytes, 0);
  const allowed = 2 * (envelope.length + annex!.bytes.length) + 20_000;
  return { latencyMillis: enforcedMillis - fetched[checkpoint]!.atMillis, share: sentBytes / allowed };
}

/**
 * Measures throughput in turns: idle, then while the node, which was restarted with its table but without its copy of the
 * register, replays all of it. The last replay is under load until its end. Whatever the machine does meanwhile does it to
 * both, so that the ratio of each round is taken with the idle windows on either side of it.
 */
async function measureLoad(first: Server): Promise<Record<string, number>> {
  const load = { port, queryFile: writeQueries(), seconds, rcode: 'NXDOMAIN' } as const;
  const ask = async () => (await measureThroughput(load)).queriesPerSecond;
  let node = first;
  let idle = await ask();
  const ratios: number[] = [];
  let worst = Number.POSITIVE_INFINITY;
  let loadedReplaySeconds = 0;
  for (let round = 1; round <= LOAD_ROUNDS; round++) {
    node = await restartWithoutCopy(node);
    const began = performance.now();
    const cpuBefore = readSyncCpuSeconds(node.pid);
    const busy: number[] = [];
    const isLast = round === LOAD_ROUNDS;
    while ((isLast || busy.length < BUSY_WINDOWS) && !(await isCompiled())) busy.push(await ask());
    const elapsedSeconds = (performance.now() - began) / 1000;
    const coreShare = (readSyncCpuSeconds(node.pid) - cpuBefore) / elapsedSeconds;
    if (isLast) loadedReplaySeconds = elapsedSeconds;
    while (!(await isCompiled())) await sleep(200);
    const after = await ask();
    const ratio = medianOf(busy) / ((idle + after) / 2);
    console.log(
      `round ${round}: idle ${[idle, after].map(Math.round)} q/s, replaying ${busy.map(Math.round)}, ratio ${ratio.toFixed(3)}, the replay on ${coreShare.toFixed(3)} of a core`,
    );
    ratios.push(ratio);
    worst = Math.min(worst, ...busy);
    idle = after;
  }
  await node.stop();
  return {
    loadRatio: medianOf(ratios),
    worstRatio: Math.min(...ratios),
    idleQps: idle,
    worstBusyQps: worst,
    loadedReplaySeconds,
  };
}

function writeQueries(): string {
  const queryFile = join(folder, 'queries.txt');
  const lines = Array.from({ length: 100_000 }, (_, i) => {
    return `b${(i * 7919) % statements}-${(i * 31) % entries}.example A`;
  });
  writeFileSync(queryFile, `${lines.join('\n')}\n`);
  return queryFile;
}

/** Restarts the node with its table, which it serves at once, and without what it knows of the register. */
async function restartWithoutCopy(node: Server): Promise<Server> {
  await node.stop();
  for (const part of ['', '-wal', '-shm']) rmSync(join(state, `register.db${part}`), { force: true });
  return startNode();
}

/** Returns the processor time of the thread that follows the register, which is started after those that answer queries. */
function readSyncCpuSeconds(pid: number): number {
  const folder = `/proc/${pid}/task`;
  const workers = readdirSync(folder).filter(
    (thread) => readFileSync(`${folder}/${thread}/comm`, 'latin1').trim() === 'WorkerThread',
  );
  const youngest = Math.max(...workers.map(Number));
  // proc(5): user and system time are fields 14 and 15, after a name in parentheses.
  const fields = readFileSync(`${folder}/${youngest}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

async function isCompiled(): Promise<boolean> {
  return (await readMetric('warta_compile_seconds')) > 0;
}

function measureAudit(): Record<string, number> {
  const common = ['--mirror', mirror.url, '--root', register.rootFile, '--cache', join(folder, 'audit')];
  const auditVerifySeconds = run(['audit', 'verify', ...common, '--json']);
  const at = `${new Date().toISOString().slice(0, 19)}Z`;
  const out = ['--out', join(folder, 'rules.jsonl')];
  const auditReplaySeconds = run(['audit', 'replay', ...common, '--at', at, '--isp', LICENSEE, ...out]);
  return { auditVerifySeconds, auditReplaySeconds };
}

function run(args: string[]): number {
  const began = performance.now();
  const { status, stderr } = spawnSync(process.execPath, [WARTA, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (status !== 0) throw new Error(`warta ${args.slice(0, 2).join(' ')} ended with ${status}: ${stderr.slice(-500)}`);
  return (performance.now() - began) / 1000;
}

async function readMetric(name: string): Promise<number> {
  // The metrics come up a moment after the first answers.
  const answer = await fetch(`http://127.0.0.1:${metricsPort}/metrics`).catch(() => undefined);
  const text = (await answer?.text()) ?? '';
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
}

/** Returns the most memory the process ever had resident, in MB of a million octets (proc(5), VmHWM, in KiB). */
function readPeakMB(pid: number): number {
  return (Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024) / 1e6;
}
