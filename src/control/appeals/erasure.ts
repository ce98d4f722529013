import { hashRecord } from '../http/route.ts';
import type { AppealRecord, Tables } from '../store.ts';
import { EVENTS_MAX } from './appeal-desk.ts';

/** Appeals done at one go. */
const BATCH = 100;

/**
 * Erases contact, grounds and private notes of appeals whose time for it has come. What was decided and why stays. Returns
 * how many it did; call it again while that is not 0.
 */
export async function eraseOldContacts(tables: Tables, nowSeconds: number): Promise<number> {
  const where = { eraseAfterSeconds: { before: nowSeconds + 1 } };
  const due = await tables.appeals.list({ where, orderBy: 'eraseAfterSeconds', limit: BATCH });
  for (const appeal of due) await eraseOne(tables, appeal, nowSeconds);
  return due.length;
}

async function eraseOne(tables: Tables, appeal: AppealRecord, nowSeconds: number): Promise<void> {
  const erased = await tables.appeals.update(appeal.id, {
    contact: null,
    language: null,
    grounds: '',
    eraseAfterSeconds: null,
  });
  for (const { id } of await tables.appealEvents.list({ where: { appealId: appeal.id }, limit: EVENTS_MAX })) {
    await tables.appealEvents.update(id, { privateNote: null });
  }
  await tables.audit.append({
    atSeconds: nowSeconds,
    actor: 'system',
    role: 'system',
    action: 'erase personal data',
    subject: `appeals/${appeal.id}`,
    reason: 'its time is over',
    beforeHash: hashRecord(appeal),
    afterHash: hashRecord(erased),
  });
}
