import { getRandomValues } from 'node:crypto';
import { parseAuthorities } from '../register/authorities.ts';
import { compileRules, type RefusedEntry } from '../register/compile.ts';
import { parsePack } from '../register/pack.ts';
import { readRegister } from '../register/read-register.ts';
import type { Verdict } from '../register/verify-statement.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { RuleTableBuilder } from '../rules/rule-table-builder.ts';
import type { StatementSource } from './statement-source.ts';

/** Everything but the statements that decides what a table holds. Plain data: it is sent to a thread. */
export interface ListTerms {
  licensee: string;
  /** Text of authorities.json and bytes of the policy pack, as pinned. */
  authorities: string;
  pack: Uint8Array;
  answer: AnswerOptions;
}

/** A compiled list and the account of how it came about. */
export interface CompiledList {
  table: SharedArrayBuffer;
  rules: number;
  entries: number;
  verdicts: readonly Verdict[];
  /** The first of the refused entries, and how many there are. */
  refused: readonly RefusedEntry[];
  refusedCount: number;
  newestSignedAtSeconds?: number;
  /** When a statement signed ahead starts to count: compile again then. */
  nextStatementSeconds?: number;
  seconds: number;
}

/** Refused entries listed one by one; a register may have a million. */
const MAX_LISTED_REFUSALS = 10_000;

/** Share of the work that verification is, for the progress bar. */
const VERIFY_SHARE = 0.7;

/**
 * Reads, verifies, folds and compiles the whole register for one licensee at one time. Takes seconds for a million entries:
 * run it in a thread of its own.
 *
 * @throws {WartaError} when the source, the authorities or the pack cannot be read; void statements do not throw.
 */
export function compileList(
  source: StatementSource,
  terms: ListTerms,
  termsDigest: string,
  nowSeconds: number,
  onProgress?: (share: number) => void,
): CompiledList {
  const began = performance.now();
  const { pack, sha256 } = parsePack(terms.pack);
  const authorities = parseAuthorities(terms.authorities, sha256);
  const { leaves, annexes, fingerprint } = source.read();
  const reading = readRegister(leaves, annexes, {
    authorities,
    pack,
    licensee: terms.licensee,
    nowSeconds,
    onProgress: (done, total) => onProgress?.((VERIFY_SHARE * done) / Math.max(1, total)),
  });
  const [seedA, seedB] = getRandomValues(new Uint32Array(2));
  const builder = new RuleTableBuilder({
    categories: pack.categories.map((category) => category.id),
    answer: terms.answer,
    seed: [seedA!, seedB!],
    builtAtSeconds: Math.floor(nowSeconds),
    source: `${termsDigest}:${fingerprint}`,
  });
  const compiled = compileRules(reading.folded, pack, builder, (done, total) =>
    onProgress?.(VERIFY_SHARE + ((1 - VERIFY_SHARE) * done) / Math.max(1, total)),
  );
  return {
    table: builder.build(),
    rules: compiled.rules,
    entries: compiled.entries,
    verdicts: reading.verdicts,
    refused: compiled.refused.slice(0, MAX_LISTED_REFUSALS),
    refusedCount: compiled.refused.length,
    newestSignedAtSeconds: reading.newestSignedAtSeconds,
    nextStatementSeconds: reading.nextStatementSeconds,
    seconds: (performance.now() - began) / 1000,
  };
}
