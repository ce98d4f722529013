import { ERROR, FLAG, FRAME_HEADER_BYTES, type Http2Error, MAX_FRAME_BYTES, PREFACE } from './frame.ts';

const NOTHING = Buffer.alloc(0);

/**
 * Cuts what a client sends into frames. After `next()` said so, the reader shows one whole frame: its type, flags and stream,
 * and where its payload is, until the next call. Holds at most one frame that is not whole.
 */
export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** The payload is `bytes[at, at + length)`. */
  bytes: Buffer = NOTHING;
  at = 0;
  length = 0;
  /** Why there are no more frames, if that is what `next()` meant. */
  error: Http2Error = ERROR.NO_ERROR;
  /** Where the next frame starts. */
  #next = 0;
  #isBegun = false;

  /** Takes what was received. */
  add(chunk: Buffer): void {
    const left = this.bytes.length - this.#next;
    this.bytes = left === 0 ? chunk : Buffer.concat([this.bytes.subarray(this.#next), chunk]);
    this.#next = 0;
  }

  /** Goes on to the next frame; false when there is no whole one, or none to come. */
  next(): boolean {
    if (!this.#isBegun && !this.#readPreface()) return false;
    const { bytes } = this;
    const start = this.#next;
    const left = bytes.length - start;
    if (left < FRAME_HEADER_BYTES) return this.#wait(left);
    const length = (bytes[start]! << 16) | (bytes[start + 1]! << 8) | bytes[start + 2]!;
    if (length > MAX_FRAME_BYTES) return this.#fail(ERROR.FRAME_SIZE_ERROR);
    if (left < FRAME_HEADER_BYTES + length) return false;
    this.type = bytes[start + 3]!;
    this.flags = bytes[start + 4]!;
    this.streamId = readUint31(bytes, start + 5);
    this.at = start + FRAME_HEADER_BYTES;
    this.length = length;
    this.#next = this.at + length;
    return true;
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** Takes the padding off the payload of DATA or HEADERS (RFC 9113 §6.1); false when there is more of it than payload. */
  stripPadding(): boolean {
    if (!this.has(FLAG.PADDED)) return true;
    if (this.length === 0) return false;
    const padding = this.bytes[this.at]!;
    this.at++;
    this.length -= 1 + padding;
    return this.length >= 0;
  }

  #readPreface(): boolean {
    const { bytes } = this;
    const length = Math.min(bytes.length, PREFACE.length);
    if (bytes.compare(PREFACE, 0, length, 0, length) !== 0) return this.#fail(ERROR.PROTOCOL_ERROR);
    if (length < PREFACE.length) return false;
    this.#next = length;
    this.#isBegun = true;
    return true;
  }

  /** An idle connection keeps no memory of what it sent. */
  #wait(left: number): false {
    if (left === 0) {
      this.bytes = NOTHING;
      this.#next = 0;
    }
    return false;
  }

  #fail(error: Http2Error): false {
    this.error = error;
    return false;
  }
}

/** Reads four octets without their first bit, which is reserved. */
export function readUint31(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! & 0x7f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
