import { LRUCache } from 'lru-cache';
import type { HostRules, RuleTime, UrlRules } from './url-rules.ts';

/**
 * How long a host is passed on after its last rule ended: caches of resolvers and browsers still point here, and a page that
 * was unblocked must not be answered 421. And how long before its first rule begins: a resolver's clock may be ahead of ours,
 * and what it leads here is not blocked.
 */
const GRACE_SECONDS = 600;
/** How long replaced rules are asked for it, which is longer than any answer of a resolver is kept, and how many of them. */
const REPLACED_SECONDS = 120;
const KEPT_REPLACED = 4;
const KEPT_HOSTS = 10_000;

/** No rule at all, for a host whose rules have ended. */
const RELEASED: HostRules = { hasPages: false, blocksHttps: false, findPage: () => undefined };

/** Which hosts are ours: those with a rule, and for a while those that had one. */
export class HostBook {
  #rules: UrlRules;
  readonly #time: () => RuleTime;
  /** When hosts with rules were last asked for. */
  readonly #seen = new LRUCache<string, number>({ max: KEPT_HOSTS });
  /** Rules no longer in use, the oldest first. */
  #replaced: { rules: UrlRules; time: RuleTime }[] = [];

  constructor(rules: UrlRules, time: () => RuleTime) {
    this.#rules = rules;
    this.#time = time;
  }

  /** Takes other rules into use. */
  replaceRules(rules: UrlRules): void {
    const { startSeconds, endSeconds } = this.#time();
    this.#dropStale(endSeconds);
    // When there are many changes, the oldest ones are what most clients' caches know.
    if (this.#replaced.length < KEPT_REPLACED) {
      this.#replaced.push({ rules: this.#rules, time: { startSeconds, endSeconds } });
    }
    this.#rules = rules;
  }

  /** The rules of a canonical host, or undefined when it is none of ours. */
  find(host: string): HostRules | undefined {
    const time = this.#time();
    const found = this.#rules.findHost(host, time);
    if (found === undefined && !this.#isKnown(host, time)) return undefined;
    // Also when it was released: as long as anyone asks for it here, some resolver leads them here.
    this.#seen.set(host, time.endSeconds);
    return found ?? RELEASED;
  }

  /**
   * Whether a host had a rule a while ago, or gets one soon: by what was asked, by the clock, or by rules that were replaced.
   * After a step of the clock both of its readings count.
   */
  #isKnown(host: string, { startSeconds, endSeconds }: RuleTime): boolean {
    const seen = this.#seen.get(host);
    if (seen !== undefined && endSeconds < seen + GRACE_SECONDS) return true;
    const around = { startSeconds: endSeconds + GRACE_SECONDS, endSeconds: startSeconds - GRACE_SECONDS };
    if (this.#rules.findHost(host, around) !== undefined) return true;
    this.#dropStale(endSeconds);
    return this.#replaced.some(({ rules, time }) => rules.findHost(host, time) !== undefined);
  }

  #dropStale(nowSeconds: number): void {
    const isStale = ({ time }: { time: RuleTime }) => time.endSeconds + REPLACED_SECONDS <= nowSeconds;
    while (this.#replaced.length > 0 && isStale(this.#replaced[0]!)) this.#replaced.shift();
  }
}
