import type { KeyObject } from 'node:crypto';
import { WartaError } from '../base/errors.ts';
import { composeRoot, composeTargets, endOfTerm, type RoleHolders } from './compose-metadata.ts';
import { AUTHORITIES_FILE, type MetadataOf, type TrustRole } from './metadata.ts';
import {
  type Publication,
  type PublishOptions,
  publishChange,
  type RepositoryState,
  readState,
  signAs,
} from './publish.ts';
import { highestVersionIn } from './served-tree.ts';
import { signMetadata, trustKeyOf } from './trust-key.ts';

/** The keys of every role (Ed25519). Where a function only lists holders, public halves do. */
export interface TrustKeys {
  readonly root: readonly KeyObject[];
  readonly targets: readonly KeyObject[];
  readonly snapshot: KeyObject;
  readonly timestamp: KeyObject;
}

/** How many root and targets keys must sign; snapshot and timestamp have one key each. */
export interface TrustThresholds {
  readonly root: number;
  readonly targets: number;
}

/**
 * Makes a repository with all keys at hand, for a demo or a test: production uses the ceremony of `ceremony.ts`, where every
 * key holder signs alone. Begins again what a crash cut short.
 *
 * @throws {WartaError} `trust-invalid` when there is a repository already; `store-failed`.
 */
export function createTrustRepository(
  options: PublishOptions & { keys: TrustKeys; thresholds: TrustThresholds; authorities: string },
): Publication {
  const { folder, keys, thresholds, nowSeconds, termDays } = options;
  if (readState(folder)) throw new WartaError('trust-invalid', `${folder} holds a repository already: publish to it`);
  const root = composeRoot(holdersOf(keys, thresholds), {
    version: 1,
    expiresSeconds: endOfTerm('root', nowSeconds, termDays),
  });
  for (const key of keys.root) signMetadata(root, key);
  const authorities = Buffer.from(options.authorities);
  const targets = composeTargets(authorities, {
    version: 1,
    expiresSeconds: endOfTerm('targets', nowSeconds, termDays),
  });
  signAs('targets', targets, [root], keys.targets);
  return publishChange({ root, targets, authorities }, [keys.snapshot, keys.timestamp], options);
}

/**
 * Publishes another authorities.json, or the same one for a new term.
 *
 * @throws {WartaError} `trust-invalid` below the threshold of targets; `store-failed`.
 */
export function publishAuthorities(
  options: PublishOptions & { keys: Omit<TrustKeys, 'root'>; authorities: string },
): Publication {
  const { keys } = options;
  const state = requireState(options.folder);
  const authorities = Buffer.from(options.authorities);
  const targets = composeNextTargets(state, authorities, options);
  signAs('targets', targets, [state.root], keys.targets);
  return publishChange({ targets, authorities }, [keys.snapshot, keys.timestamp], options);
}

/**
 * Signs a new timestamp, and a new snapshot when half its term is over and its key is given. To be called well before the
 * timestamp expires: from then on nodes report the repository as frozen.
 *
 * @throws {WartaError} `trust-invalid`, `trust-expired` when another role has expired, `store-failed`.
 */
export function refreshTimestamp(
  options: PublishOptions & { keys: { readonly snapshot?: KeyObject; readonly timestamp: KeyObject } },
): Publication {
  const { snapshot, timestamp } = options.keys;
  requireState(options.folder);
  return publishChange({}, snapshot ? [snapshot, timestamp] : [timestamp], options);
}

/**
 * Publishes the next root: other keys or thresholds, or the same ones for a new term. `signers` are private keys of old and
 * new holders, each of which signs what it holds; a threshold of the old and of the new root keys is required (TUF §6.1).
 * Give the old targets, snapshot and timestamp keys too unless they are lost, see `publishChange`.
 *
 * Rotating snapshot and timestamp is also how to recover when a stolen key has signed a version far ahead (TUF §1.5.2,
 * fast-forward): nodes drop what the old keys signed.
 *
 * @throws {WartaError} `trust-invalid` below a threshold; `store-failed`.
 */
export function rotateTrust(
  options: PublishOptions & { keys: TrustKeys; thresholds: TrustThresholds; signers: readonly KeyObject[] },
): Publication {
  const { keys, thresholds, signers, nowSeconds, termDays } = options;
  const state = requireState(options.folder);
  const root = composeRoot(holdersOf(keys, thresholds), {
    version: state.root.signed.version + 1,
    expiresSeconds: endOfTerm('root', nowSeconds, termDays),
  });
  const roots = [root, state.root];
  signAs('root', root, roots, signers);
  const targets = hasSameHolders('targets', root, state.set.root)
    ? undefined
    : composeNextTargets(state, undefined, options);
  if (targets) signAs('targets', targets, roots, signers);
  return publishChange({ root, targets }, signers, options);
}

/** Composes unsigned targets that come next in a tree, with the authorities as they are unless others are given. */
export function composeNextTargets(
  { files, set }: RepositoryState,
  authorities: Uint8Array | undefined,
  { folder, nowSeconds, termDays }: PublishOptions,
): MetadataOf['targets'] {
  return composeTargets(authorities ?? files.get(AUTHORITIES_FILE)!, {
    version: Math.max(set.targets.signed.version, highestVersionIn(folder, 'targets')) + 1,
    expiresSeconds: endOfTerm('targets', nowSeconds, termDays),
  });
}

/** Whether two roots give a role to the same keys and require as many of them. */
export function hasSameHolders(role: TrustRole, one: MetadataOf['root'], other: MetadataOf['root']): boolean {
  const [mine, theirs] = [one, other].map(({ signed }) => signed.roles[role]);
  return mine.threshold === theirs.threshold && String(mine.keyIDs.toSorted()) === String(theirs.keyIDs.toSorted());
}

/**
 * Returns the state of a tree that has been published.
 *
 * @throws {WartaError} `trust-invalid`.
 */
export function requireState(folder: string): RepositoryState {
  const state = readState(folder);
  if (state === undefined) throw new WartaError('trust-invalid', `${folder} holds no repository: publish one first`);
  return state;
}

function holdersOf(keys: TrustKeys, { root, targets }: TrustThresholds): RoleHolders {
  return {
    keys: {
      root: keys.root.map(trustKeyOf),
      targets: keys.targets.map(trustKeyOf),
      snapshot: [trustKeyOf(keys.snapshot)],
      timestamp: [trustKeyOf(keys.timestamp)],
    },
    thresholds: { root, targets, snapshot: 1, timestamp: 1 },
  };
}
