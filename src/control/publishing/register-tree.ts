import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { bundlePath, parseBundle, TILE_WIDTH } from '../../log/tile.ts';

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
