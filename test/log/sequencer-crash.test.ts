import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import type { LogStorage } from '../../src/log/log-storage.ts';
import { Sequencer, type SequencerOptions } from '../../src/log/sequencer.ts';
import { makeFolder } from '../support/folders.ts';
import { checkAfterCrash, Ledger, watchCheckpoints } from './crash-check.ts';
import { type Around, FAULTS, type Fault, FaultPlan, wrapStorage } from './faulty-storage.ts';
import { MemoryStorage } from './memory-storage.ts';
import { makeOptions } from './test-log.ts';

/** Each test works through a log some sixty times. */
vi.setConfig({ testTimeout: 240_000 });

/** Leaves appended at once: the third group fills a tile, the fourth another one, so that partial tiles are removed. */
const GROUPS = [1, 254, 3, 300];

/** Storages of one run, and where torn writes go when they are folders. */
interface Stores {
  readonly storage: LogStorage;
  readonly state: LogStorage;
  readonly folders?: Readonly<Record<string, string>>;
}

const inMemory = (): Stores => ({ storage: new MemoryStorage(), state: new MemoryStorage() });

function inFolders(): Stores {
  const folder = makeFolder();
  const folders = { public: join(folder, 'public'), state: join(folder, 'state') };
  return { storage: new DirectoryStorage(folders.public), state: new DirectoryStorage(folders.state), folders };
}

/** Opens a log and works with it under a plan of faults; returns what it promised. Gives up when the process is dead. */
async function work(options: SequencerOptions, plan: FaultPlan): Promise<Ledger> {
  const ledger = new Ledger();
  const sequencer = await openUnder(options, plan);
  if (sequencer === undefined) return ledger;
  for (const [group, count] of GROUPS.entries()) {
    await ledger.append(
      sequencer,
      Array.from({ length: count }, (_, at) => `leaf ${group}-${at}`),
    );
    plan.isFull &&= group === 0; // the disk has space again, a step later at the latest
  }
  await sequencer.publish().catch(() => {});
  plan.isFull = false;
  if (!plan.isDead) await sequencer.flush(); // in this process, without being opened again
  await sequencer.close();
  return ledger;
}

/** Opens the log, a second time when the fault came while it was being opened. */
async function openUnder(options: SequencerOptions, plan: FaultPlan): Promise<Sequencer | undefined> {
  try {
    return await Sequencer.open(options);
  } catch {
    plan.isFull = false;
    return plan.isDead ? undefined : Sequencer.open(options);
  }
}

/** Runs the whole work with one fault, and checks everything. Returns the plan with its operations. */
async function run(stores: Stores, at: number, fault: Fault): Promise<FaultPlan> {
  const plan = new FaultPlan(at, fault, stores.folders);
  const { options, published, refusals } = await watch(stores);
  const ledger = await work(underPlan(options, plan, refusals), plan);
  expect(plan.hasStruck).toBe(at >= 0);
  expect(refusals, 'the witness saw two histories').toEqual([]);
  await checkAfterCrash(options, ledger, published);
  if (at < 0) expect(ledger.acknowledged.size).toBe(GROUPS.reduce((sum, count) => sum + count));
  return plan;
}

/** The number of the operation by which the last group is committed. */
async function findLastCommit(): Promise<number> {
  const { operations } = await run(inMemory(), -1, 'dies after');
  return operations.findLastIndex(({ verb, path }) => verb === 'replace' && path === 'head.json');
}

/** Dies right after a commit, opens the log under a second plan, and checks everything. */
async function runTwice(commit: number, at: number, fault: Fault): Promise<FaultPlan> {
  const { options, published, refusals } = await watch(inMemory());
  const first = new FaultPlan(commit, 'dies after');
  const ledger = await work(underPlan(options, first, refusals), first);
  const second = new FaultPlan(at, fault);
  const sequencer = await openUnder(underPlan(options, second, refusals), second);
  await sequencer?.close();
  expect(second.hasStruck).toBe(at >= 0);
  expect(refusals, 'the witness saw two histories').toEqual([]);
  await checkAfterCrash(options, ledger, published);
  return second;
}

