/**
 * The rule table is one SharedArrayBuffer, little-endian, every section on a 64-byte line:
 *
 *     header | filter blocks | slots | records | notices | templates | source | pages | description
 *
 * - filter: split-block Bloom filter, one 64-byte block a probe.
 * - slots: open addressing, linear probing; two words each: tag, word offset of the record + 1 (0 is empty).
 * - records: one for each distinct name: number of rules, the rules (four words each: notBefore, notAfter in seconds since the
 *   epoch, entry, notice << 8 | action and trigger bits), the name in wire form and lower case, filled up to a whole word.
 *   Rules and name stand together because every part apart costs a hit one more cache miss.
 * - notices: four words: category, offset of the templates, bytes of the plain OPT, bytes of the structured OPT.
 * - templates: the SOA record once, then for each notice its OPT record, plain and with structured errors.
 * - source: the digest of what the table was compiled from.
 * - pages: a line of JSON for each listed page, `[entry, URL]`, or `[entry, URL, 1]` when any query will do. Where it is and when
 *   it counts is said by the rules of its entry, which only steer: the URL is for the gateway to judge.
 * - description: lines of JSON, the category ids, then one line for each notice.
 *
 * Every section but the filter ends with unused space, about an eighth, so that `RuleTablePatch` can put more rules into a
 * copy without laying it out anew. A name that gets another rule is written once more at the end of the records and its slot
 * turned to it; a rule that no longer counts has an empty window. A table itself is never written again once it was built:
 * every reader may share the buffer without a lock.
 */

/** 'WRT1' as a little-endian word. */
export const TABLE_MAGIC = 0x31545257;

/** Raised when the layout changes: a saved table of another version is rebuilt, not read. */
export const TABLE_VERSION = 4;

/**
 * Words of the header. Section offsets are in lines of 64 bytes, so that 32 bits reach 256 GiB. Counts, words and bytes are
 * those in use; `capacityOf` says how many bytes a section has room for. `NAME_COUNT` is what the filter holds, so names
 * whose rules have all ended count; `RULE_COUNT` leaves ended rules out.
 */
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
  SOURCE_LINE: 23,
  SOURCE_BYTES: 24,
  NAME_CAPACITY: 25,
  PAGES_LINE: 26,
  PAGES_BYTES: 27,
} as const;

/** Header words of the sections, in the order in which they lie. */
export const SECTIONS = [
  HEADER.FILTER_LINE,
  HEADER.SLOTS_LINE,
  HEADER.RECORDS_LINE,
  HEADER.NOTICES_LINE,
  HEADER.TEMPLATES_LINE,
  HEADER.SOURCE_LINE,
  HEADER.PAGES_LINE,
  HEADER.DESCRIPTION_LINE,
] as const;

export const HEADER_WORDS = 64;
export const LINE_BYTES = 64;

/** Words of one rule in a record, and where they are from its first. */
export const RULE_WORDS = 4;
export const RULE = { NOT_BEFORE: 0, NOT_AFTER: 1, ENTRY: 2, BITS: 3 } as const;

/** Low bits of a rule's last word; a rule without the last three blocks. */
export const RULE_BIT = { SUBTREE: 1, PASSTHRU: 2, STEER: 4, REDIRECT: 8 } as const;
/**
 * A rule steers so many seconds after it began. The gateway must know of it first, or whoever is sent there would be refused
 * at a host that is not blocked; it reads the same list, a few seconds earlier or later.
 */
export const STEERING_DELAY_SECONDS = 30;
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

/** Returns how many bytes the section that starts at a header word has room for. */
export function capacityOf(header: Uint32Array, section: (typeof SECTIONS)[number]): number {
  const next = SECTIONS[SECTIONS.indexOf(section) + 1] ?? HEADER.TOTAL_LINES;
  return (header[next]! - header[section]!) * LINE_BYTES;
}
