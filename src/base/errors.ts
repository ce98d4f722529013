/** Every reason Warta gives for refusing something. One literal union, so that a mapping to RCODE or HTTP status is total. */
export type ErrorCode =
  | 'config-invalid'
  | 'config-unreadable'
  | 'usage'
  | 'name-invalid'
  | 'key-invalid'
  | 'key-exists'
  | 'authorities-invalid'
  | 'pack-invalid'
  | 'statement-unreadable'
  | 'statement-oversized'
  | 'statement-malformed'
  | 'statement-not-canonical'
  | 'statement-unsigned'
  | 'statement-out-of-scope'
  | 'statement-target-unknown'
  | 'statement-replayed'
  | 'statement-backdated'
  | 'statement-unwitnessed'
  | 'leaf-malformed'
  | 'annex-missing'
  | 'annex-oversized'
  | 'annex-malformed'
  | 'annex-mismatch'
  | 'disclosure-invalid'
  | 'proof-invalid'
  | 'note-invalid'
  | 'log-invalid'
  | 'log-busy'
  | 'checkpoint-foreign'
  | 'checkpoint-rolled-back'
  | 'checkpoint-inconsistent'
  | 'witness-failed'
  | 'trust-invalid'
  | 'trust-expired'
  | 'mirror-failed'
  | 'response-oversized'
  | 'response-slow'
  | 'credential-invalid'
  | 'receipt-invalid'
  | 'receipt-repeated'
  | 'table-too-large'
  | 'table-damaged'
  | 'table-foreign'
  | 'store-failed'
  | 'socket-failed'
  | 'io-unavailable'
  | 'query-failed'
  | 'probe-failed'
  | 'unauthenticated'
  | 'identity-unavailable'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  | 'version-mismatch'
  | 'version-required'
  | 'request-invalid'
  | 'request-oversized'
  | 'request-limited'
  | 'media-unsupported'
  | 'server-closing'
  | 'idempotency-mismatch'
  | 'draft-state'
  | 'self-approval'
  | 'approval-repeated'
  | 'preflight-refused'
  | 'signature-invalid'
  | 'signature-repeated'
  | 'signer-ineligible'
  | 'entries-invalid'
  | 'appeal-state'
  | 'appeal-conflict'
  | 'enrolment-invalid';

/**
 * The one error class. `code` says what kind of refusal it is, `message` says what to do next in plain words, `cause`
 * keeps what lay below.
 */
export class WartaError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'WartaError';
    this.code = code;
  }
}

/** Returns the message of anything thrown, for a log line or a terminal. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
