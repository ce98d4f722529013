import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { importPublicKey } from '../../src/register/authorities.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { type Receipt, verifyReceipt } from '../../src/register/receipt.ts';
import type { CompiledList } from '../../src/sync/list-compiler.ts';
import { MAX_RECEIPTS, SqliteNodeStore } from '../../src/sync/node-store.ts';
import { type ListUse, ReceiptQueue } from '../../src/sync/receipt-queue.ts';
import type { FollowerStatus } from '../../src/sync/register-follower.ts';
import { makeFolder } from '../support/folders.ts';
import { seededKey } from '../support/log-register.ts';
import { LICENSEE } from '../support/test-authority.ts';

const KEY = seededKey('node');
const IDENTITY = { licensee: LICENSEE, node: 'node-1', key: KEY };
const LIST = {
  rules: 3,
  pages: 0,
  httpOnlyPages: 0,
  rulesDigest: 'ab'.repeat(32),
  foldedAtSeconds: 1_772_000_000,
  refusedCount: 1,
  verdicts: [{ name: '#0', ok: true }, { name: '#1', ok: false, code: 'statement-unsigned', reason: 'by nobody' }],
} as unknown as CompiledList; // biome-ignore format: short
const USE: ListUse = { mode: 'enforce', steersPages: false };
const STATUS = { origin: 'register.test/log', size: 2, rootHash: 'cd'.repeat(32), authoritiesVersion: 1 } as FollowerStatus; // biome-ignore format: short

let server: Server;
/** Status by the number of the request; `undefined` closes the connection. */
let statusOf: (request: number) => number | undefined;
let bodies: Buffer[];
let folder: string;
let store: SqliteNodeStore;

beforeEach(async () => {
  bodies = [];
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    bodies.push(Buffer.concat(chunks));
    const status = statusOf(bodies.length - 1);
    if (status === undefined) request.socket.destroy();
    else response.writeHead(status).end('said so');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  folder = makeFolder();
  store = SqliteNodeStore.open(join(folder, 'register.db'));
});

afterEach(async () => {
  store.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/receipts`;
const openQueue = (to: string | undefined = url()) => new ReceiptQueue(store, IDENTITY, to);

/** Queues so many receipts, each of its own second. */
function fill(queue: ReceiptQueue, count: number): void {
  for (let i = 0; i < count; i++) queue.add(LIST, STATUS, 1_772_000_000 + i, USE);
}

/** Signs a receipt of one list and reads it. */
async function sendOne(list: Partial<CompiledList>, use: ListUse): Promise<Receipt> {
  statusOf = () => 201;
  const queue = openQueue();
  queue.add({ ...LIST, ...list }, STATUS, 1_772_000_000, use);
  await queue.send();
  return read(bodies[0]!);
}

const seconds = () => bodies.map((body) => read(body).appliedAt.slice(-3, -1));
const read = (body: Uint8Array) =>
  verifyReceipt(body, (licensee, node) =>
    licensee === LICENSEE && node === 'node-1' ? importPublicKey(publicKeyOf(KEY), 'test') : undefined,
  );

describe('receipts', () => {
  test('say what was applied, signed by the node', async () => {
    statusOf = () => 201;
    const queue = openQueue();
    fill(queue, 1);
    await queue.send();
    expect(read(bodies[0]!)).toEqual({
      version: 1,
      origin: 'register.test/log',
      licensee: LICENSEE,
      node: 'node-1',
      treeSize: 2,
      rootHash: 'cd'.repeat(32),
      authoritiesVersion: 1,
      rules: 3,
      rulesDigest: 'ab'.repeat(32),
      foldedAt: '2026-02-25T06:13:20Z',
      appliedAt: '2026-02-25T06:13:20Z',
      mode: 'enforce',
      statements: { ok: 1, void: 1 },
      rejected: [{ statement: '#1', code: 'statement-unsigned', reason: 'by nobody' }],
      refusedEntries: 1,
    });
    expect([queue.queued, queue.sent, queue.fault]).toEqual([0, 1, undefined]);
  });

  test('say how many pages are listed, how many of them hold on HTTP alone, and whether they are steered', async () => {
    const { pages } = await sendOne({ pages: 3, httpOnlyPages: 2 }, { mode: 'enforce', steersPages: true });
    expect(pages).toEqual({ entries: 3, httpOnly: 2, steered: true });
  });

  test('say nothing of pages when there are none', async () => {
    expect('pages' in (await sendOne({}, { mode: 'enforce', steersPages: true }))).toBe(false);
  });

  test('are sent oldest first, sixteen at a time', async () => {
    statusOf = () => 200;
    const queue = openQueue();
    fill(queue, 20);
    await queue.send();
    expect([bodies.length, queue.queued]).toEqual([16, 4]);
    await queue.send();
    expect(seconds()).toEqual(Array.from({ length: 20 }, (_, i) => String(20 + i)));
  });

  test('wait for a receiver that is away, over a restart', async () => {
    const away = openQueue('http://127.0.0.1:9/receipts');
    fill(away, 2);
    await away.send();
    expect(away.queued).toBe(2);
    expect(away.fault).toContain('127.0.0.1:9');
    store.close();
    store = SqliteNodeStore.open(join(folder, 'register.db'));
    statusOf = () => 201;
    const queue = openQueue();
    await queue.send();
    expect([queue.queued, queue.sent]).toEqual([0, 2]);
  });

  test.each([500, 503, 429, 401, 403, 404, 302, undefined])('wait when the answer is %s', async (status) => {
    statusOf = () => status;
    const queue = openQueue();
    fill(queue, 3);
    await queue.send();
    expect([bodies.length, queue.queued, queue.sent]).toEqual([1, 3, 0]);
    expect(queue.fault).toMatch(status === 401 ? /enrol this node/ : /./);
    statusOf = () => 201;
    await queue.send();
    expect([queue.queued, queue.sent, queue.fault]).toEqual([0, 3, undefined]);
  });

  test.each([400, 413, 422])('are dropped when they will never be taken: %s', async (status) => {
    statusOf = (request) => (request === 0 ? status : 201);
    const queue = openQueue();
    fill(queue, 2);
    await queue.send();
    expect([queue.queued, queue.sent]).toEqual([0, 1]);
  });

  test('are bounded: the newest are kept', () => {
    const queue = openQueue();
    for (let i = 0; i < MAX_RECEIPTS; i++) store.commit({ receipt: Buffer.from(`old ${i}`) });
    fill(queue, 3);
    expect(queue.queued).toBe(MAX_RECEIPTS);
    expect(Buffer.from(store.receipts(1)[0]!.bytes).toString()).toBe('old 3');
  });

  test('are not made without somewhere to send them, nor of nothing', () => {
    const nowhere = new ReceiptQueue(store, IDENTITY, undefined);
    fill(nowhere, 1);
    openQueue().add(LIST, { ...STATUS, rootHash: undefined }, 1, USE);
    expect(store.receiptCount()).toBe(0);
  });
});
