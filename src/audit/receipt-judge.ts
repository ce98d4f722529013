import { compileRules, type RuleSink } from '../register/compile.ts';
import { type FoldedNotice, fold } from '../register/fold.ts';
import type { PageCounts } from '../register/pages.ts';
import type { Receipt } from '../register/receipt.ts';
import { secondsOf } from '../register/time.ts';
import { isChange, type KnownNotice, type KnownStatement } from '../register/verify-statement.ts';
import type { AuditReading, AuditRegister } from './audit-register.ts';
import { Effects } from './effects.ts';
import { SealedEntries } from './sealed-entries.ts';

/** What a receipt's list turned out to be. */
export type ReceiptJudgement =
  /** The list that the log gives. */
  | { readonly kind: 'agrees' }
  /** That list but for statements that the receipt itself says are not in it. */
  | { readonly kind: 'held'; readonly statements: readonly KnownStatement[] }
  /**
   * A list that leaves statements out, or that still has what ended; `listOf` says of when, if it is that of an earlier
   * time.
   */
  | {
      readonly kind: 'stale';
      readonly ignored: readonly KnownStatement[];
      readonly expired: readonly KnownStatement[];
      readonly listOf?: { readonly treeSize?: number; readonly atSeconds?: number };
    }
  /** The right list, compiled into another number of rules, or with another number of pages. */
  | ({ readonly kind: 'other-count' } & ListCounts)
  /** Another list altogether; `rulesDigest` is what it should be. */
  | { readonly kind: 'disagrees'; readonly rulesDigest: string };

/** What the right list makes. */
interface ListCounts extends PageCounts {
  readonly rules: number;
  readonly refusedEntries: number;
}

/** How many ends of windows, statements and tree sizes are tried to tell what a wrong list is. */
const MAX_ATTEMPTS = 64;

/** Wrong lists that are looked into: each takes seconds in a register of ten thousand statements. */
const MAX_EXPLAINED = 100;

/** A compiler that counts and keeps nothing. */
const COUNT_ONLY: RuleSink = { addNotice: () => 0, addRule() {}, addPage() {} };

/**
 * Computes the lists that receipts should state. Receipts come in order of tree size, as each size is verified once,
 * and a list stays the same between two moments at which something starts or ends.
 */
export class ReceiptJudge {
  readonly #register: AuditRegister;
  readonly #moments: readonly number[];
  #size = -1;
  readonly #digests = new Map<string, string>();
  readonly #counts = new Map<string, ListCounts | undefined>();
  readonly #judgements = new Map<string, ReceiptJudgement>();
  #explained = 0;

  constructor(register: AuditRegister) {
    this.#register = register;
    this.#moments = listMoments(register.read().statements);
  }

  /** Judges a receipt whose tree size the log has. */
  judge(receipt: Receipt): ReceiptJudgement {
    if (receipt.treeSize !== this.#size) {
      this.#size = receipt.treeSize;
      this.#digests.clear();
      this.#judgements.clear();
    }
    const foldedAt = secondsOf(receipt.foldedAt);
    const place = `${receipt.licensee} ${this.#countMoments(foldedAt)}`;
    const folded = () => this.#reading(receipt).fold(receipt.licensee, foldedAt);
    let digest = this.#digests.get(place);
    if (digest === undefined) {
      digest = this.#register.digestOf(folded());
      this.#digests.set(place, digest);
    }
    if (digest === receipt.rulesDigest) return this.#judgeCount(receipt, digest, folded);
    // Nodes of one licensee with one fault are explained once.
    const fault = `${place} ${receipt.rulesDigest} ${JSON.stringify(receipt.rejected)}`;
    let judgement = this.#judgements.get(fault);
    if (judgement === undefined) {
      const isOpen = this.#explained++ < MAX_EXPLAINED;
      judgement = (isOpen ? this.#explain(receipt, foldedAt) : undefined) ?? { kind: 'disagrees', rulesDigest: digest };
      this.#judgements.set(fault, judgement);
    }
    return judgement;
  }

  #reading({ treeSize }: Receipt): AuditReading {
    return this.#register.read({ size: treeSize });
  }

