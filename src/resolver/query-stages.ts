import type { RuleClock } from '../base/clock.ts';
import { FLAGS3, PLAIN_UDP_BYTES, RCODE } from '../dns/constants.ts';
import { isInternetClass, QueryScan, SCAN, scanQuery } from '../dns/query.ts';
import { ACTION, OUTCOME, type SharedCounters } from '../metrics/shared-counters.ts';
import { composeBlockedAnswer, composeEmptyAnswer, type WriteCookie } from '../rules/answer.ts';
import { NO_RULE } from '../rules/layout.ts';
import type { RuleTable } from '../rules/rule-table.ts';
import type { ClientAcl } from './client-acl.ts';
import type { ResponseRateLimit } from './response-rate-limit.ts';
import type { ServerCookie } from './server-cookie.ts';
import { TargetCheck } from './target-check.ts';

/** Verdicts of `QueryStages.decide` besides the length of an answer, which is above zero. */
export const VERDICT = { DROP: -1, FORWARD: 0 } as const;

/** What the stages need; everything that differs between nodes. */
export interface StageOptions {
  acl: ClientAcl;
  rateLimit: ResponseRateLimit;
  cookie: ServerCookie;
  counters: SharedCounters;
  clock: RuleClock;
  /** Count what would be blocked, and forward it. */
  observe: boolean;
  checkTargets: boolean;
  maxTtlSeconds: number;
  /** EDNS option code by which clients ask for structured errors, or -1. */
  structuredOption: number;
}

/** One policy evaluation in so many is timed: two clock readings cost more than the evaluation. */
const TIMED_EVERY = 64;

/**
 * What happens to a query before it is forwarded, and to a reply before it is passed on, the same for every transport:
 *
 *     ACL → parse → rate limit (UDP) → rules → answer or forward → reply → targets → answer or pass
 *
 * Works in place on the message and makes no object. One instance serves one thread.
 */
export class QueryStages {
  readonly scan = new QueryScan();
  readonly #options: StageOptions;
  readonly #targets = new TargetCheck();
  #table: RuleTable;
  #untimed = 0;

  constructor(options: StageOptions, table: RuleTable) {
    this.#options = options;
    this.#table = table;
  }

  /** Swaps in another table, whole; the next message is judged by it. */
  useTable(table: RuleTable): void {
    this.#table = table;
    this.#options.counters.addSwap();
  }

  /** Reads the clock; call it once for each batch, before `decide`. */
  readClock(): void {
    const { clock } = this.#options;
    clock.read();
    this.#table.setTime(clock.startSeconds, clock.endSeconds);
    this.#options.counters.setFilter(this.#table.filterProbes, this.#table.filterFalseHits);
  }

