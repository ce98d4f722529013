import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashLeaf, rootOf, verifyConsistency, verifyInclusion } from '../../src/log/merkle.ts';
import { proveConsistency, proveInclusion, type ReadTile } from '../../src/log/proof.ts';
import { RightEdge } from '../../src/log/right-edge.ts';
import { bundlePath, parseBundle, parseTile, TILE_WIDTH, tilePath, tileWidth } from '../../src/log/tile.ts';
import { makeLeaves, naivePath, naiveProof, naiveRoot } from './oracle.ts';

/** Past one full tile of level 1, so that there are three levels. */
const SIZE = 66_000;
const leaves = makeLeaves(SIZE);
const hashes = leaves.map((leaf) => hashLeaf(leaf));

/** All files of the log when it grew to these sizes, one after another. */
function makeFiles(sizes: readonly number[]): Map<string, Uint8Array> {
  const edge = RightEdge.empty();
  const files = new Map<string, Uint8Array>();
  for (const size of sizes) {
    for (const leaf of leaves.slice(edge.size, size)) edge.append(leaf);
    for (const { path, bytes } of edge.takeFiles()) files.set(path, bytes);
  }
  return files;
}

const reader =
  (files: ReadonlyMap<string, Uint8Array>): ReadTile =>
  async (path) => {
    const bytes = files.get(path);
    if (bytes === undefined) throw new Error(`${path} was asked for and is not there`);
    return bytes;
  };

/** A log of up to 600 leaves, and one of more than 65,536. */
const sizes = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 65_300, max: SIZE }));

