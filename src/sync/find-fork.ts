import { WartaError } from '../base/errors.ts';
import type { Checkpoint } from '../log/checkpoint.ts';
import { HASH_BYTES, verifyConsistency } from '../log/merkle.ts';
import { proveConsistency } from '../log/proof.ts';
import { TILE_WIDTH } from '../log/tile.ts';
import type { Mirror } from './mirror.ts';

/** The head of a tree. */
type Head = Pick<Checkpoint, 'size' | 'root'>;

/**
 * Finds out whether a log that signed both heads shows two histories: its own hash tiles, when they give the larger root,
 * prove what the smaller one has to be. `unproven` when the mirror has no such tiles: then it may be the mirror that is wrong.
 */
export async function findFork(mirror: Mirror, held: Head, shown: Head): Promise<'none' | 'forked' | 'unproven'> {
  if (held.size === 0) return 'none';
  let proof: Buffer[];
  try {
    proof = await proveConsistency(held.size, shown.size, (path) => readTile(mirror, path), shown.root);
  } catch (error) {
    if (error instanceof WartaError) return 'unproven';
    throw error;
  }
  try {
    verifyConsistency(held.size, shown.size, held.root, shown.root, proof);
    return 'none';
  } catch {
    return 'forked';
  }
}

async function readTile(mirror: Mirror, path: string): Promise<Uint8Array> {
  const answer = await mirror.get({ path, maxBytes: TILE_WIDTH * HASH_BYTES });
  if (answer.kind !== 'whole') throw new WartaError('mirror-failed', `${mirror.url}${path} is not there`);
  return answer.bytes;
}
