import { HEADER_BYTES, RRTYPE } from './constants.ts';
import { skipName } from './name.ts';

/** A message that nobody may keep. */
export const NOT_FRESH = -1;

/** Highest TTL; above it the value counts as zero (RFC 2181 §8). */
const MAX_TTL_SECONDS = 0x7fffffff;

/**
 * Returns for how many seconds the response `wire[start, start + length)` may be kept by an HTTP cache (RFC 8484 §5.1): the
 * smallest TTL of the answer section; of a negative answer the SOA's TTL or MINIMUM, whichever is less (RFC 2308 §5).
 * `NOT_FRESH` when nothing says so, or the response is truncated, an error, or malformed.
 */
export function readFreshnessSeconds(wire: Uint8Array, start: number, length: number): number {
  const end = start + length;
  const rcode = wire[start + 3]! & 0x0f;
  if (length < HEADER_BYTES || (wire[start + 2]! & 0x02) !== 0 || (rcode !== 0 && rcode !== 3)) return NOT_FRESH;
  const answers = readUint16(wire, start + 6);
  const records = answers === 0 ? readUint16(wire, start + 8) : answers;
  let at = start + HEADER_BYTES;
  for (let left = readUint16(wire, start + 4); left > 0; left--) {
    at = skipName(wire, at, end) + 4;
    if (at < start + HEADER_BYTES + 4 || at > end) return NOT_FRESH;
  }
  let least = NOT_FRESH;
  for (let record = 0; record < records; record++) {
    const fixed = skipName(wire, at, end);
    if (fixed < 0 || fixed + 10 > end) return NOT_FRESH;
    at = fixed + 10 + readUint16(wire, fixed + 8);
    if (at > end) return NOT_FRESH;
    let ttl = readTtl(wire, fixed + 4);
    if (answers === 0) {
      if (readUint16(wire, fixed) !== RRTYPE.SOA || at - fixed < 14) continue;
      ttl = Math.min(ttl, readTtl(wire, at - 4));
    }
    least = least === NOT_FRESH ? ttl : Math.min(least, ttl);
  }
  return least;
}

function readTtl(wire: Uint8Array, at: number): number {
  const ttl = (readUint16(wire, at) * 0x10000 + readUint16(wire, at + 2)) >>> 0;
  return ttl > MAX_TTL_SECONDS ? 0 : ttl;
}

function readUint16(wire: Uint8Array, at: number): number {
  return (wire[at]! << 8) | wire[at + 1]!;
}
