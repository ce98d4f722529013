import { randomFillSync } from 'node:crypto';
import { EDE, EDNS_UDP_BYTES, FLAGS3, HEADER_BYTES, RCODE } from '../dns/constants.ts';
import { appendCookie } from '../dns/edns.ts';
import { repeatsQuestion } from '../dns/reply.ts';
import { OUTCOME, type SharedCounters, UPSTREAM_OUTCOME } from '../metrics/shared-counters.ts';
import {
  type DatagramHandler,
  type DatagramIo,
  MAX_QUERY_BYTES,
  MAX_REPLY_BYTES,
  PENDING_SLOTS_AT,
  QUERY_SLOT_BYTES,
  SLOT,
} from './io/datagram-io.ts';
import { NONE, PendingTable } from './pending-table.ts';
import { writeProxyHeader } from './proxy-header.ts';
import { COOKIE_ROOM_BYTES, type QueryStages, VERDICT } from './query-stages.ts';
import { COOKIE_BYTES } from './server-cookie.ts';
import type { SocketAddress } from './socket-address.ts';

/** How queries are forwarded. */
export interface ForwardOptions {
  listen: readonly SocketAddress[];
  upstreamCount: number;
  portsPerUpstream: number;
  pendingSlots: number;
  timeoutMillis: number;
  attempts: number;
  /** Puts a PROXY protocol v2 header before each query. */
  proxyProtocol: boolean;
}

/** One port is renewed so often, when nothing waits on it: source ports do not stay the same for long. */
const RENEW_EVERY_MILLIS = 250;
/** An upstream that failed a query is passed over for so long while another is up. */
const PENALTY_MILLIS = 1000;
/** Random words drawn at once. */
const RANDOM_WORDS = 8192;

/** What the data plane shares with the main thread. */
export interface DataPlaneLinks {
  counters: SharedCounters;
  /** One word for each upstream: 1 while its health check succeeds. */
  upstreamUp: Int32Array;
  /** Called each tick: takes a new table if there is one; false asks to stop. */
  poll(): boolean;
  monotonicMillis(): number;
}

/** Judges queries, forwards what is not blocked, matches replies, retries, and gives up in time. One per thread. */
export class DataPlane implements DatagramHandler {
  readonly #io: DatagramIo;
  readonly #stages: QueryStages;
  readonly #options: ForwardOptions;
  readonly #links: DataPlaneLinks;
  readonly #pending: PendingTable;
  /** Queries waiting on each upstream port. */
  readonly #waiting: Int32Array;
  readonly #penaltyUntil: Float64Array;
  readonly #random = new Uint16Array(RANDOM_WORDS);
  #randomAt = RANDOM_WORDS;
  #nowMillis = 0;
  /** Port for the queries of this batch: one of a pool at random, so a batch stays one system call. */
  #port = 0;
  #upstreamTurn = 0;
  /** Port that takes no queries until it is renewed. */
  #renewing = 0;
  #renewedAt = 0;
  /** Slots sent upstream and latencies of replies passed on in this batch, for the histogram. */
  readonly #sent: Int32Array;
  #sentCount = 0;
  readonly #legs: Float64Array;
  #legCount = 0;
  #answered = 0;

  constructor(io: DatagramIo, stages: QueryStages, options: ForwardOptions, links: DataPlaneLinks) {
    this.#io = io;
    this.#stages = stages;
    this.#options = options;
    this.#links = links;
    this.#pending = new PendingTable(options.pendingSlots, () => this.#draw());
    this.#waiting = new Int32Array(options.upstreamCount * options.portsPerUpstream);
    this.#penaltyUntil = new Float64Array(options.upstreamCount);
    this.#sent = new Int32Array(options.pendingSlots);
    this.#legs = new Float64Array(options.pendingSlots);
    this.beginBatch();
  }

  beginBatch(): void {
    this.#nowMillis = this.#links.monotonicMillis();
    this.#stages.readClock();
    this.#port = this.#pickPort(NONE);
    this.#sentCount = 0;
    this.#legCount = 0;
    this.#answered = 0;
  }

  onQuery(listener: number, slot: number, length: number): void {
    const wire = this.#io.arena;
    const message = slot + SLOT.MESSAGE;
    if (length >= MAX_QUERY_BYTES) return this.#links.counters.addOutcome(OUTCOME.malformed);
    const verdict = this.#stages.decide(wire, message, length, slot, EDNS_UDP_BYTES, false);
    if (verdict > 0) {
      this.#answered++;
      this.#io.answer(listener, slot, message, verdict);
    } else if (verdict === VERDICT.FORWARD) {
      this.#forward(listener, slot);
    }
  }

  onReply(port: number, slot: number, length: number): void {
    const { counters } = this.#links;
    const wire = this.#io.arena;
    const message = slot + SLOT.MESSAGE;
    if (length < HEADER_BYTES) return counters.addUpstream(UPSTREAM_OUTCOME.unmatched);
    const pending = this.#pending.find((wire[message]! << 8) | wire[message + 1]!);
    if (pending === NONE || this.#pending.port[pending] !== port || !this.#repeatsQuestion(pending, message, length)) {
      return counters.addUpstream(UPSTREAM_OUTCOME.unmatched);
    }
    counters.addUpstream(UPSTREAM_OUTCOME.answered);
    this.#passReply(pending, message, length);
  }

