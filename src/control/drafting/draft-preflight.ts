import { WartaError } from '../../base/errors.ts';
import { formatInstant } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { ProblemError, type ProblemItem } from '../http/problem.ts';
import type { CurrentTrust } from '../publishing/published-trust.ts';
import type { ControlServices } from '../services.ts';
import type { AnnexRecord, ApprovalRecord, DraftRecord } from '../store.ts';
import { Turns } from '../view/turns.ts';
import { composeFields } from './compose-statement.ts';
import { findDraft, requireSight } from './draft-access.ts';
import type { DraftType } from './draft-body.ts';
import type { PreflightReport } from './draft-view.ts';
import { tabulateAnnex } from './entries/annex-pages.ts';
import { gatherFacts } from './preflight/register-facts.ts';
import { findRefusals, needsThirdApprover, runPreflight } from './preflight/run-preflight.ts';

/** What a step of a draft's life is decided with, looked up before its transaction. */
export interface Readiness {
  readonly trust: CurrentTrust;
  /** The draft that was looked at, by its version. */
  readonly version?: number;
  readonly annex?: Pick<AnnexRecord, 'id' | 'entries' | 'sizeBytes'>;
  /** Result of the pre-flight of a notice. */
  readonly report?: PreflightReport;
}

/** What is asked for. */
export interface ReadinessQuery {
  readonly type: DraftType;
  readonly id: string;
  readonly actor: Actor;
  readonly nowSeconds: number;
  /** Whether a notice is to be looked over, and whether the resolver is to be asked for its names. */
  readonly preflight?: boolean;
  readonly askNames?: boolean;
}

/** Looks up what a step needs that is no record: who may sign, what the register says, what the pre-flight finds. */
export async function prepareStep(services: ControlServices, query: ReadinessQuery): Promise<Readiness> {
  const { type, id, actor, nowSeconds, preflight = false, askNames = false } = query;
  const { store, register } = services;
  const trust = await services.trust.read(nowSeconds);
  await register.catchUp();
  if (!preflight || type !== 'notice') return { trust };
  const { draft, annex } = await store.read(async (tables) => {
    const found = await findDraft(tables, type, id, actor);
    return {
      draft: found,
      annex: found.annexDigest === null ? undefined : await tables.annexes.get(found.annexDigest),
    };
  });
  if (draft.state !== 'draft' && draft.state !== 'proposed') return { trust };
  // What it looks up may leave this process, and how long it takes says something too.
  requireSight(actor, draft);
  const report = await lookOver(services, trust, draft, annex, nowSeconds, askNames);
  return { trust, version: draft.version, annex: annex && withoutBytes(annex), report };
}

function withoutBytes({ id, entries, sizeBytes }: AnnexRecord): Readiness['annex'] {
  return { id, entries, sizeBytes };
}

/** Runs the pre-flight of a notice. */
async function lookOver(
  services: ControlServices,
  { authorities, pack }: CurrentTrust,
  draft: DraftRecord,
  annex: AnnexRecord | undefined,
  nowSeconds: number,
  askNames: boolean,
): Promise<PreflightReport> {
  const turns = new Turns();
  const { fields, draftedFrom } = composeFields(draft, approvalsSoFar(draft, nowSeconds), nowSeconds);
  const entries = annex && (await tabulateAnnex(annex.bytes, annex.entries, turns));
  const { authority, reference } = draft;
  const supersedes = (draft.body.supersedes ?? []) as readonly string[];
  const facts = await gatherFacts(services.register, { authority, reference, supersedes, nowSeconds }, turns);
  const { popular, askName } = services.preflight ?? {};
  const findings = await runPreflight({
    fields,
    entries,
    facts,
    pack,
    authority: authorities.byId.get(authority),
    nowSeconds,
    draftedFrom,
    popular,
    askName: askNames ? askName : undefined,
  });
  return {
    at: formatInstant(nowSeconds),
    entries: entries?.count ?? 0,
    popularChecked: popular !== undefined,
    namesAsked: askNames && askName !== undefined,
    findings,
  };
}

/** The approvals of a draft, or one to come: a statement has one at least. */
function approvalsSoFar({ approvals, draftedBy }: DraftRecord, nowSeconds: number): readonly ApprovalRecord[] {
  if (approvals.length > 0) return approvals;
  return [{ officer: `${draftedBy.slice(0, 60)}.2`, role: 'approving-officer', atSeconds: nowSeconds }];
}

/**
 * Returns the pre-flight of a draft as it is now.
 *
 * @throws {WartaError} `version-mismatch` when it changed since it was looked at.
 */
export function requireReport({ report, version }: Readiness, draft: DraftRecord): PreflightReport {
  if (report !== undefined && version === draft.version) return report;
  throw new WartaError('version-mismatch', 'someone changed it at this moment: read it again');
}

/** Returns whether a check of a draft was overridden. */
export function overriddenIn(draft: DraftRecord): (check: string) => boolean {
  return (check) => draft.overrides.some((override) => override.check === check);
}

/** Approvals that a notice needs. */
export function approvalsNeeded({ findings }: PreflightReport, draft: DraftRecord): number {
  return needsThirdApprover(findings, overriddenIn(draft)) ? 2 : 1;
}

/**
 * Requires that nothing is refused, or only what can be overridden.
 *
 * @throws {WartaError} `preflight-refused`, listing what is.
 */
export function requireNoRefusal(report: PreflightReport, isPassedOver: (check: string) => boolean): void {
  const refusals = findRefusals(report.findings, isPassedOver);
  if (refusals.length === 0) return;
  const items = refusals.map(({ check, message, count, entries }): ProblemItem => {
    const where = entries === undefined ? '' : ` (${count}: ${entries.slice(0, 20).join(', ')})`;
    return { path: check, message: message + where };
  });
  throw new ProblemError(
    'preflight-refused',
    'the pre-flight refuses it: correct the draft, or have it overridden',
    items,
  );
}