  /** Moments up to a time: between two of them a list does not change. */
  #countMoments(seconds: number): number {
    let low = 0;
    let high = this.#moments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#moments[middle]! <= seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Compares numbers of rules, unless sealed names that are not at hand make some of them. */
  #judgeCount(receipt: Receipt, digest: string, folded: () => FoldedNotice<KnownNotice>[]): ReceiptJudgement {
    if (!this.#counts.has(digest)) this.#counts.set(digest, this.#count(folded()));
    const counts = this.#counts.get(digest);
    return counts === undefined || isSameCount(counts, receipt)
      ? { kind: 'agrees' }
      : { kind: 'other-count', ...counts };
  }

  #count(folded: readonly FoldedNotice<KnownNotice>[]): ListCounts | undefined {
    if (folded.some(({ entries }) => entries instanceof SealedEntries)) return undefined;
    const { rules, pages, httpOnlyPages, refused } = compileRules(folded, this.#register.pinned.pack, COUNT_ONLY);
    return { rules, pages, httpOnlyPages, refusedEntries: refused.length };
  }

  /** Looks for what was done wrong, the likeliest first. */
  #explain(receipt: Receipt, foldedAt: number): ReceiptJudgement | undefined {
    const { statements } = this.#reading(receipt);
    const isStated = (given: readonly KnownStatement[], atSeconds = foldedAt) =>
      this.#register.digestOf(fold(given, receipt.licensee, atSeconds)) === receipt.rulesDigest;
    return (
      this.#explainHeld(receipt, statements, isStated) ??
      explainIgnored(statements, foldedAt, isStated) ??
      this.#explainEarlier(receipt, statements, foldedAt, isStated) ??
      this.#explainSmaller(receipt, statements, foldedAt)
    );
  }

  /**
   * Tries what the receipt itself says: statements it rejects, and leaves it counts beyond its tree. Of those, which no
   * witnesses had signed yet, a node applies the releases, as it should.
   */
  #explainHeld(
    receipt: Receipt,
    statements: readonly KnownStatement[],
    isStated: IsStated,
  ): ReceiptJudgement | undefined {
    const indexOf = (one: KnownStatement) => this.#register.indexOf(one.name);
    const unwitnessed = receipt.statements.ok + receipt.statements.void - receipt.treeSize;
    const seen = this.#register.read().statements.filter((one) => {
      const beyond = indexOf(one) - receipt.treeSize;
      return beyond >= 0 && beyond < unwitnessed && isChange(one) && one.statement.type !== 'resumption';
    });
    if (seen.length > 0 && isStated([...statements, ...seen])) return { kind: 'agrees' };
    const rejected = new Set(receipt.rejected.map(({ statement }) => statement));
    const held = statements.filter((one) => rejected.has(`#${indexOf(one)}`));
    if (held.length === 0) return undefined;
    const rest = [...statements.filter((one) => !held.includes(one)), ...seen];
    return isStated(rest) ? { kind: 'held', statements: held } : undefined;
  }

  /** Tries lists of earlier times, with what was known then and with what is known now. */
  #explainEarlier(
    { licensee }: Receipt,
    statements: readonly KnownStatement[],
    foldedAt: number,
    isStated: IsStated,
  ): ReceiptJudgement | undefined {
    const known = statements.filter(({ integratedAtSeconds }) => integratedAtSeconds <= foldedAt);
    // Known from the start, so that folding for an earlier time takes away nothing but the ends since then.
    const timeless = known.map((one) => ({ ...one, integratedAtSeconds: 0 }));
    const moments = this.#moments.slice(0, this.#countMoments(foldedAt)).slice(-MAX_ATTEMPTS);
    for (const moment of moments.reverse()) {
      const atSeconds = moment - 1;
      const asKnown = isStated(statements, atSeconds);
      if (!asKnown && !isStated(timeless, atSeconds)) continue;
      const unknown = asKnown ? known.filter((one) => one.integratedAtSeconds > atSeconds && !isHeartbeat(one)) : [];
      const ended = findEnded(timeless, licensee, atSeconds, foldedAt);
      const ignored = [...new Set([...unknown, ...ended.ignored])];
      if (ignored.length + ended.expired.length > 0) {
        return { kind: 'stale', ignored, expired: ended.expired, listOf: { atSeconds } };
      }
    }
    return undefined;
  }

  /** Tries the lists of smaller trees. */
  #explainSmaller(
    { treeSize, licensee, rulesDigest }: Receipt,
    statements: readonly KnownStatement[],
    foldedAt: number,
  ): ReceiptJudgement | undefined {
    const indexOf = (one: KnownStatement) => this.#register.indexOf(one.name);
    for (let size = treeSize - 1; size >= Math.max(0, treeSize - MAX_ATTEMPTS); size--) {
      const earlier = statements.filter((one) => indexOf(one) < size);
      if (this.#register.digestOf(fold(earlier, licensee, foldedAt)) !== rulesDigest) continue;
      const ignored = statements.filter((one) => indexOf(one) >= size && !isHeartbeat(one));
      return { kind: 'stale', ignored, expired: [], listOf: { treeSize: size } };
    }
    return undefined;
  }
}

