import { CLASS, EDE, FLAGS2, FLAGS3, HEADER_BYTES, RCODE } from '../dns/constants.ts';
import { OPT_FIXED_BYTES } from '../dns/edns.ts';
import type { QueryScan } from '../dns/query.ts';
import { composeOpt, SOA_TTL } from './answer-template.ts';
import type { RuleTable } from './rule-table.ts';

/** Octets of the OPT record with an EDE option that has no text, and where its INFO-CODE is. */
const OPT_CODE_BYTES = 17;
const OPT_CODE_AT = 15;
/** Octets of a record before its data, with a two-octet owner pointer. */
const RECORD_HEAD_BYTES = 12;

/** EDE of SERVFAIL answers, composed once. */
const FAILURE_OPT = new Map<number, Uint8Array>(
  [EDE.NO_REACHABLE_AUTHORITY, EDE.NETWORK_ERROR].map((code) => [code, composeOpt(code, '')]),
);
const BARE_OPT = composeOpt(0, '').slice(0, OPT_FIXED_BYTES).fill(0, 9);

/**
 * Turns the query in `wire` at `start` into a blocked answer in place and returns the answer's length.
 *
 * A subtree rule gives NXDOMAIN, which denies everything below (RFC 8020); an exact rule gives NODATA, so that names below
 * stay reachable; a redirect gives NODATA, as it answers other questions for the same name with an address; with `target` (the rule covers a CNAME or other target, not the QNAME) NODATA too. The question is echoed
 * octet for octet; the SOA's owner is the blocked apex (the QNAME for a target). OPT only if the query had one. What does
 * not fit into `capacity` octets loses the extra text first, then the SOA with TC set.
 *
 * Call it right after `findRule`: it uses the match's offset and end. `ttlSeconds` is the most a client may cache.
 */
export function composeBlockedAnswer(
  table: RuleTable,
  rule: number,
  wire: Uint8Array,
  start: number,
  scan: QueryScan,
  ttlSeconds: number,
  capacity: number,
  target: boolean,
): number {
  const nxdomain = !target && table.denies(rule);
  const owner = target ? scan.qname : table.matchedOffset;
  const notice = table.noticeOf(rule);
  setResponseHeader(wire, start, nxdomain ? RCODE.NXDOMAIN : RCODE.NOERROR);
  let end = scan.questionEnd;
  const limit = start + capacity;
  const withOpt = scan.opt >= 0;
  if (end + table.soaBytes + (withOpt ? OPT_CODE_BYTES : 0) > limit) {
    wire[start + 2] = wire[start + 2]! | FLAGS2.TC;
  } else {
    end = appendSoa(table, wire, start, end, owner, secondsLeft(table, table.matchedUntil, ttlSeconds));
  }
  if (withOpt) {
    end = appendNoticeOpt(table, notice, wire, end, limit, scan);
    wire[start + 11] = 1;
  }
  return end - start;
}

/**
 * Turns the query in `wire` at `start` into an answer that leads to the gateway, in place, and returns the answer's length: an
 * A or AAAA record of the QNAME for each of `addresses` that fits, NODATA when there is none. `rule` redirects or steers the
 * QNAME, in force until `untilSeconds`. The answer is forged and says so (EDE 4 with the notice), but never to a client that
 * signalled structured errors: code 4 has no place there.
 */
export function composeGatewayAnswer(
  table: RuleTable,
  rule: number,
  untilSeconds: number,
  wire: Uint8Array,
  start: number,
  scan: QueryScan,
  addresses: readonly Uint8Array[],
  ttlSeconds: number,
  capacity: number,
): number {
  const limit = start + capacity;
  const withOpt = scan.opt >= 0;
  const room = limit - (withOpt ? OPT_CODE_BYTES : 0);
  const left = secondsLeft(table, untilSeconds, ttlSeconds);
  let end = scan.questionEnd;
  setResponseHeader(wire, start, RCODE.NOERROR);
  if (addresses.length > 0) end = appendAddresses(wire, start, end, room, scan.qtype, addresses, left);
  else if (end + table.soaBytes <= room) end = appendSoa(table, wire, start, end, scan.qname, left);
  if (end === scan.questionEnd) wire[start + 2] = wire[start + 2]! | FLAGS2.TC;
  if (!withOpt) return end - start;
  wire[start + 11] = 1;
  if (!scan.structured) {
    const opt = end;
    end = appendNoticeOpt(table, table.noticeOf(rule), wire, end, limit, scan);
    writeUint16(wire, opt + OPT_CODE_AT, EDE.FORGED_ANSWER);
    return end - start;
  }
  const opt = end;
  end = copyTemplate(BARE_OPT, 0, BARE_OPT.length, wire, opt);
  if (scan.dnssecOk) wire[opt + 7] = 0x80;
  return end - start;
}

