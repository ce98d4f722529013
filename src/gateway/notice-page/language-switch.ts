import { LANGUAGES, type Language } from '../../pages/language.ts';

/** The parameter of the links that switch the language: a name that no origin uses, as `lang` would be. */
export const LANGUAGE_PARAMETER = 'warta-lang';

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
