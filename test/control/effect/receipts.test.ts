import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReceiptCheck } from '../../../src/control/effect/receipt-check.ts';
import { composeReceiptRow, MissedReceipts, ReceiptRecorder } from '../../../src/control/effect/receipt-rows.ts';
import { NodesFile } from '../../../src/control/publishing/nodes-file.ts';
import { ReceiptStore } from '../../../src/control/publishing/receipt-store.ts';
import type { ReceiptRecord, Store } from '../../../src/control/store.ts';
import type { RegisterView } from '../../../src/control/view/register-view.ts';
import { DirectoryStorage } from '../../../src/log/directory-storage.ts';
import { fold } from '../../../src/register/fold.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { digestList } from '../../../src/register/list-digest.ts';
import { type Receipt, receiptListPath, receiptPath, signReceipt } from '../../../src/register/receipt.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister, seededKey } from '../../support/log-register.ts';
import { openView, readNaively } from '../view/fixture.ts';

const LICENSEE = 'NSP(I)/1';
const keys = { one: seededKey('node one'), two: seededKey('node two') };
type NodeName = keyof typeof keys;

let clock: FakeClock;
let register: LogRegister;
let store: Store;
let tree: DirectoryStorage;
let recorder: ReceiptRecorder;
let receipts: ReceiptStore;

beforeEach(async () => {
  clock = new FakeClock();
  register = await LogRegister.create(makeFolder(), { clock });
  store = await openStore(`sqlite:${join(makeFolder(), 'control.db')}`);
  tree = new DirectoryStorage(register.publicFolder);
  recorder = new ReceiptRecorder(store, clock);
  const nodes = new NodesFile(tree);
  await store.transaction(async (tables) => {
    for (const [node, key] of Object.entries(keys)) {
      await nodes.enrol({ licensee: LICENSEE, node, publicKey: publicKeyOf(key) });
      await tables.nodes.insert({
        ...{ id: `${LICENSEE}/${node}`, licensee: LICENSEE, node, publicKey: publicKeyOf(key), enrolledBy: 'op' },
        ...{ enrolledSeconds: now(), revokedSeconds: null, version: 1 },
      });
    }
  });
  receipts = new ReceiptStore({
    ...{ storage: tree, nodes, origin: register.origin, clock },
    onStored: (receipt, path) => recorder.record(receipt, path),
  });
});
afterEach(async () => {
  await recorder.settle();
  await store.close();
  await register.close();
});

const now = () => Math.floor(clock.wall / 1000);
const rows = () => store.read((tables) => tables.receipts.list({ limit: 1000 }));

function compose(treeSize: number, changes: Partial<Receipt> = {}): Receipt {
  const at = formatInstant(now());
  return {
    ...{ version: 1, origin: register.origin, licensee: LICENSEE, node: 'one', treeSize, rootHash: 'ab'.repeat(32) },
    ...{ authoritiesVersion: 1, rules: 3, rulesDigest: 'cd'.repeat(32), foldedAt: at, appliedAt: at, mode: 'enforce' },
    ...{ statements: { ok: 1, void: 1 }, refusedEntries: 2 },
    rejected: [{ statement: '#3', code: 'annex-missing', reason: 'its annex cannot be used' }],
    ...changes,
  };
}

async function send(receipt: Receipt): Promise<string> {
  expect(await receipts.accept(signReceipt(receipt, keys[receipt.node as NodeName]))).toBe('stored');
  return receiptPath(receipt);
}

