/**
 * Swaps a big table under load: `npm run bench:swap [-- --rules N --rate N --seconds N --rounds N --json]`.
 *
 * Rounds without and with a swap alternate; a swap is one more signed notice put into the register while queries flow, so
 * that it takes in everything: noticing, verifying and compiling the whole register, handing over, saving.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DemoRegister } from '../src/cli/demo-register.ts';
import { findFreePort } from '../test/support/ports.ts';
import { NXDOMAIN } from './dns-probe.ts';
import { type LatencyResult, measureLatencies } from './dnsperf.ts';
import { listedQueryAt, nameAt, writeLines } from './names.ts';
import { draftNotice } from './notice-draft.ts';
import { warta } from './peers/warta.ts';
import { startServer } from './server.ts';
import { medianOf } from './statistics.ts';

const { values } = parseArgs({
  options: {
    rules: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '50000' },
    seconds: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const rules = Number(values.rules);
const rate = Number(values.rate);
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
const QUERIES = 100_000;
/** The new notice comes when the load has settled. */
const SWAP_AFTER_MILLIS = 2_000;
const LOAD_TIMEOUT_SECONDS = 180;

const folder = mkdtempSync(join(tmpdir(), 'warta-swap-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const port = await findFreePort();
const metricsPort = port + 1000;
const own = join(folder, 'warta');
mkdirSync(own);
const queryFile = join(folder, 'queries.txt');
writeLines(queryFile, QUERIES, (i) => `${listedQueryAt(i, rules)} A`);
console.log(`signing ${rules} names`);
const command = await warta.prepare({
  folder: own,
  port,
  upstreamPort: await findFreePort(),
  ruleCount: rules,
  policyZone: () => '',
  rescanSeconds: 1,
});
const server = startServer({ ...command, port, outputPath: join(folder, 'server.out') });
await server.waitUntilAnswered({ [nameAt(0)]: NXDOMAIN }, LOAD_TIMEOUT_SECONDS);
await waitForRules(rules);

const quiet: LatencyResult[] = [];
const swapped: LatencyResult[] = [];
const load = { port, queryFile, seconds, rcode: 'NXDOMAIN' } as const;
for (let round = 0; round < rounds; round++) {
  quiet.push(await measureLatencies(load, rate, join(folder, 'quiet.out')));
  const register = new DemoRegister(own);
  const next = rules + round * 10;
  const publishing = sleep(SWAP_AFTER_MILLIS).then(() =>
    register.publish(`swap-${round}`, draftNotice(1_000_000 + round, next, 10), Math.floor(Date.now() / 1000)),
  );
  swapped.push(await measureLatencies(load, rate, join(folder, 'swapped.out')));
  await publishing;
  const inUse = await readRules();
  if (inUse !== next + 10)
    throw new Error(`the swap did not happen within the run: ${inUse} rules; use more --seconds`);
}
await server.stop();

const p99 = { quiet: medianOf(quiet.map((one) => one.p99Micros)), swap: medianOf(swapped.map((one) => one.p99Micros)) };
const sum = (results: LatencyResult[]) => results.reduce((all, one) => all + one.lost, 0);
console.log(`${rules} rules, ${rate} q/s, ${rounds} x ${seconds} s each, medians over rounds`);
for (const [name, results] of [['without a swap', quiet] as const, ['with a swap', swapped] as const]) {
  const median = medianOf(results.map((one) => one.medianMicros));
  const tail = results.map((one) => one.p99Micros.toFixed(0)).join(', ');
  console.log(`${name.padEnd(15)} median ${median.toFixed(0)} µs, p99 by round ${tail} µs, lost ${sum(results)}`);
}
console.log(
  `p99 ratio ${(p99.swap / p99.quiet).toFixed(2)} (bar: at most 2), lost with a swap ${sum(swapped)} (bar: none)`,
);
if (values.json)
  console.log(JSON.stringify({ p99QuietMicros: p99.quiet, p99SwapMicros: p99.swap, lost: sum(swapped) }));

async function readRules(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  return Number(/^warta_rules (\d+)$/m.exec(text)?.[1] ?? 0);
}

async function waitForRules(count: number): Promise<void> {
  // The metrics come up a moment after the first answers.
  while ((await readRules().catch(() => 0)) !== count) await sleep(100);
}
