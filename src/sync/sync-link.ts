import type { ErrorCode } from '../base/errors.ts';
import type { RefusedEntry } from '../register/compile.ts';
import type { PageCounts } from '../register/pages.ts';
import type { Verdict } from '../register/verify-statement.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import type { Incident } from './incident-book.ts';
import type { FollowerStatus } from './register-follower.ts';

/** Everything but the statements that decides what a table holds. Plain data: it is sent to a thread. */
export interface ListTerms {
  licensee: string;
  /** What trust begins with: the text of authorities.json for a directory, 1.root.json for a log. */
  anchor: string;
  /** Bytes of the policy pack. */
  pack: Uint8Array;
  answer: AnswerOptions;
}

/** Where the register is. */
export type RegisterPlace =
  | { kind: 'directory'; directory: string }
  | {
      kind: 'log';
      /** URLs or folders. */
      mirrors: readonly string[];
      /** Base URL of the server that gives this node sealed annexes. */
      sealed?: string;
      /** URL that takes receipts. */
      receipts?: string;
      /** Name of this node, and the file of its private key. */
      node: string;
      keyFile: string;
    };

/** What the sync thread is started with. */
export interface SyncStart {
  place: RegisterPlace;
  /** 1.root.json of a register on a log. */
  pinnedRoot?: string;
  state: string;
  tableFile: string;
}

/** What it is asked. */
export type SyncRequest =
  | {
      kind: 'cycle';
      terms: ListTerms;
      termsDigest: string;
      nowSeconds: number;
      /** Leave the processor to the data plane: it serves while this compiles. */
      background: boolean;
    }
  /** The list is in use: say so in a receipt. */
  | { kind: 'applied'; atSeconds: number; mode: 'enforce' | 'observe'; steersPages: boolean }
  | { kind: 'stop' };

/** What it answers to a cycle: progress, perhaps a list, then that it is done; a list may come and its saving still fail. */
export type SyncMessage =
  | { kind: 'progress'; share: number }
  | { kind: 'list'; list: ListReport }
  | { kind: 'saved' }
  | { kind: 'incident'; incident: Incident }
  | { kind: 'failed'; code: ErrorCode; message: string }
  | { kind: 'done'; status?: SyncStatus };

/** Account of the last compilation, short enough to be handed around. */
export interface ListReport extends PageCounts {
  table: SharedArrayBuffer;
  /** Whether the table is another than the one before. */
  tableChanged: boolean;
  rules: number;
  entries: number;
  /** Statements by verdict: `ok`, or why one does not count. */
  verdictCounts: Readonly<Record<string, number>>;
  /** The first of the void statements. */
  void: readonly Verdict[];
  voidCount: number;
  refused: readonly RefusedEntry[];
  refusedCount: number;
  newestSignedAtSeconds?: number;
  nextStatementSeconds?: number;
  rulesDigest: string;
  foldedAtSeconds: number;
  seconds: number;
}

/** Where the node stands with the log and with its receipts. */
export interface SyncStatus extends FollowerStatus {
  /** Octets of the node's public key in base64: what is enrolled. */
  readonly nodeKey: string;
  readonly receiptsQueued: number;
  readonly receiptsSent: number;
  readonly receiptFault?: string;
}
