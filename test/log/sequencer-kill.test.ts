import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { createLocalWitness } from '../../src/log/witness-client.ts';
import { makeFolder } from '../support/folders.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';
import { checkAfterCrash, Ledger } from './crash-check.ts';
import { CHILD_ORIGIN, CHILD_WITNESS, PHASES, type Phase, STEPS, type Step, WRITING_STEPS } from './sequencer-steps.ts';
import { makeOptions, newKey, openWitness, publicKeyOf } from './test-log.ts';

const CHILD = join(import.meta.dirname, 'sequencer-child.ts');

/** A log in folders that child processes work on, one after another. */
class ChildLog {
  readonly folder = makeFolder();
  readonly ledger = new Ledger();
  readonly #logKey = newKey();
  readonly #witnessKey = newKey();

  start(step: Step, phase: Phase): RunningProgram {
    const encode = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'der' }).toString('base64');
    return startProgram(process.execPath, [
      CHILD,
      this.folder,
      step,
      phase,
      encode(this.#logKey),
      encode(this.#witnessKey),
    ]);
  }

  /** Waits for a child's end and notes what it had acknowledged. */
  async bury(child: RunningProgram): Promise<void> {
    expect(await child.ended, child.output()).toBe('SIGKILL');
    for (const [, index, text] of child.output().matchAll(/^(\d+) (\S+)\n/gm)) {
      this.ledger.acknowledged.set(Number(index), text!);
    }
  }

  /** Opens the log in this process, and checks it. */
  async check(): Promise<void> {
    const storage = new DirectoryStorage(join(this.folder, 'public'));
    const witness = await openWitness(new DirectoryStorage(join(this.folder, 'witness')), {
      name: CHILD_WITNESS,
      privateKey: this.#witnessKey,
      logs: [{ origin: CHILD_ORIGIN, publicKey: publicKeyOf(this.#logKey) }],
    });
    const options = await makeOptions({
      storage,
      state: new DirectoryStorage(join(this.folder, 'state')),
      origin: CHILD_ORIGIN,
      privateKey: this.#logKey,
      witnesses: [createLocalWitness(witness)],
    });
    await checkAfterCrash(options, this.ledger, [(await storage.read('checkpoint'))!]);
    await witness.close();
  }
}

const CASES = STEPS.flatMap((step) =>
  PHASES.filter((phase) => phase !== 'during' || WRITING_STEPS.includes(step)).map((phase) => [phase, step] as const),
);

describe('a sequencer killed at once', () => {
  it.each(CASES)('%s its step %s has lost nothing', async (phase, step) => {
    const log = new ChildLog();
    if (step === 'claim') {
      const first = log.start('never', 'before');
      await first.waitFor(/-round1-/);
      first.kill('SIGKILL');
      await log.bury(first);
    }
    await log.bury(log.start(step, phase));
    expect(log.ledger.acknowledged.size).toBeGreaterThanOrEqual(300);
    await log.check();
  });

  it('at no time of its own choosing, again and again, has lost nothing', async () => {
    const log = new ChildLog();
    for (const delayMillis of [0, 7, 19, 43, 90, 200]) {
      const child = log.start('never', 'before');
      await child.waitFor(/-first-0/);
      await sleep(delayMillis);
      child.kill('SIGKILL');
      await log.bury(child);
    }
    expect(log.ledger.acknowledged.size).toBeGreaterThan(1000);
    await log.check();
  });
});
