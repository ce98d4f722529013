import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WartaError } from '../base/errors.ts';
import { AUTHORITIES_FILE, type MetadataOf, parseMetadata } from './metadata.ts';

/** Where the target of a given hash lies below `trust/` (TUF §7.1, consistent snapshots). */
export function targetPathOf(sha256: string): string {
  return `targets/${sha256}.${AUTHORITIES_FILE}`;
}

/**
 * Reads a tree as it is served and returns its files under the names that `loadTrust` takes; none are verified. `read`
 * returns `undefined` for a file that is missing.
 *
 * @throws {WartaError} `trust-invalid` for metadata that cannot be parsed.
 */
export function collectTree(read: (path: string) => Uint8Array | undefined): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const keep = (name: string, path = name) => {
    const bytes = read(path);
    if (bytes !== undefined) files.set(name, bytes);
    return bytes;
  };
  for (let version = 1; keep(`${version}.root.json`) !== undefined; version++);
  const timestamp = parse('timestamp', keep('timestamp.json'));
  if (timestamp === undefined) return files;
  const snapshot = parse('snapshot', keep('snapshot.json', `${timestamp.signed.snapshotMeta.version}.snapshot.json`));
  if (snapshot === undefined) return files;
  const { version } = snapshot.signed.meta['targets.json'];
  const targets = parse('targets', keep('targets.json', `${version}.targets.json`));
  if (targets) keep(AUTHORITIES_FILE, targetPathOf(targets.signed.targets[AUTHORITIES_FILE].hashes.sha256));
  return files;
}

function parse<R extends keyof MetadataOf>(role: R, bytes: Uint8Array | undefined): MetadataOf[R] | undefined {
  return bytes && parseMetadata(role, bytes);
}

/** Returns a reader of the files in a folder, for `collectTree`. */
export function readFrom(folder: string): (path: string) => Buffer | undefined {
  return (path) => {
    try {
      return readFileSync(join(folder, path));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new WartaError('store-failed', `cannot read ${join(folder, path)}: check its owner`, { cause });
    }
  };
}

/** Returns the highest version of a role that lies in a folder, 0 when there is none. */
export function highestVersionIn(folder: string, role: 'snapshot' | 'targets'): number {
  const pattern = new RegExp(`^([1-9]\\d{0,14})\\.${role}\\.json$`);
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return Math.max(0, ...names.map((name) => Number(pattern.exec(name)?.[1] ?? 0)));
}
