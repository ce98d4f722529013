import { WartaError } from '../base/errors.ts';
import { MAX_NAME_BYTES } from './constants.ts';

const MAX_LABEL_BYTES = 63;
const DOT = 0x2e;
const POINTER = 0xc0;

/** Lower case of every octet, ASCII letters only: DNS compares names so (RFC 4343). */
export const LOWER = Uint8Array.from({ length: 256 }, (_, octet) => (octet >= 65 && octet <= 90 ? octet + 32 : octet));

/**
 * Writes the dotted name `text` (A-labels, no escapes, no trailing dot) in wire form at `offset` of `out` and returns the
 * offset after its root octet, or -1 when it is no valid name: an empty or overlong label, or more than 255 octets. `out`
 * needs `text.length + 2` free octets. Letters are lower-cased.
 */
export function writeName(text: string, out: Uint8Array, offset: number): number {
  if (text.length === 0 || text.length + 2 > MAX_NAME_BYTES) return -1;
  let lengthAt = offset;
  let at = offset + 1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return -1;
    if (code !== DOT) {
      out[at++] = LOWER[code]!;
      continue;
    }
    const size = at - lengthAt - 1;
    if (size === 0 || size > MAX_LABEL_BYTES) return -1;
    out[lengthAt] = size;
    lengthAt = at++;
  }
  const size = at - lengthAt - 1;
  if (size === 0 || size > MAX_LABEL_BYTES) return -1;
  out[lengthAt] = size;
  out[at] = 0;
  return at + 1;
}

/**
 * Returns the wire form of a dotted name; a trailing dot is allowed, `.` is the root.
 *
 * @throws {WartaError} `name-invalid`.
 */
export function parseName(text: string): Uint8Array {
  if (text === '.') return new Uint8Array(1);
  const bare = text.endsWith('.') ? text.slice(0, -1) : text;
  const out = new Uint8Array(MAX_NAME_BYTES + 2);
  const end = bare.length <= MAX_NAME_BYTES ? writeName(bare, out, 0) : -1;
  if (end < 0) {
    throw new WartaError(
      'name-invalid',
      `'${text}' is no domain name: labels are 1 to 63 ASCII characters, 253 in all`,
    );
  }
  return out.slice(0, end);
}

/** Returns an uncompressed wire name as dotted text, without the final dot; unusual octets as `\DDD` (RFC 4343 §2.1). */
export function formatName(wire: Uint8Array, offset = 0): string {
  const labels: string[] = [];
  for (let at = offset; wire[at] !== 0; at += wire[at]! + 1) {
    let label = '';
    for (let i = at + 1; i <= at + wire[at]!; i++) {
      const octet = wire[i]!;
      const plain = octet > 0x20 && octet < 0x7f && octet !== DOT && octet !== 0x5c;
      label += plain ? String.fromCharCode(octet) : `\\${String(octet).padStart(3, '0')}`;
    }
    labels.push(label);
  }
  return labels.join('.') || '.';
}

/**
 * Returns the offset after an uncompressed name that starts at `offset` and must end before `end`, or -1 when it does not,
 * holds a compression pointer (a question may not), or is longer than 255 octets.
 */
export function skipPlainName(wire: Uint8Array, offset: number, end: number): number {
  const limit = Math.min(end, offset + MAX_NAME_BYTES);
  let at = offset;
  while (at < limit) {
    const size = wire[at]!;
    if (size === 0) return at + 1;
    if (size > MAX_LABEL_BYTES) return -1;
    at += size + 1;
  }
  return -1;
}

/**
 * Returns the offset after a possibly compressed name (RFC 1035 §4.1.4), or -1 when it runs past `end` or uses a reserved
 * label type. Does not follow the pointer.
 */
export function skipName(wire: Uint8Array, offset: number, end: number): number {
  let at = offset;
  while (at < end) {
    const size = wire[at]!;
    if (size === 0) return at + 1;
    if (size >= POINTER) return at + 2 <= end ? at + 2 : -1;
    if (size > MAX_LABEL_BYTES) return -1;
    at += size + 1;
  }
  return -1;
}

/**
 * Copies the possibly compressed name at `offset` of the message `wire[start, end)` to `out` in plain wire form and returns
 * its length, or -1 when it is malformed. Every pointer must point before the place where the current run of labels began,
 * so a loop cannot form; the 255-octet bound ends the rest.
 */
export function expandName(wire: Uint8Array, start: number, end: number, offset: number, out: Uint8Array): number {
  let at = offset;
  let runStart = offset;
  let length = 0;
  while (at < end) {
    const size = wire[at]!;
    if (size === 0) {
      out[length] = 0;
      return length + 1;
    }
    if (size >= POINTER) {
      if (at + 1 >= end) return -1;
      const target = start + (((size & 0x3f) << 8) | wire[at + 1]!);
      if (target >= runStart) return -1;
      at = target;
      runStart = target;
      continue;
    }
    if (size > MAX_LABEL_BYTES || at + size >= end || length + size + 2 > MAX_NAME_BYTES) return -1;
    for (let i = 0; i <= size; i++) out[length + i] = wire[at + i]!;
    length += size + 1;
    at += size + 1;
  }
  return -1;
}
