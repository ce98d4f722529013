import { z } from 'zod';
import { WartaError } from '../base/errors.ts';
import type { EntryTable } from '../register/annex.ts';
import { composeCanonical, decodeUtf8, isCanonical } from '../register/canonical.ts';
import { digest, parseWith, text } from '../register/fields.ts';
import type { KnownNotice } from '../register/verify-statement.ts';
import { openEntry, proveEntry, provenEntrySchema } from './annex-entry.ts';
import type { AuditRegister } from './audit-register.ts';

const disclosureSchema = z.strictObject({
  kind: z.literal('warta-disclosure'),
  version: z.literal(1),
  /** The log's origin. */
  origin: text(200),
  /** Id of the notice. */
  notice: digest,
  entry: provenEntrySchema,
});

/** Largest disclosure file. */
export const DISCLOSURE_MAX_BYTES = 64 * 1024;

/** A disclosed entry that was verified against the log. */
export interface DisclosedEntry {
  readonly notice: KnownNotice;
  /** A table of this one entry. */
  readonly entry: EntryTable;
}

/**
 * Makes a disclosure: one entry of a notice's annex, sealed or not, with what proves that the notice in the log covers
 * it. Whoever holds the annex can make one; whoever gets it learns of no other entry.
 *
 * @throws {WartaError} `statement-target-unknown`, or why the annex is not the notice's.
 */
export function composeDisclosure(register: AuditRegister, noticeId: string, annex: Uint8Array, at: number): Buffer {
  const notice = requireNotice(register, noticeId);
  const terms = { ...notice.statement.annex, endSeconds: notice.endSeconds };
  const entry = proveEntry(annex, terms, at);
  const { origin } = register.archive.policy;
  return composeCanonical({ kind: 'warta-disclosure', version: 1, origin, notice: noticeId, entry });
}

/**
 * Verifies a disclosure against the notice in the log.
 *
 * @throws {WartaError} `disclosure-invalid`, `statement-target-unknown`.
 */
export function openDisclosure(register: AuditRegister, bytes: Uint8Array): DisclosedEntry {
  const source = decodeUtf8(bytes.subarray(0, DISCLOSURE_MAX_BYTES)) ?? '';
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (cause) {
    throw new WartaError('disclosure-invalid', 'the disclosure is no JSON', { cause });
  }
  const { origin, notice: id, entry } = parseWith(disclosureSchema, value, 'disclosure-invalid', 'disclosure');
  if (!isCanonical(value, source))
    throw new WartaError('disclosure-invalid', 'the disclosure is not as it was written');
  const { policy } = register.archive;
  if (origin !== policy.origin) {
    throw new WartaError(
      'disclosure-invalid',
      `the disclosure is of ${origin}, and this is the register ${policy.origin}`,
    );
  }
  const notice = requireNotice(register, id);
  const { digest: annex, entries } = notice.statement.annex;
  return { notice, entry: openEntry(entry, { digest: annex, entries, endSeconds: notice.endSeconds }) };
}

function requireNotice(register: AuditRegister, id: string): KnownNotice {
  const notice = register.read({ rulesOnly: true }).findNotice(id);
  if (notice !== undefined) return notice;
  throw new WartaError('statement-target-unknown', `the log has no good notice ${id}`);
}
