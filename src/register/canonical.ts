import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { WartaError } from '../base/errors.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the canonical JSON (RFC 8785) of `value` as UTF-8. Members that are `undefined` are left out. */
export function composeCanonical(value: unknown): Buffer {
  return Buffer.from(canonicalize(value)!);
}

/** Decodes UTF-8 strictly; `undefined` for bytes that are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Parses JSON that must already be in canonical form, byte for byte. So a text has one reading only: a key given twice, a
 * number spelled differently, a blank, a lone surrogate or a byte-order mark is refused.
 *
 * @throws {WartaError} `statement-malformed` when it is no JSON, `statement-not-canonical` when it is another form of it.
 */
export function parseCanonical(bytes: Uint8Array): unknown {
  const text = decodeUtf8(bytes);
  if (text === undefined) throw new WartaError('statement-malformed', 'the payload is not UTF-8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WartaError('statement-malformed', 'the payload is not JSON', { cause });
  }
  if (!isCanonical(value, text)) {
    throw new WartaError('statement-not-canonical', 'the payload is not canonical JSON (RFC 8785); draft it again');
  }
  return value;
}

/**
 * Whether `text` is the canonical form of `value`, which was parsed from it; a value that has none (lone surrogate, too deep)
 * is not. RFC 8785 is what `JSON.stringify` writes, with sorted keys and no lone surrogate: when that is quickly seen to be
 * so, `canonicalize` need not be asked, which takes four times as long.
 */
export function isCanonical(value: unknown, text: string): boolean {
  try {
    if (!text.includes(SURROGATE_ESCAPE) && hasSortedKeys(value) && JSON.stringify(value) === text) return true;
    return canonicalize(value) === text;
  } catch {
    return false;
  }
}

/** How the escape of every surrogate begins; in canonical text only a lone one would be escaped. */
const SURROGATE_ESCAPE = '\\ud';

/** Whether the keys of every object in a parsed value stand in ascending order of UTF-16 code units. */
function hasSortedKeys(value: unknown): boolean {
  if (value === null || typeof value !== 'object') return true;
  if (Array.isArray(value)) return value.every(hasSortedKeys);
  let previous: string | undefined;
  for (const key of Object.keys(value)) {
    if (previous !== undefined && key <= previous) return false;
    if (!hasSortedKeys((value as Record<string, unknown>)[key])) return false;
    previous = key;
  }
  return true;
}

/** Returns the lower-case hexadecimal SHA-256 of `bytes`. */
export function hashHex(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}
