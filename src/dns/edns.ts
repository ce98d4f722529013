import { EDNS_OPTION, EDNS_UDP_BYTES, HEADER_BYTES, PLAIN_UDP_BYTES, RRTYPE } from './constants.ts';
import { skipName } from './name.ts';
import type { QueryScan } from './query.ts';

/** Fixed octets of an OPT record: root owner, type, class, TTL, data length (RFC 6891 §6.1.2). */
export const OPT_FIXED_BYTES = 11;

/** Octets of a COOKIE option with an 8-octet client and a 16-octet server cookie (RFC 7873 §4, RFC 9018 §4). */
export const COOKIE_OPTION_BYTES = 28;

/** Lowers the UDP payload size a scanned query asks for to our own, less `reserve` octets that an answer will need. */
export function capUdpSize(wire: Uint8Array, scan: QueryScan, reserve: number): void {
  if (scan.opt < 0) return;
  const size = Math.max(PLAIN_UDP_BYTES, Math.min(scan.udpBytes, EDNS_UDP_BYTES) - reserve);
  if (size >= scan.udpBytes) return;
  wire[scan.opt + 3] = size >>> 8;
  wire[scan.opt + 4] = size & 0xff;
}

/** Octets that padded answers are a multiple of (RFC 8467 §4.1). */
export const PADDING_BLOCK_BYTES = 468;

/** Octets of an option before its data. */
const OPTION_HEAD_BYTES = 4;

/**
 * Takes the options that are between the client and us out of a scanned query of `length` octets at `start` and returns the
 * length left: the cookie is ours to answer, and padding is for the encrypted leg alone (RFC 7830 §6).
 */
export function removeHopOptions(wire: Uint8Array, start: number, length: number, scan: QueryScan): number {
  if (scan.cookie < 0 && scan.padding < 0) return length;
  // The later one first: its removal does not move the other.
  if (scan.cookie > scan.padding) {
    const left = removeOption(wire, start, length, scan.opt, scan.cookie, scan.cookieBytes);
    return removeOption(wire, start, left, scan.opt, scan.padding, scan.paddingBytes);
  }
  const left = removeOption(wire, start, length, scan.opt, scan.padding, scan.paddingBytes);
  return removeOption(wire, start, left, scan.opt, scan.cookie, scan.cookieBytes);
}

/** Removes the option whose `size` octets of data are at `data`, if it is there. */
function removeOption(
  wire: Uint8Array,
  start: number,
  length: number,
  opt: number,
  data: number,
  size: number,
): number {
  if (data < 0) return length;
  const option = data - OPTION_HEAD_BYTES;
  const next = data + size;
  wire.copyWithin(option, next, start + length);
  addToUint16(wire, opt + 9, option - next);
  return length - (next - option);
}

/**
 * Appends a COOKIE option of `cookie` (24 octets) to the OPT record of the message `wire[start, start + length)` and returns
 * the new length. A message without OPT gets one. A malformed message, or one with records behind OPT, stays as it is.
 */
export function appendCookie(wire: Uint8Array, start: number, length: number, cookie: Uint8Array): number {
  const opened = openOption(wire, start, length, EDNS_OPTION.COOKIE, cookie.length);
  if (opened === length) return length;
  wire.set(cookie, start + opened - cookie.length);
  return opened;
}

/**
 * Pads the message `wire[start, start + length)` with a Padding option of zeros to a multiple of `PADDING_BLOCK_BYTES`, or to
 * `limit` octets when that is less (RFC 8467 §4.1, RFC 7830 §3), and returns the new length. `wire` needs that much room. What
 * holds for `appendCookie` about OPT holds here.
 */
export function appendPadding(wire: Uint8Array, start: number, length: number, limit: number): number {
  const least = length + (hasOpt(wire, start, length) ? 0 : OPT_FIXED_BYTES) + OPTION_HEAD_BYTES;
  const wanted = Math.min(Math.ceil(least / PADDING_BLOCK_BYTES) * PADDING_BLOCK_BYTES, limit);
  if (wanted < least) return length;
  const opened = openOption(wire, start, length, EDNS_OPTION.PADDING, wanted - least);
  if (opened !== length) wire.fill(0, start + opened - (wanted - least), start + opened);
  return opened;
}

function hasOpt(wire: Uint8Array, start: number, length: number): boolean {
  return findLastOpt(wire, start, start + length) >= 0;
}

/** Makes room for an option with `size` octets of data at the end of OPT; the data is the caller's to write. */
function openOption(wire: Uint8Array, start: number, length: number, code: number, size: number): number {
  const end = start + length;
  let opt = findLastOpt(wire, start, end);
  if (opt === MALFORMED) return length;
  let at = end;
  if (opt === NO_OPT) {
    opt = end;
    wire.fill(0, opt, opt + OPT_FIXED_BYTES);
    wire[opt + 2] = RRTYPE.OPT;
    wire[opt + 3] = EDNS_UDP_BYTES >>> 8;
    wire[opt + 4] = EDNS_UDP_BYTES & 0xff;
    addToUint16(wire, start + 10, 1);
    at = opt + OPT_FIXED_BYTES;
  }
  wire[at] = 0;
  wire[at + 1] = code;
  wire[at + 2] = size >>> 8;
  wire[at + 3] = size & 0xff;
  addToUint16(wire, opt + 9, OPTION_HEAD_BYTES + size);
  return at + OPTION_HEAD_BYTES + size - start;
}

const NO_OPT = -1;
const MALFORMED = -2;

/** Offset of the OPT record when it is the last record, `NO_OPT` when there is none, else `MALFORMED`. */
function findLastOpt(wire: Uint8Array, start: number, end: number): number {
  let at = start + HEADER_BYTES;
  for (let left = readUint16(wire, start + 4); left > 0; left--) {
    at = skipName(wire, at, end) + 4;
    if (at < start + HEADER_BYTES + 4 || at > end) return MALFORMED;
  }
  let opt = NO_OPT;
  const records = readUint16(wire, start + 6) + readUint16(wire, start + 8) + readUint16(wire, start + 10);
  for (let record = 0; record < records; record++) {
    const owner = at;
    const fixed = skipName(wire, at, end);
    if (fixed < 0 || fixed + 10 > end) return MALFORMED;
    at = fixed + 10 + readUint16(wire, fixed + 8);
    if (at > end || opt !== NO_OPT) return MALFORMED;
    if (readUint16(wire, fixed) === RRTYPE.OPT) opt = owner;
  }
  return at === end ? opt : MALFORMED;
}

function readUint16(wire: Uint8Array, at: number): number {
  return (wire[at]! << 8) | wire[at + 1]!;
}

function addToUint16(wire: Uint8Array, at: number, value: number): void {
  const sum = readUint16(wire, at) + value;
  wire[at] = sum >>> 8;
  wire[at + 1] = sum & 0xff;
}
