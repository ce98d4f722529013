import type { KeyObject } from 'node:crypto';
import { basename, dirname } from 'node:path';
import type { Key } from '@tufjs/models';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { type OfflineRole, readDraft, readDraftFile, readDraftText, roleOf, type TrustDraft } from './draft.ts';
import { composeMetadata, type MetadataOf } from './metadata.ts';
import { hasSameContent, type Publication, type PublishOptions, publishChange } from './publish.ts';
import { hasSameHolders } from './repository.ts';
import { signMetadata, trustKeyOf } from './trust-key.ts';

/** Whose signatures one root asks for, and which of them are there. */
export interface Requirement {
  readonly rootVersion: number;
  readonly threshold: number;
  readonly signed: readonly Key[];
  readonly open: readonly Key[];
  /**
   * False for targets keys that a new root replaces: with them the tree can be served at every instant of publishing, but
   * publishing does not wait for a key that is lost.
   */
  readonly isNeeded: boolean;
}

/** Returns how many signatures a requirement still lacks. */
export function lackOf({ threshold, signed }: Requirement): number {
  return Math.max(0, threshold - signed.length);
}

/**
 * Returns whose signatures a file of a draft needs: a root those of the root before it and its own (TUF §5.3.4, §5.3.5),
 * targets those of the newest root. Empty when the draft has no such file.
 */
export function requirementsOf(draft: TrustDraft, role: OfflineRole): Requirement[] {
  const file = draft[role];
  if (file === undefined) return [];
  const before = draft.published?.root;
  const newest = draft.root?.metadata ?? before!;
  const own = describeRequirement(newest, role, file.metadata, true);
  if (!before || newest === before || hasSameHolders(role, newest, before)) return [own];
  return [describeRequirement(before, role, file.metadata, role === 'root'), own];
}

function describeRequirement(
  root: MetadataOf['root'],
  role: OfflineRole,
  metadata: MetadataOf[OfflineRole],
  isNeeded: boolean,
): Requirement {
  const { keyIDs, threshold } = root.signed.roles[role];
  const keys = keyIDs.map((id) => root.signed.keys[id]);
  const signed = keys.filter((key) => hasSigned(key, metadata));
  const open = keys.filter((key) => !signed.includes(key));
  return { rootVersion: root.signed.version, threshold, signed, open, isNeeded };
}

function hasSigned(key: Key, metadata: MetadataOf[OfflineRole]): boolean {
  try {
    key.verifySignature(metadata);
    return true;
  } catch {
    return false;
  }
}

/**
 * Adds signatures to a file of a draft: those of `signers`, and those that other holders gave to copies of it. Signatures
 * that count for nothing are dropped.
 *
 * @throws {WartaError} `key-invalid`: a signer holds no such role; `trust-invalid`: not a file of a draft, or a copy that
 * says something else; `store-failed`.
 */
export function signDraftFile(path: string, signers: readonly KeyObject[], copies: readonly string[]): Requirement[] {
  const role = roleOf(basename(path));
  const draft = readDraft(dirname(path));
  const file = role && draft[role];
  if (role === undefined || file === undefined) {
    throw new WartaError('trust-invalid', `${path} is no file to sign: name the root or the targets of a draft`);
  }
  readDraftText(draft);
  const { metadata } = file;
  for (const copy of copies) mergeSignatures(role, metadata, copy);
  const holders = requirementsOf(draft, role).flatMap(({ signed, open }) => [...signed, ...open]);
  for (const signer of signers) {
    if (!holders.some(({ keyID }) => keyID === trustKeyOf(signer).keyID)) {
      throw new WartaError('key-invalid', `the key holds no ${role} role: nothing was signed`);
    }
    signMetadata(metadata, signer);
  }
  const good = new Set(holders.filter((key) => hasSigned(key, metadata)).map(({ keyID }) => keyID));
  for (const id of Object.keys(metadata.signatures)) if (!good.has(id)) delete metadata.signatures[id];
  writeDurably(path, composeMetadata(metadata));
  return requirementsOf(draft, role);
}

function mergeSignatures(role: OfflineRole, metadata: MetadataOf[OfflineRole], path: string): void {
  const copy = readDraftFile(role, path).metadata;
  if (!hasSameContent(copy, metadata)) {
    throw new WartaError('trust-invalid', `${path} is not a copy of this file: its holder signed something else`);
  }
  Object.assign(metadata.signatures, { ...copy.signatures, ...metadata.signatures });
}

/**
 * Publishes a draft with the online keys, once enough holders have signed.
 *
 * @throws {WartaError} `trust-invalid`: signatures are missing, or something was published since; `store-failed`.
 */
export function publishDraft(draft: TrustDraft, online: readonly KeyObject[], options: PublishOptions): Publication {
  for (const role of ['root', 'targets'] as const) {
    const lacking = requirementsOf(draft, role).find((requirement) => requirement.isNeeded && lackOf(requirement) > 0);
    if (lacking) {
      const count = `${lacking.signed.length} of ${lacking.threshold} signatures that root ${lacking.rootVersion} asks for`;
      throw new WartaError('trust-invalid', `${basename(draft[role]!.path)} has ${count}: more holders must sign it`);
    }
  }
  const authorities = readDraftText(draft);
  const change = { root: draft.root?.metadata, targets: draft.targets?.metadata, authorities };
  return publishChange(change, online, options);
}
