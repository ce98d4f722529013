/**
 * Measures the control API on SQLite: `npm run bench:control [-- --statements 1000 --entries 100 --seconds 5 --rounds 3 --json]`.
 *
 * The API runs as a process of its own, autocannon in this one, so the two share this machine's cores. First the requests a
 * second of what nodes and the public ask for most, then how long a notice with 40,000 entries takes from its last
 * signature to the published checkpoint.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { sign } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import autocannon from 'autocannon';
import { callApi } from '../src/cli/api-client.ts';
import { composeControlConfig } from '../src/control/control-config.ts';
import { composePreAuthentication, PAYLOAD_TYPE } from '../src/register/envelope.ts';
import { openStore } from '../src/store/open-store.ts';
import { addAccounts, COMPLETE_NOTICE, writeLogConfig } from '../test/support/control-files.ts';
import { addOfficers, LogRegister, officerKey } from '../test/support/log-register.ts';
import { killOnExit } from './child-processes.ts';

const { values } = parseArgs({
  options: {
    statements: { type: 'string', default: '1000' },
    entries: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '50' },
    large: { type: 'string', default: '40000' },
    json: { type: 'boolean', default: false },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'warta-control-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const control = join(folder, 'control.yaml');

await prepareRegister();
const tokens = await openAccounts();
const { child, url } = await startControl();
const figures: Record<string, unknown> = {};
for (const [what, path, bar] of paths()) {
  const rounds: autocannon.Result[] = [];
  for (let round = 0; round < Number(values.rounds); round++) rounds.push(await load(`${url}${path}`));
  const [median] = rounds.toSorted((a, b) => a.requests.average - b.requests.average).slice(rounds.length >> 1);
  const { requests, latency, throughput, non2xx } = median!;
  const worst = Math.max(...rounds.map((one) => one.latency.p99));
  figures[what] = { perSecond: Math.round(requests.average), p99Millis: latency.p99, worstP99Millis: worst, non2xx };
  console.log(
    `${what.padEnd(14)} ${Math.round(requests.average).toString().padStart(6)} a second${bar > 0 ? ` (bar ${bar})` : ''}, p99 ${latency.p99} ms, worst round ${worst} ms (bar 50), ${Math.round(throughput.average / 1e6)} MB/s, ${non2xx} not 2xx`,
  );
}
figures.publishSeconds = await publishLarge(Number(values.large));
console.log(
  `a notice with ${values.large} entries: ${(figures.publishSeconds as number).toFixed(2)} s from its last signature to the checkpoint (bar 3)`,
);
child.kill();
if (values.json) console.log(JSON.stringify(figures));

/** Makes a register with notices in it. */
async function prepareRegister(): Promise<void> {
  const register = await LogRegister.create(folder, { witnesses: 0, quorum: 0 });
  addOfficers(register);
  await register.bulk({ statements: Number(values.statements), entries: Number(values.entries) });
  await register.close();
  writeLogConfig(register, folder);
  writeFileSync(control, composeControlConfig({ log: 'log.yaml' }));
}

/** Adds a case officer and the two officers whose keys sign; returns their tokens. */
async function openAccounts(): Promise<Record<string, string>> {
  const authority = 'mcmc';
  const approver = { roles: ['approving-officer'], authority } as const;
  const accounts = { drafter: { roles: ['case-officer'], authority }, one: approver, two: approver } as const;
  const store = await openStore(`sqlite:${join(folder, 'control.db')}`);
  const made = await addAccounts(store, accounts, Date.now());
  await store.close();
  return made;
}

/** Starts the API and waits until it serves. */
async function startControl(): Promise<{ child: ChildProcess; url: string }> {
  const program = fileURLToPath(new URL('../test/control/site/control-child.ts', import.meta.url));
  const started = spawn(process.execPath, [program, control], { stdio: ['ignore', 'pipe', 'inherit'] });
  killOnExit(started);
  for await (const line of createInterface(started.stdout!)) {
    const address = /on (http:\/\/\S+)/.exec(line)?.[1];
    if (address !== undefined) return { child: started, url: address };
    console.log(line);
  }
  throw new Error('the control API did not start');
}

/** What is asked for, and the bar in requests a second. */
function paths(): [string, string, number][] {
  const shard = readdirSync(join(folder, 'public/annex'))[0]!;
  const annex = readdirSync(join(folder, 'public/annex', shard))[0]!;
  return [
    ['checkpoint', '/checkpoint', 8000],
    ['tile', '/tile/0/000', 8000],
    ['annex', `/annex/${shard}/${annex}`, 8000],
    ['trust', '/trust/1.root.json', 8000],
    ['statistics', '/v1/statistics', 500],
    // A bundle of 256 notices has a megabyte: its bar is the machine's memory.
    ['entry bundle', '/tile/entries/000', 0],
    ['public notices', '/v1/register/notices', 0],
  ];
}

function load(target: string): Promise<autocannon.Result> {
  return autocannon({ url: target, connections: Number(values.connections), duration: Number(values.seconds) });
}

/** Takes a large notice from its draft to the register; returns the seconds from its last signature to the checkpoint. */
async function publishLarge(entries: number): Promise<number> {
  const ask = (who: string, method: 'GET' | 'POST' | 'PUT', path: string, body?: unknown, etag?: string) =>
    callApi(url, {
      method,
      path,
      token: tokens[who]!,
      body,
      type: typeof body === 'string' ? 'text/plain' : undefined,
      headers: etag === undefined ? {} : { 'if-match': etag },
    });
  const { body: draft, etag } = await ask('drafter', 'POST', '/v1/notices', {
    reference: 'BENCH/LARGE',
    ...COMPLETE_NOTICE,
  });
  const path = `/v1/notices/${draft.id}`;
  const names = Array.from({ length: entries }, (_, i) => `large${i}.example`);
  await ask('drafter', 'PUT', `${path}/entries`, names.join('\n'), etag);
  await ask('drafter', 'POST', `${path}/preflight`);
  // So large a notice trips the breaker: it needs a reason, or a third person, or both.
  const { body: checked } = await ask('drafter', 'GET', path);
  const stops = checked.preflight.findings.filter((one: { level: string }) => one.level === 'refuse');
  for (const { check } of stops)
    await ask('one', 'POST', `${path}/overrides`, { check, reason: 'measured on purpose' });
  await ask('drafter', 'POST', `${path}/propose`);
  for (const officer of ['one', 'two']) {
    const { body, etag: version } = await ask('one', 'GET', path);
    if (body.state === 'proposed') await ask(officer, 'POST', `${path}/approve`, undefined, version);
  }
  const { body: payload } = await ask('one', 'GET', `${path}/payload`);
  const signed = composePreAuthentication(
    PAYLOAD_TYPE,
    Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  );
  let began = 0;
  for (const keyid of ['one', 'two']) {
    began = performance.now();
    await ask(keyid, 'POST', `${path}/signatures`, {
      keyid,
      sig: sign(null, signed, officerKey(keyid)).toString('base64'),
    });
  }
  await ask('one', 'POST', `${path}/publish`);
  const before = Number(values.statements);
  for (;;) {
    const { body: note } = await ask('one', 'GET', '/checkpoint');
    const size = Number(String(note).split('\n')[1]);
    const { body } = await ask('one', 'GET', path);
    if (body.state === 'refused') throw new Error(JSON.stringify(body.refusal));
    if (size > before && body.leafIndex !== null && size > body.leafIndex) return (performance.now() - began) / 1000;
    await sleep(10);
  }
}
