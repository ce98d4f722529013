import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bundlePath, composeBundle, LEAF_MAX_BYTES, TILE_WIDTH } from '../../src/log/tile.ts';
import { fetchLeaves } from '../../src/sync/leaf-fetcher.ts';
import type { Mirror, MirrorAnswer, MirrorRequest } from '../../src/sync/mirror.ts';

/** A mirror of one log in memory, which answers as `how` says. */
class BundleMirror implements Mirror {
  readonly url = 'memory:';
  receivedBytes = 0;
  readonly requests: MirrorRequest[] = [];
  readonly #leaves: readonly Uint8Array[];
  readonly #how: { ranges: boolean; dropsPartials: boolean };

  constructor(leaves: readonly Uint8Array[], how = { ranges: true, dropsPartials: false }) {
    this.#leaves = leaves;
    this.#how = how;
  }

  async get(request: MirrorRequest): Promise<MirrorAnswer> {
    this.requests.push(request);
    const bytes = this.find(request.path);
    const { from } = request;
    if (bytes === undefined) return { kind: 'absent', bytes: Buffer.alloc(0) };
    if (from === undefined || !this.#how.ranges) return { kind: 'whole', bytes };
    if (from >= bytes.length) return { kind: 'absent', bytes: Buffer.alloc(0) };
    return { kind: 'rest', bytes: bytes.subarray(from) };
  }

  find(path: string): Buffer | undefined {
    for (let first = 0; first < this.#leaves.length; first += TILE_WIDTH) {
      const index = first / TILE_WIDTH;
      const there = Math.min(TILE_WIDTH, this.#leaves.length - first);
      if (path === bundlePath(index)) {
        return there === TILE_WIDTH ? composeBundle(this.#leaves.slice(first, first + TILE_WIDTH)) : undefined;
      }
      const isLast = first + TILE_WIDTH > this.#leaves.length;
      if (this.#how.dropsPartials && !isLast) continue;
      for (let width = 1; width <= there && width < TILE_WIDTH; width++) {
        if (path === bundlePath(index, width)) return composeBundle(this.#leaves.slice(first, first + width));
      }
    }
    return undefined;
  }

  async close(): Promise<void> {}
}

/** Leaves of lengths that differ; one may be empty. */
const leavesOf = (count: number) => Array.from({ length: count }, (_, i) => Buffer.from(`${i}`.repeat(i % 4)));

async function collect(mirror: Mirror, leaves: readonly Uint8Array[], from: number, to: number): Promise<Uint8Array[]> {
  const got: Uint8Array[] = [];
  const span = { from, to, heldBytes: (index: number) => leaves[index]!.length };
  for await (const part of fetchLeaves(mirror, span)) got.push(...part);
  return got;
}

describe('leaves', () => {
  test('come whole and in order for any span, with ranges or without, with partial bundles or without', async () => {
    const spans = fc.tuple(fc.nat({ max: 700 }), fc.nat({ max: 700 }), fc.nat({ max: 700 }));
    await fc.assert(
      fc.asyncProperty(spans, fc.boolean(), fc.boolean(), async (numbers, ranges, dropsPartials) => {
        const [from, to, size] = numbers.toSorted((one, other) => one - other) as [number, number, number];
        const leaves = leavesOf(size);
        const got = await collect(new BundleMirror(leaves, { ranges, dropsPartials }), leaves, from, to);
        expect(got.map(String)).toEqual(leaves.slice(from, to).map(String));
      }),
      { numRuns: 60 },
    );
  });

  test('that are held are not asked for again', async () => {
    const leaves = leavesOf(300);
    const mirror = new BundleMirror(leaves);
    await collect(mirror, leaves, 299, 300);
    const held = composeBundle(leaves.slice(256, 299)).length;
    expect(mirror.requests).toEqual([
      { path: 'tile/entries/001.p/44', from: held, maxBytes: 44 * (2 + LEAF_MAX_BYTES) },
    ]);
    await collect(mirror, leaves, 256, 300);
    expect(mirror.requests[1]).toMatchObject({ path: 'tile/entries/001.p/44', from: undefined });
  });

  test('of a partial bundle that the log has dropped come from the full one', async () => {
    const leaves = leavesOf(600);
    const mirror = new BundleMirror(leaves, { ranges: true, dropsPartials: true });
    const got = await collect(mirror, leaves, 300, 310);
    expect(got.map(String)).toEqual(leaves.slice(300, 310).map(String));
    expect(mirror.requests.map(({ path }) => path)).toEqual(['tile/entries/001.p/54', 'tile/entries/001']);
  });

  test('nothing is asked for when there is nothing new', async () => {
    const mirror = new BundleMirror(leavesOf(300));
    expect(await collect(mirror, leavesOf(300), 300, 300)).toEqual([]);
    expect(mirror.requests).toEqual([]);
  });

  const wrong: [string, (bundle: Buffer | undefined) => MirrorAnswer][] = [
    ['none', () => ({ kind: 'absent', bytes: Buffer.alloc(0) })],
    ['an empty file', () => ({ kind: 'whole', bytes: Buffer.alloc(0) })],
    ['HTML', () => ({ kind: 'whole', bytes: Buffer.from('<!doctype html><title>Sign in</title>') })],
    ['one octet less', (bundle) => ({ kind: 'whole', bytes: bundle!.subarray(0, -1) })],
    ['one octet more', (bundle) => ({ kind: 'whole', bytes: Buffer.concat([bundle!, Buffer.alloc(1)]) })],
    ['one entry more', (bundle) => ({ kind: 'whole', bytes: Buffer.concat([bundle!, Buffer.alloc(2)]) })],
    ['a rest that is the whole', (bundle) => ({ kind: 'rest', bytes: bundle! })],
    ['an answer nobody asked for', () => ({ kind: 'unchanged', bytes: Buffer.alloc(0) })],
  ];

  test.each(wrong)('a bundle that is %s is refused', async (_, answer) => {
    const leaves = leavesOf(20);
    const mirror = new BundleMirror(leaves);
    const lying = Object.assign(Object.create(mirror) as Mirror, {
      url: 'lying:',
      get: async ({ path }: MirrorRequest) => answer(mirror.find(path)),
    });
    await expect(collect(lying, leaves, 10, 20)).rejects.toMatchObject({ code: 'log-invalid' });
  });
});
