import { WartaError } from '../../base/errors.ts';
import { type Authority, RELEASE_TYPES } from '../../register/authorities.ts';
import { hashHex } from '../../register/canonical.ts';
import { type Change, reachOf } from '../../register/statement.ts';
import { checkContent, checkTargets, isChange } from '../../register/verify-statement.ts';
import type { Actor } from '../access/roles.ts';
import { refuseSealedNames } from '../appeals/sealed-names.ts';
import type { ApprovalRecord, DraftRecord, Json } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';
import { composeStatement } from './compose-statement.ts';
import { requireDrafter, requireState } from './draft-access.ts';
import { approvalsNeeded, overriddenIn, type Readiness, requireNoRefusal, requireReport } from './draft-preflight.ts';
import type { Step } from './draft-record.ts';
import { keyOf } from './draft-signatures.ts';

/** Finds a statement of the register, a notice with its entries. */
export function findWithEntries(register: RegisterView, id: string) {
  const verified = register.find(id)?.verified;
  const entries = verified && register.entriesOf(id);
  return entries === undefined ? verified : { ...verified!, entries };
}

/**
 * Puts a draft before whoever approves it. A release by someone who may approve one is approved at once.
 *
 * @throws {WartaError} `draft-state`, `forbidden`, `preflight-refused` for what nobody can override, the code of what would
 *   make the statement void.
 */
export async function proposeDraft(
  step: Step,
  draft: DraftRecord,
  readiness: Readiness,
  register: RegisterView,
): Promise<DraftRecord> {
  requireDrafter(step.actor, draft);
  requireState(draft, 'proposed', 'draft');
  if (draft.type === 'notice') {
    const report = requireReport(readiness, draft);
    // What an officer may override does not keep the draft from coming before one.
    requireNoRefusal(report, () => true);
    return step.tables.drafts.update(
      draft.id,
      { state: 'proposed', preflight: report as unknown as Json, updatedSeconds: step.nowSeconds },
      draft.version,
    );
  }
  if (approvesReleases(step.actor) && RELEASE_TYPES.has(draft.type))
    return fixPayload(step, draft, [], readiness, register);
  composeJudged(draft, [], readiness, register, step.nowSeconds);
  return step.tables.drafts.update(draft.id, { state: 'proposed', updatedSeconds: step.nowSeconds }, draft.version);
}

function approvesReleases({ roles }: Actor): boolean {
  return roles.has('approving-officer') || roles.has('appeals-reviewer');
}

/**
 * Approves a draft; the last approval that it needs fixes the bytes to sign.
 *
 * @throws {WartaError} `self-approval`, `approval-repeated`, `draft-state`, `forbidden` for who is no approving officer in
 *   authorities.json, `preflight-refused`, the code of what would make the statement void.
 */
export async function approveDraft(
  step: Step,
  draft: DraftRecord,
  readiness: Readiness,
  register: RegisterView,
): Promise<DraftRecord> {
  const { actor, tables, nowSeconds } = step;
  const authority = readiness.trust.authorities.byId.get(draft.authority);
  requireOtherPerson(actor, draft, authority);
  requireState(draft, 'approved', 'proposed');
  const isRelease = RELEASE_TYPES.has(draft.type);
  const role = isRelease ? roleOf(actor) : requireApprovingOfficer(actor, authority, nowSeconds);
  const approvals = [...draft.approvals, { officer: actor.id, role, atSeconds: nowSeconds }];
  if (draft.type !== 'notice') return fixPayload(step, draft, approvals, readiness, register);
  const report = requireReport(readiness, draft);
  if (approvals.length < approvalsNeeded(report, draft)) {
    const changes = { approvals, preflight: report as unknown as Json, updatedSeconds: nowSeconds };
    return tables.drafts.update(draft.id, changes, draft.version);
  }
  requireNoRefusal(report, overriddenIn(draft));
  return fixPayload(step, draft, approvals, readiness, register);
}

/** Four eyes: neither who drafted nor who approved before, and not somebody else with the key of one of them. */
function requireOtherPerson(actor: Actor, draft: DraftRecord, authority: Authority | undefined): void {
  const key = keyOf(authority, actor.id);
  const isSame = (id: string) => id === actor.id || (key !== undefined && keyOf(authority, id) === key);
  if (isSame(draft.draftedBy)) {
    throw new WartaError('self-approval', 'who drafted it cannot approve it: another officer does');
  }
  if (draft.approvals.some(({ officer }) => isSame(officer))) {
    throw new WartaError('approval-repeated', `${actor.id} has approved it already: another officer does`);
  }
}

/**
 * A notice whose approver authorities.json does not know is void at every node; one who has left approves nothing more that
 * blocks.
 */
function requireApprovingOfficer({ id }: Actor, authority: Authority | undefined, nowSeconds: number): string {
  const officer = authority?.officers.find((one) => one.id === id);
  const isValid =
    officer !== undefined && officer.validFromSeconds <= nowSeconds && nowSeconds < officer.validUntilSeconds;
  if (isValid && officer.role === 'approving-officer') return officer.role;
  const reason = `authorities.json lists no approving officer ${id} for now: only such may approve what blocks, or override`;
  throw new WartaError('forbidden', reason);
}

function roleOf({ roles }: Actor): string {
  return roles.has('approving-officer') ? 'approving-officer' : 'appeals-reviewer';
}

