import type { NoticeFacts } from '../rules/rule-table.ts';
import type { RuleAction, RuleTableBuilder } from '../rules/rule-table-builder.ts';
import type { OnEntries } from './annex.ts';
import { exclusionsOf, type FoldedNotice, type Window, windowsOf } from './fold.ts';
import { createGuard, type RefuseEntry } from './guard.ts';
import type { Pack } from './pack.ts';
import { countsOf, type PageCounts, refuseAt, sumPages } from './pages.ts';
import { secondsOf } from './time.ts';
import type { KnownNotice } from './verify-statement.ts';

/** What the compiler needs of a rule table's builder. */
export type RuleSink = Pick<RuleTableBuilder, 'addNotice' | 'addRule' | 'addPage'>;

/** An entry that is signed and in force, and yet makes no rule. */
export interface RefusedEntry {
  /** Reference of the notice. */
  readonly notice: string;
  /** Id of the entry. */
  readonly entry: string;
  readonly name: string;
  readonly reason: string;
}

/** What was compiled: rules of every action, entries behind them, those of them that list a page, and what was refused. */
export interface Compilation extends PageCounts {
  readonly rules: number;
  readonly entries: number;
  readonly refused: readonly RefusedEntry[];
}

/** Stands for a name of a sealed annex in reports. */
const SEALED = '(sealed)';

/** How often progress is told. */
const PROGRESS_EVERY = 1 << 14;

const NONE_REFUSED: readonly RefusedEntry[] = [];

/**
 * Turns folded notices into rules. A rule has no window but those of its entry, so it cannot outlive its notice; what the
 * guard-rails of the pack refuse makes no rule and is listed, while the rest stands. An exclusion becomes a passthru rule
 * that carries its entry's ordinal, so that it narrows that entry and no other.
 */
export function compileRules(
  folded: readonly FoldedNotice<KnownNotice>[],
  pack: Pack,
  sink: RuleSink,
  onEntries?: (done: number, total: number) => void,
): Compilation {
  const guard = createGuard(pack);
  const refused: RefusedEntry[] = [];
  const counts: PageCounts[] = [];
  const total = countEntries(folded);
  let rules = 0;
  let ordinal = 0;
  let done = 0;
  for (const one of folded) {
    const compiled = compileNotice(one, guard, sink, ordinal, (at) => onEntries?.(done + at, total));
    rules += compiled.rules;
    ordinal += compiled.entries;
    done += one.entries.count;
    if (compiled.pages > 0) counts.push(compiled);
    for (const entry of compiled.refused) refused.push(entry);
  }
  onEntries?.(total, total);
  return { rules, entries: ordinal, ...sumPages(counts), refused };
}

/** Counts the entries of all notices. */
export function countEntries(folded: readonly FoldedNotice<KnownNotice>[]): number {
  return folded.reduce((sum, { entries }) => sum + entries.count, 0);
}

/** Turns one folded notice into rules; its entries are numbered from `firstEntry` on. */
export function compileNotice(
  one: FoldedNotice<KnownNotice>,
  guard: RefuseEntry,
  sink: RuleSink,
  firstEntry: number,
  onEntries?: OnEntries,
): Compilation {
  const { entries, notice } = one;
  const approvers = notice.statement.approvals.length;
  const noticeOrdinal = addNotice(one, sink);
  const refused: RefusedEntry[] = [];
  let rules = 0;
  let pages = 0;
  let ordinal = firstEntry;
  for (let at = 0; at < entries.count; at++) {
    if (at % PROGRESS_EVERY === 0) onEntries?.(at);
    const windows = windowsOf(one, at);
    if (windows.length === 0) continue;
    const name = entries.name(at);
    const scope = entries.scope(at);
    const page = entries.urls.get(at);
    const reason = page === undefined ? guard(name, scope, approvers) : refuseAt(guard, entries, at, approvers, name);
    if (reason !== undefined) {
      refused.push(describeRefusal(one, at, reason));
      continue;
    }
    rules += addExclusions(one, at, windows, noticeOrdinal, ordinal, sink);
    const trigger = scope === 'subtree' ? 'subtree' : 'exact';
    const action = page === undefined ? entries.action(at) : 'steer';
    for (const { notBefore, notAfter } of windows) {
      // Nobody knew of a notice before it was in the register; see STEERING_DELAY_SECONDS.
      const start = page === undefined ? notBefore : Math.max(notBefore, notice.integratedAtSeconds);
      sink.addRule(name, trigger, action, start, notAfter, noticeOrdinal, ordinal);
    }
    if (page !== undefined) {
      sink.addPage(ordinal, page.url, page.anyQuery);
      pages++;
    }
    rules += windows.length;
    ordinal++;
  }
  const listed = refused.length === 0 ? NONE_REFUSED : refused;
  return { rules, entries: ordinal - firstEntry, ...countsOf(notice.statement, pages), refused: listed };
}