/** Whether a receipt counts what its list makes. One that says nothing of pages has none. */
function isSameCount({ rules, refusedEntries, pages, httpOnlyPages }: ListCounts, receipt: Receipt): boolean {
  const { entries = 0, httpOnly = 0 } = receipt.pages ?? {};
  const samePages = entries === pages && httpOnly === httpOnlyPages;
  return samePages && rules === receipt.rules && refusedEntries === receipt.refusedEntries;
}

function isHeartbeat({ statement }: KnownStatement): boolean {
  return statement.type === 'heartbeat';
}

/** Returns what ended some notice's force between two times: statements, and notices whose own time was over. */
function findEnded(statements: readonly KnownStatement[], licensee: string, atSeconds: number, untilSeconds: number) {
  const effects = new Effects(statements, licensee, untilSeconds);
  const ignored: KnownStatement[] = [];
  const expired: KnownStatement[] = [];
  for (const { notice, windows } of fold(statements, licensee, atSeconds)) {
    if (!windows.some(({ notAfter }) => notAfter <= untilSeconds)) continue;
    const releases = effects.causes(notice).flatMap((cause) => cause.statement ?? []);
    if (releases.length > 0) ignored.push(...releases);
    else expired.push(notice);
  }
  return { ignored, expired };
}

/** Whether a receipt states the list that these statements give. */
type IsStated = (statements: readonly KnownStatement[], atSeconds?: number) => boolean;

/** Tries to leave out one statement, the newest first. */
function explainIgnored(
  statements: readonly KnownStatement[],
  foldedAt: number,
  isStated: IsStated,
): ReceiptJudgement | undefined {
  const known = statements.filter((one) => one.integratedAtSeconds <= foldedAt && !isHeartbeat(one));
  for (const statement of known.slice(-MAX_ATTEMPTS).reverse()) {
    if (!isStated(statements.filter((one) => one !== statement))) continue;
    return { kind: 'stale', ignored: [statement], expired: [] };
  }
  return undefined;
}

/** Returns every second at which a statement comes to be known, or anything it says starts or ends, in order. */
function listMoments(statements: readonly KnownStatement[]): number[] {
  const moments = new Set<number>();
  for (const one of statements) {
    moments.add(one.integratedAtSeconds);
    for (const seconds of momentsOf(one)) moments.add(seconds);
  }
  return [...moments].sort((one, other) => one - other);
}

function momentsOf({ statement, startSeconds, endSeconds }: KnownStatement): number[] {
  if (statement.type === 'heartbeat') return [];
  if (statement.type === 'notice') return [startSeconds, endSeconds];
  const moments = [secondsOf(statement.from)];
  if ('until' in statement && statement.until !== undefined) moments.push(secondsOf(statement.until));
  if (statement.type !== 'variation') return moments;
  if (statement.expiresAt !== undefined) moments.push(secondsOf(statement.expiresAt));
  return [...moments, ...(statement.expires ?? []).map(({ at }) => secondsOf(at))];
}
