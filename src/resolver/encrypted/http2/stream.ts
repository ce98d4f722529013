import type { ResponseFields } from './hpack-encoder.ts';

/** Takes a request's body as it comes. Not called any more once the response is given. */
export interface BodyReader {
  onPart(part: Buffer): void;
  onEnd(): void;
}

/** A request, to whoever answers it. */
export interface Http2Request {
  /** Nobody waits for the response any more, or there is one. */
  readonly isGone: boolean;
  /** Takes the body; without a reader it is thrown away. One of no octets may end as soon as `onRequest` returns. */
  readBody(reader: BodyReader): void;
  /**
   * Gives the response with the body `source[at, at + length)`, which is copied before this returns, and its Content-Length.
   * What is still to come of the request is not wanted then (RFC 9113 §8.1). Does nothing when the request is gone.
   */
  respond(status: number, fields: ResponseFields, source: Uint8Array, at: number, length: number): void;
}

/** What a stream needs of its connection. */
export interface StreamOwner {
  respond(
    stream: Http2Stream,
    status: number,
    fields: ResponseFields,
    source: Uint8Array,
    at: number,
    length: number,
  ): void;
}

/** One stream: what its connection keeps of it, and the request that it carries. */
export class Http2Stream implements Http2Request {
  readonly id: number;
  /** Octets that the body has by the request's own word, or `NO_LENGTH`. */
  readonly bodyBytes: number;
  receivedBytes = 0;
  /** Octets that may still be received and sent (RFC 9113 §5.2). */
  receiveWindow: number;
  sendWindow: number;
  /** The client has sent all of the request. */
  isComplete: boolean;
  hasResponse = false;
  isClosed = false;
  /** When the client was last waited for: since then the rest of the request, or room for the response, is missing. */
  since = 0;
  /** What is left to be sent of the response. */
  unsent: Uint8Array | undefined;
  reader: BodyReader | undefined;
  readonly #owner: StreamOwner;

  constructor(
    owner: StreamOwner,
    id: number,
    isComplete: boolean,
    bodyBytes: number,
    windows: { receive: number; send: number },
  ) {
    this.#owner = owner;
    this.id = id;
    this.isComplete = isComplete;
    this.bodyBytes = bodyBytes;
    this.receiveWindow = windows.receive;
    this.sendWindow = windows.send;
  }

  get isGone(): boolean {
    return this.isClosed || this.hasResponse;
  }

  readBody(reader: BodyReader): void {
    this.reader = reader;
  }

  respond(status: number, fields: ResponseFields, source: Uint8Array, at: number, length: number): void {
    this.#owner.respond(this, status, fields, source, at, length);
  }
}
