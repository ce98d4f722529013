import { hash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Key } from '@tufjs/models';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { rootFileOf } from './chain.ts';
import { composeRoot, composeTargets, endOfTerm, type RoleHolders } from './compose-metadata.ts';
import { AUTHORITIES_FILE, composeMetadata, type MetadataOf, parseMetadata, type TrustRole } from './metadata.ts';
import type { PublishOptions, RepositoryState } from './publish.ts';
import { composeNextTargets, hasSameHolders, requireState } from './repository.ts';
import { readFrom } from './served-tree.ts';

/** What is in force, kept in the draft so that key holders see who must sign and what changes. */
const PUBLISHED_ROOT = 'published/root.json';
const PUBLISHED_AUTHORITIES = `published/${AUTHORITIES_FILE}`;

/** The roles that people sign for; the others are signed when publishing. */
export type OfflineRole = 'root' | 'targets';

/** Where a draft is made, as of when, for how long. */
export interface DraftOptions extends Pick<PublishOptions, 'nowSeconds' | 'termDays'> {
  /** The draft's own folder, which travels from key holder to key holder. */
  readonly draft: string;
}

/** A file to be signed. */
export interface DraftFile<R extends OfflineRole> {
  readonly path: string;
  readonly metadata: MetadataOf[R];
}

/** What a draft folder holds. */
export interface TrustDraft {
  readonly folder: string;
  readonly root?: DraftFile<'root'>;
  readonly targets?: DraftFile<'targets'>;
  /** The text that the targets name. */
  readonly authorities?: Buffer;
  /** What is in force; none when the draft is the first. */
  readonly published?: { readonly root: MetadataOf['root']; readonly authorities: Buffer };
}

/** Other holders for the roles. */
export interface HolderChange {
  readonly add: readonly (readonly [role: TrustRole, key: Key])[];
  readonly remove: readonly (readonly [role: TrustRole, key: Key])[];
  readonly thresholds: Partial<Record<TrustRole, number>>;
}

/**
 * Drafts root 1 and targets 1 in an empty folder.
 *
 * @throws {WartaError} `trust-invalid`: the folder is in use, or a threshold cannot be met.
 */
export function draftFirst(holders: RoleHolders, authorities: Uint8Array, options: DraftOptions): void {
  requireEmpty(options.draft);
  const root = composeRoot(holders, { version: 1, expiresSeconds: expiryOf('root', options) });
  const targets = composeTargets(authorities, { version: 1, expiresSeconds: expiryOf('targets', options) });
  writeDraft(options.draft, rootFileOf(1), composeMetadata(root));
  writeDraft(options.draft, '1.targets.json', composeMetadata(targets));
  writeDraft(options.draft, AUTHORITIES_FILE, authorities);
}

/**
 * Drafts the next root: keys added and removed, other thresholds, or with no change at all a new term. Goes on from what
 * the draft holds; signatures that its root had are void. Targets are drafted along when their keys change.
 *
 * @throws {WartaError} `trust-invalid`: nothing published, an unknown key removed, a key added twice, a threshold that
 * cannot be met.
 */
export function draftRoot(tree: string, change: HolderChange, options: DraftOptions): void {
  const state = requireState(tree);
  const draft = openDraft(state, options.draft);
  const version = state.root.signed.version + 1;
  const holders = changeHolders((draft.root?.metadata ?? state.root).signed, change);
  const root = composeRoot(holders, { version, expiresSeconds: expiryOf('root', options) });
  writeDraft(options.draft, rootFileOf(version), composeMetadata(root));
  if (draft.targets || hasSameHolders('targets', root, state.set.root)) return;
  writeTargets(state, state.files.get(AUTHORITIES_FILE)!, tree, options);
}

/**
 * Drafts targets that name another text, or the same for a new term. Signatures that the draft's targets had are void.
 *
 * @throws {WartaError} `trust-invalid`: nothing published, or the text is too large.
 */
export function draftAuthorities(tree: string, authorities: Uint8Array, options: DraftOptions): void {
  const state = requireState(tree);
  openDraft(state, options.draft);
  writeTargets(state, authorities, tree, options);
}

/** The text in force, and the one that the draft, if it has one, would put in its place. */
export function readTexts(tree: string, draft: string): { published: Buffer; current: Buffer } {
  const state = requireState(tree);
  const published = Buffer.from(state.files.get(AUTHORITIES_FILE)!);
  return { published, current: existsSync(draft) ? (openDraft(state, draft).authorities ?? published) : published };
}

function writeTargets(state: RepositoryState, authorities: Uint8Array, tree: string, options: DraftOptions): void {
  const targets = composeNextTargets(state, authorities, { folder: tree, ...options });
  writeDraft(options.draft, AUTHORITIES_FILE, authorities);
  writeDraft(options.draft, `${targets.signed.version}.targets.json`, composeMetadata(targets));
}

