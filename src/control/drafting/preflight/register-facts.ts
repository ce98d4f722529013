import type { EntryTable } from '../../../register/annex.ts';
import { type FoldedNotice, windowsOf } from '../../../register/fold.ts';
import { isNotice, type KnownNotice, type KnownStatement } from '../../../register/verify-statement.ts';
import type { PlacedStatement, RegisterView } from '../../view/register-view.ts';
import type { Turns } from '../../view/turns.ts';

/** A notice that blocks names now, or will. */
export interface NoticeInForce {
  readonly id: string;
  readonly reference: string;
  readonly entries: EntryTable;
  /** Whether the entry at that position still counts. */
  counts(at: number): boolean;
}

/** What the pre-flight wants to know of the register. */
export interface RegisterFacts {
  /** How many notices of the authority bear the draft's reference. */
  readonly sameReference: number;
  /** Entries of each notice of the authority there ever was. */
  readonly noticeSizes: readonly number[];
  /** Entries in force now, of every authority. */
  readonly entriesInForce: number;
  /** Ids that the draft is to replace and that are no notices of the authority. */
  readonly unknown: readonly string[];
  /** Notices in force now or later, but those that the draft replaces. */
  readonly notices: readonly NoticeInForce[];
}

/** The draft that the facts are gathered for. */
export interface FactsQuery {
  readonly authority: string;
  readonly reference: string;
  readonly supersedes: readonly string[];
  readonly nowSeconds: number;
}

/** Gathers the facts from the control API's own reading of the register. */
export async function gatherFacts(view: RegisterView, query: FactsQuery, turns: Turns): Promise<RegisterFacts> {
  const noticeSizes: number[] = [];
  const notices: NoticeInForce[] = [];
  let entriesInForce = 0;
  for (const { verified } of view.notices()) {
    await turns.share();
    if (verified.authority.id === query.authority) noticeSizes.push(verified.statement.annex.entries);
    if (verified.endSeconds <= query.nowSeconds) continue;
    const standing = view.standingOf(verified.id, query.nowSeconds);
    if (standing?.state !== 'in-force' && standing?.state !== 'scheduled') continue;
    entriesInForce += standing.entriesInForce;
    const entries = view.entriesOf(verified.id);
    if (entries === undefined || query.supersedes.includes(verified.id)) continue;
    const isChanged = standing.changedBy.length > 0;
    const counts = isChanged
      ? foldLater(view, verified, query.nowSeconds)
      : (at: number) => entries.expiresSeconds(at) > query.nowSeconds;
    notices.push({ id: verified.id, reference: verified.statement.reference, entries, counts });
  }
  const sameReference = view.findByReference(query.authority, query.reference).filter(isPlacedNotice).length;
  const unknown = query.supersedes.filter((id) => view.findNotice(id)?.verified.authority.id !== query.authority);
  return { sameReference, noticeSizes, entriesInForce, unknown, notices };
}

function isPlacedNotice({ verified }: PlacedStatement): boolean {
  return isNotice(verified);
}

/** Asks which entries of a changed notice are left, once somebody wants to know: folding takes in the whole register. */
function foldLater(view: RegisterView, notice: KnownNotice, nowSeconds: number): (at: number) => boolean {
  let search: { found: FoldedNotice<KnownNotice> | undefined } | undefined;
  return (at) => {
    search ??= { found: view.fold(addresseeOf(notice), nowSeconds).find((one) => one.notice.id === notice.id) };
    return search.found !== undefined && isLeft(search.found, at, nowSeconds);
  };
}

/** Whether an entry is in force now or will be. */
function isLeft(folded: FoldedNotice<KnownNotice>, at: number, nowSeconds: number): boolean {
  return windowsOf(folded, at).some(({ notAfter }) => notAfter > nowSeconds);
}

/** A licensee that a notice is addressed to; one to all is addressed to nobody in particular too. */
export function addresseeOf({ statement: { recipients } }: KnownNotice): string {
  return 'all' in recipients ? '' : recipients.licensees[0];
}

/** Gathers the facts from a register that was read as a whole, as the offline commands do. */
export function gatherFactsOf(
  statements: readonly KnownStatement[],
  folded: readonly FoldedNotice<KnownNotice>[],
  query: FactsQuery,
): RegisterFacts {
  const own = statements.filter((one) => isNotice(one)).filter(({ authority }) => authority.id === query.authority);
  const isNow = (one: FoldedNotice<KnownNotice>, at: number) =>
    windowsOf(one, at).some(({ notBefore, notAfter }) => notBefore <= query.nowSeconds && query.nowSeconds < notAfter);
  let entriesInForce = 0;
  for (const one of folded) for (let at = 0; at < one.entries.count; at++) if (isNow(one, at)) entriesInForce++;
  const notices = folded
    .filter(({ notice }) => !query.supersedes.includes(notice.id))
    .map((one) => ({
      id: one.notice.id,
      reference: one.notice.statement.reference,
      entries: one.entries,
      counts: (at: number) => isLeft(one, at, query.nowSeconds),
    }));
  return {
    sameReference: own.filter(({ statement }) => statement.reference === query.reference).length,
    noticeSizes: own.map(({ statement }) => statement.annex.entries),
    entriesInForce,
    unknown: query.supersedes.filter((id) => !own.some((notice) => notice.id === id)),
    notices,
  };
}
