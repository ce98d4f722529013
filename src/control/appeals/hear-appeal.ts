import type { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import type { Actor } from '../access/roles.ts';
import type { AppealRecord, DraftRecord } from '../store.ts';
import type { PlacedNotice } from '../view/register-view.ts';
import { computeEraseAfter, computeReleaseBy } from './appeal-clocks.ts';
import { type AppealDesk, readAppealedNotice, recordEvent, requireStaffOf } from './appeal-desk.ts';
import type { acknowledgeForm, assessForm, CureTerms, Decision, StayTerms } from './appeal-forms.ts';
import { requireAction } from './appeal-states.ts';
import { viewAppeal } from './appeal-view.ts';
import { refuseSealed } from './appellant-acts.ts';
import { draftRevocation, draftStay, draftVariation, isOver } from './release-drafts.ts';
import { requireUninvolved } from './took-part.ts';

/** One act of staff on an appeal. */
export interface Act {
  readonly actor: Actor;
  readonly appeal: AppealRecord;
  /** Version of the appeal as the actor read it. */
  readonly expectedVersion?: number;
}

/** What an act made of an appeal, and the draft that it led to. */
export interface Done {
  readonly appeal: AppealRecord;
  readonly draft?: DraftRecord;
}

/**
 * Says that an appeal has been received; any of the authority's staff can.
 *
 * @throws {WartaError} `forbidden`, `appeal-state`, `version-mismatch`.
 */
export async function acknowledgeAppeal(
  desk: AppealDesk,
  { actor, appeal, expectedVersion }: Act,
  { note }: z.output<typeof acknowledgeForm>,
): Promise<Done> {
  requireStaffOf(actor, appeal);
  requireAction(appeal, 'acknowledge');
  refuseSealed(desk, appeal, note);
  const changes = { state: 'acknowledged', acknowledgedSeconds: desk.nowSeconds } as const;
  const changed = await desk.tables.appeals.update(appeal.id, changes, expectedVersion);
  await recordEvent(desk, appeal.id, { actor: actor.id, kind: 'acknowledged', note });
  return { appeal: changed };
}

/**
 * Takes an appeal up for hearing. `cure` says what must be cured for the block to be lifted, as of a site that was broken
 * into.
 *
 * @throws {WartaError} `forbidden`, `appeal-state`, `appeal-conflict`, `version-mismatch`.
 */
export async function assessAppeal(
  desk: AppealDesk,
  act: Act,
  { note, cure }: z.output<typeof assessForm>,
): Promise<Done> {
  const { actor, appeal, expectedVersion } = act;
  await requireReviewer(desk, act, 'assess');
  refuseSealed(desk, appeal, note, cure);
  const changes = {
    state: 'assessed',
    assessedSeconds: desk.nowSeconds,
    reviewer: actor.id,
    cure: cure ?? null,
  } as const;
  const changed = await desk.tables.appeals.update(appeal.id, changes, expectedVersion);
  await recordEvent(desk, appeal.id, { actor: actor.id, kind: 'assessed', note });
  return { appeal: changed };
}

/**
 * Drafts a stay of what is appealed, which takes effect when it is signed and published.
 *
 * @throws {WartaError} `forbidden`, `appeal-state`, `appeal-conflict`, `request-invalid`, `version-mismatch`.
 */
export async function stayAppealed(desk: AppealDesk, act: Act, terms: StayTerms): Promise<Done> {
  const { actor, appeal, expectedVersion } = act;
  const notice = await requireReviewer(desk, act, 'stay');
  refuseSealed(desk, appeal, terms.reasons, terms.order?.by, terms.order?.reference);
  if (isOver(desk, notice)) {
    throw new WartaError('appeal-state', 'the notice is no longer in force: there is nothing to stay');
  }
  const draft = await draftStay(desk, act, notice, terms);
  const changed = await desk.tables.appeals.update(appeal.id, {}, expectedVersion);
  await recordEvent(desk, appeal.id, { actor: actor.id, kind: 'stay-ordered', note: terms.reasons });
  return { appeal: changed, draft };
}

/**
 * Decides an appeal. An overturned one makes a draft of the revocation, a varied one that of the variation, or names what
 * must be cured first; from the decision on the clock of the release runs. What is over already needs no release.
 *
 * @throws {WartaError} `forbidden`, `appeal-state`, `appeal-conflict`, `request-invalid`, `version-mismatch`.
 */
export async function decideAppeal(desk: AppealDesk, act: Act, decision: Decision): Promise<Done> {
  const notice = await requireReviewer(desk, act, 'decide');
  refuseSealed(desk, act.appeal, decision.reasons, decision.cure);
  const { outcome, reasons, cure = null } = decision;
  const draft = await draftRelease(desk, act, notice, decision);
  return closeAppeal(desk, act, { outcome, reasons, cure, draft, kind: 'decided', note: reasons });
}

/** Drafts what carries a decision out, if anything does. */
async function draftRelease(
  desk: AppealDesk,
  act: Act,
  notice: PlacedNotice,
  decision: Decision,
): Promise<DraftRecord | undefined> {
  const { outcome, variation, reasons } = decision;
  if (isOver(desk, notice)) return undefined;
  if (outcome === 'overturned') return draftRevocation(desk, act, notice, decision);
  return variation && draftVariation(desk, act, notice, { variation, reasons });
}

/**
 * Confirms that what had to be cured is, and drafts the revocation. Of an appeal that was not decided yet this is the
 * decision: varied.
 *
 * @throws {WartaError} `forbidden`, `appeal-state`, `appeal-conflict`, `request-invalid`, `version-mismatch`.
 */
export async function confirmCure(desk: AppealDesk, act: Act, terms: CureTerms): Promise<Done> {
  const { appeal } = act;
  const notice = await requireReviewer(desk, act, 'cure');
  refuseSealed(desk, appeal, terms.reasons);
  const draft = isOver(desk, notice) ? undefined : await draftRevocation(desk, act, notice, terms);
  return closeAppeal(desk, act, {
    outcome: appeal.outcome ?? 'varied',
    reasons: appeal.reasons ?? terms.reasons,
    cure: appeal.cure,
    curedSeconds: desk.nowSeconds,
    draft,
    kind: 'cure-confirmed',
    note: terms.reasons,
  });
}

/** How an appeal closes. */
interface Closing extends Pick<AppealRecord, 'outcome' | 'reasons' | 'cure'> {
  readonly curedSeconds?: number;
  readonly draft?: DraftRecord;
  /** The event that closes it, and what is said to everyone then. */
  readonly kind: string;
  readonly note: string;
}

async function closeAppeal(
  desk: AppealDesk,
  { actor, appeal, expectedVersion }: Act,
  { kind, note, draft, ...closing }: Closing,
): Promise<Done> {
  const { tables, services, nowSeconds, pack } = desk;
  const changes = {
    ...closing,
    state: 'decided',
    decidedSeconds: appeal.decidedSeconds ?? nowSeconds,
    reviewer: actor.id,
    releaseDraftId: draft?.id ?? null,
    releaseBySeconds: draft === undefined ? null : computeReleaseBy(pack, nowSeconds),
    eraseAfterSeconds: computeEraseAfter(pack, nowSeconds),
  } as const;
  const changed = await tables.appeals.update(appeal.id, changes, expectedVersion);
  await recordEvent(desk, appeal.id, { actor: actor.id, kind, note });
  const view = await viewAppeal(tables, services.register, changed, nowSeconds, 'public');
  await services.events.emit(tables, 'appeal.decided', view);
  return { appeal: changed, draft };
}

/** Requires a reviewer of the authority who took no part in the notice, and an appeal that is ready for the act. */
async function requireReviewer(
  { tables, services }: AppealDesk,
  { actor, appeal }: Act,
  action: 'assess' | 'stay' | 'decide' | 'cure',
): Promise<PlacedNotice> {
  requireStaffOf(actor, appeal);
  requireAction(appeal, action);
  const notice = readAppealedNotice(services.register, appeal);
  await requireUninvolved(tables, services.register, notice, actor);
  return notice;
}