/** Opens a draft for what is in force, a new one in an empty folder. */
function openDraft(state: RepositoryState, folder: string): TrustDraft {
  if (!existsSync(join(folder, PUBLISHED_ROOT))) {
    requireEmpty(folder);
    writeDraft(folder, PUBLISHED_AUTHORITIES, state.files.get(AUTHORITIES_FILE)!);
    writeDraft(folder, PUBLISHED_ROOT, composeMetadata(state.root));
  }
  const draft = readDraft(folder);
  const { published } = draft;
  const isCurrent =
    published?.root.signed.version === state.root.signed.version &&
    published.authorities.equals(state.files.get(AUTHORITIES_FILE)!);
  if (!isCurrent)
    throw new WartaError('trust-invalid', `${folder} was drafted for an older edition: begin in an empty folder`);
  return draft;
}

function requireEmpty(folder: string): void {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new WartaError('trust-invalid', `${folder} is not empty: choose another folder for the draft`);
  }
}

function writeDraft(folder: string, name: string, bytes: Uint8Array): void {
  writeDurably(join(folder, name), bytes);
}

function expiryOf(role: TrustRole, { nowSeconds, termDays }: DraftOptions): number {
  return endOfTerm(role, nowSeconds, termDays);
}

/** Returns the holders of a root with a change applied. */
function changeHolders(root: MetadataOf['root']['signed'], { add, remove, thresholds }: HolderChange): RoleHolders {
  const keysOf = (role: TrustRole): Key[] => {
    const held = root.roles[role].keyIDs.map((id) => root.keys[id]);
    const gone = new Set(remove.filter(([from]) => from === role).map(([, { keyID }]) => keyID));
    const kept = held.filter(({ keyID }) => !gone.has(keyID));
    if (kept.length !== held.length - gone.size) {
      throw new WartaError('trust-invalid', `the role ${role} does not have a key that is to be removed`);
    }
    return [...kept, ...add.filter(([to]) => to === role).map(([, key]) => key)];
  };
  const thresholdOf = (role: TrustRole) => thresholds[role] ?? root.roles[role].threshold;
  return { keys: forEachRole(keysOf), thresholds: forEachRole(thresholdOf) };
}

function forEachRole<T>(of: (role: TrustRole) => T): Record<TrustRole, T> {
  return { root: of('root'), targets: of('targets'), snapshot: of('snapshot'), timestamp: of('timestamp') };
}

/**
 * Reads a draft folder.
 *
 * @throws {WartaError} `trust-invalid` when it holds no draft or a file in it is damaged.
 */
export function readDraft(folder: string): TrustDraft {
  const read = readFrom(folder);
  const root = findFile('root', folder);
  const targets = findFile('targets', folder);
  const published = read(PUBLISHED_ROOT);
  if (!root && !published) throw new WartaError('trust-invalid', `${folder} holds no draft`);
  return {
    folder,
    root,
    targets,
    authorities: read(AUTHORITIES_FILE),
    published: published && {
      root: parseMetadata('root', published, PUBLISHED_ROOT),
      authorities: read(PUBLISHED_AUTHORITIES)!,
    },
  };
}

/**
 * Returns the text that a draft's targets name; `undefined` when it has no targets.
 *
 * @throws {WartaError} `trust-invalid` when another text lies beside them: nobody may sign what they cannot read.
 */
export function readDraftText({ folder, targets, authorities }: TrustDraft): Buffer | undefined {
  if (targets === undefined) return undefined;
  const { hashes } = targets.metadata.signed.targets[AUTHORITIES_FILE];
  if (authorities !== undefined && hash('sha256', authorities, 'hex') === hashes.sha256) return authorities;
  throw new WartaError('trust-invalid', `${join(folder, AUTHORITIES_FILE)} is not the text to be signed: copy it anew`);
}

/** Finds the one file of a role, by its name. */
function findFile<R extends OfflineRole>(role: R, folder: string): DraftFile<R> | undefined {
  const names = (existsSync(folder) ? readdirSync(folder) : []).filter((name) => roleOf(name) === role);
  if (names.length > 1)
    throw new WartaError('trust-invalid', `${folder} holds ${names.join(' and ')}: one of them is stray`);
  return names.length === 0 ? undefined : readDraftFile(role, join(folder, names[0]));
}

/** Returns the role that a file name of a draft stands for. */
export function roleOf(name: string): OfflineRole | undefined {
  return /^[1-9]\d*\.(root|targets)\.json$/.exec(name)?.[1] as OfflineRole | undefined;
}

/**
 * Reads a file to be signed, or a copy of it.
 *
 * @throws {WartaError} `store-failed`, `trust-invalid`.
 */
export function readDraftFile<R extends OfflineRole>(role: R, path: string): DraftFile<R> {
  const bytes = readFrom('')(path);
  if (bytes === undefined) throw new WartaError('store-failed', `${path} does not exist`);
  return { path, metadata: parseMetadata(role, bytes, path) };
}