/** Composes the bytes to sign and keeps them: from here on nothing of the draft can change. */
async function fixPayload(
  { tables, nowSeconds }: Step,
  draft: DraftRecord,
  approvals: readonly ApprovalRecord[],
  readiness: Readiness,
  register: RegisterView,
): Promise<DraftRecord> {
  const payload = composeJudged(draft, approvals, readiness, register, nowSeconds);
  const report = draft.type === 'notice' ? { preflight: readiness.report as unknown as Json } : {};
  const fixed = { state: 'approved', approvals, payload, statementId: hashHex(payload), signatures: [] } as const;
  return tables.drafts.update(draft.id, { ...fixed, ...report, updatedSeconds: nowSeconds }, draft.version);
}

/** Composes the bytes to sign, and judges what they say as a node will. */
function composeJudged(
  draft: DraftRecord,
  approvals: readonly ApprovalRecord[],
  { trust, annex }: Readiness,
  register: RegisterView,
  nowSeconds: number,
): Buffer {
  const { statement, payload } = composeStatement(draft, approvals, annex, nowSeconds);
  checkContent(statement, trust);
  const authority = trust.authorities.byId.get(statement.authority)!;
  const verified = { ...UNSIGNED, statement, authority, id: hashHex(payload), integratedAtSeconds: nowSeconds };
  checkTargets(verified, (id) => findWithEntries(register, id));
  if (isChange(verified)) requireNothingUnsealed(verified.statement, register);
  return payload;
}

/** A change of a sealed notice is public: neither what it excludes nor its words may spell out a name. */
function requireNothingUnsealed(change: Change, register: RegisterView): void {
  const resumed = change.type === 'resumption' ? register.find(change.target)?.verified : undefined;
  const id = reachOf(resumed !== undefined && isChange(resumed) ? resumed.statement : change)?.notice;
  const notice = id === undefined ? undefined : register.findNotice(id)?.verified;
  if (!notice?.statement.annex.sealed) return;
  if (change.type === 'variation' && change.exclude !== undefined) {
    const reason = 'exclude: would publish names below a sealed entry: remove the entry instead';
    throw new WartaError('statement-out-of-scope', reason);
  }
  for (const text of textsIn(change)) refuseSealedNames(text, notice.entries);
}

/** Yields every text in a value. */
function* textsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null) for (const one of Object.values(value)) yield* textsIn(one);
}

/** What checking the targets of a statement does not ask for. */
const UNSIGNED = { name: 'draft', signedAtSeconds: 0, signers: [], startSeconds: 0, endSeconds: 0 };

/**
 * Sends a draft back to who drafted it. Approvals, overrides, signatures and the bytes to sign are gone.
 *
 * @throws {WartaError} `draft-state`.
 */
export function returnDraft({ tables, nowSeconds }: Step, draft: DraftRecord): Promise<DraftRecord> {
  requireState(draft, 'returned', 'proposed', 'approved', 'refused');
  const cleared = { approvals: [], overrides: [], signatures: [], payload: null, statementId: null, refusal: null };
  return tables.drafts.update(draft.id, { state: 'draft', ...cleared, updatedSeconds: nowSeconds }, draft.version);
}

/**
 * Overrides the refusals of a check, with a reason that will be in the signed statement for all to see. Approvals that were
 * given before are gone: they were of a statement without it.
 *
 * @throws {WartaError} `self-approval` by who drafted it, `draft-state`, `forbidden`, `request-invalid` when the last pre-flight has no
 *   such refusal, or only such as nobody can override; `conflict` when it is overridden already.
 */
export async function overrideCheck(
  { tables, actor, nowSeconds }: Step,
  draft: DraftRecord,
  { check, reason }: { check: string; reason: string },
  readiness: Readiness,
): Promise<DraftRecord> {
  const authority = readiness.trust.authorities.byId.get(draft.authority);
  requireOtherPerson(actor, { ...draft, approvals: [] }, authority);
  requireState(draft, 'overridden', 'draft', 'proposed');
  requireApprovingOfficer(actor, authority, nowSeconds);
  const report = requireReport(readiness, draft);
  const refusals = report.findings.filter((finding) => finding.level === 'refuse' && finding.check === check);
  if (refusals.length === 0 || refusals.some(({ overridable }) => overridable !== true)) {
    const why = refusals.length === 0 ? 'the pre-flight refuses nothing under it' : 'nobody can override it';
    throw new WartaError('request-invalid', `check: ${check}: ${why}`);
  }
  if (overriddenIn(draft)(check)) throw new WartaError('conflict', `${check} is overridden already`);
  const overrides = [...draft.overrides, { check, officer: actor.id, reason }];
  const changes = { overrides, approvals: [], preflight: report as unknown as Json, updatedSeconds: nowSeconds };
  return tables.drafts.update(draft.id, changes, draft.version);
}

/**
 * Keeps the result of a pre-flight beside what it looked at.
 *
 * @throws {WartaError} `draft-state`.
 */
export function keepReport(
  { tables, nowSeconds }: Step,
  draft: DraftRecord,
  readiness: Readiness,
): Promise<DraftRecord> {
  requireState(draft, 'looked over', 'draft', 'proposed');
  const preflight = requireReport(readiness, draft) as unknown as Json;
  return tables.drafts.update(draft.id, { preflight, updatedSeconds: nowSeconds }, draft.version);
}
