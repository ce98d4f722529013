import type { EntryTable } from '../../../register/annex.ts';
import type { Turns } from '../../view/turns.ts';
import type { FindingBook } from './finding.ts';
import type { NoticeFields } from './terms.ts';

/** Whether a notice in drafting closes HTTPS to the hosts of its pages. */
export function closesHttps({ https }: NoticeFields): boolean {
  return https === 'block-host';
}

/** Looks for pages that will not hold as whoever lists them may think. */
export async function checkPages(
  fields: NoticeFields,
  entries: EntryTable,
  book: FindingBook,
  turns: Turns,
): Promise<void> {
  const closes = closesHttps(fields);
  if (closes && entries.urls.size === 0) {
    book.add('https-without-page', 'warn', 'https: block-host closes nothing, as no page is listed');
  }
  for (const [at, { url, anyQuery }] of entries.urls) {
    await turns.share();
    const { pathname, search } = new URL(url);
    const id = entries.id(at);
    if (closes) book.addEntry('https-closed', 'warn', 'closes HTTPS to the whole host, not to the page alone', id);
    else book.addEntry('http-only', 'warn', HTTP_ONLY, id);
    if (pathname === '/' && (search === '' || anyQuery)) book.addEntry('front-page', 'warn', FRONT_PAGE, id);
  }
}

const HTTP_ONLY =
  'holds on HTTP alone, as no page can be told apart on HTTPS; https: block-host would close HTTPS to the whole host';

const FRONT_PAGE = 'is the front page only: the pages below it stay reachable; list the name if all of it is meant';
