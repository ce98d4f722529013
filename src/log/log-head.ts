import { z } from 'zod';
import { WartaError } from '../base/errors.ts';

/** Where a sequencer keeps what it committed to, in its private storage. */
export const HEAD_PATH = 'head.json';

const headSchema = z.strictObject({
  version: z.literal(1),
  writer: z.string(),
  checkpoint: z.string(),
  lastLeafSeconds: z.int().min(0),
  staged: z
    .strictObject({ path: z.string(), sha256: z.string().regex(/^[0-9a-f]{64}$/), fromSize: z.int().min(0) })
    .nullable(),
});

/**
 * What a sequencer committed to: a leaf is in the log from the moment this record names a checkpoint that holds it, and
 * nothing is ever signed that does not follow from it.
 */
export interface LogHead {
  readonly version: 1;
  /** Random name of the sequencer that wrote it last; whoever finds another's name has been replaced and stops. */
  readonly writer: string;
  /** The checkpoint as a note that the log's key alone has signed. */
  readonly checkpoint: string;
  /** Time of the last leaf, in seconds since 1970. */
  readonly lastLeafSeconds: number;
  /** The files that this step brings, for whoever must do it again after a crash. `null` before the first leaf. */
  readonly staged: { readonly path: string; readonly sha256: string; readonly fromSize: number } | null;
}

/** Composes the record. */
export function composeHead(head: LogHead): Buffer {
  return Buffer.from(`${JSON.stringify(head)}\n`);
}

/**
 * Parses the record.
 *
 * @throws {WartaError} `log-invalid`.
 */
export function parseHead(bytes: Uint8Array): LogHead {
  try {
    return headSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new WartaError('log-invalid', `the log's own ${HEAD_PATH} is damaged: restore the newest copy`, { cause });
  }
}
