import { expect } from 'vitest';
import type { WartaError } from '../../src/base/errors.ts';
import { parseCheckpoint } from '../../src/log/checkpoint.ts';
import type { LogStorage } from '../../src/log/log-storage.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import { parseNote } from '../../src/log/note.ts';
import { Sequencer, type SequencerOptions } from '../../src/log/sequencer.ts';
import { wrapStorage } from './faulty-storage.ts';
import { appendText, policyOf, readLog } from './test-log.ts';

/** What a log has promised: which leaf is where. */
export class Ledger {
  readonly acknowledged = new Map<number, string>();

  /** Appends leaves at once and notes those that were acknowledged. */
  async append(sequencer: Sequencer, texts: readonly string[]): Promise<void> {
    const results = await Promise.allSettled(texts.map((text) => appendText(sequencer, text)));
    for (const [at, result] of results.entries()) {
      if (result.status === 'fulfilled') this.acknowledged.set(result.value.index, texts[at]!);
    }
  }
}

/** Notes every checkpoint that is ever published. */
export function watchCheckpoints(storage: LogStorage): { storage: LogStorage; published: Uint8Array[] } {
  const published: Uint8Array[] = [];
  const watched = wrapStorage(storage, 'public', async ({ verb, path, bytes }, run) => {
    const result = await run();
    if (verb === 'replace' && path === 'checkpoint') published.push(bytes!);
    return result;
  });
  return { storage: watched, published };
}

/**
 * Checks a log after whatever happened to it: what is published is all there now, and after the log was opened again no
 * acknowledged leaf is missing, none is there twice, no published checkpoint was taken back, and the log goes on.
 */
export async function checkAfterCrash(
  options: SequencerOptions,
  { acknowledged }: Ledger,
  published: readonly Uint8Array[],
): Promise<void> {
  const policy = policyOf(options);
  await readLog(options.storage, policy);
  const faults: WartaError[] = [];
  const sequencer = await Sequencer.open({ ...options, onFault: (error) => faults.push(error) });
  await appendText(sequencer, 'after the crash');
  await sequencer.flush();
  await sequencer.close();
  expect(faults).toEqual([]);
  const log = (await readLog(options.storage, policy))!;
  expect(log.witnessed).toBe(true);
  const texts = log.leaves.map((leaf) => leaf.toString());
  for (const [index, text] of acknowledged) expect(texts[index]).toBe(text);
  expect(new Set(texts).size).toBe(texts.length);
  expect(texts.at(-1)).toBe('after the crash');
  expectOneHistory(published, log.leaves);
}

/** Requires that each published checkpoint is a beginning of the log, and no smaller than the one before it. */
function expectOneHistory(published: readonly Uint8Array[], leaves: readonly Buffer[]): void {
  let size = 0;
  for (const note of published) {
    const checkpoint = parseCheckpoint(parseNote(note).body);
    expect(checkpoint.size).toBeGreaterThanOrEqual(size);
    expect(checkpoint.root).toEqual(rootOf(leaves.slice(0, checkpoint.size).map((leaf) => hashLeaf(leaf))));
    size = checkpoint.size;
  }
  expect(published.length).toBeGreaterThan(0);
}
