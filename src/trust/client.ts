import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Fetcher, Updater } from 'tuf-js';
import { DownloadHTTPError } from 'tuf-js/dist/error.js';
import { describeError, WartaError } from '../base/errors.ts';
import {
  expiriesOf,
  findSet,
  isTarget,
  type RootChain,
  replayRoots,
  requireFresh,
  rootFileOf,
  type TrustSet,
  verifySet,
} from './chain.ts';
import { AUTHORITIES_FILE, decodeUtf8, MAX_BYTES, parseMetadata, type TrustRole } from './metadata.ts';
import { targetPathOf } from './served-tree.ts';

/** The metadata besides the roots. */
const SET_FILES = ['timestamp.json', 'snapshot.json', 'targets.json'] as const;

/** tuf-js composes URLs. This host is never asked, as every path goes to `fetch`. */
const BASE_URL = 'http://trust.invalid/';

/** What `loadTrust` reads. */
export interface TrustSource {
  /** The first root, from the configuration: the one thing that is trusted without proof. */
  readonly pinnedRoot: Uint8Array;
  /** `files` of the last reading, none at first. Nothing in it is trusted unless it follows from the pinned root. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** What `refreshTrust` needs. */
export interface TrustRefresh extends TrustSource {
  /**
   * Fetches a file below `trust/`; `undefined` when the mirror has none. Gives up above `maxBytes`. What it throws reaches
   * the caller of `refreshTrust` as it is.
   */
  fetch(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /** Where this call makes a private folder, gone when it ends. Nothing is written anywhere else. */
  readonly scratch: string;
  /** The time that expiry is judged by. */
  readonly nowSeconds: number;
  /**
   * Is given each new root once it is verified, even when the refresh fails after it (TUF §5.3.8): a root that has been
   * kept cannot be hidden by another mirror. Keep it beside the other files.
   */
  onRoot?(name: string, bytes: Buffer): void;
}

/** Who may sign what, verified from the pinned root on. */
export interface TrustReading {
  /** The text of authorities.json. */
  readonly authorities: string;
  /** When the first of the roles expires. */
  readonly expiresSeconds: number;
  /** When each role expires. */
  readonly expires: Readonly<Record<TrustRole, number>>;
  readonly versions: Readonly<Record<TrustRole, number>>;
  /** What to keep for the next call: every `<N>.root.json`, timestamp, snapshot and targets, authorities.json. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/**
 * Brings trust up to date from a mirror: the client workflow of TUF §5 by tuf-js, then all of its outcome once more from
 * the pinned root by `replayRoots` and `verifySet`. Kept files that do not verify are dropped and fetched again; those that
 * do are what a rollback is judged by. Fetches new roots, a timestamp, and what that says has changed.
 *
 * @throws {WartaError} `trust-invalid`: a threshold, a version (rollback), a length or a hash is wrong; `trust-expired`: a
 * role's validity has ended (freeze); `response-oversized`: more bytes than a file may have; `mirror-failed`: no such file.
 */
export async function refreshTrust(options: TrustRefresh): Promise<TrustReading> {
  const { pinnedRoot, nowSeconds, onRoot } = options;
  const kept = replayRoots(pinnedRoot, (name) => options.files.get(name));
  const mirror = new Mirror(options);
  const outcome = await followWorkflow(options, kept, mirror);
  const candidates = new Map([...kept.files, ...mirror.roots]);
  const chain = replayRoots(pinnedRoot, (name) => candidates.get(name));
  for (const [name, bytes] of chain.files) if (!kept.files.has(name)) onRoot?.(name, bytes);
  if (outcome instanceof Error) throw outcome;
  if (chain.fault) throw chain.fault;
  const set = verifySet(chain.roots.at(-1)!, (name) => outcome.get(name));
  requireFresh(set, nowSeconds);
  const authorities = options.files.get(AUTHORITIES_FILE);
  const target = authorities && isTarget(authorities, set) ? authorities : await mirror.fetchTarget(set);
  return composeReading(chain, set, [...outcome, [AUTHORITIES_FILE, Buffer.from(target)]]);
}

/**
 * Reads trust from kept files alone, expired or not, so that a node restarts without a mirror.
 *
 * @throws {WartaError} `trust-invalid` when they do not follow from the pinned root.
 */
export function loadTrust({ pinnedRoot, files }: TrustSource): TrustReading {
  const chain = replayRoots(pinnedRoot, (name) => files.get(name));
  if (chain.fault) throw chain.fault;
  const set = findSet(chain.roots, (name) => files.get(name));
  const authorities = files.get(AUTHORITIES_FILE);
  if (authorities === undefined || !isTarget(authorities, set)) {
    throw new WartaError(
      'trust-invalid',
      `${AUTHORITIES_FILE} is missing or not the signed one: refresh from a mirror`,
    );
  }
  const names = [...SET_FILES, AUTHORITIES_FILE];
  return composeReading(
    chain,
    set,
    names.map((name) => [name, Buffer.from(files.get(name)!)]),
  );
}

function composeReading(chain: RootChain, set: TrustSet, files: [string, Buffer][]): TrustReading {
  const newest = { ...set, root: chain.roots.at(-1)! };
  const expires = expiriesOf(newest);
  const { root, targets, snapshot, timestamp } = newest;
  const kept = new Map([...chain.files, ...files]);
  return {
    authorities: decodeUtf8(kept.get(AUTHORITIES_FILE)!, AUTHORITIES_FILE),
    expiresSeconds: Math.min(...Object.values(expires)),
    expires,
    versions: {
      root: root.signed.version,
      targets: targets.signed.version,
      snapshot: snapshot.signed.version,
      timestamp: timestamp.signed.version,
    },
    files: kept,
  };
}

/**
 * Runs tuf-js in a private folder and returns the metadata it left there, or why it refused. A new Updater each time, as
 * its clock stands still from its construction on.
 */
async function followWorkflow(
  options: TrustRefresh,
  kept: RootChain,
  mirror: Mirror,
): Promise<Map<string, Buffer> | Error> {
  mkdirSync(options.scratch, { recursive: true });
  const folder = mkdtempSync(join(options.scratch, 'trust-'));
  try {
    seed(folder, options.files, kept);
    const updater = createUpdater(folder, mirror, options.nowSeconds);
    await updater.refresh();
    return new Map(SET_FILES.map((name) => [name, readFileSync(join(folder, name))]));
  } catch (error) {
    return mirror.failure ?? explainRefusal(error);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Gives tuf-js the newest kept root and the kept set. A set that does not verify is left out whole: tuf-js would take a
 * snapshot of its own folder without comparing hashes.
 */
function seed(folder: string, files: ReadonlyMap<string, Uint8Array>, kept: RootChain): void {
  const newest = rootFileOf(kept.roots.at(-1)!.signed.version);
  writeFileSync(join(folder, 'root.json'), kept.files.get(newest)!);
  try {
    findSet(kept.roots, (name) => files.get(name));
  } catch {
    return;
  }
  for (const name of SET_FILES) writeFileSync(join(folder, name), files.get(name)!);
}

function createUpdater(folder: string, mirror: Mirror, nowSeconds: number): Updater {
  const updater = new Updater({
    metadataDir: folder,
    metadataBaseUrl: BASE_URL,
    fetcher: mirror,
    config: {
      rootMaxLength: MAX_BYTES.root,
      timestampMaxLength: MAX_BYTES.timestamp,
      snapshotMaxLength: MAX_BYTES.snapshot,
      targetsMaxLength: MAX_BYTES.targets,
    },
  });
  // tuf-js has no option for its clock; the types and `requireFresh` would notice if a later version kept it elsewhere.
  // biome-ignore lint/complexity/useLiteralKeys: private members are reached in this way only
  updater['trustedSet']['referenceTime'] = new Date(nowSeconds * 1000);
  return updater;
}

/** Turns what tuf-js threw, often wrapped in text, into one of our codes. */
function explainRefusal(error: unknown): WartaError {
  const text = describeError(error).replace(/^Unable to load .*? error \w*: /, '');
  const expired = /\b(\w+)\.json is expired/.exec(text)?.[1];
  if (expired) {
    const message = `${expired}.json is expired: its publisher must sign it anew, or the mirror is stale`;
    return new WartaError('trust-expired', message, { cause: error });
  }
  const kind = text.includes('less than current version') ? 'rollback' : 'refused';
  return new WartaError('trust-invalid', `${kind}: ${text}`, { cause: error });
}

/** The mirror as tuf-js sees it: bounded, every file parsed strictly first, the first failure remembered as it was. */
class Mirror implements Fetcher {
  /** Roots received, by name. */
  readonly roots = new Map<string, Buffer>();
  /** What went wrong; tuf-js erases it by making text of it. */
  failure: Error | undefined;
  readonly #fetch: TrustRefresh['fetch'];

  constructor(options: Pick<TrustRefresh, 'fetch'>) {
    this.#fetch = (path, maxBytes) => options.fetch(path, maxBytes);
  }

  /** Called by tuf-js for metadata. */
  async downloadBytes(url: string, maxLength: number): Promise<Buffer> {
    const path = new URL(url).pathname.slice(1);
    const role = path.replace(/^\d+\./, '').replace(/\.json$/, '') as TrustRole;
    try {
      const bytes = await this.#fetchBounded(path, Math.min(maxLength, MAX_BYTES[role]));
      if (bytes === undefined) return this.#reportMissing(path, role);
      parseMetadata(role, bytes, path);
      if (role === 'root') this.roots.set(path, bytes);
      return bytes;
    } catch (error) {
      if (!(error instanceof DownloadHTTPError)) this.failure = toError(error);
      throw error;
    }
  }

  /** Never called: the one target is fetched by `fetchTarget`, without a temporary file. */
  async downloadFile<T>(url: string): Promise<T> {
    throw new WartaError('trust-invalid', `${url} was asked for, which is no metadata`);
  }

  /** Fetches the target of a verified set (TUF §5.7). */
  async fetchTarget(set: TrustSet): Promise<Buffer> {
    const path = targetPathOf(set.target.sha256);
    const bytes = await this.#fetchBounded(path, set.target.sizeBytes);
    if (bytes === undefined) throw new WartaError('mirror-failed', `the mirror has no trust/${path}`);
    if (!isTarget(bytes, set)) {
      throw new WartaError('trust-invalid', `${path} differs in length or hash from what the targets role signed`);
    }
    return bytes;
  }

  async #fetchBounded(path: string, maxBytes: number): Promise<Buffer | undefined> {
    const bytes = await this.#fetch(path, maxBytes);
    if (bytes && bytes.length > maxBytes) {
      throw new WartaError('response-oversized', `trust/${path} has more than ${maxBytes} bytes`);
    }
    return bytes && Buffer.from(bytes);
  }

  /** The next root is missing most of the time, which ends the search (TUF §5.3.3). Any other file must be there. */
  #reportMissing(path: string, role: TrustRole): never {
    if (role === 'root') throw new DownloadHTTPError('no such file', 404);
    throw new WartaError('mirror-failed', `the mirror has no trust/${path}`);
  }
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
