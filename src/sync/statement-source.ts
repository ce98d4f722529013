import type { AnnexSource, StatementLeaf } from '../register/verify-statement.ts';

/** The register as it is now. */
export interface SourceReading {
  /** Text of authorities.json. */
  authorities: string;
  leaves: Iterable<StatementLeaf>;
  /** About how many there are, for the progress bar. */
  leafCount?: number;
  annexes: AnnexSource;
  /** Changes whenever any of it changes. */
  fingerprint: string;
}

/** An annex that a good notice names and that is not at hand. */
export interface AnnexWanted {
  readonly digest: string;
  readonly entries: number;
  readonly sizeBytes: number;
  readonly sealed: boolean;
}

/** Where statements come from: the log, or a directory. Everything behind it is untrusted until verified. */
export interface StatementSource {
  /**
   * Looks for news.
   *
   * @throws {WartaError} when it cannot look; what was read before stands.
   */
  poll(nowSeconds: number): Promise<void>;
  /**
   * Returns the register as of the last `poll`.
   *
   * @throws {WartaError} `store-failed`, `authorities-invalid` when there is nothing that could be read.
   */
  read(): SourceReading;
  /**
   * Fetches annexes, which the source has from elsewhere; `verify` throws for bytes that are not the annex. What cannot be
   * had stays missing, and a later call may find it. With `patienceMillis` it returns after so long at the latest; what
   * arrives later is given to `verify` then.
   *
   * @throws {WartaError} `store-failed` when they cannot be kept; `verify` has seen them all the same.
   */
  fetchAnnexes?(
    wanted: readonly AnnexWanted[],
    verify: (annex: AnnexWanted, bytes: Uint8Array) => void,
    nowSeconds: number,
    onFetched?: (done: number, total: number) => void,
    patienceMillis?: number,
  ): Promise<void>;
}
