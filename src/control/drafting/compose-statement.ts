import { type Draft, finishNotice, finishStatement, resolveFields } from '../../register/draft.ts';
import { formatInstant, parseInstant } from '../../register/time.ts';
import type { AnnexRecord, ApprovalRecord, DraftRecord } from '../store.ts';

/** The fields of a statement in drafting, its times exact. */
export interface ExactFields {
  readonly fields: Record<string, unknown>;
  /** When a notice was to take effect as it was drafted; `fields` never say a time before its approval. */
  readonly draftedFrom?: number;
}

/**
 * Makes a draft's times exact as of now. A notice cannot take effect before it is approved, so an earlier time becomes now;
 * it was made when it was drafted, unless the draft says otherwise.
 */
export function composeFields(
  draft: DraftRecord,
  approvals: readonly ApprovalRecord[],
  nowSeconds: number,
): ExactFields {
  const { type, authority, reference, body, draftedBy, overrides, createdSeconds } = draft;
  if (type !== 'notice') return { fields: resolveFields({ ...body, type, authority, reference }, nowSeconds) };
  const now = formatInstant(nowSeconds);
  const dates = { made: formatInstant(createdSeconds), ...(body.dates as Record<string, string> | undefined) };
  const draftedFrom = findStart(dates, nowSeconds);
  const isPast = draftedFrom !== undefined && draftedFrom < nowSeconds;
  const fields = resolveFields(
    {
      ...body,
      type,
      authority,
      reference,
      dates: { ...dates, approved: now, ...(isPast && { effectiveFrom: now }) },
      draftedBy,
      approvals: approvals.map(({ officer, role, atSeconds }) => ({ officer, role, at: formatInstant(atSeconds) })),
      overrides: overrides.map(({ check, officer, reason }) => ({ check, officer, reason })),
    },
    nowSeconds,
  );
  return { fields, draftedFrom };
}

function findStart(dates: Record<string, string>, nowSeconds: number): number | undefined {
  const { dates: exact } = resolveFields({ dates }, nowSeconds) as { dates: Record<string, string> };
  return exact.effectiveFrom === undefined ? undefined : parseInstant(exact.effectiveFrom);
}

/**
 * Composes the bytes to sign.
 *
 * @throws {WartaError} `statement-malformed` naming the key, `statement-oversized`.
 */
export function composeStatement(
  draft: DraftRecord,
  approvals: readonly ApprovalRecord[],
  annex: Pick<AnnexRecord, 'id' | 'entries' | 'sizeBytes'> | undefined,
  nowSeconds: number,
): Draft {
  const { fields } = composeFields(draft, approvals, nowSeconds);
  if (draft.type !== 'notice') return finishStatement(fields);
  const terms = annex && { digest: annex.id, entries: annex.entries, sizeBytes: annex.sizeBytes, sealed: draft.sealed };
  return finishNotice(fields, terms as Record<string, unknown>);
}
