import { WartaError } from '../base/errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { CompactRange, hashLeaf, rootOf } from './merkle.ts';
import { bundlePath, composeBundle, parseBundle, parseTile, TILE_WIDTH, tilePath, tileWidth } from './tile.ts';

/** A file of the public tree. */
export interface LogFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Reads a file of the public tree. */
export type ReadFile = (path: string) => Promise<Uint8Array | undefined>;

/**
 * The right edge of a log: the partial tile of each level and the partial entry bundle. It is all of a log that appending
 * needs in memory, and it makes the files that appending brings forth.
 */
export class RightEdge {
  #size = 0;
  /** Hashes of the partial tile, by level. */
  readonly #tiles: Buffer[][] = [];
  /** Leaves of the partial bundle. */
  #leaves: Uint8Array[] = [];
  /** Tiles and bundles filled since they were last taken. */
  #filled: LogFile[] = [];
  /** Levels whose partial tile changed since then. */
  readonly #changed = new Set<number>();

  /** Returns the edge of the log without leaves. */
  static empty(): RightEdge {
    return new RightEdge();
  }

  /**
   * Reads the edge of a log that is all there.
   *
   * @throws {WartaError} `log-invalid` when a file is missing, or tiles and entries do not hash to the checkpoint's root.
   */
  static async load({ size, root }: Checkpoint, read: ReadFile): Promise<RightEdge> {
    const edge = new RightEdge();
    edge.#size = size;
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      const [index, width] = locateEdge(size, level);
      edge.#tiles[level] = width === 0 ? [] : parseTile(await require(tilePath(level, index, width), read), width);
    }
    const [index, width] = locateEdge(size, 0);
    if (width > 0) edge.#leaves = parseBundle(await require(bundlePath(index, width), read), width);
    const matches = edge.#leaves.every((leaf, at) => hashLeaf(leaf).equals(edge.#tiles[0][at]));
    if (!matches || !edge.root().equals(root)) {
      throw new WartaError('log-invalid', `the tiles at the end of the log are not those of its checkpoint of ${size}`);
    }
    return edge;
  }

  /** Number of leaves in the log. */
  get size(): number {
    return this.#size;
  }

  /** Appends a leaf and returns its hash. */
  append(leaf: Uint8Array): Buffer {
    const leafHash = hashLeaf(leaf);
    this.#leaves.push(leaf);
    this.#size++;
    if (this.#leaves.length === TILE_WIDTH) {
      this.#filled.push({ path: bundlePath(this.#size / TILE_WIDTH - 1), bytes: composeBundle(this.#leaves) });
      this.#leaves = [];
    }
    this.#push(0, leafHash);
    return leafHash;
  }

  /** Adds a hash to the partial tile of a level; a tile that fills goes into the one above as one hash. */
  #push(level: number, hash: Buffer): void {
    this.#tiles[level] ??= [];
    const tile = this.#tiles[level];
    tile.push(hash);
    this.#changed.add(level);
    if (tile.length < TILE_WIDTH) return;
    const index = this.#size / TILE_WIDTH ** (level + 1) - 1;
    this.#filled.push({ path: tilePath(level, index), bytes: Buffer.concat(tile) });
    this.#tiles[level] = [];
    this.#changed.delete(level);
    this.#push(level + 1, rootOf(tile));
  }

  /** Returns the root of the log. */
  root(): Buffer {
    const hashes = this.#tiles.toReversed().flatMap((tile) => frontierOf(tile));
    return new CompactRange(this.#size, hashes).root();
  }

  /** Returns an edge that can be appended to without changing this one. */
  clone(): RightEdge {
    const copy = new RightEdge();
    copy.#size = this.#size;
    copy.#tiles.push(...this.#tiles.map((tile) => [...tile]));
    copy.#leaves = [...this.#leaves];
    return copy;
  }

  /** Returns the files that a log of this size has and that of the last call had not: full ones, then partial ones. */
  takeFiles(): LogFile[] {
    const files = this.#filled;
    this.#filled = [];
    if (this.#leaves.length > 0) {
      const [index, width] = locateEdge(this.#size, 0);
      if (this.#changed.has(0)) files.push({ path: bundlePath(index, width), bytes: composeBundle(this.#leaves) });
    }
    for (const level of this.#changed) {
      const [index, width] = locateEdge(this.#size, level);
      files.push({ path: tilePath(level, index, width), bytes: Buffer.concat(this.#tiles[level]) });
    }
    this.#changed.clear();
    return files;
  }
}

/** Returns index and width of the partial tile that a log of `size` has at `level`; width 0: none. */
function locateEdge(size: number, level: number): [index: number, width: number] {
  const index = Math.floor(size / TILE_WIDTH ** (level + 1));
  return [index, tileWidth(level, index, size)];
}

/** Returns the frontier of the hashes of one tile. */
function frontierOf(tile: readonly Buffer[]): readonly Buffer[] {
  const range = CompactRange.empty();
  for (const hash of tile) range.append(hash);
  return range.hashes;
}

async function require(path: string, read: ReadFile): Promise<Uint8Array> {
  const bytes = await read(path);
  if (bytes === undefined) throw new WartaError('log-invalid', `${path} is missing: restore the log's folder`);
  return bytes;
}
