import { parseEnvelope } from '../register/envelope.ts';

/**
 * What an envelope says of itself, whether or not it counts: a void statement must still be named in a report. Nothing
 * here is verified, so it may describe, and decides nothing.
 */
export interface StatementClaims {
  readonly type?: string;
  readonly reference?: string;
  readonly authority?: string;
  readonly draftedBy?: string;
  readonly approvers: readonly string[];
  readonly untilRevoked: boolean;
  readonly reviewBy?: string;
  readonly sealed: boolean;
}

/** Longest claim repeated in a report. */
const MAX_CLAIM_LENGTH = 120;

/** Reads the claims of an envelope; `undefined` when it is none, or holds no JSON object. */
export function peekStatement(envelope: Uint8Array): StatementClaims | undefined {
  let value: unknown;
  try {
    value = JSON.parse(parseEnvelope(envelope).payload.toString());
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const approvals = Array.isArray(value.approvals) ? value.approvals : [];
  const approvers = approvals.flatMap((approval) => (isObject(approval) ? (textOf(approval.officer) ?? []) : []));
  return {
    type: textOf(value.type),
    reference: textOf(value.reference),
    authority: textOf(value.authority),
    draftedBy: textOf(value.draftedBy),
    approvers,
    untilRevoked: isObject(value.term) && value.term.untilRevoked === true,
    reviewBy: isObject(value.dates) ? textOf(value.dates.reviewBy) : undefined,
    sealed: isObject(value.annex) && value.annex.sealed === true,
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value.slice(0, MAX_CLAIM_LENGTH) : undefined;
}