  endBatch(): void {
    const { counters, monotonicMillis } = this.#links;
    const tookMillis = monotonicMillis() - this.#nowMillis;
    for (let i = 0; i < this.#answered; i++) counters.addedLatencySeconds.observe(tookMillis / 1000);
    for (let i = 0; i < this.#sentCount; i++) this.#pending.legMillis[this.#sent[i]!]! += tookMillis;
    for (let i = 0; i < this.#legCount; i++) {
      counters.addedLatencySeconds.observe((this.#legs[i]! + tookMillis) / 1000);
    }
  }

  onRefused(port: number): void {
    this.#links.counters.addUpstream(UPSTREAM_OUTCOME.refused);
    if (port < 0) return;
    this.#penaltyUntil[this.#upstreamOf(port)] = this.#nowMillis + PENALTY_MILLIS;
    let slot = this.#pending.oldest;
    for (let left = this.#pending.count; left > 0 && slot !== NONE; left--) {
      const next = this.#pending.following(slot);
      if (this.#pending.port[slot] === port) this.#retry(slot, EDE.NETWORK_ERROR);
      slot = next;
    }
  }

  onSendFailures(count: number): void {
    this.#links.counters.addSendFailures(count);
  }

  tick(): boolean {
    this.beginBatch();
    const pending = this.#pending;
    while (pending.oldest !== NONE) {
      const slot = pending.oldest;
      if (pending.sentAtMillis[slot]! + this.#options.timeoutMillis > this.#nowMillis) break;
      this.#links.counters.addUpstream(UPSTREAM_OUTCOME.timed_out);
      this.#penaltyUntil[this.#upstreamOf(pending.port[slot]!)] = this.#nowMillis + PENALTY_MILLIS;
      this.#retry(slot, EDE.NO_REACHABLE_AUTHORITY);
    }
    this.#renewOnePort();
    this.#links.counters.setPending(pending.count);
    return this.#links.poll();
  }

  /** Keeps the query in a slot of its own and sends it upstream under a fresh identifier. */
  #forward(listener: number, slot: number): void {
    const pending = this.#pending;
    const wire = this.#io.arena;
    const { scan, cookie, clientBytes, forwardBytes, steersReply } = this.#stages;
    const kept = pending.take();
    if (kept === NONE) return this.#links.counters.addOutcome(OUTCOME.overloaded);
    this.#links.counters.addOutcome(OUTCOME.forwarded);
    const at = PENDING_SLOTS_AT + kept * QUERY_SLOT_BYTES;
    const message = slot + SLOT.MESSAGE;
    wire.copyWithin(at, slot, message + forwardBytes);
    if (cookie !== undefined) wire.set(cookie, at + SLOT.COOKIE);
    pending.hasCookie[kept] = cookie === undefined ? 0 : 1;
    pending.steersReply[kept] = steersReply ? 1 : 0;
    pending.clientBytes[kept] = clientBytes;
    pending.clientId[kept] = (wire[message]! << 8) | wire[message + 1]!;
    pending.length[kept] = forwardBytes;
    pending.questionBytes[kept] = scan.questionEnd - message;
    pending.listener[kept] = listener;
    pending.attempts[kept] = 1;
    pending.legMillis[kept] = 0;
    pending.preambleBytes[kept] = this.#options.proxyProtocol
      ? writeProxyHeader(wire, at + SLOT.MESSAGE, at, this.#options.listen[listener]!)
      : 0;
    this.#sent[this.#sentCount++] = kept;
    this.#send(kept, this.#port);
  }

  /** Sends the query of a slot through a port and notes the time. */
  #send(slot: number, port: number): void {
    const pending = this.#pending;
    const message = PENDING_SLOTS_AT + slot * QUERY_SLOT_BYTES + SLOT.MESSAGE;
    const id = pending.wireId[slot]!;
    this.#io.arena[message] = id >>> 8;
    this.#io.arena[message + 1] = id & 0xff;
    pending.port[slot] = port;
    this.#waiting[port]!++;
    pending.markSent(slot, this.#nowMillis);
    const preamble = pending.preambleBytes[slot]!;
    this.#io.forward(port, message - preamble, pending.length[slot]! + preamble);
  }

  /** Tries the query again, through another upstream if there is one, or answers SERVFAIL. */
  #retry(slot: number, ede: number): void {
    const pending = this.#pending;
    const port = pending.port[slot]!;
    if (pending.attempts[slot]! >= this.#options.attempts) return this.#fail(slot, ede);
    this.#waiting[port]!--;
    pending.attempts[slot]!++;
    pending.unlink(slot);
    pending.renewId(slot);
    this.#links.counters.addUpstream(UPSTREAM_OUTCOME.retried);
    this.#send(slot, this.#pickPort(this.#upstreamOf(port)));
  }

  #fail(slot: number, ede: number): void {
    const message = PENDING_SLOTS_AT + slot * QUERY_SLOT_BYTES + SLOT.MESSAGE;
    const queryBytes = this.#pending.length[slot]!;
    this.#answer(
      slot,
      message,
      this.#stages.composeEmpty(this.#io.arena, message, queryBytes, RCODE.SERVFAIL, { ede }),
    );
  }

  /**
   * Passes the upstream's reply to the client, or what takes its place: a blocked target, an error that came without a
   * question, or a cut for a small client.
   */
  #passReply(slot: number, message: number, length: number): void {
    const pending = this.#pending;
    const wire = this.#io.arena;
    const query = PENDING_SLOTS_AT + slot * QUERY_SLOT_BYTES + SLOT.MESSAGE;
    const queryBytes = pending.length[slot]!;
    const clientBytes = pending.clientBytes[slot]! - (pending.hasCookie[slot] === 0 ? 0 : COOKIE_ROOM_BYTES);
    const capacity = Math.min(clientBytes, EDNS_UDP_BYTES);
    const rcode = wire[message + 3]! & FLAGS3.RCODE;
    this.#legs[this.#legCount++] = pending.legMillis[slot]!;
    const steers = pending.steersReply[slot] === 1;
    const blocked = this.#stages.checkReply(wire, message, length, query, queryBytes, capacity, steers);
    if (blocked > 0) {
      this.#answer(slot, query, blocked);
    } else if (length === HEADER_BYTES) {
      this.#answer(slot, query, this.#stages.composeEmpty(wire, query, queryBytes, rcode));
    } else if (length > clientBytes || length >= MAX_REPLY_BYTES) {
      this.#links.counters.addUpstream(UPSTREAM_OUTCOME.truncated);
      this.#answer(slot, query, this.#stages.composeEmpty(wire, query, queryBytes, rcode, { truncated: true }));
    } else {
      this.#answer(slot, message, length);
    }
  }

  /** Sends an answer under the client's identifier, with the cookie its query had, and frees the slot. */
  #answer(slot: number, message: number, length: number): void {
    const pending = this.#pending;
    const at = PENDING_SLOTS_AT + slot * QUERY_SLOT_BYTES;
    const wire = this.#io.arena;
    const id = pending.clientId[slot]!;
    wire[message] = id >>> 8;
    wire[message + 1] = id & 0xff;
    const whole = pending.hasCookie[slot] === 0 ? length : appendCookie(wire, message, length, this.#cookieOf(at));
    this.#io.answer(pending.listener[slot]!, at, message, whole);
    this.#waiting[pending.port[slot]!]!--;
    pending.release(slot);
  }

  #cookieOf(at: number): Uint8Array {
    return this.#io.arena.slice(at + SLOT.COOKIE, at + SLOT.COOKIE + COOKIE_BYTES);
  }

  #repeatsQuestion(slot: number, reply: number, length: number): boolean {
    const wire = this.#io.arena;
    const query = PENDING_SLOTS_AT + slot * QUERY_SLOT_BYTES + SLOT.MESSAGE;
    return repeatsQuestion(wire, reply, length, wire, query, this.#pending.questionBytes[slot]!);
  }

  #upstreamOf(port: number): number {
    return Math.floor(port / this.#options.portsPerUpstream);
  }

  /**
   * Picks a port at random of an upstream that is up, upstreams in turn; `avoid` is passed over while another is up. When all
   * are down one is tried all the same: the health check may be wrong.
   */
  #pickPort(avoid: number): number {
    const { upstreamCount, portsPerUpstream } = this.#options;
    let chosen = NONE;
    let best = -1;
    for (let i = 1; i <= upstreamCount; i++) {
      const upstream = (this.#upstreamTurn + i) % upstreamCount;
      const worth =
        (this.#links.upstreamUp[upstream] === 0 ? 0 : 4) +
        (this.#penaltyUntil[upstream]! > this.#nowMillis ? 0 : 2) +
        (upstream === avoid ? 0 : 1);
      if (worth <= best) continue;
      best = worth;
      chosen = upstream;
    }
    this.#upstreamTurn = chosen;
    const port = chosen * portsPerUpstream + (this.#draw() % portsPerUpstream);
    if (port !== this.#renewing || portsPerUpstream === 1) return port;
    return chosen * portsPerUpstream + ((port + 1) % portsPerUpstream);
  }

  /** Renews the port whose turn it is once nothing waits on it; until then it takes no queries. */
  #renewOnePort(): void {
    if (this.#nowMillis - this.#renewedAt < RENEW_EVERY_MILLIS || this.#waiting[this.#renewing] !== 0) return;
    this.#io.renewPort(this.#renewing);
    this.#renewedAt = this.#nowMillis;
    this.#renewing = (this.#renewing + 1) % this.#waiting.length;
  }

  /** An unpredictable 16-bit word from the system's generator, drawn in blocks. */
  #draw(): number {
    if (this.#randomAt === RANDOM_WORDS) {
      randomFillSync(this.#random);
      this.#randomAt = 0;
    }
    return this.#random[this.#randomAt++]!;
  }
}
