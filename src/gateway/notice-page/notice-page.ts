import { LRUCache } from 'lru-cache';
import { chooseLanguage, LANGUAGE_TAGS, LANGUAGES, type Language } from '../../pages/language.ts';
import type { NoticeDetails } from '../url-rules.ts';
import { type AddressOnPage, describeAddress } from './blocked-address.ts';
import {
  composeAddress,
  composeFrame,
  composeSwitch,
  fitHelp,
  type HtmlFrame,
  MAX_PAGE_BYTES,
} from './compose-html.ts';
import { composePlainText, composeProblem } from './compose-text.ts';
import { chooseMediaType, MEDIA_TYPES, type MediaType } from './media-type-choice.ts';
import { describeNotice, type PageContent } from './page-content.ts';
import type { PageSettings } from './page-settings.ts';
import { PAGE_STYLE } from './page-style.ts';

export type { Language } from '../../pages/language.ts';
export { chooseLanguage } from '../../pages/language.ts';
export { splitLanguageQuery } from './language-switch.ts';
export { chooseMediaType } from './media-type-choice.ts';
export type { CategoryTitles, HelpLinks, PageSettings } from './page-settings.ts';

/** A request for the page, with what is the same for every notice. */
export interface NoticePageOptions extends PageSettings {
  /** The request's Accept-Language. */
  readonly acceptLanguage?: string;
  /** The language that a link of the page asked for: `splitLanguageQuery`. Goes before Accept-Language. */
  readonly language?: string;
  readonly nowSeconds: number;
  /** The name (A-labels) or the URL that is blocked. Never shown under a sealed notice. */
  readonly blockedName?: string;
  /**
   * The request's query, without `?` and without the parameter of the switch. Needed where the notice names a URL: the links
   * of the switch keep it, or they would lead past the rule.
   */
  readonly query?: string;
}

/** What goes with the page in every form. Names of headers are in lower case. */
interface PageDelivery {
  readonly language: Language;
  readonly headers: Readonly<Record<string, string>>;
  /** When the page begins to read otherwise, in seconds since 1970 UTC: nobody may keep it for longer. */
  readonly freshUntilSeconds: number;
}

/** The page as HTML. */
export interface NoticePage extends PageDelivery {
  readonly html: string;
}

/** The page in the form that was asked for. */
export interface NoticeReply extends PageDelivery {
  readonly body: string;
}

/** A notice in one language: what is said, and its HTML but for what each request brings. */
interface Composition {
  readonly content: PageContent;
  readonly frame: HtmlFrame;
  readonly settings: PageSettings;
  readonly fromSeconds: number;
}

/** A composition is some 10 to 30 kB of memory; so many notices are kept in up to four languages each. */
const KEPT_NOTICES = 256;

/** Nothing but a memo: it may forget anything at any time. By the notice itself, so callers must not change notices. */
const compositions = new LRUCache<NoticeDetails, Partial<Record<Language, Composition>>>({ max: KEPT_NOTICES });

/**
 * Returns the page about `notice` as HTML. Status line, `Link: rel="blocked-by"` (RFC 7725) and Cache-Control are the
 * caller's, who knows the rule; distances in time (`in 12 days`) are as of `nowSeconds`.
 */
export function renderNoticePage(notice: NoticeDetails, options: NoticePageOptions): NoticePage {
  const { body, ...frame } = renderNotice(notice, { ...options, accept: undefined });
  return { html: body, ...frame };
}

/** Returns the page in the form that `accept`, the request's Accept, asks for: HTML, plain text or JSON. */
export function renderNotice(notice: NoticeDetails, options: NoticePageOptions & { accept?: string }): NoticeReply {
  const language = chooseLanguage(options.acceptLanguage, options.language);
  const mediaType = chooseMediaType(options.accept);
  const composition = compose(notice, options, language);
  const body = composeBody(composition, mediaType, notice, options);
  const { freshUntilSeconds } = composition.content;
  return { body, language, headers: HEADERS[language][mediaType], freshUntilSeconds };
}

function composeBody(
  { content, frame }: Composition,
  mediaType: MediaType,
  notice: NoticeDetails,
  options: NoticePageOptions,
): string {
  const address = findAddress(notice, options);
  if (mediaType === 'text/plain') return composePlainText(content, address);
  if (mediaType !== 'text/html') return composeProblem(content, address, notice, options);
  const shown = composeAddress(address, content);
  const roomBytes = MAX_PAGE_BYTES - frame.sizeBytes - Buffer.byteLength(shown);
  const links = options.query ? composeQuerySwitch(notice, options.query, content, roomBytes) : frame.plainSwitch;
  return frame.beforeSwitch + links + frame.beforeAddress + shown + frame.afterAddress;
}

/**
 * The query of a sealed URL tells about it, and a link without it leads past the rule: then there is no switch. Nor where there
 * is no room for it.
 */
function composeQuerySwitch(notice: NoticeDetails, query: string, content: PageContent, roomBytes: number): string {
  const links = notice.sealed ? '' : composeSwitch(query, content);
  return Buffer.byteLength(links) > roomBytes ? '' : links;
}

function findAddress(notice: NoticeDetails, { blockedName }: { blockedName?: string }): AddressOnPage {
  if (notice.sealed) return 'sealed';
  return blockedName === undefined || blockedName === '' ? 'unnamed' : describeAddress(blockedName);
}

/** Returns the notice in `language`, composed before if it still reads the same. */
function compose(notice: NoticeDetails, options: NoticePageOptions, language: Language): Composition {
  const kept = compositions.get(notice);
  const known = kept?.[language];
  if (known !== undefined && isCurrent(known, options)) return known;
  const { help, operator, categoryTitles, nowSeconds } = options;
  const settings = { help, operator, categoryTitles };
  const content = fitHelp(describeNotice(notice, settings, language, nowSeconds));
  const composition = { content, frame: composeFrame(content), settings, fromSeconds: nowSeconds };
  if (kept === undefined) compositions.set(notice, { [language]: composition });
  else kept[language] = composition;
  return composition;
}

function isCurrent({ content, settings, fromSeconds }: Composition, options: NoticePageOptions): boolean {
  return (
    options.nowSeconds >= fromSeconds &&
    options.nowSeconds < content.freshUntilSeconds &&
    options.help === settings.help &&
    options.operator === settings.operator &&
    options.categoryTitles === settings.categoryTitles
  );
}

function composeHeaders(language: Language, mediaType: MediaType): Readonly<Record<string, string>> {
  return Object.freeze({
    'content-type': mediaType.startsWith('text/') ? `${mediaType}; charset=utf-8` : mediaType,
    'content-language': LANGUAGE_TAGS[language],
    vary: 'Accept, Accept-Language',
    'content-security-policy': PAGE_STYLE.policy,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  });
}

/** The headers of each form in each language. */
const HEADERS = Object.fromEntries(
  LANGUAGES.map((language) => [
    language,
    Object.fromEntries(MEDIA_TYPES.map((mediaType) => [mediaType, composeHeaders(language, mediaType)])),
  ]),
) as Record<Language, Record<MediaType, Readonly<Record<string, string>>>>;
