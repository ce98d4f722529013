import { dirname, resolve } from 'node:path';
import type { Pack } from '../../../register/pack.ts';
import { createAskName } from './dead-names.ts';
import { loadPopularNames } from './popular-names.ts';
import type { PreflightSources } from './sources.ts';

/** Where the pre-flight looks things up. */
export interface SourcePlaces {
  readonly pack: Pack;
  /** Its file: what it names lies beside it. */
  readonly packFile: string;
  /** The operator's list of popular names, which goes before the pack's. */
  readonly popularNames?: string;
  /** A resolver's address and port. */
  readonly resolver?: string;
}

/**
 * Opens what the pre-flight looks things up in.
 *
 * @throws {WartaError} `config-unreadable`, `config-invalid`.
 */
export function openPreflightSources({ pack, packFile, popularNames, resolver }: SourcePlaces): PreflightSources {
  const { file } = pack.preflight.popular;
  const list = popularNames ?? (file && resolve(dirname(packFile), file));
  return {
    ...(list !== undefined && { popular: loadPopularNames(list) }),
    ...(resolver !== undefined && { askName: createAskName(resolver) }),
  };
}
