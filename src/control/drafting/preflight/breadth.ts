import { getDomain } from 'tldts';
import type { EntryTable, PageUrl } from '../../../register/annex.ts';
import { ancestorsOf } from '../../../register/entry-name.ts';
import type { Turns } from '../../view/turns.ts';
import type { FindingBook } from './finding.ts';

/** The private part of the suffix list counts: one customer's name below a shared host is a domain of its own. */
const DOMAIN_OPTIONS = { allowPrivateDomains: true, extractHostname: false, validateHostname: false, detectIp: false };

/** Names of the entries by scope. */
interface Listed {
  readonly exact: ReadonlySet<string>;
  /** Subtrees with the id of the first entry of each. */
  readonly subtrees: ReadonlyMap<string, string>;
  /** Hosts of pages. */
  readonly pageHosts: ReadonlySet<string>;
  /** Addresses of pages that are listed whatever their query is. */
  readonly anyQuery: ReadonlySet<string>;
}

/** Looks for entries given twice, entries that another covers, and entries wider than what they seem to be about. */
export async function checkBreadth(entries: EntryTable, book: FindingBook, turns: Turns): Promise<void> {
  const listed = await listNames(entries, book, turns);
  const hosting = new Set<string>();
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const [id, name, scope] = [entries.id(at), entries.name(at), entries.scope(at)];
    const cover = findCover(name, scope === 'subtree', listed.subtrees);
    if (cover !== undefined) {
      book.addEntry('contained-entry', 'warn', 'lies within a subtree that is listed too', id);
      if (scope !== 'subtree' && cover !== name) hosting.add(cover);
    }
    if (scope === 'subtree' && name.startsWith('www.')) {
      book.addEntry('breadth', 'warn', 'a subtree at a www name: the exact name would do', id);
    }
    const page = entries.urls.get(at);
    if (page !== undefined && !page.anyQuery && listed.anyQuery.has(addressOf(page).path)) {
      book.addEntry('contained-entry', 'warn', 'is a page that is listed with any query too', id);
    }
    if (scope !== 'url' && listed.pageHosts.has(name)) {
      book.addEntry('breadth', 'warn', 'blocks the whole name while a single page of it is listed too', id);
    }
  }
  for (const name of hosting) {
    if (getDomain(name, DOMAIN_OPTIONS) !== name) continue;
    const message = 'a whole domain beside single hosts of it: list the hosts alone if they are what is meant';
    book.addEntry('breadth', 'warn', message, listed.subtrees.get(name)!);
  }
}

/** Sorts the names by scope, and notes what is listed twice. */
async function listNames(entries: EntryTable, book: FindingBook, turns: Turns): Promise<Listed> {
  const exact = new Set<string>();
  const subtrees = new Map<string, string>();
  const pages = new Set<string>();
  const pageHosts = new Set<string>();
  const anyQuery = new Set<string>();
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const [id, name, scope] = [entries.id(at), entries.name(at), entries.scope(at)];
    const page = entries.urls.get(at);
    const { path, whole } = page === undefined ? { path: '', whole: '' } : addressOf(page);
    const isRepeated =
      scope === 'exact' ? exact.has(name) : scope === 'subtree' ? subtrees.has(name) : pages.has(whole);
    if (isRepeated) book.addEntry('duplicate-entry', 'warn', 'listed before', id);
    else if (scope === 'exact') exact.add(name);
    else if (scope === 'subtree') subtrees.set(name, id);
    else {
      pages.add(whole);
      pageHosts.add(name);
      if (page?.anyQuery) anyQuery.add(path);
    }
  }
  return { exact, subtrees, pageHosts, anyQuery };
}

/**
 * Returns where a page is without its query, and with it: http and https are one, and an empty query is none. The gateway takes
 * still more spellings for one (see its `canonical-url.ts`); those are told apart here.
 */
export function addressOf({ url, anyQuery }: PageUrl): { path: string; whole: string } {
  const { host, pathname, search } = new URL(url);
  const path = `${host}${pathname}`;
  return { path, whole: anyQuery ? `${path} any` : `${path}${search}` };
}

/** Returns the nearest listed subtree that holds a name; a subtree does not hold itself. */
function findCover(name: string, isSubtree: boolean, subtrees: ReadonlyMap<string, string>): string | undefined {
  if (!isSubtree && subtrees.has(name)) return name;
  for (const ancestor of ancestorsOf(name)) if (subtrees.has(ancestor)) return ancestor;
  return undefined;
}
