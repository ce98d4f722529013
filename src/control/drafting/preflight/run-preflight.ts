import type { EntryTable } from '../../../register/annex.ts';
import { Turns } from '../../view/turns.ts';
import { checkBreadth } from './breadth.ts';
import { checkDeadNames } from './dead-names.ts';
import { type Finding, FindingBook } from './finding.ts';
import { checkGuard, checkSharedResources } from './name-checks.ts';
import { checkOverlap } from './overlap.ts';
import { checkPages, closesHttps } from './pages.ts';
import { checkPopularNames } from './popular-names.ts';
import type { RegisterFacts } from './register-facts.ts';
import { checkSize } from './size-breaker.ts';
import type { PreflightSources } from './sources.ts';
import {
  checkFields,
  checkMandate,
  checkReferences,
  checkSourceTakedown,
  checkTerm,
  type NoticeFields,
  type TermsContext,
} from './terms.ts';

/** A notice in drafting and what it is looked at with. What is absent of the latter is not looked at. */
export interface PreflightInput extends TermsContext, PreflightSources {
  readonly fields: NoticeFields;
  /** Absent while no names are listed. */
  readonly entries?: EntryTable;
  readonly facts?: RegisterFacts;
}

/**
 * Looks a notice over before anyone signs it and returns what it found, gravest first. It changes nothing, and on a long
 * list it lets other work of the process have its turns.
 */
export async function runPreflight(input: PreflightInput): Promise<Finding[]> {
  const { fields, entries, facts, pack, popular, askName } = input;
  const book = new FindingBook();
  const turns = new Turns();
  checkFields(fields, entries, book);
  checkMandate(fields, entries, input, book);
  checkTerm(fields, entries, input, book);
  checkSourceTakedown(fields, book);
  if (facts !== undefined) checkReferences(facts, book);
  if (entries === undefined) return book.list();
  await checkGuard(entries, pack, book, turns);
  await checkSharedResources(entries, pack, closesHttps(fields), book, turns);
  await checkPopularNames(entries, pack, popular, book, turns);
  await checkBreadth(entries, book, turns);
  await checkPages(fields, entries, book, turns);
  checkSize(entries.count, pack, facts, book);
  if (facts !== undefined) await checkOverlap(entries, facts.notices, book, turns);
  if (askName !== undefined) await checkDeadNames(entries, askName, book);
  return book.list();
}

/** Whether an officer has overridden the refusals of a check. */
export type IsOverridden = (check: string) => boolean;

/** Returns the refusals that stand. */
export function findRefusals(findings: readonly Finding[], isOverridden: IsOverridden): Finding[] {
  return findings.filter(({ level, check, overridable }) => {
    return level === 'refuse' && !(overridable === true && isOverridden(check));
  });
}

/** Whether a third person is needed. What was refused and overridden is no less grave than what asks for one. */
export function needsThirdApprover(findings: readonly Finding[], isOverridden: IsOverridden): boolean {
  return findings.some(
    ({ level, check }) => level === 'needs-third-approver' || (level === 'refuse' && isOverridden(check)),
  );
}
