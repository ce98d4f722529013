import { parentPort, workerData } from 'node:worker_threads';
import { describeError, WartaError } from '../base/errors.ts';
import { runWhenIdle } from '../base/libc.ts';
import { saveTable } from '../rules/table-file.ts';
import type { CompileMessage, CompileStart } from './compile-link.ts';
import { compileList } from './compile-list.ts';
import { DirectorySource } from './directory-source.ts';

/** Queries go first for so long; then the thread takes its share even of a busy machine, for a release must not wait. */
const PATIENCE_MILLIS = 15_000;

const start = workerData as CompileStart;
const tell = (message: CompileMessage) => parentPort!.postMessage(message);

/** Compiles, hands the table over, and then saves it here: writing a big table would hold up the event loop for seconds. */
try {
  let patient = start.background;
  if (patient) runWhenIdle(true);
  const began = performance.now();
  const source = new DirectorySource(start.directory);
  const onProgress = (share: number) => {
    tell({ kind: 'progress', share });
    if (!patient || performance.now() - began < PATIENCE_MILLIS) return;
    patient = false;
    runWhenIdle(false);
  };
  const list = compileList(source, start.terms, start.termsDigest, start.nowSeconds, onProgress);
  tell({ kind: 'list', list });
  saveTable(start.tableFile, list.table);
  tell({ kind: 'saved' });
} catch (error) {
  const code = error instanceof WartaError ? error.code : 'store-failed';
  tell({ kind: 'failed', code, message: describeError(error) });
}
