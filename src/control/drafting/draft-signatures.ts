import { verify } from 'node:crypto';
import { WartaError } from '../../base/errors.ts';
import type { Authorities, Authority, Officer } from '../../register/authorities.ts';
import { RELEASE_TYPES } from '../../register/authorities.ts';
import { composePreAuthentication, PAYLOAD_TYPE } from '../../register/envelope.ts';
import { secondsOf } from '../../register/time.ts';
import { maySign } from '../../register/verify-statement.ts';
import type { DraftRecord } from '../store.ts';

/** A signature as an officer hands it in. */
export interface GivenSignature {
  readonly keyid?: string;
  readonly sig: string;
}

/** A whole envelope, as `warta notice sign` writes it. */
export interface GivenEnvelope {
  readonly payloadType: string;
  readonly payload: string;
  readonly signatures: readonly GivenSignature[];
}

const SIGNATURE_BYTES = 64;

/**
 * Returns the signatures that were handed in, for a draft with exactly these bytes to sign.
 *
 * @throws {WartaError} `signature-invalid` when an envelope holds other bytes.
 */
export function takeApart(given: GivenSignature | GivenEnvelope, payload: Uint8Array): readonly GivenSignature[] {
  if (!('payload' in given)) return [given];
  const isSame = given.payload === Buffer.from(payload).toString('base64') && given.payloadType === PAYLOAD_TYPE;
  if (isSame) return given.signatures;
  throw invalid('the envelope holds other bytes than this draft: sign its payload as it is now');
}

/**
 * Returns a draft's signatures with new ones added, each verified over its payload. Those of an envelope that are attached
 * already are passed over, as each officer adds to the file of the one before.
 *
 * @throws {WartaError} `signature-invalid`, `signature-repeated`, `signer-ineligible`.
 */
export function addSignatures(
  draft: DraftRecord,
  given: readonly GivenSignature[],
  authorities: Authorities,
  nowSeconds: number,
): DraftRecord['signatures'] {
  const message = composePreAuthentication(PAYLOAD_TYPE, draft.payload!);
  const fresh =
    given.length === 1 ? given : given.filter(({ sig }) => !draft.signatures.some((one) => one.sig === sig));
  if (fresh.length === 0)
    throw new WartaError('signature-repeated', 'nothing new: these signatures are attached already');
  const signatures = [...draft.signatures];
  for (const { sig, keyid } of fresh) {
    const { id, publicKey } = findSigner(draft, message, decodeSignature(sig), authorities, nowSeconds);
    if (signatures.some((one) => one.publicKey === publicKey)) {
      throw new WartaError('signature-repeated', `the key of ${id} has signed already: a key counts once`);
    }
    signatures.push({ keyid: keyid ?? publicKey, sig, officer: id, publicKey });
  }
  return signatures;
}

/** Decodes a signature in its one spelling. */
function decodeSignature(sig: string): Buffer {
  const bytes = Buffer.from(sig, 'base64');
  if (bytes.length === SIGNATURE_BYTES && bytes.toString('base64') === sig) return bytes;
  throw invalid('sig is no Ed25519 signature in base64');
}

/** Returns the officer who made a signature and may. */
function findSigner(
  draft: DraftRecord,
  message: Buffer,
  signature: Buffer,
  authorities: Authorities,
  nowSeconds: number,
): Officer {
  const signed = ({ key }: Officer) => verify(null, message, key, signature);
  const authority = authorities.byId.get(draft.authority);
  const signers = authority?.officers.filter(signed) ?? [];
  if (authority === undefined || signers.length === 0) {
    const other = [...authorities.byId.values()].find(({ officers }) => officers.some(signed));
    if (other !== undefined) throw ineligible(`it is by an officer of ${other.id}, not of ${draft.authority}`);
    throw invalid(
      `it is a signature over other bytes, or by a key that no officer of ${draft.authority} has: sign the payload as it is`,
    );
  }
  const drafterKey = RELEASE_TYPES.has(draft.type) ? undefined : keyOf(authority, draft.draftedBy);
  const faults = signers.map((officer) => findFault(officer, draft, authorities, drafterKey, nowSeconds));
  const good = faults.indexOf(undefined);
  if (good >= 0) return signers[good]!;
  throw ineligible(faults[0]!);
}

/** Returns why the signature of an officer does not count, if it does not. */
function findFault(
  officer: Officer,
  { type, authority, draftedBy }: DraftRecord,
  authorities: Authorities,
  drafterKey: string | undefined,
  nowSeconds: number,
): string | undefined {
  const { id, publicKey } = officer;
  if (publicKey === drafterKey) return `the key is that of ${draftedBy}, who drafted it: another officer signs`;
  if (maySign(officer, type, nowSeconds)) return undefined;
  if (!officer.signs.has(type)) return `${id} (${officer.role}) may not sign a ${type}`;
  if (nowSeconds < officer.validFromSeconds) return `the key of ${id} is not valid yet`;
  const isRevoked = isRevokedAt(authorities, authority, id, nowSeconds);
  return `the key of ${id} ${isRevoked ? 'is revoked' : 'has expired'}: authorities.json needs a new one`;
}

function isRevokedAt(authorities: Authorities, authority: string, officer: string, nowSeconds: number): boolean {
  const source = authorities.file.authorities.find(({ id }) => id === authority);
  const revokedAt = source?.officers.find(({ id }) => id === officer)?.revokedAt;
  return revokedAt !== undefined && secondsOf(revokedAt) <= nowSeconds;
}

/** The public key of an officer; `undefined` for who is none. */
export function keyOf(authority: Authority | undefined, id: string): string | undefined {
  return authority?.officers.find((officer) => officer.id === id)?.publicKey;
}

function invalid(reason: string): WartaError {
  return new WartaError('signature-invalid', reason);
}

function ineligible(reason: string): WartaError {
  return new WartaError('signer-ineligible', reason);
}
