import { createHash, createPrivateKey, hash, type KeyObject, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { canonicalize } from '@tufjs/canonical-json';
import { WartaError } from '../../src/base/errors.ts';
import { refreshTrust, type TrustReading, type TrustRefresh } from '../../src/trust/client.ts';
import type { PublishOptions } from '../../src/trust/publish.ts';
import { createTrustRepository, type TrustKeys, type TrustThresholds } from '../../src/trust/repository.ts';
import { trustKeyOf } from '../../src/trust/trust-key.ts';

/** The time most tests run at: 2026-03-01T09:00:00Z. */
export const NOW = Date.UTC(2026, 2, 1, 9) / 1000;
export const DAY = 86_400;

/** A key that is the same in every run. */
export function seededKey(seed: string): KeyObject {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const raw = createHash('sha256').update(`warta trust test ${seed}`).digest();
  return createPrivateKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'pkcs8' });
}

/** Keys of every role: three of root, two of targets. `set` gives other ones. */
export function makeKeys(set = 'first'): TrustKeys & Record<'root' | 'targets', KeyObject[]> {
  return {
    root: ['a', 'b', 'c'].map((id) => seededKey(`${set} root ${id}`)),
    targets: ['a', 'b'].map((id) => seededKey(`${set} targets ${id}`)),
    snapshot: seededKey(`${set} snapshot`),
    timestamp: seededKey(`${set} timestamp`),
  };
}

/** Every private key of a set. */
export function allOf({ root, targets, snapshot, timestamp }: TrustKeys): KeyObject[] {
  return [...root, ...targets, snapshot, timestamp];
}

export const THRESHOLDS: TrustThresholds = { root: 2, targets: 2 };

/** Writes without waiting for the disk, which tests that crash nothing need not do. */
export function write(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

/** A published repository, and a node that follows it. */
export class TrustFixture {
  readonly folder = mkdtempSync(join(tmpdir(), 'warta-trust-'));
  /** The served tree. */
  readonly tree = join(this.folder, 'trust');
  readonly scratch = join(this.folder, 'scratch');
  readonly keys: ReturnType<typeof makeKeys>;
  readonly pinnedRoot: Buffer;
  /** Paths that the node has asked for since it last succeeded or failed. */
  asked: string[] = [];
  /** What the node keeps. */
  files = new Map<string, Uint8Array>();

  constructor({
    nowSeconds = NOW,
    keySet = 'first',
    authorities = '{"text":1}',
    termDays,
  }: { nowSeconds?: number; keySet?: string; authorities?: string; termDays?: PublishOptions['termDays'] } = {}) {
    this.keys = makeKeys(keySet);
    createTrustRepository({ ...this.at(nowSeconds), keys: this.keys, thresholds: THRESHOLDS, authorities, termDays });
    this.pinnedRoot = readFileSync(join(this.tree, '1.root.json'));
  }

  /** Options of the publisher at a time. */
  at(nowSeconds = NOW) {
    return { folder: this.tree, nowSeconds, write };
  }

  /** Bytes of a served file. */
  read(path: string): Buffer | undefined {
    try {
      return readFileSync(join(this.tree, path));
    } catch {
      return undefined;
    }
  }

  /** Puts a file where the mirror serves it. */
  serve(path: string, bytes: Uint8Array | string): void {
    write(join(this.tree, path), Buffer.from(bytes));
  }

  /** Every file served, by path. */
  snapshotTree(): Map<string, Buffer> {
    const names = readdirSync(this.tree, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.json'),
    );
    return new Map(names.map((name) => [name, readFileSync(join(this.tree, name))]));
  }

  /** Makes the mirror serve these files and no others. */
  restoreTree(files: ReadonlyMap<string, Uint8Array>): void {
    rmSync(this.tree, { recursive: true });
    for (const [path, bytes] of files) this.serve(path, bytes);
  }

  /** The node refreshes and, when that succeeds, keeps what it got. */
  async refresh(changes: Partial<TrustRefresh> = {}): Promise<TrustReading> {
    this.asked = [];
    const reading = await refreshTrust({
      pinnedRoot: this.pinnedRoot,
      files: this.files,
      scratch: this.scratch,
      nowSeconds: NOW,
      fetch: async (path) => {
        this.asked.push(path);
        return this.read(path);
      },
      ...changes,
    });
    this.files = new Map(reading.files);
    return reading;
  }

  /** Refreshes where that must fail, and returns the error's code and message; the node must have kept what it had. */
  async refuse(changes: Partial<TrustRefresh> = {}): Promise<{ code: string; message: string }> {
    const before = new Map(this.files);
    const outcome = await this.refresh(changes).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(outcome instanceof WartaError)) throw new Error(`not refused with a code: ${outcome ?? 'accepted'}`);
    if (before.size !== this.files.size) throw new Error('a refused refresh changed what is kept');
    return { code: outcome.code, message: outcome.message };
  }

  clear(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** A key that signs, under its own key id or a false one. */
export type Forger = KeyObject | { key: KeyObject; keyId: string };

/** Fields to put into the signed part of metadata, which may be made out of what it says. */
// biome-ignore lint/suspicious/noExplicitAny: what a forger edits has no type
export type Edit = object | ((signed: any) => object);

/** Changes the signed part of metadata and signs the outcome with these keys alone; what it says need not make sense. */
export function forge(bytes: Uint8Array | undefined, signers: readonly Forger[], edit: Edit = {}): Buffer {
  const { signed } = JSON.parse(Buffer.from(bytes!).toString());
  Object.assign(signed, typeof edit === 'function' ? edit(signed) : edit);
  const message = Buffer.from(canonicalize(signed));
  const signatures = signers.map((forger) => {
    const key = 'keyId' in forger ? forger.key : forger;
    const keyid = 'keyId' in forger ? forger.keyId : trustKeyOf(key).keyID;
    return { keyid, sig: sign(null, message, key).toString('hex') };
  });
  return Buffer.from(JSON.stringify({ signatures, signed }));
}

/** What one file says of another: its version, length and hash. */
export function describeFile(bytes: Uint8Array, version: number) {
  return { version, length: bytes.length, hashes: { sha256: hash('sha256', bytes, 'hex') } };
}
