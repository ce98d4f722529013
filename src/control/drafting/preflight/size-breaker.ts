import type { Pack } from '../../../register/pack.ts';
import type { FindingBook } from './finding.ts';
import type { RegisterFacts } from './register-facts.ts';

/** Notices there must be before their median says anything. */
const MEDIAN_NEEDS = 5;

/** How many small notices must be in force before a share of them says anything. */
const SHARE_NEEDS = 10;

/** A notice so many times over a limit is refused. */
const REFUSE_TIMES = 10;

/** Looks whether a notice is so much larger than usual that a wrong list may have been taken (Denmark 2012: 8,000 names). */
export function checkSize(
  entries: number,
  { preflight: { breaker } }: Pack,
  facts: RegisterFacts | undefined,
  book: FindingBook,
): void {
  if (entries <= breaker.smallNotice) return;
  for (const { limit, what } of listLimits(breaker, facts)) {
    if (entries > limit * REFUSE_TIMES) {
      const message = `${entries} entries are more than ten times ${what}: an officer may override with a reason`;
      book.add('size-breaker', 'refuse', message, true);
    } else if (entries > limit) {
      book.add('size-breaker', 'needs-third-approver', `${entries} entries are more than ${what}`);
    }
  }
}

function listLimits(breaker: Pack['preflight']['breaker'], facts: RegisterFacts | undefined) {
  const { smallNotice, absolute, timesMedian, shareOfForcePercent } = breaker;
  const limits = [{ limit: absolute, what: `the ${absolute} that a notice has at most without a third person` }];
  const { noticeSizes = [], entriesInForce = 0 } = facts ?? {};
  if (noticeSizes.length >= MEDIAN_NEEDS) {
    const median = findMedian(noticeSizes);
    const what = `${timesMedian} times the authority's usual notice, which has ${median}`;
    limits.push({ limit: Math.max(smallNotice, timesMedian * median), what });
  }
  if (entriesInForce >= SHARE_NEEDS * smallNotice && entriesInForce > 0) {
    const what = `${shareOfForcePercent} % of the ${entriesInForce} in force`;
    limits.push({ limit: Math.max(smallNotice, (shareOfForcePercent / 100) * entriesInForce), what });
  }
  return limits;
}

function findMedian(sizes: readonly number[]): number {
  return sizes.toSorted((one, other) => one - other)[sizes.length >> 1];
}
