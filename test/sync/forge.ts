import { hash, type KeyObject, sign } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { canonicalize } from '@tufjs/canonical-json';
import { composeCheckpoint } from '../../src/log/checkpoint.ts';
import { composeNote, createCosigner, createSigner } from '../../src/log/note.ts';
import { createTrustRepository } from '../../src/trust/repository.ts';
import { trustKeyOf } from '../../src/trust/trust-key.ts';
import { seededKey } from '../support/log-register.ts';

/** Metadata as it stands in a file. */
// biome-ignore lint/suspicious/noExplicitAny: a forger sets what no type allows
type Signed = Record<string, any>;

/** Changes TUF metadata and signs it anew with whatever keys the forger has. */
export function forgeMetadata(bytes: Uint8Array, keys: readonly KeyObject[], change: (signed: Signed) => void): Buffer {
  const { signed } = JSON.parse(Buffer.from(bytes).toString()) as { signed: Signed };
  change(signed);
  const text = Buffer.from(canonicalize(signed));
  const signatures = keys.map((key) => ({ keyid: trustKeyOf(key).keyID, sig: sign(null, text, key).toString('hex') }));
  return Buffer.from(JSON.stringify({ signatures, signed }));
}

/** What metadata says of another file. */
export function describeMetadata(bytes: Uint8Array, version: number) {
  return { version, length: bytes.length, hashes: { sha256: hash('sha256', bytes, 'hex') } };
}

/** A witness that signs what the forger wants. */
export interface FalseWitness {
  name: string;
  timeSeconds: number;
}

/** A checkpoint of any size and root, signed with this key in this name, and by these witnesses of `LogRegister`. */
export function forgeCheckpoint(
  head: { origin: string; size: number; root: Uint8Array },
  logKey: KeyObject,
  witnesses: readonly FalseWitness[] = [],
  signsAs = head.origin,
): Buffer {
  const body = composeCheckpoint({ ...head, root: Buffer.from(head.root) });
  const cosignatures = witnesses.map(({ name, timeSeconds }) =>
    createCosigner(name, seededKey(name)).cosign(body, timeSeconds),
  );
  return composeNote(body, [createSigner(signsAs, logKey).sign(body), ...cosignatures]);
}

/** Makes a whole TUF repository of other people's below `folder`, with these authorities. */
export function createForeignTrust(folder: string, authorities: string, nowSeconds: number): void {
  const key = (role: string) => seededKey(`somebody else's ${role}`);
  mkdirSync(dirname(folder), { recursive: true });
  createTrustRepository({
    folder,
    keys: {
      root: [key('root 1'), key('root 2')],
      targets: [key('targets 1'), key('targets 2')],
      snapshot: key('snapshot'),
      timestamp: key('timestamp'),
    },
    thresholds: { root: 2, targets: 2 },
    authorities,
    nowSeconds,
  });
}

/** Reads a file of a served tree. */
export function readServed(folder: string, path: string): Buffer {
  return readFileSync(join(folder, path));
}
