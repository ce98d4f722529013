import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { describeError, type ErrorCode, WartaError } from '../../base/errors.ts';

/** HTTP status of each refusal. What is not here is a fault of the server unless it concerns a statement or an annex. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  'request-invalid': 400,
  'receipt-invalid': 400,
  unauthenticated: 401,
  'credential-invalid': 401,
  forbidden: 403,
  'self-approval': 403,
  'signer-ineligible': 403,
  'appeal-conflict': 403,
  'enrolment-invalid': 403,
  'not-found': 404,
  conflict: 409,
  'statement-replayed': 409,
  'draft-state': 409,
  'appeal-state': 409,
  'approval-repeated': 409,
  'signature-repeated': 409,
  'version-mismatch': 412,
  'request-oversized': 413,
  'statement-oversized': 413,
  'annex-oversized': 413,
  'receipt-repeated': 422,
  'media-unsupported': 415,
  'name-invalid': 422,
  'idempotency-mismatch': 422,
  'preflight-refused': 422,
  'signature-invalid': 422,
  'entries-invalid': 422,
  'version-required': 428,
  'request-limited': 429,
  'identity-unavailable': 503,
  'log-busy': 503,
  'server-closing': 503,
  'store-failed': 503,
  'trust-expired': 503,
  'trust-invalid': 503,
};

/** One fault among several, such as a line of an uploaded list. */
export interface ProblemItem {
  readonly line?: number;
  readonly path?: string;
  readonly message: string;
}

/** A refusal that names several faults at once. */
export class ProblemError extends WartaError {
  readonly errors: readonly ProblemItem[];

  constructor(code: ErrorCode, message: string, errors: readonly ProblemItem[]) {
    super(code, message);
    this.errors = errors;
  }
}

/** A problem as it is answered (RFC 9457). `code` is stable and made for programs, `detail` for people. */
export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors?: readonly ProblemItem[];
}

/** Longest message about a single fault. */
const DETAIL_MAX_LENGTH = 500;

/** Returns the HTTP status of a refusal; 500 for what is no refusal but a fault. */
export function statusOf(code: ErrorCode): number {
  return STATUS[code] ?? (/^(statement|annex)-/.test(code) ? 422 : 500);
}

/** Describes anything thrown. What is a fault of the server is not told in words. */
export function describeProblem(error: unknown): Problem {
  if (error instanceof WartaError) {
    const status = statusOf(error.code);
    if (status === 500) return FAULT;
    if (status > 500) return compose(status, error.code, 'the server cannot do this now: try again later');
    const errors = error instanceof ProblemError ? error.errors : undefined;
    return compose(status, error.code, describeError(error), errors);
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const errors = error.validation.slice(0, 100).map(({ instancePath, message }) => ({
      path: clip(`${error.validationContext ?? 'body'}${instancePath}`),
      message: clip(message ?? 'not as expected'),
    }));
    return compose(400, 'request-invalid', 'the request is not as the API describes it', errors);
  }
  const { statusCode = 500 } = (error ?? {}) as FastifyError;
  if (statusCode >= 400 && statusCode < 500) return describeStatus(statusCode, describeError(error));
  return FAULT;
}

/** Describes a refusal of the HTTP layer. */
export function describeStatus(status: number, detail: string): Problem {
  return compose(status, codeOfStatus(status), clip(detail));
}

/** Much of a message may be what the client sent. */
function clip(text: string): string {
  return text.length > DETAIL_MAX_LENGTH ? `${text.slice(0, DETAIL_MAX_LENGTH).toWellFormed()}…` : text;
}

function codeOfStatus(status: number): string {
  if (status === 404) return 'not-found';
  if (status === 413 || status === 414 || status === 431) return 'request-oversized';
  if (status === 415) return 'media-unsupported';
  return status === 429 ? 'request-limited' : 'request-invalid';
}

function compose(status: number, code: string, detail: string, errors?: readonly ProblemItem[]): Problem {
  const title = STATUS_CODES[status] ?? 'Error';
  return { type: 'about:blank', title, status, code, detail, ...(errors === undefined ? {} : { errors }) };
}

/** A fault of the server's own. */
const FAULT = compose(500, 'fault', 'a fault of the server: try again, and tell its operator if it goes on');

/** Adds the header fields that a refusal has in whatever form it is told. */
export function addProblemHeaders(reply: FastifyReply, { status }: Problem): FastifyReply {
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (status === 503) reply.header('retry-after', '5');
  return reply.removeHeader('etag').header('cache-control', 'no-store');
}

/** Answers with a problem. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  addProblemHeaders(reply, problem);
  return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem);
}
