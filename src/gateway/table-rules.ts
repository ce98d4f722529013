import { LRUCache } from 'lru-cache';
import { formatName, parseName } from '../dns/name.ts';
import { NO_END, NO_RULE } from '../rules/layout.ts';
import { type NoticeFacts, type RuleNotice, RuleTable, type TablePage } from '../rules/rule-table.ts';
import { canonicalizeUrl, type PageAddress } from './canonical-url.ts';
import type { HostRules, NoticeDetails, RuleTime, UrlHit, UrlRules } from './url-rules.ts';

/** Says how an instrument of the policy pack is called, and where people appeal against the notice with this reference. */
export type DescribeInstrument = (
  instrument: string,
  reference: string,
) => Pick<NoticeDetails, 'instrument' | 'section' | 'appealUrl'>;

/** How many entries list a page. */
export interface PageCounts {
  readonly pages: number;
  /** Those of notices that close HTTPS to their hosts; the others hold on HTTP alone. */
  readonly blockHostPages: number;
}

/** The rules of a table. */
export interface TableRules extends UrlRules {
  /** Counts the pages whose notices have not ended, those that begin later included. Walks over all of them. */
  countPages(): PageCounts;
}

/** A page that a notice lists, while its rule lasts. */
interface ListedPage extends UrlHit {
  readonly startSeconds: number;
  /** Canonical query, or undefined when any will do. */
  readonly query: string | undefined;
  readonly blocksHttps: boolean;
}

/** The listed pages of one host, in and out of force, by port and canonical path. */
type HostPages = ReadonlyMap<string, readonly ListedPage[]>;

/** Hosts whose pages are kept sorted out, and rules over whole hosts whose hit is: a few kilobytes each. */
const KEPT_HOSTS = 10_000;

const NO_PAGES: HostPages = new Map();

/** A notice without anything to lead people to its page, which a host may be blocked by all the same. */
const NO_FACTS: NoticeFacts = { instrument: '', fromSeconds: 0 };

/**
 * Returns the rules of a compiled table. A host that any rule covers is answered with its notice as a whole, as resolvers do;
 * else its listed pages count.
 */
export function createTableRules(table: SharedArrayBuffer, describe: DescribeInstrument): TableRules {
  return new RulesOfTable(new RuleTable(table), describe);
}

class RulesOfTable implements TableRules {
  readonly #table: RuleTable;
  readonly #describe: DescribeInstrument;
  readonly #notices: readonly RuleNotice[];
  /** The page that each entry lists. */
  readonly #pages = new Map<number, TablePage>();
  readonly #hosts = new LRUCache<string, HostPages>({ max: KEPT_HOSTS });
  readonly #covers = new LRUCache<string, UrlHit>({ max: KEPT_HOSTS });

  constructor(table: RuleTable, describe: DescribeInstrument) {
    this.#table = table;
    this.#describe = describe;
    this.#notices = table.describe().notices;
    for (const page of table.pages()) this.#pages.set(page.entry, page);
  }

  findHost(host: string, time: RuleTime): HostRules | undefined {
    const table = this.#table;
    const name = wireNameOf(host);
    if (name === undefined) return undefined;
    table.setTime(time.startSeconds, time.endSeconds);
    const rule = table.findRule(name, 0);
    const redirect = rule === NO_RULE ? undefined : this.#coverOf(rule, name);
    const pages = this.#pagesOf(host, name);
    let hasPages = false;
    let blocksHttps = false;
    for (const listed of pages.values()) {
      for (const page of listed) {
        if (!isInForce(page, time)) continue;
        hasPages = true;
        blocksHttps ||= page.blocksHttps;
      }
    }
    if (!hasPages && redirect === undefined) return undefined;
    return { hasPages, blocksHttps, redirect, findPage: (address) => findPage(pages, address, time) };
  }

  countPages(): PageCounts {
    const kept = new Map<string, Map<number, boolean>>();
    const counts = { pages: 0, blockHostPages: 0 };
    for (const { entry, url } of this.#pages.values()) {
      const host = canonicalizeUrl(url)?.host;
      if (host === undefined) continue;
      const entries = kept.get(host) ?? this.#listEntries(host);
      kept.set(host, entries);
      const blocksHttps = entries.get(entry);
      if (blocksHttps === undefined) continue;
      counts.pages++;
      if (blocksHttps) counts.blockHostPages++;
    }
    return counts;
  }

