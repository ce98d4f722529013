import { LANGUAGE_NAMES, LANGUAGE_TAGS, LANGUAGES, type Language } from '../../pages/language.ts';
import { escapeHtml } from '../../pages/safe-text.ts';
import type { AddressOnPage } from './blocked-address.ts';
import { composeLanguageQuery } from './language-switch.ts';
import type { Fact, PageContent, PageLink } from './page-content.ts';
import { PAGE_STYLE } from './page-style.ts';

/**
 * Octets of a page: with its headers it stays below 30,000. `&` and quotes take five or six each, so the longest texts that
 * statements and packs may have leave no room for anything else.
 */
export const MAX_PAGE_BYTES = 29_000;
/** Octets kept free for the address; the links of the switch are left out when there is no room for them. */
const ADDRESS_BYTES = 3_000;

/** The page of one notice in one language, in the pieces between what differs from request to request. */
export interface HtmlFrame {
  readonly beforeSwitch: string;
  /** The switch of a request without a query, which is nearly every one. */
  readonly plainSwitch: string;
  readonly beforeAddress: string;
  readonly afterAddress: string;
  /** Octets of all of it but the switch. */
  readonly sizeBytes: number;
}

/** Leaves out the last of the help links when there are more than fit the page. */
export function fitHelp(content: PageContent): PageContent {
  const { tag, links } = content.help;
  const rest = composeFrame({ ...content, help: { tag, links: [] } });
  let roomBytes = MAX_PAGE_BYTES - ADDRESS_BYTES - rest.sizeBytes - Buffer.byteLength(rest.plainSwitch);
  roomBytes -= Buffer.byteLength(composeHelp({ ...content, help: { tag, links: [{ text: '' }] } }));
  const fitting = links.findIndex((link) => {
    roomBytes -= Buffer.byteLength(composeHelpLink(link));
    return roomBytes < 0;
  });
  return fitting < 0 ? content : { ...content, help: { tag, links: links.slice(0, fitting) } };
}

/** Composes what is the same for every request. */
export function composeFrame(content: PageContent): HtmlFrame {
  const { say, language } = content;
  const pieces = {
    beforeSwitch: `<!DOCTYPE html>
<html lang="${LANGUAGE_TAGS[language]}" dir="ltr">
<head>
<meta charset="utf-8">
<title>${escapeHtml(content.title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<style>${PAGE_STYLE.sheet}</style>
</head>
<body>
<header>
`,
    plainSwitch: composeSwitch('', content),
    beforeAddress: `</header>
<main>
<h1>${escapeHtml(say('heading'))}</h1>
<p class="lead">${escapeHtml(content.lead)}</p>
<h2>${escapeHtml(say('blockedHeading'))}</h2>
`,
    afterAddress: `${composeNotice(content)}${composeAppeal(content)}${composeHelp(content)}</main>
<footer>
<h2>${escapeHtml(say('aboutHeading'))}</h2>
<p>${escapeHtml(content.about)}</p>
<p>${escapeHtml(content.privacy)}</p>
<p>HTTP 451</p>
</footer>
</body>
</html>
`,
  };
  const { beforeSwitch, beforeAddress, afterAddress } = pieces;
  return { ...pieces, sizeBytes: Buffer.byteLength(beforeSwitch + beforeAddress + afterAddress) };
}

/** The links to the other languages. Without them when the query is too long to be repeated. */
export function composeSwitch(query: string, { say, language }: PageContent): string {
  const item = (other: Language) => {
    const target = composeLanguageQuery(query, other);
    const current = other === language ? ' aria-current="true"' : '';
    const tag = LANGUAGE_TAGS[other];
    return target === undefined
      ? ''
      : `<li><a href="?${escapeHtml(target)}" lang="${tag}" hreflang="${tag}"${current}>${LANGUAGE_NAMES[other]}</a></li>\n`;
  };
  const items = LANGUAGES.map(item).join('');
  return items === '' ? '' : `<nav aria-label="${escapeHtml(say('switch'))}">\n<ul>\n${items}</ul>\n</nav>\n`;
}

/** What is blocked: the address, or why there is none. */
export function composeAddress(address: AddressOnPage, { say }: PageContent): string {
  if (address === 'sealed') return `<p>${escapeHtml(say('blockedSealed'))}</p>\n`;
  if (address === 'unnamed') return `<p>${escapeHtml(say('blockedUnnamed'))}</p>\n`;
  const label = escapeHtml(say(address.kind === 'url' ? 'blockedUrl' : 'blockedName'));
  const shown = `<dt>${label}</dt><dd class="address name"><bdi translate="no">${escapeHtml(address.shown)}</bdi></dd>`;
  const ascii =
    address.ascii === undefined
      ? ''
      : `<div><dt>${escapeHtml(say('asciiForm'))}</dt><dd class="address"><bdi translate="no">${escapeHtml(address.ascii)}</bdi></dd></div>\n`;
  return `<dl>\n<div>${shown}</div>\n${ascii}</dl>\n`;
}

function composeNotice({ say, facts, category }: PageContent): string {
  return `<h2>${escapeHtml(say('noticeHeading'))}</h2>
<dl>
${facts.map(composeFact).join('')}</dl>
<h2>${escapeHtml(say('reasonHeading'))}</h2>
<p>${escapeHtml(say('reason'))}</p>
<p class="category">${escapeHtml(category)}</p>
`;
}

function composeFact({ label, value, utc, distance }: Fact): string {
  const shown = escapeHtml(value);
  const instant = utc === undefined ? shown : `<time datetime="${escapeHtml(utc)}">${shown}</time>`;
  const away = distance === undefined ? '' : ` <span class="soft">(${escapeHtml(distance)})</span>`;
  return `<div><dt>${escapeHtml(label)}</dt><dd>${instant}${away}</dd></div>\n`;
}

function composeAppeal({ say, appeal, appealForm, contacts, noContacts }: PageContent): string {
  const form = appealForm === undefined ? '' : `<p>${composeLink(appealForm, 'form')}</p>\n`;
  const items = contacts.map(({ label, ...link }) => {
    const before = label === undefined ? '' : escapeHtml(label + say('colon'));
    return `<li>${before}${composeLink(link)}</li>\n`;
  });
  const list = items.length === 0 ? '' : `<p>${escapeHtml(say('contacts'))}</p>\n<ul>\n${items.join('')}</ul>\n`;
  const nobody = form === '' && list === '' ? `<p>${escapeHtml(noContacts)}</p>\n` : '';
  return `<h2>${escapeHtml(say('appealHeading'))}</h2>\n<p>${escapeHtml(appeal)}</p>\n${form}${list}${nobody}`;
}

function composeHelp({ say, help }: PageContent): string {
  if (help.links.length === 0) return '';
  const items = help.links.map(composeHelpLink).join('');
  return `<h2>${escapeHtml(say('helpHeading'))}</h2>\n<ul lang="${escapeHtml(help.tag)}">\n${items}</ul>\n`;
}

function composeHelpLink(link: PageLink): string {
  return `<li>${composeLink(link)}</li>\n`;
}

function composeLink({ text, href }: PageLink, kind?: 'form'): string {
  if (href === undefined) return escapeHtml(text);
  const look = kind === undefined ? '' : ` class="${kind}"`;
  return `<a href="${escapeHtml(href)}"${look} rel="noopener noreferrer">${escapeHtml(text)}</a>`;
}
