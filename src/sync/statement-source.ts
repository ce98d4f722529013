import type { AnnexSource, StatementLeaf } from '../register/verify-statement.ts';

/** Statements and annexes as they are now. */
export interface SourceReading {
  leaves: StatementLeaf[];
  annexes: AnnexSource;
  /** Digest that changes whenever a statement or an annex appears, disappears or changes. */
  fingerprint: string;
}

/** Where statements come from: a directory, later a log. Everything behind it is untrusted until verified. */
export interface StatementSource {
  /**
   * Reads everything.
   *
   * @throws {WartaError} `store-failed` when the source cannot be read at all.
   */
  read(): SourceReading;
  /** Returns something that changes when `read` would return something else; cheap enough to ask every few seconds. */
  version(): Promise<string>;
}
