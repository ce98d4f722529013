import { describeError, WartaError } from '../base/errors.ts';
import { openCheckpoint } from '../log/checkpoint.ts';
import { CompactRange, HASH_BYTES, hashLeaf, rootOf } from '../log/merkle.ts';
import { bundlePath, composeBundle, TILE_WIDTH, tilePath, tileWidth } from '../log/tile.ts';
import type { Mirror } from '../sync/mirror.ts';
import type { AuditRegister } from './audit-register.ts';
import type { Finding } from './finding.ts';

/** What was hashed and compared. */
export interface LogCheck {
  readonly leaves: number;
  /** Root over all leaves in lower-case hexadecimal, computed here. */
  readonly root: string;
  /** Whether the signed checkpoint has that root. */
  readonly rootMatches: boolean;
  readonly mirrors: readonly MirrorCheck[];
}

/** What one mirror serves, held against the leaves. */
export interface MirrorCheck {
  readonly url: string;
  /** Leaves of its own checkpoint; absent when it has none that is good. */
  readonly size?: number;
  /** Hash tiles and entry bundles that were compared. */
  readonly files: number;
  readonly findings: readonly Finding[];
}

/** Files asked for at once. */
const AT_ONCE = 16;
const MAX_CHECKPOINT_BYTES = 64 * 1024;
/** Files listed one by one in a finding. */
const MAX_LISTED = 20;

/**
 * Hashes every leaf, computes the root, and holds each mirror against that: its checkpoint, its hash tiles, its entry
 * bundles. A mirror may be behind; it may not say anything else.
 */
export async function checkLog(
  register: AuditRegister,
  mirrors: readonly Mirror[],
  onFile?: (done: number, total: number) => void,
): Promise<LogCheck> {
  const { archive, size } = register;
  const hashes = Buffer.allocUnsafeSlow(size * HASH_BYTES);
  for (let index = 0; index < size; index++) hashLeaf(archive.leaf(index)).copy(hashes, index * HASH_BYTES);
  const root = rootOf(splitHashes(hashes));
  const { checkpoint } = archive.opened;
  const files = [...listTiles(hashes), ...listBundles(register)];
  const total = files.length * mirrors.length;
  let done = 0;
  const checks: MirrorCheck[] = [];
  for (const mirror of mirrors) {
    checks.push(await checkMirror(register, mirror, hashes, files, () => onFile?.(++done, total)));
  }
  return {
    leaves: size,
    root: root.toString('hex'),
    rootMatches: checkpoint.size === size && checkpoint.root.equals(root),
    mirrors: checks,
  };
}

function splitHashes(hashes: Buffer): Buffer[] {
  return Array.from({ length: hashes.length / HASH_BYTES }, (_, at) =>
    hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
}

/** A file of the log as it must be. */
interface ExpectedFile {
  /** Its path; that of the full one for a partial one, which a log may serve instead. */
  readonly paths: readonly string[];
  readonly maxBytes: number;
  compose(): Buffer;
}

/** Lists the hash tiles of a tree with these leaf hashes, level by level. */
function* listTiles(leafHashes: Buffer): Generator<ExpectedFile> {
  const size = leafHashes.length / HASH_BYTES;
  let hashes = leafHashes;
  for (let level = 0; hashes.length > 0; level++) {
    const count = hashes.length / HASH_BYTES;
    const above: Buffer[] = [];
    for (let index = 0; index * TILE_WIDTH < count; index++) {
      const width = tileWidth(level, index, size);
      const start = index * TILE_WIDTH * HASH_BYTES;
      const tile = hashes.subarray(start, start + width * HASH_BYTES);
      const paths = [tilePath(level, index, width), tilePath(level, index)];
      yield { paths: [...new Set(paths)], maxBytes: TILE_WIDTH * HASH_BYTES, compose: () => tile };
      if (width === TILE_WIDTH) above.push(rootOf(splitHashes(tile)));
    }
    hashes = Buffer.concat(above);
  }
}

/** Lists the entry bundles. */
function* listBundles({ archive, size }: AuditRegister): Generator<ExpectedFile> {
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const width = tileWidth(0, index, size);
    const leaves = () => Array.from({ length: width }, (_, at) => archive.leaf(index * TILE_WIDTH + at));
    const paths = [bundlePath(index, width), bundlePath(index)];
    // A full bundle in place of a partial one goes on with leaves of a later tree.
    const maxBytes = TILE_WIDTH * (2 + 65_535);
    yield { paths: [...new Set(paths)], maxBytes, compose: () => composeBundle(leaves()) };
  }
}

