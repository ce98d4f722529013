import type { EntryAction } from '../register/annex.ts';
import { type FoldedNotice, windowsOf } from '../register/fold.ts';
import { createGuard, type RefuseEntry } from '../register/guard.ts';
import { refuseAt } from '../register/pages.ts';
import { isNotice, type KnownNotice, type KnownStatement } from '../register/verify-statement.ts';
import type { AuditRegister } from './audit-register.ts';
import { type Cause, type CauseKind, Effects } from './effects.ts';
import { describePage, excludedNames, type PageRule, windowAt } from './replay.ts';
import { SEALED_NAME, SealedEntries } from './sealed-entries.ts';

/** What happened to a rule between two times. */
export type RuleChangeKind = 'added' | 'removed' | 'narrowed' | 'widened';

/**
 * Why: a cause of removal, `notice` for what a new notice brings, or the end of a cause (`stayed` ended: `resumed`).
 */
export type RuleChangeReason = CauseKind | 'notice' | 'began' | 'resumed' | 'varied';

/** A rule that differs between two times, with the statement that did it. */
export interface RuleChange extends PageRule {
  readonly change: RuleChangeKind;
  readonly name: string;
  readonly scope: string;
  /** Absent where the entries are not at hand. */
  readonly action?: EntryAction;
  readonly notice: KnownNotice;
  /** Id of the entry; for a sealed notice how many entries it has. */
  readonly entry: string;
  readonly reason: RuleChangeReason;
  /** The statement that brought the change; absent when the clock alone did. */
  readonly statement?: KnownStatement;
  /** The names kept reachable at the later time, when they are what changed. */
  readonly exclusions?: readonly string[];
}

/** One end of the span that is compared. */
interface Side {
  readonly atSeconds: number;
  readonly folded: ReadonlyMap<string, FoldedNotice<KnownNotice>>;
  readonly effects: Effects;
}

/**
 * Yields what changed in a licensee's list from one time to a later one, as the log stood at each. Entries that the
 * guard-rails refuse were never rules and do not appear.
 */
export function* diffRegister(
  register: AuditRegister,
  licensee: string,
  fromSeconds: number,
  toSeconds: number,
): Generator<RuleChange> {
  const before = openSide(register, licensee, fromSeconds);
  const after = openSide(register, licensee, toSeconds);
  const refuse = createGuard(register.pinned.pack);
  for (const notice of register.read({ size: register.sizeAt(toSeconds), rulesOnly: true }).statements) {
    if (isNotice(notice) && notice.entries !== undefined) yield* diffNotice(notice, before, after, refuse);
  }
}

function openSide(register: AuditRegister, licensee: string, atSeconds: number): Side {
  const reading = register.read({ size: register.sizeAt(atSeconds), rulesOnly: true });
  const folded = new Map(reading.fold(licensee, atSeconds).map((one) => [one.notice.id, one]));
  return { atSeconds, folded, effects: new Effects(reading.statements, licensee, atSeconds) };
}

function* diffNotice(notice: KnownNotice, before: Side, after: Side, refuse: RefuseEntry): Generator<RuleChange> {
  const entries = notice.entries!;
  if (entries instanceof SealedEntries) {
    yield* diffSealed(notice, before, after);
    return;
  }
  // Nothing of it counts at either time, so there is no entry to look at.
  if (!before.folded.has(notice.id) && !after.folded.has(notice.id)) return;
  const approvers = notice.statement.approvals.length;
  for (let at = 0; at < entries.count; at++) {
    const was = isInForce(before, notice, at);
    const is = isInForce(after, notice, at);
    if (!was && !is) continue;
    const difference =
      was === is ? describeExclusions(notice, at, before, after) : describeTurn(notice, at, is, before, after);
    if (difference === undefined || refuseAt(refuse, entries, at, approvers) !== undefined) continue;
    yield {
      name: entries.name(at),
      scope: entries.scope(at),
      action: entries.action(at),
      ...describePage(notice, entries.urls.get(at)),
      notice,
      entry: entries.id(at),
      ...difference,
    };
  }
}

function isInForce({ folded, atSeconds }: Side, notice: KnownNotice, at: number): boolean {
  const one = folded.get(notice.id);
  return one !== undefined && windowAt(windowsOf(one, at), atSeconds) !== undefined;
}

/** Compares a sealed notice as a whole. */
function* diffSealed(notice: KnownNotice, before: Side, after: Side): Generator<RuleChange> {
  const holds = ({ folded, atSeconds }: Side) =>
    windowAt(folded.get(notice.id)?.windows ?? [], atSeconds) !== undefined;
  if (holds(before) === holds(after)) return;
  const entry = String(notice.statement.annex.entries);
  yield {
    name: SEALED_NAME,
    scope: 'sealed',
    notice,
    entry,
    ...describeTurn(notice, undefined, holds(after), before, after),
  };
}

type Difference = Pick<RuleChange, 'change' | 'reason' | 'statement' | 'exclusions'>;

/** Says why a rule came or went. */
function describeTurn(
  notice: KnownNotice,
  at: number | undefined,
  added: boolean,
  before: Side,
  after: Side,
): Difference {
  if (!added) {
    const [cause] = after.effects.causes(notice, at);
    return { change: 'removed', reason: cause?.kind ?? 'expired', statement: cause?.statement };
  }
  const causes = before.effects.causes(notice, at);
  return { change: 'added', ...describeStart(notice, causes, after) };
}

/** Says what ended the causes that had kept a rule out of force. */
function describeStart(notice: KnownNotice, causes: readonly Cause[], after: Side): Omit<Difference, 'change'> {
  if (causes.some(({ kind }) => kind === 'not-logged')) return { reason: 'notice', statement: notice };
  const suspended = causes.find(({ statement }) => statement !== undefined)?.statement;
  if (suspended === undefined) return { reason: 'began' };
  // Without a resumption the suspension ended by its own date.
  return { reason: 'resumed', statement: after.effects.resumptionOf(suspended.id) ?? suspended };
}

/** Says how the exclusions of a rule changed that is in force at both times; `undefined` when they did not. */
function describeExclusions(notice: KnownNotice, at: number, before: Side, after: Side): Difference | undefined {
  const one = before.folded.get(notice.id)!;
  const other = after.folded.get(notice.id)!;
  if (!one.varied.has(at) && !other.varied.has(at)) return undefined;
  const was = new Set(excludedNames(one, at, before.atSeconds));
  const exclusions = excludedNames(other, at, after.atSeconds);
  const added = exclusions.find((name) => !was.has(name));
  if (added === undefined && was.size === exclusions.length) return undefined;
  const change = added === undefined ? 'widened' : 'narrowed';
  const applied = after.effects.exclusions(notice, at).find(({ name }) => name === added);
  return { change, reason: 'varied', statement: applied?.statement, exclusions };
}
