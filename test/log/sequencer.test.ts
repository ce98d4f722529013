import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { createCosigner } from '../../src/log/note.ts';
import { Sequencer, type SequencerOptions } from '../../src/log/sequencer.ts';
import { LEAF_MAX_BYTES, TILE_WIDTH } from '../../src/log/tile.ts';
import { createLocalWitness, type WitnessClient } from '../../src/log/witness-client.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { waitUntil } from '../support/wait.ts';
import type { MemoryStorage } from './memory-storage.ts';
import { appendText, makeOptions, newKey, ORIGIN, openWitness, POLICY, publicKeyOf, readLog } from './test-log.ts';

const texts = (leaves: readonly Buffer[]) => leaves.map((leaf) => leaf.toString());

describe('a sequencer', () => {
  it('publishes the empty log at once', async () => {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    expect(await readLog(options.storage)).toMatchObject({ leaves: [], witnessed: true });
    await sequencer.close();
  });

  it('puts leaves in the order they came, and says where they are', async () => {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    const first = await appendText(sequencer, 'a');
    const rest = await Promise.all(['b', 'c', 'd'].map((text) => appendText(sequencer, text)));
    expect([first, ...rest].map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    await sequencer.flush();
    expect(texts((await readLog(options.storage))!.leaves)).toEqual(['a', 'b', 'c', 'd']);
    expect(sequencer.checkpoint()).toMatchObject({ checkpoint: { origin: ORIGIN, size: 4 }, witnessed: true });
    expect(sequencer.checkpoint().note).toEqual(await options.storage.read('checkpoint'));
    await sequencer.close();
  });

  it('makes the same log whatever is batched with what, and wherever it was closed in between', async () => {
    const check = fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 400 }),
      async (groups, batchMaxLeaves) => {
        const options = await makeOptions({ batchMaxLeaves });
        const expected: string[] = [];
        for (const group of groups) {
          const sequencer = await Sequencer.open(options);
          const named = Array.from({ length: group }, (_, at) => `leaf ${expected.length + at}`);
          await Promise.all(named.map((text) => appendText(sequencer, text)));
          expected.push(...named);
          await sequencer.flush();
          await sequencer.close();
        }
        expect(texts((await readLog(options.storage))!.leaves)).toEqual(expected);
      },
    );
    await fc.assert(check, { numRuns: 10 });
  });

  it('shares a step among all that wait, up to its bounds', async () => {
    const options = await makeOptions({ batchMaxLeaves: 10, batchMaxBytes: 4000 });
    const sequencer = await Sequencer.open(options);
    await sequencer.flush();
    const sizes: number[] = [];
    const storage = options.storage as MemoryStorage;
    const replace = storage.replace.bind(storage);
    storage.replace = (path, bytes, expected) => {
      sizes.push(Number(Buffer.from(bytes).toString().split('\n')[1]));
      return replace(path, bytes, expected);
    };
    await Promise.all(Array.from({ length: 25 }, (_, at) => appendText(sequencer, `short ${at}`)));
    await Promise.all(Array.from({ length: 5 }, (_, at) => appendText(sequencer, `${at}`.repeat(1500))));
    await sequencer.flush();
    expect(sizes).toEqual([10, 20, 25, 28, 30]);
    await sequencer.close();
  });

  it('refuses a leaf that is too long, and one whose composing fails, and takes the others', async () => {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    const results = await Promise.allSettled([
      appendText(sequencer, 'a'),
      sequencer.append(() => Buffer.alloc(LEAF_MAX_BYTES + 1)),
      sequencer.append(() => {
        throw new Error('cannot compose');
      }),
      sequencer.append(() => Buffer.alloc(LEAF_MAX_BYTES, 'z')),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'leaf-malformed' } });
    expect(results[2]).toMatchObject({ reason: { message: 'cannot compose' } });
    await sequencer.flush();
    expect((await readLog(options.storage))!.leaves.map((leaf) => leaf.length)).toEqual([1, LEAF_MAX_BYTES]);
    await sequencer.close();
  });

  it('keeps a leaf as it was when it was appended', async () => {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    const leaf = Buffer.from('as it was');
    await sequencer.append(() => leaf);
    leaf.fill('x');
    await appendText(sequencer, 'next');
    await sequencer.flush();
    expect(texts((await readLog(options.storage))!.leaves)).toEqual(['as it was', 'next']);
    await sequencer.close();
  });

  it('takes nothing when it is closed, and ends what it has begun', async () => {
    const options = await makeOptions({ batchMaxLeaves: 1 });
    const sequencer = await Sequencer.open(options);
    const first = appendText(sequencer, 'a');
    await first;
    const waiting = [appendText(sequencer, 'b'), appendText(sequencer, 'c')];
    const closed = sequencer.close();
    const results = await Promise.allSettled(waiting);
    await closed;
    await expect(appendText(sequencer, 'd')).rejects.toMatchObject({ code: 'store-failed' });
    await expect(sequencer.publish()).rejects.toMatchObject({ code: 'store-failed' });
    await sequencer.close();
    const { leaves } = (await readLog(options.storage))!;
    expect(texts(leaves)).toEqual(
      ['a', 'b', 'c'].slice(0, 1 + results.filter((one) => one.status === 'fulfilled').length),
    );
  });
});

