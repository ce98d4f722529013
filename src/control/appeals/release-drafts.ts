import { WartaError } from '../../base/errors.ts';
import { formatInstant, secondsOf } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { createDraft, findFreeReference } from '../drafting/draft-record.ts';
import type { AppealRecord, DraftRecord, Json } from '../store.ts';
import type { PlacedNotice } from '../view/register-view.ts';
import type { AppealDesk } from './appeal-desk.ts';
import type { CureTerms, Extent, StayTerms, VariationTerms } from './appeal-forms.ts';
import { requireEntries } from './appealed-notice.ts';

/** Whose appeal it is and who drafts. */
interface Drafter {
  readonly actor: Actor;
  readonly appeal: AppealRecord;
}

/** Standings in which a notice never blocks again. */
const OVER = new Set(['expired', 'revoked', 'superseded']);

/** Whether nothing is left of a notice that could be released. */
export function isOver({ services, nowSeconds }: AppealDesk, { verified }: PlacedNotice): boolean {
  return OVER.has(services.register.standingOf(verified.id, nowSeconds)?.state ?? '');
}

/** Drafts the revocation of a notice or some of its entries. */
export function draftRevocation(
  desk: AppealDesk,
  drafter: Drafter,
  notice: PlacedNotice,
  terms: Pick<CureTerms, 'entries' | 'whole' | 'reasons'>,
): Promise<DraftRecord> {
  const entries = chooseEntries(desk, drafter.appeal, notice, terms);
  return draft(desk, drafter, 'revocation', terms.reasons, {
    notice: notice.verified.id,
    ...(entries && { entries }),
    from: 'now',
  });
}

/** Drafts a stay of a notice or some of its entries; the order is the reviewer's own unless another is given. */
export function draftStay(
  desk: AppealDesk,
  drafter: Drafter,
  notice: PlacedNotice,
  terms: StayTerms,
): Promise<DraftRecord> {
  const { reasons, until, order } = terms;
  if (until !== undefined && secondsOf(until) <= desk.nowSeconds) {
    throw new WartaError('request-invalid', `until: ${until} is past; it is ${formatInstant(desk.nowSeconds)}`);
  }
  const entries = chooseEntries(desk, drafter.appeal, notice, terms);
  return draft(desk, drafter, 'stay', reasons, {
    target: { notice: notice.verified.id, ...(entries && { entries }) },
    from: 'now',
    ...(until !== undefined && { until }),
    order: order ?? { by: `Appeals reviewer ${drafter.actor.id}`, reference: drafter.appeal.id },
  });
}

/** Drafts a variation; its entries must be the notice's, and a sealed notice's names must not get into it. */
export function draftVariation(
  desk: AppealDesk,
  drafter: Drafter,
  notice: PlacedNotice,
  { variation, reasons }: { variation: VariationTerms; reasons: string },
): Promise<DraftRecord> {
  const { remove = [], exclude = [], expires = [] } = variation;
  if (exclude.length > 0 && notice.verified.statement.annex.sealed) {
    throw new WartaError(
      'request-invalid',
      'variation.exclude: would publish names below a sealed entry; remove the entry instead',
    );
  }
  const ids = [...remove, ...[...exclude, ...expires].map(({ entry }) => entry)];
  requireEntries(desk.services.register, notice.verified.id, ids);
  return draft(desk, drafter, 'variation', reasons, {
    notice: notice.verified.id,
    from: 'now',
    ...(variation as object),
  });
}

/**
 * Returns the ids of the entries a release is about, `undefined` for the whole notice: as staff say, or what was appealed.
 * Of a sealed notice staff must say, since the names that an appellant gave may all be wrong.
 */
function chooseEntries(
  { services }: AppealDesk,
  appeal: AppealRecord,
  { verified }: PlacedNotice,
  { entries, whole }: Extent,
): string[] | undefined {
  if (entries !== undefined && whole !== undefined) {
    throw new WartaError('request-invalid', 'entries, whole: give one of the two');
  }
  if (entries === undefined && whole === undefined && verified.statement.annex.sealed) {
    throw new WartaError('request-invalid', 'the notice is sealed: name entries by their ids, or say whole');
  }
  if (whole) return undefined;
  const chosen = entries ?? appeal.entries;
  if (chosen.length === 0) return undefined;
  requireEntries(services.register, verified.id, chosen);
  return [...new Set(chosen)];
}

/** References of what an appeal leads to are its own with a letter and a number. */
async function draft(
  { tables, services }: AppealDesk,
  { actor, appeal }: Drafter,
  type: 'stay' | 'revocation' | 'variation',
  reasons: string,
  terms: { readonly [key: string]: Json },
): Promise<DraftRecord> {
  const number = (await tables.drafts.count({ appealReference: appeal.id, type })) + 1;
  const stem = `${appeal.id}/${type[0].toUpperCase()}`;
  return createDraft(tables, services, actor, {
    type,
    appealReference: appeal.id,
    body: {
      reference: await findFreeReference(tables, type, appeal.authority, stem, number),
      reasons: { public: `Appeal ${appeal.id}: ${reasons}` },
      ...terms,
    },
  });
}
