import type { Duplex } from 'node:stream';
import { Allowance } from './allowance.ts';
import {
  DEFAULT_WINDOW_BYTES,
  ERROR,
  FLAG,
  FRAME,
  type Http2Error,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
} from './frame.ts';
import { FrameReader, readUint31 } from './frame-reader.ts';
import { HpackDecoder, MAX_BLOCK_BYTES } from './hpack-decoder.ts';
import type { ResponseFields } from './hpack-encoder.ts';
import { Output } from './output.ts';
import { type HeadLimits, NO_LENGTH, RequestHead } from './request-head.ts';
import { ClientSettings } from './settings.ts';
import { type Http2Request, Http2Stream } from './stream.ts';

export interface Http2Limits extends HeadLimits {
  /** Requests under way at once; more are refused (RFC 9113 §5.1.2). */
  maxStreams: number;
  /** A client has so long to send the rest of a request, and to make room for the rest of a response. */
  requestSeconds: number;
}

export interface Http2Events {
  /** A request has come; `head` is what it says, until this returns. */
  onRequest(request: Http2Request, head: RequestHead): void;
  /** So many streams more, or fewer, are open. Those that are answered in `onRequest` are not counted. */
  onStreams(change: number): void;
  /** The connection is cut off because its client reset too many streams, or made the server do so. */
  onResetFlood(): void;
}

/** Streams that may be reset at once and for each second after; more is an attack (CVE-2023-44487, CVE-2025-8671). */
const RESET_BURST = 100;
const RESETS_PER_SECOND = 10;
/** Frames that ask nothing, of whatever type: at once, for each second after, and for each request. */
const FRAME_BURST = 256;
const FRAMES_PER_SECOND = 16;
const FRAMES_PER_REQUEST = 8;
/** CONTINUATION frames of one header block (CVE-2024-27316). */
const MAX_CONTINUATIONS = 8;
/** Streams that were reset and may still get frames that were on their way. */
const RESET_MEMORY = 128;
/** A client that has less left of the connection's window is given all of it again. */
const LEAST_WINDOW_BYTES = DEFAULT_WINDOW_BYTES >>> 1;
/** A client is cut off when its windows hold back so many octets of responses. */
const MAX_UNSENT_BYTES = 1 << 20;
/** A client that was told to go is cut off so long after. */
const LINGER_MILLIS = 1_000;

/** A header block whose end has not come. */
interface OpenBlock {
  streamId: number;
  endsStream: boolean;
  parts: Buffer[];
  sizeBytes: number;
  since: number;
}

/** The server's side of one HTTP/2 connection (RFC 9113), for short requests and responses. */
export class Http2Connection {
  readonly #socket: Duplex;
  readonly #limits: Http2Limits;
  readonly #events: Http2Events;
  readonly #monotonicMillis: () => number;
  readonly #reader = new FrameReader();
  readonly #decoder = new HpackDecoder();
  readonly #output: Output;
  readonly #head: RequestHead;
  readonly #client = new ClientSettings();
  readonly #resets: Allowance;
  readonly #frames: Allowance;
  /** Streams that were not answered at once. */
  readonly #streams = new Map<number, Http2Stream>();
  /** Those with a response that waits for the client to make room. */
  readonly #blocked = new Set<Http2Stream>();
  #unsentBytes = 0;
  readonly #resetIds = new Set<number>();
  #block: OpenBlock | undefined;
  #lastStreamId = 0;
  #receiveWindow = DEFAULT_WINDOW_BYTES;
  #sendWindow = DEFAULT_WINDOW_BYTES;
  #hasSettings = false;
  /** The client sent what is not answered, and may wait for TCP to acknowledge it: see `#acknowledge`. */
  #owesAcknowledgement = false;
  /** No further request is taken; when those under way are answered the connection ends. */
  #isClosing = false;
  /** Nothing more is read or written, since when. */
  #isOver = false;
  #overAt = 0;