describe('the time of a leaf', () => {
  /** Appends one leaf and returns the time it got. */
  const stamp = async (sequencer: Sequencer) =>
    (await sequencer.append((seconds) => Buffer.from(`at ${seconds}`))).integratedAtSeconds;

  it('is the clock, and never before that of the leaf before it', async () => {
    const clock = new FakeClock(1_000_000);
    const options = await makeOptions({ clock });
    let sequencer = await Sequencer.open(options);
    expect(await stamp(sequencer)).toBe(1_000_000);
    clock.wall += 10_900;
    expect(await stamp(sequencer)).toBe(1_000_010);
    clock.wall -= 200_000;
    expect(await stamp(sequencer)).toBe(1_000_010);
    await sequencer.close();
    sequencer = await Sequencer.open(options);
    expect(await stamp(sequencer)).toBe(1_000_010);
    clock.wall += 201_000;
    expect(await stamp(sequencer)).toBe(1_000_011);
    await sequencer.flush();
    expect(texts((await readLog(options.storage))!.leaves)[1]).toBe('at 1000010');
    await sequencer.close();
  });

  it('is the clock again when the last leaf is over five minutes ahead of it', async () => {
    const clock = new FakeClock(1_000_000);
    const sequencer = await Sequencer.open(await makeOptions({ clock }));
    clock.wall += 86_400_000;
    await stamp(sequencer);
    clock.wall -= 86_400_000;
    expect(await stamp(sequencer)).toBe(1_000_000);
    clock.wall += 300_000;
    await stamp(sequencer);
    clock.wall -= 300_000;
    expect(await stamp(sequencer)).toBe(1_000_300);
    await sequencer.close();
  });
});

describe('two sequencers', () => {
  it('cannot have one log: the second is told that it is busy', async () => {
    const options = await makeOptions();
    const first = await Sequencer.open(options);
    await expect(Sequencer.open(options)).rejects.toMatchObject({ code: 'log-busy' });
    await appendText(first, 'a');
    await first.close();
    await (await Sequencer.open(options)).close();
  });

  it('are kept apart by compare-and-swap where the store has no lock: the newer one stays', async () => {
    const options = await makeOptions();
    options.state.lock = async () => () => {};
    const older = await Sequencer.open(options);
    await appendText(older, 'a');
    await older.flush();
    const newer = await Sequencer.open(options);
    await expect(appendText(older, 'lost')).rejects.toMatchObject({ code: 'log-busy' });
    await expect(appendText(older, 'lost')).rejects.toMatchObject({ code: 'log-busy' });
    await expect(older.publish()).rejects.toMatchObject({ code: 'log-busy' });
    await appendText(newer, 'b');
    await newer.flush();
    expect(texts((await readLog(options.storage))!.leaves)).toEqual(['a', 'b']);
    await older.close();
    await newer.close();
  });
});