/** Lets another sequencer take the log over, work with it and end, while the first one waits before an operation. */
async function runTakenOver(at: number): Promise<void> {
  const stores = inMemory();
  stores.state.lock = async () => () => {};
  const { options, published, refusals } = await watch(stores);
  const theirs = new Ledger();
  const plan = new FaultPlan(-1, 'fails');
  const takeOver: Around = async (operation, run) => {
    if (plan.operations.length === at) {
      plan.operations.push(operation);
      const other = await Sequencer.open(options);
      await theirs.append(other, ['theirs']);
      await other.close();
    }
    return plan.around(operation, run);
  };
  const ours = new Ledger();
  const sequencer = await Sequencer.open(underPlan(options, { around: takeOver }, refusals)).catch(() => undefined);
  if (sequencer !== undefined) {
    for (const [group, count] of GROUPS.entries()) {
      await ours.append(
        sequencer,
        Array.from({ length: count }, (_, leaf) => `leaf ${group}-${leaf}`),
      );
    }
    await sequencer.publish().catch(() => {});
    await sequencer.close();
  }
  expect([...theirs.acknowledged.values()]).toEqual(['theirs']);
  // That the witness has seen more than the one who was overtaken is only to be expected.
  expect(refusals.filter(({ message }) => !/it has seen/.test(message))).toEqual([]);
  for (const [index, text] of theirs.acknowledged) {
    expect(ours.acknowledged.get(index) ?? text).toBe(text);
    ours.acknowledged.set(index, text);
  }
  await checkAfterCrash(options, ours, published);
}

/** Options of a log whose published checkpoints and refused cosignatures are noted. */
async function watch({ storage: unwatched, state }: Stores) {
  const { storage, published } = watchCheckpoints(unwatched);
  return { options: await makeOptions({ storage, state }), published, refusals: [] as WartaError[] };
}

function underPlan(options: SequencerOptions, plan: { around: Around }, refusals: WartaError[]): SequencerOptions {
  return {
    ...options,
    storage: wrapStorage(options.storage, 'public', plan.around),
    state: wrapStorage(options.state, 'state', plan.around),
    onFault: (error) => {
      if (/set back|answered 4/.test(error.message)) refusals.push(error);
    },
  };
}

describe('a sequencer without faults', () => {
  it('goes through every kind of operation that faults are brought into', async () => {
    const { operations } = await run(inMemory(), -1, 'fails');
    const kinds = new Set(operations.map(({ store, verb, path }) => `${store} ${verb} ${path.split(/[/.]/)[0]}`));
    const writes = ['state replace head', 'state create staged', 'public create tile', 'public replace checkpoint'];
    const others = ['state read head', 'public read checkpoint', 'public remove tile', 'state remove staged'];
    for (const kind of [...writes, ...others]) expect([...kinds]).toContain(kind);
  });
});

describe('a sequencer loses nothing, takes nothing back and goes on when', () => {
  it.each(FAULTS.filter((fault) => fault !== 'is torn and dies'))('any one of its operations %s', async (fault) => {
    const { operations } = await run(inMemory(), -1, fault);
    expect(operations.length).toBeGreaterThan(40);
    for (let at = 0; at < operations.length; at++) await run(inMemory(), at, fault);
  });

  it('any one of its operations dies and leaves half a file in its folder', async () => {
    const { operations } = await run(inFolders(), -1, 'is torn and dies');
    const writes = operations.flatMap(({ bytes }, at) => (bytes === undefined ? [] : [at]));
    expect(writes.length).toBeGreaterThan(20);
    for (const at of writes) await run(inFolders(), at, 'is torn and dies');
  });

  it.each(FAULTS.filter((fault) => fault !== 'is torn and dies'))(
    'it died after a commit, and any one operation of its recovery %s',
    async (fault) => {
      const commit = await findLastCommit();
      const { operations } = await runTwice(commit, -1, fault);
      const kinds = operations.map(({ store, verb, path }) => `${store} ${verb} ${path.split(/[/.]/)[0]}`);
      expect(kinds).toContain('state read staged');
      expect(kinds).toContain('public create tile');
      for (let at = 0; at < operations.length; at++) await runTwice(commit, at, fault);
    },
  );

  it('another one takes over before any one of its operations, where the store has no lock', async () => {
    const { operations } = await run(inMemory(), -1, 'fails');
    for (let at = 0; at < operations.length; at++) await runTakenOver(at);
  });
});
