import type { RuleClock } from '../base/clock.ts';
import { PLAIN_UDP_BYTES, RCODE } from '../dns/constants.ts';
import { appendCookie, COOKIE_OPTION_BYTES, capUdpSize, OPT_FIXED_BYTES, removeHopOptions } from '../dns/edns.ts';
import { isInternetClass, QueryScan, SCAN, scanQuery } from '../dns/query.ts';
import { ACTION, OUTCOME, type SharedCounters } from '../metrics/shared-counters.ts';
import { composeBlockedAnswer, composeEmptyAnswer, composeGatewayAnswer } from '../rules/answer.ts';
import { NO_RULE } from '../rules/layout.ts';
import type { RuleTable } from '../rules/rule-table.ts';
import type { ClientAcl } from './client-acl.ts';
import type { LocalZone } from './local-zone.ts';
import type { ResponseRateLimit } from './response-rate-limit.ts';
import type { ServerCookie } from './server-cookie.ts';
import { isSteered, type Steering } from './steering.ts';
import { isUnsignedAnswer, TargetCheck } from './target-check.ts';

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
  steering: Steering;
  localZone: LocalZone;
}

/** One policy evaluation in so many is timed: two clock readings cost more than the evaluation. */
const TIMED_EVERY = 64;

/** Room in a reply for our cookie, and for an OPT record when the upstream sent none. */
export const COOKIE_ROOM_BYTES = COOKIE_OPTION_BYTES + OPT_FIXED_BYTES;

/**
 * What happens to a query before it is forwarded, and to a reply before it is passed on, the same for every transport:
 *
 *     ACL → parse → rate limit (UDP) → own zone → rules → answer, steer or forward → reply → targets → answer or pass
 *
 * Works in place on the message and makes no object, but for queries with a cookie. One instance serves one thread.
 */
export class QueryStages {
  readonly scan = new QueryScan();
  /** After `decide`: octets of answer the client accepts over UDP. */
  clientBytes = PLAIN_UDP_BYTES;
  /** After `VERDICT.FORWARD`: octets of the query to forward. */
  forwardBytes = 0;
  /** After `VERDICT.FORWARD`: the reply may have to be steered; `checkReply` wants to know. */
  steersReply = false;
  /** After `decide`: the COOKIE option data that belongs into every answer to this query, if it had one. */
  cookie: Uint8Array | undefined;
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
    this.readClock();
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
   * After `VERDICT.FORWARD` the query is ready to be forwarded: `forwardBytes` long, without its cookie, asking for no more
   * than our own UDP size; `clientBytes` is what the client itself accepts.
   */
  decide(wire: Uint8Array, start: number, length: number, peer: number, capacity: number, stream: boolean): number {
    const { acl, counters } = this.#options;
    const { scan } = this;
    this.cookie = undefined;
    this.steersReply = false;
    if (!acl.allows(wire, peer)) return this.#drop(OUTCOME.refused_acl);
    const verdict = scanQuery(wire, start, length, this.#options.structuredOption, scan);
    if (verdict === SCAN.IGNORE) return this.#drop(OUTCOME.ignored);
    this.clientBytes = scan.opt >= 0 ? scan.udpBytes : PLAIN_UDP_BYTES;
    const limited = !stream && !this.#hasAllowance(wire, peer);
    if (scan.cookie >= 0) this.#takeCookie(wire, peer);
    if (verdict !== SCAN.OK) return limited ? this.#drop(OUTCOME.limited) : this.#refuse(wire, start, verdict);
    if (limited) {
      counters.addOutcome(OUTCOME.limited);
      return this.#finish(wire, start, composeEmptyAnswer(wire, start, scan, RCODE.NOERROR, { truncated: true }));
    }
    const limit = stream ? capacity : Math.min(capacity, this.clientBytes);
    const internet = isInternetClass(scan.qclass);
    const local = internet ? this.#answerLocally(wire, start, limit) : 0;
    if (local > 0) return this.#finish(wire, start, local);
    const rule = internet ? this.#findRule(wire, scan.qname) : NO_RULE;
    if (rule !== NO_RULE) {
      const answer = this.#block(rule, wire, start, limit, false);
      if (answer !== VERDICT.FORWARD) return this.#finish(wire, start, answer);
    } else if (internet && this.#table.steeredRule !== NO_RULE) {
      const answer = this.#steer(wire, start, limit);
      if (answer !== VERDICT.FORWARD) return this.#finish(wire, start, answer);
    }
    this.forwardBytes = removeHopOptions(wire, start, length, scan);
    capUdpSize(wire, scan, this.cookie === undefined ? 0 : COOKIE_ROOM_BYTES);
    return VERDICT.FORWARD;
  }

  /** Answers a question about this resolver itself; 0 when it is about anything else. */
  #answerLocally(wire: Uint8Array, start: number, limit: number): number {
    const room = this.cookie === undefined ? limit : limit - COOKIE_OPTION_BYTES;
    const length = this.#options.localZone.answer(wire, start, this.scan, room);
    if (length > 0) this.#options.counters.addOutcome(OUTCOME.local);
    return length;
  }

