import type { EntryTable } from './annex.ts';
import { type FoldedNotice, windowsOf } from './fold.ts';
import { type RefuseEntry, refuseUrl } from './guard.ts';
import type { Notice } from './statement.ts';
import type { KnownNotice } from './verify-statement.ts';

/**
 * What HTTPS to the host of a listed page comes to. `passed`: it is let through, as no page can be told apart there, so the page is
 * blocked on HTTP alone. `closed`: the notice says `https: block-host`, and all of the host is closed on HTTPS.
 */
export const PAGE_HTTPS = ['passed', 'closed'] as const;

/** What HTTPS to the host of a listed page comes to. */
export type PageHttps = (typeof PAGE_HTTPS)[number];

/** How many entries list a page, and how many of those hold on HTTP alone. */
export interface PageCounts {
  readonly pages: number;
  readonly httpOnlyPages: number;
}

/** No page at all. */
export const NO_PAGES: PageCounts = { pages: 0, httpOnlyPages: 0 };

/** Returns what HTTPS to the hosts of a notice's pages comes to. */
export function httpsOfPages({ https }: Pick<Notice, 'https'>): PageHttps {
  return https === undefined ? 'passed' : 'closed';
}

/** Returns the counts of a notice with so many pages. */
export function countsOf(notice: Pick<Notice, 'https'>, pages: number): PageCounts {
  return pages === 0 ? NO_PAGES : { pages, httpOnlyPages: httpsOfPages(notice) === 'passed' ? pages : 0 };
}

/** Adds counts up. */
export function sumPages(counts: Iterable<PageCounts>): PageCounts {
  let pages = 0;
  let httpOnlyPages = 0;
  for (const one of counts) {
    pages += one.pages;
    httpOnlyPages += one.httpOnlyPages;
  }
  return { pages, httpOnlyPages };
}

/** Counts the entries that lead to the notice page. */
export function countRedirects(entries: EntryTable): number {
  let count = 0;
  if (entries.redirects) for (let at = 0; at < entries.count; at++) if (entries.action(at) === 'redirect') count++;
  return count;
}

/** Returns why the guard-rails let an entry make no rule, or `undefined` when it may. */
export function refuseAt(
  guard: RefuseEntry,
  entries: EntryTable,
  at: number,
  approvers: number,
  name = entries.name(at),
): string | undefined {
  const reason = guard(name, entries.scope(at), approvers);
  if (reason !== undefined) return reason;
  const page = entries.urls.get(at);
  return page === undefined ? undefined : refuseUrl(page.url);
}

/** Counts the pages that `compileRules` makes rules for, and looks at no other entry. */
export function countPages(folded: readonly FoldedNotice<KnownNotice>[], guard: RefuseEntry): PageCounts {
  const counts: PageCounts[] = [];
  for (const one of folded) {
    const { entries, notice } = one;
    if (entries.urls.size === 0) continue;
    const approvers = notice.statement.approvals.length;
    let pages = 0;
    for (const at of entries.urls.keys()) {
      if (windowsOf(one, at).length > 0 && refuseAt(guard, entries, at, approvers) === undefined) pages++;
    }
    counts.push(countsOf(notice.statement, pages));
  }
  return sumPages(counts);
}
