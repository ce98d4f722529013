import type { LogStorage } from '../../log/log-storage.ts';
import { type Authorities, parseAuthorities } from '../../register/authorities.ts';
import { type Pack, parsePack } from '../../register/pack.ts';
import { loadTrust } from '../../trust/client.ts';
import { collectTree } from '../../trust/served-tree.ts';

/** What the publisher judges statements by at one moment. */
export interface CurrentTrust {
  readonly authorities: Authorities;
  readonly pack: Pack;
  /** Whether the TUF metadata has lapsed: nodes then take releases only, and so does the log. */
  readonly expired: boolean;
}

const TIMESTAMP_PATH = 'trust/timestamp.json';

/**
 * The authorities as the register's own tree publishes them, verified from the pinned root as a node does, so that whoever
 * can write to the tree's disk still cannot have statements of his own admitted. Read again when a new timestamp is out.
 */
export class PublishedTrust {
  readonly #storage: LogStorage;
  readonly #pinnedRoot: Uint8Array;
  readonly #pack: { pack: Pack; sha256: string };
  #timestamp: Uint8Array | undefined;
  #current: { authorities: Authorities; expiresSeconds: number } | undefined;

  /** @throws {WartaError} `pack-invalid`. */
  constructor(storage: LogStorage, pinnedRoot: Uint8Array, pack: Uint8Array) {
    this.#storage = storage;
    this.#pinnedRoot = pinnedRoot;
    this.#pack = parsePack(pack);
  }

  /**
   * Returns what is in force now.
   *
   * @throws {WartaError} `trust-invalid` (not signed as the pinned root demands), `authorities-invalid` (broken, or for
   *   another policy pack), `store-failed`.
   */
  async read(nowSeconds: number): Promise<CurrentTrust> {
    const timestamp = await this.#storage.read(TIMESTAMP_PATH);
    const known = timestamp && this.#timestamp && Buffer.compare(timestamp, this.#timestamp) === 0;
    if (!known || this.#current === undefined) {
      const { authorities, expiresSeconds } = loadTrust({
        pinnedRoot: this.#pinnedRoot,
        files: await readTree((path) => this.#storage.read(`trust/${path}`)),
      });
      this.#current = { authorities: parseAuthorities(authorities, this.#pack.sha256), expiresSeconds };
      this.#timestamp = timestamp;
    }
    const { authorities, expiresSeconds } = this.#current;
    return { authorities, pack: this.#pack.pack, expired: nowSeconds >= expiresSeconds };
  }
}

/** Collects the files of a TUF tree: each look finds one file that is not there yet, and there are a dozen of them. */
async function readTree(read: (path: string) => Promise<Uint8Array | undefined>): Promise<Map<string, Uint8Array>> {
  const fetched = new Map<string, Uint8Array | undefined>();
  for (;;) {
    let wanted: string | undefined;
    const files = collectTree((path) => {
      if (!fetched.has(path)) wanted ??= path;
      return fetched.get(path);
    });
    if (wanted === undefined) return files;
    fetched.set(wanted, await read(wanted));
  }
}
