import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { WartaError } from '../base/errors.ts';
import type { Officer } from './authorities.ts';
import { composeCanonical, decodeUtf8 } from './canonical.ts';
import { describeIssue } from './fields.ts';
import { STATEMENT_MAX_BYTES } from './statement.ts';

/** The only payload type a node accepts, so that a signature given for anything else is never taken for a statement. */
export const PAYLOAD_TYPE = 'application/vnd.warta.statement+json';

const envelopeSchema = z.strictObject({
  payloadType: z.string().max(200),
  payload: z.string().max(STATEMENT_MAX_BYTES),
  signatures: z.array(z.strictObject({ keyid: z.string().max(200).optional(), sig: z.string().max(200) })).max(16),
});

/** A signature, and the key id beside it: a claim of whoever wrote the envelope, good for guessing whom to try first. */
export interface Signature {
  readonly bytes: Buffer;
  readonly hint?: string;
}

/** Signatures of this very envelope that were verified before. */
export interface KnownSignatures {
  /** Whether the signature was found to be by this key (raw, base64). */
  isBy(signature: Signature, publicKey: string): boolean;
}

/** A DSSE envelope, decoded: the exact bytes that were signed, and the signatures. */
export interface Envelope {
  readonly payload: Buffer;
  readonly signatures: readonly Signature[];
}

/** Returns DSSE's pre-authentication encoding: the bytes that are signed (DSSE protocol v1). Lengths are in bytes. */
export function composePreAuthentication(payloadType: string, payload: Uint8Array): Buffer {
  const header = Buffer.from(`DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `);
  return Buffer.concat([header, payload]);
}

/**
 * Parses an envelope file without judging its signatures. The envelope itself need not be canonical, as nothing in it
 * but the payload is ever used; a key id is a hint and decides nothing.
 *
 * @throws {WartaError} `statement-oversized` above 64 KiB, `statement-malformed` for anything else.
 */
export function parseEnvelope(bytes: Uint8Array): Envelope {
  if (bytes.length > STATEMENT_MAX_BYTES) {
    throw new WartaError(
      'statement-oversized',
      `the envelope has ${bytes.length} bytes, ${STATEMENT_MAX_BYTES} at most`,
    );
  }
  const envelope = envelopeSchema.safeParse(parseJson(bytes));
  if (!envelope.success) {
    const { key, message } = describeIssue(envelope.error.issues[0]);
    throw new WartaError('statement-malformed', `no DSSE envelope: ${key}: ${message}`);
  }
  const { payloadType, payload, signatures } = envelope.data;
  if (payloadType !== PAYLOAD_TYPE) {
    throw new WartaError('statement-malformed', `payloadType is not ${PAYLOAD_TYPE}: not a statement`);
  }
  return {
    payload: decodeBase64(payload, 'payload'),
    signatures: signatures.map(({ sig, keyid }) => ({ bytes: decodeBase64(sig, 'sig'), hint: keyid })),
  };
}

/** Parses JSON in strict UTF-8; `undefined` when it is none, which no schema accepts. */
function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes) ?? '');
  } catch {
    return undefined;
  }
}

/** Decodes standard base64 in its one canonical spelling; Node's own decoder skips what it does not know. */
function decodeBase64(text: string, key: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new WartaError('statement-malformed', `${key} is not base64`);
  return bytes;
}

/**
 * Returns the officers whose keys signed the payload, one for each distinct public key: the same key listed for two
 * officers, or used for two signatures, counts once. Candidates must already be those who may sign. Whom the key id names is
 * tried first and all others after: with twenty officers that saves nine of ten verifications, and a false key id costs some.
 * What `known` was asked to verify before is not verified again.
 */
export function findSigners(envelope: Envelope, candidates: readonly Officer[], known?: KnownSignatures): Officer[] {
  let message: Buffer | undefined;
  const verifyHere = ({ key }: Officer, signature: Buffer) => {
    message ??= composePreAuthentication(PAYLOAD_TYPE, envelope.payload);
    return verify(null, message, key, signature);
  };
  const open = new Map(candidates.map((officer) => [officer.publicKey, officer]));
  const signers: Officer[] = [];
  for (const signature of envelope.signatures) {
    for (const officer of hintedFirst([...open.values()], signature.hint)) {
      if (!known?.isBy(signature, officer.publicKey) && !verifyHere(officer, signature.bytes)) continue;
      signers.push(officer);
      open.delete(officer.publicKey);
      break;
    }
  }
  return signers;
}

/** Puts the officers whom a key id seems to name first: by their key, or as `mcmc/one` for officer `one`. */
function hintedFirst(officers: readonly Officer[], hint = ''): readonly Officer[] {
  const isHinted = ({ id, publicKey }: Officer) => hint === publicKey || hint === id || hint.endsWith(`/${id}`);
  const hinted = officers.filter(isHinted);
  return hinted.length === 0 ? officers : [...hinted, ...officers.filter((officer) => !isHinted(officer))];
}

/** A private key and the label its signature carries (a hint for people; no verifier reads it). */
export interface Signer {
  readonly keyId: string;
  readonly privateKey: KeyObject;
}

/**
 * Signs payload bytes and returns the envelope file. With `envelope`, adds the signatures to those already there, so that
 * each officer signs alone with a key the others never see; its payload must be the same bytes.
 */
export function signEnvelope(payload: Uint8Array, signers: readonly Signer[], envelope?: Uint8Array): Buffer {
  const message = composePreAuthentication(PAYLOAD_TYPE, payload);
  const earlier = envelope === undefined ? [] : signaturesOf(envelope, payload);
  const added = signers.map(({ keyId, privateKey }) => ({
    keyid: keyId,
    sig: sign(null, message, privateKey).toString('base64'),
  }));
  const fresh = added.filter(({ sig }) => !earlier.some((one) => one.sig === sig));
  const bytes = composeCanonical({
    payloadType: PAYLOAD_TYPE,
    payload: Buffer.from(payload).toString('base64'),
    signatures: [...earlier, ...fresh],
  });
  if (bytes.length > STATEMENT_MAX_BYTES) {
    throw new WartaError('statement-oversized', `the envelope has ${bytes.length} bytes: shorten the reasons`);
  }
  return bytes;
}

/** Returns the signatures of an envelope over exactly these payload bytes. */
function signaturesOf(envelope: Uint8Array, payload: Uint8Array): { keyid?: string; sig: string }[] {
  if (!parseEnvelope(envelope).payload.equals(payload)) {
    throw new WartaError('statement-malformed', 'the envelope to add a signature to holds another statement');
  }
  return envelopeSchema.parse(parseJson(envelope)).signatures;
}
