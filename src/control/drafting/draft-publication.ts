import { WartaError } from '../../base/errors.ts';
import { RELEASE_TYPES } from '../../register/authorities.ts';
import { composeCanonical } from '../../register/canonical.ts';
import { PAYLOAD_TYPE } from '../../register/envelope.ts';
import { checkStatement, checkTargets, isNotice, requiredSignatures } from '../../register/verify-statement.ts';
import type { DraftRecord, PublicationRecord } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';
import { requireState } from './draft-access.ts';
import { findWithEntries } from './draft-approval.ts';
import type { Readiness } from './draft-preflight.ts';
import type { Step } from './draft-record.ts';
import { addSignatures, type GivenEnvelope, type GivenSignature, takeApart } from './draft-signatures.ts';

/**
 * Attaches signatures to an approved draft.
 *
 * @throws {WartaError} `draft-state`, `signature-invalid`, `signature-repeated`, `signer-ineligible`.
 */
export function attachSignatures(
  { tables, nowSeconds }: Step,
  draft: DraftRecord,
  given: GivenSignature | GivenEnvelope,
  { trust }: Readiness,
): Promise<DraftRecord> {
  requireState(draft, 'signed', 'approved');
  const parts = takeApart(given, draft.payload!);
  const signatures = addSignatures(draft, parts, trust.authorities, nowSeconds);
  return tables.drafts.update(draft.id, { signatures, updatedSeconds: nowSeconds }, draft.version);
}

/** Signatures that a draft needs under what is in force; `undefined` when its authority is not pinned any more. */
export function signaturesNeeded({ type, authority }: DraftRecord, { trust }: Readiness): number | undefined {
  const known = trust.authorities.byId.get(authority);
  return known && requiredSignatures(type, known, trust.pack);
}

/**
 * Hands a signed draft over to the sequencer, if the log would take it now.
 *
 * @throws {WartaError} `draft-state`, the code of what makes the statement void, `statement-replayed`, `trust-expired`.
 */
export async function publishDraft(
  { tables, nowSeconds }: Step,
  draft: DraftRecord,
  { trust }: Readiness,
  register: RegisterView,
): Promise<DraftRecord> {
  requireState(draft, 'published', 'approved');
  const id = draft.statementId!;
  const envelope = composeEnvelope(draft);
  const verified = checkStatement({ name: id, envelope, integratedAtSeconds: nowSeconds }, trust);
  checkTargets(verified, (target) => findWithEntries(register, target));
  if (isNotice(verified) && verified.endSeconds <= nowSeconds) {
    throw new WartaError('draft-state', 'its term has ended before it was published: return it and give new dates');
  }
  if (register.find(id) !== undefined)
    throw new WartaError('statement-replayed', `the log has statement ${id} already`);
  if (trust.expired && !RELEASE_TYPES.has(draft.type)) {
    throw new WartaError('trust-expired', `the TUF metadata has lapsed: sign a new timestamp before a ${draft.type}`);
  }
  const publication: PublicationRecord = {
    id,
    draftId: draft.id,
    envelope,
    annexDigest: draft.annexDigest,
    state: 'queued',
    attempts: 0,
    queuedSeconds: nowSeconds,
    nextAttemptSeconds: nowSeconds,
  };
  await tables.publications.insert(publication);
  return tables.drafts.update(draft.id, { state: 'queued', updatedSeconds: nowSeconds }, draft.version);
}

/** The envelope of a draft's bytes and signatures. */
function composeEnvelope({ payload, signatures }: DraftRecord): Buffer {
  return composeCanonical({
    payloadType: PAYLOAD_TYPE,
    payload: Buffer.from(payload!).toString('base64'),
    signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig })),
  });
}
