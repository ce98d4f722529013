import type { AskName } from './dead-names.ts';
import type { PopularNames } from './popular-names.ts';

/** What the pre-flight looks things up in besides the pack and the register. */
export interface PreflightSources {
  /** A ranked list of popular names. */
  readonly popular?: PopularNames;
  /** Asks the configured resolver whether a name is alive. */
  readonly askName?: AskName;
}
