import { z } from 'zod';
import { formatInstant } from '../../register/time.ts';
import { DRAFT_STATES, type DraftRecord } from '../store.ts';
import { findingSchema } from './preflight/finding.ts';

/** Result of a pre-flight as it is stored and answered. */
export const reportSchema = z.object({
  at: z.string(),
  entries: z.number(),
  /** Whether a list of popular names was at hand, and whether a resolver was asked for each name. */
  popularChecked: z.boolean(),
  namesAsked: z.boolean(),
  findings: z.array(findingSchema),
});

/** Result of a pre-flight. */
export type PreflightReport = z.output<typeof reportSchema>;

/** What a list shows of a draft. */
export const summarySchema = z.object({
  id: z.string(),
  type: z.string(),
  authority: z.string(),
  reference: z.string(),
  state: z.enum(DRAFT_STATES),
  sealed: z.boolean(),
  draftedBy: z.string(),
  approvals: z.array(z.object({ officer: z.string(), role: z.string(), at: z.string() })),
  signatures: z.array(z.object({ keyid: z.string(), officer: z.string(), publicKey: z.string() })),
  annexDigest: z.string().nullable(),
  statementId: z.string().nullable().describe('SHA-256 of the payload: what the register names it by'),
  appealReference: z.string().nullable(),
  leafIndex: z.number().nullable(),
  integratedAt: z.string().nullable(),
  refusal: z.object({ code: z.string(), message: z.string() }).nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
  version: z.number(),
});

/** A draft as it is answered. */
export const draftSchema = summarySchema.extend({
  body: z.record(z.string(), z.unknown()),
  overrides: z.array(z.object({ check: z.string(), officer: z.string(), reason: z.string() })),
  preflight: reportSchema.nullable().describe('Null when what it looked at has changed since'),
  signaturesNeeded: z.number().optional(),
  signaturesMissing: z.number().optional(),
});

/** Composes what a list shows of a draft. */
export function composeSummary(draft: DraftRecord): z.input<typeof summarySchema> {
  const { approvals, signatures, createdSeconds, updatedSeconds, integratedSeconds } = draft;
  return {
    ...draft,
    approvals: approvals.map(({ officer, role, atSeconds }) => ({ officer, role, at: formatInstant(atSeconds) })),
    signatures: signatures.map(({ keyid, officer, publicKey }) => ({ keyid, officer, publicKey })),
    integratedAt: integratedSeconds === null ? null : formatInstant(integratedSeconds),
    createdAt: formatInstant(createdSeconds),
    updatedAt: formatInstant(updatedSeconds),
  };
}

/** What depends on who looks, and on who may sign at the moment. */
export interface ViewTerms {
  /** Whether names of a sealed draft may show. */
  readonly seesSealed: boolean;
  readonly signaturesNeeded?: number;
}

/** Composes a draft as it is answered. */
export function composeView(
  draft: DraftRecord,
  { seesSealed, signaturesNeeded }: ViewTerms,
): z.input<typeof draftSchema> {
  const hides = draft.sealed && !seesSealed;
  return {
    ...composeSummary(draft),
    body: { ...draft.body },
    overrides: [...draft.overrides],
    preflight: hides ? null : (draft.preflight as PreflightReport | null),
    ...(signaturesNeeded !== undefined && {
      signaturesNeeded,
      signaturesMissing: Math.max(0, signaturesNeeded - draft.signatures.length),
    }),
  };
}
