import { Resolver } from 'node:dns/promises';
import type { EntryTable } from '../../../register/annex.ts';
import type { FindingBook } from './finding.ts';

/** What a resolver says of a name: that it exists, that it does not (NXDOMAIN), or nothing of use. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** Asks whether a name exists. */
export type AskName = (name: string) => Promise<Liveness>;

const QUESTION_MILLIS = 2000;
const TRIES = 2;

/** Questions at once, the most of them, and when the rest is left. */
const CONCURRENCY = 32;
const NAMES_ASKED = 2000;
const ALL_MILLIS = 20_000;

/** Creates what asks one resolver (`192.0.2.53:53`). Take one that does not block what is being looked at. */
export function createAskName(resolver: string): AskName {
  const asker = new Resolver({ timeout: QUESTION_MILLIS, tries: TRIES });
  asker.setServers([resolver]);
  return async (name) => {
    try {
      await asker.resolve4(name);
      return 'alive';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTFOUND') return 'dead';
      return code === 'ENODATA' ? 'alive' : 'unknown';
    }
  };
}

/**
 * Asks whether the listed names exist: many a list holds names that are long gone. Answers are not stored. Of a long list
 * the first 2,000 names are asked, for 20 seconds at most.
 */
export async function checkDeadNames(entries: EntryTable, askName: AskName, book: FindingBook): Promise<void> {
  const endsAt = performance.now() + ALL_MILLIS;
  const count = Math.min(entries.count, NAMES_ASKED);
  let next = 0;
  let unanswered = entries.count - count;
  const ask = async () => {
    while (next < count) {
      const at = next++;
      const liveness = performance.now() < endsAt ? await askName(entries.name(at)) : 'unknown';
      if (liveness === 'unknown') unanswered++;
      if (liveness === 'dead') {
        book.addEntry('dead-name', 'warn', 'does not exist (NXDOMAIN): nothing to block', entries.id(at));
      }
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, ask));
  if (unanswered > 0) {
    book.add('dead-name-unknown', 'warn', `of ${unanswered} names it is not known whether they exist`);
  }
}
