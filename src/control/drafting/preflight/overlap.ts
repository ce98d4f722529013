import type { EntryTable, PageUrl } from '../../../register/annex.ts';
import { ancestorsOf } from '../../../register/entry-name.ts';
import type { Turns } from '../../view/turns.ts';
import { addressOf } from './breadth.ts';
import type { FindingBook } from './finding.ts';
import type { NoticeInForce } from './register-facts.ts';

/** Where names of the draft stand: by the name itself, and by every name above it. */
interface DraftIndex {
  readonly exact: ReadonlyMap<string, readonly number[]>;
  /** Pages by their host, and by where they are: with their query, and without it. */
  readonly hosts: ReadonlyMap<string, readonly number[]>;
  readonly pages: ReadonlyMap<string, readonly number[]>;
  readonly subtrees: ReadonlyMap<string, readonly number[]>;
  /** Entries strictly below a name. */
  readonly below: ReadonlyMap<string, readonly number[]>;
}

/**
 * Looks for names that another notice blocks already: then there is nothing to add, and whoever lifts one of the two will
 * find the name blocked still. Names are looked up in the draft, which is smaller than the register.
 */
export async function checkOverlap(
  entries: EntryTable,
  notices: readonly NoticeInForce[],
  book: FindingBook,
  turns: Turns,
): Promise<void> {
  if (notices.length === 0) return;
  const index = await indexDraft(entries, turns);
  for (const notice of notices) {
    const covered = new Set<number>();
    for (let at = 0; at < notice.entries.count; at++) {
      await turns.share();
      const hits = findCovered(index, notice.entries, at);
      if (hits.length > 0 && notice.counts(at)) for (const hit of hits) covered.add(hit);
    }
    const message = `blocked already by notice ${notice.reference}`;
    for (const at of [...covered].sort((one, other) => one - other))
      book.addEntry('overlap', 'warn', message, entries.id(at));
  }
}

const NONE: readonly number[] = [];

/** Returns the draft's entries that an entry in force covers whole. */
function findCovered(index: DraftIndex, entries: EntryTable, at: number): readonly number[] {
  const name = entries.name(at);
  const page = entries.urls.get(at);
  if (page !== undefined) return findCoveredPages(index, page);
  const exact = index.exact.get(name) ?? NONE;
  const hosts = index.hosts.get(name) ?? NONE;
  const covers = entries.scope(at) === 'subtree';
  const same = (covers ? index.subtrees.get(name) : undefined) ?? NONE;
  const below = (covers ? index.below.get(name) : undefined) ?? NONE;
  const count = exact.length + hosts.length + same.length + below.length;
  return count === 0 ? NONE : [...exact, ...hosts, ...same, ...below];
}

/** Returns the draft's pages that a page in force is, whatever their query is where its own may be anything. */
function findCoveredPages(index: DraftIndex, page: PageUrl): readonly number[] {
  const { path, whole } = addressOf(page);
  return index.pages.get(page.anyQuery ? `${path} *` : whole) ?? NONE;
}

async function indexDraft(entries: EntryTable, turns: Turns): Promise<DraftIndex> {
  const exact = new Map<string, number[]>();
  const hosts = new Map<string, number[]>();
  const pages = new Map<string, number[]>();
  const subtrees = new Map<string, number[]>();
  const below = new Map<string, number[]>();
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const scope = entries.scope(at);
    const name = entries.name(at);
    const page = entries.urls.get(at);
    if (page !== undefined) {
      const { path, whole } = addressOf(page);
      append(hosts, name, at);
      append(pages, `${path} *`, at);
      append(pages, whole, at);
    } else append(scope === 'exact' ? exact : subtrees, name, at);
    // A rule for a whole top-level domain is none: no list of that length is needed.
    for (const ancestor of ancestorsOf(name)) if (ancestor.includes('.')) append(below, ancestor, at);
  }
  return { exact, hosts, pages, subtrees, below };
}

function append(lists: Map<string, number[]>, key: string, value: number): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
