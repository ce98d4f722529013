import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WartaError } from '../base/errors.ts';
import { type CheckpointPolicy, type OpenedCheckpoint, openCheckpoint } from '../log/checkpoint.ts';
import type { AnnexSource, StatementLeaf } from '../register/verify-statement.ts';
import type { TrustReading } from '../trust/client.ts';
import type { Incident } from './incident-book.ts';
import { openMirror } from './mirror.ts';
import { SqliteNodeStore } from './node-store.ts';
import { RegisterFollower } from './register-follower.ts';
import type { AnnexWanted } from './statement-source.ts';

export interface ArchiveOptions {
  /** URLs, or folders with a copy of the register. */
  readonly mirrors: readonly string[];
  /** 1.root.json. */
  readonly pinnedRoot: Uint8Array;
  /** Folder for what was fetched and verified; used again the next time. */
  readonly cacheFolder: string;
  readonly nowSeconds: number;
  readonly onLeaves?: (done: number, total: number) => void;
}

/** A whole register, fetched and proven, for whoever wants to look at all of it. Close it after use. */
export interface RegisterArchive {
  readonly policy: CheckpointPolicy;
  readonly trust: TrustReading;
  /** The newest checkpoint with its witnesses, as signed. */
  readonly note: Uint8Array;
  readonly opened: OpenedCheckpoint;
  /** What was refused on the way, by code. */
  readonly incidents: readonly Incident[];
  leaf(index: number): Uint8Array;
  /** Every leaf as the register's reader takes it, those without witnesses last. */
  leaves(): Iterable<StatementLeaf>;
  readonly annexes: AnnexSource;
  /** Fetches annexes into the cache; what cannot be had stays missing. */
  fetchAnnexes: RegisterFollower['fetchAnnexes'];
  /**
   * Fetches any other public file of the register; `undefined` when no mirror has it.
   *
   * @throws {WartaError} what a mirror failed with, when none of the others has it.
   */
  fetchFile(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

/**
 * Brings the cache up to date from the mirrors, proving everything from the pinned root on, and opens it. When no mirror can
 * be had, what was proven earlier is opened.
 *
 * @throws {WartaError} when there is no checkpoint with its witnesses, now or from earlier.
 */
export async function openArchive(options: ArchiveOptions): Promise<RegisterArchive> {
  mkdirSync(options.cacheFolder, { recursive: true });
  const store = SqliteNodeStore.open(join(options.cacheFolder, 'register.db'));
  const mirrors = options.mirrors.map((url) => openMirror(url));
  const { pinnedRoot, onLeaves } = options;
  const scratch = join(options.cacheFolder, 'scratch');
  const follower = RegisterFollower.open({ store, mirrors, pinnedRoot, scratch, onLeaves });
  try {
    const failure = await pollAll(follower, mirrors.length, options.nowSeconds);
    const { trust, note } = follower.proven();
    if (trust === undefined || note === undefined) {
      throw failure ?? new WartaError('statement-unwitnessed', 'the log shows no checkpoint with enough witnesses');
    }
    const policy = follower.policy();
    return {
      policy,
      trust: trust.reading,
      note,
      opened: openCheckpoint(note, policy),
      incidents: follower.status().incidents,
      leaf: (index) => store.leaf(index),
      leaves: () => follower.read().leaves,
      annexes: follower.read().annexes,
      fetchAnnexes: (wanted: readonly AnnexWanted[], verify, nowSeconds, onFetched) =>
        follower.fetchAnnexes(wanted, verify, nowSeconds, onFetched),
      async fetchFile(path, maxBytes) {
        let failure: unknown;
        for (const mirror of mirrors) {
          try {
            const answer = await mirror.get({ path, maxBytes });
            if (answer.kind === 'whole') return answer.bytes;
          } catch (error) {
            failure = error;
          }
        }
        if (failure !== undefined) throw failure;
        return undefined;
      },
      close: () => follower.close(),
    };
  } catch (error) {
    await follower.close();
    throw error;
  }
}

/** Asks every mirror once: one that lags behind must not decide what the audit sees. */
async function pollAll(follower: RegisterFollower, count: number, nowSeconds: number): Promise<unknown> {
  let failure: unknown;
  for (let i = 0; i < count; i++) {
    try {
      await follower.poll(nowSeconds);
    } catch (error) {
      failure = error;
    }
  }
  return failure;
}

/** Reads the root that an auditor was given. */
export function readPinnedRoot(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new WartaError('trust-invalid', `cannot read ${path}: give the 1.root.json of the register`, { cause });
  }
}
