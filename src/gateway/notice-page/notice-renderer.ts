import { LANGUAGE_TAGS } from '../../pages/language.ts';
import type { NoticeDetails } from '../url-rules.ts';
import { renderNotice } from './notice-page.ts';
import type { PageSettings } from './page-settings.ts';

/** What of a request the page depends on. */
export interface PageRequest {
  /** The name (A-labels) or URL of the entry. */
  readonly blocked: string;
  readonly acceptLanguage: string | undefined;
  readonly accept: string | undefined;
  /** What `splitLanguageQuery` made of the request's query; the query only where the rule depends on it. */
  readonly language?: string;
  readonly query?: string;
}

/** A page for the listener, which adds status, Link, Cache-Control and the length. */
export interface RenderedPage {
  /** The body, whatever its type. */
  readonly html: string;
  readonly contentType: string;
  /** A BCP 47 tag. */
  readonly language: string;
  readonly vary: string;
  /** The other fields, names and values by turns. */
  readonly headers: readonly string[];
  /** When the page begins to read otherwise, in seconds since 1970 UTC. */
  readonly freshUntilSeconds: number;
}

/** Returns what makes pages for the gateway's listener: a `RenderNotice`. `clock` gives seconds since 1970 UTC. */
export function createNoticeRenderer(
  settings: PageSettings,
  clock: () => number,
): (notice: NoticeDetails, request: PageRequest) => RenderedPage {
  return (notice, { blocked, ...request }) => {
    const nowSeconds = clock();
    const page = renderNotice(notice, { ...settings, ...request, blockedName: blocked, nowSeconds });
    const { 'content-type': contentType, 'content-language': _, vary, ...others } = page.headers;
    return {
      html: page.body,
      contentType: contentType!,
      language: LANGUAGE_TAGS[page.language],
      vary: vary!,
      headers: Object.entries(others).flat(),
      freshUntilSeconds: page.freshUntilSeconds,
    };
  };
}
