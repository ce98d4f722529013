import { WartaError } from '../../base/errors.ts';
import type { Actor } from '../access/roles.ts';
import { createRecordId } from '../record-id.ts';
import type { ControlServices } from '../services.ts';
import type { DraftRecord, Json, Tables } from '../store.ts';
import { authorityOf, requireDrafter, requireState, SYSTEM } from './draft-access.ts';
import type { DraftInput, DraftType } from './draft-body.ts';

/** Who does a step, when, and on what records. */
export interface Step {
  readonly actor: Actor;
  readonly nowSeconds: number;
  readonly tables: Tables;
}

/** What a draft starts as. `body` may hold `authority` and `reference`, as the statement will. */
export interface NewDraft {
  readonly type: DraftType;
  readonly body: { readonly [key: string]: Json };
  readonly appealReference?: string | null;
  readonly sealed?: boolean;
}

/** States in which a reference is taken by the draft that has it. */
const LIVE = ['draft', 'proposed', 'approved', 'queued', 'published', 'refused'] as const;

/**
 * Makes a draft of a statement of the actor's authority. One by the server itself stands before its approver at once.
 *
 * @throws {WartaError} `conflict` when another draft of the type has the reference, `forbidden` for who has no authority.
 */
export async function createDraft(
  tables: Tables,
  services: Pick<ControlServices, 'clock' | 'random'>,
  actor: Actor,
  { type, body: given, appealReference = null, sealed = false }: NewDraft,
): Promise<DraftRecord> {
  const { authority: _, reference, ...body } = given;
  const nowMillis = services.clock.wallMillis();
  const nowSeconds = Math.floor(nowMillis / 1000);
  const authority = authorityOf(actor);
  await requireFreeReference(tables, type, authority, String(reference));
  const draft: DraftRecord = {
    id: createRecordId(nowMillis, services.random),
    type,
    authority,
    reference: String(reference),
    state: actor.id === SYSTEM ? 'proposed' : 'draft',
    body,
    draftedBy: actor.id,
    approvals: [],
    overrides: [],
    preflight: null,
    annexDigest: null,
    sealed,
    payload: null,
    statementId: null,
    signatures: [],
    appealReference,
    leafIndex: null,
    integratedSeconds: null,
    refusal: null,
    createdSeconds: nowSeconds,
    updatedSeconds: nowSeconds,
    version: 1,
  };
  await tables.drafts.insert(draft);
  return draft;
}

/**
 * Returns the first free reference of a stem and a number. For drafts whose reference nobody chooses: that somebody took it
 * must not keep them from being made.
 */
export async function findFreeReference(
  tables: Tables,
  type: DraftType,
  authority: string,
  stem: string,
  first = 1,
): Promise<string> {
  let number = first;
  while (await isReferenceTaken(tables, type, authority, `${stem}${number}`)) number++;
  return `${stem}${number}`;
}

async function isReferenceTaken(tables: Tables, type: DraftType, authority: string, reference: string) {
  return (await tables.drafts.count({ type, authority, reference, state: { in: LIVE } })) > 0;
}

async function requireFreeReference(tables: Tables, type: DraftType, authority: string, reference: string) {
  if (!(await isReferenceTaken(tables, type, authority, reference))) return;
  throw new WartaError('conflict', `another draft of a ${type} has the reference ${reference}: choose another`);
}

/**
 * Changes what a draft says: each key of `body` replaces the one that was there, null takes it out. What the pre-flight
 * found, and what was overridden on the strength of it, is no longer so.
 *
 * @throws {WartaError} `draft-state`, `forbidden`, `conflict`.
 */
export async function editDraft(
  { tables, actor, nowSeconds }: Step,
  draft: DraftRecord,
  { reference = draft.reference, sealed = draft.sealed, body }: DraftInput,
): Promise<DraftRecord> {
  requireDrafter(actor, draft);
  requireState(draft, 'edited', 'draft');
  if (reference !== draft.reference) {
    await requireFreeReference(tables, draft.type as DraftType, draft.authority, reference);
  }
  const merged = Object.entries({ ...draft.body, ...body }).filter(([, value]) => value !== null);
  const changes = {
    reference,
    sealed,
    body: Object.fromEntries(merged),
    draftedBy: actor.id,
    preflight: null,
    overrides: [],
  };
  return tables.drafts.update(draft.id, { ...changes, updatedSeconds: nowSeconds }, draft.version);
}

/**
 * Ends a draft. Its annex goes with it: the salts of names that were never published are nobody's business.
 *
 * @throws {WartaError} `draft-state`, `forbidden`.
 */
export async function withdrawDraft(step: Step, draft: DraftRecord): Promise<DraftRecord> {
  const { tables, actor, nowSeconds } = step;
  if (!actor.roles.has('approving-officer')) requireDrafter(actor, draft);
  requireState(draft, 'withdrawn', 'draft', 'proposed', 'approved', 'refused');
  const changes = { state: 'withdrawn', annexDigest: null, updatedSeconds: nowSeconds } as const;
  const withdrawn = await tables.drafts.update(draft.id, changes, draft.version);
  await removeAnnex(tables, draft.annexDigest);
  return withdrawn;
}

/** Removes an annex that no draft and no publication needs any more. */
export async function removeAnnex(tables: Tables, digest: string | null): Promise<void> {
  if (digest === null) return;
  const uses = [tables.drafts.count({ annexDigest: digest }), tables.publications.count({ annexDigest: digest })];
  const counts = await Promise.all(uses);
  if (counts.every((count) => count === 0)) await tables.annexes.remove(digest);
}
