import { WartaError } from '../base/errors.ts';
import { type FoldedNotice, fold } from './fold.ts';
import {
  type GoodLeaf,
  isDue,
  type KnownLeaf,
  type MissingAnnex,
  type ReadingTerms,
  RegisterMemo,
} from './register-memo.ts';
import type { KeptNotice, KeptStatement, Statement } from './statement.ts';
import {
  type AnnexSource,
  accept,
  checkHeld,
  checkTargets,
  type KnownNotice,
  type KnownStatement,
  refuse,
  type StatementLeaf,
  type Verdict,
  type VerifiedStatement,
} from './verify-statement.ts';

/** What a register is read with: trust, for whom, at what time. */
export interface RegisterContext extends ReadingTerms {
  readonly licensee: string;
  readonly nowSeconds: number;
  /** Called now and then while annexes are read, with entries done and to do. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Called now and then while statements are verified, with how many were. */
  readonly onStatements?: (done: number) => void;
}

/** A notice among statements of which so much is kept. */
type NoticeOf<S extends KeptStatement> = VerifiedStatement<Extract<S, KeptNotice>>;

/** A register read as a whole. */
export interface RegisterReading<S extends KeptStatement = Statement> {
  /** Notices in force for the licensee now or later. */
  readonly folded: readonly FoldedNotice<NoticeOf<S>>[];
  /** Good statements, oldest first; no heartbeats in a reading for rules only, nor in what follows. */
  readonly statements: readonly VerifiedStatement<S>[];
  /** One verdict for each leaf, oldest first, void envelopes last. */
  readonly verdicts: readonly Verdict[];
  /** When the newest statement that counts now was signed: the age of the list. */
  readonly newestSignedAtSeconds?: number;
  /** When the next good statement starts to count, if one lies in the future: fold again then. */
  readonly nextStatementSeconds?: number;
}

/** How often progress is told. */
const PROGRESS_EVERY = 64;

/** Statements as far as a reading has come. Whatever has a verdict is void. */
interface Roll<S extends KeptStatement> {
  /** Every leaf that is good by itself, oldest first. */
  readonly leaves: readonly GoodLeaf<S>[];
  /** Those that count, by id. */
  readonly unique: ReadonlyMap<string, GoodLeaf<S>>;
  readonly verdicts: Map<KnownLeaf<S>, Verdict>;
  /** Verdicts on leaves that are void by themselves. */
  readonly refusals: readonly Verdict[];
  readonly missing: readonly MissingAnnex[];
}

/**
 * Reads statements and annexes and folds them: the one call between a source (a directory, a log) and the rule compiler.
 * A void statement is reported and the others stand. The order of `leaves` does not matter. With `memo`, what an earlier
 * reading with it has verified is not verified again; the reading is the same.
 */
export function readRegister<S extends KeptStatement = Statement>(
  leaves: Iterable<StatementLeaf>,
  annexes: AnnexSource,
  context: RegisterContext & { readonly memo?: RegisterMemo<S> },
): RegisterReading<S> {
  const memo = context.memo ?? createWholeMemo<S>();
  const roll = takeRoll(leaves, annexes, context, memo);
  dropStrays(roll);
  memo.end();
  const statements: VerifiedStatement<S>[] = [];
  for (const leaf of roll.unique.values()) if (!roll.verdicts.has(leaf)) statements.push(leaf.verified);
  return {
    folded: fold(statements, context.licensee, context.nowSeconds) as FoldedNotice<NoticeOf<S>>[],
    statements,
    verdicts: [...roll.leaves.map((leaf) => roll.verdicts.get(leaf) ?? accept(leaf.verified)), ...roll.refusals],
    ...findTimes(statements, context.nowSeconds),
  };
}

/**
 * Verifies statements up to their annexes and returns which of those the source does not have: what to fetch before a
 * reading with the same memo, which then repeats nothing.
 */
export function findMissingAnnexes<S extends KeptStatement>(
  leaves: Iterable<StatementLeaf>,
  annexes: AnnexSource,
  context: RegisterContext & { readonly memo: RegisterMemo<S> },
): readonly MissingAnnex[] {
  const { missing } = takeRoll(leaves, annexes, context, context.memo);
  context.memo.end();
  return missing;
}

/** A memo for one reading, which keeps statements whole: then `S` is what the parser gives. */
function createWholeMemo<S extends KeptStatement>(): RegisterMemo<S> {
  return new RegisterMemo<Statement>((statement) => statement) as unknown as RegisterMemo<S>;
}

/** Verifies every statement by itself, and the annexes of those that count. */
function takeRoll<S extends KeptStatement>(
  leaves: Iterable<StatementLeaf>,
  annexes: AnnexSource,
  context: RegisterContext,
  memo: RegisterMemo<S>,
): Roll<S> {
  memo.begin(context);
  const verdicts = new Map<KnownLeaf<S>, Verdict>();
  const good: GoodLeaf<S>[] = [];
  const refusals: Verdict[] = [];
  let done = 0;
  for (const leaf of leaves) {
    if (++done % PROGRESS_EVERY === 0) context.onStatements?.(done);
    const known = memo.check(leaf);
    if (context.rulesOnly && known.isHeartbeat) continue;
    if (isGood(known)) {
      good.push(known);
      judge(known, verdicts, () => checkHeld(leaf, known.verified.statement.type));
    } else refusals.push(known.refusal!);
  }
  memo.sort(good, compareLeaves);
  const unique = dropReplays(good, verdicts);
  const missing = attachAnnexes(unique, annexes, context, verdicts, memo);
  return { leaves: good, unique, verdicts, refusals, missing };
}

