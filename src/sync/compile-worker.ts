import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { describeError, WartaError } from '../base/errors.ts';
import { RuleTable } from '../rules/rule-table.ts';
import { saveTable } from '../rules/table-file.ts';
import type { CompileMessage, CompileStart } from './compile-link.ts';
import { compileList } from './compile-list.ts';
import { DirectorySource } from './directory-source.ts';

/** Nice value of the compile thread: on Linux it holds for this thread alone, so queries go first on a busy machine. */
const BACKGROUND = 19;

const start = workerData as CompileStart;
const tell = (message: CompileMessage) => parentPort!.postMessage(message);

function fail(error: unknown): void {
  tell({
    kind: 'failed',
    code: error instanceof WartaError ? error.code : 'store-failed',
    message: describeError(error),
  });
}

/** Compiles, hands the table over, and then saves it here: writing a big table would hold up the event loop for seconds. */
try {
  if (start.background) setPriority(BACKGROUND);
  const source = new DirectorySource(start.directory);
  const onProgress = (share: number) => tell({ kind: 'progress', share });
  const list = compileList(source, start.terms, start.termsDigest, start.nowSeconds, onProgress);
  tell({ kind: 'list', list });
  if (new RuleTable(list.table).describe().source !== start.saved) saveTable(start.tableFile, list.table);
  tell({ kind: 'saved' });
} catch (error) {
  fail(error);
}
