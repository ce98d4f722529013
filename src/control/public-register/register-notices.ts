import { WartaError } from '../../base/errors.ts';
import { reachOf } from '../../register/statement.ts';
import { formatInstant, NO_END_SECONDS } from '../../register/time.ts';
import { isChange, type KnownStatement } from '../../register/verify-statement.ts';
import { viewAppeal } from '../appeals/appeal-view.ts';
import type { Tables } from '../store.ts';
import type { NoticeStanding, PlacedNotice, PlacedStatement, RegisterView } from '../view/register-view.ts';
import { describeTerms, foldAlone, standingOfEntry } from './entry-standing.ts';
import type {
  EntryQuery,
  ListedChange,
  ListedEntry,
  ListedNotice,
  NoticeQuery,
  RegisterNotice,
} from './register-forms.ts';

/** Work for one page, in notices passed over: a page may be shorter than asked for and still have a next one. */
const WORK_MAX = 100_000;
/** How much longer it takes to find out how a notice stands. */
const STANDING_WORK = 20;
const APPEALS_MAX = 50;
const CHANGES_MAX = 200;

/** Lists notices, newest first. The cursor is the place of the last one in the log. */
export function listNotices(
  register: RegisterView,
  query: NoticeQuery,
  nowSeconds: number,
): { items: ListedNotice[]; next?: string } {
  const { limit, cursor, state } = query;
  const notices = register.notices();
  const before = cursor === undefined ? Number.POSITIVE_INFINITY : parseCursor(cursor);
  const items: ListedNotice[] = [];
  let work = 0;
  for (let place = findPlace(notices, before) - 1; place >= 0; place--) {
    const notice = notices[place];
    const { index } = notice;
    work++;
    if (isWanted(notice, query)) {
      work += STANDING_WORK;
      const standing = requireStanding(register, notice, nowSeconds);
      if (state === undefined || standing.state === state) items.push(listNotice(notice, standing, nowSeconds));
    }
    if ((items.length === limit || work >= WORK_MAX) && place > 0) return { items, next: String(index) };
  }
  return { items };
}

/** Returns how many notices stand before a place in the log. */
function findPlace(notices: readonly PlacedNotice[], index: number): number {
  let low = 0;
  let high = notices.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (notices[middle].index < index) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @throws {WartaError} `request-invalid`. */
function parseCursor(cursor: string): number {
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor);
  throw new WartaError('request-invalid', 'cursor: give the next of the page before');
}

function isWanted({ verified }: PlacedNotice, { category, instrument, authority, q }: NoticeQuery): boolean {
  const { statement } = verified;
  if (category !== undefined && statement.category !== category) return false;
  if (instrument !== undefined && statement.instrument !== instrument) return false;
  if (authority !== undefined && statement.authority !== authority) return false;
  return q === undefined || statement.reference.toLowerCase().includes(q.toLowerCase());
}

function requireStanding(register: RegisterView, { verified }: PlacedNotice, nowSeconds: number): NoticeStanding {
  const standing = register.standingOf(verified.id, nowSeconds);
  if (standing !== undefined) return standing;
  throw new Error(`a notice of the register has no standing: ${verified.id}`);
}

/** Whether a notice still blocks, or would but for a stay, though its date of review has passed. */
export function isReviewOverdue({ outline }: PlacedNotice, { state }: NoticeStanding, nowSeconds: number): boolean {
  const { reviewBySeconds = NO_END_SECONDS } = outline;
  return reviewBySeconds <= nowSeconds && (state === 'in-force' || state === 'stayed');
}

function listNotice(notice: PlacedNotice, standing: NoticeStanding, nowSeconds: number): ListedNotice {
  const { verified, outline, index } = notice;
  const { id, statement, startSeconds, endSeconds, integratedAtSeconds } = verified;
  return {
    id,
    reference: statement.reference,
    authority: statement.authority,
    instrument: statement.instrument,
    category: statement.category,
    sealed: statement.annex.sealed,
    entries: statement.annex.entries,
    effectiveFrom: formatInstant(startSeconds),
    expires: endSeconds === NO_END_SECONDS ? undefined : formatInstant(endSeconds),
    reviewBy: formatTime(outline.reviewBySeconds),
    reviewOverdue: isReviewOverdue(notice, standing, nowSeconds),
    standing: {
      state: standing.state,
      since: formatInstant(standing.sinceSeconds),
      until: formatTime(standing.untilSeconds),
      entriesInForce: standing.entriesInForce,
    },
    leafIndex: index,
    integratedAt: formatInstant(integratedAtSeconds),
  };
}

