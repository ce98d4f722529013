/**
 * A process that runs a sequencer in folders until it kills itself by SIGKILL at one step of its work, or for good. Prints
 * one line for each leaf that was acknowledged: index, blank, text.
 *
 * Arguments: the folder, a step of `STEPS`, a phase of `PHASES`, the log's and the witness's private keys in DER and base64.
 */
import { createPrivateKey } from 'node:crypto';
import { mkdirSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { createSigner } from '../../src/log/note.ts';
import { Sequencer } from '../../src/log/sequencer.ts';
import { Witness } from '../../src/log/witness.ts';
import { createLocalWitness } from '../../src/log/witness-client.ts';
import { type Around, wrapStorage } from './faulty-storage.ts';
import { CHILD_ORIGIN, CHILD_WITNESS, isStep, type Phase, type Step } from './sequencer-steps.ts';

const [folder, step, phase, logKey, witnessKey] = process.argv.slice(2) as [string, Step, Phase, string, string];

const readKey = (text: string) => createPrivateKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'pkcs8' });

/** Set once the step may kill. */
let isArmed = step === 'claim';

const around: Around = async (operation, run) => {
  if (!isArmed || !isStep(step, operation)) return run();
  if (phase === 'before') die();
  if (phase === 'during' && operation.bytes !== undefined) {
    const staged = join(folder, operation.store, `${operation.path}.staged`);
    mkdirSync(dirname(staged), { recursive: true });
    writeFileSync(staged, operation.bytes.subarray(0, operation.bytes.length >> 1));
    die();
  }
  const result = await run();
  if (phase === 'after') die();
  return result;
};

function die(): void {
  process.kill(process.pid, 'SIGKILL');
  for (;;); // the signal is on its way: nothing more may happen
}

const storageOf = (store: string) => wrapStorage(new DirectoryStorage(join(folder, store)), store, around);

const privateKey = readKey(logKey);
const witness = await Witness.open({
  name: CHILD_WITNESS,
  privateKey: readKey(witnessKey),
  logs: [{ origin: CHILD_ORIGIN, publicKey: createSigner(CHILD_ORIGIN, privateKey).publicKey }],
  state: storageOf('witness'),
  clock: systemClock,
});
const sequencer = await Sequencer.open({
  storage: storageOf('public'),
  state: storageOf('state'),
  origin: CHILD_ORIGIN,
  privateKey,
  witnesses: [createLocalWitness(witness)],
  clock: systemClock,
});

/** Appends leaves at once and says which were acknowledged. */
async function append(count: number, label: string): Promise<void> {
  const appended = Array.from({ length: count }, async (_, at) => {
    const text = `${process.pid}-${label}-${at}`;
    const { index } = await sequencer.append(() => Buffer.from(text));
    writeSync(1, `${index} ${text}\n`);
  });
  await Promise.all(appended);
}

await append(300, 'first');
await sequencer.flush();
isArmed = true;
for (let round = 0; ; round++) await append(300, `round${round}`);
