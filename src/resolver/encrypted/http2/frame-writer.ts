import { FRAME_HEADER_BYTES } from './frame.ts';

/** What a first frame makes room for. */
const FIRST_BYTES = 2_048;
const NOTHING = Buffer.alloc(0);

/** Gathers frames to be written in one go. */
export class FrameWriter {
  #bytes: Buffer = NOTHING;
  #length = 0;

  /** Octets gathered. */
  get length(): number {
    return this.#length;
  }

  /** Begins a frame of at most `maxBytes`, and returns where, for `end`. */
  begin(type: number, flags: number, streamId: number, maxBytes: number): number {
    const start = this.#length;
    if (start + FRAME_HEADER_BYTES + maxBytes > this.#bytes.length) this.#grow(FRAME_HEADER_BYTES + maxBytes);
    const bytes = this.#bytes;
    bytes[start + 3] = type;
    bytes[start + 4] = flags;
    bytes[start + 5] = streamId >>> 24;
    bytes[start + 6] = streamId >>> 16;
    bytes[start + 7] = streamId >>> 8;
    bytes[start + 8] = streamId;
    this.#length = start + FRAME_HEADER_BYTES;
    return start;
  }

  /** Ends the frame that was begun at `start`: its length is known now. */
  end(start: number): void {
    const length = this.#length - start - FRAME_HEADER_BYTES;
    this.#bytes[start] = length >>> 16;
    this.#bytes[start + 1] = length >>> 8;
    this.#bytes[start + 2] = length;
  }

  writeUint8(value: number): void {
    this.#bytes[this.#length++] = value;
  }

  writeUint16(value: number): void {
    this.writeUint8(value >>> 8);
    this.writeUint8(value);
  }

  writeUint32(value: number): void {
    this.writeUint16(value >>> 16);
    this.writeUint16(value);
  }

  /** Writes text of ASCII characters. */
  writeText(text: string): void {
    for (let i = 0; i < text.length; i++) this.#bytes[this.#length++] = text.charCodeAt(i);
  }

  /** Writes `source[at, at + length)`. */
  writeBytes(source: Uint8Array, at: number, length: number): void {
    this.#bytes.set(source.subarray(at, at + length), this.#length);
    this.#length += length;
  }

  /** Returns what was gathered and begins anew; the octets are the caller's. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytes = NOTHING;
    this.#length = 0;
    return taken;
  }

  #grow(neededBytes: number): void {
    const larger = Buffer.allocUnsafe(Math.max(FIRST_BYTES, this.#length + neededBytes, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length), 0);
    this.#bytes = larger;
  }
}
