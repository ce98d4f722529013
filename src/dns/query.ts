import { CLASS, EDNS_OPTION, FLAGS2, HEADER_BYTES, PLAIN_UDP_BYTES, RRTYPE } from './constants.ts';
import { skipName, skipPlainName } from './name.ts';

/** What `scanQuery` says of a message. */
export const SCAN = {
  /** A query with one question, ready to be matched. */
  OK: 0,
  /** No reply may be sent: too short, or itself a response (RFC 1035 §4.1.1: answering one makes a loop). */
  IGNORE: 1,
  /** Reply FORMERR. */
  MALFORMED: 2,
  /** Reply NOTIMP: an opcode other than QUERY. */
  NOT_IMPLEMENTED: 3,
  /** Reply BADVERS: EDNS version above 0 (RFC 6891 §6.1.3). */
  BAD_VERSION: 4,
} as const;

/**
 * Where the parts of one query lie: filled in place by `scanQuery` and used again for the next query, so that the hot path
 * makes no object. Offsets count from the start of the array; an absent part is -1.
 */
export class QueryScan {
  qname = HEADER_BYTES;
  questionEnd = HEADER_BYTES;
  qtype = 0;
  qclass = 0;
  /** Offset of the OPT record's root owner name. */
  opt = -1;
  optEnd = -1;
  /** UDP payload size the client accepts, never below 512. */
  udpBytes = PLAIN_UDP_BYTES;
  dnssecOk = false;
  /** The client asked for structured errors with a zero-length option. */
  structured = false;
  /** Offset and length of the COOKIE option's data (RFC 7873 §4). */
  cookie = -1;
  cookieBytes = 0;
  /** Offset and length of the Padding option's data (RFC 7830); its being there asks for a padded answer. */
  padding = -1;
  paddingBytes = 0;
}

/**
 * Scans the query `wire[start, start + length)` into `scan` and returns a `SCAN` verdict. Makes no object and no string.
 * `structuredOption` is the EDNS option code by which clients ask for structured DNS errors, or -1.
 */
export function scanQuery(
  wire: Uint8Array,
  start: number,
  length: number,
  structuredOption: number,
  scan: QueryScan,
): number {
  if (length < HEADER_BYTES || (wire[start + 2]! & FLAGS2.QR) !== 0) return SCAN.IGNORE;
  const end = start + length;
  scan.qname = start + HEADER_BYTES;
  scan.questionEnd = scan.qname;
  scan.opt = -1;
  scan.udpBytes = PLAIN_UDP_BYTES;
  scan.dnssecOk = false;
  scan.structured = false;
  scan.cookie = -1;
  scan.cookieBytes = 0;
  scan.padding = -1;
  scan.paddingBytes = 0;
  if ((wire[start + 2]! & FLAGS2.OPCODE) !== 0) return SCAN.NOT_IMPLEMENTED;
  if (wire[start + 4] !== 0 || wire[start + 5] !== 1) return SCAN.MALFORMED;
  const nameEnd = skipPlainName(wire, scan.qname, end);
  if (nameEnd < 0 || nameEnd + 4 > end) return SCAN.MALFORMED;
  scan.qtype = (wire[nameEnd]! << 8) | wire[nameEnd + 1]!;
  scan.qclass = (wire[nameEnd + 2]! << 8) | wire[nameEnd + 3]!;
  scan.questionEnd = nameEnd + 4;
  const others =
    ((wire[start + 6]! << 8) | wire[start + 7]!) +
    ((wire[start + 8]! << 8) | wire[start + 9]!) +
    ((wire[start + 10]! << 8) | wire[start + 11]!);
  if (others === 0) return nameEnd + 4 === end ? SCAN.OK : SCAN.MALFORMED;
  return scanRecords(wire, start, end, structuredOption, scan);
}

/** Walks the records behind the question to find OPT. An OPT outside the additional section, or a second one, is malformed. */
function scanRecords(wire: Uint8Array, start: number, end: number, structuredOption: number, scan: QueryScan): number {
  const before = ((wire[start + 6]! << 8) | wire[start + 7]!) + ((wire[start + 8]! << 8) | wire[start + 9]!);
  const total = before + ((wire[start + 10]! << 8) | wire[start + 11]!);
  let at = scan.questionEnd;
  let verdict: number = SCAN.OK;
  for (let record = 0; record < total; record++) {
    const owner = at;
    const fixed = skipName(wire, at, end);
    if (fixed < 0 || fixed + 10 > end) return SCAN.MALFORMED;
    const next = fixed + 10 + ((wire[fixed + 8]! << 8) | wire[fixed + 9]!);
    if (next > end) return SCAN.MALFORMED;
    if (((wire[fixed]! << 8) | wire[fixed + 1]!) === RRTYPE.OPT) {
      if (record < before || scan.opt >= 0 || wire[owner] !== 0) return SCAN.MALFORMED;
      verdict = scanOpt(wire, owner, next, structuredOption, scan);
      if (verdict === SCAN.MALFORMED) return verdict;
    }
    at = next;
  }
  return at === end ? verdict : SCAN.MALFORMED;
}

/** Reads the OPT record at `opt` (RFC 6891 §6.1.2): payload size, version, DO, and the options Warta acts on. */
function scanOpt(wire: Uint8Array, opt: number, end: number, structuredOption: number, scan: QueryScan): number {
  scan.opt = opt;
  scan.optEnd = end;
  scan.udpBytes = Math.max(PLAIN_UDP_BYTES, (wire[opt + 3]! << 8) | wire[opt + 4]!);
  scan.dnssecOk = (wire[opt + 7]! & 0x80) !== 0;
  if (wire[opt + 6] !== 0) return SCAN.BAD_VERSION;
  for (let at = opt + 11; at < end; ) {
    if (at + 4 > end) return SCAN.MALFORMED;
    const code = (wire[at]! << 8) | wire[at + 1]!;
    const size = (wire[at + 2]! << 8) | wire[at + 3]!;
    if (at + 4 + size > end) return SCAN.MALFORMED;
    if (code === structuredOption && size === 0) scan.structured = true;
    if (code === EDNS_OPTION.COOKIE && scan.cookie < 0) {
      if (size !== 8 && (size < 16 || size > 40)) return SCAN.MALFORMED; // RFC 7873 §5.2.2
      scan.cookie = at + 4;
      scan.cookieBytes = size;
    }
    if (code === EDNS_OPTION.PADDING && scan.padding < 0) {
      scan.padding = at + 4;
      scan.paddingBytes = size;
    }
    at += 4 + size;
  }
  return SCAN.OK;
}

/** Whether rules apply to a question of this class: IN, and ANY, which would reveal IN data. */
export function isInternetClass(qclass: number): boolean {
  return qclass === CLASS.IN || qclass === CLASS.ANY;
}
