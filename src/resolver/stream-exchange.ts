import { FLAGS3, HEADER_BYTES, RCODE } from '../dns/constants.ts';
import { appendCookie, appendPadding, PADDING_BLOCK_BYTES } from '../dns/edns.ts';
import { COOKIE_ROOM_BYTES, type QueryStages, VERDICT } from './query-stages.ts';
import type { SocketAddress } from './socket-address.ts';
import type { ForwardResult, StreamForwarder, StreamQuery } from './stream-forwarder.ts';

/** Longest query taken from a stream. */
export const MAX_STREAM_QUERY_BYTES = 4096;
/** Room for the client's sockaddr before the message. */
export const PEER_ROOM = 32;
/** Longest answer of our own over a stream. */
const ANSWER_CAPACITY = 2048;
/** Longest message the two-octet length can tell. */
const MAX_MESSAGE_BYTES = 65_535;
/** Room for a query, an answer composed behind it, and its cookie and padding. */
const WORK_BYTES = MAX_STREAM_QUERY_BYTES + ANSWER_CAPACITY + COOKIE_ROOM_BYTES + 2 * PADDING_BLOCK_BYTES;

/** Who asks over a stream, and where. */
export interface StreamClient {
  /** The client's `struct sockaddr`, `PEER_ROOM` octets. */
  readonly peer: Uint8Array;
  /** The address it asked, for the PROXY header to the upstream. */
  readonly listener: SocketAddress;
}

/** What is kept of a query for its answer. */
interface AskedFor {
  cookie: Uint8Array | undefined;
  padded: boolean;
  steersReply: boolean;
}

/** Takes the answer `wire[at, at + length)`, which must be copied before this returns. */
export type TakeAnswer = (wire: Uint8Array, at: number, length: number) => void;

/**
 * One query over a stream and its answer, the same for TCP, DoT and DoH: the stages, then the forwarder, then the stages
 * again. Encrypted transports pad the answers to queries that were padded (RFC 8467); others never do.
 */
export class StreamExchange {
  readonly #stages: QueryStages;
  readonly #forwarder: StreamForwarder;
  readonly #encrypted: boolean;
  /** Reused for every query: what outlives the call is copied. */
  readonly #scratch = new Uint8Array(PEER_ROOM + WORK_BYTES);

  constructor(stages: QueryStages, forwarder: StreamForwarder, encrypted: boolean) {
    this.#stages = stages;
    this.#forwarder = forwarder;
    this.#encrypted = encrypted;
  }

  /**
   * Judges the query `source[start, start + length)`, at most `MAX_STREAM_QUERY_BYTES`. `take` gets an answer of our own before
   * this returns above zero; after `VERDICT.FORWARD` `takeLater` gets the answer, always; after `VERDICT.DROP` there is none.
   */
  ask(
    source: Uint8Array,
    start: number,
    length: number,
    client: StreamClient,
    take: TakeAnswer,
    takeLater: TakeAnswer,
  ): number {
    const wire = this.#scratch;
    const stages = this.#stages;
    wire.set(client.peer, 0);
    wire.set(source.subarray(start, start + length), PEER_ROOM);
    stages.readClock();
    const verdict = stages.decide(wire, PEER_ROOM, length, 0, ANSWER_CAPACITY, true);
    if (verdict === VERDICT.DROP) return verdict;
    const { scan, cookie, forwardBytes, steersReply } = stages;
    const padded = this.#encrypted && scan.padding >= 0;
    if (verdict > 0) {
      take(wire, PEER_ROOM, padded ? appendPadding(wire, PEER_ROOM, verdict, MAX_MESSAGE_BYTES) : verdict);
      return verdict;
    }
    const query: StreamQuery = {
      message: wire.slice(PEER_ROOM, PEER_ROOM + forwardBytes),
      questionBytes: scan.questionEnd - PEER_ROOM,
      peer: client.peer,
      listener: client.listener,
    };
    void this.#forwarder
      .forward(query)
      .then((result) => this.#passOn(query.message, result, { cookie, padded, steersReply }, takeLater));
    return verdict;
  }

  /** Passes on the upstream's reply, or what takes its place, with the cookie and the padding if the query had them. */
  #passOn(query: Uint8Array, result: ForwardResult, { cookie, padded, steersReply }: AskedFor, take: TakeAnswer): void {
    const reply = 'reply' in result ? result.reply : new Uint8Array(0);
    const wire = new Uint8Array(WORK_BYTES + reply.length + COOKIE_ROOM_BYTES + 2 * PADDING_BLOCK_BYTES);
    wire.set(query, 0);
    wire.set(reply, WORK_BYTES);
    this.#stages.readClock();
    let at = 0;
    let length = 0;
    if ('ede' in result) {
      length = this.#stages.composeEmpty(wire, 0, query.length, RCODE.SERVFAIL, { ede: result.ede });
    } else {
      length = this.#stages.checkReply(wire, WORK_BYTES, reply.length, 0, query.length, ANSWER_CAPACITY, steersReply);
    }
    if (length === 0 && reply.length === HEADER_BYTES) {
      length = this.#stages.composeEmpty(wire, 0, query.length, reply[3]! & FLAGS3.RCODE);
    } else if (length === 0) {
      at = WORK_BYTES;
      length = reply.length;
    }
    if (cookie !== undefined && length + COOKIE_ROOM_BYTES <= MAX_MESSAGE_BYTES) {
      length = appendCookie(wire, at, length, cookie);
    }
    if (padded) length = appendPadding(wire, at, length, MAX_MESSAGE_BYTES);
    take(wire, at, length);
  }
}
