import { parseQualityList } from './quality-list.ts';

/** The languages of the page. The first is what a visitor gets who asked for none of them: the national language. */
export const LANGUAGES = ['ms', 'en', 'zh', 'ta'] as const;

/** A language of the page; `zh` is written in simplified characters. */
export type Language = (typeof LANGUAGES)[number];

/** The tag of each language in `lang`, `hreflang` and Content-Language. */
export const LANGUAGE_TAGS: Readonly<Record<Language, string>> = { ms: 'ms', en: 'en', zh: 'zh-Hans', ta: 'ta' };

/** What each language calls itself. */
export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = {
  ms: 'Bahasa Melayu',
  en: 'English',
  zh: '中文',
  ta: 'தமிழ்',
};

/** The parameter of the links that switch the language: a name that no origin uses, as `lang` would be. */
export const LANGUAGE_PARAMETER = 'warta-lang';

/**
 * Primary subtags that a page in another tag serves: what ISO 639-3 puts under the macrolanguages Malay (Indonesian among
 * them: its readers understand formal Malay better than any other language here) and Chinese (one script for all).
 */
const COVERED_BY: Readonly<Record<string, Language>> = {
  id: 'ms',
  in: 'ms',
  zsm: 'ms',
  zlm: 'ms',
  cmn: 'zh',
  yue: 'zh',
  nan: 'zh',
  hak: 'zh',
  gan: 'zh',
  wuu: 'zh',
  hsn: 'zh',
};

/**
 * Returns the page's language for a language range, by lookup (RFC 4647 §3.4): subtags are cut off from the right until one
 * fits, so `zh-Hant-TW` finds `zh`. As no page is tagged with more than a primary subtag, that is what decides.
 */
export function findLanguage(range: string): Language | undefined {
  const primary = range.toLowerCase().split('-', 1)[0]!;
  const covered = Object.hasOwn(COVERED_BY, primary) ? COVERED_BY[primary] : undefined;
  return covered ?? LANGUAGES.find((language) => language === primary);
}

/**
 * Returns the language to answer in: the one that a link of the page asked for, else the best of Accept-Language, else the
 * first of `LANGUAGES` that the visitor did not refuse with `q=0`. `*` asks for no language in particular (RFC 4647 §3.4).
 */
export function chooseLanguage(acceptLanguage: string | undefined, chosen?: string): Language {
  const asked = chosen === undefined ? undefined : findLanguage(chosen);
  if (asked !== undefined) return asked;
  const ranges = parseQualityList(acceptLanguage);
  const refused = ranges.filter(({ quality }) => quality === 0).map(({ value }) => value);
  const wanted = ranges.filter(({ value, quality }) => quality > 0 && !refused.includes(value));
  for (const { value } of wanted) {
    const language = findLanguage(value);
    if (language !== undefined) return language;
  }
  return LANGUAGES.find((language) => !refused.includes(language)) ?? LANGUAGES[0];
}

/** A query longer than this is not repeated in four links: full of `&`, the page would outgrow its bound. */
const MAX_QUERY_CHARACTERS = 400;

/**
 * Returns the query of the link to the page in `language`, given the query of the request without `?`, or `undefined` when
 * that is too long. The request's own query stays in front: a rule may name one URL with its query, and a link without it
 * would lead past the rule to the origin.
 */
export function composeLanguageQuery(query: string, language: Language): string | undefined {
  if (query === '') return `${LANGUAGE_PARAMETER}=${language}`;
  if (query.length > MAX_QUERY_CHARACTERS) return undefined;
  const normal = new URL(`http://host/?${query.replaceAll('#', '%23')}`).search.slice(1);
  return normal.length > MAX_QUERY_CHARACTERS ? undefined : `${normal}&${LANGUAGE_PARAMETER}=${language}`;
}

/** The parameter that `composeLanguageQuery` adds, at the end of a query. */
const ADDED = new RegExp(`(?:^|&)${LANGUAGE_PARAMETER}=(${LANGUAGES.join('|')})$`);

/**
 * Undoes `composeLanguageQuery`: returns the query as it was, and the language that was asked for. Without such a parameter at
 * its very end a query is returned as it is. A rule may name the parameter all the same: look the query up as it came first.
 */
export function splitLanguageQuery(query: string): { query: string; language?: Language } {
  const match = ADDED.exec(query);
  return match === null ? { query } : { query: query.slice(0, match.index), language: match[1] as Language };
}
