import { join } from 'node:path';
import { readPrivateKey } from '../../register/key.ts';
import { loadTrust } from '../../trust/client.ts';
import { refreshTimestamp } from '../../trust/repository.ts';
import { collectTree, readFrom } from '../../trust/served-tree.ts';
import type { LogConfig } from './log-config.ts';

/** A timestamp is signed anew when it is valid for less than this: it is made for a week, so this is done every day. */
const RENEW_BEFORE_SECONDS = 6 * 86_400;

/**
 * Signs a new TUF timestamp when one is due and the log has the keys of the online roles (TUF §6.2: timestamp, and snapshot
 * when half its term is over). They can make nodes see that nothing changed; they cannot change who may sign what.
 *
 * @throws {WartaError} `key-invalid`, `trust-invalid`, `trust-expired` when root or targets have lapsed: their holders must
 *   sign.
 */
export function renewTimestamp(config: LogConfig, pinnedRoot: Uint8Array, nowSeconds: number): boolean {
  const { onlineKeys } = config;
  if (onlineKeys === undefined) return false;
  const folder = join(config.public, 'trust');
  const { expires } = loadTrust({ pinnedRoot, files: collectTree(readFrom(folder)) });
  if (expires.timestamp - nowSeconds >= RENEW_BEFORE_SECONDS) return false;
  const keys = {
    timestamp: readPrivateKey(onlineKeys.timestamp),
    snapshot: onlineKeys.snapshot === undefined ? undefined : readPrivateKey(onlineKeys.snapshot),
  };
  refreshTimestamp({ folder, keys, nowSeconds });
  return true;
}