/** Names a refused entry in reports; a sealed name stays sealed. */
function describeRefusal({ notice, entries }: FoldedNotice<KnownNotice>, at: number, reason: string): RefusedEntry {
  const { reference, annex } = notice.statement;
  return { notice: reference, entry: entries.id(at), name: annex.sealed ? SEALED : entries.name(at), reason };
}

/** Registers what an answer under this notice says, and what its page says if it leads there. */
function addNotice({ notice, entries }: FoldedNotice<KnownNotice>, sink: RuleSink): number {
  const { reference, category, redress } = notice.statement;
  const page = entries.redirects || entries.scopes.includes('url') ? { page: describeFacts(notice) } : {};
  return sink.addNotice({ reference, category, authority: notice.authority.name, contacts: redress.contacts, ...page });
}

/** Says of a notice what only its page does. */
function describeFacts({ statement, startSeconds }: KnownNotice): NoticeFacts {
  const { instrument, dates, annex, https } = statement;
  return {
    instrument,
    fromSeconds: startSeconds,
    ...(dates?.reviewBy === undefined ? {} : { reviewBySeconds: secondsOf(dates.reviewBy) }),
    ...(annex.sealed ? { sealed: true } : {}),
    ...(https === undefined ? {} : { blocksHttps: true }),
  };
}

/**
 * Adds what the exclusions of one entry need and returns how many rules: a passthru for each, and an exact block for every
 * name between it and the entry's. An exact rule answers NODATA where the subtree would answer NXDOMAIN, and NXDOMAIN for a
 * name denies everything below it (RFC 8020), the exclusion too. They go in before the subtree's own rule: among rules of
 * one name the first is taken.
 */
function addExclusions(
  one: FoldedNotice<KnownNotice>,
  at: number,
  windows: readonly Window[],
  notice: number,
  ordinal: number,
  sink: RuleSink,
): number {
  if (!one.entries.excludes.has(at) && !one.varied.has(at)) return 0;
  const above = new Map<string, number>();
  let added = 0;
  const add = (name: string, action: RuleAction, fromSeconds: number) => {
    const trigger = action === 'passthru' ? 'subtree' : 'exact';
    for (const { notBefore, notAfter } of windows) {
      const start = Math.max(notBefore, fromSeconds);
      if (start >= notAfter) continue;
      sink.addRule(name, trigger, action, start, notAfter, notice, ordinal);
      added++;
    }
  };
  // A redirect never answers NXDOMAIN.
  const denies = one.entries.action(at) === 'block';
  for (const { name, fromSeconds } of exclusionsOf(one, at)) {
    add(name, 'passthru', fromSeconds);
    if (!denies) continue;
    for (const ancestor of namesBetween(name, one.entries.name(at))) {
      above.set(ancestor, Math.min(fromSeconds, above.get(ancestor) ?? fromSeconds));
    }
  }
  for (const [name, fromSeconds] of above) add(name, 'block', fromSeconds);
  return added;
}

/** Yields the names above `name` up to `apex`, which it is below. */
function* namesBetween(name: string, apex: string): Generator<string> {
  for (let above = name; above.length > apex.length; ) {
    above = above.slice(above.indexOf('.') + 1);
    yield above;
  }
}
