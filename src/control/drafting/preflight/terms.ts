import type { EntryTable } from '../../../register/annex.ts';
import type { Authority } from '../../../register/authorities.ts';
import { composeCanonical } from '../../../register/canonical.ts';
import { completeNotice, PAYLOAD_MAX_BYTES } from '../../../register/draft.ts';
import { describeIssue } from '../../../register/fields.ts';
import type { Instrument, Pack } from '../../../register/pack.ts';
import { statementSchema } from '../../../register/statement.ts';
import { DAY_SECONDS, NO_END_SECONDS, parseInstant } from '../../../register/time.ts';
import type { FindingBook } from './finding.ts';
import { closesHttps } from './pages.ts';
import type { RegisterFacts } from './register-facts.ts';

/** The fields of a notice in drafting, its times exact; any of them may be missing or malformed. */
export type NoticeFields = Readonly<Record<string, unknown>>;

/** What the fields of a notice are looked at with. */
export interface TermsContext {
  readonly pack: Pack;
  /** Who issues it; absent when its authorities are not at hand. */
  readonly authority?: Authority;
  readonly nowSeconds: number;
  /** When it was to take effect as it was drafted, when `fields` say something else. */
  readonly draftedFrom?: number;
}

/** An annex to judge the other fields with when there is none. */
const ANY_ANNEX = { digest: '0'.repeat(64), entries: 1, sizeBytes: 1, sealed: false };

/** Looks for fields that are missing or not as a statement has them. */
export function checkFields(fields: NoticeFields, entries: EntryTable | undefined, book: FindingBook): void {
  if (entries === undefined) book.add('missing-field', 'refuse', 'entries: list the names to block');
  const result = statementSchema.safeParse(completeNotice({ type: 'notice', ...fields, annex: ANY_ANNEX }));
  for (const issue of result.error?.issues ?? []) {
    const { key, message } = describeIssue(issue);
    const isMissing = message.endsWith('received undefined');
    book.add(isMissing ? 'missing-field' : 'invalid-field', 'refuse', `${key}: ${isMissing ? 'missing' : message}`);
  }
  const sizeBytes = result.success ? composeCanonical(result.data).length : 0;
  if (sizeBytes > PAYLOAD_MAX_BYTES) {
    const message = `the notice has ${sizeBytes} bytes, ${PAYLOAD_MAX_BYTES} at most: shorten its texts`;
    book.add('statement-oversized', 'refuse', message);
  }
}

/** Looks whether instrument, category, tags and scopes are what this authority may use together. */
export function checkMandate(
  fields: NoticeFields,
  entries: EntryTable | undefined,
  { pack, authority }: TermsContext,
  book: FindingBook,
): void {
  const [instrument, category] = [String(fields.instrument), String(fields.category)];
  const known = pack.instruments.find(({ id }) => id === instrument);
  if (fields.instrument !== undefined && known === undefined) {
    book.add('instrument-unknown', 'refuse', `the policy pack has no instrument ${instrument}`);
  }
  if (fields.category !== undefined && !pack.categories.some(({ id }) => id === category)) {
    book.add('category-unknown', 'refuse', `the policy pack has no category ${category}`);
  } else if (fields.category !== undefined && known !== undefined && !known.categories.includes(category)) {
    book.add('category-not-covered', 'refuse', `${instrument} does not cover ${category}`);
  }
  for (const tag of Array.isArray(fields.tags) ? fields.tags : []) {
    if (!pack.tags.some(({ id }) => id === tag)) book.add('tag-unknown', 'refuse', `the policy pack has no tag ${tag}`);
  }
  if (authority === undefined) return;
  if (known !== undefined && !authority.instruments.has(instrument)) {
    book.add('authority-scope', 'refuse', `${authority.id} may not use ${instrument}`);
  }
  if (fields.category !== undefined && !authority.categories.has(category)) {
    book.add('authority-scope', 'refuse', `${authority.id} has no part in ${category}`);
  }
  for (const scope of entries?.scopes ?? []) {
    if (!authority.scopes.has(scope)) {
      book.add('authority-scope', 'refuse', `${authority.id} may not block by ${scope}`);
    }
  }
  if (closesHttps(fields) && !authority.scopes.has('exact')) {
    book.add(
      'authority-scope',
      'refuse',
      `${authority.id} may block no whole name, so https: block-host is not its to say`,
    );
  }
}

