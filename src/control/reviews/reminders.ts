import { formatInstant } from '../../register/time.ts';
import { OPEN_STATES } from '../appeals/appeal-states.ts';
import { foldAlone, standingOfEntry } from '../public-register/entry-standing.ts';
import type { ControlServices } from '../services.ts';
import {
  type AppealRecord,
  DRAFT_STATES,
  type DraftRecord,
  type ListQuery,
  type ReminderRecord,
  type Tables,
} from '../store.ts';
import type { PlacedNotice, RegisterView } from '../view/register-view.ts';
import {
  type Due,
  findAppealDues,
  findLateRelease,
  findNoticeDues,
  findWaitingDraft,
  isNear,
  reminderIdOf,
} from './due-dates.ts';
import { stayOverdue } from './overdue-stay.ts';

const PAGE = 500;

/** Standings of what blocks, or will again. */
const BLOCKING = new Set(['scheduled', 'in-force', 'stayed']);

/** What a look came to. */
export interface Look {
  readonly made: number;
  readonly settled: number;
  /** Notices past their review that a stay was drafted for. */
  readonly stayed: number;
}

/**
 * Compares what is due now with the reminders there are: makes those that are missing, settles those that nobody needs any
 * more, and takes up again what has come back. Looking twice changes nothing. Where the policy pack says so, a notice past
 * its review gets a draft of a stay for staff to sign.
 */
export async function lookForReminders(tables: Tables, services: ControlServices, nowSeconds: number): Promise<Look> {
  const dues = [...noticeDues(services, nowSeconds), ...(await otherDues(tables, services, nowSeconds))];
  const byId = new Map(dues.map((due) => [reminderIdOf(due), due]));
  const settled = await settleOthers(tables, byId, nowSeconds);
  let made = 0;
  for (const [id, due] of byId) {
    if (await remind(tables, services, id, due, nowSeconds)) made++;
  }
  const stayed = await stayOverdue(tables, services, dues, nowSeconds);
  return { made, settled, stayed };
}

function noticeDues({ register }: ControlServices, nowSeconds: number): Due[] {
  return register.notices().flatMap((notice) => {
    if (notice.verified.endSeconds <= nowSeconds) return []; // over by its own term: most are, in the end
    const changes = register.changesOf(notice.verified.id);
    if (changes.length === 0 && !isNear(notice, nowSeconds)) return [];
    const standing = register.standingOf(notice.verified.id, nowSeconds);
    return standing === undefined ? [] : findNoticeDues(notice, standing, changes, nowSeconds);
  });
}

async function otherDues(tables: Tables, { register }: ControlServices, nowSeconds: number): Promise<Due[]> {
  const dues: Due[] = [];
  for await (const appeal of readAll(tables.appeals, { state: { in: OPEN_STATES } })) {
    dues.push(...findAppealDues(appeal, nowSeconds));
  }
  const unpublished = DRAFT_STATES.filter((state) => state !== 'published');
  for await (const draft of readAll(tables.drafts, { appealReference: { from: '' }, state: { in: unpublished } })) {
    const appeal = await tables.appeals.get(draft.appealReference!);
    if (appeal?.releaseDraftId !== draft.id || !blocksStill(register, appeal, draft, nowSeconds)) continue;
    dues.push(...findLateRelease(appeal, nowSeconds));
  }
  for await (const draft of readAll(tables.drafts, { state: { in: ['proposed', 'approved'] } })) {
    dues.push(...findWaitingDraft(draft, nowSeconds));
  }
  return dues;
}

/** Whether something of what a draft would lift is not lifted yet, be it by another statement. */
function blocksStill(register: RegisterView, { noticeId }: AppealRecord, { body }: DraftRecord, nowSeconds: number) {
  const notice = register.findNotice(noticeId);
  const entries = register.entriesOf(noticeId);
  if (notice === undefined || entries === undefined) return true;
  const lone = foldAlone(register, notice, nowSeconds);
  if (!Array.isArray(body.entries)) return BLOCKING.has(lone.whole?.state ?? '');
  return body.entries.some((id) => BLOCKING.has(standingOfEntry(lone, entries.indexOf(String(id))).state));
}

/** Yields every record that meets the conditions, page by page. */
async function* readAll<R extends { id: string }>(
  collection: { list(query: ListQuery<R>): Promise<R[]> },
  where: ListQuery<R>['where'],
): AsyncGenerator<R> {
  for (let after: R | undefined; ; ) {
    const page = await collection.list({ where, after, limit: PAGE });
    yield* page;
    if (page.length < PAGE) return;
    after = page.at(-1);
  }
}

async function settleOthers(tables: Tables, dues: ReadonlyMap<string, Due>, nowSeconds: number): Promise<number> {
  const over: ReminderRecord[] = [];
  for await (const reminder of readAll(tables.reminders, { settledSeconds: null })) {
    if (!dues.has(reminder.id)) over.push(reminder);
  }
  for (const { id } of over) await tables.reminders.update(id, { settledSeconds: nowSeconds });
  return over.length;
}

/** Makes a reminder, or takes it up again. Returns whether it was new. */
async function remind(
  tables: Tables,
  services: ControlServices,
  id: string,
  due: Due,
  nowSeconds: number,
): Promise<boolean> {
  const known = await tables.reminders.get(id);
  if (known !== undefined) {
    if (known.settledSeconds !== null) await tables.reminders.update(id, { settledSeconds: null });
    return false;
  }
  const notice = due.subject.startsWith('notices/')
    ? services.register.findNotice(due.subject.slice('notices/'.length))
    : undefined;
  const toldSeconds = notice === undefined ? null : nowSeconds;
  await tables.reminders.insert({ id, ...due, toldSeconds, settledSeconds: null });
  if (notice !== undefined) await services.events.emit(tables, 'notice.review-due', describeDue(notice, due));
  return true;
}

/** What webhooks are told: nothing of it is secret. */
function describeDue({ verified }: PlacedNotice, { kind, dueSeconds }: Due): object {
  const { id, statement } = verified;
  const [what, days] = kind.split('-');
  return {
    notice: { id, reference: statement.reference, authority: statement.authority, category: statement.category },
    due: what,
    at: formatInstant(dueSeconds),
    daysBefore: Number(days),
  };
}
