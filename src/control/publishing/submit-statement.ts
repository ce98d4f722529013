import { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import { describeError, type ErrorCode, WartaError } from '../../base/errors.ts';
import { composeCanonical } from '../../register/canonical.ts';
import { SUBMISSION_TYPE } from './submission.ts';

/** Where the log put a statement, as it answers. */
export interface Accepted {
  readonly id: string;
  readonly index: number;
  readonly integratedAt: string;
}

const ANSWER_MAX_BYTES = 16_384;
const TIMEOUT_MILLIS = 300_000;

/**
 * Hands a signed statement to a running log.
 *
 * @throws {WartaError} `socket-failed` when the log cannot be reached, `response-oversized`, or the code of its refusal.
 */
export async function submitStatement(url: string, envelope: Uint8Array, annex?: Uint8Array): Promise<Accepted> {
  const target = new URL('statements', url.endsWith('/') ? url : `${url}/`);
  const head = composeCanonical(JSON.parse(Buffer.from(envelope).toString()));
  const parts = annex === undefined ? [head] : [head, Buffer.from('\n'), annex];
  const { status, text } = await post(target, parts);
  const answer = parseAnswer(text);
  if (status === 201) return answer as unknown as Accepted;
  const { code, detail } = answer;
  if (typeof code === 'string' && typeof detail === 'string') throw new WartaError(code as ErrorCode, detail);
  throw new WartaError('socket-failed', `${target} answered ${status}: is it the address of a log?`);
}

/**
 * Posts a submission and reads a short answer. Each has a connection of its own: one on which the log refused an annex half
 * way is of no more use.
 */
async function post(target: URL, parts: readonly Uint8Array[]): Promise<{ status: number; text: string }> {
  const dispatcher = new Agent();
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  try {
    const { statusCode: status, body } = await request(target, {
      method: 'POST',
      headers: { 'content-type': SUBMISSION_TYPE },
      body: Readable.from(parts),
      signal: AbortSignal.timeout(TIMEOUT_MILLIS),
      dispatcher,
    });
    for await (const chunk of body) {
      sizeBytes += chunk.length;
      if (sizeBytes > ANSWER_MAX_BYTES) throw new WartaError('response-oversized', `${target} answered too much`);
      chunks.push(chunk);
    }
    return { status, text: Buffer.concat(chunks).toString() };
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    throw new WartaError('socket-failed', `cannot reach the log at ${target}: ${describeError(cause)}`, { cause });
  } finally {
    await dispatcher.destroy();
  }
}

function parseAnswer(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
