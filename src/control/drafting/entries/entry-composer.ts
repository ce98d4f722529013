import { Worker } from 'node:worker_threads';
import { WartaError } from '../../../base/errors.ts';
import type { Annex } from '../../../register/annex.ts';
import { ProblemError } from '../../http/problem.ts';
import { type ComposedEntries, composeEntries, type EntriesJob } from './compose-entries.ts';
import type { WorkerAnswer } from './entries-worker.ts';

/** A list up to this size takes a few milliseconds; a worker takes longer to start. */
const INLINE_MAX_BYTES = 64 * 1024;

const WORKER_MAX_MB = 1024;

/**
 * Composes annexes of uploaded lists without keeping other requests waiting: 40,000 names take a third of a second, which a
 * worker thread spends. One list at a time, so that two large ones do not fill the memory together.
 */
export class EntryComposer {
  #turn: Promise<unknown> = Promise.resolve();

  /** @throws {WartaError} `entries-invalid` with every bad line, `annex-malformed`, `annex-oversized`. */
  async compose(job: EntriesJob): Promise<Annex> {
    const composed = job.bytes.length <= INLINE_MAX_BYTES ? composeEntries(job) : await this.#composeApart(job);
    if ('annex' in composed) return composed.annex;
    const { faults, count } = composed;
    const listed = count > faults.length ? `, the first ${faults.length} of them listed` : '';
    const message = `${count} ${count === 1 ? 'line is' : 'lines are'} bad${listed}: nothing was stored`;
    throw new ProblemError('entries-invalid', message, faults);
  }

  #composeApart(job: EntriesJob): Promise<ComposedEntries> {
    const turn = this.#turn.then(() => composeInWorker(job));
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

async function composeInWorker(job: EntriesJob): Promise<ComposedEntries> {
  const answer = await new Promise<WorkerAnswer>((resolve, reject) => {
    const worker = new Worker(new URL('./entries-worker.ts', import.meta.url), {
      workerData: job,
      resourceLimits: { maxOldGenerationSizeMb: WORKER_MAX_MB },
    });
    worker.once('message', resolve);
    worker.once('error', (error: NodeJS.ErrnoException) => {
      const isTooLarge = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      reject(isTooLarge ? new WartaError('annex-oversized', 'the list is too large: split the notice') : error);
    });
  });
  if ('refusal' in answer) throw new WartaError(answer.refusal.code, answer.refusal.message);
  if (!('annex' in answer)) return answer;
  // A Buffer arrives as the plain bytes it is made of.
  const { bytes } = answer.annex;
  return { annex: { ...answer.annex, bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) } };
}
