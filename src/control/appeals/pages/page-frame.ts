import { LANGUAGE_NAMES, LANGUAGE_TAGS, LANGUAGES, type Language } from '../../../pages/language.ts';
import type { Outcome } from '../../http/route.ts';
import { Html, html } from './html.ts';
import { PAGE_STYLE } from './page-style.ts';
import { type Say, textsOf } from './page-text.ts';

/** Where the pages are. */
export const PATHS = {
  file: '/appeal',
  /** The form again with what is in it, in another language. */
  form: '/appeal/form',
  status: '/appeal/status',
  message: '/appeal/message',
  withdraw: '/appeal/withdraw',
} as const;

/**
 * How a page is shown in another language: by links with this query, or by sending a form of the page, with what is filled in,
 * to another address. Without either it stays as it is.
 */
export type Switch =
  | { readonly query: Readonly<Record<string, string>> }
  | { readonly form: string; readonly to: string };

/** A page in one language. */
export interface Page {
  readonly language: Language;
  readonly title: string;
  readonly main: Html;
  readonly switch?: Switch;
}

/** The sheet is ours, and escaping it would break its selectors. */
const SHEET = new Html(PAGE_STYLE.sheet);

/** Answers with a page. It may have a secret or a key of its own in it: nobody keeps it. */
export function answerPage(page: Page, status?: number): Outcome<string> {
  return {
    status,
    body: composePage(page).markup,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-language': LANGUAGE_TAGS[page.language],
      'content-security-policy': PAGE_STYLE.policy,
      'cache-control': 'no-store',
      vary: 'accept-language',
    },
  };
}

function composePage(page: Page): Html {
  const { language, title, main } = page;
  const say = textsOf(language);
  return html`<!DOCTYPE html>
<html lang="${LANGUAGE_TAGS[language]}" dir="ltr">
<head>
<meta charset="utf-8">
<title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<style>${SHEET}</style>
</head>
<body>
<header>
${composeSwitch(page, say)}</header>
<main>
${main}</main>
<footer>
<p><a href="${PATHS.file}?lang=${language}">${say('fileLink')}</a></p>
<p><a href="${PATHS.status}?lang=${language}">${say('followLink')}</a></p>
<p>${say('privacy')}</p>
</footer>
</body>
</html>
`;
}

function composeSwitch({ language, switch: how }: Page, say: Say): Html | undefined {
  if (how === undefined) return undefined;
  const items = LANGUAGES.map((other) => {
    const tag = LANGUAGE_TAGS[other];
    const current = other === language ? html` aria-current="true"` : undefined;
    if ('query' in how) {
      const query = new URLSearchParams({ ...how.query, lang: other });
      return html`<li><a href="?${query.toString()}" lang="${tag}" hreflang="${tag}"${current}>${LANGUAGE_NAMES[other]}</a></li>
`;
    }
    return html`<li><button form="${how.form}" formaction="${how.to}" formnovalidate name="lang" value="${other}" lang="${tag}"${current}>${LANGUAGE_NAMES[other]}</button></li>
`;
  });
  return html`<nav aria-label="${say('switch')}">
<ul>
${items}</ul>
</nav>
`;
}

/** One line of a list of facts; left out when there is nothing to say. */
export type Fact = readonly [label: string, value: string | Html | undefined];

/** Composes a list of facts. */
export function composeFacts(facts: readonly Fact[]): Html {
  const lines = facts
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>\n`);
  return html`<dl>
${lines}</dl>
`;
}
