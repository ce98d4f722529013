import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WartaError } from '../base/errors.ts';
import { parsePack } from '../register/pack.ts';
import type { AnnexSource } from '../register/verify-statement.ts';
import { openArchive, type RegisterArchive } from '../sync/register-archive.ts';
import { AuditRegister, type PinnedPack } from './audit-register.ts';

/** Where a register is read from. */
export interface RegisterPlace {
  /** URLs, or folders with a copy of the register. */
  readonly mirrors: readonly string[];
  /** 1.root.json. */
  readonly pinnedRoot: Uint8Array;
  readonly packs: readonly Uint8Array[];
  readonly cacheFolder: string;
  /** Folders with annexes that no public mirror has, such as sealed ones. */
  readonly annexFolders: readonly string[];
  readonly nowSeconds: number;
  /** Told what is done and how far it is. */
  readonly onProgress?: (step: 'leaves' | 'statements' | 'annexes', done: number, total: number) => void;
}

/** A register to audit and the archive behind it, which is to be closed. */
export interface OpenedRegister {
  readonly register: AuditRegister;
  readonly archive: RegisterArchive;
}

/**
 * Brings the cache up to date, verifies every statement that can decide a rule, and fetches the annexes that are missing and
 * public. Heartbeats are verified when a reading asks for them: `verifyAhead` does that with all cores.
 *
 * @throws {WartaError} what `openArchive` throws, `pack-invalid`, `authorities-invalid`.
 */
export async function openRegister(place: RegisterPlace): Promise<OpenedRegister> {
  const { mirrors, pinnedRoot, cacheFolder, nowSeconds, onProgress } = place;
  const packs = place.packs.map(pinPack);
  const onLeaves = (done: number, total: number) => onProgress?.('leaves', done, total);
  const archive = await openArchive({ mirrors, pinnedRoot, cacheFolder, nowSeconds, onLeaves });
  try {
    const annexes = withFolders(archive.annexes, place.annexFolders);
    const register = new AuditRegister({ ...archive, annexes }, packs);
    const onStatements = (done: number) => onProgress?.('statements', done, register.size);
    await register.verifyAhead({ rulesOnly: true, onStatements });
    const missing = register.findMissingAnnexes();
    const wanted = missing.filter(({ sealed }) => !sealed);
    const verify = ({ digest }: { digest: string }, bytes: Uint8Array) => register.takeAnnex(digest, bytes);
    await archive.fetchAnnexes(wanted, verify, nowSeconds, (done, total) => onProgress?.('annexes', done, total));
    return { register, archive };
  } catch (error) {
    await archive.close();
    throw error;
  }
}

function pinPack(bytes: Uint8Array): PinnedPack {
  return { ...parsePack(bytes), bytes };
}

/**
 * Looks for annexes in folders too: `<digest>.jsonl`, there or in the folder of its first two digits as a log has them.
 */
function withFolders(annexes: AnnexSource, folders: readonly string[]): AnnexSource {
  const paths = (digest: string) =>
    folders.flatMap((folder) => [join(folder, `${digest}.jsonl`), join(folder, digest.slice(0, 2), `${digest}.jsonl`)]);
  return {
    read(digest, maxBytes) {
      const held = annexes.read(digest, maxBytes);
      if (held !== undefined) return held;
      for (const path of paths(digest)) {
        const bytes = readIfThere(path);
        if (bytes !== undefined) return bytes;
      }
      return undefined;
    },
  };
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new WartaError('store-failed', `cannot read ${path} (${code ?? 'unknown fault'}): check its owner`, {
      cause,
    });
  }
}
