import { LANGUAGE_TAGS, LANGUAGES, type Language } from '../../pages/language.ts';
import { toPrintable } from '../../pages/safe-text.ts';
import { wordInstant } from '../../pages/time-wording.ts';
import type { NoticeDetails } from '../url-rules.ts';
import type { CategoryTitles, HelpLinks, PageSettings } from './page-settings.ts';
import { type Say, textsOf } from './page-text.ts';
import { toLink, toShortPrintable } from './shown-text.ts';
import { formatUtc, nextWording, wordDistance } from './time-wording.ts';

/** A line of the notice: what it is and what it says. An instant has its UTC form for programs too. */
export interface Fact {
  readonly label: string;
  readonly value: string;
  readonly utc?: string;
  /** How far off the instant is. */
  readonly distance?: string;
}

/** Text that leads somewhere, unless its address is one that a page may not link to. */
export interface PageLink {
  readonly text: string;
  readonly href?: string;
}

/** What the page says in one language, whatever form it then takes: printable text, links checked, nothing escaped yet. */
export interface PageContent {
  readonly language: Language;
  readonly say: Say;
  readonly title: string;
  readonly lead: string;
  readonly facts: readonly Fact[];
  readonly category: string;
  readonly appeal: string;
  /** Absent when there is none, or none that a page may link to. */
  readonly appealForm?: PageLink;
  readonly contacts: readonly (PageLink & { readonly label?: string })[];
  readonly noContacts: string;
  /** Titles are in the language that is tagged. */
  readonly help: { readonly tag: string; readonly links: readonly PageLink[] };
  readonly about: string;
  readonly privacy: string;
  /** When distances in time begin to read otherwise, in seconds since 1970 UTC; Infinity if never. */
  readonly freshUntilSeconds: number;
}

/** Says what there is to say about `notice` in `language`. */
export function describeNotice(
  notice: NoticeDetails,
  settings: PageSettings,
  language: Language,
  nowSeconds: number,
): PageContent {
  const say = textsOf(language);
  const reference = toPrintable(notice.reference);
  const authority = toPrintable(notice.authority);
  const operator = toPrintable(settings.operator);
  const appealForm = toLink(notice.appealUrl);
  const limits = [notice.endSeconds, notice.reviewBySeconds].filter((seconds) => seconds !== undefined);
  return {
    language,
    say,
    title: say('title', { reference }),
    lead: say('lead', { authority, operator }),
    facts: listFacts(notice, say, language, nowSeconds),
    category: findTitle(settings.categoryTitles, notice.category, language),
    appeal: say('appeal', { reference }),
    appealForm: appealForm === undefined ? undefined : { text: say('appealForm'), href: appealForm },
    contacts: notice.contacts.map((contact) => describeContact(contact, say)),
    noContacts: say('noContacts', { authority }),
    help: findHelp(settings.help, language),
    about: say('about', { operator }),
    privacy: say('privacy'),
    freshUntilSeconds: Math.min(...limits.map((seconds) => nextWording(seconds, nowSeconds))),
  };
}

function listFacts(notice: NoticeDetails, say: Say, language: Language, nowSeconds: number): Fact[] {
  const instant = (seconds: number) => ({ value: wordInstant(seconds, language), utc: formatUtc(seconds) });
  const limit = (seconds: number) => ({ ...instant(seconds), distance: wordDistance(seconds, nowSeconds, language) });
  const { endSeconds, reviewBySeconds } = notice;
  const facts: Fact[] = [
    { label: say('reference'), value: toPrintable(notice.reference) },
    { label: say('authority'), value: toPrintable(notice.authority) },
    { label: say('instrument'), value: toShortPrintable(notice.instrument) },
    { label: say('section'), value: toPrintable(notice.section) },
    { label: say('from'), ...instant(notice.fromSeconds) },
    { label: say('end'), ...(endSeconds === undefined ? { value: say('untilRevoked') } : limit(endSeconds)) },
  ];
  if (reviewBySeconds !== undefined) facts.push({ label: say('review'), ...limit(reviewBySeconds) });
  return facts.filter(({ value }) => value !== '');
}

/** The languages to take something from that a pack lacks in `language`, best first. */
function substitutes(language: Language): readonly string[] {
  return [language, LANGUAGE_TAGS[language], 'en', ...LANGUAGES];
}

/** The title of a category, in another language rather than none; its id when the pack has no such category. */
function findTitle(titles: CategoryTitles, category: string, language: Language): string {
  const known = Object.hasOwn(titles, category) ? titles[category]! : {};
  const tag = substitutes(language).find((candidate) => Object.hasOwn(known, candidate));
  return toPrintable(tag === undefined ? category : known[tag]!);
}

function findHelp(help: HelpLinks, language: Language): PageContent['help'] {
  const tag = substitutes(language).find((candidate) => Object.hasOwn(help, candidate) && help[candidate]!.length > 0);
  if (tag === undefined) return { tag: LANGUAGE_TAGS[language], links: [] };
  const links = help[tag]!.map(({ title, url }) => ({ text: toPrintable(title), href: toLink(url) }));
  return { tag: tag === language ? LANGUAGE_TAGS[language] : tag, links };
}

const CONTACT_LABELS = {
  'tel:': 'telephone',
  'mailto:': 'email',
  'https:': 'website',
  'http:': 'website',
} as const;

/** A contact without its scheme, and of an address without what a mail program would be told to write. */
function describeContact(contact: string, say: Say): PageContent['contacts'][number] {
  const href = toLink(contact);
  if (href === undefined) return { text: toPrintable(contact) };
  const scheme = href.slice(0, href.indexOf(':') + 1) as keyof typeof CONTACT_LABELS;
  const label = say(CONTACT_LABELS[scheme]);
  if (scheme === 'https:' || scheme === 'http:') return { label, text: toPrintable(href), href };
  return { label, text: toPrintable(contact.slice(contact.indexOf(':') + 1).split('?', 1)[0]!), href };
}
