import type { EntryTable } from '../../../register/annex.ts';
import { ancestorsOf } from '../../../register/entry-name.ts';
import { checkOfRefusal, createGuard, type GuardCheck } from '../../../register/guard.ts';
import type { Pack } from '../../../register/pack.ts';
import { refuseAt } from '../../../register/pages.ts';
import type { Turns } from '../../view/turns.ts';
import type { FindingBook, Level } from './finding.ts';

/** What the guard-rails hold back is refused here as well, but for these. */
const MILDER: Partial<Record<GuardCheck, Level>> = { 'media-name': 'needs-third-approver' };

/** Approvals that the guard-rails are tried with: none, so that names of the media show. */
const NO_APPROVALS = 0;

/** Tries the guard-rails that every node applies: what they hold back would be published and block nothing. */
export async function checkGuard(entries: EntryTable, pack: Pack, book: FindingBook, turns: Turns): Promise<void> {
  const refuse = createGuard(pack);
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const reason = refuseAt(refuse, entries, at, NO_APPROVALS);
    if (reason === undefined) continue;
    const check = checkOfRefusal(reason);
    book.addEntry(check, MILDER[check] ?? 'refuse', reason, entries.id(at));
  }
}

/**
 * Looks for names that pages of others load files from, and subtrees that cover one. A page takes its host down where HTTPS to
 * it is closed (`closesHttps`), and else leads all that is asked of it through the gateway.
 */
export async function checkSharedResources(
  entries: EntryTable,
  pack: Pack,
  closesHttps: boolean,
  book: FindingBook,
  turns: Turns,
): Promise<void> {
  const shared = new Set(pack.preflight.sharedResources);
  const above = new Map(
    pack.preflight.sharedResources.flatMap((name) =>
      [...ancestorsOf(name)].map((ancestor) => [ancestor, name] as const),
    ),
  );
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const scope = entries.scope(at);
    const name = entries.name(at);
    const found = shared.has(name) ? name : scope === 'subtree' ? above.get(name) : undefined;
    if (found === undefined) continue;
    if (scope === 'url' && !closesHttps) {
      const message = `leads all of ${found} through the gateway, which pages of other sites load files from`;
      book.addEntry('shared-resource', 'needs-third-approver', message, entries.id(at));
      continue;
    }
    const message = `takes down ${found}, which pages of other sites load files from`;
    book.addEntry('shared-resource', 'refuse', message, entries.id(at), true);
  }
}
