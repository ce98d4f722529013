import type { Duplex } from 'node:stream';
import { ERROR, FLAG, FRAME, type Http2Error, SETTING } from './frame.ts';
import { FrameWriter } from './frame-writer.ts';
import {
  BLOCK_OVERHEAD_BYTES,
  FIELD_BYTES,
  HpackEncoder,
  RESPONSE_FIELD,
  type ResponseFields,
} from './hpack-encoder.ts';
import { SETTING_BYTES } from './settings.ts';

/** Octets gathered before they are written without waiting for the end of the turn. */
const GATHERED_BYTES = 16_384;
/** Bodies wait when the client has so many octets to read, and it is cut off at so many: the rest is its own doing. */
const MANY_UNREAD_BYTES = 1 << 17;
const MAX_UNREAD_BYTES = 1 << 18;
const NOTHING = new Uint8Array(0);

/**
 * The frames that leave on a connection. Those of one turn of the event loop leave together, in one system call and one TLS
 * record: with a write for each the same core serves a third of the queries.
 */
export class Output {
  readonly #socket: Duplex;
  readonly #onTurn: () => void;
  readonly #onWritten: () => void;
  readonly #frames = new FrameWriter();
  readonly #encoder = new HpackEncoder();
  #isScheduled = false;
  /** The last write has not reached the kernel. */
  #isWriting = false;
  readonly #onWrite = () => {
    this.#isWriting = false;
    this.flush();
    this.#onWritten();
  };

  /** `onTurn` is called before what was gathered is written, `onWritten` after, and when the client took it. */
  constructor(socket: Duplex, onTurn: () => void, onWritten: () => void) {
    this.#socket = socket;
    this.#onTurn = onTurn;
    this.#onWritten = onWritten;
  }

  /** Nothing waits to be written. */
  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  /** The client has enough to read; more may follow after `onWritten`. */
  get isFull(): boolean {
    return this.#frames.length + this.#socket.writableLength >= MANY_UNREAD_BYTES;
  }

  /** The largest dynamic table that the client allows for responses. */
  limitTable(maxBytes: number): void {
    this.#encoder.limit(maxBytes);
  }

  writeSettings(maxStreams: number, maxHeaderBytes: number): void {
    const start = this.#frames.begin(FRAME.SETTINGS, 0, 0, 2 * SETTING_BYTES);
    this.#frames.writeUint16(SETTING.MAX_CONCURRENT_STREAMS);
    this.#frames.writeUint32(maxStreams);
    this.#frames.writeUint16(SETTING.MAX_HEADER_LIST_SIZE);
    this.#frames.writeUint32(maxHeaderBytes);
    this.#end(start);
  }

  acknowledgeSettings(): void {
    this.#writeFrame(FRAME.SETTINGS, FLAG.ACK, 0, NOTHING, 0, 0);
  }

  /** Answers a PING with its payload. */
  acknowledgePing(source: Uint8Array, at: number, length: number): void {
    this.#writeFrame(FRAME.PING, FLAG.ACK, 0, source, at, length);
  }

  writeReset(streamId: number, error: Http2Error): void {
    const start = this.#frames.begin(FRAME.RST_STREAM, 0, streamId, 4);
    this.#frames.writeUint32(error);
    this.#end(start);
  }

  writeGoAway(lastStreamId: number, error: Http2Error): void {
    const start = this.#frames.begin(FRAME.GOAWAY, 0, 0, 8);
    this.#frames.writeUint32(lastStreamId);
    this.#frames.writeUint32(error);
    this.#end(start);
  }

  /** Lets the client send so many octets more on the connection. */
  widenWindow(moreBytes: number): void {
    const start = this.#frames.begin(FRAME.WINDOW_UPDATE, 0, 0, 4);
    this.#frames.writeUint32(moreBytes);
    this.#end(start);
  }

  /** Writes status and fields of a response, and the length of its body; without one, that is all of it. */
  writeHead(streamId: number, status: number, fields: ResponseFields, bodyBytes: number): void {
    const frames = this.#frames;
    const encoder = this.#encoder;
    const length = String(bodyBytes);
    let maxBytes = BLOCK_OVERHEAD_BYTES + FIELD_BYTES + length.length;
    for (const [, value] of fields) maxBytes += FIELD_BYTES + value.length;
    const flags = bodyBytes === 0 ? FLAG.END_HEADERS | FLAG.END_STREAM : FLAG.END_HEADERS;
    const start = frames.begin(FRAME.HEADERS, flags, streamId, maxBytes);
    encoder.begin(frames, status);
    for (const [name, value] of fields) encoder.write(frames, name, value);
    encoder.write(frames, RESPONSE_FIELD.CONTENT_LENGTH, length);
    this.#end(start);
  }

  writeData(streamId: number, source: Uint8Array, at: number, length: number, isLast: boolean): void {
    this.#writeFrame(FRAME.DATA, isLast ? FLAG.END_STREAM : 0, streamId, source, at, length);
  }

  /** Sees to it that `onTurn` is called at the end of this turn. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#onTurn();
      this.#isScheduled = false;
      this.flush();
      this.#onWritten();
    });
  }

  /**
   * Writes what was gathered, or waits until the last write is done: what a client does not read stays together. With a
   * buffer for each turn's few octets it would take a hundred times their room.
   */
  flush(): void {
    const socket = this.#socket;
    const { length } = this.#frames;
    if (length === 0) return;
    if (socket.writableLength + length > MAX_UNREAD_BYTES) socket.destroy();
    if (socket.destroyed || !this.#isWriting) this.#write();
  }

  /** Ends the connection once everything is written; with an error, after telling it (RFC 9113 §5.4.1). */
  end(lastStreamId?: number, error: Http2Error = ERROR.NO_ERROR): void {
    if (lastStreamId !== undefined) this.writeGoAway(lastStreamId, error);
    this.#write();
    this.#socket.end();
  }

  #write(): void {
    const socket = this.#socket;
    if (this.#frames.length === 0) return;
    const taken = this.#frames.take();
    if (socket.destroyed || socket.writableEnded) return;
    this.#isWriting = true;
    socket.write(taken, this.#onWrite);
  }

  #writeFrame(type: number, flags: number, streamId: number, source: Uint8Array, at: number, length: number): void {
    const start = this.#frames.begin(type, flags, streamId, length);
    this.#frames.writeBytes(source, at, length);
    this.#end(start);
  }

  #end(start: number): void {
    this.#frames.end(start);
    if (this.#frames.length >= GATHERED_BYTES) this.flush();
    this.schedule();
  }
}