function isGood<S extends KeptStatement>(leaf: KnownLeaf<S>): leaf is GoodLeaf<S> {
  return leaf.verified !== undefined;
}

/** Makes a leaf void when a check throws; returns whether it did not. */
function judge<S extends KeptStatement>(
  leaf: GoodLeaf<S>,
  verdicts: Map<KnownLeaf<S>, Verdict>,
  check: () => void,
): boolean {
  try {
    check();
    return true;
  } catch (error) {
    verdicts.set(leaf, refuse(leaf.name, error, leaf.verified));
    return false;
  }
}

/** Orders leaves by when they were integrated, then by the statement's id, then by name. */
function compareLeaves({ verified: one }: GoodLeaf, { verified: other }: GoodLeaf): number {
  const byTime = one.integratedAtSeconds - other.integratedAtSeconds;
  if (byTime !== 0) return byTime;
  const [left, right] = one.id === other.id ? [one.name, other.name] : [one.id, other.id];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Keeps the first good copy of each payload. An unsigned or held copy does not count, so it cannot displace a good one. */
function dropReplays<S extends KeptStatement>(
  leaves: readonly GoodLeaf<S>[],
  verdicts: Map<KnownLeaf<S>, Verdict>,
): Map<string, GoodLeaf<S>> {
  const seen = new Map<string, GoodLeaf<S>>();
  for (const leaf of leaves) {
    if (verdicts.size > 0 && verdicts.has(leaf)) continue;
    const { id } = leaf.verified;
    const first = seen.get(id);
    if (first === undefined) {
      seen.set(id, leaf);
      continue;
    }
    judge(leaf, verdicts, () => {
      throw new WartaError('statement-replayed', `the same statement as ${first.name}; that one counts`);
    });
  }
  return seen;
}

/** Gives each notice its entries; a notice whose annex fails is void. Returns the annexes that the source does not have. */
function attachAnnexes<S extends KeptStatement>(
  unique: ReadonlyMap<string, GoodLeaf<S>>,
  annexes: AnnexSource,
  context: RegisterContext,
  verdicts: Map<KnownLeaf<S>, Verdict>,
  memo: RegisterMemo<S>,
): MissingAnnex[] {
  const due: NoticeLeaf<S>[] = [];
  let total = 0;
  for (const leaf of unique.values()) {
    if (!holdsNotice(leaf)) continue;
    if (!isDue(leaf.verified, context.nowSeconds)) {
      memo.detach(leaf);
      continue;
    }
    due.push(leaf);
    total += leaf.verified.statement.annex.entries;
  }
  const missing: MissingAnnex[] = [];
  let before = 0;
  for (const leaf of due) {
    const { annex } = leaf.verified.statement;
    const found = judge(leaf, verdicts, () => {
      memo.attach(leaf, annexes, (done) => context.onProgress?.(before + done, total));
    });
    // What is there but is not the annex, as on a damaged disk, is as good as missing.
    if (!found && !memo.hasAnnex(annex.digest)) missing.push(annex);
    before += annex.entries;
  }
  return missing;
}

type NoticeLeaf<S extends KeptStatement> = GoodLeaf<S> & { verified: KnownNotice };

function holdsNotice<S extends KeptStatement>(leaf: GoodLeaf<S>): leaf is NoticeLeaf<S> {
  return leaf.verified.statement.type === 'notice';
}

/** Drops statements that name what is not there or not theirs. Resumptions come last, as they name other changes. */
function dropStrays<S extends KeptStatement>({ unique, verdicts }: Roll<S>): void {
  const find = (id: string): KnownStatement | undefined => {
    const leaf = unique.get(id);
    // A void notice can still be named: whatever releases it is no less good for that.
    return leaf !== undefined && (holdsNotice(leaf) || !verdicts.has(leaf)) ? leaf.verified : undefined;
  };
  const resumptions: GoodLeaf<S>[] = [];
  for (const leaf of unique.values()) {
    if (verdicts.has(leaf)) continue;
    if (leaf.verified.statement.type === 'resumption') resumptions.push(leaf);
    else judge(leaf, verdicts, () => checkTargets(leaf.verified, find));
  }
  for (const leaf of resumptions) judge(leaf, verdicts, () => checkTargets(leaf.verified, find));
}

/** Returns when the newest statement that counts was signed, and when the next one starts to count. */
function findTimes(statements: readonly KnownStatement[], nowSeconds: number) {
  let newestSignedAtSeconds: number | undefined;
  for (const { integratedAtSeconds, signedAtSeconds } of statements) {
    if (integratedAtSeconds > nowSeconds) return { newestSignedAtSeconds, nextStatementSeconds: integratedAtSeconds };
    if (newestSignedAtSeconds === undefined || signedAtSeconds > newestSignedAtSeconds) {
      newestSignedAtSeconds = signedAtSeconds;
    }
  }
  return { newestSignedAtSeconds, nextStatementSeconds: undefined };
}
