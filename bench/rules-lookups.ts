import { writeName } from '../src/dns/name.ts';
import { medianOf } from './statistics.ts';

/** Lookups between two readings of the clock: many, since one reading costs half a lookup. */
export const BATCH = 1_000;

/** Names to look up, in every form that one of the measured things takes. */
export interface Lookups {
  /** Dotted names in lower case. */
  texts: readonly string[];
  /** The same names in wire form, one after another. */
  wire: Uint8Array;
  offsets: Int32Array;
}

/** Prepares the names `nameAt(0 … count - 1)` in advance. */
export function prepareLookups(count: number, nameAt: (index: number) => string): Lookups {
  const texts = Array.from({ length: count }, (_, i) => nameAt(i));
  const wire = new Uint8Array(texts.reduce((sum, text) => sum + text.length + 2, 0));
  const offsets = new Int32Array(count);
  let end = 0;
  texts.forEach((text, i) => {
    offsets[i] = end;
    end = writeName(text, wire, end);
  });
  return { texts, wire, offsets };
}

/**
 * Returns the median over `batches` of the nanoseconds one lookup takes. `lookUp` looks the names `[from, to)` up in a loop of
 * its own and returns how many are listed; all names must be, or none, as `listed` says. Batch after batch goes on through
 * the names, so that a name comes again only after all others came: what the table holds of it is in no cache, and no branch
 * predictor knows it. The octets of a batch's names are read once before: in the resolver the query has just been received
 * and scanned, so its own octets are in the cache.
 */
export function measureNanos(
  names: Lookups,
  batches: number,
  listed: boolean,
  lookUp: (from: number, to: number) => number,
): number {
  const nanos: number[] = [];
  const count = names.texts.length;
  let from = 0;
  for (let batch = -Math.ceil(batches / 5); batch < batches; batch++) {
    readOctets(names, from, from + BATCH);
    const startedAt = performance.now();
    const found = lookUp(from, from + BATCH);
    if (batch >= 0) nanos.push(((performance.now() - startedAt) * 1e6) / BATCH);
    if (found !== (listed ? BATCH : 0)) throw new Error(`${found} of ${BATCH} names are said to be listed`);
    from = from + 2 * BATCH > count ? 0 : from + BATCH;
  }
  return medianOf(nanos);
}

/** Brings the wire forms of the names `[from, to)` into the cache; the sum keeps the loop from being optimised away. */
function readOctets({ wire, offsets }: Lookups, from: number, to: number): number {
  let sum = 0;
  for (let at = offsets[from]!; at < (offsets[to] ?? wire.length); at += 32) sum += wire[at]!;
  return sum;
}

/** Calls `visit` with each suffix of at least two labels, longest first, until it returns true. */
export function someSuffix(text: string, visit: (suffix: string) => boolean): boolean {
  for (let at = 0; ; ) {
    const next = text.indexOf('.', at);
    if (next < 0) return false;
    if (visit(at === 0 ? text : text.slice(at))) return true;
    at = next + 1;
  }
}
