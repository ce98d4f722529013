import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bundlePath,
  composeBundle,
  LEAF_MAX_BYTES,
  parseBundle,
  parseTile,
  tilePath,
  tileWidth,
} from '../../src/log/tile.ts';

const refused = expect.objectContaining({ code: 'log-invalid' });

describe('paths', () => {
  // The first line is the example of C2SP tlog-tiles.
  it.each([
    [tilePath(0, 1234067), 'tile/0/x001/x234/067'],
    [tilePath(0, 0), 'tile/0/000'],
    [tilePath(1, 999), 'tile/1/999'],
    [tilePath(2, 1000), 'tile/2/x001/000'],
    [tilePath(0, 273, 112), 'tile/0/273.p/112'],
    [bundlePath(1234067), 'tile/entries/x001/x234/067'],
    [bundlePath(0, 1), 'tile/entries/000.p/1'],
    [bundlePath(1_000_000_000, 255), 'tile/entries/x001/x000/x000/000.p/255'],
  ])('%s', (path, expected) => expect(path).toBe(expected));
});

describe('tileWidth', () => {
  // C2SP tlog-tiles, "Partial Tiles": a tree of 70,000, and one of 256.
  it.each([
    [0, 272, 70_000, 256],
    [0, 273, 70_000, 112],
    [0, 274, 70_000, 0],
    [1, 0, 70_000, 256],
    [1, 1, 70_000, 17],
    [2, 0, 70_000, 1],
    [3, 0, 70_000, 0],
    [0, 0, 256, 256],
    [0, 1, 256, 0],
    [1, 0, 256, 1],
    [0, 0, 0, 0],
  ])('level %i, index %i of a tree of %i: %i', (level, index, size, width) => {
    expect(tileWidth(level, index, size)).toBe(width);
  });
});

describe('parseTile', () => {
  it('splits exactly', () => {
    const bytes = Buffer.from(Array.from({ length: 96 }, (_, at) => at));
    expect(parseTile(bytes, 3).map((hash) => hash[0])).toEqual([0, 32, 64]);
    for (const width of [2, 4]) expect(() => parseTile(bytes, width)).toThrow(refused);
    expect(() => parseTile(bytes.subarray(1), 3)).toThrow(refused);
  });
});

describe('a bundle', () => {
  const leavesOf = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 });

  it('is read back as it was composed', () => {
    fc.assert(
      fc.property(leavesOf, (leaves) => {
        const parsed = parseBundle(composeBundle(leaves), leaves.length);
        expect(parsed.map((leaf) => [...leaf])).toEqual(leaves.map((leaf) => [...leaf]));
      }),
    );
  });

  it('grows by appending: the bundle of fewer leaves is its beginning', () => {
    fc.assert(
      fc.property(leavesOf, fc.uint8Array(), (leaves, next) => {
        const before = composeBundle(leaves);
        expect(composeBundle([...leaves, next]).subarray(0, before.length)).toEqual(before);
      }),
    );
  });

  it('is refused with any other number of leaves, a byte more or a byte less', () => {
    fc.assert(
      fc.property(leavesOf, (leaves) => {
        const bytes = composeBundle(leaves);
        expect(() => parseBundle(bytes, leaves.length + 1)).toThrow(refused);
        expect(() => parseBundle(Buffer.concat([bytes, Buffer.of(0)]), leaves.length)).toThrow(refused);
        if (leaves.length === 0) return;
        expect(() => parseBundle(bytes, leaves.length - 1)).toThrow(refused);
        expect(() => parseBundle(bytes.subarray(0, -1), leaves.length)).toThrow(refused);
      }),
    );
  });

  it('holds leaves of up to 65,535 bytes', () => {
    const longest = Buffer.alloc(LEAF_MAX_BYTES, 7);
    expect(parseBundle(composeBundle([longest]), 1)).toEqual([longest]);
    expect(() => composeBundle([Buffer.alloc(LEAF_MAX_BYTES + 1)])).toThrow(refused);
  });
});
