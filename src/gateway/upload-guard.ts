import type { IncomingMessage } from 'node:http';
import type { HttpLimits } from './http-listener.ts';

interface Upload {
  readonly request: IncomingMessage;
  sinceMillis: number;
  readBytes: number;
}

const LOOK_MILLIS = 1_000;

/**
 * Ends uploads that trickle: a client that sends an octet now and then would hold a connection of ours, and one of the origin's,
 * for as long as it likes. While the origin holds an upload up, its client is not blamed.
 */
export class UploadGuard {
  readonly #minBytesPerSecond: number;
  readonly #windowMillis: number;
  readonly #onSlow: (request: IncomingMessage) => void;
  readonly #uploads = new Map<IncomingMessage, Upload>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: Pick<HttpLimits, 'bytesPerSecond' | 'paceSeconds'>, onSlow: (request: IncomingMessage) => void) {
    this.#minBytesPerSecond = limits.bytesPerSecond;
    this.#windowMillis = limits.paceSeconds * 1000;
    this.#onSlow = onSlow;
  }

  /** Watches a request until its body was read. */
  watch(request: IncomingMessage): void {
    this.#uploads.set(request, { request, sinceMillis: performance.now(), readBytes: request.socket.bytesRead });
    request.once('close', () => this.#uploads.delete(request));
    this.#timer ??= setInterval(() => this.#look(), Math.min(LOOK_MILLIS, this.#windowMillis)).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const now = performance.now();
    for (const upload of this.#uploads.values()) {
      const { request } = upload;
      if (request.complete) {
        this.#uploads.delete(request);
        continue;
      }
      const passed = now - upload.sinceMillis;
      const isHeldUp = request.readableFlowing !== true;
      if (!isHeldUp && passed < this.#windowMillis) continue;
      const received = request.socket.bytesRead - upload.readBytes;
      if (!isHeldUp && received < (this.#minBytesPerSecond * passed) / 1000) {
        this.#uploads.delete(request);
        this.#onSlow(request);
      }
      upload.sinceMillis = now;
      upload.readBytes += received;
    }
    if (this.#uploads.size === 0) this.stop();
  }
}
