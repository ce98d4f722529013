import { beforeEach, describe, expect, it } from 'vitest';
import { NodesFile } from '../../../src/control/publishing/nodes-file.ts';
import { ReceiptStore } from '../../../src/control/publishing/receipt-store.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { type Receipt, receiptListPath, receiptPath, signReceipt } from '../../../src/register/receipt.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { MemoryStorage } from '../../log/memory-storage.ts';
import { keys } from '../../register/fixture.ts';

const ORIGIN = 'register.test/log';
const BURST = 500;

let clock: FakeClock;
let storage: MemoryStorage;
let store: ReceiptStore;
beforeEach(async () => {
  clock = new FakeClock();
  storage = new MemoryStorage();
  const nodes = new NodesFile(storage);
  await nodes.enrol({ licensee: 'A', node: 'one', publicKey: publicKeyOf(keys.one) });
  await nodes.enrol({ licensee: 'A', node: 'two', publicKey: publicKeyOf(keys.two) });
  store = new ReceiptStore({ storage, nodes, origin: ORIGIN, clock });
});

function compose(treeSize: number, changes: Partial<Receipt> = {}): Receipt {
  const now = formatInstant(clock.wall / 1000);
  return {
    version: 1,
    origin: ORIGIN,
    licensee: 'A',
    node: 'one',
    treeSize,
    rootHash: 'ab'.repeat(32),
    authoritiesVersion: 1,
    rules: 0,
    rulesDigest: 'cd'.repeat(32),
    foldedAt: now,
    appliedAt: now,
    mode: 'enforce',
    statements: { ok: 0, void: 0 },
    rejected: [],
    refusedEntries: 0,
    ...changes,
  };
}

const send = (receipt: Receipt, key = keys.one) => store.accept(signReceipt(receipt, key));
const readList = async () => {
  const bytes = await storage.read(receiptListPath(formatInstant(clock.wall / 1000).slice(0, 10)));
  return Buffer.from(bytes ?? '')
    .toString()
    .split('\n')
    .filter(Boolean);
};

describe('a receipt store', () => {
  it('takes a burst from a node, then some each minute, and no less from another', async () => {
    for (let size = 0; size < BURST; size++) expect(await send(compose(size))).toBe('stored');
    expect(await send(compose(BURST))).toBe('limited');
    expect(await send(compose(0, { node: 'two' }), keys.two)).toBe('stored');
    clock.pass(10_000);
    expect(await send(compose(BURST))).toBe('stored');
    expect(await send(compose(BURST + 1))).toBe('limited');
    expect(await readList()).toHaveLength(BURST + 2);
  });

  it("lets nobody use up a node's share by sending its receipts again", async () => {
    const bytes = signReceipt(compose(1), keys.one);
    expect(await store.accept(bytes)).toBe('stored');
    for (let i = 0; i < 2 * BURST; i++) expect(await store.accept(bytes)).toBe('known');
    expect(await send(compose(2))).toBe('stored');
  });

  it('is not put off by a clock that goes back', async () => {
    for (let size = 0; size < BURST; size++) await send(compose(size));
    clock.monotonic -= 1_000_000;
    expect(await send(compose(BURST))).toBe('limited');
    clock.pass(10_000);
    expect(await send(compose(BURST))).toBe('stored');
  });

  it('does again what a crash left: one that was listed and never kept', async () => {
    const receipt = compose(1);
    const { create } = storage;
    storage.create = () => Promise.reject(new Error('power cut'));
    await expect(send(receipt)).rejects.toThrow('power cut');
    storage.create = create;
    expect(await readList()).toEqual([receiptPath(receipt)]);
    expect(await send(receipt)).toBe('stored');
    expect(await readList()).toEqual([receiptPath(receipt)]);
    expect(await send(receipt)).toBe('known');
  });

  it('tells every sender when a list cannot be written, and goes on', async () => {
    const { replace } = storage;
    storage.replace = () => Promise.reject(new Error('full disk'));
    const outcomes = await Promise.allSettled([1, 2, 3].map((size) => send(compose(size))));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    storage.replace = replace;
    expect(await send(compose(1))).toBe('stored');
  });

  it('lists each day for itself', async () => {
    await send(compose(1));
    clock.pass(86_400_000);
    await send(compose(2));
    expect(await readList()).toEqual([receiptPath(compose(2))]);
  });

  it('says what is wrong with nodes.json', async () => {
    await storage.replace('nodes.json', Buffer.from('[{}]'), await storage.read('nodes.json'));
    await expect(send(compose(1))).rejects.toMatchObject({ code: 'config-invalid' });
  });
});
