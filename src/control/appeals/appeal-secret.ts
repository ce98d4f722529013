import { hash, timingSafeEqual } from 'node:crypto';

/** Header field that an appellant proves herself with. */
export const SECRET_HEADER = 'appeal-secret';

const SECRET_BYTES = 32;
/** Characters of a reference: no letter that is taken for a digit, or for another when it is read out. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const REFERENCE_LETTERS = 10;

/** Makes the public reference of an appeal: `A-` and 50 random bits, so that it says nothing of how many there are. */
export function createReference(random: (sizeBytes: number) => Uint8Array): string {
  const letters = Array.from(random(REFERENCE_LETTERS), (byte) => ALPHABET[byte & 31]);
  return `A-${letters.slice(0, 5).join('')}-${letters.slice(5).join('')}`;
}

/** Makes the secret that an appellant follows her appeal with. It is shown once; only its hash is kept. */
export function createSecret(random: (sizeBytes: number) => Uint8Array): string {
  return Buffer.from(random(SECRET_BYTES)).toString('base64url');
}

/** SHA-256 of a secret, hexadecimal. No salt: a secret of 256 random bits is in no dictionary. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'hex');
}

/** Whether a secret is the one with that hash; how long it takes tells nothing. */
export function isSecret(given: string, secretHash: string): boolean {
  return timingSafeEqual(Buffer.from(hashSecret(given)), Buffer.from(secretHash));
}