  /** Serves `socket`, whose client is about to send the connection preface. The socket's errors are its owner's to handle. */
  constructor(socket: Duplex, limits: Http2Limits, events: Http2Events, monotonicMillis: () => number) {
    this.#socket = socket;
    this.#limits = limits;
    this.#events = events;
    this.#monotonicMillis = monotonicMillis;
    this.#head = new RequestHead(limits);
    this.#resets = new Allowance(RESET_BURST, RESETS_PER_SECOND, monotonicMillis);
    this.#frames = new Allowance(FRAME_BURST, FRAMES_PER_SECOND, monotonicMillis);
    this.#output = new Output(
      socket,
      () => this.#acknowledge(),
      () => this.#goOn(),
    );
    this.#output.writeSettings(limits.maxStreams, limits.maxHeaderBytes);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.once('end', () => this.#closeWhenDone());
    socket.once('close', () => this.#release());
  }

  /** Streams open now. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** Tells the client to go, answers what is under way, and ends the connection. */
  close(): void {
    if (this.#isClosing || this.#isOver) return;
    this.#output.writeGoAway(this.#lastStreamId, ERROR.NO_ERROR);
    this.#closeWhenDone();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Gives up what the client has kept waiting for too long. */
  sweep(now: number): void {
    if (this.#isOver) {
      if (now - this.#overAt > LINGER_MILLIS) this.#socket.destroy();
      return;
    }
    const since = now - this.#limits.requestSeconds * 1000;
    if (this.#block !== undefined && this.#block.since < since) return this.#fail(ERROR.ENHANCE_YOUR_CALM);
    for (const stream of this.#streams.values()) {
      const isWaitedFor = !stream.isComplete || stream.unsent !== undefined;
      if (isWaitedFor && stream.since < since) this.#reset(stream, ERROR.CANCEL);
    }
  }

  /** Gives a stream's response; see `Http2Request`. */
  respond(
    stream: Http2Stream,
    status: number,
    fields: ResponseFields,
    source: Uint8Array,
    at: number,
    length: number,
  ): void {
    if (stream.isGone || this.#isOver) return;
    stream.hasResponse = true;
    stream.reader = undefined;
    this.#output.writeHead(stream.id, status, fields, length);
    const sent = this.#sendBody(stream, source, at, length);
    if (sent === length) this.#finish(stream);
    // Not `slice`, which is a view when the source is a Buffer: it is used again, for somebody else's answer.
    else this.#hold(stream, new Uint8Array(source.subarray(at + sent, at + length)));
  }

  #receive(chunk: Buffer): void {
    const reader = this.#reader;
    if (this.#isOver) return;
    reader.add(chunk);
    while (reader.next()) {
      const error = this.#handle(reader);
      if (error !== ERROR.NO_ERROR) this.#fail(error);
      if (this.#isOver) return;
    }
    if (reader.error !== ERROR.NO_ERROR) this.#fail(reader.error);
  }

  /** Handles one frame; what it returns other than NO_ERROR ends the connection. */
  #handle(frame: FrameReader): Http2Error {
    const { type } = frame;
    if (this.#block !== undefined && (type !== FRAME.CONTINUATION || frame.streamId !== this.#block.streamId)) {
      return ERROR.PROTOCOL_ERROR;
    }
    if (!this.#hasSettings && (type !== FRAME.SETTINGS || frame.has(FLAG.ACK))) return ERROR.PROTOCOL_ERROR;
    if (type === FRAME.HEADERS) return this.#onHeaders(frame);
    const endsBody = type === FRAME.DATA && frame.has(FLAG.END_STREAM);
    if (!endsBody && !this.#frames.spend()) return ERROR.ENHANCE_YOUR_CALM;
    switch (type) {
      case FRAME.DATA:
        return this.#onData(frame);
      case FRAME.RST_STREAM:
        return this.#onReset(frame);
      case FRAME.SETTINGS:
        return this.#onSettings(frame);
      case FRAME.PING:
        return this.#onPing(frame);
      case FRAME.GOAWAY:
        return this.#onGoAway(frame);
      case FRAME.WINDOW_UPDATE:
        return this.#onWindowUpdate(frame);
      case FRAME.CONTINUATION:
        return this.#onContinuation(frame);
      case FRAME.PRIORITY:
        if (frame.streamId === 0) return ERROR.PROTOCOL_ERROR;
        return frame.length === 5 ? ERROR.NO_ERROR : ERROR.FRAME_SIZE_ERROR;
      case FRAME.PUSH_PROMISE:
        return ERROR.PROTOCOL_ERROR;
      default:
        return ERROR.NO_ERROR;
    }
  }

  #onHeaders(frame: FrameReader): Http2Error {
    if ((frame.streamId & 1) === 0 || !frame.stripPadding()) return ERROR.PROTOCOL_ERROR;
    if (frame.has(FLAG.PRIORITY)) {
      frame.at += 5;
      frame.length -= 5;
      if (frame.length < 0) return ERROR.FRAME_SIZE_ERROR;
    }
    const { streamId, bytes, at, length } = frame;
    const endsStream = frame.has(FLAG.END_STREAM);
    if (frame.has(FLAG.END_HEADERS)) return this.#onBlock(streamId, endsStream, bytes, at, at + length);
    const part = Buffer.from(bytes.subarray(at, at + length));
    this.#block = { streamId, endsStream, parts: [part], sizeBytes: length, since: this.#monotonicMillis() };
    return ERROR.NO_ERROR;
  }

  #onContinuation(frame: FrameReader): Http2Error {
    const block = this.#block;
    if (block === undefined) return ERROR.PROTOCOL_ERROR;
    block.parts.push(Buffer.from(frame.bytes.subarray(frame.at, frame.at + frame.length)));
    block.sizeBytes += frame.length;
    if (block.sizeBytes > MAX_BLOCK_BYTES || block.parts.length > 1 + MAX_CONTINUATIONS) return ERROR.ENHANCE_YOUR_CALM;
    if (!frame.has(FLAG.END_HEADERS)) return ERROR.NO_ERROR;
    this.#block = undefined;
    return this.#onBlock(block.streamId, block.endsStream, Buffer.concat(block.parts), 0, block.sizeBytes);
  }

  /** Takes a whole header block. It is decoded whatever becomes of it: the next ones build on it. */
  #onBlock(streamId: number, endsStream: boolean, bytes: Buffer, at: number, end: number): Http2Error {
    const head = this.#head;
    head.reset();
    if (!this.#decoder.decode(bytes, at, end, head)) return ERROR.COMPRESSION_ERROR;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return this.#onTrailers(stream, endsStream);
    if (streamId <= this.#lastStreamId || this.#isClosing) {
      if (!this.#frames.spend()) return ERROR.ENHANCE_YOUR_CALM;
      return this.#isReset(streamId, endsStream) ? ERROR.NO_ERROR : ERROR.STREAM_CLOSED;
    }
    this.#lastStreamId = streamId;
    this.#frames.earn(FRAMES_PER_REQUEST);
    if (this.#streams.size >= this.#limits.maxStreams) return this.#refuse(streamId, endsStream, ERROR.REFUSED_STREAM);
    if (head.isOversized) return this.#refuse(streamId, endsStream, ERROR.ENHANCE_YOUR_CALM);
    const isFlawed = !head.isRequest || (endsStream && head.bodyBytes > 0);
    if (isFlawed) return this.#refuse(streamId, endsStream, ERROR.PROTOCOL_ERROR);
    this.#open(streamId, endsStream, head);
    return ERROR.NO_ERROR;
  }

  #open(streamId: number, isComplete: boolean, head: RequestHead): void {
    const windows = { receive: DEFAULT_WINDOW_BYTES, send: this.#client.initialWindowBytes };
    const stream = new Http2Stream(this, streamId, isComplete, head.bodyBytes, windows);
    this.#events.onRequest(stream, head);
    if (isComplete) stream.reader?.onEnd();
    if (stream.isClosed || this.#isOver) return;
    stream.since = this.#monotonicMillis();
    this.#streams.set(streamId, stream);
    this.#events.onStreams(1);
  }

  /** Fields after a body are of no interest, but they end it. */
  #onTrailers(stream: Http2Stream, endsStream: boolean): Http2Error {
    if (stream.isComplete) this.#reset(stream, ERROR.STREAM_CLOSED);
    else if (!endsStream || !this.#head.isTrailers) this.#reset(stream, ERROR.PROTOCOL_ERROR);
    else this.#completeBody(stream);
    return ERROR.NO_ERROR;
  }

  #onData(frame: FrameReader): Http2Error {
    const { streamId } = frame;
    if (this.#isIdle(streamId)) return ERROR.PROTOCOL_ERROR;
    const flowBytes = frame.length;
    if (flowBytes > this.#receiveWindow) return ERROR.FLOW_CONTROL_ERROR;
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < LEAST_WINDOW_BYTES) this.#widenWindow(DEFAULT_WINDOW_BYTES - this.#receiveWindow);
    if (!frame.stripPadding()) return ERROR.PROTOCOL_ERROR;
    const stream = this.#streams.get(streamId);
    const endsStream = frame.has(FLAG.END_STREAM);
    if (stream === undefined) {
      return this.#isReset(streamId, endsStream) ? ERROR.NO_ERROR : ERROR.STREAM_CLOSED;
    }
    // No stream's window is opened again: a query is far shorter, and padding that fills it is of no use.
    stream.receiveWindow -= flowBytes;
    if (stream.isComplete) this.#reset(stream, ERROR.STREAM_CLOSED);
    else if (stream.receiveWindow < 0) this.#reset(stream, ERROR.FLOW_CONTROL_ERROR);
    else this.#takeBody(stream, frame, endsStream);
    return ERROR.NO_ERROR;
  }

  #takeBody(stream: Http2Stream, frame: FrameReader, endsStream: boolean): void {
    const { bytes, at, length } = frame;
    stream.receivedBytes += length;
    if (stream.bodyBytes !== NO_LENGTH && stream.receivedBytes > stream.bodyBytes) {
      return this.#reset(stream, ERROR.PROTOCOL_ERROR);
    }
    if (length > 0 && stream.reader !== undefined) {
      const part = bytes.subarray(at, at + length);
      // What waits for more is copied: else a few octets keep all that came with them.
      stream.reader.onPart(endsStream ? part : Buffer.from(part));
    }
    if (endsStream && !stream.isClosed) this.#completeBody(stream);
  }

  #completeBody(stream: Http2Stream): void {
    if (stream.bodyBytes !== NO_LENGTH && stream.receivedBytes !== stream.bodyBytes) {
      return this.#reset(stream, ERROR.PROTOCOL_ERROR);
    }
    stream.isComplete = true;
    stream.reader?.onEnd();
  }

  #onReset({ streamId, length }: FrameReader): Http2Error {
    if (length !== 4) return ERROR.FRAME_SIZE_ERROR;
    if (this.#isIdle(streamId)) return ERROR.PROTOCOL_ERROR;
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return ERROR.NO_ERROR;
    this.#forget(stream);
    this.#closeIfDone();
    return this.#countReset();
  }

  #onSettings(frame: FrameReader): Http2Error {
    const { bytes, at, length } = frame;
    if (frame.streamId !== 0) return ERROR.PROTOCOL_ERROR;
    if (frame.has(FLAG.ACK)) {
      this.#oweAcknowledgement();
      return length === 0 ? ERROR.NO_ERROR : ERROR.FRAME_SIZE_ERROR;
    }
    const client = this.#client;
    const before = client.initialWindowBytes;
    const error = client.take(bytes, at, length);
    if (error !== ERROR.NO_ERROR) return error;
    this.#hasSettings = true;
    for (const tableBytes of client.headerTableBytes) this.#output.limitTable(tableBytes);
    for (const stream of this.#streams.values()) {
      stream.sendWindow += client.initialWindowBytes - before;
      if (stream.sendWindow > MAX_WINDOW_BYTES) return ERROR.FLOW_CONTROL_ERROR;
    }
    this.#output.acknowledgeSettings();
    this.#sendUnsent();
    return ERROR.NO_ERROR;
  }

  #onPing(frame: FrameReader): Http2Error {
    if (frame.streamId !== 0) return ERROR.PROTOCOL_ERROR;
    if (frame.length !== 8) return ERROR.FRAME_SIZE_ERROR;
    if (!frame.has(FLAG.ACK)) this.#output.acknowledgePing(frame.bytes, frame.at, frame.length);
    return ERROR.NO_ERROR;
  }

  #onGoAway({ streamId, length }: FrameReader): Http2Error {
    if (streamId !== 0) return ERROR.PROTOCOL_ERROR;
    if (length < 8) return ERROR.FRAME_SIZE_ERROR;
    this.close();
    return ERROR.NO_ERROR;
  }

  #onWindowUpdate({ streamId, bytes, at, length }: FrameReader): Http2Error {
    if (length !== 4) return ERROR.FRAME_SIZE_ERROR;
    const moreBytes = readUint31(bytes, at);
    if (streamId === 0) {
      if (moreBytes === 0) return ERROR.PROTOCOL_ERROR;
      this.#sendWindow += moreBytes;
      if (this.#sendWindow > MAX_WINDOW_BYTES) return ERROR.FLOW_CONTROL_ERROR;
      if (this.#sendUnsent() > 0) this.#frames.earn(1);
      this.#oweAcknowledgement();
      return ERROR.NO_ERROR;
    }
    if (this.#isIdle(streamId)) return ERROR.PROTOCOL_ERROR;
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return ERROR.NO_ERROR;
    stream.sendWindow += moreBytes;
    if (moreBytes === 0) this.#reset(stream, ERROR.PROTOCOL_ERROR);
    else if (stream.sendWindow > MAX_WINDOW_BYTES) this.#reset(stream, ERROR.FLOW_CONTROL_ERROR);
    // However small the steps of a window, they are not for nothing.
    else if (this.#sendRest(stream) > 0) this.#frames.earn(1);
    return ERROR.NO_ERROR;
  }

  /** A stream that has not been: nothing but HEADERS may come for it. After GOAWAY, what comes for later ones is on its way. */
  #isIdle(streamId: number): boolean {
    if (streamId === 0 || (streamId & 1) === 0) return true;
    return streamId > this.#lastStreamId && !this.#isClosing;
  }

  /** Whether frames for a stream that is not open may be on their way still; `endsStream` says that this is the last. */
  #isReset(streamId: number, endsStream: boolean): boolean {
    if (streamId > this.#lastStreamId) return true;
    if (!endsStream) return this.#resetIds.has(streamId);
    return this.#resetIds.delete(streamId);
  }

  #refuse(streamId: number, endsStream: boolean, error: Http2Error): Http2Error {
    this.#writeReset(streamId, error, endsStream);
    return this.#countReset();
  }

  #reset(stream: Http2Stream, error: Http2Error): void {
    this.#writeReset(stream.id, error, stream.isComplete);
    this.#forget(stream);
    const flood = this.#countReset();
    if (flood !== ERROR.NO_ERROR) return this.#fail(flood);
    this.#closeIfDone();
  }

  #countReset(): Http2Error {
    if (this.#resets.spend()) return ERROR.NO_ERROR;
    this.#events.onResetFlood();
    return ERROR.ENHANCE_YOUR_CALM;
  }

  /** Ends a stream whose response is sent. */
  #finish(stream: Http2Stream): void {
    if (!stream.isComplete) this.#writeReset(stream.id, ERROR.NO_ERROR, false);
    this.#forget(stream);
    this.#closeIfDone();
  }

  #forget(stream: Http2Stream): void {
    stream.isClosed = true;
    stream.reader = undefined;
    if (stream.unsent !== undefined) {
      this.#unsentBytes -= stream.unsent.length;
      stream.unsent = undefined;
      this.#blocked.delete(stream);
    }
    if (this.#streams.delete(stream.id)) this.#events.onStreams(-1);
  }

  #remember(streamId: number): void {
    this.#resetIds.add(streamId);
    if (this.#resetIds.size > RESET_MEMORY) this.#resetIds.delete(this.#resetIds.values().next().value!);
  }

  /** Sends as much of a body as the windows and what the client has read let through, and returns how much. */
  #sendBody(stream: Http2Stream, source: Uint8Array, at: number, length: number): number {
    let sent = 0;
    while (sent < length && !this.#output.isFull) {
      const size = Math.min(length - sent, MAX_FRAME_BYTES, this.#sendWindow, stream.sendWindow);
      if (size <= 0) break;
      this.#sendWindow -= size;
      stream.sendWindow -= size;
      this.#output.writeData(stream.id, source, at + sent, size, sent + size === length);
      sent += size;
    }
    return sent;
  }

  /** Keeps what cannot be sent yet. */
  #hold(stream: Http2Stream, rest: Uint8Array): void {
    stream.unsent = rest;
    stream.since = this.#monotonicMillis();
    this.#blocked.add(stream);
    this.#unsentBytes += rest.length;
    if (this.#unsentBytes > MAX_UNSENT_BYTES) this.#fail(ERROR.ENHANCE_YOUR_CALM);
  }

  /** Sends what can be sent by now of all responses, and returns how much. */
  #sendUnsent(): number {
    let sent = 0;
    for (const stream of this.#blocked) {
      if (this.#sendWindow <= 0 || this.#output.isFull) break;
      sent += this.#sendRest(stream);
    }
    return sent;
  }

  #sendRest(stream: Http2Stream): number {
    const rest = stream.unsent;
    if (rest === undefined) return 0;
    const sent = this.#sendBody(stream, rest, 0, rest.length);
    this.#unsentBytes -= sent;
    stream.unsent = rest.subarray(sent);
    if (sent === rest.length) this.#finish(stream);
    return sent;
  }

  #oweAcknowledgement(): void {
    this.#owesAcknowledgement = true;
    this.#output.schedule();
  }