  /** Adds the cookie, if the query had one, to an answer composed in `wire`, and returns the answer's length. */
  #finish(wire: Uint8Array, start: number, length: number): number {
    return this.cookie === undefined ? length : appendCookie(wire, start, length, this.cookie);
  }

  /**
   * Answers for a host with listed pages: its addresses are the gateway's. While no gateway serves, nobody is led to one, as
   * the host itself is not blocked. A client that asks for signatures may refuse an answer without them, so what the upstream
   * says is waited for: see `checkReply`.
   */
  #steer(wire: Uint8Array, start: number, capacity: number): number {
    const { counters, observe, steering } = this.#options;
    if (!isSteered(this.scan.qtype) || !steering.isUp) return VERDICT.FORWARD;
    if (observe) {
      counters.addOutcome(OUTCOME.observed);
      return VERDICT.FORWARD;
    }
    this.steersReply = this.scan.dnssecOk;
    return this.steersReply ? VERDICT.FORWARD : this.#leadToGateway(wire, start, capacity);
  }

  /** Composes the answer that leads to the gateway for the steering rule found last. */
  #leadToGateway(wire: Uint8Array, start: number, capacity: number): number {
    const { counters, steering, maxTtlSeconds } = this.#options;
    const table = this.#table;
    counters.addOutcome(OUTCOME.steered);
    const rule = table.steeredRule;
    const until = Math.min(table.matchedUntil, table.windowOf(rule).notAfter);
    const addresses = steering.addressesFor(this.scan.qtype);
    const room = this.cookie === undefined ? capacity : capacity - COOKIE_OPTION_BYTES;
    return composeGatewayAnswer(table, rule, until, wire, start, this.scan, addresses, maxTtlSeconds, room);
  }

  /**
   * Checks the targets of the upstream's reply `wire[reply, reply + replyBytes)`. When one is blocked, turns the query at
   * `query` of the same array into the blocked answer in place, at most `capacity` octets, and returns its length; 0 lets the
   * reply pass. `steers`: the query had `steersReply`. Such a reply becomes one that leads to the gateway, unless it is signed
   * (a validating client would take the host for broken, all pages of it), says that there is nothing, or no gateway serves any
   * more.
   */
  checkReply(
    wire: Uint8Array,
    reply: number,
    replyBytes: number,
    query: number,
    queryBytes: number,
    capacity: number,
    steers = false,
  ): number {
    if (steers && this.#options.steering.isUp && isUnsignedAnswer(wire, reply, replyBytes)) {
      scanQuery(wire, query, queryBytes, this.#options.structuredOption, this.scan);
      this.cookie = undefined; // of another query; the caller keeps the one of this
      const covered = this.#table.findRule(wire, this.scan.qname) !== NO_RULE;
      if (!covered && this.#table.steeredRule !== NO_RULE) return this.#leadToGateway(wire, query, capacity);
    }
    if (!this.#options.checkTargets) return 0;
    const rule = this.#targets.findBlockedTarget(this.#table, wire, reply, replyBytes);
    if (rule === NO_RULE) return 0;
    scanQuery(wire, query, queryBytes, this.#options.structuredOption, this.scan);
    this.cookie = undefined; // of another query; the caller keeps the one of this
    return Math.max(0, this.#block(rule, wire, query, capacity, true));
  }

  /** Turns the query in place into an answer without records: an RCODE, and an EDE code or TC. */
  composeEmpty(
    wire: Uint8Array,
    query: number,
    queryBytes: number,
    rcode: number,
    options: { truncated?: boolean; ede?: number } = {},
  ): number {
    scanQuery(wire, query, queryBytes, this.#options.structuredOption, this.scan);
    return composeEmptyAnswer(wire, query, this.scan, rcode, options);
  }

  #drop(outcome: number): number {
    this.#options.counters.addOutcome(outcome);
    return VERDICT.DROP;
  }

  /** A client with a server cookie of ours has shown its address, so it is not limited (RFC 7873 §1). */
  #hasAllowance(wire: Uint8Array, peer: number): boolean {
    const { rateLimit, cookie, clock } = this.#options;
    const { scan } = this;
    if (rateLimit.take(wire, peer, clock.endSeconds * 1000)) return true;
    return scan.cookie >= 0 && cookie.isValid(wire, scan.cookie, scan.cookieBytes, peer, clock.endSeconds);
  }

  #takeCookie(wire: Uint8Array, peer: number): void {
    this.cookie = this.#options.cookie.compose(wire, this.scan.cookie, peer, this.#options.clock.endSeconds);
  }

  #refuse(wire: Uint8Array, start: number, verdict: number): number {
    const [outcome, rcode] = REFUSALS[verdict]!;
    this.#options.counters.addOutcome(outcome);
    return this.#finish(wire, start, composeEmptyAnswer(wire, start, this.scan, rcode));
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
  #block(rule: number, wire: Uint8Array, start: number, capacity: number, target: boolean): number {
    const { counters, observe, maxTtlSeconds } = this.#options;
    const table = this.#table;
    const addresses = target || !table.isRedirect(rule) ? NO_ADDRESSES : this.#redirectAddresses();
    const leads = addresses.length > 0;
    const negative = target ? ACTION.target_nodata : table.denies(rule) ? ACTION.nxdomain : ACTION.nodata;
    counters.addBlocked(table.categoryOf(rule), leads ? ACTION.redirect : negative);
    if (!target) counters.addOutcome(observe ? OUTCOME.observed : OUTCOME.blocked);
    if (observe) return VERDICT.FORWARD;
    const room = this.cookie === undefined ? capacity : capacity - COOKIE_OPTION_BYTES;
    if (!leads) return composeBlockedAnswer(table, rule, wire, start, this.scan, maxTtlSeconds, room, target);
    const until = table.matchedUntil;
    return composeGatewayAnswer(table, rule, until, wire, start, this.scan, addresses, maxTtlSeconds, room);
  }

  /**
   * The addresses that a redirect answers with; none where it answers as a block does: for other types, while no gateway
   * serves, and for clients that signalled structured errors, which tell people more than a page would.
   */
  #redirectAddresses(): readonly Uint8Array[] {
    return this.scan.structured ? NO_ADDRESSES : this.#options.steering.addressesFor(this.scan.qtype);
  }
}

const NO_ADDRESSES: readonly Uint8Array[] = [];

/** How a query that is not judged is counted and answered. */
const REFUSALS: Record<number, readonly [outcome: number, rcode: number]> = {
  [SCAN.MALFORMED]: [OUTCOME.malformed, RCODE.FORMERR],
  [SCAN.NOT_IMPLEMENTED]: [OUTCOME.not_implemented, RCODE.NOTIMP],
  [SCAN.BAD_VERSION]: [OUTCOME.bad_version, RCODE.BADVERS],
};
