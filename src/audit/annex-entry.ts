import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { HASH_BYTES, hashLeaf, verifyInclusion } from '../log/merkle.ts';
import { type AnnexTerms, type EntryTable, LINE_MAX_BYTES, parseAnnex } from '../register/annex.ts';
import { proveAmong } from './inclusion.ts';

/** A hash in lower-case hexadecimal: one spelling only, so that no byte of a proof can be changed unseen. */
export const hashText = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hexadecimal digits');

/** A proof in a tree of up to 2^53 leaves. */
export const proofText = z.array(hashText).max(53);

/** The form of one entry and the proof that it is in its annex. */
export const provenEntrySchema = z.strictObject({
  /** The line of the annex, with its salt, without the line feed. */
  line: z.string().max(LINE_MAX_BYTES),
  /** Its position among the lines. */
  index: z.int().min(0),
  proof: proofText,
});

/**
 * One entry of an annex with its salt, and the hashes that lead from it to the annex's digest. It tells nothing of any
 * other entry: a hash over a salt of 32 unknown bytes fits every name alike.
 */
export type ProvenEntry = z.output<typeof provenEntrySchema>;

const LINE = /^\{"entry":(\{.*\}),"salt":"([A-Za-z0-9_-]{43})"\}$/s;

/**
 * Takes one entry out of an annex, which is verified first.
 *
 * @throws {WartaError} what `parseAnnex` throws; `log-invalid` when it has no such line.
 */
export function proveEntry(annex: Uint8Array, terms: AnnexTerms, index: number): ProvenEntry {
  parseAnnex(annex, terms);
  const lines = Buffer.from(annex.buffer, annex.byteOffset, annex.length);
  const hashes = Buffer.allocUnsafeSlow(terms.entries * HASH_BYTES);
  let line = '';
  for (let at = 0, start = 0; at < terms.entries; at++) {
    const end = lines.indexOf('\n', start);
    const text = lines.toString('utf8', start, end);
    hashLine(text).copy(hashes, at * HASH_BYTES);
    if (at === index) line = text;
    start = end + 1;
  }
  return { line, index, proof: proveAmong(hashes, index).map((hash) => hash.toString('hex')) };
}

/**
 * Verifies that an entry is in the annex with that digest and number of entries, and returns it as a table of one.
 *
 * @throws {WartaError} `disclosure-invalid`.
 */
export function openEntry({ line, index, proof }: ProvenEntry, terms: Omit<AnnexTerms, 'sizeBytes'>): EntryTable {
  try {
    const leafHash = hashLine(line);
    const path = proof.map((hash) => Buffer.from(hash, 'hex'));
    verifyInclusion(leafHash, index, terms.entries, path, Buffer.from(terms.digest, 'hex'));
    // The root of an annex of one line is the hash of that line.
    const bytes = Buffer.from(`${line}\n`);
    const { endSeconds } = terms;
    return parseAnnex(bytes, { digest: leafHash.toString('hex'), entries: 1, sizeBytes: bytes.length, endSeconds });
  } catch (cause) {
    if (!(cause instanceof WartaError)) throw cause;
    throw new WartaError('disclosure-invalid', `the entry is not of this annex: ${describeError(cause)}`, { cause });
  }
}

/** Returns the leaf hash of a line: SHA-256(0x00 ‖ salt ‖ entry). */
function hashLine(line: string): Buffer {
  const [, entry, saltText] = LINE.exec(line) ?? [];
  const salt = Buffer.from(saltText ?? '', 'base64url');
  if (entry === undefined || salt.toString('base64url') !== saltText) {
    throw new WartaError('annex-malformed', 'it is no entry and a salt');
  }
  return hashLeaf(Buffer.concat([salt, Buffer.from(entry)]));
}
