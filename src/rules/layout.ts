/**
 * The rule table is one SharedArrayBuffer, little-endian, every section on a 64-byte line:
 *
 *     header | filter blocks | slots | records | notices | templates | description (JSON)
 *
 * - filter: split-block Bloom filter, one 64-byte block a probe.
 * - slots: open addressing, linear probing; two words each: tag, word offset of the record + 1 (0 is empty).
 * - records: one for each distinct name: number of rules, the rules (four words each: notBefore, notAfter in seconds since the
 *   epoch, entry, notice << 8 | action and trigger bits), the name in wire form and lower case, filled up to a whole word.
 *   Rules and name stand together because every part apart costs a hit one more cache miss.
 * - notices: four words: category, offset of the templates, bytes of the plain OPT, bytes of the structured OPT.
 * - templates: the SOA record once, then for each notice its OPT record, plain and with structured errors.
 *
 * Only the builder writes; every reader may share the buffer without a lock because a table never changes once built.
 */

/** 'WRT1' as a little-endian word. */
export const TABLE_MAGIC = 0x31545257;

/** Raised when the layout changes: a saved table of another version is rebuilt, not read. */
export const TABLE_VERSION = 2;

/** Words of the header. Section offsets are in lines of 64 bytes, so that 32 bits reach 256 GiB. */
export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  SEED_A: 2,
  SEED_B: 3,
  MAX_LABELS: 4,
  BUILT_AT: 5,
  TOTAL_LINES: 6,
  FILTER_LINE: 8,
  FILTER_BLOCKS: 9,
  SLOTS_LINE: 10,
  SLOT_COUNT: 11,
  RECORDS_LINE: 12,
  RECORD_WORDS: 13,
  NAME_COUNT: 14,
  RULE_COUNT: 15,
  NOTICES_LINE: 16,
  NOTICE_COUNT: 17,
  TEMPLATES_LINE: 18,
  TEMPLATES_BYTES: 19,
  SOA_BYTES: 20,
  DESCRIPTION_LINE: 21,
  DESCRIPTION_BYTES: 22,
} as const;

export const HEADER_WORDS = 64;
export const LINE_BYTES = 64;

/** Words of one rule in a record, and where they are from its first. */
export const RULE_WORDS = 4;
export const RULE = { NOT_BEFORE: 0, NOT_AFTER: 1, ENTRY: 2, BITS: 3 } as const;

/** Low bits of a rule's last word. */
export const RULE_BIT = { SUBTREE: 1, PASSTHRU: 2 } as const;
export const NOTICE_SHIFT = 8;
/** Notices that fit above the bits. */
export const MAX_NOTICES = 1 << 24;

/** `notAfter` of a rule without an end date. */
export const NO_END = 0xffffffff;

/** What `findRule` returns when no rule in force covers the name. */
export const NO_RULE = -1;

/** Rounds up to whole lines. */
export function linesOf(bytes: number): number {
  return Math.ceil(bytes / LINE_BYTES);
}
