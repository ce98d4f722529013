/**
 * Counts in a database until it is killed: every transaction adds a licensee, counts it, and puts an entry on the trail of
 * changes. Prints each number once its transaction was acknowledged. Arguments: the database; a lock to hold meanwhile.
 */
import { writeSync } from 'node:fs';
import { openStore } from '../../src/store/open-store.ts';
import { makeEntry, makeLicensee } from './records.ts';

const [target, lock] = process.argv.slice(2);
const store = await openStore(target!);
if (lock !== undefined && (await store.lock(lock)) === undefined) throw new Error('the lock is taken');
for (;;) {
  const number = await store.transaction(async ({ licensees, audit }) => {
    const counter = await licensees.get('counter');
    if (counter === undefined) await licensees.insert(makeLicensee('counter'));
    const next = (counter?.createdSeconds ?? 0) + 1;
    await licensees.insert(makeLicensee(`${next}`));
    await audit.append(makeEntry(`licensees/${next}`));
    await licensees.update('counter', { createdSeconds: next });
    return next;
  });
  writeSync(1, `${number}\n`);
}
