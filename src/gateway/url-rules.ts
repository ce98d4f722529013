import type { PageAddress } from './canonical-url.ts';

/** What the page behind a 451 answer says of the notice; times in seconds since the epoch. */
export interface NoticeDetails {
  readonly reference: string;
  /** Name of the issuing authority. */
  readonly authority: string;
  readonly instrument: string;
  readonly section: string;
  /** Category of the policy pack. */
  readonly category: string;
  /** The blocked name or address must not be shown. */
  readonly sealed: boolean;
  readonly fromSeconds: number;
  readonly endSeconds?: number;
  readonly reviewBySeconds?: number;
  /** `tel:` and `mailto:` URIs. */
  readonly contacts: readonly string[];
  /** Where an appeal is made. */
  readonly appealUrl?: string;
}

/** A notice in force on what was asked for, and when the rule ends. The same object each time: pages are kept by it. */
export interface UrlHit {
  readonly notice: NoticeDetails;
  /** The query is part of what is blocked: the links of the page must keep it. */
  readonly usesQuery: boolean;
  /** What is blocked, for the page to show: the URL of the entry, or its name. */
  readonly blocked: string;
  /** Infinity without an end. */
  readonly endSeconds: number;
}

/** The rules of one host that are in force. */
export interface HostRules {
  /** Pages of this host are listed, so HTTPS to it passes unjudged. */
  readonly hasPages: boolean;
  /** Some notice says `https: block-host`: every HTTPS connection is closed. */
  readonly blocksHttps: boolean;
  /** The whole host is sent to the notice page. */
  readonly redirect?: UrlHit;
  /** The notice that lists this page. */
  findPage(page: PageAddress): UrlHit | undefined;
}

/** The two readings of `RuleClock`: starts and ends are judged by different ones. */
export interface RuleTime {
  readonly startSeconds: number;
  readonly endSeconds: number;
}

/** The rule table as the gateway sees it: hosts in canonical form (A-labels, lower case, no trailing dot). */
export interface UrlRules {
  /** The rules in force on a host, or undefined when there is none: then the host is none of ours. */
  findHost(host: string, time: RuleTime): HostRules | undefined;
}
