import type { ErrorCode } from '../base/errors.ts';
import type { CompiledList, ListTerms } from './compile-list.ts';

/** What a compile thread is started with. */
export interface CompileStart {
  directory: string;
  terms: ListTerms;
  termsDigest: string;
  nowSeconds: number;
  /** Leave the processor to the data plane: it serves while this compiles. */
  background: boolean;
  /** Where the table is saved. */
  tableFile: string;
}

/** What it says: how far it is, the list, that it is saved; or why not. A list may come and the saving still fail. */
export type CompileMessage =
  | { kind: 'progress'; share: number }
  | { kind: 'list'; list: CompiledList }
  | { kind: 'saved' }
  | { kind: 'failed'; code: ErrorCode; message: string };
