import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { canonicalize } from '@tufjs/canonical-json';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import {
  findSet,
  isTarget,
  replayRoots,
  requireFresh,
  rootFileOf,
  type TrustSet,
  verifyRoot,
  verifySet,
  verifySigned,
} from './chain.ts';
import { composeSnapshot, composeTimestamp, endOfTerm, TERM_DAYS } from './compose-metadata.ts';
import {
  AUTHORITIES_FILE,
  composeMetadata,
  expiresSecondsOf,
  type MetadataOf,
  parseMetadata,
  type TrustRole,
} from './metadata.ts';
import { collectTree, highestVersionIn, readFrom, targetPathOf } from './served-tree.ts';
import { signMetadata, trustKeyOf } from './trust-key.ts';

const DAY_SECONDS = 86_400;

/** Where and as of when something is published. */
export interface PublishOptions {
  /** The tree `trust/` that mirrors serve. */
  readonly folder: string;
  readonly nowSeconds: number;
  /** Days of validity of what is signed now; `TERM_DAYS` for roles left out. */
  readonly termDays?: Partial<Record<TrustRole, number>>;
  /** Writes one file durably; `writeDurably` unless a test injects faults. */
  readonly write?: (path: string, bytes: Uint8Array) => void;
}

/** What key holders have signed; what is left out stays as it is. */
export interface TrustChange {
  readonly root?: MetadataOf['root'];
  readonly targets?: MetadataOf['targets'];
  /** The text the targets name. */
  readonly authorities?: Uint8Array;
}

/** What was published. */
export interface Publication {
  readonly versions: Readonly<Record<TrustRole, number>>;
  /** Files written below the folder, in that order. */
  readonly written: readonly string[];
}