describe('a receipt', () => {
  it('becomes a row', async () => {
    const path = await send(compose(7));
    await recorder.settle();
    expect(await rows()).toEqual([
      {
        ...{ id: path, nodeId: `${LICENSEE}/one`, licensee: LICENSEE, treeSize: 7, rules: 3, mode: 'enforce' },
        ...{ appliedSeconds: now(), receivedSeconds: now(), foldedSeconds: now(), rulesDigest: 'cd'.repeat(32) },
        ...{ refusedEntries: 2, agrees: null, pages: null },
        rejected: [{ statement: '#3', code: 'annex-missing', reason: 'its annex cannot be used' }],
      },
    ]);
  });

  it('that counts pages becomes a row that does', async () => {
    const pages = { entries: 2, httpOnly: 1, steered: true };
    await send(compose(7, { pages }));
    await recorder.settle();
    expect((await rows()).map((row) => row.pages)).toEqual([pages]);
  });

  it('becomes one row, however often it is told of', async () => {
    for (let size = 0; size < 300; size++) {
      const receipt = compose(size % 150);
      recorder.record(receipt, receiptPath(receipt));
    }
    await recorder.settle();
    expect(await rows()).toHaveLength(150);
  });

  it('is kept though the store fails, and gets its row later', async () => {
    const faults: unknown[] = [];
    const failing = new ReceiptRecorder({ transaction: () => Promise.reject(new Error('away')) }, clock, (error) =>
      faults.push(error),
    );
    const receipt = compose(1);
    failing.record(receipt, await send(receipt));
    await failing.settle();
    expect(faults).toMatchObject([{ message: 'away' }]);
  });
});

describe('after a crash', () => {
  const missed = () => new MissedReceipts({ store, tree, clock });

  it('receipts without a row get one, and only those', async () => {
    await send(compose(1));
    await recorder.settle();
    // A process that ended between file and row.
    recorder = new ReceiptRecorder({ transaction: () => Promise.reject(new Error('killed')) }, clock);
    clock.pass(86_400_000);
    const lost = [await send(compose(2)), await send(compose(2, { node: 'two' }))];
    clock.pass(5000);
    expect(await rows()).toHaveLength(1);
    const looking = missed();
    expect(await looking.look()).toBe(2);
    expect(await looking.look()).toBe(0);
    const made = (await rows()).filter(({ id }) => lost.includes(id));
    expect(made).toHaveLength(2);
    expect(made[0]).toEqual({ ...composeReceiptRow(compose(2), lost[0]!, now()), ...made[0] });
    expect(made[0]).toMatchObject({ receivedSeconds: now(), appliedSeconds: now() - 5 });
    expect(await missed().look()).toBe(0);
  });

  it('finds what was listed before it was there', async () => {
    const receipt = compose(3);
    const path = receiptPath(receipt);
    const list = receiptListPath(formatInstant(now()).slice(0, 10));
    await tree.replace(list, Buffer.from(`${path}\n`), undefined);
    const looking = missed();
    expect(await looking.look()).toBe(0);
    await tree.create(path, signReceipt(receipt, keys.one));
    expect(await looking.look()).toBe(1);
    expect((await rows()).map(({ id }) => id)).toEqual([path]);
  });

  it('takes a revoked node’s receipts, and none that are false', async () => {
    const other = compose(2, { node: 'two' });
    recorder = new ReceiptRecorder({ transaction: () => Promise.reject(new Error('killed')) }, clock);
    await send(compose(1));
    await store.transaction((tables) => tables.nodes.update(`${LICENSEE}/one`, { revokedSeconds: now() }));
    // Somebody wrote a file that the node did not sign, and a list with nonsense.
    await tree.create(receiptPath(other), signReceipt(other, keys.one));
    const list = receiptListPath(formatInstant(now()).slice(0, 10));
    const before = (await tree.read(list))!;
    await tree.replace(list, Buffer.concat([before, Buffer.from(`${receiptPath(other)}\nreceipts/x\n`)]), before);
    expect(await missed().look()).toBe(1);
    expect((await rows()).map(({ nodeId }) => nodeId)).toEqual([`${LICENSEE}/one`]);
  });
});

