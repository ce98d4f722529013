import { setTimeout as sleep } from 'node:timers/promises';
import { WartaError } from '../base/errors.ts';
import { annexPath } from '../register/annex.ts';
import type { IncidentBook } from './incident-book.ts';
import type { Mirror } from './mirror.ts';
import type { NodeStore } from './node-store.ts';
import type { AnnexWanted } from './statement-source.ts';

/** Requests at once. */
const AT_ONCE = 16;
/** After a failure an annex is asked for again after so long, then after twice as long each time. */
const FIRST_RETRY_SECONDS = 5;
const MAX_RETRY_SECONDS = 600;
/** Annexes are committed together up to so many octets: ten thousand small commits would take longer than fetching. */
const BATCH_BYTES = 16 * 1024 * 1024;
/** Annexes kept in memory when they cannot be stored, so many octets at most. */
const MAX_UNSAVED_BYTES = 64 * 1024 * 1024;

/** Where sealed annexes are had: a server that asks who is there. */
export interface SealedSource {
  readonly mirror: Mirror;
  /** Returns the Authorization header for one path. */
  authorize(path: string): Promise<string>;
}

export interface AnnexFetcherOptions {
  readonly store: NodeStore;
  readonly mirrors: readonly Mirror[];
  readonly sealed?: SealedSource;
  readonly incidents: IncidentBook;
}

/** One call's share of the work. */
interface Errand {
  readonly verify: (annex: AnnexWanted, bytes: Uint8Array) => void;
  readonly nowSeconds: number;
}

/**
 * Fetches annexes by digest, verifies each at once, and keeps them. The mirror that gave the last good one is asked first, so
 * that one that is down or lies costs its time once and not for every annex.
 */
export class AnnexFetcher {
  readonly #options: AnnexFetcherOptions;
  /** Annexes asked for; a slow one outlasts the call that asked for it. */
  readonly #underWay = new Set<string>();
  /** Annexes that nobody had, and when to ask again: one that will never be there must not be asked for at every poll. */
  readonly #failed = new Map<string, { times: number; untilSeconds: number; sizeBytes: number }>();
  #first: Mirror | undefined;
  #batch = new Map<string, Uint8Array>();
  #batchBytes = 0;

  constructor(options: AnnexFetcherOptions) {
    this.#options = options;
  }

  /**
   * Fetches what is not being fetched already. Returns when all of it is there or cannot be had, or after `patienceMillis`:
   * then the rest goes on arriving, and `verify` is called for it later. A large annex must not keep a release waiting.
   *
   * @throws {WartaError} `store-failed`; what cannot be fetched is an incident and stays missing.
   */
  async fetch(
    wanted: readonly AnnexWanted[],
    verify: (annex: AnnexWanted, bytes: Uint8Array) => void,
    nowSeconds: number,
    onFetched?: (done: number, total: number) => void,
    patienceMillis?: number,
  ): Promise<void> {
    const due = wanted.filter((annex) => this.#isDue(annex, nowSeconds));
    for (const { digest } of due) this.#underWay.add(digest);
    const queue = due.values();
    let done = 0;
    let tell = onFetched;
    let fault: unknown;
    const work = async () => {
      for (const annex of queue) {
        try {
          await this.#fetchOne(annex, { verify, nowSeconds });
        } catch (error) {
          fault ??= error; // the others are wanted all the same
        }
        this.#underWay.delete(annex.digest);
        tell?.(++done, due.length);
      }
    };
    const finish = async () => {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, due.length) }, work));
      this.save();
      if (fault !== undefined) throw fault;
    };
    const all = finish();
    if (patienceMillis === undefined || (await isSettledWithin(all, patienceMillis))) {
      await all;
      return;
    }
    tell = undefined;
    all.catch((error: unknown) => this.#options.incidents.note(error, nowSeconds));
  }

  #isDue({ digest, sizeBytes }: AnnexWanted, nowSeconds: number): boolean {
    if (this.#underWay.has(digest)) return false;
    const failed = this.#failed.get(digest);
    // Whoever gave it too small a size must not keep another notice's annex from being fetched.
    return failed === undefined || failed.untilSeconds <= nowSeconds || failed.sizeBytes < sizeBytes;
  }

  async #fetchOne(annex: AnnexWanted, errand: Errand): Promise<void> {
    const { digest } = annex;
    for (const mirror of this.#sourcesOf(annex, errand.nowSeconds)) {
      try {
        const bytes = await this.#request(mirror, annex);
        errand.verify(annex, bytes);
        if (!annex.sealed) this.#first = mirror;
        this.#failed.delete(digest);
        this.#keep(digest, bytes);
        return;
      } catch (error) {
        if (error instanceof WartaError && error.code === 'store-failed') throw error;
        this.#options.incidents.note(error, errand.nowSeconds);
      }
    }
    const times = (this.#failed.get(digest)?.times ?? 0) + 1;
    const untilSeconds = errand.nowSeconds + Math.min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (times - 1));
    this.#failed.set(digest, { times, untilSeconds, sizeBytes: annex.sizeBytes });
  }

  /** Returns where an annex may be had, the likeliest first. */
  #sourcesOf({ sealed }: AnnexWanted, nowSeconds: number): readonly Mirror[] {
    const { sealed: source, mirrors, incidents } = this.#options;
    if (!sealed) return this.#first === undefined ? mirrors : [...new Set([this.#first, ...mirrors])];
    if (source !== undefined) return [source.mirror];
    const reason = 'notices have sealed annexes: set register.sealed to the server that gives them to this node';
    incidents.note(new WartaError('annex-missing', reason), nowSeconds);
    return [];
  }

  async #request(mirror: Mirror, annex: AnnexWanted): Promise<Uint8Array> {
    const path = annexPath(annex.digest, annex.sealed);
    const authorization = annex.sealed ? await this.#options.sealed!.authorize(path) : undefined;
    const answer = await mirror.get({ path, maxBytes: annex.sizeBytes, authorization });
    if (answer.kind !== 'whole') throw new WartaError('annex-missing', `${mirror.url} has no ${path}`);
    return answer.bytes;
  }

  #keep(digest: string, bytes: Uint8Array): void {
    this.#batch.set(digest, bytes);
    this.#batchBytes += bytes.length;
    if (this.#batchBytes >= BATCH_BYTES) this.save();
  }

  /**
   * Stores what was fetched and is not stored yet: nothing, but after a failure.
   *
   * @throws {WartaError} `store-failed`; then it is kept for the next time, unless it is much.
   */
  save(): void {
    if (this.#batch.size === 0) return;
    try {
      this.#options.store.commit({ annexes: this.#batch });
    } catch (error) {
      if (this.#batchBytes < MAX_UNSAVED_BYTES) throw error;
      this.#drop(); // the register's reader has it; after a restart it is fetched again
      throw error;
    }
    this.#drop();
  }

  #drop(): void {
    this.#batch = new Map();
    this.#batchBytes = 0;
  }
}

/** Waits for a promise to settle, so long at most; returns whether it did. */
async function isSettledWithin(promise: Promise<unknown>, millis: number): Promise<boolean> {
  const done = new AbortController();
  const settled = promise.then(
    () => true,
    () => true,
  );
  const late = sleep(millis, false, { ref: false, signal: done.signal }).catch(() => false);
  const first = await Promise.race([settled, late]);
  done.abort();
  return first;
}