describe('state and tree that do not fit', () => {
  /** A log of three leaves, published. */
  async function makeLog(): Promise<SequencerOptions & { storage: MemoryStorage; state: MemoryStorage }> {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    for (const text of ['a', 'b', 'c']) await appendText(sequencer, text);
    await sequencer.flush();
    await sequencer.close();
    return options as never;
  }

  const flip = ({ files }: MemoryStorage, path: string, at: number) => {
    files.get(path)![at]! ^= 1;
  };
  const copyOf = ({ files }: MemoryStorage) => new Map(files);

  it.each<[string, (log: { storage: MemoryStorage; state: MemoryStorage }) => void | Promise<void>]>([
    ['the private state is gone', ({ state }) => state.files.clear()],
    ['the head is damaged', ({ state }) => void state.files.set('head.json', Buffer.from('{}'))],
    ['the last partial tile is gone', ({ storage }) => void storage.files.delete('tile/0/000.p/3')],
    ['the last bundle is gone', ({ storage }) => void storage.files.delete('tile/entries/000.p/3')],
    ['the last tile has another hash', ({ storage }) => flip(storage, 'tile/0/000.p/3', 70)],
    ['the last bundle has another leaf', ({ storage }) => flip(storage, 'tile/entries/000.p/3', 2)],
    ['the checkpoint was lost', ({ storage }) => void storage.files.delete('checkpoint')],
    ['the checkpoint was lost with its tiles', ({ storage }) => storage.files.clear()],
  ])('are not gone on from: %s', async (_, damage) => {
    const log = await makeLog();
    await damage(log);
    await expect(Sequencer.open(log)).rejects.toMatchObject({ code: 'log-invalid' });
  });

  it('are not gone on from: the private state is an older copy', async () => {
    const log = await makeLog();
    const older = copyOf(log.state);
    const sequencer = await Sequencer.open(log);
    await appendText(sequencer, 'd');
    await sequencer.flush();
    await sequencer.close();
    log.state.files.clear();
    for (const [path, bytes] of older) log.state.files.set(path, bytes);
    await expect(Sequencer.open(log)).rejects.toMatchObject({ code: 'log-invalid' });
  });

  it('are not gone on from: the private state is an older copy, taken in the middle of a step', async () => {
    const log = await makeLog();
    const remove = log.state.remove.bind(log.state);
    let older = copyOf(log.state);
    log.state.remove = (path) => {
      older = copyOf(log.state);
      return remove(path);
    };
    const sequencer = await Sequencer.open(log);
    await appendText(sequencer, 'd');
    await sequencer.flush();
    const inStep = older;
    await appendText(sequencer, 'e');
    await sequencer.flush();
    await sequencer.close();
    expect([...inStep.keys()].some((path) => path.startsWith('staged/4-'))).toBe(true);
    log.state.files.clear();
    for (const [path, bytes] of inStep) log.state.files.set(path, bytes);
    await expect(Sequencer.open(log)).rejects.toMatchObject({ code: 'log-invalid' });
    expect((await readLog(log.storage))!.checkpoint.size).toBe(5);
  });

  it('are not gone on from: another log was published', async () => {
    const [log, other] = [await makeLog(), await makeLog()];
    const forked = { ...other, state: log.state };
    const sequencer = await Sequencer.open({ ...log, witnesses: [] });
    await appendText(sequencer, 'd');
    await sequencer.close();
    const twin = await Sequencer.open({ ...other, witnesses: [] });
    await appendText(twin, 'another d');
    await twin.close();
    await expect(Sequencer.open({ ...forked, witnesses: [] })).rejects.toMatchObject({ code: 'log-invalid' });
  });

  it('of a log set back with both are refused by the witness', async () => {
    const log = await makeLog();
    const older = [copyOf(log.state), copyOf(log.storage)];
    const sequencer = await Sequencer.open(log);
    await appendText(sequencer, 'd');
    await sequencer.flush();
    await sequencer.close();
    for (const [at, storage] of [log.state, log.storage].entries()) {
      storage.files.clear();
      for (const [path, bytes] of older[at]!) storage.files.set(path, bytes);
    }
    const faults: WartaError[] = [];
    const forked = await Sequencer.open({ ...log, onFault: (error) => faults.push(error) });
    await appendText(forked, 'another d');
    await forked.flush();
    expect((await readLog(log.storage))!.witnessed).toBe(false);
    expect(faults[0]).toMatchObject({ code: 'witness-failed', message: expect.stringContaining('set back') });
    await forked.close();
  });
});