/** Looks whether the dates are in order and the term is one that the instrument allows. */
export function checkTerm(
  fields: NoticeFields,
  entries: EntryTable | undefined,
  { pack, nowSeconds, draftedFrom }: TermsContext,
  book: FindingBook,
): void {
  const instrument = pack.instruments.find(({ id }) => id === fields.instrument);
  const [made, approved] = [timeAt(fields, 'dates', 'made'), timeAt(fields, 'dates', 'approved')];
  const start = timeAt(fields, 'dates', 'effectiveFrom');
  if (made !== undefined && approved !== undefined && approved < made) {
    book.add('dates-order', 'refuse', 'dates.made is after dates.approved');
  }
  if (start !== undefined && approved !== undefined && start < approved) {
    book.add('dates-order', 'refuse', 'dates.effectiveFrom is before dates.approved');
  }
  const wanted = draftedFrom ?? start;
  if (wanted !== undefined && wanted < nowSeconds) {
    book.add('effective-in-past', 'warn', 'dates.effectiveFrom is past: it takes effect once approved and published');
  }
  if (start === undefined) return;
  const end = instrument === undefined ? timeAt(fields, 'term', 'expires') : checkEnd(fields, start, instrument, book);
  checkComplyBy(timeAt(fields, 'dates', 'complyBy'), start, end, book);
  if (entries !== undefined) checkEntryTimes(entries, start, end ?? NO_END_SECONDS, book);
}

/** Looks at the end of a notice, or at the review of one without; returns the end. */
function checkEnd(
  fields: NoticeFields,
  start: number,
  { id, term }: Instrument,
  book: FindingBook,
): number | undefined {
  const end = timeAt(fields, 'term', 'expires');
  const reviewBy = timeAt(fields, 'dates', 'reviewBy');
  if (reviewBy !== undefined && reviewBy <= start) {
    book.add('review-too-early', 'refuse', 'dates.reviewBy is not after dates.effectiveFrom');
  }
  if (end !== undefined) {
    if (end <= start) book.add('term-ended', 'refuse', 'term.expires is not after dates.effectiveFrom');
    if (end > start + term.maxDays * DAY_SECONDS) {
      book.add('term-too-long', 'refuse', `term.expires: ${id} allows ${term.maxDays} days at most`);
    }
    return end;
  }
  if (valueAt(fields, 'term', 'untilRevoked') !== true) return undefined;
  if (term.untilRevoked === undefined) {
    book.add('term-open', 'refuse', `${id} may not run until revoked: give term.expires`);
  } else if (reviewBy === undefined) {
    book.add('no-review-date', 'refuse', 'a notice until revoked needs dates.reviewBy');
  } else if (reviewBy > start + term.untilRevoked.maxReviewDays * DAY_SECONDS) {
    const days = term.untilRevoked.maxReviewDays;
    book.add('review-too-late', 'refuse', `dates.reviewBy: ${id} is to be reviewed within ${days} days`);
  }
  return undefined;
}

function checkComplyBy(complyBy: number | undefined, start: number, end: number | undefined, book: FindingBook): void {
  if (complyBy === undefined) return;
  if (complyBy < start) book.add('comply-by', 'warn', 'dates.complyBy is before dates.effectiveFrom');
  if (end !== undefined && complyBy >= end) book.add('comply-by', 'warn', 'dates.complyBy is not before the end');
}

/** Looks for entries that end before their notice begins, or after it ends. */
function checkEntryTimes(entries: EntryTable, start: number, end: number, book: FindingBook): void {
  if (entries.findExpiryAfter(0) < 0) return;
  for (let at = 0; at < entries.count; at++) {
    const expires = entries.expiresSeconds(at);
    if (expires === NO_END_SECONDS) continue;
    if (expires > end) book.addEntry('entry-outlives-notice', 'refuse', 'expires after its notice', entries.id(at));
    if (expires <= start) book.addEntry('entry-ended', 'warn', 'expires before its notice begins', entries.id(at));
  }
}

/** Fewer characters than this are no reason. */
const REASON_LENGTH = 8;

/** Looks whether the source was asked first, and if not why: taking down is better than blocking. */
export function checkSourceTakedown(fields: NoticeFields, book: FindingBook): void {
  const { asked, detail } = (valueAt(fields, 'proportionality', 'sourceTakedown') ?? {}) as Record<string, unknown>;
  if (asked !== false) return;
  const message = 'proportionality.sourceTakedown: the source was not asked to take it down';
  if (String(detail ?? '').trim().length >= REASON_LENGTH) book.add('source-takedown', 'warn', message);
  else book.add('source-takedown', 'needs-third-approver', `${message}, and no reason is given`);
}

/**
 * Looks whether a notice of the register bears the reference, as answers to blocked queries would name the wrong one, and
 * whether the notices that are to be replaced are there.
 */
export function checkReferences(facts: RegisterFacts, book: FindingBook): void {
  if (facts.sameReference > 0) {
    book.add('reference-used', 'refuse', 'reference: a notice in the register bears it already', true);
  }
  for (const id of facts.unknown) {
    book.add('supersedes-unknown', 'refuse', `supersedes: the authority has no notice ${id} in the register`);
  }
}

/** Returns what stands at a key of a key. */
function valueAt(fields: NoticeFields, key: string, inner: string): unknown {
  const outer = fields[key];
  return typeof outer === 'object' && outer !== null ? (outer as Record<string, unknown>)[inner] : undefined;
}

/** Returns the seconds of a time at a key of a key; `undefined` when it is missing or no time. */
function timeAt(fields: NoticeFields, key: string, inner: string): number | undefined {
  const value = valueAt(fields, key, inner);
  return typeof value === 'string' ? parseInstant(value) : undefined;
}
