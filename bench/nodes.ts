/**
 * Measures a whole country of nodes: `npm run bench:nodes [-- --nodes 1000 --statements 100 --entries 100 --poll 10 --json]`.
 *
 * Every node is the code that a resolver's sync thread runs (store on disk, trust, log, verification, compilation), several
 * hundred in each of a few processes; one nginx serves them all. A notice is handed to the log, then its revocation: the
 * clock runs from handing in to the moment a node's table blocks the name, or no longer does.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LogRegister } from '../test/support/log-register.ts';
import { killOnExit } from './child-processes.ts';
import type { FleetMessage, FleetStart } from './nodes-fleet.ts';
import { startStaticServer } from './static-server.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    statements: { type: 'string', default: '100' },
    entries: { type: 'string', default: '100' },
    poll: { type: 'string', default: '10' },
    processes: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});
const nodes = Number(values.nodes);
const pollSeconds = Number(values.poll);
const processes = Number(values.processes);
const TIMEOUT_MILLIS = 120_000;

const folder = mkdtempSync(join(tmpdir(), 'warta-nodes-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const register = await LogRegister.create(join(folder, 'register'));
await register.bulk({ statements: Number(values.statements), entries: Number(values.entries) });
const mirror = await startStaticServer(register.publicFolder, join(folder, 'nginx'));

const children = Array.from({ length: processes }, (_, i) => startFleet(i));
console.log(`${nodes} nodes replay ${register.size} statements`);
const began = performance.now();
await Promise.all(children.map((child) => waitFor(child, 'ready')));
const readySeconds = (performance.now() - began) / 1000;
await sleep(pollSeconds * 1000);

const blocked = watch('new.example', true);
const noticeAt = Date.now();
const { id } = await register.notice([{ subtree: 'new.example' }]);
const noticeMillis = (await blocked).map((atMillis) => atMillis - noticeAt);
await sleep(pollSeconds * 1000);
const released = watch('new.example', false);
const revokedAt = Date.now();
await register.revoke(id);
const revocationMillis = (await released).map((atMillis) => atMillis - revokedAt);

for (const child of children) child.kill();
await Promise.all([mirror.stop(), register.close()]);

const figures = {
  readySeconds,
  noticeP50Seconds: quantile(noticeMillis, 0.5),
  noticeP99Seconds: quantile(noticeMillis, 0.99),
  noticeMaxSeconds: quantile(noticeMillis, 1),
  revocationP50Seconds: quantile(revocationMillis, 0.5),
  revocationP99Seconds: quantile(revocationMillis, 0.99),
  revocationMaxSeconds: quantile(revocationMillis, 1),
};
console.log(
  `${nodes} nodes that poll every ${pollSeconds} s, ${processes} processes, one nginx; first replay of all ${readySeconds.toFixed(0)} s`,
);
for (const [what, millis] of [['notice', noticeMillis] as const, ['revocation', revocationMillis] as const]) {
  const [p50, p99, max] = [0.5, 0.99, 1].map((share) => quantile(millis, share).toFixed(1));
  console.log(`${what.padEnd(11)} to enforced: median ${p50} s, p99 ${p99} s, last ${max} s (bar: p99 at most 15 s)`);
}
if (values.json) console.log(JSON.stringify(figures));

function startFleet(at: number): ChildProcess {
  const share = Math.floor(nodes / processes) + (at < nodes % processes ? 1 : 0);
  const start: FleetStart = {
    nodes: share,
    folder: join(folder, `fleet-${at}`),
    mirror: mirror.url,
    rootFile: register.rootFile,
    pollSeconds,
  };
  const child = fork(fileURLToPath(new URL('./nodes-fleet.ts', import.meta.url)), [JSON.stringify(start)]);
  killOnExit(child);
  return child;
}

/** Has every node note when it blocks a name, or no longer does; returns those times of all. */
async function watch(name: string, isBlocked: boolean): Promise<number[]> {
  const all = children.map((child) => {
    const times = waitFor(child, 'times');
    child.send({ name, isBlocked });
    return times;
  });
  return (await Promise.all(all)).flatMap((message) => (message.kind === 'times' ? message.atMillis : []));
}

function waitFor(child: ChildProcess, kind: FleetMessage['kind']): Promise<FleetMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no ${kind} in time`)),
      kind === 'ready' ? 10 * TIMEOUT_MILLIS : TIMEOUT_MILLIS,
    );
    const listen = (message: FleetMessage) => {
      if (message.kind !== kind) return;
      clearTimeout(timer);
      child.off('message', listen);
      resolve(message);
    };
    child.on('message', listen);
    child.on('exit', (code) => reject(new Error(`a process of nodes ended with ${code}`)));
  });
}

/** Returns a quantile in seconds. */
function quantile(millis: readonly number[], share: number): number {
  const sorted = [...millis].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]! / 1000;
}
