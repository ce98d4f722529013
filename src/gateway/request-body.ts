import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/** Octets held of a body between the two connections. */
const BUFFER_BYTES = 65_536;

/**
 * The body of a request on its way to the origin. It is no more than the request itself, but that it can be given up without
 * closing the client's connection, which still needs its answer; and that the client is told to go on (100) only when
 * the origin's connection asks for the first octet.
 */
export class RequestBody extends Readable {
  readonly #request: IncomingMessage;
  readonly #onFirstRead: (() => void) | undefined;
  #isRead = false;

  constructor(request: IncomingMessage, onFirstRead?: () => void) {
    super({ highWaterMark: BUFFER_BYTES });
    this.#request = request;
    this.#onFirstRead = onFirstRead;
  }

  override _read(): void {
    if (this.#isRead) {
      this.#request.resume();
      return;
    }
    this.#isRead = true;
    this.#request.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onClose);
    this.#onFirstRead?.();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#request
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('error', this.#onError)
      .off('close', this.#onClose);
    callback(error);
  }

  readonly #onData = (chunk: Buffer) => {
    if (!this.push(chunk)) this.#request.pause();
  };

  readonly #onEnd = () => {
    this.push(null);
  };

  readonly #onError = (error: Error) => {
    this.destroy(error);
  };

  /** A body that ends early must not look like a whole one. */
  readonly #onClose = () => {
    if (!this.#request.complete) this.destroy(new Error('the client went away'));
  };
}