  /** The entries that steer a host and have not been ended, and whether they close HTTPS to it. */
  #listEntries(host: string): Map<number, boolean> {
    const rules = this.#table.findSteering(wireNameOf(host)!, 0);
    const live = rules.filter((rule) => this.#table.windowOf(rule).notAfter > 0);
    return new Map(live.map((rule) => [this.#table.entryOf(rule), this.#blocksHttps(rule)]));
  }

  /**
   * The hit of the rule found last, which covers the whole host: the same object each time. Its answer may be kept until the
   * rule ends, or until another begins that is known: that one may be an exclusion.
   */
  #coverOf(rule: number, name: Uint8Array): UrlHit {
    const { matchedUntil, matchedOffset } = this.#table;
    const key = `${rule} ${matchedUntil}`;
    let hit = this.#covers.get(key);
    if (hit === undefined) {
      const blocked = formatName(name, matchedOffset);
      hit = { notice: this.#detailsOf(rule), blocked, usesQuery: false, endSeconds: secondsOf(matchedUntil) };
      this.#covers.set(key, hit);
    }
    return hit;
  }

  #pagesOf(host: string, name: Uint8Array): HostPages {
    let pages = this.#hosts.get(host);
    if (pages === undefined) {
      pages = this.#sortOut(name);
      // Only hosts of ours are kept: a client may name any.
      if (pages !== NO_PAGES) this.#hosts.set(host, pages);
    }
    return pages;
  }

  #sortOut(name: Uint8Array): HostPages {
    const rules = this.#table.findSteering(name, 0);
    if (rules.length === 0) return NO_PAGES;
    const pages = new Map<string, ListedPage[]>();
    for (const rule of rules) {
      const page = this.#pages.get(this.#table.entryOf(rule));
      const address = page === undefined ? undefined : canonicalizeUrl(page.url);
      if (page === undefined || address === undefined) continue;
      const key = pageKey(address.port, address.paths[0]!);
      const listed = pages.get(key) ?? [];
      listed.push(this.#describePage(rule, page, address));
      pages.set(key, listed);
    }
    return pages;
  }

  #describePage(rule: number, page: TablePage, address: PageAddress): ListedPage {
    const query = page.anyQuery ? undefined : address.query;
    return {
      notice: this.#detailsOf(rule),
      blocked: page.url,
      usesQuery: query !== undefined,
      startSeconds: this.#table.windowOf(rule).notBefore,
      endSeconds: secondsOf(this.#table.windowOf(rule).notAfter),
      query,
      blocksHttps: this.#blocksHttps(rule),
    };
  }

  #blocksHttps(rule: number): boolean {
    return this.#noticeOf(rule).page?.blocksHttps === true;
  }

  #noticeOf(rule: number): RuleNotice {
    return this.#notices[this.#table.noticeOf(rule)]!;
  }

  #detailsOf(rule: number): NoticeDetails {
    const { reference, authority, category, contacts, page = NO_FACTS } = this.#noticeOf(rule);
    const { notAfter, notBefore } = this.#table.windowOf(rule);
    return {
      reference,
      authority,
      category,
      contacts,
      ...this.#describe(page.instrument, reference),
      sealed: page.sealed === true,
      fromSeconds: page.fromSeconds || notBefore,
      ...(notAfter === NO_END ? {} : { endSeconds: notAfter }),
      ...(page.reviewBySeconds === undefined ? {} : { reviewBySeconds: page.reviewBySeconds }),
    };
  }
}

/** A time of the table as hits have it. */
function secondsOf(time: number): number {
  return time === NO_END ? Number.POSITIVE_INFINITY : time;
}

/** The wire form of a canonical host; undefined for one that no rule can name. */
function wireNameOf(host: string): Uint8Array | undefined {
  try {
    return parseName(host);
  } catch {
    return undefined;
  }
}

/** A port stands before the path; a path begins with a slash, so the two cannot be confused. */
function pageKey(port: number | undefined, path: string): string {
  return port === undefined ? path : `${port}${path}`;
}

function isInForce({ startSeconds, endSeconds }: ListedPage, time: RuleTime): boolean {
  return startSeconds <= time.startSeconds && time.endSeconds < endSeconds;
}

function findPage(pages: HostPages, { port, paths, query }: PageAddress, time: RuleTime): UrlHit | undefined {
  for (const path of paths) {
    for (const page of pages.get(pageKey(port, path)) ?? []) {
      if (isInForce(page, time) && (page.query === undefined || page.query === query)) return page;
    }
  }
  return undefined;
}
