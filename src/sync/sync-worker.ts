import { flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import { publicKeyOf, readPrivateKey } from '../register/key.ts';
import { saveTable } from '../rules/table-file.ts';
import { Courtesy } from './courtesy.ts';
import { DirectorySource } from './directory-source.ts';
import type { CompiledList } from './list-compiler.ts';
import { openMirror } from './mirror.ts';
import { composeCredential, type NodeIdentity } from './node-identity.ts';
import { SqliteNodeStore } from './node-store.ts';
import { ReceiptQueue } from './receipt-queue.ts';
import { RegisterFollower } from './register-follower.ts';
import { SyncAgent } from './sync-agent.ts';
import type { ListReport, RegisterPlace, SyncMessage, SyncRequest, SyncStart, SyncStatus } from './sync-link.ts';

/** Void statements and refused entries handed over one by one. */
const MAX_LISTED = 10_000;
/** Leaves from which fetching them is worth a progress bar, and the share of the bar that it is. */
const MANY_LEAVES = 1_000;

/** How often progress is told at most. */
const PROGRESS_MILLIS = 50;

const STORE_FILE = 'register.db';
const SCRATCH_FOLDER = 'scratch';

const start = workerData as SyncStart;
const tell = (message: SyncMessage) => parentPort!.postMessage(message);

/** A register on a log, and what belongs to it. */
interface LogSide {
  follower: RegisterFollower;
  receipts: ReceiptQueue;
  nodeKey: string;
  close(): Promise<void>;
}

let licensee = '';
let nowSeconds = 0;
let log: LogSide | undefined;
let directory: DirectorySource | undefined;
let agent: SyncAgent | undefined;
let sending: Promise<void> = Promise.resolve();

/** Opens what the node was configured with; the first cycle says for whom. */
function open(): SyncAgent {
  if (start.place.kind === 'directory') {
    directory = new DirectorySource(start.place.directory);
    return new SyncAgent(directory);
  }
  log = openLog(start.place);
  return new SyncAgent(log.follower);
}

function openLog(place: Extract<RegisterPlace, { kind: 'log' }>): LogSide {
  const identity: NodeIdentity = { licensee, node: place.node, key: readPrivateKey(place.keyFile) };
  const store = SqliteNodeStore.open(join(start.state, STORE_FILE));
  try {
    return followLog(place, identity, store);
  } catch (error) {
    store.close(); // the next cycle opens it again
    throw error;
  }
}

function followLog(
  place: Extract<RegisterPlace, { kind: 'log' }>,
  identity: NodeIdentity,
  store: SqliteNodeStore,
): LogSide {
  const follower: RegisterFollower = RegisterFollower.open({
    store,
    mirrors: place.mirrors.map((url) => openMirror(url)),
    pinnedRoot: Buffer.from(start.pinnedRoot!),
    scratch: join(start.state, SCRATCH_FOLDER),
    sealed:
      place.sealed === undefined
        ? undefined
        : {
            mirror: openMirror(place.sealed),
            authorize: (path) => composeCredential(identity, follower.status().origin ?? '', path, nowSeconds),
          },
    onIncident: (incident) => tell({ kind: 'incident', incident: { ...incident } }),
    onLeaves: (done, total) => {
      if (total >= MANY_LEAVES) tell({ kind: 'progress', share: done / total / 10 });
    },
  });
  const receipts = new ReceiptQueue(store, identity, place.receipts);
  return { follower, receipts, nodeKey: publicKeyOf(identity.key), close: () => follower.close() };
}

async function cycle(request: Extract<SyncRequest, { kind: 'cycle' }>): Promise<void> {
  licensee = request.terms.licensee;
  nowSeconds = request.nowSeconds;
  const courtesy = request.background ? new Courtesy() : undefined;
  let toldAt = 0;
  const onProgress = (share: number) => {
    const now = performance.now();
    if (now - toldAt > PROGRESS_MILLIS) {
      tell({ kind: 'progress', share });
      toldAt = now;
    }
    courtesy?.giveWay();
  };
  try {
    agent ??= open();
    if (directory !== undefined) directory.authorities = request.terms.anchor;
    const { list, failure } = await agent.cycle(
      request.terms,
      request.termsDigest,
      request.nowSeconds,
      onProgress,
      !request.background,
    );
    if (list !== undefined) {
      tell({ kind: 'list', list: reportOf(list) });
      if (list.tableChanged) saveTable(start.tableFile, list.table);
      tell({ kind: 'saved' });
    }
    if (failure !== undefined) throw failure;
  } catch (error) {
    const code: ErrorCode = error instanceof WartaError ? error.code : 'store-failed';
    tell({ kind: 'failed', code, message: describeError(error) });
  } finally {
    tell({ kind: 'done', status: statusOf() });
  }
  sendReceipts();
}

/** Sends receipts beside everything else: whoever takes them may be slow, and a release must not wait for that. */
function sendReceipts(): void {
  sending = sending.then(() => log?.receipts.send()).catch(() => {}); // the store failed, as the next cycle will say
}

/** Never throws: a cycle that does not say that it is done would be the last one. */
function statusOf(): SyncStatus | undefined {
  if (log === undefined) return undefined;
  const { follower, receipts, nodeKey } = log;
  try {
    return {
      ...follower.status(),
      nodeKey,
      receiptsQueued: receipts.queued,
      receiptsSent: receipts.sent,
      receiptFault: receipts.fault,
    };
  } catch (error) {
    tell({ kind: 'failed', code: 'store-failed', message: describeError(error) });
    return undefined;
  }
}

function reportOf(list: CompiledList): ListReport {
  const verdictCounts: Record<string, number> = { ok: 0 };
  const bad = list.verdicts.filter(({ ok }) => !ok);
  for (const { ok, code = 'statement-malformed' } of list.verdicts) {
    const verdict = ok ? 'ok' : code;
    verdictCounts[verdict] = (verdictCounts[verdict] ?? 0) + 1;
  }
  const { verdicts: _, ...rest } = list;
  return { ...rest, verdictCounts, void: bad.slice(0, MAX_LISTED), voidCount: bad.length };
}

// Where NODE_COMPILE_CACHE is set: a thread that is terminated keeps nothing, and would strip its types anew, for 25 MB.
flushCompileCache();

/** One request after another: of two cycles at once the older reading could come second and undo the newer. */
let turn: Promise<void> = Promise.resolve();

parentPort!.on('message', (request: SyncRequest) => {
  turn = turn
    .then(() => handle(request))
    .catch((error: unknown) => {
      tell({ kind: 'failed', code: 'store-failed', message: describeError(error) });
    });
});

async function handle(request: SyncRequest): Promise<void> {
  if (request.kind === 'cycle') await cycle(request);
  else if (request.kind === 'applied') {
    if (log === undefined || agent?.last === undefined) return;
    const { atSeconds, mode, steersPages } = request;
    log.receipts.add(agent.last, log.follower.status(), atSeconds, { mode, steersPages });
    sendReceipts();
  } else {
    await log?.close();
    parentPort!.close();
  }
}
