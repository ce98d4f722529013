import { WartaError } from '../base/errors.ts';
import { HASH_BYTES } from './merkle.ts';

/** Hashes in a full tile, and entries in a full bundle (C2SP tlog-tiles). */
export const TILE_WIDTH = 256;

/** Longest leaf: its length is two bytes in an entry bundle (C2SP tlog-tiles, "Log entries"). */
export const LEAF_MAX_BYTES = 65_535;

const LENGTH_BYTES = 2;

/**
 * Returns the path of a hash tile (C2SP tlog-tiles, "Merkle Tree"). `width` below 256 names a partial tile.
 *
 * `tilePath(0, 1234067)` is `tile/0/x001/x234/067`.
 */
export function tilePath(level: number, index: number, width: number = TILE_WIDTH): string {
  return `tile/${level}/${composeIndex(index)}${composeWidth(width)}`;
}

/** Returns the path of an entry bundle (C2SP tlog-tiles, "Log entries"). */
export function bundlePath(index: number, width: number = TILE_WIDTH): string {
  return `tile/entries/${composeIndex(index)}${composeWidth(width)}`;
}

/** Groups of three digits, all but the last with an `x` before it, so that no path is a folder and a file at once. */
function composeIndex(index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g)!;
  return groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/');
}

function composeWidth(width: number): string {
  return width === TILE_WIDTH ? '' : `.p/${width}`;
}

/**
 * Returns how many hashes the tile has in a tree of `size` leaves: 256, fewer at the right edge, 0 for none. Level 0 is also
 * the width of entry bundles.
 */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  return Math.max(0, Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH));
}

/**
 * Splits a tile into its hashes.
 *
 * @throws {WartaError} `log-invalid` unless it has exactly `width` of them.
 */
export function parseTile(bytes: Uint8Array, width: number): Buffer[] {
  if (bytes.length !== width * HASH_BYTES) {
    throw new WartaError(
      'log-invalid',
      `a tile of ${width} hashes has ${bytes.length} bytes, not ${width * HASH_BYTES}`,
    );
  }
  const tile = asBuffer(bytes);
  return Array.from({ length: width }, (_, at) => tile.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
}

/**
 * Composes an entry bundle: each leaf after its length in two bytes, the high one first.
 *
 * @throws {WartaError} `log-invalid` for a leaf over 65,535 bytes.
 */
export function composeBundle(leaves: readonly Uint8Array[]): Buffer {
  const parts = leaves.flatMap((leaf) => {
    if (leaf.length > LEAF_MAX_BYTES) throw new WartaError('log-invalid', `a leaf has ${leaf.length} bytes`);
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt16BE(leaf.length);
    return [length, leaf];
  });
  return Buffer.concat(parts);
}

/**
 * Splits an entry bundle into its leaves, which share its memory.
 *
 * @throws {WartaError} `log-invalid` unless it has exactly `count` of them and not one byte more.
 */
export function parseBundle(bytes: Uint8Array, count: number): Buffer[] {
  const bundle = asBuffer(bytes);
  const leaves: Buffer[] = [];
  let at = 0;
  while (leaves.length < count && at + LENGTH_BYTES <= bundle.length) {
    const start = at + LENGTH_BYTES;
    at = start + bundle.readUInt16BE(at);
    leaves.push(bundle.subarray(start, at));
  }
  if (leaves.length !== count || at !== bundle.length) {
    throw new WartaError('log-invalid', `a bundle of ${bytes.length} bytes is not the ${count} entries it should be`);
  }
  return leaves;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
