import { getRandomValues } from 'node:crypto';
import { type Authorities, parseAuthorities } from '../register/authorities.ts';
import { type ListSums, ListTable } from '../register/list-table.ts';
import { type Pack, parsePack } from '../register/pack.ts';
import { findMissingAnnexes, readRegister } from '../register/read-register.ts';
import { createSlimMemo, type MissingAnnex } from '../register/register-memo.ts';
import type { AnnexSource, StatementLeaf, Verdict } from '../register/verify-statement.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';

/** What a compiler keeps to: for whom it compiles, under which policy pack, and what every answer says of the node. */
export interface CompilerTerms {
  licensee: string;
  /** Bytes of the policy pack. */
  pack: Uint8Array;
  answer: AnswerOptions;
}

/** The register as it is at one moment. */
export interface ListReading {
  /** Text of authorities.json. When it differs from the last reading's, everything is verified anew. */
  authorities: string;
  /** Every statement there is; their order does not matter. */
  leaves: Iterable<StatementLeaf>;
  /** How many there are, if known: for progress. */
  leafCount?: number;
  annexes: AnnexSource;
  /** Digest of all of it. */
  fingerprint: string;
}

/** A compiled list and the account of how it came about. */
export interface CompiledList extends ListSums {
  table: SharedArrayBuffer;
  /** Whether `table` is another than the last compilation's: nothing need be swapped or saved when it is not. */
  tableChanged: boolean;
  verdicts: readonly Verdict[];
  newestSignedAtSeconds?: number;
  /** When a statement signed ahead starts to count: compile again then. */
  nextStatementSeconds?: number;
  /** The whole second the list was folded for. */
  foldedAtSeconds: number;
  seconds: number;
}

type OnProgress = (share: number) => void;

/** Shares of the work, for the progress bar: statements up to the first, annexes up to the second, then rules. */
const STATEMENTS_SHARE = 0.35;
const VERIFY_SHARE = 0.7;

/**
 * Compiles one node's list again and again as the register grows: reads, verifies, folds and compiles. The first time takes
 * seconds for a million entries: give it a thread. After that what was verified is not verified again, and a few new or
 * ended notices are patched into a copy of the last table; both come to the same list as compiling everything anew, which
 * happens when authorities change or the table has no room left.
 */
export class ListCompiler {
  readonly #terms: CompilerTerms;
  readonly #pack: Pack;
  readonly #packSha256: string;
  readonly #memo = createSlimMemo();
  readonly #listTable: ListTable;
  #authoritiesText = '';
  #authorities: Authorities | undefined;
  #table: SharedArrayBuffer | undefined;

  /** @throws {WartaError} `pack-invalid`. */
  constructor(terms: CompilerTerms) {
    const { pack, sha256 } = parsePack(terms.pack);
    this.#terms = terms;
    this.#pack = pack;
    this.#packSha256 = sha256;
    this.#listTable = new ListTable({ pack, sha256 }, terms.answer, drawSeed);
  }

  /**
   * Verifies what is new with all cores: the signatures on other threads, the rest on this one. What comes after finds it
   * done, or does it alone. Tells `onMissing` of annexes to fetch as soon as it sees that they are.
   *
   * @throws {WartaError} as `compile` does.
   */
  async verifyAhead(
    reading: ListReading,
    nowSeconds: number,
    onProgress?: OnProgress,
    onMissing?: (annex: MissingAnnex) => void,
  ): Promise<void> {
    const { annexes, leaves, leafCount = 0 } = reading;
    const onStatements = (done: number) => onProgress?.(done / Math.max(done, leafCount));
    const context = this.#contextOf(reading, nowSeconds);
    await this.#memo.judgeAhead(leaves, { ...context, annexes, onStatements, onMissing });
  }

  /**
   * Verifies what is new and returns the annexes that good notices name and the source does not have: fetch them, give each
   * to `takeAnnex`, then compile.
   *
   * @throws {WartaError} as `compile` does.
   */
  findWantedAnnexes(reading: ListReading, nowSeconds: number, onProgress?: OnProgress): readonly MissingAnnex[] {
    const context = this.#contextOf(reading, nowSeconds, onProgress);
    const wanted = new Map<string, MissingAnnex>();
    for (const annex of findMissingAnnexes(reading.leaves, reading.annexes, context)) {
      const other = wanted.get(annex.digest);
      // Whoever gives an annex of someone else a wrong size must not keep it from being fetched.
      if (other === undefined || other.sizeBytes < annex.sizeBytes) wanted.set(annex.digest, annex);
    }
    return [...wanted.values()];
  }

  /**
   * Takes up an annex that was fetched: what proves it and what reads it is one go over its bytes.
   *
   * @throws {WartaError} `annex-oversized`, `annex-malformed` or `annex-mismatch` for bytes that are not the annex.
   */
  takeAnnex({ digest }: Pick<MissingAnnex, 'digest'>, bytes: Uint8Array): void {
    this.#memo.takeAnnex(digest, bytes);
  }

  /**
   * Compiles the list in force at `nowSeconds`, and what is known to be in force later.
   *
   * @throws {WartaError} `authorities-invalid`, also for another pack than the one pinned; void statements do not throw.
   */
  compile(reading: ListReading, termsDigest: string, nowSeconds: number, onProgress?: OnProgress): CompiledList {
    const began = performance.now();
    const foldedAtSeconds = Math.floor(nowSeconds);
    const register = readRegister(
      reading.leaves,
      reading.annexes,
      this.#contextOf(reading, nowSeconds, (share) => onProgress?.(VERIFY_SHARE * share)),
    );
    const label = { builtAtSeconds: foldedAtSeconds, source: `${termsDigest}:${reading.fingerprint}` };
    const table = this.#listTable.update(register.folded, label, (done, total) =>
      onProgress?.(VERIFY_SHARE + ((1 - VERIFY_SHARE) * done) / Math.max(1, total)),
    );
    const tableChanged = table !== this.#table;
    this.#table = table;
    return {
      table,
      tableChanged,
      ...this.#listTable.sumUp(),
      verdicts: register.verdicts,
      newestSignedAtSeconds: register.newestSignedAtSeconds,
      nextStatementSeconds: register.nextStatementSeconds,
      foldedAtSeconds,
      seconds: (performance.now() - began) / 1000,
    };
  }

  /** Returns what to read the register with. Other authorities than last time undo everything but the annexes. */
  #contextOf({ authorities, leafCount = 0 }: ListReading, nowSeconds: number, onProgress?: OnProgress) {
    if (this.#authorities === undefined || authorities !== this.#authoritiesText) {
      this.#authorities = parseAuthorities(authorities, this.#packSha256);
      this.#authoritiesText = authorities;
      this.#listTable.reset();
    }
    return {
      authorities: this.#authorities,
      pack: this.#pack,
      licensee: this.#terms.licensee,
      nowSeconds,
      memo: this.#memo,
      onStatements: (done: number) => onProgress?.((STATEMENTS_SHARE * done) / Math.max(done, leafCount)),
      onProgress: (done: number, total: number) =>
        onProgress?.(STATEMENTS_SHARE + ((1 - STATEMENTS_SHARE) * done) / Math.max(1, total)),
    };
  }
}

/** Two random words, so that nobody can prepare names that hit the filter of a table. */
function drawSeed(): [number, number] {
  const [one, other] = getRandomValues(new Uint32Array(2));
  return [one!, other!];
}
