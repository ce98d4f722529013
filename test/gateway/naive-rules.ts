import { WartaError } from '../../src/base/errors.ts';
import { canonicalizeHost, canonicalizeUrl, type PageAddress } from '../../src/gateway/canonical-url.ts';
import type { HostRules, NoticeDetails, RuleTime, UrlHit, UrlRules } from '../../src/gateway/url-rules.ts';

interface RuleWindow {
  readonly notice: NoticeDetails;
  readonly fromSeconds: number;
  readonly endSeconds?: number;
}

/** A listed page. */
export interface PageEntry extends RuleWindow {
  /** An http or https URL. The scheme is ignored: a notice names a page, and both schemes of a host serve it. */
  readonly url: string;
  /**
   * `exact` (default): the query must be equal after percent-encoding is normalised, its parameters in the same order; no
   * query and an empty one are equal. `any`: the query is ignored.
   */
  readonly query?: 'exact' | 'any';
  /** `block-host` closes HTTPS to the whole host, because a page cannot be told apart there. */
  readonly https?: 'block-host';
}

/** A host that is sent to the notice page. */
export interface RedirectEntry extends RuleWindow {
  readonly host: string;
  /** The names below it, too. */
  readonly subtree?: boolean;
}

export type UrlEntry = PageEntry | RedirectEntry;

interface StoredPage extends UrlHit {
  readonly fromSeconds: number;
  /** Canonical query, or undefined when any will do. */
  readonly query: string | undefined;
  readonly blocksHttps: boolean;
}

interface StoredRedirect extends UrlHit {
  readonly fromSeconds: number;
  readonly subtree: boolean;
}

interface StoredHost {
  /** By port and canonical path. */
  readonly pages: Map<string, StoredPage[]>;
  readonly redirects: StoredRedirect[];
}

/**
 * Returns the rules of entries as naively as can be: what tests of the gateway run on, and what the rules of a table are held to.
 *
 * @throws {WartaError} `name-invalid` naming a URL or host that cannot be parsed.
 */
export function createUrlRules(entries: readonly UrlEntry[]): UrlRules {
  const hosts = new Map<string, StoredHost>();
  for (const entry of entries) addEntry(hosts, entry);
  return { findHost: (host, time) => findHost(hosts, host, time) };
}

function addEntry(hosts: Map<string, StoredHost>, entry: UrlEntry): void {
  const { notice, fromSeconds, endSeconds = Number.POSITIVE_INFINITY } = entry;
  if ('host' in entry) {
    const host = canonicalizeHost(entry.host);
    if (host === undefined) throw new WartaError('name-invalid', `'${entry.host}' is no host name: correct the entry`);
    hostOf(hosts, host).redirects.push({
      notice,
      blocked: host,
      usesQuery: false,
      fromSeconds,
      endSeconds,
      subtree: entry.subtree ?? false,
    });
    return;
  }
  const address = canonicalizeUrl(entry.url);
  if (address === undefined) throw new WartaError('name-invalid', `'${entry.url}' is no http URL: correct the entry`);
  const { pages } = hostOf(hosts, address.host);
  const key = pageKey(address.port, address.paths[0]!);
  const query = entry.query === 'any' ? undefined : address.query;
  const page = {
    notice,
    blocked: new URL(entry.url).href,
    usesQuery: query !== undefined,
    fromSeconds,
    endSeconds,
    query,
    blocksHttps: entry.https === 'block-host',
  };
  pages.set(key, [...(pages.get(key) ?? []), page]);
}

function hostOf(hosts: Map<string, StoredHost>, host: string): StoredHost {
  const found = hosts.get(host) ?? { pages: new Map(), redirects: [] };
  hosts.set(host, found);
  return found;
}

/** A port stands before the path; a path begins with a slash, so the two cannot be confused. */
const pageKey = (port: number | undefined, path: string) => (port === undefined ? path : `${port}${path}`);

const isInForce = (rule: { fromSeconds: number; endSeconds: number }, time: RuleTime) =>
  rule.fromSeconds <= time.startSeconds && time.endSeconds < rule.endSeconds;

function findHost(hosts: Map<string, StoredHost>, host: string, time: RuleTime): HostRules | undefined {
  const stored = hosts.get(host);
  const redirect = findRedirect(hosts, host, time);
  let hasPages = false;
  let blocksHttps = false;
  for (const pages of stored?.pages.values() ?? []) {
    for (const page of pages) {
      if (!isInForce(page, time)) continue;
      hasPages = true;
      blocksHttps ||= page.blocksHttps;
    }
  }
  if (!hasPages && redirect === undefined) return undefined;
  return { hasPages, blocksHttps, redirect, findPage: (page) => findPage(stored, page, time) };
}

function findPage(stored: StoredHost | undefined, page: PageAddress, time: RuleTime): UrlHit | undefined {
  for (const path of page.paths) {
    for (const rule of stored?.pages.get(pageKey(page.port, path)) ?? []) {
      if (isInForce(rule, time) && (rule.query === undefined || rule.query === page.query)) return rule;
    }
  }
  return undefined;
}

/** Looks at the host and at every name above it. */
function findRedirect(hosts: Map<string, StoredHost>, host: string, time: RuleTime): UrlHit | undefined {
  for (let name = host; ; name = name.slice(name.indexOf('.') + 1)) {
    const rule = hosts.get(name)?.redirects.find((one) => (one.subtree || name === host) && isInForce(one, time));
    if (rule !== undefined || !name.includes('.')) return rule;
  }
}
