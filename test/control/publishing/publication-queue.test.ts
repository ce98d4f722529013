import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WartaError } from '../../../src/base/errors.ts';
import { PublicationQueue } from '../../../src/control/publishing/publication-queue.ts';
import type { Appended, ReadAnnex } from '../../../src/control/publishing/register-publisher.ts';
import type { DraftRecord, Store } from '../../../src/control/store.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';

let clock: FakeClock;
let store: Store;
let queue: PublicationQueue;
let faults: unknown[];
let events: object[];
/** What the log does with the next statement; a number is the leaf it takes. */
let outcome: number | WartaError;
/** What the log has, and what was handed in. */
let found: Appended | undefined;
let submitted: { envelope: string; annex?: string }[];

const publisher = {
  async submit(envelope: Uint8Array, readAnnex?: ReadAnnex): Promise<Appended> {
    const annex = await readAnnex?.(1000);
    submitted.push({ envelope: decode(envelope), ...(annex && { annex: decode(annex) }) });
    if (outcome instanceof WartaError) throw outcome;
    return { id: 's', index: outcome++, integratedAtSeconds: nowSeconds() };
  },
  find: async () => found,
};

const nowSeconds = () => Math.floor(clock.wall / 1000);
const decode = (bytes: Uint8Array) => Buffer.from(bytes).toString();

beforeEach(async () => {
  clock = new FakeClock();
  faults = [];
  events = [];
  submitted = [];
  outcome = 7;
  found = undefined;
  store = await openStore(`sqlite:${join(makeFolder(), 'control.db')}`);
  const sink = {
    emit: async (_: unknown, event: string, data: object) => void events.push({ event, ...data }),
    wake() {},
  };
  queue = new PublicationQueue({ store, publisher, events: sink, clock, onFault: (error) => faults.push(error) });
});

afterEach(async () => {
  await queue.stop();
  await store.close();
});

/** Queues a statement as the API does. */
async function put(id: string, annex?: string): Promise<void> {
  const draft: DraftRecord = {
    ...{
      id: `draft-${id}`,
      type: 'halt',
      authority: 'mcmc',
      reference: `R/${id}`,
      state: 'queued',
      body: {},
      draftedBy: 'one',
    },
    ...{
      approvals: [],
      overrides: [],
      preflight: null,
      annexDigest: annex === undefined ? null : `annex-${id}`,
      sealed: false,
    },
    ...{ payload: randomBytes(4), statementId: id, signatures: [], appealReference: null, leafIndex: null },
    ...{ integratedSeconds: null, refusal: null, createdSeconds: 1, updatedSeconds: 1, version: 1 },
  };
  await store.transaction(async (tables) => {
    await tables.drafts.insert(draft);
    const { annexDigest } = draft;
    if (annexDigest !== null) {
      const bytes = Buffer.from(annex!);
      await tables.annexes.insert({ id: annexDigest, entries: 1, sizeBytes: bytes.length, bytes, createdSeconds: 1 });
    }
    const times = { queuedSeconds: nowSeconds(), nextAttemptSeconds: 0 };
    const envelope = Buffer.from(`envelope ${id}`);
    await tables.publications.insert({
      id,
      draftId: draft.id,
      envelope,
      annexDigest,
      state: 'queued',
      attempts: 0,
      ...times,
    });
  });
}

const draftOf = (id: string) => store.read((tables) => tables.drafts.get(`draft-${id}`));
const publicationOf = (id: string) => store.read((tables) => tables.publications.get(id));

describe('the publication queue', () => {
  it('hands a statement in with its annex, and records where it is', async () => {
    await put('a', 'line');
    await queue.drain();
    expect(submitted).toEqual([{ envelope: 'envelope a', annex: 'line' }]);
    expect(await draftOf('a')).toMatchObject({ state: 'published', leafIndex: 7, integratedSeconds: nowSeconds() });
    expect(await publicationOf('a')).toMatchObject({ state: 'published' });
    expect(events).toMatchObject([{ event: 'statement.published', id: 'a', index: 7, reference: 'R/a' }]);
    const [entry] = await store.read((tables) => tables.audit.list({ limit: 9 }));
    expect(entry).toMatchObject({ actor: 'sequencer', action: 'draft published', subject: 'drafts/draft-a' });
  });

  it('publishes what was queued first first, and each once', async () => {
    for (const id of ['a', 'b', 'c']) {
      await put(id);
      clock.pass(1000);
    }
    await queue.drain();
    await queue.drain();
    expect(submitted.map(({ envelope }) => envelope)).toEqual(['envelope a', 'envelope b', 'envelope c']);
  });

  it('finds in the log what a process that died had appended', async () => {
    await put('a');
    outcome = new WartaError('statement-replayed', 'there already');
    found = { id: 'a', index: 3, integratedAtSeconds: 1000 };
    await queue.drain();
    expect(await draftOf('a')).toMatchObject({ state: 'published', leafIndex: 3, integratedSeconds: 1000 });
    expect(faults).toEqual([]);
  });

  it('returns what the log refuses, with the reason', async () => {
    await put('a');
    outcome = new WartaError('statement-out-of-scope', 'not in scope');
    await queue.drain();
    const refusal = { code: 'statement-out-of-scope', message: 'not in scope' };
    expect(await draftOf('a')).toMatchObject({ state: 'refused', refusal, leafIndex: null });
    expect(await publicationOf('a')).toBeUndefined();
    expect(events).toEqual([]);
  });

  // After a change of hands the clock of the new sequencer may be a second behind the newest leaf: that passes.
  it.each(['trust-expired', 'log-busy', 'store-failed', 'statement-backdated'] as const)(
    'tries again later after %s, each time later',
    async (code) => {
      await put('a');
      await put('b');
      outcome = new WartaError(code, 'not now');
      const waits: number[] = [];
      for (let attempt = 0; attempt < 9; attempt++) {
        await queue.drain();
        const { attempts, nextAttemptSeconds } = (await publicationOf('a'))!;
        expect(attempts).toBe(attempt + 1);
        waits.push(nextAttemptSeconds - nowSeconds());
        clock.pass((nextAttemptSeconds - nowSeconds()) * 1000);
      }
      expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
      expect(await draftOf('a')).toMatchObject({ state: 'queued' });
      outcome = 1;
      await queue.drain();
      expect(await draftOf('a')).toMatchObject({ state: 'published', leafIndex: 1 });
      expect(await draftOf('b')).toMatchObject({ state: 'published', leafIndex: 2 });
    },
  );

  it('is not held up by one that has to wait', async () => {
    await put('a');
    outcome = new WartaError('trust-expired', 'not now');
    await queue.drain();
    await put('b');
    outcome = 4;
    await queue.drain();
    expect(await draftOf('b')).toMatchObject({ state: 'published' });
    expect(await draftOf('a')).toMatchObject({ state: 'queued' });
  });
});
