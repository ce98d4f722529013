import { formatInstant } from '../../register/time.ts';
import type { AppealEventRecord, AppealRecord, DraftRecord, Tables } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';
import { EVENTS_MAX } from './appeal-desk.ts';
import type { Appeal, ListedAppeal, PublicAppeal } from './appeal-forms.ts';

/** Who looks at an appeal. */
export type Viewer = 'public' | 'appellant' | 'staff';

/** Kind of an event that is for staff alone. */
export const INTERNAL = 'internal';

const DRAFTS_MAX = 200;

/** Composes what anyone may see of an appeal. */
export function viewAppeal(
  tables: Tables,
  register: RegisterView,
  appeal: AppealRecord,
  nowSeconds: number,
  viewer: 'public',
): Promise<PublicAppeal>;
/** Composes what a viewer may see of an appeal. */
export function viewAppeal(
  tables: Tables,
  register: RegisterView,
  appeal: AppealRecord,
  nowSeconds: number,
  viewer: Viewer,
): Promise<Appeal>;
export async function viewAppeal(
  tables: Tables,
  register: RegisterView,
  appeal: AppealRecord,
  nowSeconds: number,
  viewer: Viewer,
): Promise<Appeal> {
  const drafts = await tables.drafts.list({ where: { appealReference: appeal.id }, limit: DRAFTS_MAX });
  const events = await tables.appealEvents.list({ where: { appealId: appeal.id }, limit: EVENTS_MAX });
  const release = drafts.find(({ id }) => id === appeal.releaseDraftId);
  return {
    ...outlineAppeal(register, appeal, nowSeconds, release),
    ...(viewer === 'public' ? {} : viewPrivate(appeal)),
    ...(viewer === 'staff' ? viewInternal(register, appeal) : {}),
    statements: drafts.map((draft) => viewDraft(draft, viewer)),
    events: events.filter((event) => isShown(event, viewer)).map((event) => viewEvent(event, viewer)),
  };
}

/** Composes a line of a list for staff. */
export function listAppeal(register: RegisterView, appeal: AppealRecord, nowSeconds: number): ListedAppeal {
  return { ...outlineAppeal(register, appeal, nowSeconds), late: appeal.late, version: appeal.version };
}

/** Whether the notice of an appeal is sealed; one that is not at hand is taken for sealed. */
export function isSealed(register: RegisterView, noticeId: string): boolean {
  return register.findNotice(noticeId)?.verified.statement.annex.sealed ?? true;
}

/** All that is public but events and statements. */
function outlineAppeal(
  register: RegisterView,
  appeal: AppealRecord,
  nowSeconds: number,
  release?: DraftRecord,
): Omit<PublicAppeal, 'events' | 'statements'> {
  const notice = register.findNotice(appeal.noticeId)?.verified.statement;
  const sealed = isSealed(register, appeal.noticeId);
  return {
    reference: appeal.id,
    notice: { id: appeal.noticeId, reference: notice?.reference, authority: appeal.authority, sealed },
    // Whether a name that someone gave is an entry of a sealed notice must not be seen.
    entries: sealed || appeal.entries.length === 0 ? undefined : [...appeal.entries],
    standing: appeal.standing,
    state: appeal.state,
    outcome: appeal.outcome ?? undefined,
    reasons: appeal.reasons ?? undefined,
    cure: appeal.cure ?? undefined,
    curedAt: formatTime(appeal.curedSeconds),
    filedAt: formatInstant(appeal.filedSeconds),
    withdrawnAt: formatTime(appeal.withdrawnSeconds),
    reviewer: appeal.reviewer ?? undefined,
    clocks: viewClocks(appeal, nowSeconds, release),
  };
}

function viewClocks(appeal: AppealRecord, nowSeconds: number, release?: DraftRecord): PublicAppeal['clocks'] {
  const untilSeconds = appeal.withdrawnSeconds ?? nowSeconds;
  const clock = (bySeconds: number, doneSeconds: number | null) => ({
    by: formatInstant(bySeconds),
    at: formatTime(doneSeconds),
    missed: (doneSeconds ?? untilSeconds) > bySeconds,
  });
  return {
    acknowledge: clock(appeal.acknowledgeBySeconds, appeal.acknowledgedSeconds),
    assess: clock(appeal.assessBySeconds, appeal.assessedSeconds),
    decide: clock(appeal.decideBySeconds, appeal.decidedSeconds),
    release:
      appeal.releaseBySeconds === null ? undefined : clock(appeal.releaseBySeconds, release?.integratedSeconds ?? null),
  };
}

function viewPrivate({ late, language, grounds, contact }: AppealRecord): Partial<Appeal> {
  return { late, language: language ?? undefined, grounds, contact: contact ?? undefined };
}

function viewInternal(register: RegisterView, { version, entries, noticeId }: AppealRecord): Partial<Appeal> {
  return { version, sealedEntries: isSealed(register, noticeId) ? [...entries] : undefined };
}

function viewDraft(draft: DraftRecord, viewer: Viewer): PublicAppeal['statements'][number] {
  const { id, type, state, statementId, leafIndex, integratedSeconds } = draft;
  const isPublished = state === 'published';
  return {
    type: type as PublicAppeal['statements'][number]['type'],
    state: isPublished ? 'published' : state === 'withdrawn' || state === 'refused' ? 'abandoned' : 'in-preparation',
    id: isPublished ? (statementId ?? undefined) : undefined,
    leafIndex: isPublished ? (leafIndex ?? undefined) : undefined,
    publishedAt: isPublished ? formatTime(integratedSeconds) : undefined,
    draft: viewer === 'staff' ? { id, state } : undefined,
  };
}

/** That a message was written is private as well, unless it was for the public. */
function isShown({ kind, note }: AppealEventRecord, viewer: Viewer): boolean {
  if (kind === INTERNAL) return viewer === 'staff';
  return viewer !== 'public' || kind !== 'message' || note !== null;
}

function viewEvent(event: AppealEventRecord, viewer: Viewer): PublicAppeal['events'][number] {
  const { atSeconds, kind, actor, note, privateNote } = event;
  return {
    at: formatInstant(atSeconds),
    kind,
    by: actor === 'appellant' ? 'appellant' : 'authority',
    note: note ?? undefined,
    message: viewer === 'public' ? undefined : (privateNote ?? undefined),
    actor: viewer === 'staff' ? actor : undefined,
  };
}

function formatTime(seconds: number | null): string | undefined {
  return seconds === null ? undefined : formatInstant(seconds);
}
