import { randomUUID, sign } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiAnswer, askApi } from '../../src/cli/api-client.ts';
import { composeControlConfig } from '../../src/control/control-config.ts';
import { readLeaves } from '../../src/control/publishing/register-tree.ts';
import type { DraftRecord, Store } from '../../src/control/store.ts';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { annexPath } from '../../src/register/annex.ts';
import { hashHex } from '../../src/register/canonical.ts';
import { composePreAuthentication, PAYLOAD_TYPE, parseEnvelope } from '../../src/register/envelope.ts';
import { parseLeaf } from '../../src/register/leaf.ts';
import { verifyAuditTrail } from '../../src/store/audit-trail.ts';
import { openStore } from '../../src/store/open-store.ts';
import { addAccounts, COMPLETE_NOTICE, type TestAccount, writeLogConfig } from '../support/control-files.ts';
import { makeFolder } from '../support/folders.ts';
import { addOfficers, LogRegister, officerKey } from '../support/log-register.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';

/** Kills (`WARTA_KILLS=200` for more of them, a second and a half each), and for how long the load runs before each at most. */
const KILLS = Number(process.env.WARTA_KILLS ?? 60);
const LOAD_MILLIS = 250;
/** Clients that send one change after another. */
const CLIENTS = 4;
const CHILD = join(import.meta.dirname, '../control/site/control-child.ts');

const folder = makeFolder();
const database = `sqlite:${join(folder, 'control.db')}`;
let tokens: Record<string, string>;
const ACCOUNTS: Record<string, TestAccount> = {
  drafter: { roles: ['case-officer'], authority: 'mcmc' },
  one: { roles: ['approving-officer'], authority: 'mcmc' },
};

/** What was acknowledged: the last state of each draft that an answer told. */
const acknowledged = new Map<string, { version: number; state: string }>();

beforeAll(async () => {
  const register = await LogRegister.create(folder, { witnesses: 0, quorum: 0 });
  addOfficers(register);
  await register.close();
  writeLogConfig(register, folder);
  writeFileSync(join(folder, 'control.yaml'), composeControlConfig({ log: 'log.yaml' }));
  const store = await openStore(database);
  tokens = await addAccounts(store, ACCOUNTS, Date.now());
  await store.close();
});

let running: RunningProgram | undefined;
let waiting: { program: RunningProgram; gate: string } | undefined;
let started = 0;

afterAll(() => Promise.all([running?.stop(), waiting?.program.stop()]));

/** Starts a process that loads its code while the one before it still works, and then waits for its gate. */
function prepareControl() {
  const gate = join(folder, `gate-${started++}`);
  const environment = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const program = startProgram(process.execPath, [CHILD, join(folder, 'control.yaml'), gate], { environment });
  return { program, gate };
}

/** Starts the API and returns its address. */
async function startControl(): Promise<string> {
  const { program, gate } = waiting ?? prepareControl();
  writeFileSync(gate, '');
  running = program;
  waiting = prepareControl();
  const [, url] = await program.waitFor(/control on (http:\S+)/);
  return url!;
}

/** Sends a change; `undefined` when the process died before it answered. */
async function change(
  url: string,
  who: string,
  path: string,
  body?: unknown,
  method: 'POST' | 'PUT' = 'POST',
  etag?: string,
) {
  const headers = { ...(method === 'POST' && { 'idempotency-key': randomUUID() }), ...(etag && { 'if-match': etag }) };
  const type = typeof body === 'string' ? 'text/plain' : undefined;
  let answer: ApiAnswer;
  try {
    answer = await askApi(url, { method, path, token: tokens[who]!, body, type, headers });
  } catch {
    return undefined;
  }
  if (answer.status === 503) return undefined;
  expect([path, answer.status < 300, answer.body]).toEqual([path, true, answer.body]);
  const draft = answer.body as { id?: string; version?: number; state?: string };
  if (draft.id !== undefined && draft.version !== undefined && draft.state !== undefined) {
    acknowledged.set(draft.id, { version: draft.version, state: draft.state });
  }
  return answer;
}

/** A statement that a client takes from its draft to the log, through as many lives of the process as that needs. */
interface Task {
  readonly number: number;
  readonly isNotice: boolean;
  id?: string;
}

let made = 0;

function nextTask(): Task {
  const number = made++;
  return { number, isNotice: number % 2 === 0 };
}

/** Goes on with a task until the process dies; returns what is under way then. */
async function work(url: string, task: Task): Promise<Task> {
  for (let current = task; ; ) {
    const path = `/v1/${current.isNotice ? 'notices' : 'halts'}`;
    const drafter = current.isNotice ? 'drafter' : 'one';
    if (current.id === undefined) {
      const opened = await change(url, drafter, path, compose(current.isNotice, current.number));
      // Without an answer there may be a draft of that reference, or none: this one is left alone.
      if (opened === undefined) return nextTask();
      current.id = opened.body.id;
    }
    const outcome = await takeStep(url, current, `${path}/${current.id}`, drafter);
    if (outcome === 'dead') return current;
    if (outcome === 'done') current = nextTask();
  }
}