/**
 * Shows a notice whole: the statement, its entries unless they are sealed, what changed it, its appeals.
 *
 * @throws {WartaError} `not-found`.
 */
export async function showNotice(
  tables: Tables,
  register: RegisterView,
  id: string,
  query: EntryQuery,
  nowSeconds: number,
): Promise<RegisterNotice> {
  const notice = register.findNotice(id);
  if (notice === undefined) throw new WartaError('not-found', 'the register has no notice with that id');
  const standing = requireStanding(register, notice, nowSeconds);
  const appeals = await tables.appeals.list({
    where: { noticeId: id },
    orderBy: 'filedSeconds',
    descending: true,
    limit: APPEALS_MAX,
  });
  const shown = [];
  for (const appeal of appeals) shown.push(await viewAppeal(tables, register, appeal, nowSeconds, 'public'));
  return {
    ...listNotice(notice, standing, nowSeconds),
    statement: await register.readStatement(id),
    signers: [...notice.verified.signers],
    annex: listEntries(register, notice, query, nowSeconds),
    changes: await listChanges(register, standing),
    appeals: shown,
    appealCount: await tables.appeals.count({ noticeId: id }),
  };
}

/** Lists entries of an open notice; of a sealed one nothing but their number is told. */
function listEntries(
  register: RegisterView,
  notice: PlacedNotice,
  { limit, cursor }: EntryQuery,
  nowSeconds: number,
): RegisterNotice['annex'] {
  const { id, statement } = notice.verified;
  const entries = statement.annex.sealed ? undefined : register.entriesOf(id);
  if (entries === undefined) return undefined;
  const from = cursor === undefined ? 0 : parseCursor(cursor);
  const until = Math.min(entries.count, from + limit);
  const lone = foldAlone(register, notice, nowSeconds);
  const items: ListedEntry[] = [];
  for (let at = from; at < until; at++) {
    const expires = entries.expiresSeconds(at);
    items.push({
      id: entries.id(at),
      name: entries.name(at),
      ...describeTerms(notice, entries, at),
      excludes: entries.excludes.has(at) ? [...entries.excludes.get(at)!] : undefined,
      expires: expires === NO_END_SECONDS ? undefined : formatInstant(expires),
      state: standingOfEntry(lone, at).state,
    });
  }
  return { items, next: until < entries.count ? String(until) : undefined };
}

/** Lists what changed a notice, oldest first; of very many the newest. */
async function listChanges(register: RegisterView, { changedBy }: NoticeStanding): Promise<ListedChange[]> {
  const placed = changedBy.slice(-CHANGES_MAX).map((id) => register.find(id));
  return Promise.all(placed.filter((one) => one !== undefined).map((one) => describeChange(register, one)));
}

async function describeChange(register: RegisterView, { verified, index }: PlacedStatement): Promise<ListedChange> {
  const { id, statement, signers, integratedAtSeconds } = verified;
  const whole = await register.readStatement(id);
  return {
    id,
    type: statement.type,
    reference: statement.reference ?? '',
    authority: statement.authority,
    signers: [...signers],
    leafIndex: index,
    integratedAt: formatInstant(integratedAtSeconds),
    ...describePeriod(verified),
    reasons: whole?.reasons.public,
  };
}

/** From when a change counts, until when, and for which entries. */
function describePeriod(verified: KnownStatement): Pick<ListedChange, 'from' | 'until' | 'entries'> {
  if (!isChange(verified)) return { from: formatInstant(verified.startSeconds) };
  const { statement } = verified;
  const entries = reachOf(statement)?.entries;
  return {
    from: statement.from,
    until: 'until' in statement ? statement.until : undefined,
    entries: entries === undefined || entries.length === 0 ? undefined : [...entries],
  };
}

function formatTime(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : formatInstant(seconds);
}
