import type { KnownStatement } from '../register/verify-statement.ts';

/** Every kind of finding. */
export type FindingCode =
  // the log and who vouches for it
  | 'log-broken'
  | 'log-forked'
  | 'log-shrunk'
  | 'mirror-differs'
  | 'mirror-failed'
  | 'checkpoint-unwitnessed'
  | 'trust-expired'
  | 'leaf-backdated'
  | 'statement-void'
  | 'heartbeat-gap'
  // what notices say
  | 'self-approval'
  | 'drafter-signed'
  | 'review-missing'
  | 'review-overdue'
  | 'override'
  | 'annex-missing'
  | 'pages-http-only'
  // what nodes say
  | 'receipt-invalid'
  | 'receipt-disagrees'
  | 'receipt-held'
  | 'expired-applied'
  | 'released-applied'
  | 'scope-wider'
  | 'off-register'
  | 'release-slow'
  | 'block-slow'
  | 'node-silent'
  | 'node-observing'
  | 'pages-unenforced'
  // what a resolver answers
  | 'under-blocked'
  | 'not-steered'
  | 'wrong-reference'
  | 'wrong-answer'
  | 'unproven'
  | 'unanswered';

/** `error`: the register or a node breaks its own rules. `warning`: look into it. `note`: allowed, and worth a look. */
export type Severity = 'error' | 'warning' | 'note';

/** Severities, the worst first. */
export const SEVERITIES: readonly Severity[] = ['error', 'warning', 'note'];

/** Something an auditor should know, traced to whom it concerns. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** What is wrong in one sentence. */
  readonly summary: string;
  /** Position in the log. */
  readonly index?: number;
  /** Id of the statement. */
  readonly statement?: string;
  readonly reference?: string;
  /** Officers whose keys signed it. */
  readonly signers?: readonly string[];
  readonly licensee?: string;
  readonly node?: string;
  /** What it rests on: times, digests, counts; plain JSON. */
  readonly evidence: Readonly<Record<string, unknown>>;
}

/** Traces a finding to a good statement. */
export function traceTo(statement: KnownStatement, index: number) {
  return { index, statement: statement.id, reference: statement.statement.reference, signers: statement.signers };
}