/** Does what the draft needs next. */
async function takeStep(url: string, { number, isNotice }: Task, path: string, drafter: string) {
  const read = (below = '') =>
    askApi(url, { method: 'GET', path: path + below, token: tokens.one! }).catch(() => undefined);
  const draft = await read();
  if (draft === undefined || draft.status === 503) return 'dead';
  const { state, annexDigest, signatures } = draft.body;
  let answer: ApiAnswer | undefined;
  if (state === 'draft' && isNotice && annexDigest === null) {
    const names = `n${number}.crash.example\nm${number}.crash.example`;
    answer = await change(url, drafter, `${path}/entries`, names, 'PUT', draft.etag);
  } else if (state === 'draft') answer = await change(url, drafter, `${path}/propose`);
  else if (state === 'proposed') {
    answer = await change(url, 'one', `${path}/approve`, undefined, 'POST', draft.etag);
  } else if (state === 'approved' && signatures.length < (isNotice ? 2 : 1)) {
    const payload = await read('/payload');
    if (payload === undefined) return 'dead';
    const bytes = Buffer.from(typeof payload.body === 'string' ? payload.body : JSON.stringify(payload.body));
    const keyid = ['one', 'two'][signatures.length]!;
    const sig = sign(null, composePreAuthentication(PAYLOAD_TYPE, bytes), officerKey(keyid)).toString('base64');
    answer = await change(url, 'one', `${path}/signatures`, { keyid, sig });
  } else if (state === 'approved') answer = await change(url, 'one', `${path}/publish`);
  else return 'done';
  return answer === undefined ? 'dead' : 'going';
}

function compose(isNotice: boolean, number: number): object {
  const reference = `CRASH/${number}`;
  const reasons = { public: 'A test.' };
  if (!isNotice) return { reference, reasons, instrument: 'onsa-priority', from: '300d' };
  return { reference, ...COMPLETE_NOTICE };
}

/** Reads the whole table. */
async function readDrafts(store: Store): Promise<DraftRecord[]> {
  const drafts: DraftRecord[] = [];
  for (let after: DraftRecord | undefined; ; after = drafts.at(-1)) {
    const page = await store.read((tables) => tables.drafts.list({ after, limit: 500 }));
    drafts.push(...page);
    if (page.length < 500) return drafts;
  }
}

const ORDER = ['draft', 'proposed', 'approved', 'queued', 'published'];

test(`killed ${KILLS} times under load, it loses no acknowledged change and publishes nothing by half`, async () => {
  let tasks = Array.from({ length: CLIENTS }, nextTask);
  for (let kill = 0; kill < KILLS; kill++) {
    const url = await startControl();
    const clients = tasks.map((task) => work(url, task));
    await sleep(Math.random() * LOAD_MILLIS);
    running!.kill('SIGKILL');
    await running!.ended;
    tasks = await Promise.all(clients);
  }
  const url = await startControl();
  await waitForQueue(url);
  await running!.stop();

  const store = await openStore(database);
  try {
    const drafts = await readDrafts(store);
    const byId = new Map(drafts.map((draft) => [draft.id, draft]));
    for (const [id, { version, state }] of acknowledged) {
      const draft = byId.get(id)!;
      expect(draft).toBeDefined();
      expect(draft.version).toBeGreaterThanOrEqual(version);
      expect(ORDER.indexOf(draft.state)).toBeGreaterThanOrEqual(ORDER.indexOf(state));
    }
    await checkLog(drafts);
    expect(await verifyAuditTrail(store)).toMatchObject({ isSound: true });
    expect(drafts.filter(({ state }) => state === 'published').length).toBeGreaterThan(KILLS / 10);
  } finally {
    await store.close();
  }
}, 900_000);

/** Waits until nothing is queued any more. */
async function waitForQueue(url: string): Promise<void> {
  for (;;) {
    const lists = await Promise.all(
      ['notices', 'halts'].map((one) =>
        askApi(url, { method: 'GET', path: `/v1/${one}?state=queued`, token: tokens.one! }),
      ),
    );
    if (lists.every(({ body }) => body.items.length === 0)) return;
    await sleep(100);
  }
}

/** Requires that the log has each published draft once, in the place that the database says, and nothing else. */
async function checkLog(drafts: readonly DraftRecord[]): Promise<void> {
  const tree = new DirectoryStorage(join(folder, 'public'));
  const size = Number(
    Buffer.from((await tree.read('checkpoint'))!)
      .toString()
      .split('\n')[1],
  );
  const ids: string[] = [];
  let heartbeats = 0;
  for await (const leaf of readLeaves(tree, 0, size)) {
    const { payload } = parseEnvelope(parseLeaf(leaf).envelope);
    const { type } = JSON.parse(payload.toString());
    if (type === 'heartbeat') heartbeats++;
    ids.push(type === 'heartbeat' ? '' : hashHex(payload));
  }
  const published = drafts.filter(({ state }) => state === 'published');
  for (const { statementId, leafIndex, annexDigest, type } of published) {
    expect(ids[leafIndex!]).toBe(statementId);
    if (type === 'notice') expect(existsSync(join(folder, 'public', annexPath(annexDigest!, false)))).toBe(true);
  }
  expect(new Set(published.map(({ statementId }) => statementId)).size).toBe(published.length);
  expect(ids.length - heartbeats).toBe(published.length);
  expect(drafts.filter(({ state }) => state === 'queued' || state === 'refused')).toEqual([]);
}