async function checkMirror(
  register: AuditRegister,
  mirror: Mirror,
  hashes: Buffer,
  files: readonly ExpectedFile[],
  onFile: () => void,
): Promise<MirrorCheck> {
  const head = await checkHead(register, mirror, hashes);
  const wrong: string[] = [];
  const queue = files.values();
  const drain = async () => {
    for (const file of queue) {
      const fault = await compareFile(mirror, file);
      if (fault !== undefined) wrong.push(fault);
      onFile();
    }
  };
  // Of a mirror without a good checkpoint nothing more can be expected.
  const lanes = head.size === undefined ? 0 : AT_ONCE;
  await Promise.all(Array.from({ length: lanes }, drain));
  const findings = [...head.findings];
  // A mirror that is behind lacks the newest files, and is told to be behind.
  if (wrong.length > 0 && head.size !== undefined && head.size >= register.size) {
    findings.push({
      code: 'mirror-differs',
      severity: 'error',
      summary: `${mirror.url} serves ${wrong.length} files that are not those of the log: ${wrong.sort()[0]}`,
      evidence: { url: mirror.url, files: wrong.slice(0, MAX_LISTED), count: wrong.length },
    });
  }
  return { url: mirror.url, size: head.size, files: lanes === 0 ? 0 : files.length, findings };
}

/** Opens a mirror's own checkpoint and holds it against the leaves. */
async function checkHead(register: AuditRegister, mirror: Mirror, hashes: Buffer) {
  const { policy } = register.archive;
  const url = mirror.url;
  try {
    const { bytes } = await mirror.get({ path: 'checkpoint', maxBytes: MAX_CHECKPOINT_BYTES });
    const { size, root } = openCheckpoint(bytes, policy).checkpoint;
    const rootHere = size <= register.size ? rootAt(hashes, size) : undefined;
    const findings: Finding[] = [];
    if (rootHere !== undefined && !rootHere.equals(root)) {
      const evidence = { url, size, root: root.toString('hex'), rootHere: rootHere.toString('hex') };
      const summary = `${url} shows another log: the root of its ${size} leaves is not that of the first ${size} here`;
      findings.push({ code: 'log-forked', severity: 'error', summary, evidence });
    } else if (size < register.size) {
      const summary = `${url} is behind: it has ${size} of ${register.size} leaves`;
      findings.push({ code: 'mirror-differs', severity: 'warning', summary, evidence: { url, size } });
    }
    return { size, findings };
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    const summary = `${url} has no good checkpoint: ${describeError(error)}`;
    const finding: Finding = { code: 'mirror-failed', severity: 'error', summary, evidence: { url, code: error.code } };
    return { size: undefined, findings: [finding] };
  }
}

function rootAt(hashes: Buffer, size: number): Buffer {
  const range = CompactRange.empty();
  for (let at = 0; at < size; at++) range.append(hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
  return range.root();
}

/** Returns what is wrong with one file of a mirror, if anything is. */
async function compareFile(mirror: Mirror, { paths, maxBytes, compose }: ExpectedFile): Promise<string | undefined> {
  try {
    for (const path of paths) {
      const { kind, bytes } = await mirror.get({ path, maxBytes });
      if (kind === 'absent') continue;
      const expected = compose();
      const isFull = path !== paths[0];
      const same = isFull ? bytes.subarray(0, expected.length).equals(expected) : bytes.equals(expected);
      return same ? undefined : `${path} differs`;
    }
    return `${paths[0]} is not there`;
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    return `${paths[0]}: ${describeError(error)}`;
  }
}
