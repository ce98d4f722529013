import { WartaError } from '../base/errors.ts';
import type { LogStorage } from '../log/log-storage.ts';
import { bundlePath, parseBundle, TILE_WIDTH } from '../log/tile.ts';

/** Returns where an annex lies: open ones in the public tree, sealed ones in a tree of their own. */
export function annexPath(digest: string, sealed: boolean): string {
  return `${sealed ? 'sealed' : 'annex'}/${digest.slice(0, 2)}/${digest}.jsonl`;
}

/**
 * Reads the leaves from `from` up to `size` of a log of `size` leaves, a bundle at a time.
 *
 * @throws {WartaError} `log-invalid` when a bundle is missing or broken.
 */
export async function* readLeaves(storage: LogStorage, from: number, size: number): AsyncGenerator<Buffer> {
  for (let bundle = Math.floor(from / TILE_WIDTH); bundle * TILE_WIDTH < size; bundle++) {
    const first = bundle * TILE_WIDTH;
    const width = Math.min(TILE_WIDTH, size - first);
    const path = bundlePath(bundle, width);
    const bytes = await storage.read(path);
    if (bytes === undefined) throw new WartaError('log-invalid', `${path} is missing: restore the log's files`);
    const leaves = parseBundle(bytes, width);
    yield* leaves.slice(Math.max(0, from - first));
  }
}
