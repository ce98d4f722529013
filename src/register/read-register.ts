import { WartaError } from '../base/errors.ts';
import { type FoldedNotice, fold } from './fold.ts';
import {
  type AnnexSource,
  accept,
  attachAnnex,
  checkStatement,
  checkTargets,
  isNotice,
  refuse,
  type StatementLeaf,
  type TrustContext,
  type Verdict,
  type VerifiedNotice,
  type VerifiedStatement,
} from './verify-statement.ts';

/** What a register is read with: trust, for whom, at what time. */
export interface RegisterContext extends TrustContext {
  readonly licensee: string;
  readonly nowSeconds: number;
  /** Called now and then while annexes are read, with entries done and to do. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A register read as a whole. */
export interface RegisterReading {
  /** Notices in force for the licensee now or later. */
  readonly folded: readonly FoldedNotice[];
  /** Good statements, oldest first. */
  readonly statements: readonly VerifiedStatement[];
  /** One verdict for each leaf, oldest first, void envelopes last. */
  readonly verdicts: readonly Verdict[];
  /** When the newest statement that counts now was signed: the age of the list. */
  readonly newestSignedAtSeconds?: number;
  /** When the next good statement starts to count, if one lies in the future: fold again then. */
  readonly nextStatementSeconds?: number;
}

/**
 * Reads statements and annexes and folds them: the one call between a source (a directory, a log) and the rule compiler.
 * A void statement is reported and the others stand. The order of `leaves` does not matter.
 */
export function readRegister(
  leaves: Iterable<StatementLeaf>,
  annexes: AnnexSource,
  context: RegisterContext,
): RegisterReading {
  const unreadable: Verdict[] = [];
  const checked: VerifiedStatement[] = [];
  for (const leaf of leaves) {
    try {
      checked.push(checkStatement(leaf, context));
    } catch (error) {
      unreadable.push(refuse(leaf.name, error));
    }
  }
  checked.sort(compareStatements);
  const verdicts = new Map<VerifiedStatement, Verdict>();
  const unique = dropReplays(checked, verdicts);
  const annexed = attachAnnexes(unique, annexes, context, verdicts);
  const statements = dropStrays(annexed, unique, verdicts);
  const counted = statements.filter((verified) => verified.integratedAtSeconds <= context.nowSeconds);
  const later = statements.find((verified) => verified.integratedAtSeconds > context.nowSeconds);
  return {
    folded: fold(statements, context.licensee, context.nowSeconds),
    statements,
    verdicts: [...checked.map((verified) => verdicts.get(verified) ?? accept(verified)), ...unreadable],
    newestSignedAtSeconds: counted.length === 0 ? undefined : Math.max(...counted.map((one) => one.signedAtSeconds)),
    nextStatementSeconds: later?.integratedAtSeconds,
  };
}

/** Orders statements by when they were integrated, then by id, then by name. */
function compareStatements(one: VerifiedStatement, other: VerifiedStatement): number {
  const byTime = one.integratedAtSeconds - other.integratedAtSeconds;
  if (byTime !== 0) return byTime;
  const [left, right] = one.id === other.id ? [one.name, other.name] : [one.id, other.id];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Keeps the first good copy of each payload. An unsigned copy never gets here, so it cannot displace the signed one. */
function dropReplays(checked: readonly VerifiedStatement[], verdicts: Map<VerifiedStatement, Verdict>) {
  const seen = new Map<string, VerifiedStatement>();
  for (const verified of checked) {
    const first = seen.get(verified.id);
    if (first === undefined) {
      seen.set(verified.id, verified);
      continue;
    }
    const replay = new WartaError('statement-replayed', `the same statement as ${first.name}; that one counts`);
    verdicts.set(verified, refuse(verified.name, replay, verified));
  }
  return seen;
}

/** Gives each notice its entries; a notice whose annex fails is void. */
function attachAnnexes(
  unique: ReadonlyMap<string, VerifiedStatement>,
  annexes: AnnexSource,
  context: RegisterContext,
  verdicts: Map<VerifiedStatement, Verdict>,
): VerifiedStatement[] {
  const due = [...unique.values()].filter((one): one is VerifiedNotice => isNotice(one) && isAnnexDue(one, context));
  const total = due.reduce((sum, { statement }) => sum + statement.annex.entries, 0);
  const attached = new Map<VerifiedStatement, VerifiedStatement>();
  let before = 0;
  for (const notice of due) {
    try {
      attached.set(
        notice,
        attachAnnex(notice, annexes, (done) => context.onProgress?.(before + done, total)),
      );
    } catch (error) {
      verdicts.set(notice, refuse(notice.name, error, notice));
    }
    before += notice.statement.annex.entries;
  }
  return [...unique.values()].filter((one) => !verdicts.has(one)).map((one) => attached.get(one) ?? one);
}

/**
 * Whether a notice's annex can still matter. One that lapsed by its own term need not be read again at every start, or a
 * node would read all the past; but a successor still ends what it superseded, so its annex is always read.
 */
function isAnnexDue(notice: VerifiedNotice, context: RegisterContext): boolean {
  return notice.endSeconds > context.nowSeconds || notice.statement.supersedes !== undefined;
}

/** Drops statements that name what is not there or not theirs. Resumptions come last, as they name other changes. */
function dropStrays(
  annexed: readonly VerifiedStatement[],
  unique: ReadonlyMap<string, VerifiedStatement>,
  verdicts: Map<VerifiedStatement, Verdict>,
): VerifiedStatement[] {
  const current = new Map(annexed.map((verified) => [verified.id, verified]));
  const find = (id: string) => {
    const known = unique.get(id);
    return known === undefined || isNotice(known) ? (current.get(id) ?? known) : current.get(id);
  };
  const isResumption = ({ statement }: VerifiedStatement) => statement.type === 'resumption';
  for (const verified of [...annexed.filter((one) => !isResumption(one)), ...annexed.filter(isResumption)]) {
    try {
      checkTargets(verified, find);
    } catch (error) {
      verdicts.set(unique.get(verified.id)!, refuse(verified.name, error, verified));
      if (!isNotice(verified)) current.delete(verified.id);
    }
  }
  return annexed.filter((verified) => !verdicts.has(unique.get(verified.id)!));
}
