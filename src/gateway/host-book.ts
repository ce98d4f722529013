import { LRUCache } from 'lru-cache';
import type { HostRules, RuleTime, UrlRules } from './url-rules.ts';

/**
 * How long a host is passed on after its last rule ended: caches of resolvers and browsers still point here, and a page that
 * was unblocked must not be answered 421.
 */
const GRACE_SECONDS = 600;
const KEPT_HOSTS = 10_000;

/** No rule at all, for a host whose rules have ended. */
const RELEASED: HostRules = { hasPages: false, blocksHttps: false, findPage: () => undefined };

/** Which hosts are ours: those with a rule, and for a while those that had one when they were last asked for. */
export class HostBook {
  readonly #rules: () => UrlRules;
  readonly #time: () => RuleTime;
  readonly #seen = new LRUCache<string, number>({ max: KEPT_HOSTS });

  constructor(rules: () => UrlRules, time: () => RuleTime) {
    this.#rules = rules;
    this.#time = time;
  }

  /** The rules of a canonical host, or undefined when it is none of ours. */
  find(host: string): HostRules | undefined {
    const time = this.#time();
    const found = this.#rules().findHost(host, time);
    if (found !== undefined) {
      this.#seen.set(host, time.endSeconds);
      return found;
    }
    const seen = this.#seen.get(host);
    return seen !== undefined && time.endSeconds < seen + GRACE_SECONDS ? RELEASED : undefined;
  }
}