/** A tree as it stands: its newest root, and the last set that was complete. */
export interface RepositoryState {
  /** As `loadTrust` takes them. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly root: MetadataOf['root'];
  readonly set: TrustSet;
}

/** An edition to be published, with its files under the names of `loadTrust`. */
interface Edition {
  /** The root it is for and, while that is not published, the one before it. */
  readonly roots: readonly MetadataOf['root'][];
  readonly files: Map<string, Uint8Array>;
}

/**
 * Reads and verifies a tree from its own root 1. Returns `undefined` when nothing has been published there yet.
 *
 * @throws {WartaError} `trust-invalid` when it is damaged.
 */
export function readState(folder: string): RepositoryState | undefined {
  const files = collectTree(readFrom(folder));
  const first = files.get(rootFileOf(1));
  // The timestamp is written last: without it a first publication was cut short, and is begun again.
  if (first === undefined || !files.has('timestamp.json')) return undefined;
  const { roots, fault } = replayRoots(first, (name) => files.get(name));
  if (fault) throw fault;
  return { files, root: roots.at(-1)!, set: findSet(roots, (name) => files.get(name)) };
}

/**
 * Publishes what key holders signed: composes snapshot and timestamp, signs them with those of `signers` that hold these
 * roles, verifies all of it as a node would, and only then writes target, targets, snapshot, timestamp, root.
 *
 * Every file but the timestamp is a new one, so replacing the timestamp switches to the new edition at once. When a new
 * root changes keys, the edition is signed by old and new holders and verifies under both roots: whatever write was the
 * last before a crash, the tree can be served. If an old key is lost this cannot be; the root then goes first, and nodes
 * keep what they have until the timestamp follows.
 *
 * @throws {WartaError} `trust-invalid`: below a threshold, or not the next edition; `store-failed`: the disk.
 */
export function publishChange(
  change: TrustChange,
  signers: readonly KeyObject[],
  options: PublishOptions,
): Publication {
  const state = readState(options.folder);
  const fresh = leaveOutPublished(change, state);
  checkSuccession(fresh, state);
  const edition = composeEdition(fresh, state, signers, options);
  const find = (name: string) => edition.files.get(name);
  const set = verifySet(edition.roots[0], find);
  requireFresh(set, options.nowSeconds);
  if (!isTarget(find(AUTHORITIES_FILE)!, set)) {
    throw new WartaError('trust-invalid', `${AUTHORITIES_FILE} is not the text that the targets role signed`);
  }
  const written = writeFiles(listWrites(edition, set, fresh.root !== undefined), options);
  return { versions: versionsOf(set), written };
}

/** Leaves out what is published already, so that publishing the same draft again finishes or renews it. */
function leaveOutPublished(change: TrustChange, state: RepositoryState | undefined): TrustChange {
  if (state === undefined) return change;
  const { root, targets } = change;
  const targetsAreOld = targets && hasSameContent(targets, state.set.targets);
  return {
    root: root && hasSameContent(root, state.root) ? undefined : root,
    targets: targetsAreOld ? undefined : targets,
    authorities: targetsAreOld ? undefined : change.authorities,
  };
}

/** Whether two pieces of metadata say the same, whoever signed them. */
export function hasSameContent(one: MetadataOf[TrustRole], other: MetadataOf[TrustRole]): boolean {
  return canonicalize(one.signed.toJSON()) === canonicalize(other.signed.toJSON());
}

/** Requires that a change comes next after what is published. */
function checkSuccession({ root, targets, authorities }: TrustChange, state: RepositoryState | undefined): void {
  if (state === undefined) {
    if (root === undefined || targets === undefined || authorities === undefined) {
      throw new WartaError(
        'trust-invalid',
        'nothing is published there yet: begin with a root, targets and authorities',
      );
    }
    if (root.signed.version !== 1) throw new WartaError('trust-invalid', 'the first root has version 1');
    verifySigned(root, 'root', root, rootFileOf(1));
    return;
  }
  if (root) verifyRoot(state.root, composeMetadata(root), rootFileOf(root.signed.version));
  const held = state.set.targets.signed.version;
  if (targets && targets.signed.version <= held) {
    throw new WartaError('trust-invalid', `targets ${held} have been published since: make the draft again`);
  }
}

/** Puts an edition together: what key holders signed, a snapshot where one is due, a timestamp. */
function composeEdition(
  change: TrustChange,
  state: RepositoryState | undefined,
  signers: readonly KeyObject[],
  options: PublishOptions,
): Edition {
  const root = change.root ?? state!.root;
  const roots = change.root && state ? [root, state.root] : [root];
  const files = new Map(state?.files);
  if (change.root) files.set(rootFileOf(root.signed.version), composeMetadata(root));
  if (change.targets) files.set('targets.json', composeMetadata(change.targets));
  if (change.authorities) files.set(AUTHORITIES_FILE, change.authorities);
  const edition = { roots, files };
  if (state === undefined || change.targets || !holdsStill(state, roots, signers, options)) {
    const held = Math.max(state?.set.snapshot.signed.version ?? 0, highestVersionIn(options.folder, 'snapshot'));
    addSnapshot(edition, held + 1, signers, options);
  }
  addTimestamp(edition, (state?.set.timestamp.signed.version ?? 0) + 1, signers, options);
  return edition;
}

function addSnapshot(
  { roots, files }: Edition,
  version: number,
  signers: readonly KeyObject[],
  options: PublishOptions,
): void {
  const expiresSeconds = endOfTerm('snapshot', options.nowSeconds, options.termDays);
  const targets = files.get('targets.json')!;
  const targetsVersion = parseMetadata('targets', targets).signed.version;
  const snapshot = composeSnapshot(targets, targetsVersion, { version, expiresSeconds });
  signAs('snapshot', snapshot, roots, signers);
  files.set('snapshot.json', composeMetadata(snapshot));
}

function addTimestamp(
  { roots, files }: Edition,
  version: number,
  signers: readonly KeyObject[],
  options: PublishOptions,
): void {
  const expiresSeconds = endOfTerm('timestamp', options.nowSeconds, options.termDays);
  const snapshot = files.get('snapshot.json')!;
  const snapshotVersion = parseMetadata('snapshot', snapshot).signed.version;
  const timestamp = composeTimestamp(snapshot, snapshotVersion, { version, expiresSeconds });
  signAs('timestamp', timestamp, roots, signers);
  files.set('timestamp.json', composeMetadata(timestamp));
}

/** Whether the published snapshot can stay: valid under the roots, and in the first half of its term or without its key. */
function holdsStill(
  { set }: RepositoryState,
  roots: readonly MetadataOf['root'][],
  signers: readonly KeyObject[],
  { nowSeconds, termDays }: PublishOptions,
): boolean {
  if (roots.some((root) => root.signed.version !== set.root.signed.version)) return false;
  const halfTermSeconds = ((termDays?.snapshot ?? TERM_DAYS.snapshot) * DAY_SECONDS) / 2;
  const leftSeconds = expiresSecondsOf(set.snapshot) - nowSeconds;
  return leftSeconds > halfTermSeconds || !signers.some((signer) => isHolder(signer, 'snapshot', roots));
}

/** Signs with every signer that holds the role in one of the roots. */
export function signAs(
  role: TrustRole,
  metadata: MetadataOf[TrustRole],
  roots: readonly MetadataOf['root'][],
  signers: readonly KeyObject[],
): void {
  for (const signer of signers) if (isHolder(signer, role, roots)) signMetadata(metadata, signer);
}

function isHolder(signer: KeyObject, role: TrustRole, roots: readonly MetadataOf['root'][]): boolean {
  const { keyID } = trustKeyOf(signer);
  return roots.some((root) => root.signed.roles[role].keyIDs.includes(keyID));
}

/** Lists what to write, in an order that can be cut short anywhere. */
function listWrites({ roots, files }: Edition, set: TrustSet, rootIsNew: boolean): [string, Uint8Array][] {
  const [root, before] = roots;
  const immutable: [string, Uint8Array][] = [
    [targetPathOf(set.target.sha256), files.get(AUTHORITIES_FILE)!],
    [`${set.targets.signed.version}.targets.json`, files.get('targets.json')!],
    [`${set.snapshot.signed.version}.snapshot.json`, files.get('snapshot.json')!],
  ];
  const timestamp: [string, Uint8Array] = ['timestamp.json', files.get('timestamp.json')!];
  if (!rootIsNew) return [...immutable, timestamp];
  const name = rootFileOf(root.signed.version);
  const newRoot: [string, Uint8Array] = [name, files.get(name)!];
  const seamless = before !== undefined && verifies(before, files);
  return seamless ? [...immutable, timestamp, newRoot] : [...immutable, newRoot, timestamp];
}

function verifies(root: MetadataOf['root'], files: ReadonlyMap<string, Uint8Array>): boolean {
  try {
    verifySet(root, (name) => files.get(name));
    return true;
  } catch {
    return false;
  }
}

/** Writes what is not there yet. */
function writeFiles(
  writes: readonly [string, Uint8Array][],
  { folder, write = writeDurably }: PublishOptions,
): string[] {
  const read = readFrom(folder);
  const missing = writes.filter(([path, bytes]) => !read(path)?.equals(bytes));
  for (const [path, bytes] of missing) write(join(folder, path), bytes);
  return missing.map(([path]) => path);
}

function versionsOf({ root, targets, snapshot, timestamp }: MetadataOf): Record<TrustRole, number> {
  return {
    root: root.signed.version,
    targets: targets.signed.version,
    snapshot: snapshot.signed.version,
    timestamp: timestamp.signed.version,
  };
}
