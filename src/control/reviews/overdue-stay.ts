import { formatInstant } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { SYSTEM } from '../drafting/draft-access.ts';
import { createDraft, findFreeReference } from '../drafting/draft-record.ts';
import { hashRecord } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { Tables } from '../store.ts';
import type { PlacedNotice } from '../view/register-view.ts';
import type { Due } from './due-dates.ts';

/** Kind of the reminder that its date of review has come. */
const OVERDUE = 'review-0';

/** Kind of the record that a stay was drafted once; it is settled from the start, since the draft is what needs someone. */
const STAY_DRAFTED = 'review-stay';

const DIGEST_SHOWN = 16;

/**
 * Drafts a stay of every notice past its review, once for each review, if the policy pack says so. The server cannot sign:
 * staff do, or withdraw the draft. Returns how many it drafted.
 */
export async function stayOverdue(
  tables: Tables,
  services: ControlServices,
  dues: readonly Due[],
  nowSeconds: number,
): Promise<number> {
  const overdue = dues.filter(({ kind }) => kind === OVERDUE);
  if (overdue.length === 0) return 0;
  const { pack } = await services.trust.read(nowSeconds);
  if (!pack.reviews?.stayOverdue) return 0;
  let drafted = 0;
  for (const due of overdue) {
    const notice = services.register.findNotice(due.subject.slice('notices/'.length))!;
    if (services.register.standingOf(notice.verified.id, nowSeconds)?.state !== 'in-force') continue;
    const id = `${STAY_DRAFTED}/${due.subject}/${due.dueSeconds}`;
    if ((await tables.reminders.get(id)) !== undefined) continue;
    await draftStay(tables, services, notice, due, nowSeconds);
    await tables.reminders.insert({ ...due, id, kind: STAY_DRAFTED, toldSeconds: null, settledSeconds: nowSeconds });
    drafted++;
  }
  return drafted;
}

async function draftStay(
  tables: Tables,
  services: ControlServices,
  { verified }: PlacedNotice,
  { dueSeconds, authority }: Due,
  nowSeconds: number,
): Promise<void> {
  const system: Actor = { id: SYSTEM, roles: new Set(['public']), authority };
  const reviewBy = formatInstant(dueSeconds);
  const stem = `review-${verified.id.slice(0, DIGEST_SHOWN)}/S`;
  const draft = await createDraft(tables, services, system, {
    type: 'stay',
    appealReference: null,
    body: {
      reference: await findFreeReference(tables, 'stay', authority, stem),
      reasons: { public: `Notice ${verified.statement.reference} was to be reviewed by ${reviewBy} and was not.` },
      target: { notice: verified.id },
      from: 'now',
      order: { by: 'Policy pack: no block outlives its date of review', reference: `review by ${reviewBy}` },
    },
  });
  await tables.audit.append({
    atSeconds: nowSeconds,
    actor: system.id,
    role: 'system',
    action: 'stay a notice past its review',
    subject: `drafts/${draft.id}`,
    reason: `review by ${reviewBy}`,
    beforeHash: null,
    afterHash: hashRecord(draft),
  });
}