/** Appends address records whose owner is the QNAME, as many as fit, and returns the end. */
function appendAddresses(
  wire: Uint8Array,
  start: number,
  at: number,
  limit: number,
  type: number,
  addresses: readonly Uint8Array[],
  ttlSeconds: number,
): number {
  let end = at;
  for (const address of addresses) {
    if (end + RECORD_HEAD_BYTES + address.length > limit) break;
    writeUint16(wire, end, 0xc000 | HEADER_BYTES);
    writeUint16(wire, end + 2, type);
    writeUint16(wire, end + 4, CLASS.IN);
    writeUint32(wire, end + 6, ttlSeconds);
    writeUint16(wire, end + 10, address.length);
    end = copyTemplate(address, 0, address.length, wire, end + RECORD_HEAD_BYTES);
    wire[start + 7] = wire[start + 7]! + 1;
  }
  return end;
}

/** Appends the SOA record with its owner at `owner` of the message, and returns the end. */
function appendSoa(
  table: RuleTable,
  wire: Uint8Array,
  start: number,
  at: number,
  owner: number,
  ttlSeconds: number,
): number {
  const end = copyTemplate(table.bytes, table.soaOffset, table.soaBytes, wire, at);
  writeUint16(wire, at, 0xc000 | (owner - start));
  writeUint32(wire, at + SOA_TTL, ttlSeconds);
  writeUint32(wire, end - 4, ttlSeconds);
  wire[start + 9] = 1;
  return end;
}

/** Seconds that an answer holds: at most `ttlSeconds`, and never past the second in which it ceases to be right. */
function secondsLeft(table: RuleTable, untilSeconds: number, ttlSeconds: number): number {
  return Math.max(0, Math.min(ttlSeconds, Math.floor(untilSeconds - table.nowSeconds)));
}

/**
 * Appends the notice's OPT record: structured when asked for, without justification and organisation when that does not
 * fit, plain for other clients, and the EDE code alone when no text fits.
 */
function appendNoticeOpt(
  table: RuleTable,
  notice: number,
  wire: Uint8Array,
  at: number,
  limit: number,
  scan: QueryScan,
): number {
  const room = limit - at;
  const plain = table.plainOptBytes(notice);
  const structured = table.structuredOptBytes(notice);
  const brief = table.briefOptBytes(notice);
  let offset = table.optOffset(notice);
  let length = plain;
  if (scan.structured) {
    offset += structured <= room ? plain : plain + structured;
    length = structured <= room ? structured : brief;
  }
  const end = copyTemplate(table.bytes, offset, Math.min(length, Math.max(room, OPT_CODE_BYTES)), wire, at);
  if (scan.dnssecOk) wire[at + 7] = 0x80;
  if (length <= room) return end;
  writeUint16(wire, at + 9, OPT_CODE_BYTES - OPT_FIXED_BYTES);
  writeUint16(wire, at + 13, 2);
  return at + OPT_CODE_BYTES;
}

/**
 * Turns the query in place into an answer without records: the RCODE, the question when it was readable, and OPT if and
 * only if the query had one. `rcode` above 15 puts its high bits into OPT (BADVERS, RFC 6891 §6.1.3).
 */
export function composeEmptyAnswer(
  wire: Uint8Array,
  start: number,
  scan: QueryScan,
  rcode: number,
  options: { truncated?: boolean; ede?: number } = {},
): number {
  const hasQuestion = scan.questionEnd > start + HEADER_BYTES;
  setResponseHeader(wire, start, rcode & FLAGS3.RCODE);
  if (!hasQuestion) wire[start + 5] = 0;
  if (options.truncated) wire[start + 2] = wire[start + 2]! | FLAGS2.TC;
  if (scan.opt < 0) return scan.questionEnd - start;
  const at = scan.questionEnd;
  const template = options.ede === undefined ? BARE_OPT : FAILURE_OPT.get(options.ede)!;
  const end = copyTemplate(template, 0, template.length, wire, at);
  wire[at + 5] = rcode >>> 4;
  if (scan.dnssecOk) wire[at + 7] = 0x80;
  wire[start + 11] = 1;
  return end - start;
}

/**
 * Makes the header a response: QR and RA set, AA, TC and AD clear, OPCODE, RD and CD copied, one question, no records yet
 * (RFC 1035 §4.1.1, RFC 4035 §3.2).
 */
function setResponseHeader(wire: Uint8Array, start: number, rcode: number): void {
  wire[start + 2] = FLAGS2.QR | (wire[start + 2]! & (FLAGS2.OPCODE | FLAGS2.RD));
  wire[start + 3] = FLAGS3.RA | (wire[start + 3]! & FLAGS3.CD) | rcode;
  wire[start + 4] = 0;
  wire[start + 5] = 1;
  for (let i = 6; i < HEADER_BYTES; i++) wire[start + i] = 0;
}

/** Copies octets between two arrays; a loop beats `set(subarray())` below about a hundred octets. */
function copyTemplate(from: Uint8Array, offset: number, length: number, to: Uint8Array, at: number): number {
  for (let i = 0; i < length; i++) to[at + i] = from[offset + i]!;
  return at + length;
}

function writeUint16(wire: Uint8Array, at: number, value: number): void {
  wire[at] = value >>> 8;
  wire[at + 1] = value;
}

function writeUint32(wire: Uint8Array, at: number, value: number): void {
  wire[at] = value >>> 24;
  wire[at + 1] = value >>> 16;
  wire[at + 2] = value >>> 8;
  wire[at + 3] = value;
}
