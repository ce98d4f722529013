import { createPublicKey, hash, type KeyObject, sign } from 'node:crypto';
import { canonicalize } from '@tufjs/canonical-json';
import { Key, Signature } from '@tufjs/models';
import type { MetadataOf, TrustRole } from './metadata.ts';

/** Returns the key id TUF §4.2 prescribes: SHA-256 of the key's canonical JSON. */
export function keyIdOf(key: Key): string {
  return hash('sha256', canonicalize(key.toJSON()), 'hex');
}

/** Returns the TUF key of an Ed25519 key, of a private one its public half. */
export function trustKeyOf(key: KeyObject): Key {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return composeKey(Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url'));
}

/** Returns the TUF key of a raw 32-byte Ed25519 public key. */
export function composeKey(raw: Uint8Array): Key {
  const keyVal = { public: Buffer.from(raw).toString('hex') };
  const unnamed = new Key({ keyID: '', keyType: 'ed25519', scheme: 'ed25519', keyVal });
  return Key.fromJSON(keyIdOf(unnamed), unnamed.toJSON());
}

/** Adds a private key's signature; a second one by the same key replaces the first. */
export function signMetadata(metadata: MetadataOf[TrustRole], privateKey: KeyObject): void {
  const { keyID } = trustKeyOf(privateKey);
  metadata.sign((bytes) => new Signature({ keyID, sig: sign(null, bytes, privateKey).toString('hex') }));
}
