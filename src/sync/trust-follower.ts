import { createHash } from 'node:crypto';
import { WartaError } from '../base/errors.ts';
import { type AuthoritiesFile, parseAuthorities } from '../register/authorities.ts';
import { loadTrust, refreshTrust, type TrustReading } from '../trust/client.ts';
import type { Mirror } from './mirror.ts';
import type { NodeStore } from './node-store.ts';

const TIMESTAMP_PATH = 'trust/timestamp.json';
const MAX_TIMESTAMP_BYTES = 64 * 1024;
/** A new root need not come with a new timestamp, so all is asked for so often whatever the timestamp says. */
const REFRESH_SECONDS = 3_600;

/** What the node trusts: the authorities, the log's key and witnesses, and until when that is known to be fresh. */
export interface Trust {
  readonly reading: TrustReading;
  readonly file: AuthoritiesFile;
  /** Digest of authorities.json. */
  readonly digest: string;
  /** The log and its witnesses, of which authorities.json of a register on a log always tells. */
  readonly log: NonNullable<AuthoritiesFile['log']>;
}

export interface TrustFollowerOptions {
  readonly store: NodeStore;
  /** 1.root.json, as it came to the node by hand. */
  readonly pinnedRoot: Uint8Array;
  /** Folder for the client's temporary files. */
  readonly scratch: string;
}

/** Follows the TUF repository: who may sign what. Keeps what it verified, so that a restart needs no network. */
export class TrustFollower {
  readonly #options: TrustFollowerOptions;
  readonly #etags = new Map<Mirror, string>();
  #refreshedSeconds = 0;
  #trust: Trust | undefined;

  constructor(options: TrustFollowerOptions) {
    this.#options = options;
  }

  get trust(): Trust | undefined {
    return this.#trust;
  }

  /** Takes up what an earlier run verified; returns the fault when that cannot be used any more. */
  open(): unknown {
    const { store, pinnedRoot } = this.#options;
    const files = store.trust();
    if (files.size === 0) return undefined;
    try {
      this.#trust = readTrust(loadTrust({ pinnedRoot, files }));
    } catch (error) {
      return error;
    }
    return undefined;
  }

  /**
   * Asks one mirror for news and verifies it. What is held stays when that fails.
   *
   * @throws {WartaError} `trust-invalid`, `trust-expired`, `authorities-invalid`, or what the mirror throws.
   */
  async refresh(mirror: Mirror, nowSeconds: number): Promise<void> {
    const { store, pinnedRoot, scratch } = this.#options;
    const due = this.#trust === undefined || nowSeconds - this.#refreshedSeconds >= REFRESH_SECONDS;
    const etag = this.#etags.get(mirror);
    const answer = await mirror.get({ path: TIMESTAMP_PATH, maxBytes: MAX_TIMESTAMP_BYTES, etag });
    const files = store.trust();
    const held = files.get('timestamp.json');
    const same =
      answer.kind === 'unchanged' || (answer.kind === 'whole' && held !== undefined && answer.bytes.equals(held));
    if (!same || due) {
      const fetch = async (path: string, maxBytes: number) => {
        const file = await mirror.get({ path: `trust/${path}`, maxBytes });
        return file.kind === 'absent' ? undefined : file.bytes;
      };
      const onRoot = (name: string, bytes: Buffer) =>
        store.commit({ trust: new Map([...store.trust(), [name, bytes]]) });
      const options = { pinnedRoot, files, fetch, scratch, nowSeconds, onRoot };
      const trust = readTrust(await refreshTrust(options));
      if (!isSame(files, trust.reading.files)) store.commit({ trust: trust.reading.files });
      this.#trust = trust;
      this.#refreshedSeconds = nowSeconds;
    }
    if (answer.etag !== undefined) this.#etags.set(mirror, answer.etag);
  }
}

/** @throws {WartaError} `authorities-invalid` when it is no authorities.json of a register on a log. */
function readTrust(reading: TrustReading): Trust {
  const { file } = parseAuthorities(reading.authorities);
  if (file.log === undefined) {
    throw new WartaError('authorities-invalid', 'authorities.json: log: names no log to follow');
  }
  return { reading, file, digest: createHash('sha256').update(reading.authorities).digest('hex'), log: file.log };
}

function isSame(held: ReadonlyMap<string, Uint8Array>, now: ReadonlyMap<string, Uint8Array>): boolean {
  if (held.size !== now.size) return false;
  for (const [name, bytes] of now) {
    const other = held.get(name);
    if (other === undefined || Buffer.compare(other, bytes) !== 0) return false;
  }
  return true;
}
