import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { WartaError } from '../base/errors.ts';

/** A new key pair: PKCS#8 PEM to keep secret, raw public key in base64 for authorities.json. */
export interface NewKey {
  readonly privatePem: string;
  readonly publicKey: string;
}

/** Creates an Ed25519 key pair. */
export function createKey(): NewKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKeyOf(privateKey),
  };
}

/** Returns the raw 32-byte public key of a private key in base64. */
export function publicKeyOf(privateKey: KeyObject): string {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  return Buffer.from(x!, 'base64url').toString('base64');
}

/**
 * Writes a private key where no file is yet, readable by its owner alone (0600). A key is never overwritten: a lost one
 * cannot be had back.
 *
 * @throws {WartaError} `key-exists`, or `store-failed` with the cause.
 */
export function writePrivateKey(path: string, privatePem: string): void {
  let file: number;
  try {
    mkdirSync(dirname(path), { recursive: true });
    file = openSync(path, 'wx', 0o600);
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    if (exists) throw new WartaError('key-exists', `${path} exists: choose another name, a key is never overwritten`);
    throw new WartaError('store-failed', `cannot write ${path}: check the folder's owner`, { cause });
  }
  try {
    writeSync(file, privatePem);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Reads a private key that others cannot read.
 *
 * @throws {WartaError} `key-invalid`: unreadable, open to others, or no Ed25519 key.
 */
export function readPrivateKey(path: string): KeyObject {
  let key: KeyObject;
  try {
    const othersMay = statSync(path).mode & 0o077;
    if (othersMay !== 0) throw new WartaError('key-invalid', `${path} is open to others: chmod 600 it`);
    key = createPrivateKey(readFileSync(path));
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    throw new WartaError('key-invalid', `${path} is no readable private key (PKCS#8 PEM)`, { cause });
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new WartaError('key-invalid', `${path} is no Ed25519 key`);
  return key;
}
