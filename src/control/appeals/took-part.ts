import { WartaError } from '../../base/errors.ts';
import type { Actor } from '../access/roles.ts';
import type { DraftRecord, Tables } from '../store.ts';
import type { PlacedNotice, RegisterView } from '../view/register-view.ts';

/** Who made a notice what it is: drafted, approved, overrode a check, signed; of the notice and of its variations. */
export interface Participants {
  readonly officers: ReadonlySet<string>;
  /** Their public keys. */
  readonly keys: ReadonlySet<string>;
}

/** More variations of one authority are never on their way at once. */
const VARIATIONS_MAX = 1000;

/** Finds who took part in a notice, by what is signed and by what the drafts keep. */
export async function findParticipants(
  tables: Tables,
  register: RegisterView,
  notice: PlacedNotice,
): Promise<Participants> {
  const { id, statement, authority } = notice.verified;
  const changes = register.changesOf(id).filter(({ verified }) => verified.statement.type === 'variation');
  const statements = [notice, ...changes];
  const officers = new Set<string>(statements.flatMap(({ verified }) => verified.signers));
  officers.add(notice.outline.draftedBy);
  for (const { officer } of statement.approvals) officers.add(officer);
  const whole = await register.readStatement(id);
  if (whole?.type === 'notice') for (const { officer } of whole.overrides) officers.add(officer);
  const keys = new Set<string>();
  for (const draft of await findDrafts(
    tables,
    notice,
    statements.map(({ verified }) => verified.id),
  )) {
    officers.add(draft.draftedBy);
    for (const { officer } of [...draft.approvals, ...draft.overrides]) officers.add(officer);
    for (const { officer, publicKey } of draft.signatures) {
      officers.add(officer);
      keys.add(publicKey);
    }
  }
  for (const officer of authority.officers) if (officers.has(officer.id)) keys.add(officer.publicKey);
  return { officers, keys };
}

/** The drafts of published statements, and variations of the notice that are on their way. */
async function findDrafts(
  tables: Tables,
  { verified }: PlacedNotice,
  statementIds: readonly string[],
): Promise<DraftRecord[]> {
  const published = await tables.drafts.list({ where: { statementId: { in: statementIds } }, limit: VARIATIONS_MAX });
  const { authority } = verified.statement;
  const underway = await tables.drafts.list({
    where: { type: 'variation', authority, state: { in: ['proposed', 'approved', 'queued'] } },
    limit: VARIATIONS_MAX,
  });
  return [...published, ...underway.filter(({ body }) => body.notice === verified.id)];
}

/**
 * Requires someone who took no part in a notice, by name and by key.
 *
 * @throws {WartaError} `appeal-conflict`.
 */
export async function requireUninvolved(
  tables: Tables,
  register: RegisterView,
  notice: PlacedNotice,
  actor: Actor,
): Promise<void> {
  const { officers, keys } = await findParticipants(tables, register, notice);
  const own = notice.verified.authority.officers.find(({ id }) => id === actor.id);
  if (!officers.has(actor.id) && (own === undefined || !keys.has(own.publicKey))) return;
  throw new WartaError(
    'appeal-conflict',
    `${actor.id} took part in the notice (drafted, approved or signed it or a variation of it): someone else must hear the appeal`,
  );
}
