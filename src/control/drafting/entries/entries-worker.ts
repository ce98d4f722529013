import { parentPort, workerData } from 'node:worker_threads';
import { WartaError } from '../../../base/errors.ts';
import { composeEntries, type EntriesJob } from './compose-entries.ts';

/** What the worker answers: the annex, the faults, or the refusal of the whole. */
export type WorkerAnswer =
  | ReturnType<typeof composeEntries>
  | { readonly refusal: { readonly code: WartaError['code']; readonly message: string } };

function work(job: EntriesJob): WorkerAnswer {
  try {
    return composeEntries(job);
  } catch (error) {
    if (error instanceof WartaError) return { refusal: { code: error.code, message: error.message } };
    throw error;
  }
}

parentPort!.postMessage(work(workerData as EntriesJob));
