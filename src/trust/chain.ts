import { hash } from 'node:crypto';
import { describeError, WartaError } from '../base/errors.ts';
import {
  AUTHORITIES_FILE,
  expiresSecondsOf,
  type MetadataOf,
  parseMetadata,
  TRUST_ROLES,
  type TrustRole,
} from './metadata.ts';

/** Returns the bytes of a file, `undefined` when there is none. */
export type FileLookup = (name: string) => Uint8Array | undefined;

/** The roots that follow from the pinned one, oldest first. */
export interface RootChain {
  readonly roots: readonly MetadataOf['root'][];
  /** The bytes of each, the pinned one too, by `<version>.root.json`. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** Why the file that came next is no root. */
  readonly fault?: WartaError;
}

/** Verified metadata of every role, and what it says of the one target. */
export interface TrustSet extends MetadataOf {
  readonly target: { readonly sizeBytes: number; readonly sha256: string };
}

/** Returns the file name of a root. */
export function rootFileOf(version: number): string {
  return `${version}.root.json`;
}

/**
 * Replays every root from the pinned one (TUF §5.3): each is signed by the threshold of the one before and by its own, and
 * its version is one higher. Stops at the first that is missing or, with `fault`, at the first that is not valid.
 *
 * @throws {WartaError} `trust-invalid` when the pinned root itself is not valid.
 */
export function replayRoots(pinnedRoot: Uint8Array, find: FileLookup): RootChain {
  let root = parseMetadata('root', pinnedRoot, 'the pinned root');
  verifySigned(root, 'root', root, 'the pinned root');
  const roots = [root];
  const files = new Map([[rootFileOf(root.signed.version), Buffer.from(pinnedRoot)]]);
  for (;;) {
    const name = rootFileOf(root.signed.version + 1);
    const bytes = find(name);
    if (bytes === undefined) return { roots, files };
    try {
      root = verifyRoot(root, bytes, name);
    } catch (fault) {
      return { roots, files, fault: fault as WartaError };
    }
    roots.push(root);
    files.set(name, Buffer.from(bytes));
  }
}

/**
 * Verifies the root that follows `root` (TUF §5.3.4, §5.3.5).
 *
 * @throws {WartaError} `trust-invalid`.
 */
export function verifyRoot(root: MetadataOf['root'], bytes: Uint8Array, name: string): MetadataOf['root'] {
  const next = parseMetadata('root', bytes, name);
  verifySigned(root, 'root', next, name);
  if (next.signed.version !== root.signed.version + 1) {
    throw new WartaError('trust-invalid', `${name} says it is version ${next.signed.version}`);
  }
  verifySigned(next, 'root', next, name);
  return next;
}

/**
 * Verifies timestamp, snapshot and targets under one root: signatures, versions, lengths and hashes (TUF §5.4 to §5.6), but
 * not expiry, which `requireFresh` judges.
 *
 * @throws {WartaError} `trust-invalid`, naming the file.
 */
export function verifySet(root: MetadataOf['root'], find: FileLookup): TrustSet {
  const timestamp = verifyRole(root, 'timestamp', find);
  const snapshot = verifyRole(root, 'snapshot', find, timestamp.signed.snapshotMeta);
  const targets = verifyRole(root, 'targets', find, snapshot.signed.meta['targets.json']);
  const { length, hashes } = targets.signed.targets[AUTHORITIES_FILE];
  return { root, timestamp, snapshot, targets, target: { sizeBytes: length, sha256: hashes.sha256 } };
}

/**
 * As `verifySet`, under the newest root that the files verify under. Files kept from before a root that changed the keys
 * stay readable so, until those that follow it have been fetched.
 *
 * @throws {WartaError} `trust-invalid`: what is wrong under the newest root.
 */
export function findSet(roots: readonly MetadataOf['root'][], find: FileLookup): TrustSet {
  let first: unknown;
  for (const root of roots.toReversed()) {
    try {
      return verifySet(root, find);
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

/** What one file says of the next. */
interface Expected {
  readonly version: number;
  verify(bytes: Buffer): void;
}

function verifyRole<R extends TrustRole>(
  root: MetadataOf['root'],
  role: R,
  find: FileLookup,
  expected?: Expected,
): MetadataOf[R] {
  const name = `${role}.json`;
  const bytes = find(name);
  if (bytes === undefined) throw new WartaError('trust-invalid', `${name} is missing: refresh from a mirror`);
  const metadata = parseMetadata(role, bytes);
  verifySigned(root, role, metadata, name);
  if (expected === undefined) return metadata;
  try {
    expected.verify(Buffer.from(bytes));
  } catch (cause) {
    throw new WartaError('trust-invalid', `${name} is not the one announced: ${describeError(cause)}`, { cause });
  }
  if (metadata.signed.version !== expected.version) {
    throw new WartaError('trust-invalid', `${name} has version ${metadata.signed.version}, not ${expected.version}`);
  }
  return metadata;
}

/**
 * Requires the threshold of signatures of a role. Its keys are distinct, since `parseMetadata` refuses a root where they
 * are not.
 *
 * @throws {WartaError} `trust-invalid`.
 */
export function verifySigned(
  root: MetadataOf['root'],
  role: TrustRole,
  metadata: MetadataOf[TrustRole],
  name: string,
): void {
  try {
    root.verifyDelegate(role, metadata);
  } catch (cause) {
    const what = `${name} is below the threshold of root ${root.signed.version}`;
    throw new WartaError('trust-invalid', `${what}: ${describeError(cause)}`, { cause });
  }
}

/** Whether `bytes` are the target that `set` names (TUF §5.7.2). */
export function isTarget(bytes: Uint8Array, { target }: TrustSet): boolean {
  return bytes.length === target.sizeBytes && hash('sha256', bytes, 'hex') === target.sha256;
}

/** Returns the end of each role's validity in seconds. */
export function expiriesOf(metadata: MetadataOf): Record<TrustRole, number> {
  const [root, targets, snapshot, timestamp] = TRUST_ROLES.map((role) => expiresSecondsOf(metadata[role]));
  return { root, targets, snapshot, timestamp };
}

/**
 * Requires that every role is valid at a time (TUF §5.3.10, §5.4.4, §5.5.6, §5.6.5: an indefinite freeze is noticed).
 *
 * @throws {WartaError} `trust-expired`, naming the roles.
 */
export function requireFresh(metadata: MetadataOf, nowSeconds: number): void {
  const expired = TRUST_ROLES.filter((role) => expiresSecondsOf(metadata[role]) <= nowSeconds);
  if (expired.length === 0) return;
  const list = expired.map((role) => `${role}.json (${metadata[role].signed.expires})`).join(', ');
  throw new WartaError('trust-expired', `expired: ${list}; its publisher must sign it anew, or the mirror is stale`);
}
