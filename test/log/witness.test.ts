import { createHash, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeCheckpoint, openCheckpoint } from '../../src/log/checkpoint.ts';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { composeNote, createSigner, type NoteSignature } from '../../src/log/note.ts';
import { composeRequest, type Witness } from '../../src/log/witness.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { FAULTS, FaultPlan, wrapStorage } from './faulty-storage.ts';
import { MemoryStorage } from './memory-storage.ts';
import { makeLeaves, naiveProof, naiveRoot } from './oracle.ts';
import { LOG_KEY, newKey, ORIGIN, openWitness, POLICY, publicKeyOf } from './test-log.ts';

const leaves = makeLeaves(40);
/** Another history, the same up to ten leaves. */
const forked = [...leaves.slice(0, 10), ...makeLeaves(30, 'forked')];

/** A log's checkpoint of this size as a note. */
function noteOf(size: number, history = leaves, { origin = ORIGIN, key = LOG_KEY, more = [] as NoteSignature[] } = {}) {
  const body = composeCheckpoint({ origin, size, root: naiveRoot(history.slice(0, size)) });
  return composeNote(body, [createSigner(origin, key).sign(body), ...more]);
}

/** A good request to go from one size to another. */
function requestOf(oldSize: number, size: number, history = leaves): Buffer {
  const isProven = oldSize > 0 && oldSize < size;
  return composeRequest(oldSize, isProven ? naiveProof(oldSize, history.slice(0, size)) : [], noteOf(size, history));
}

/** Opens a witness that has cosigned this size, if any. */
async function witnessAt(size: number, options: Parameters<typeof openWitness>[1] = {}): Promise<Witness> {
  const witness = await openWitness(new MemoryStorage(), options);
  if (size > 0) expect((await witness.addCheckpoint(requestOf(0, size))).status).toBe(200);
  return witness;
}

/** A request as text, to be spoilt. */
const change = (request: Buffer, from: string | RegExp, to: string) =>
  Buffer.from(request.toString().replace(from, to));

const ZERO_HASH = `${'A'.repeat(43)}=\n`;
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

