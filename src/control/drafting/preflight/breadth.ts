import { getDomain } from 'tldts';
import type { EntryTable } from '../../../register/annex.ts';
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
  /** Hosts of URLs. */
  readonly urlHosts: ReadonlySet<string>;
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
    if (scope !== 'url' && listed.urlHosts.has(name)) {
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
  const urls = new Set<string>();
  const urlHosts = new Set<string>();
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const [id, name, scope] = [entries.id(at), entries.name(at), entries.scope(at)];
    const url = entries.urls.get(at) ?? '';
    const isRepeated = scope === 'exact' ? exact.has(name) : scope === 'subtree' ? subtrees.has(name) : urls.has(url);
    if (isRepeated) book.addEntry('duplicate-entry', 'warn', 'listed before', id);
    else if (scope === 'exact') exact.add(name);
    else if (scope === 'subtree') subtrees.set(name, id);
    else {
      urls.add(url);
      urlHosts.add(name);
    }
  }
  return { exact, subtrees, urlHosts };
}

/** Returns the nearest listed subtree that holds a name; a subtree does not hold itself. */
function findCover(name: string, isSubtree: boolean, subtrees: ReadonlyMap<string, string>): string | undefined {
  if (!isSubtree && subtrees.has(name)) return name;
  for (const ancestor of ancestorsOf(name)) if (subtrees.has(ancestor)) return ancestor;
  return undefined;
}
