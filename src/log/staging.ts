import { z } from 'zod';
import { WartaError } from '../base/errors.ts';
import type { LogFile } from './right-edge.ts';

/** First line of a staged record: which files follow, in which order. */
const indexSchema = z.strictObject({
  files: z.array(z.strictObject({ path: z.string(), sizeBytes: z.int().min(0) })),
});

const LINE_FEED = 10;

/** Composes the record of files that are to be written once it is decided that they shall be. */
export function composeStaged(files: readonly LogFile[]): Buffer {
  const index = { files: files.map(({ path, bytes }) => ({ path, sizeBytes: bytes.length })) };
  return Buffer.concat([Buffer.from(`${JSON.stringify(index)}\n`), ...files.map(({ bytes }) => bytes)]);
}

/**
 * Takes a staged record apart. The files share its memory.
 *
 * @throws {WartaError} `log-invalid`.
 */
export function parseStaged(record: Uint8Array): LogFile[] {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.length);
  let at = bytes.indexOf(LINE_FEED) + 1;
  const index = indexSchema.safeParse(parseJson(bytes.toString('utf8', 0, at)));
  if (!index.success) throw new WartaError('log-invalid', 'a staged record does not say which files it holds');
  const files = index.data.files.map(({ path, sizeBytes }) => {
    const start = at;
    at += sizeBytes;
    return { path, bytes: bytes.subarray(start, at) };
  });
  if (at !== bytes.length) throw new WartaError('log-invalid', 'a staged record is longer or shorter than it says');
  return files;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
