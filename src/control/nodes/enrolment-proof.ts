import { type KeyObject, sign, verify } from 'node:crypto';
import { WartaError } from '../../base/errors.ts';
import { importPublicKey } from '../../register/authorities.ts';

/** A node's key signs receipts and credentials too: whatever a server gives out as a code, its signature is none of those. */
const CONTEXT = 'warta node enrolment v1\n';

/** Signs an enrolment code with the node's key: proof that whoever enrols a public key has the private one. Base64. */
export function composeEnrolmentProof(code: string, privateKey: KeyObject): string {
  return sign(null, Buffer.from(CONTEXT + code), privateKey).toString('base64');
}

/**
 * Verifies such a proof. `publicKey` is raw Ed25519 in base64.
 *
 * @throws {WartaError} `enrolment-invalid`.
 */
export function verifyEnrolmentProof(code: string, publicKey: string, proof: string): void {
  const signature = Buffer.from(proof, 'base64');
  const key = importKey(publicKey);
  if (key === undefined || !verify(null, Buffer.from(CONTEXT + code), key, signature)) {
    throw new WartaError(
      'enrolment-invalid',
      'the proof is not a signature of the code by the key that is to be enrolled',
    );
  }
}

function importKey(publicKey: string): KeyObject | undefined {
  try {
    return importPublicKey(publicKey, 'publicKey');
  } catch {
    return undefined;
  }
}
