import { hash } from 'node:crypto';
import { type Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp } from '@tufjs/models';
import { WartaError } from '../base/errors.ts';
import { AUTHORITIES_FILE, MAX_BYTES, type MetadataOf, TRUST_ROLES, type TrustRole } from './metadata.ts';

/** The version of the specification that this follows. */
const SPEC_VERSION = '1.0.31';
const DAY_SECONDS = 86_400;

/** How many days each role's metadata is valid for. Short ones are signed online, so nobody has to come in for them. */
export const TERM_DAYS: Readonly<Record<TrustRole, number>> = { root: 365, targets: 180, snapshot: 30, timestamp: 7 };

/** Version and end of a piece of metadata. */
export interface Edition {
  readonly version: number;
  readonly expiresSeconds: number;
}

/** Who holds each role and how many of them must sign. */
export interface RoleHolders {
  readonly keys: Readonly<Record<TrustRole, readonly Key[]>>;
  readonly thresholds: Readonly<Record<TrustRole, number>>;
}

/** Returns the end of a term that begins at `nowSeconds`. */
export function endOfTerm(role: TrustRole, nowSeconds: number, termDays?: Partial<Record<TrustRole, number>>): number {
  return Math.floor(nowSeconds + (termDays?.[role] ?? TERM_DAYS[role]) * DAY_SECONDS);
}

/**
 * Composes an unsigned root (TUF §4.3).
 *
 * @throws {WartaError} `trust-invalid` when a threshold cannot be met or a key is listed twice for a role.
 */
export function composeRoot({ keys, thresholds }: RoleHolders, edition: Edition): MetadataOf['root'] {
  const root = new Root({ ...fieldsOf(edition), consistentSnapshot: true });
  for (const role of TRUST_ROLES) {
    const count = new Set(keys[role].map((key) => key.keyID)).size;
    const threshold = thresholds[role];
    if (count < keys[role].length) throw new WartaError('trust-invalid', `the role ${role} lists a key twice`);
    if (!Number.isInteger(threshold) || threshold < 1 || threshold > count) {
      throw new WartaError('trust-invalid', `the role ${role} has ${count} keys, ${threshold} cannot be required`);
    }
    for (const key of keys[role]) root.addKey(key, role);
    Object.assign(root.roles[role], { threshold });
  }
  return new Metadata(root);
}

/** Composes unsigned targets with the one target (TUF §4.5). */
export function composeTargets(authorities: Uint8Array, edition: Edition): MetadataOf['targets'] {
  if (authorities.length > MAX_BYTES.authorities) {
    throw new WartaError('trust-invalid', `${AUTHORITIES_FILE} is larger than ${MAX_BYTES.authorities} bytes`);
  }
  const target = new TargetFile({ path: AUTHORITIES_FILE, length: authorities.length, hashes: hashesOf(authorities) });
  return new Metadata(new Targets({ ...fieldsOf(edition), targets: { [AUTHORITIES_FILE]: target } }));
}

/** Composes an unsigned snapshot that names the targets (TUF §4.4). */
export function composeSnapshot(targets: Uint8Array, version: number, edition: Edition): MetadataOf['snapshot'] {
  return new Metadata(new Snapshot({ ...fieldsOf(edition), meta: { 'targets.json': describeFile(targets, version) } }));
}

/** Composes an unsigned timestamp that names the snapshot (TUF §4.6). */
export function composeTimestamp(snapshot: Uint8Array, version: number, edition: Edition): MetadataOf['timestamp'] {
  return new Metadata(new Timestamp({ ...fieldsOf(edition), snapshotMeta: describeFile(snapshot, version) }));
}

/** Length and hash go with every version, though TUF makes them optional: files of two editions never fit together. */
function describeFile(bytes: Uint8Array, version: number): MetaFile {
  return new MetaFile({ version, length: bytes.length, hashes: hashesOf(bytes) });
}

function hashesOf(bytes: Uint8Array): { sha256: string } {
  return { sha256: hash('sha256', bytes, 'hex') };
}

function fieldsOf({ version, expiresSeconds }: Edition) {
  const expires = `${new Date(expiresSeconds * 1000).toISOString().slice(0, 19)}Z`;
  return { version, specVersion: SPEC_VERSION, expires };
}
