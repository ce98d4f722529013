import type { Readable } from 'node:stream';
import { WartaError } from '../../base/errors.ts';
import { STATEMENT_MAX_BYTES } from '../../register/statement.ts';

/** Content type of a submission: the envelope in one line, a line feed, then the annex file as it is, if there is one. */
export const SUBMISSION_TYPE = 'application/vnd.warta.submission';

const LINE_FEED = 10;

/** A statement handed in: its envelope, and its annex, which is read only when asked for. */
export interface Submission {
  readonly envelope: Buffer;
  /**
   * Returns the annex, `undefined` when nothing follows the envelope.
   *
   * @throws {WartaError} `annex-oversized` when more than `maxBytes` follow.
   */
  readAnnex(maxBytes: number): Promise<Buffer | undefined>;
}

/** How much of what nobody wants is read, so that the sender sees the answer; beyond it the connection is cut. */
const DISCARD_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Reads a submission to its end without keeping it: what stays unread would block the connection for the next request.
 * Returns false when there is too much of it.
 */
export async function discardRest(stream: Readable): Promise<boolean> {
  let sizeBytes = 0;
  try {
    for await (const chunk of stream) {
      sizeBytes += chunk.length;
      if (sizeBytes > DISCARD_MAX_BYTES) return false;
    }
  } catch {
    // The sender went away, or it was read to its end before.
  }
  return true;
}

/**
 * Reads the envelope of a submission and leaves the annex in the stream. So a stranger can make the log hold one envelope
 * at most: the annex is asked for once the officers' signatures were found good, and no more of it than they signed for.
 *
 * @throws {WartaError} `statement-oversized` when no line ends within the largest envelope.
 */
export async function readSubmission(stream: Readable): Promise<Submission> {
  const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let held = Buffer.alloc(0);
  let end = -1;
  let done = false;
  while (end < 0 && !done && held.length <= STATEMENT_MAX_BYTES) {
    const next = await chunks.next();
    done = next.done === true;
    if (!done) held = Buffer.concat([held, next.value]);
    end = held.indexOf(LINE_FEED);
  }
  if ((end < 0 && !done) || Math.max(end, 0) > STATEMENT_MAX_BYTES) {
    throw new WartaError('statement-oversized', `the envelope has more than ${STATEMENT_MAX_BYTES} bytes`);
  }
  const rest = end < 0 ? Buffer.alloc(0) : held.subarray(end + 1);
  return {
    envelope: end < 0 ? held : held.subarray(0, end),
    readAnnex: (maxBytes) => readRest(rest, chunks, maxBytes),
  };
}

/** Reads what follows the envelope, up to a limit. */
async function readRest(first: Buffer, chunks: AsyncIterator<Buffer>, maxBytes: number): Promise<Buffer | undefined> {
  const parts = [first];
  let size = first.length;
  for (;;) {
    if (size > maxBytes)
      throw new WartaError('annex-oversized', `the annex has more than the ${maxBytes} bytes signed`);
    const next = await chunks.next();
    if (next.done === true) break;
    parts.push(next.value);
    size += next.value.length;
  }
  return size === 0 ? undefined : Buffer.concat(parts, size);
}
