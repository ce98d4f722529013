import { FLAGS2, FLAGS3, HEADER_BYTES } from './constants.ts';
import { LOWER } from './name.ts';

/**
 * Whether `reply[at, at + length)` is a response to the query at `queryAt` of `query`, whose header and question take
 * `questionBytes`: QR set and the question repeated, letters in any case. The query's own spelling is then put back into the
 * reply, which clients that randomise it rely on. An error reply may come without a question (header only). The identifier
 * is the caller's to compare.
 */
export function repeatsQuestion(
  reply: Uint8Array,
  at: number,
  length: number,
  query: Uint8Array,
  queryAt: number,
  questionBytes: number,
): boolean {
  if (length < HEADER_BYTES || (reply[at + 2]! & FLAGS2.QR) === 0) return false;
  if (reply[at + 4] === 0 && reply[at + 5] === 0) {
    return length === HEADER_BYTES && (reply[at + 3]! & FLAGS3.RCODE) !== 0;
  }
  if (reply[at + 4] !== 0 || reply[at + 5] !== 1 || length < questionBytes) return false;
  let identical = true;
  for (let i = HEADER_BYTES; i < questionBytes; i++) {
    const theirs = reply[at + i]!;
    const ours = query[queryAt + i]!;
    if (theirs === ours) continue;
    // Only letters of the name come in two cases; type and class, the last four octets, do not.
    if (LOWER[theirs] !== LOWER[ours] || i >= questionBytes - 4) return false;
    identical = false;
  }
  if (!identical) for (let i = HEADER_BYTES; i < questionBytes; i++) reply[at + i] = query[queryAt + i]!;
  return true;
}