describe('the files of a growing log', () => {
  it('are those that tlog-tiles names for its last size, whichever sizes came before', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1400 }), { minLength: 1, maxLength: 5 }), (list) => {
        const growing = list.toSorted((a, b) => a - b);
        const size = growing.at(-1)!;
        const files = makeFiles(growing);
        for (let level = 0; TILE_WIDTH ** level <= size; level++) {
          for (let index = 0, width = 1; ; index++) {
            width = tileWidth(level, index, size);
            if (width === 0) break;
            const span = TILE_WIDTH ** level;
            const first = index * TILE_WIDTH * span;
            const expected = Array.from({ length: width }, (_, at) =>
              rootOf(hashes.slice(first + at * span, first + (at + 1) * span)),
            );
            expect(parseTile(files.get(tilePath(level, index, width))!, width)).toEqual(expected);
            if (level > 0) continue;
            const bundle = parseBundle(files.get(bundlePath(index, width))!, width);
            expect(bundle).toEqual(leaves.slice(first, first + width));
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  it('are enough to go on from, at any size', async () => {
    const check = fc.asyncProperty(sizes, async (size) => {
      const files = makeFiles([size]);
      const root = rootOf(hashes.slice(0, size));
      const edge = await RightEdge.load({ origin: 'log', size, root }, async (path) => files.get(path));
      expect(edge.root()).toEqual(root);
      const copy = edge.clone();
      copy.append(Buffer.from('one more'));
      expect(copy.root()).toEqual(rootOf([...hashes.slice(0, size), hashLeaf(Buffer.from('one more'))]));
      expect(edge.root()).toEqual(root);
    });
    await fc.assert(check, { numRuns: 10 });
  });

  it('are not gone on from when one of them is missing or changed', async () => {
    const size = 65_537 + 300;
    const root = rootOf(hashes.slice(0, size));
    const load = (files: ReadonlyMap<string, Uint8Array>) =>
      RightEdge.load({ origin: 'log', size, root }, async (path) => files.get(path));
    const whole = makeFiles([size]);
    const edge = [...whole.keys()].filter((path) => path.includes('.p/'));
    expect(edge).toHaveLength(4); // three levels and the bundle
    for (const path of edge) {
      const less = new Map(whole);
      less.delete(path);
      await expect(load(less)).rejects.toMatchObject({ code: 'log-invalid' });
      const changed = Buffer.from(whole.get(path)!);
      changed[changed.length - 1]! ^= 1;
      await expect(load(new Map(whole).set(path, changed))).rejects.toMatchObject({ code: 'log-invalid' });
    }
    await expect(load(whole)).resolves.toBeInstanceOf(RightEdge);
  });
});

describe('proveInclusion', () => {
  it('makes the proof of RFC 6962', async () => {
    const check = fc.asyncProperty(
      fc.integer({ min: 1, max: 600 }).chain((size) => fc.tuple(fc.nat(size - 1), fc.constant(size))),
      async ([index, size]) => {
        const proof = await proveInclusion(index, size, reader(makeFiles([size])));
        expect(proof).toEqual(naivePath(index, leaves.slice(0, size)));
      },
    );
    await fc.assert(check, { numRuns: 50 });
  });

  it('verifies in a tree of three levels of tiles', async () => {
    const root = rootOf(hashes);
    const read = reader(makeFiles([SIZE]));
    for (const index of [0, 1, 255, 256, 65_535, 65_536, SIZE - 1]) {
      verifyInclusion(hashes[index]!, index, SIZE, await proveInclusion(index, SIZE, read, root), root);
    }
  });

  it('refuses damaged tiles when the root is known', async () => {
    const size = 600;
    const files = makeFiles([size]);
    const tile = Buffer.from(files.get(tilePath(0, 1))!);
    tile[40]! ^= 1;
    const read = reader(new Map(files).set(tilePath(0, 1), tile));
    const root = rootOf(hashes.slice(0, size));
    await expect(proveInclusion(256, size, read, root)).rejects.toMatchObject({ code: 'log-invalid' });
    await expect(proveInclusion(256, size, reader(files), root)).resolves.toHaveLength(10);
  });

  it('refuses a tile of the wrong length', async () => {
    const files = makeFiles([300]);
    const read = reader(new Map(files).set(tilePath(0, 0), files.get(tilePath(0, 0))!.subarray(32)));
    await expect(proveInclusion(299, 300, read)).resolves.toHaveLength(5); // needs tile 0 only by its hash one level up
    await expect(proveInclusion(0, 300, read)).rejects.toMatchObject({ code: 'log-invalid' });
  });

  it.each([
    [0, 0],
    [5, 5],
    [-1, 5],
    [0.5, 5],
  ])('refuses leaf %d of %d', async (index, size) => {
    await expect(proveInclusion(index, size, reader(new Map()))).rejects.toMatchObject({ code: 'log-invalid' });
  });
});

describe('proveConsistency', () => {
  it('makes the proof of RFC 6962', async () => {
    const check = fc.asyncProperty(
      fc.integer({ min: 1, max: 600 }).chain((size) => fc.tuple(fc.integer({ min: 1, max: size }), fc.constant(size))),
      async ([size1, size2]) => {
        const proof = await proveConsistency(size1, size2, reader(makeFiles([size2])));
        expect(proof).toEqual(naiveProof(size1, leaves.slice(0, size2)));
      },
    );
    await fc.assert(check, { numRuns: 50 });
  });

  it('verifies in a tree of three levels of tiles', async () => {
    const root = rootOf(hashes);
    const read = reader(makeFiles([SIZE]));
    for (const size of [1, 255, 256, 257, 65_535, 65_536, 65_537, SIZE - 1]) {
      const proof = await proveConsistency(size, SIZE, read, root);
      verifyConsistency(size, SIZE, rootOf(hashes.slice(0, size)), root, proof);
    }
  });

  it('is empty from nothing, and from the same size', async () => {
    const read = reader(makeFiles([300]));
    expect(await proveConsistency(0, 300, read)).toEqual([]);
    expect(await proveConsistency(300, 300, read)).toEqual([]);
  });

  it('refuses damaged tiles when the root is known', async () => {
    const size = 600;
    const files = makeFiles([size]);
    const path = tilePath(0, 2, 88);
    const tile = Buffer.from(files.get(path)!);
    tile[0]! ^= 1;
    const read = reader(new Map(files).set(path, tile));
    const root = naiveRoot(leaves.slice(0, size));
    await expect(proveConsistency(300, size, read, root)).rejects.toMatchObject({ code: 'log-invalid' });
    await expect(proveConsistency(300, size, reader(files), root)).resolves.toBeInstanceOf(Array);
  });
});
