import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { expect } from 'vitest';
import { type CheckpointPolicy, type OpenedCheckpoint, openCheckpoint } from '../../src/log/checkpoint.ts';
import type { LogStorage } from '../../src/log/log-storage.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import { createSigner } from '../../src/log/note.ts';
import { RightEdge } from '../../src/log/right-edge.ts';
import type { Sequenced, Sequencer, SequencerOptions } from '../../src/log/sequencer.ts';
import { bundlePath, parseBundle, parseTile, TILE_WIDTH, tilePath, tileWidth } from '../../src/log/tile.ts';
import { Witness, type WitnessOptions } from '../../src/log/witness.ts';
import { createLocalWitness } from '../../src/log/witness-client.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { MemoryStorage } from './memory-storage.ts';

export const ORIGIN = 'log.example';
export const LOG_KEY = newKey();
export const WITNESS_NAME = 'witness.example/w1';
export const WITNESS_KEY = newKey();

/** Makes an Ed25519 key. */
export function newKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

/** The public half of a key as configurations hold it. */
export function publicKeyOf(key: KeyObject): string {
  return createSigner('any', key).publicKey;
}

/** What readers of the test's log trust. */
export const POLICY: CheckpointPolicy = {
  origin: ORIGIN,
  publicKey: publicKeyOf(LOG_KEY),
  witnesses: [{ name: WITNESS_NAME, publicKey: publicKeyOf(WITNESS_KEY) }],
  quorum: 1,
};

/** Opens a witness of the test's log. */
export function openWitness(
  state: LogStorage = new MemoryStorage(),
  options: Partial<WitnessOptions> = {},
): Promise<Witness> {
  return Witness.open({
    name: WITNESS_NAME,
    privateKey: WITNESS_KEY,
    logs: [{ origin: ORIGIN, publicKey: POLICY.publicKey }],
    state,
    clock: new FakeClock(),
    ...options,
  });
}

/** What readers of a log trust that was opened with these options. */
export function policyOf({
  origin,
  privateKey,
  witnesses,
  quorum = witnesses.length,
}: SequencerOptions): CheckpointPolicy {
  return { origin, publicKey: publicKeyOf(privateKey), witnesses, quorum };
}

/** Options of a log in memory, with one witness unless they say otherwise. */
export async function makeOptions(options: Partial<SequencerOptions> = {}): Promise<SequencerOptions> {
  return {
    storage: new MemoryStorage(),
    state: new MemoryStorage(),
    origin: ORIGIN,
    privateKey: LOG_KEY,
    witnesses: options.witnesses ?? [createLocalWitness(await openWitness())],
    clock: new FakeClock(),
    retryMillis: 3_600_000, // a test that wants a retry asks for one
    ...options,
  };
}

/** Appends a leaf that says what it is told to. */
export function appendText(sequencer: Sequencer, text: string): Promise<Sequenced> {
  return sequencer.append(() => Buffer.from(text));
}

/**
 * Reads the whole log as a stranger would who has nothing but the policy, and checks everything: every tile, every bundle,
 * every hash. A full tile may stand in for a partial one. Returns `undefined` while nothing is published.
 */
export async function readLog(
  storage: LogStorage,
  policy = POLICY,
): Promise<(OpenedCheckpoint & { leaves: Buffer[] }) | undefined> {
  const note = await storage.read('checkpoint');
  if (note === undefined) return undefined;
  const opened = openCheckpoint(note, policy);
  const { size, root } = opened.checkpoint;
  const leaves: Buffer[] = [];
  for (let index = 0, width = tileWidth(0, 0, size); width > 0; width = tileWidth(0, ++index, size)) {
    leaves.push(...parseBundle(await serve(storage, bundlePath(index, width), bundlePath(index)), width));
  }
  const hashes = leaves.map((leaf) => hashLeaf(leaf));
  expect(rootOf(hashes)).toEqual(root);
  await checkTiles(storage, size, hashes);
  await RightEdge.load(opened.checkpoint, (path) => storage.read(path));
  return { ...opened, leaves };
}

/** Checks every hash tile of a log against the hashes of its leaves. */
async function checkTiles(storage: LogStorage, size: number, leafHashes: readonly Buffer[]): Promise<void> {
  let hashes = leafHashes;
  for (let level = 0; hashes.length > 0; level++) {
    for (let index = 0, width = tileWidth(level, 0, size); width > 0; width = tileWidth(level, ++index, size)) {
      const bytes = await serve(storage, tilePath(level, index, width), tilePath(level, index));
      const from = index * TILE_WIDTH;
      expect(parseTile(bytes, width)).toEqual(hashes.slice(from, from + width));
    }
    hashes = Array.from({ length: Math.floor(hashes.length / TILE_WIDTH) }, (_, at) =>
      rootOf(hashes.slice(at * TILE_WIDTH, (at + 1) * TILE_WIDTH)),
    );
  }
}

/** Reads a file that the published checkpoint names. */
async function serve(storage: LogStorage, path: string, full: string): Promise<Uint8Array> {
  const bytes = (await storage.read(path)) ?? (await storage.read(full));
  if (bytes === undefined) throw new Error(`the published checkpoint needs ${path}, which is not there`);
  return bytes;
}
