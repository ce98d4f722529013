import { NOT_FRESH, readFreshnessSeconds } from '../../dns/freshness.ts';
import type { DohStatus, EncryptedCounters } from '../../metrics/encrypted-counters.ts';
import { VERDICT } from '../query-stages.ts';
import type { StreamClient, StreamExchange, TakeAnswer } from '../stream-exchange.ts';

/** A request of either version of HTTP that waits for its response. */
export interface HttpRequest {
  /** Nobody waits for the response any more, or there is one. */
  readonly isGone: boolean;
  /** Answers with the message `wire[at, at + length)`, which is copied before this returns. */
  send(wire: Uint8Array, at: number, length: number, cacheControl: string): void;
  refuse(status: DohStatus): void;
}

/** Methods of DoH, for a response that refuses another. */
export const METHODS = 'GET, POST';

/** Answers DoH queries (RFC 8484), whatever version of HTTP they came over. */
export class DohResponder {
  readonly #exchange: StreamExchange;
  readonly #counters: EncryptedCounters;

  constructor(exchange: StreamExchange, counters: EncryptedCounters) {
    this.#exchange = exchange;
    this.#counters = counters;
  }

  /** Answers a query, now or when the upstream has. A message that is no query is a bad request. */
  answer(query: Buffer, client: StreamClient, request: HttpRequest): void {
    const take: TakeAnswer = (wire, at, length) => this.#respond(request, wire, at, length);
    const verdict = this.#exchange.ask(query, 0, query.length, client, take, take);
    if (verdict === VERDICT.DROP) this.refuse(request, 400);
  }

  refuse(request: HttpRequest, status: DohStatus): void {
    if (request.isGone) return;
    this.#counters.addStatus(status);
    request.refuse(status);
  }

  #respond(request: HttpRequest, wire: Uint8Array, at: number, length: number): void {
    if (request.isGone) return;
    const fresh = readFreshnessSeconds(wire, at, length);
    this.#counters.addStatus(200);
    request.send(wire, at, length, fresh === NOT_FRESH ? 'no-store' : `max-age=${fresh}`);
  }
}