  /**
   * Judges the query `wire[start, start + length)` of the client whose `struct sockaddr` is at `peer`. Returns the length of
   * an answer composed in place (at most `capacity` octets, and for UDP no more than the client accepts), or a `VERDICT`.
   * After `VERDICT.FORWARD` the scan holds the query's parts.
   */
  decide(wire: Uint8Array, start: number, length: number, peer: number, capacity: number, stream: boolean): number {
    const { acl, counters, rateLimit, cookie, clock } = this.#options;
    const scan = this.scan;
    if (!acl.allows(wire, peer)) return this.#drop(OUTCOME.refused_acl);
    const verdict = scanQuery(wire, start, length, this.#options.structuredOption, scan);
    if (verdict === SCAN.IGNORE) return this.#drop(OUTCOME.ignored);
    const nowSeconds = clock.endSeconds;
    const writeCookie = scan.cookie >= 0 ? cookie.writerFor(wire.slice(peer, peer + 28), 0, nowSeconds) : undefined;
    if (!stream && !this.#hasAllowance(wire, peer, nowSeconds, rateLimit, cookie)) {
      counters.addOutcome(OUTCOME.limited);
      return composeEmptyAnswer(wire, start, scan, RCODE.NOERROR, { truncated: true, writeCookie });
    }
    if (verdict !== SCAN.OK) return this.#refuse(wire, start, verdict, writeCookie);
    const rule = isInternetClass(scan.qclass) ? this.#findRule(wire, scan.qname) : NO_RULE;
    if (rule === NO_RULE) {
      counters.addOutcome(OUTCOME.forwarded);
      return VERDICT.FORWARD;
    }
    return this.#block(rule, wire, start, stream ? capacity : Math.min(capacity, this.clientBytes), false, writeCookie);
  }

  /** UDP payload size the client of the last scan accepts. */
  get clientBytes(): number {
    return this.scan.opt >= 0 ? this.scan.udpBytes : PLAIN_UDP_BYTES;
  }

  /**
   * Checks the targets of the upstream's reply `reply[start, start + length)`. When one is blocked, turns the query at
   * `query` of the same array into the blocked answer in place and returns its length; 0 lets the reply pass.
   */
  checkReply(
    wire: Uint8Array,
    reply: number,
    replyBytes: number,
    query: number,
    queryBytes: number,
    peer: number,
    capacity: number,
    stream: boolean,
  ): number {
    if (!this.#options.checkTargets) return 0;
    const rule = this.#targets.findBlockedTarget(this.#table, wire, reply, replyBytes);
    if (rule === NO_RULE) return 0;
    const { scan } = this;
    scanQuery(wire, query, queryBytes, this.#options.structuredOption, scan);
    if (this.#isExclusionOf(wire, scan.qname, rule)) return 0;
    const { cookie, clock } = this.#options;
    const writeCookie =
      scan.cookie >= 0 ? cookie.writerFor(wire.slice(peer, peer + 28), 0, clock.endSeconds) : undefined;
    const limit = stream ? capacity : Math.min(capacity, this.clientBytes);
    return Math.max(0, this.#block(rule, wire, query, limit, true, writeCookie));
  }

  /** Whether the QNAME is an exclusion of the target's entry: it stays reachable, whatever it is an alias of. */
  #isExclusionOf(wire: Uint8Array, qname: number, rule: number): boolean {
    const until = this.#table.matchedUntil;
    this.#table.findRule(wire, qname);
    this.#table.matchedUntil = Math.min(until, this.#table.matchedUntil);
    return this.#table.wasExcluded(this.#table.entryOf(rule));
  }

  /** Turns the query in place into SERVFAIL with an EDE code (22 no reachable authority, 23 network error). */
  failQuery(wire: Uint8Array, query: number, queryBytes: number, ede: number): number {
    scanQuery(wire, query, queryBytes, this.#options.structuredOption, this.scan);
    return composeEmptyAnswer(wire, query, this.scan, RCODE.SERVFAIL, { ede });
  }

  /** Turns the query in place into a truncated answer with the reply's RCODE: the client asks again over TCP. */
  truncateReply(wire: Uint8Array, query: number, queryBytes: number, flags3: number): number {
    scanQuery(wire, query, queryBytes, this.#options.structuredOption, this.scan);
    return composeEmptyAnswer(wire, query, this.scan, flags3 & FLAGS3.RCODE, { truncated: true });
  }

  #drop(outcome: number): number {
    this.#options.counters.addOutcome(outcome);
    return VERDICT.DROP;
  }

  /** A client with a server cookie of ours has shown its address, so it is not limited (RFC 7873 §1). */
  #hasAllowance(
    wire: Uint8Array,
    peer: number,
    nowSeconds: number,
    rateLimit: ResponseRateLimit,
    cookie: ServerCookie,
  ): boolean {
    if (rateLimit.take(wire, peer, nowSeconds * 1000)) return true;
    const { scan } = this;
    return scan.cookie >= 0 && cookie.isValid(wire, scan.cookie, scan.cookieBytes, wire, peer, nowSeconds);
  }

  #refuse(wire: Uint8Array, start: number, verdict: number, writeCookie: WriteCookie | undefined): number {
    const { counters } = this.#options;
    if (verdict === SCAN.BAD_VERSION) {
      counters.addOutcome(OUTCOME.bad_version);
      return composeEmptyAnswer(wire, start, this.scan, RCODE.BADVERS, { writeCookie });
    }
    const unknown = verdict === SCAN.NOT_IMPLEMENTED;
    counters.addOutcome(unknown ? OUTCOME.not_implemented : OUTCOME.malformed);
    return composeEmptyAnswer(wire, start, this.scan, unknown ? RCODE.NOTIMP : RCODE.FORMERR);
  }

  #findRule(wire: Uint8Array, qname: number): number {
    if (++this.#untimed < TIMED_EVERY) return this.#table.findRule(wire, qname);
    this.#untimed = 0;
    const before = performance.now();
    const rule = this.#table.findRule(wire, qname);
    this.#options.counters.policySeconds.observe((performance.now() - before) / 1000);
    return rule;
  }

  /** Composes the blocked answer, or only counts it in observe mode. */
  #block(
    rule: number,
    wire: Uint8Array,
    start: number,
    capacity: number,
    target: boolean,
    writeCookie: WriteCookie | undefined,
  ): number {
    const { counters } = this.#options;
    const table = this.#table;
    const action = target ? ACTION.target_nodata : table.isSubtree(rule) ? ACTION.nxdomain : ACTION.nodata;
    counters.addBlocked(table.categoryOf(rule), action);
    if (!target) counters.addOutcome(this.#options.observe ? OUTCOME.observed : OUTCOME.blocked);
    if (this.#options.observe) return VERDICT.FORWARD;
    return composeBlockedAnswer(
      table,
      rule,
      wire,
      start,
      this.scan,
      this.#options.maxTtlSeconds,
      capacity,
      target,
      writeCookie,
    );
  }
}
