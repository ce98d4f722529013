import { hash } from 'node:crypto';
import type { Call, Outcome } from '../http/route.ts';
import type { RegisterView } from '../view/register-view.ts';

const CACHE_CONTROL = 'public, max-age=30';
const DIGEST_LENGTH = 22;

/**
 * Answers what anyone may keep for half a minute. The ETag is the size of the tree and a digest of the answer: time alone
 * ends a notice, and an appeal is in no tree. Whoever has that answer already gets 304.
 */
export function answerCached<R>(
  { register }: { register: RegisterView },
  { headers }: Pick<Call<unknown, unknown, unknown>, 'headers'>,
  body: R,
): Outcome<R> {
  const digest = hash('sha256', JSON.stringify(body), 'base64url').slice(0, DIGEST_LENGTH);
  const etag = `"${register.size}-${digest}"`;
  const answered = { 'cache-control': CACHE_CONTROL, etag };
  const { 'if-none-match': known } = headers;
  const isKnown = typeof known === 'string' && known.split(',').some((one) => one.trim().replace(/^W\//, '') === etag);
  return isKnown ? { status: 304, headers: answered } : { body, headers: answered };
}