describe('add-checkpoint (C2SP tlog-witness)', () => {
  it.each<[number, string, number, Buffer]>([
    [200, 'the first checkpoint', 0, requestOf(0, 7)],
    [200, 'a larger one with its proof', 7, requestOf(7, 20)],
    [200, 'the same one again', 7, requestOf(7, 7)],
    [200, 'the empty tree', 0, requestOf(0, 0)],
    [200, 'one with signatures of others too', 0, composeRequest(0, [], noteOf(7, leaves, { more: [strange()] }))],
    [400, 'nothing', 0, Buffer.alloc(0)],
    [400, 'no empty line', 0, change(requestOf(0, 7), '\n\n', '\n')],
    [400, 'no old size', 0, change(requestOf(0, 7), 'old 0\n', '')],
    [400, 'an old size with a leading zero', 7, change(requestOf(7, 20), 'old 7', 'old 07')],
    [400, 'an old size that is none', 0, change(requestOf(0, 7), 'old 0', 'old x')],
    [400, 'an old size below zero', 0, change(requestOf(0, 7), 'old 0', 'old -1')],
    [400, 'a line that ends in a carriage return', 0, change(requestOf(0, 7), 'old 0\n', 'old 0\r\n')],
    [400, 'a proof line that is no base64', 7, change(requestOf(7, 20), /old 7\n./, 'old 7\n!')],
    [400, 'a proof line that is no hash', 7, change(requestOf(7, 20), 'old 7\n', 'old 7\nAAAA\n')],
    [400, '64 proof lines', 7, change(requestOf(7, 20), 'old 7\n', `old 7\n${ZERO_HASH.repeat(64)}`)],
    [400, 'a checkpoint that is no note', 0, Buffer.from('old 0\n\nlog.example\n7\n')],
    [400, 'a checkpoint without a root', 0, change(requestOf(0, 7), /\n7\n.*\n/, '\n7\n')],
    [400, 'an old size above that of the checkpoint', 0, change(requestOf(0, 7), 'old 0', 'old 8')],
    [403, 'the signature of another key', 0, composeRequest(0, [], noteOf(7, leaves, { key: newKey() }))],
    [403, 'a signature that does not verify', 0, change(requestOf(0, 7), '\n7\n', '\n8\n')],
    [403, 'a bad signature beside a good one', 0, composeRequest(0, [], noteOf(7, leaves, { more: [bad()] }))],
    [404, 'a log it does not watch', 0, composeRequest(0, [], noteOf(7, leaves, { origin: 'other.example' }))],
    [409, 'an old size it does not know', 7, requestOf(3, 20)],
    [409, 'old size zero for a log it knows', 7, requestOf(0, 20)],
    [409, 'a smaller checkpoint', 20, requestOf(7, 15)],
    [409, 'an old size when it knows nothing', 0, requestOf(7, 20)],
    [422, 'a proof that proves nothing', 7, change(requestOf(7, 20), /old 7\n(.*\n)+?\n/, `old 7\n${ZERO_HASH}\n`)],
    [422, 'no proof', 7, composeRequest(7, [], noteOf(20))],
    [422, 'another history', 20, requestOf(20, 30, forked)],
    [422, 'another root for the same size', 20, requestOf(20, 20, forked)],
    [422, 'a proof for the same size', 7, change(requestOf(7, 7), 'old 7\n', `old 7\n${ZERO_HASH}`)],
    [422, 'a proof from nothing', 0, change(requestOf(0, 7), 'old 0\n', `old 0\n${ZERO_HASH}`)],
    [422, 'size zero with another root', 0, wrongEmpty()],
  ])('answers %i to %s', async (status, _, known, request) => {
    const witness = await witnessAt(known);
    const answer = await witness.addCheckpoint(request);
    expect(answer.status).toBe(status);
    expect(answer.contentType).toBe(status === 409 ? 'text/x.tlog.size' : 'text/plain; charset=utf-8');
    if (status === 409) expect(answer.body).toBe(`${known}\n`);
    if (status === 200) return;
    expect(answer.body).not.toContain('—');
    // What was refused changed nothing.
    expect((await witness.addCheckpoint(requestOf(known, 35))).status).toBe(200);
  });

  it('knows the root of the empty tree', () => expect(naiveRoot([]).toString('hex')).toBe(EMPTY));

  it('cosigns what it was sent, as of its clock', async () => {
    const clock = new FakeClock(1_700_000_000);
    const witness = await witnessAt(7, { clock });
    const { body } = await witness.addCheckpoint(requestOf(7, 20));
    const opened = openCheckpoint(Buffer.concat([noteOf(20), Buffer.from(body)]), POLICY);
    expect(opened).toMatchObject({ witnessed: true, newestCosignatureSeconds: 1_700_000_000 });
    clock.pass(5_000);
    const again = await witness.addCheckpoint(requestOf(20, 20));
    const renewed = openCheckpoint(Buffer.concat([noteOf(20), Buffer.from(again.body)]), POLICY);
    expect(renewed.newestCosignatureSeconds).toBe(1_700_000_005);
  });

  it('keeps for monitors what it cosigned last, with both signatures and no others', async () => {
    const witness = await openWitness();
    const hash = createHash('sha256').update(ORIGIN).digest('hex');
    expect(await witness.readCheckpoint(hash)).toBeUndefined();
    await witness.addCheckpoint(composeRequest(0, [], noteOf(7, leaves, { more: [strange()] })));
    const note = (await witness.readCheckpoint(hash))!;
    expect(openCheckpoint(note, POLICY)).toMatchObject({ witnessed: true, checkpoint: { size: 7 } });
    expect(Buffer.from(note).toString()).not.toContain('strange');
    expect(await witness.readCheckpoint('0'.repeat(64))).toBeUndefined();
    expect(await witness.readCheckpoint('../../etc/passwd')).toBeUndefined();
  });

  it('keeps the logs it watches apart', async () => {
    const other = { origin: 'other.example', key: newKey() };
    const logs = [
      { origin: ORIGIN, publicKey: POLICY.publicKey },
      { origin: other.origin, publicKey: publicKeyOf(other.key) },
    ];
    const witness = await openWitness(new MemoryStorage(), { logs });
    expect((await witness.addCheckpoint(requestOf(0, 7))).status).toBe(200);
    expect((await witness.addCheckpoint(composeRequest(0, [], noteOf(3, forked, other)))).status).toBe(200);
    expect((await witness.addCheckpoint(requestOf(7, 20))).status).toBe(200);
    // The key of one log does not speak for another.
    const posing = noteOf(25, leaves, { origin: ORIGIN, key: other.key });
    expect((await witness.addCheckpoint(composeRequest(20, [], posing))).status).toBe(403);
  });
});

