import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { LogSite } from '../../../src/control/publishing/log-site.ts';
import { SequencerSeat } from '../../../src/control/publishing/sequencer-seat.ts';
import type { Store } from '../../../src/control/store.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister } from '../../support/log-register.ts';

it('does not take a log whose lock was lost while it was being opened', async () => {
  const folder = makeFolder();
  const register = await LogRegister.create(join(folder, 'log'));
  await register.site.close();
  const real = await openStore(`sqlite:${join(folder, 'control.db')}`);
  let asked = 0;
  /** The first lock breaks at once; from then on another process has it. */
  const lock: Store['lock'] = async (_name, onLost) => {
    if (++asked > 1) return undefined;
    setImmediate(() => onLost?.());
    return async () => {};
  };
  const store = { lock, read: real.read.bind(real), transaction: real.transaction.bind(real) } as unknown as Store;
  const events = { emit: async () => {}, wake() {} };
  const { config, witnesses } = register;
  const seat = new SequencerSeat({ store, config, witnesses, clock: systemClock, events });
  await seat.start();
  expect(seat.site).toBeUndefined();
  await seat.stop();
  // Nor does it keep others from the log.
  await (await LogSite.open(config, { witnesses })).close();
  await real.close();
  await Promise.all(witnesses.map((one) => one.close()));
});
