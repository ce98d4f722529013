import { Metadata, MetadataKind, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { keyIdOf } from './trust-key.ts';

/** The four top-level roles (TUF §2.1). There are no others: a delegation is refused. */
export const TRUST_ROLES = ['root', 'targets', 'snapshot', 'timestamp'] as const;

/** A top-level role. */
export type TrustRole = (typeof TRUST_ROLES)[number];

/** The one target. */
export const AUTHORITIES_FILE = 'authorities.json';

/** Most bytes a file of each kind may have (TUF §5.3.3, §5.4.1, §5.5.1, §5.6.1: an endless file is cut off). */
export const MAX_BYTES = {
  root: 64 * 1024,
  targets: 16 * 1024,
  snapshot: 16 * 1024,
  timestamp: 16 * 1024,
  authorities: 4 * 1024 * 1024,
} as const;

/** Metadata of each role as @tufjs/models holds it. */
export interface MetadataOf {
  root: Metadata<Root>;
  targets: Metadata<Targets>;
  snapshot: Metadata<Snapshot>;
  timestamp: Metadata<Timestamp>;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const MAX_KEYS = 64;

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`), `expected ${digits} hex digits`);
const version = z.int().min(1);
const hashes = z.strictObject({ sha256: hex(64) });
const instant = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'expected a time such as 2026-03-01T09:00:00Z')
  .refine((text) => !Number.isNaN(Date.parse(text)), 'no such day');
const role = z.object({
  keyids: z.array(hex(64)).min(1).max(MAX_KEYS),
  threshold: z.int().min(1).max(MAX_KEYS),
});
const key = z.object({
  keytype: z.literal('ed25519'),
  scheme: z.literal('ed25519'),
  keyval: z.strictObject({ public: hex(64) }),
});

/** A file another file names: always with length and hash, so that nothing can be mixed and matched (TUF §1.5.2). */
const metaFile = (maxBytes: number) => z.object({ version, length: z.int().min(1).max(maxBytes), hashes });

/** What each role's file says, beyond the fields that TUF lets a client ignore. Delegations and other targets are refused. */
const SIGNED = {
  root: z.object({
    consistent_snapshot: z.literal(true),
    keys: z.record(hex(64), key),
    roles: z.strictObject({ root: role, targets: role, snapshot: role, timestamp: role }),
  }),
  targets: z.object({
    targets: z.strictObject({
      [AUTHORITIES_FILE]: z.object({ length: z.int().min(1).max(MAX_BYTES.authorities), hashes }),
    }),
    delegations: z.undefined().optional(),
  }),
  snapshot: z.object({ meta: z.strictObject({ 'targets.json': metaFile(MAX_BYTES.targets) }) }),
  timestamp: z.object({ meta: z.strictObject({ 'snapshot.json': metaFile(MAX_BYTES.snapshot) }) }),
};

const common = z.object({ spec_version: z.string().regex(/^1\.\d+(\.\d+)?$/), version, expires: instant });
const signatures = z.array(z.object({ keyid: hex(64), sig: hex(128) })).max(2 * MAX_KEYS);

/**
 * Parses metadata of a role strictly (TUF §4), before any signature is looked at: bounded, UTF-8, Ed25519 keys only, the
 * four roles only, one target. `name` is what messages call the file.
 *
 * A root is refused when a key id is not the hash of its key (§4.2), or when one public key stands under two key ids: else
 * one stolen key would meet a threshold of two (tuf-js 6.0.2 counts key ids).
 *
 * @throws {WartaError} `trust-invalid`, naming the file and the key.
 */
export function parseMetadata<R extends TrustRole>(role: R, bytes: Uint8Array, name = `${role}.json`): MetadataOf[R] {
  if (bytes.length > MAX_BYTES[role]) {
    throw new WartaError('trust-invalid', `${name} has ${bytes.length} bytes, ${MAX_BYTES[role]} at most`);
  }
  const value = parseJson(bytes, name);
  check(z.object({ signatures, signed: common.and(SIGNED[role]) }), value, name);
  try {
    const metadata = Metadata.fromJSON(role as MetadataKind.Root, value as never) as MetadataOf['root'];
    if (role === MetadataKind.Root) checkKeys(metadata.signed, name);
    return metadata as MetadataOf[R];
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    throw new WartaError('trust-invalid', `${name}: ${describeError(cause)}`, { cause });
  }
}

/**
 * Decodes UTF-8 strictly.
 *
 * @throws {WartaError} `trust-invalid`.
 */
export function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new WartaError('trust-invalid', `${name} is not UTF-8`, { cause });
  }
}

function parseJson(bytes: Uint8Array, name: string): unknown {
  const text = decodeUtf8(bytes, name);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WartaError('trust-invalid', `${name} is not JSON`, { cause });
  }
}

function check(schema: z.ZodType, value: unknown, name: string): void {
  const result = schema.safeParse(value);
  if (result.success) return;
  const { path, message } = result.error.issues[0];
  throw new WartaError('trust-invalid', `${name}: ${path.map(String).join('.') || 'top level'}: ${message}`);
}

/** Checks what a schema cannot: key ids against keys, keys against each other, thresholds against both. */
function checkKeys({ keys, roles }: Root, name: string): void {
  for (const [id, key] of Object.entries(keys)) {
    if (keyIdOf(key) !== id) throw new WartaError('trust-invalid', `${name}: key id ${id} is not the hash of its key`);
  }
  const publicKeys = Object.values(keys).map((key) => key.keyVal.public);
  if (new Set(publicKeys).size !== publicKeys.length) {
    throw new WartaError('trust-invalid', `${name}: one public key stands under two key ids, it may count only once`);
  }
  for (const [roleName, { keyIDs, threshold }] of Object.entries(roles)) {
    if (keyIDs.some((id) => !Object.hasOwn(keys, id)) || threshold > keyIDs.length) {
      throw new WartaError(
        'trust-invalid',
        `${name}: the role ${roleName} has fewer keys than its threshold or unknown ones`,
      );
    }
  }
}

/** Returns the end of the metadata's validity in seconds. */
export function expiresSecondsOf({ signed }: MetadataOf[TrustRole]): number {
  return Date.parse(signed.expires) / 1000;
}

/** Composes metadata as it is served. */
export function composeMetadata(metadata: MetadataOf[TrustRole]): Buffer {
  return Buffer.from(`${JSON.stringify(metadata.toJSON(), null, 1)}\n`);
}