describe('witnesses', () => {
  /** Witnesses of the test's log, each with a switch. */
  async function makeWitnesses(count: number) {
    const switches = Array.from({ length: count }, () => ({ isDown: false, asked: 0 }));
    const clients = await Promise.all(
      switches.map(async (one, at) => {
        const name = `witness.example/w${at}`;
        const client = createLocalWitness(await openWitness(undefined, { name, privateKey: newKey(), clock }));
        return {
          ...client,
          cosign: async (request) => {
            one.asked++;
            if (one.isDown) throw new WartaError('witness-failed', 'down');
            return client.cosign(request);
          },
        } satisfies WitnessClient;
      }),
    );
    const policy = { ...POLICY, witnesses: clients, quorum: 2 };
    return { switches, clients, policy };
  }
  const clock = new FakeClock();

  it('that are missing do not stop the log, and are asked again', async () => {
    const { switches, clients, policy } = await makeWitnesses(3);
    const faults: WartaError[] = [];
    const onFault = (error: WartaError) => faults.push(error);
    const options = await makeOptions({ witnesses: clients, quorum: 2, retryMillis: 10, clock, onFault });
    switches[0]!.isDown = true;
    switches[1]!.isDown = true;
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    expect(await readLog(options.storage, policy)).toMatchObject({ witnessed: false, leaves: [Buffer.from('a')] });
    expect(faults.length).toBeGreaterThan(0);
    switches[0]!.isDown = false;
    await waitUntil('the quorum is met', async () => (await readLog(options.storage, policy))!.witnessed);
    switches[1]!.isDown = false;
    await waitUntil('all cosigned', async () => (await readLog(options.storage, policy))!.cosignatures.length === 3);
    await sequencer.close();
  });

  it('are waited for up to the quorum, and one that hangs is not', async () => {
    const { clients, policy } = await makeWitnesses(3);
    const hanging = { ...clients[0]!, cosign: () => new Promise<never>(() => {}) };
    const options = await makeOptions({ witnesses: [hanging, ...clients.slice(1)], quorum: 2, clock });
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    expect((await readLog(options.storage, policy))!.witnessed).toBe(true);
    await sequencer.close();
  });

  it('cosign anew when the same checkpoint is published again; one that is down keeps its last word', async () => {
    const { switches, clients, policy } = await makeWitnesses(2);
    const options = await makeOptions({ witnesses: clients, clock });
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    const before = (await readLog(options.storage, policy))!;
    clock.wall += 600_000;
    switches[1]!.isDown = true;
    await sequencer.publish();
    const after = (await readLog(options.storage, policy))!;
    const [old] = before.cosignatures.map(({ timeSeconds }) => timeSeconds);
    expect(after.cosignatures.map(({ timeSeconds }) => timeSeconds)).toEqual([old! + 600, old]);
    expect(after.checkpoint).toEqual(before.checkpoint);
    await sequencer.close();
    const again = await Sequencer.open(options);
    expect((await readLog(options.storage, policy))!.cosignatures).toHaveLength(2);
    await again.close();
  });

  it('that answer late are not published with a checkpoint that they did not see', async () => {
    const { clients, policy } = await makeWitnesses(2);
    const late = Promise.withResolvers<void>();
    const slow: WitnessClient = {
      ...clients[0]!,
      cosign: async (request) => {
        if (request.size === 2) throw new WartaError('witness-failed', 'down');
        const signature = await clients[0]!.cosign(request);
        if (request.size === 1) await late.promise;
        return signature;
      },
    };
    const options = await makeOptions({ witnesses: [slow, clients[1]!], quorum: 1, clock });
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    expect((await readLog(options.storage, policy))!.cosignatures.map(({ name }) => name)).toEqual([clients[1]!.name]);
    await appendText(sequencer, 'b');
    await sequencer.flush();
    late.resolve();
    await sequencer.publish();
    await sequencer.publish();
    const log = (await readLog(options.storage, policy))!;
    expect([log.checkpoint.size, log.cosignatures.map(({ name }) => name)]).toEqual([2, [clients[1]!.name]]);
    await sequencer.close();
  });

  it('whose signatures are none are not published', async () => {
    const { clients, policy } = await makeWitnesses(2);
    const liar = createCosigner(clients[0]!.name, newKey());
    const lying = { ...clients[0]!, cosign: async () => liar.cosign('something else\n', 1) };
    const options = await makeOptions({ witnesses: [lying, clients[1]!], clock });
    const sequencer = await Sequencer.open(options);
    await sequencer.flush();
    expect((await readLog(options.storage, policy))!.cosignatures.map(({ name }) => name)).toEqual([clients[1]!.name]);
    expect(Buffer.from(sequencer.checkpoint().note).toString()).not.toContain(clients[0]!.name);
    await sequencer.close();
  });
});