  /**
   * Sends something when a turn brought nothing but room for more answers, or the acknowledgement of our settings. A client
   * that has not switched Nagle's algorithm off (dnsperf has not) holds its next query back until TCP acknowledges what it
   * sent, which the kernel puts off for 40 ms in the hope of something to send: once in three hundred queries, and half of
   * all the time. What is sent here carries it, and needs no answer.
   */
  #acknowledge(): void {
    if (!this.#owesAcknowledgement) return;
    this.#owesAcknowledgement = false;
    if (this.#output.isEmpty && !this.#isOver && this.#receiveWindow < MAX_WINDOW_BYTES) this.#widenWindow(1);
  }

  #widenWindow(moreBytes: number): void {
    this.#output.widenWindow(moreBytes);
    this.#receiveWindow += moreBytes;
  }

  #writeReset(streamId: number, error: Http2Error, isLast: boolean): void {
    if (!isLast) this.#remember(streamId);
    this.#output.writeReset(streamId, error);
  }

  /** Some of what was to be written is. */
  #goOn(): void {
    if (this.#blocked.size > 0 && !this.#isOver) this.#sendUnsent();
    this.#closeIfDone();
  }

  #closeWhenDone(): void {
    this.#isClosing = true;
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (!this.#isClosing || this.#isOver || this.#streams.size > 0 || !this.#output.isEmpty) return;
    this.#isOver = true;
    this.#overAt = this.#monotonicMillis();
    this.#output.end();
  }

  /** Ends the connection for an error (RFC 9113 §5.4.1). Nothing more is read, so that a flood costs nothing. */
  #fail(error: Http2Error): void {
    if (this.#isOver) return;
    this.#overAt = this.#monotonicMillis();
    this.#output.end(this.#lastStreamId, error);
    this.#socket.pause();
    this.#release();
  }

  #release(): void {
    this.#isOver = true;
    for (const stream of this.#streams.values()) this.#forget(stream);
  }
}
