import { WartaError } from '../base/errors.ts';
import { bundlePath, LEAF_MAX_BYTES, parseBundle, TILE_WIDTH } from '../log/tile.ts';
import type { Mirror } from './mirror.ts';

/** Bundles asked for at once: 2,048 leaves, at most 128 MiB. */
const BUNDLES_AT_ONCE = 8;
/** Octets before each entry of a bundle: its length. */
const LENGTH_BYTES = 2;

/** Leaves [from, to) of a log of that size, and the lengths of those before `from` in the same bundle. */
export interface LeafSpan {
  readonly from: number;
  readonly to: number;
  /** Returns the length of a leaf that is held, which lies before `from`. */
  heldBytes(index: number): number;
}

/**
 * Yields the leaves of a span in order, a few bundles at a time. Of a bundle whose beginning is held only the rest is asked
 * for. Nothing is verified but the form: whoever calls computes the root.
 *
 * @throws {WartaError} `log-invalid` for what is no bundle, or what the mirror throws.
 */
export async function* fetchLeaves(mirror: Mirror, span: LeafSpan): AsyncGenerator<Uint8Array[]> {
  for (let at = span.from; at < span.to; ) {
    const firstBundle = Math.floor(at / TILE_WIDTH);
    const lastBundle = Math.min(firstBundle + BUNDLES_AT_ONCE, Math.ceil(span.to / TILE_WIDTH));
    const bundles = Array.from({ length: lastBundle - firstBundle }, (_, i) => firstBundle + i);
    const fetched = await Promise.all(bundles.map((bundle) => fetchBundle(mirror, bundle, span)));
    const leaves = fetched.flat();
    at += leaves.length;
    yield leaves;
  }
}

/** Fetches what is missing of one bundle. */
async function fetchBundle(mirror: Mirror, bundle: number, span: LeafSpan): Promise<Uint8Array[]> {
  const first = bundle * TILE_WIDTH;
  const count = Math.min(TILE_WIDTH, span.to - first);
  const held = Math.max(0, span.from - first);
  let heldBytes = 0;
  for (let index = first; index < first + held; index++) heldBytes += LENGTH_BYTES + span.heldBytes(index);
  const from = held === 0 ? undefined : heldBytes;
  const ask = (width: number) => {
    const path = bundlePath(bundle, width === TILE_WIDTH ? undefined : width);
    const maxBytes = width * (LENGTH_BYTES + LEAF_MAX_BYTES);
    return mirror.get({ path, maxBytes, from });
  };
  let width = count;
  let answer = await ask(width);
  if (answer.kind === 'absent' && width < TILE_WIDTH) {
    // A log may drop partial bundles once the full one is there.
    width = TILE_WIDTH;
    answer = await ask(width);
  }
  if (answer.kind === 'absent') {
    throw new WartaError('log-invalid', `${mirror.url} has no entries ${first} to ${first + count}: it is incomplete`);
  }
  const skipped = answer.kind === 'whole' ? held : 0;
  const entries = parseBundle(answer.bytes, answer.kind === 'whole' ? width : width - held);
  return entries.slice(skipped, skipped + count - held);
}
