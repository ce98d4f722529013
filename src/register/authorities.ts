import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { WartaError } from '../base/errors.ts';
import { digest, instant, parseWith, slug, text } from './fields.ts';
import { secondsOf } from './time.ts';

/** Every type of statement. */
export const STATEMENT_TYPES = [
  'notice',
  'stay',
  'resumption',
  'variation',
  'revocation',
  'exemption',
  'halt',
  'heartbeat',
] as const;

/** A type of statement. */
export type StatementType = (typeof STATEMENT_TYPES)[number];

/** The types that only ever take a block away; they may need fewer signatures than a notice. */
export const RELEASE_TYPES: ReadonlySet<StatementType> = new Set([
  'stay',
  'variation',
  'revocation',
  'exemption',
  'halt',
]);

/** What each role may sign at most. A case officer drafts and signs nothing. */
const ROLE_SIGNS: Record<'case-officer' | 'approving-officer' | 'appeals-reviewer', ReadonlySet<StatementType>> = {
  'case-officer': new Set(),
  'approving-officer': new Set(STATEMENT_TYPES),
  'appeals-reviewer': RELEASE_TYPES,
};

const threshold = z.int().min(1).max(16);
const publicKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/, 'expected a raw 32-byte Ed25519 key in base64');

/** `may` narrows what the role may sign; it never widens it. */
const officerSchema = z.strictObject({
  id: slug,
  name: text(200),
  role: z.enum(['case-officer', 'approving-officer', 'appeals-reviewer']),
  publicKey,
  validFrom: instant,
  validUntil: instant,
  revokedAt: instant.optional(),
  may: z.array(z.enum(STATEMENT_TYPES)).optional(),
});

const authoritySchema = z.strictObject({
  id: slug,
  name: text(200),
  categories: z.array(slug).max(64),
  instruments: z.array(slug).max(64),
  scopes: z.array(z.enum(['exact', 'subtree', 'url'])).optional(),
  mayRelease: z.array(slug).max(64).optional(),
  thresholds: z.strictObject({ notice: threshold, release: threshold }),
  officers: z.array(officerSchema).max(256),
});

/** `log`, `witnesses` and `quorum` belong to the network log and are carried for it. */
const authoritiesSchema = z.strictObject({
  version: z.int().min(1),
  policyPack: z.strictObject({ id: slug, sha256: digest }),
  authorities: z.array(authoritySchema).min(1).max(256),
  log: z.strictObject({ origin: text(200), publicKey }).optional(),
  witnesses: z
    .array(z.strictObject({ name: text(200), publicKey }))
    .max(64)
    .optional(),
  quorum: z.int().min(0).max(64).optional(),
});

/** The text of authorities.json as JSON. */
export type AuthoritiesFile = z.output<typeof authoritiesSchema>;

/** One officer with the imported key and the bounds of its validity in seconds (`validFrom <= t < validUntil`). */
export interface Officer {
  readonly id: string;
  readonly role: keyof typeof ROLE_SIGNS;
  /** Base64 of the raw key: what "distinct" is counted by. */
  readonly publicKey: string;
  readonly key: KeyObject;
  readonly validFromSeconds: number;
  readonly validUntilSeconds: number;
  readonly signs: ReadonlySet<StatementType>;
}

/** One authority, ready to judge statements by. */
export interface Authority {
  readonly id: string;
  readonly name: string;
  readonly categories: ReadonlySet<string>;
  readonly instruments: ReadonlySet<string>;
  readonly scopes: ReadonlySet<string>;
  /** Authorities whose notices this one may change by a release: itself and those it was given. */
  readonly mayRelease: ReadonlySet<string>;
  readonly thresholds: { readonly notice: number; readonly release: number };
  readonly officers: readonly Officer[];
}

/** The pinned authorities: who may sign what, under which policy pack. */
export interface Authorities {
  readonly version: number;
  readonly policyPack: { readonly id: string; readonly sha256: string };
  readonly byId: ReadonlyMap<string, Authority>;
  readonly file: AuthoritiesFile;
}

/**
 * Parses authorities.json. With `packSha256`, also requires that it pins that policy pack: rules of one law must never be
 * judged by the pack of another.
 *
 * @throws {WartaError} `authorities-invalid`, naming the key.
 */
export function parseAuthorities(json: string, packSha256?: string): Authorities {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new WartaError('authorities-invalid', 'authorities.json is not JSON', { cause });
  }
  const file = parseWith(authoritiesSchema, value, 'authorities-invalid', 'authorities.json');
  if (packSha256 !== undefined && packSha256 !== file.policyPack.sha256) {
    throw new WartaError(
      'authorities-invalid',
      `authorities.json: policyPack.sha256: pins another policy pack; install ${file.policyPack.id} with that digest`,
    );
  }
  const byId = new Map(file.authorities.map((authority) => [authority.id, importAuthority(authority)]));
  if (byId.size !== file.authorities.length) {
    throw new WartaError('authorities-invalid', 'authorities.json: authorities: two have the same id');
  }
  return { version: file.version, policyPack: file.policyPack, byId, file };
}

/** Prepares one authority: sets for look-ups, keys imported once. */
function importAuthority(source: z.output<typeof authoritySchema>): Authority {
  const officers = source.officers.map((officer) => importOfficer(officer, source.id));
  if (new Set(officers.map((officer) => officer.id)).size !== officers.length) {
    throw new WartaError('authorities-invalid', `authorities.json: ${source.id}: two officers have the same id`);
  }
  return {
    id: source.id,
    name: source.name,
    categories: new Set(source.categories),
    instruments: new Set(source.instruments),
    scopes: new Set(source.scopes ?? ['exact', 'subtree', 'url']),
    mayRelease: new Set([source.id, ...(source.mayRelease ?? [])]),
    thresholds: source.thresholds,
    officers,
  };
}

/** Imports an officer's key; a revocation ends the validity early. */
function importOfficer(source: z.output<typeof officerSchema>, authority: string): Officer {
  const until = secondsOf(source.validUntil);
  const revoked = source.revokedAt === undefined ? until : secondsOf(source.revokedAt);
  const signs = ROLE_SIGNS[source.role];
  return {
    id: source.id,
    role: source.role,
    publicKey: source.publicKey,
    key: importPublicKey(source.publicKey, `authorities.json: ${authority}: officer ${source.id}`),
    validFromSeconds: secondsOf(source.validFrom),
    validUntilSeconds: Math.min(until, revoked),
    signs: source.may === undefined ? signs : new Set(source.may.filter((type) => signs.has(type))),
  };
}

/** Imports a raw Ed25519 public key given in base64. */
export function importPublicKey(base64: string, where: string): KeyObject {
  const x = Buffer.from(base64, 'base64').toString('base64url');
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch (cause) {
    throw new WartaError('authorities-invalid', `${where}: publicKey is no Ed25519 key`, { cause });
  }
}
