import { WartaError } from '../base/errors.ts';
import { hashNode, rootOf, verifyConsistency, verifyInclusion } from './merkle.ts';
import { parseTile, TILE_WIDTH, tilePath, tileWidth } from './tile.ts';

/**
 * Reads a tile of a log by its path. A log may drop a partial tile once the full one is there: a reader that knows of larger
 * checkpoints than the one it asks proofs for answers with the full tile's beginning then.
 */
export type ReadTile = (path: string) => Promise<Uint8Array>;

/**
 * Makes the proof that leaf `index` is in the tree of `size` (RFC 6962 §2.1.1) out of tiles. With `root` given, the proof is
 * verified against it before it is returned, so that damaged tiles are found here and not by whoever gets the proof.
 *
 * @throws {WartaError} `log-invalid`: no such leaf, or tiles that are damaged. What `readTile` throws passes through.
 */
export async function proveInclusion(
  index: number,
  size: number,
  readTile: ReadTile,
  root?: Uint8Array,
): Promise<Buffer[]> {
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(index) || index < 0 || index >= size) {
    throw new WartaError('log-invalid', `a tree of ${size} has no leaf ${index}`);
  }
  const tree = new TileTree(size, readTile);
  const proof = await proveLeaf(tree, index, 0, size);
  if (root !== undefined) verifyInclusion(await tree.hash(index, index + 1), index, size, proof, root);
  return proof;
}

/**
 * Makes the proof that the tree of `size2` begins with that of `size1` (RFC 6962 §2.1.2) out of tiles of the larger one; it is
 * empty when `size1` is 0 or `size2`. It is verified with the roots that the tiles have, and with `root2` where given.
 *
 * @throws {WartaError} `log-invalid`: no such sizes, or tiles that are damaged. What `readTile` throws passes through.
 */
export async function proveConsistency(
  size1: number,
  size2: number,
  readTile: ReadTile,
  root2?: Uint8Array,
): Promise<Buffer[]> {
  if (!Number.isSafeInteger(size2) || !Number.isSafeInteger(size1) || size1 < 0 || size1 > size2) {
    throw new WartaError('log-invalid', `a tree of ${size2} does not begin with one of ${size1}`);
  }
  if (size1 === 0 || size1 === size2) return [];
  const tree = new TileTree(size2, readTile);
  const proof = await proveStart(tree, size1, 0, size2, true);
  verifyConsistency(size1, size2, await tree.hash(0, size1), root2 ?? (await tree.hash(0, size2)), proof);
  return proof;
}

/** PATH(m, D[start:end]) of RFC 6962 §2.1.1. */
async function proveLeaf(tree: TileTree, index: number, start: number, end: number): Promise<Buffer[]> {
  if (end - start === 1) return [];
  const middle = start + splitOf(end - start);
  if (index < middle) return [...(await proveLeaf(tree, index, start, middle)), await tree.hash(middle, end)];
  return [...(await proveLeaf(tree, index, middle, end)), await tree.hash(start, middle)];
}

/** SUBPROOF(m, D[start:end], b) of RFC 6962 §2.1.2; `isKnown`: the verifier has the hash of this range as a root. */
async function proveStart(
  tree: TileTree,
  size1: number,
  start: number,
  end: number,
  isKnown: boolean,
): Promise<Buffer[]> {
  if (size1 === end) return isKnown ? [] : [await tree.hash(start, end)];
  const middle = start + splitOf(end - start);
  if (size1 <= middle) {
    return [...(await proveStart(tree, size1, start, middle, isKnown)), await tree.hash(middle, end)];
  }
  return [...(await proveStart(tree, size1, middle, end, false)), await tree.hash(start, middle)];
}

/** Returns the largest power of two below `count`: where RFC 6962 splits a tree. */
function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

/** Hashes of a tree of one size, computed from its tiles, each of which is read once. */
class TileTree {
  readonly #size: number;
  readonly #readTile: ReadTile;
  readonly #tiles = new Map<string, Promise<Buffer[]>>();

  constructor(size: number, readTile: ReadTile) {
    this.#size = size;
    this.#readTile = readTile;
  }

  /** Returns the root over the leaves from `start` to before `end`, a range that RFC 6962's splits lead to. */
  async hash(start: number, end: number): Promise<Buffer> {
    const count = end - start;
    const split = splitOf(count);
    if (split * 2 === count || count === 1) return this.#hashComplete(start, count);
    return hashNode(await this.#hashComplete(start, split), await this.hash(start + split, end));
  }

  /** Returns the root of a complete subtree: the root over a part of one tile. */
  async #hashComplete(start: number, count: number): Promise<Buffer> {
    let level = 0;
    while (TILE_WIDTH ** (level + 1) <= count) level++;
    const span = TILE_WIDTH ** level;
    const first = start / span;
    const index = Math.floor(first / TILE_WIDTH);
    const tile = await this.#read(level, index);
    const from = first - index * TILE_WIDTH;
    return rootOf(tile.slice(from, from + count / span));
  }

  #read(level: number, index: number): Promise<Buffer[]> {
    const width = tileWidth(level, index, this.#size);
    const path = tilePath(level, index, width);
    let tile = this.#tiles.get(path);
    if (tile === undefined) {
      tile = this.#readTile(path).then((bytes) => parseTile(bytes, width));
      this.#tiles.set(path, tile);
    }
    return tile;
  }
}