describe('a witness', () => {
  it('never cosigns two histories, whatever it is asked and however much at once', async () => {
    const size = fc.nat(40);
    const ask = fc.record({ oldSize: size, size, isForked: fc.boolean(), isAtOnce: fc.boolean() });
    const check = fc.asyncProperty(fc.array(ask, { maxLength: 40 }), async (asks) => {
      const witness = await openWitness();
      const cosigned: { size: number; isForked: boolean }[] = [];
      let open: Promise<unknown>[] = [];
      for (const { oldSize, size, isForked, isAtOnce } of asks) {
        const history = isForked ? forked : leaves;
        const answered = witness.addCheckpoint(requestOf(Math.min(oldSize, size), size, history)).then(({ status }) => {
          if (status === 200) cosigned.push({ size, isForked });
        });
        open.push(answered);
        if (isAtOnce) continue;
        await Promise.all(open);
        open = [];
      }
      await Promise.all(open);
      const sizes = cosigned.map(({ size }) => size);
      expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
      // Up to ten leaves the two are one.
      expect(new Set(cosigned.filter(({ size }) => size > 10).map(({ isForked }) => isForked)).size).toBeLessThan(2);
    });
    await fc.assert(check, { numRuns: 60 });
  });

  it('lets one of many that come at once through, and tells the others where it is', async () => {
    const witness = await witnessAt(10);
    const requests = Array.from({ length: 20 }, (_, at) => requestOf(10, 11 + at, at % 2 === 0 ? leaves : forked));
    const answers = await Promise.all(requests.map((request) => witness.addCheckpoint(request)));
    expect(answers.map(({ status }) => status)).toEqual([200, ...Array(19).fill(409)]);
    expect(answers[19]!.body).toBe('11\n');
  });

  it('remembers over a restart', async () => {
    const folder = makeFolder();
    const first = await openWitness(new DirectoryStorage(folder));
    expect((await first.addCheckpoint(requestOf(0, 20))).status).toBe(200);
    await first.close();
    const second = await openWitness(new DirectoryStorage(folder));
    expect(await second.addCheckpoint(requestOf(0, 30, forked))).toMatchObject({ status: 409, body: '20\n' });
    expect((await second.addCheckpoint(requestOf(20, 30, forked))).status).toBe(422);
    expect((await second.addCheckpoint(requestOf(20, 30))).status).toBe(200);
    await second.close();
  });

  it('shares its state with no other', async () => {
    const folder = makeFolder();
    const first = await openWitness(new DirectoryStorage(folder));
    await expect(openWitness(new DirectoryStorage(folder))).rejects.toMatchObject({ code: 'log-busy' });
    await first.close();
  });

  it('does not take a damaged state for none', async () => {
    const state = new MemoryStorage();
    const witness = await openWitness(state);
    await witness.addCheckpoint(requestOf(0, 20));
    for (const path of state.files.keys()) state.files.set(path, Buffer.from('damaged'));
    await expect(witness.addCheckpoint(requestOf(0, 30, forked))).rejects.toMatchObject({ code: 'note-invalid' });
  });

  it.each(FAULTS)('whose storage %s has cosigned one history when it is open again', async (fault) => {
    const sizes = [3, 20, 35];
    const work = async (state: MemoryStorage, plan: FaultPlan) => {
      const witness = await openWitness(wrapStorage(state, 'witness', plan.around));
      let cosigned = 0;
      for (const size of sizes) {
        const answer = await witness.addCheckpoint(requestOf(cosigned, size)).catch(() => undefined);
        if (answer?.status === 200) cosigned = size;
      }
      await witness.close();
      return cosigned;
    };
    const clean = new FaultPlan(-1, fault);
    expect(await work(new MemoryStorage(), clean)).toBe(35);
    expect(clean.operations).toHaveLength(6);
    for (let at = 0; at < clean.operations.length; at++) {
      const [plan, state] = [new FaultPlan(at, fault), new MemoryStorage()];
      const cosigned = await work(state, plan);
      expect(plan.hasStruck).toBe(true);
      // The other history is the same up to ten leaves: whoever got that far may not go on with it.
      const witness = await openWitness(state);
      const { status, body } = await witness.addCheckpoint(requestOf(cosigned, 40, forked));
      if (cosigned > 10) expect([409, 422]).toContain(status);
      if (status === 409) expect(Number(body)).toBeGreaterThan(cosigned); // it persisted, and never got out
    }
  });
});

/** A signature of a key that nobody knows. */
function strange(key: KeyObject = newKey()): NoteSignature {
  return createSigner('strange.example', key).sign('anything\n');
}

/** A signature line of the log's key that does not verify. */
function bad(): NoteSignature {
  return createSigner(ORIGIN, LOG_KEY).sign('something else\n');
}

/** A signed checkpoint of size zero with the root of something. */
function wrongEmpty(): Buffer {
  const body = composeCheckpoint({ origin: ORIGIN, size: 0, root: naiveRoot(leaves) });
  return composeRequest(0, [], composeNote(body, [createSigner(ORIGIN, LOG_KEY).sign(body)]));
}
