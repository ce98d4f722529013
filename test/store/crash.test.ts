import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { verifyAuditTrail } from '../../src/store/audit-trail.ts';
import { startProgram } from '../support/running-program.ts';
import { describeEngines } from './engines.ts';

const PROGRAM = fileURLToPath(new URL('./counting-program.ts', import.meta.url));
const ROUNDS = 5;

describeEngines('kill -9', ({ open, makeTarget }) => {
  it('in the middle of transactions loses nothing acknowledged, and leaves nothing half done', async () => {
    const target = await makeTarget();
    let acknowledged = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const before = acknowledged;
      const program = startProgram(process.execPath, [PROGRAM, target]);
      await program.waitFor(/\d+\n/);
      await sleep(Math.random() * 150);
      program.kill('SIGKILL');
      await program.ended;
      acknowledged = Number(program.output().trim().split('\n').at(-1));
      expect(acknowledged).toBeGreaterThan(before);

      const store = await open(target);
      const verdict = await verifyAuditTrail(store);
      const { counter, records } = await store.read(async ({ licensees }) => ({
        counter: (await licensees.get('counter'))!.createdSeconds,
        records: await licensees.count(),
      }));
      // The last transaction may have been stored without its number being printed.
      expect(counter).toBeGreaterThanOrEqual(acknowledged);
      expect(counter).toBeLessThanOrEqual(acknowledged + 1);
      expect(records).toBe(counter + 1);
      expect(verdict).toMatchObject({ isSound: true, head: { sequence: counter } });
      acknowledged = counter;
      await store.close();
    }
  });
});