describe('partial tiles', () => {
  it('stay until another tile after theirs is full', async () => {
    const options = await makeOptions();
    const storage = options.storage as MemoryStorage;
    const sequencer = await Sequencer.open(options);
    const partials = () => [...storage.files.keys()].filter((path) => path.includes('.p/')).toSorted();
    const grow = async (count: number) => {
      await Promise.all(Array.from({ length: count }, (_, at) => appendText(sequencer, `${at}`)));
      await sequencer.flush();
    };
    await grow(3);
    await grow(200);
    const first = ['tile/0/000.p/203', 'tile/0/000.p/3', 'tile/entries/000.p/203', 'tile/entries/000.p/3'];
    expect(partials()).toEqual(first);
    await grow(TILE_WIDTH);
    const second = ['tile/0/001.p/203', 'tile/1/000.p/1', 'tile/entries/001.p/203'];
    expect(partials()).toEqual([...first, ...second].toSorted());
    await grow(TILE_WIDTH);
    const third = ['tile/0/002.p/203', 'tile/1/000.p/2', 'tile/entries/002.p/203'];
    expect(partials()).toEqual([...second, ...third].toSorted());
    await grow(5 * TILE_WIDTH);
    expect(partials().filter((path) => /\/00[0-5]\.p/.test(path) && !path.startsWith('tile/1'))).toEqual([]);
    expect(await readLog(storage)).toMatchObject({ checkpoint: { size: 203 + 7 * TILE_WIDTH } });
    await sequencer.close();
  });

  it('leave nothing staged behind', async () => {
    const options = await makeOptions();
    const sequencer = await Sequencer.open(options);
    for (let at = 0; at < 5; at++) await appendText(sequencer, `${at}`);
    await sequencer.flush();
    await sequencer.close();
    expect([...(options.state as MemoryStorage).files.keys()]).toEqual(['head.json']);
    expect(publicKeyOf(options.privateKey)).toBe(POLICY.publicKey);
  });
});
