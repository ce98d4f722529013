import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { describeError, WartaError } from '../base/errors.ts';
import { type CompiledList, compileList, type ListTerms } from './compile-list.ts';
import { DirectorySource } from './directory-source.ts';

/** What a compile thread is started with. */
export interface CompileStart {
  directory: string;
  terms: ListTerms;
  termsDigest: string;
  nowSeconds: number;
  /** Leave the processor to the data plane: it serves while this compiles. */
  background: boolean;
}

/** What it says: how far it is, then the list or why there is none. */
export type CompileMessage =
  | { kind: 'progress'; share: number }
  | { kind: 'list'; list: CompiledList }
  | { kind: 'failed'; code: string; message: string };

/** Nice value of the compile thread: on Linux it holds for this thread alone, so queries go first on a busy machine. */
const BACKGROUND = 19;

const start = workerData as CompileStart;
if (start.background) setPriority(BACKGROUND);
const tell = (message: CompileMessage) => parentPort!.postMessage(message);
try {
  const source = new DirectorySource(start.directory);
  const onProgress = (share: number) => tell({ kind: 'progress', share });
  tell({ kind: 'list', list: compileList(source, start.terms, start.termsDigest, start.nowSeconds, onProgress) });
} catch (error) {
  tell({
    kind: 'failed',
    code: error instanceof WartaError ? error.code : 'store-failed',
    message: describeError(error),
  });
}
