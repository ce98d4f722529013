import { randomInt } from 'node:crypto';
import { connect } from 'node:net';
import { EDE, EDNS_UDP_BYTES, FLAGS2, HEADER_BYTES } from '../dns/constants.ts';
import { repeatsQuestion } from '../dns/reply.ts';
import { OUTCOME, type SharedCounters, UPSTREAM_OUTCOME } from '../metrics/shared-counters.ts';
import { exchangeDatagram } from './datagram-exchange.ts';
import { NONE } from './pending-table.ts';
import { MAX_PROXY_HEADER_BYTES, writeProxyHeader } from './proxy-header.ts';
import type { SocketAddress } from './socket-address.ts';

export interface StreamForwarderOptions {
  upstreams: readonly SocketAddress[];
  upstreamUp: Int32Array;
  counters: SharedCounters;
  timeoutMillis: number;
  attempts: number;
  maxPending: number;
  proxyProtocol: boolean;
}

/** A query taken from a stream. */
export interface StreamQuery {
  /** The message; its identifier is replaced on a copy. */
  message: Uint8Array;
  /** Octets of header and question. */
  questionBytes: number;
  /** The client's `struct sockaddr` and the address it asked, for the PROXY header. */
  peer: Uint8Array;
  listener: SocketAddress;
}

/** A reply with the client's identifier, or the EDE code of the failure. */
export type ForwardResult = { reply: Uint8Array } | { ede: number };

/**
 * Forwards queries that came over streams: by UDP from a fresh socket (so a fresh random port) for each attempt, then by TCP
 * when the reply is truncated (RFC 7766 §5). Runs on the event loop; the batch data plane does not use it.
 */
export class StreamForwarder {
  readonly #options: StreamForwarderOptions;
  #pending = 0;
  #turn = 0;

  constructor(options: StreamForwarderOptions) {
    this.#options = options;
  }

  /** Forwards one query; never rejects. */
  async forward(query: StreamQuery): Promise<ForwardResult> {
    const { maxPending, attempts, counters } = this.#options;
    if (this.#pending >= maxPending) {
      counters.addOutcome(OUTCOME.overloaded);
      return { ede: EDE.NO_REACHABLE_AUTHORITY };
    }
    counters.addOutcome(OUTCOME.forwarded);
    this.#pending++;
    let ede: number = EDE.NO_REACHABLE_AUTHORITY;
    try {
      let tried = NONE;
      for (let attempt = 0; attempt < attempts; attempt++) {
        if (attempt > 0) counters.addUpstream(UPSTREAM_OUTCOME.retried);
        tried = this.#pickUpstream(tried);
        const result = await this.#ask(query, this.#options.upstreams[tried]!);
        if ('reply' in result) {
          counters.addUpstream(UPSTREAM_OUTCOME.answered);
          return result;
        }
        ede = result.ede;
        counters.addUpstream(ede === EDE.NETWORK_ERROR ? UPSTREAM_OUTCOME.refused : UPSTREAM_OUTCOME.timed_out);
      }
      return { ede };
    } finally {
      this.#pending--;
    }
  }

  /** The next upstream in turn that is up and not the one just tried; then the one just tried; then any but it. */
  #pickUpstream(tried: number): number {
    const { upstreams, upstreamUp } = this.#options;
    let chosen = NONE;
    let best = -1;
    for (let i = 1; i <= upstreams.length; i++) {
      const upstream = (this.#turn + i) % upstreams.length;
      const worth = (Atomics.load(upstreamUp, upstream) === 0 ? 0 : 2) + (upstream === tried ? 0 : 1);
      if (worth <= best) continue;
      best = worth;
      chosen = upstream;
    }
    this.#turn = chosen;
    return chosen;
  }

  async #ask(query: StreamQuery, upstream: SocketAddress): Promise<ForwardResult> {
    const message = Buffer.from(query.message);
    message.writeUInt16BE(randomInt(65536), 0);
    let result: ForwardResult | undefined;
    if (message.length <= EDNS_UDP_BYTES) result = await this.#askDatagram(query, message, upstream);
    const truncated = result !== undefined && 'reply' in result && (result.reply[2]! & FLAGS2.TC) !== 0;
    if (result === undefined || truncated) result = await this.#askStream(query, message, upstream);
    if ('reply' in result) result.reply.set(query.message.subarray(0, 2), 0);
    return result;
  }

  async #askDatagram(query: StreamQuery, message: Buffer, server: SocketAddress): Promise<ForwardResult> {
    const reply = await exchangeDatagram({
      server,
      parts: [this.#proxyHeader(query, false), message],
      timeoutMillis: this.#options.timeoutMillis,
      isReply: (datagram) => isReplyTo(datagram, message, query.questionBytes),
    });
    if (reply === 'timeout') return { ede: EDE.NO_REACHABLE_AUTHORITY };
    return reply === 'network' ? { ede: EDE.NETWORK_ERROR } : { reply };
  }

  #askStream(query: StreamQuery, message: Buffer, upstream: SocketAddress): Promise<ForwardResult> {
    return new Promise((resolve) => {
      const socket = connect({ host: upstream.host, port: upstream.port, noDelay: true });
      let received: Buffer = Buffer.alloc(0);
      const finish = (result: ForwardResult) => {
        clearTimeout(timer);
        socket.removeAllListeners().on('error', () => {});
        socket.destroy();
        resolve(result);
      };
      const timer = setTimeout(finish, this.#options.timeoutMillis, { ede: EDE.NO_REACHABLE_AUTHORITY });
      timer.unref();
      socket.unref();
      socket.once('error', () => finish({ ede: EDE.NETWORK_ERROR }));
      socket.once('close', () => finish({ ede: EDE.NETWORK_ERROR }));
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
        const reply = received.subarray(2, 2 + received.readUInt16BE(0));
        finish(isReplyTo(reply, message, query.questionBytes) ? { reply } : { ede: EDE.NETWORK_ERROR });
      });
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      socket.write(Buffer.concat([this.#proxyHeader(query, true), length, message]));
    });
  }

  #proxyHeader(query: StreamQuery, stream: boolean): Uint8Array {
    if (!this.#options.proxyProtocol) return new Uint8Array(0);
    const scratch = new Uint8Array(MAX_PROXY_HEADER_BYTES + query.peer.length);
    scratch.set(query.peer, MAX_PROXY_HEADER_BYTES);
    const length = writeProxyHeader(scratch, MAX_PROXY_HEADER_BYTES, MAX_PROXY_HEADER_BYTES, query.listener, stream);
    return scratch.subarray(MAX_PROXY_HEADER_BYTES - length, MAX_PROXY_HEADER_BYTES);
  }
}

function isReplyTo(reply: Buffer, query: Buffer, questionBytes: number): boolean {
  if (reply.length < HEADER_BYTES || reply[0] !== query[0] || reply[1] !== query[1]) return false;
  return repeatsQuestion(reply, 0, reply.length, query, 0, questionBytes);
}
