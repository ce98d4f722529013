import { WartaError } from '../../base/errors.ts';
import { openCheckpoint } from '../../log/checkpoint.ts';
import { DirectoryStorage } from '../../log/directory-storage.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { CHECKPOINT_PATH } from '../../log/sequencer.ts';
import { parseLeaf } from '../../register/leaf.ts';
import { formatInstant } from '../../register/time.ts';
import type { LogConfig } from './log-config.ts';
import { openTrust } from './log-site.ts';
import { openPublicTree } from './public-tree.ts';
import { readLeaves } from './register-tree.ts';

/** How a log stands, from its files alone. */
export interface LogStatus {
  readonly origin: string;
  readonly size: number;
  /** Lower-case hexadecimal. */
  readonly rootHash: string;
  /** When the newest leaf was integrated; absent for an empty log. */
  readonly newestLeafAt?: string;
  /** The witnesses of authorities.json, each with its cosignature of the published checkpoint, if there is one. */
  readonly witnesses: readonly { readonly name: string; readonly cosignedAt?: string }[];
  readonly quorum: number;
  readonly witnessed: boolean;
  /** Seconds since a quorum had cosigned; absent without one. */
  readonly ageSeconds?: number;
  /** Whether a sequencer has the log. */
  readonly running: boolean;
  readonly authoritiesVersion: number;
  readonly trustExpired: boolean;
  /** What an operator must see to, in plain words; empty when all is well. */
  readonly faults: readonly string[];
}

/** A log that renews cosignatures is stale when it has not done so for this many times the interval. */
const STALE_INTERVALS = 3;

/**
 * Reads how a log stands. Takes the sequencer's lock for a moment when it is free, to see that nobody has it.
 *
 * @throws {WartaError} `log-invalid` when nothing is published yet, and what reading trust and checkpoint throws.
 */
export async function readLogStatus(config: LogConfig, nowSeconds: number): Promise<LogStatus> {
  const storage = await openPublicTree(config);
  const { authorities, expired } = await openTrust(config).read(nowSeconds);
  const note = await storage.read(CHECKPOINT_PATH);
  if (note === undefined) {
    throw new WartaError('log-invalid', `${config.origin} has no checkpoint yet: start the log with warta log run`);
  }
  const { log, witnesses = [], quorum = 0, version } = authorities.file;
  if (log === undefined) throw new WartaError('config-invalid', 'authorities.json names no log');
  const opened = openCheckpoint(note, { ...log, witnesses, quorum });
  const { size, root } = opened.checkpoint;
  const times = new Map(opened.cosignatures.map(({ name, timeSeconds }) => [name, formatInstant(timeSeconds)]));
  const witnessedAt = opened.witnessedAtSeconds;
  const status = {
    origin: config.origin,
    size,
    rootHash: Buffer.from(root).toString('hex'),
    newestLeafAt: await readNewestTime(storage, size),
    witnesses: witnesses.map(({ name }) => ({ name, cosignedAt: times.get(name) })),
    quorum,
    witnessed: opened.witnessed,
    ageSeconds: witnessedAt === undefined ? undefined : Math.max(0, Math.floor(nowSeconds - witnessedAt)),
    running: await isHeld(config),
    authoritiesVersion: version,
    trustExpired: expired,
  };
  return { ...status, faults: findFaults(status, config) };
}

async function readNewestTime(storage: LogStorage, size: number): Promise<string | undefined> {
  if (size === 0) return undefined;
  for await (const leaf of readLeaves(storage, size - 1, size)) {
    return formatInstant(parseLeaf(leaf).integratedAtSeconds);
  }
  return undefined;
}

/** Whether a process has the log. */
async function isHeld({ state }: LogConfig): Promise<boolean> {
  try {
    (await new DirectoryStorage(state).lock())();
    return false;
  } catch (error) {
    if (error instanceof WartaError && error.code === 'log-busy') return true;
    throw error;
  }
}

function findFaults(status: Omit<LogStatus, 'faults'>, { freshSeconds }: LogConfig): string[] {
  const { running, witnessed, witnesses, quorum, ageSeconds = 0, trustExpired } = status;
  const faults: string[] = [];
  const signed = witnesses.filter(({ cosignedAt }) => cosignedAt !== undefined).length;
  if (!running) faults.push('no sequencer is running: start warta log run');
  if (!witnessed) faults.push(`${signed} of ${quorum} witnesses cosigned: new blocks wait at every node`);
  else if (ageSeconds > STALE_INTERVALS * freshSeconds) faults.push('the checkpoint is stale: see to the witnesses');
  if (trustExpired) faults.push('the TUF metadata has lapsed: only releases are taken; sign a new timestamp');
  return faults;
}
