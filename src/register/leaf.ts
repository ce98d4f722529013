import { WartaError } from '../base/errors.ts';
import { composeCanonical, decodeUtf8 } from './canonical.ts';
import { formatInstant, parseInstant } from './time.ts';

/** Largest leaf: an entry bundle gives a leaf's length in 16 bits (C2SP tlog-tiles). */
export const LEAF_MAX_BYTES = 65_535;

/** A leaf is HEAD, the canonical envelope, MIDDLE, the time, TAIL: fixed framing, so that reading it needs no parser. */
const HEAD = Buffer.from('{"envelope":');
const MIDDLE = Buffer.from(',"integratedAt":"');
const TAIL = Buffer.from('"}');
const INSTANT_BYTES = 20;
const FRAME_END_BYTES = MIDDLE.length + INSTANT_BYTES + TAIL.length;

/** A leaf of the log, taken apart. */
export interface Leaf {
  /** The DSSE envelope: a view into the leaf, not yet judged. */
  readonly envelope: Uint8Array;
  /** When the log took the statement, seconds since the epoch. */
  readonly integratedAtSeconds: number;
}

/**
 * Composes the leaf of an envelope: canonical JSON, `{"envelope":…,"integratedAt":"2026-03-01T09:00:00Z"}`. The envelope
 * may be in any spelling of JSON; it is stored in the canonical one.
 *
 * @throws {WartaError} `leaf-malformed` for an envelope that is no JSON object, or a leaf above 65,535 bytes.
 */
export function composeLeaf(envelope: Uint8Array, integratedAtSeconds: number): Buffer {
  const time = Buffer.from(formatInstant(integratedAtSeconds));
  const leaf = Buffer.concat([HEAD, canonicaliseEnvelope(envelope), MIDDLE, time, TAIL]);
  if (leaf.length > LEAF_MAX_BYTES) {
    throw malformed(`the leaf would have ${leaf.length} bytes, ${LEAF_MAX_BYTES} at most: shorten the statement`);
  }
  return leaf;
}

/** Returns the canonical spelling of an envelope. */
function canonicaliseEnvelope(envelope: Uint8Array): Buffer {
  try {
    const value: unknown = JSON.parse(decodeUtf8(envelope) ?? '');
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return composeCanonical(value);
  } catch {
    // Not JSON, or a text without a canonical form: said below.
  }
  throw malformed('the envelope is no JSON object');
}

/**
 * Takes a leaf apart by its framing. Nothing of the envelope is interpreted: an envelope that is none makes a void
 * statement later, and the leaves around it stand.
 *
 * @throws {WartaError} `leaf-malformed` for other framing, a time that is none, or more than 65,535 bytes.
 */
export function parseLeaf(bytes: Uint8Array): Leaf {
  if (bytes.length > LEAF_MAX_BYTES) throw malformed(`the leaf has ${bytes.length} bytes, ${LEAF_MAX_BYTES} at most`);
  const leaf = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const middle = leaf.length - FRAME_END_BYTES;
  const timeAt = middle + MIDDLE.length;
  const framed =
    middle >= HEAD.length &&
    leaf.subarray(0, HEAD.length).equals(HEAD) &&
    leaf.subarray(middle, timeAt).equals(MIDDLE) &&
    leaf.subarray(timeAt + INSTANT_BYTES).equals(TAIL);
  if (!framed) throw malformed('the leaf is not an envelope and the time it was integrated at');
  const integratedAtSeconds = parseInstant(leaf.toString('latin1', timeAt, timeAt + INSTANT_BYTES));
  if (integratedAtSeconds === undefined) throw malformed('integratedAt: expected a time such as 2026-03-01T09:00:00Z');
  return { envelope: leaf.subarray(HEAD.length, middle), integratedAtSeconds };
}

function malformed(reason: string): WartaError {
  return new WartaError('leaf-malformed', reason);
}
