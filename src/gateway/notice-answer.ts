import { LRUCache } from 'lru-cache';
import type { NoticeDetails, UrlHit } from './url-rules.ts';

/** What of a request the page may depend on. */
export interface NoticeRequest {
  /** The URL of the entry, or the name of the host: never what the client wrote. */
  readonly blocked: string;
  readonly acceptLanguage: string | undefined;
  readonly accept: string | undefined;
  /** The language that a link of the page asked for. */
  readonly language?: string;
  /** The request's query without that wish, where the rule depends on it. */
  readonly query?: string;
}

/** A page made for a notice. */
export interface NoticePage {
  /** The body, whatever its type. */
  readonly html: string;
  readonly contentType: string;
  /** A BCP 47 tag. */
  readonly language: string;
  /** Fields of the request that the page was chosen by; `Accept-Language` when absent. */
  readonly vary?: string;
  /** More fields of the answer, names and values by turns: a content security policy, for instance. */
  readonly headers?: readonly string[];
  /** When the page begins to read otherwise; it is kept until then. */
  readonly freshUntilSeconds?: number;
}

/** Makes the page of a notice. Until it is no longer fresh, the same notice and request must give the same page. */
export type RenderNotice = (details: NoticeDetails, request: NoticeRequest) => NoticePage;

/** The page in plain text, for a gateway without the notice page. */
export const renderPlainNotice: RenderNotice = (details) => {
  const { reference, authority, instrument, section, appealUrl } = details;
  const lines = ['Blocked under a statutory notice.', '', `Notice: ${reference}`, `Authority: ${authority}`];
  lines.push(`Law: ${instrument}, ${section}`, `Since: ${formatDate(details.fromSeconds)}`);
  if (details.endSeconds !== undefined) lines.push(`Until: ${formatDate(details.endSeconds)}`);
  if (details.reviewBySeconds !== undefined) lines.push(`Review by: ${formatDate(details.reviewBySeconds)}`);
  if (appealUrl !== undefined) lines.push(`Appeal: ${appealUrl}`);
  lines.push(...details.contacts.map((contact) => `Contact: ${contact}`));
  return { html: `${lines.join('\n')}\n`, contentType: 'text/plain; charset=utf-8', language: 'en' };
};

function formatDate(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** Longest time a 451 answer may be kept by a cache: a revocation must show as soon as it does in the DNS, or nearly. */
const MAX_AGE_SECONDS = 300;

/** Octets of pages that are kept: clients send many spellings of their languages. */
const KEPT_BYTES = 32 * 1024 * 1024;

/** A 451 answer ready to be sent. */
export interface NoticeAnswer {
  /** Names and values by turns, with a length. */
  readonly headers: string[];
  /** UTF-8, one character an octet (`latin1`): so Node joins it to the head and writes both at once. */
  readonly body: string;
}

interface KeptPage {
  readonly untilSeconds: number;
  readonly headers: readonly string[];
  readonly body: string;
  /** The answer given last, and for how long it was good: most are good for the longest time there is. */
  answer: NoticeAnswer | undefined;
  ageSeconds: number;
}

/** Makes 451 answers (RFC 7725) and keeps the pages: rendering one takes far longer than sending it. */
export class NoticeAnswers {
  readonly #render: RenderNotice;
  readonly #link: string;
  readonly #ids = new WeakMap<UrlHit, number>();
  readonly #pages = new LRUCache<string, KeptPage>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ body }, key) => body.length + key.length + 1024,
  });
  #lastId = 0;

  /** @param blockedBy URL of whoever runs the gateway (RFC 7725 §4). */
  constructor(render: RenderNotice, blockedBy: string) {
    this.#render = render;
    this.#link = `<${new URL(blockedBy).href}>; rel="blocked-by"`;
  }

  /** The answer for a hit: it may be cached for as long as the rule lasts and the page is fresh, and 300 seconds at most. */
  compose(hit: UrlHit, request: Omit<NoticeRequest, 'blocked'>, nowSeconds: number): NoticeAnswer {
    const page = this.#findPage(hit, request, nowSeconds);
    const left = Math.min(MAX_AGE_SECONDS, hit.endSeconds - nowSeconds, page.untilSeconds - nowSeconds);
    const ageSeconds = Math.max(0, Math.floor(left));
    if (page.ageSeconds !== ageSeconds) {
      page.ageSeconds = ageSeconds;
      page.answer = { headers: ['Cache-Control', `max-age=${ageSeconds}`, ...page.headers], body: page.body };
    }
    return page.answer!;
  }

  #findPage(hit: UrlHit, request: Omit<NoticeRequest, 'blocked'>, nowSeconds: number): KeptPage {
    let id = this.#ids.get(hit);
    if (id === undefined) {
      id = ++this.#lastId;
      this.#ids.set(hit, id);
    }
    const { acceptLanguage, accept, language } = request;
    const query = hit.usesQuery ? request.query : undefined;
    const key = `${id}\n${acceptLanguage}\n${accept}\n${language}\n${query}`;
    const kept = this.#pages.get(key);
    if (kept !== undefined && nowSeconds < kept.untilSeconds) return kept;
    const page = this.#makePage(hit, { blocked: hit.blocked, acceptLanguage, accept, language, query });
    this.#pages.set(key, page);
    return page;
  }

  #makePage(hit: UrlHit, request: NoticeRequest): KeptPage {
    const page = this.#render(hit.notice, request);
    const octets = Buffer.from(page.html);
    const headers = ['Link', this.#link, 'Vary', page.vary ?? 'Accept-Language', 'Content-Type', page.contentType];
    headers.push('Content-Language', page.language, ...(page.headers ?? []), 'Content-Length', String(octets.length));
    return {
      headers,
      body: octets.toString('latin1'),
      untilSeconds: page.freshUntilSeconds ?? Number.POSITIVE_INFINITY,
      answer: undefined,
      ageSeconds: -1,
    };
  }
}