describe('the check of receipts', () => {
  let view: RegisterView;
  let check: ReceiptCheck;

  beforeEach(async () => {
    view = await openView(register, clock);
    check = new ReceiptCheck(store, view);
  });

  /** The digest as a node computes it that has the first leaves of the log. */
  async function digestAt(size: number, foldedSeconds: number): Promise<string> {
    const { statements } = await readNaively(register, { size });
    return digestList(fold(statements, LICENSEE, foldedSeconds), view.packSha256);
  }
  const verdict = async (path: string) => (await store.read((tables) => tables.receipts.get(path)))?.agrees;
  const report = async (size: number, changes: Partial<Receipt> = {}) => {
    const path = await send(compose(size, { rulesDigest: await digestAt(size, now()), ...changes }));
    await recorder.settle();
    return path;
  };

  it('finds who applied what the register says, and who did not', async () => {
    const notice = await register.notice(['a.example', 'b.example']);
    clock.pass(1000);
    const good = await report(1);
    const bad = await report(1, { node: 'two', rulesDigest: '00'.repeat(32) });
    clock.pass(1000);
    await register.revoke(notice.id);
    const behind = await report(1);
    clock.pass(1000);
    const after = await report(2);
    clock.pass(1000);
    const stale = await report(2, { rulesDigest: await digestAt(1, now()) });
    await view.catchUp();
    expect(await check.judgeSome(now())).toBe(5);
    expect(await Promise.all([good, bad, behind, after, stale].map(verdict))).toEqual([true, false, true, true, false]);
    expect(await check.judgeSome(now())).toBe(0);
  });

  it('finds who counts the pages of a list wrongly', async () => {
    const page = (path: string) => ({ url: `http://paged.example${path}` });
    await register.notice([page('/1'), page('/2'), 'github.io'], { reference: 'P/1' });
    await register.notice([page('/3'), { url: 'http://paged.example:8080/' }], {
      reference: 'P/2',
      https: 'block-host',
    });
    const told: [Receipt['pages'], boolean][] = [
      [{ entries: 3, httpOnly: 2, steered: false }, true],
      [{ entries: 3, httpOnly: 2, steered: true }, true],
      [{ entries: 4, httpOnly: 2, steered: true }, false],
      [{ entries: 3, httpOnly: 3, steered: true }, false],
      [undefined, false],
    ];
    const paths: string[] = [];
    for (const [pages] of told) {
      clock.pass(1000);
      paths.push(await report(2, { pages }));
    }
    await view.catchUp();
    await check.judgeSome(now());
    expect(await Promise.all(paths.map(verdict))).toEqual(told.map(([, agrees]) => agrees));
  });

  it('takes it well that a node applied a release before the log’s witnesses signed', async () => {
    const notice = await register.notice(['a.example']);
    clock.pass(1000);
    await register.revoke(notice.id);
    clock.pass(1000);
    const path = await report(1, { rulesDigest: await digestAt(2, now()) });
    await view.catchUp();
    await check.judgeSome(now());
    expect(await verdict(path)).toBe(true);
  });

  it('waits for what this process has not read, and not for a size the log does not come to', async () => {
    await register.notice(['a.example']);
    clock.pass(1000);
    const path = await report(1);
    const false_ = await send(compose(99, { node: 'two' }));
    await recorder.settle();
    expect(await check.judgeSome(now())).toBe(0);
    await view.catchUp();
    expect(await check.judgeSome(now())).toBe(1);
    expect([await verdict(path), await verdict(false_)]).toEqual([true, null]);
    clock.pass(120_000);
    await check.judgeSome(now());
    expect(await verdict(false_)).toBe(false);
  });

  it('leaves what was folded under other authorities alone', async () => {
    const notice = await register.notice(['a.example']);
    await view.catchUp();
    await check.judgeSome(now());
    clock.pass(1000);
    const before = await report(1);
    register.revokeOfficer('two', notice.integratedAtSeconds - 1);
    await view.catchUp();
    await check.judgeSome(now());
    clock.pass(300_000);
    const after = await report(1, { rulesDigest: digestList([], view.packSha256) });
    clock.pass(1000);
    const queued = await report(1, { foldedAt: formatInstant(now() - 299), rulesDigest: 'ee'.repeat(32) });
    await check.judgeSome(now());
    expect(await Promise.all([before, after, queued].map(verdict))).toEqual([null, true, null]);
  });

  it('judges rows that another process wrote a little later', async () => {
    await register.notice(['a.example']);
    await view.catchUp();
    clock.pass(1000);
    await report(1);
    expect(await check.judgeSome(now())).toBe(1);
    const late: ReceiptRecord = {
      ...composeReceiptRow(compose(1, { node: 'two' }), 'receipts/late', now() - 30),
      rulesDigest: await digestAt(1, now()),
    };
    await store.transaction((tables) => tables.receipts.insert(late));
    expect(await check.judgeSome(now())).toBe(1);
    expect(await verdict('receipts/late')).toBe(true);
  });
});
