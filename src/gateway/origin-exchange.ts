import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { composeRequestHeaders, composeResponseHeaders, findField } from './header-fields.ts';
import { RequestBody } from './request-body.ts';
import type { RequestHead } from './request-head.ts';

/** How an exchange with an origin ended. */
export type ExchangeOutcome = 'passed' | 'upgraded' | 'origin-failed' | 'origin-slow' | 'client-gone';

/** What an exchange needs to know besides the request. */
export interface ExchangeSettings {
  /** Longest wait for the head of an answer once the request was sent. */
  readonly headersSeconds: number;
  /** Longest time a client may leave an answer untaken. */
  readonly stallSeconds: number;
  /** The client waits for 100 before it sends its body. */
  readonly expectsContinue: boolean;
  /** Takes the origin's connection over when it switches to WebSocket, with the head of its answer. */
  readonly onUpgrade?: (origin: Socket, answer: string) => void;
}

/** Answers without a body, whatever the fields say. */
const hasNoBody = (status: number, method: string | undefined) => method === 'HEAD' || status === 204 || status === 304;

/** Bodies up to this are joined to the head of the answer. */
const JOINED_BYTES = 8_192;

/** Early hints that are passed on; sites send one or two. */
const MAX_HINTS = 8;

/** Codes of undici and of the system that mean: nothing came in time. */
const SLOW = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT']);
/** A kept connection was closed by the origin at the moment it was used again. */
const CLOSED = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/**
 * Sends a request to its origin and the answer to the client, both in pieces as they come: at most one buffer of each is held,
 * and whoever is slower holds the other up. The request is framed anew, by `Content-Length` or by chunks, so that nothing of
 * how the client framed it gets through. `done` is called once, when nothing is under way any more.
 */
export class OriginExchange implements Dispatcher.DispatchHandler {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #head: RequestHead;
  readonly #origin: Dispatcher;
  readonly #settings: ExchangeSettings;
  readonly #done: (outcome: ExchangeOutcome) => void;
  readonly #headers: string[];
  #body: RequestBody | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Length of the body while nothing of it was sent, or -1. */
  #wholeBytes = -1;
  /** Early hints that came. */
  #hints = 0;
  #isRetried = false;
  #isStarted = false;
  #isDone = false;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    head: RequestHead,
    origin: Dispatcher,
    settings: ExchangeSettings,
    done: (outcome: ExchangeOutcome) => void,
  ) {
    this.#request = request;
    this.#response = response;
    this.#head = head;
    this.#origin = origin;
    this.#settings = settings;
    this.#done = done;
    const host = head.port === undefined ? head.host : `${head.host}:${head.port}`;
    this.#headers = composeRequestHeaders(request.rawHeaders, host);
  }

  start(): void {
    this.#response.once('close', this.#onClientClose);
    if (this.#head.body !== 0) {
      const goOn = this.#settings.expectsContinue ? () => this.#response.writeContinue() : undefined;
      this.#body = new RequestBody(this.#request, goOn);
      this.#body.on('error', () => {}); // undici hears of it, too
    }
    this.#dispatch();
  }

  #dispatch(): void {
    const method = this.#request.method as Dispatcher.HttpMethod;
    const body = this.#body ?? null;
    // undici's own wait begins before the body is sent, and a long upload is not a slow origin.
    const headersTimeout = body === null ? this.#settings.headersSeconds * 1000 : 0;
    const upgrade = this.#settings.onUpgrade === undefined ? null : 'websocket';
    // For HEAD undici would close the connection, to be safe from servers that send a body all the same.
    const reset = method === 'HEAD' ? false : undefined;
    try {
      const path = this.#head.target;
      const headers = this.#headers;
      this.#origin.dispatch({ path, method, headers, body, headersTimeout, upgrade, reset }, this);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isDone) controller.abort(new Error('the client went away'));
  }

  onRequestSent(): void {
    if (this.#body === undefined || this.#isStarted) return;
    this.#timer = setTimeout(() => {
      this.#controller?.abort(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }));
    }, this.#settings.headersSeconds * 1000);
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, text?: string): void {
    const response = this.#response;
    const rawHeaders = decodeFields(controller.rawHeaders);
    if (status < 200) {
      this.#forwardInformation(status, rawHeaders);
      return;
    }
    clearTimeout(this.#timer);
    const length = findField(rawHeaders, 'content-length');
    // Other codings were not undone, and the client would not hear of them.
    if (!/^(?:chunked)?$/i.test(findField(rawHeaders, 'transfer-encoding') ?? '')) throw new Error('unknown coding');
    const isChunked = length === undefined && !hasNoBody(status, this.#request.method);
    const fields = composeResponseHeaders(rawHeaders, status, isChunked && this.#request.httpVersion === '1.1');
    if (length !== undefined) this.#wholeBytes = Number(length);
    // The rest of a body that nobody wants any more: the connection goes with it.
    if (!this.#request.complete) response.shouldKeepAlive = false;
    response.writeHead(status, composeReason(status, text), fields);
    this.#isStarted = true;
  }

  onRequestUpgrade(controller: Dispatcher.DispatchController, status: number, _headers: unknown, origin: Duplex): void {
    const fields = decodeFields(controller.rawHeaders);
    const lines = [`HTTP/1.1 ${status} Switching Protocols`];
    for (let i = 0; i < fields.length; i += 2) lines.push(`${fields[i]}: ${fields[i + 1]}`);
    this.#isStarted = true;
    this.#finish('upgraded');
    this.#settings.onUpgrade!(origin as Socket, `${lines.join('\r\n')}\r\n\r\n`);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (chunk.length === this.#wholeBytes && chunk.length <= JOINED_BYTES) {
      // One write of the head and a short body takes half the time of a vector of two.
      this.#wholeBytes = -1;
      this.#response.end(chunk.toString('latin1'), 'latin1');
      return;
    }
    this.#wholeBytes = -1;
    if (this.#response.write(chunk)) return;
    controller.pause();
    // A client that takes nothing would hold the origin's connection for ever.
    this.#timer = setTimeout(() => this.#response.destroy(), this.#settings.stallSeconds * 1000);
    this.#response.once('drain', () => {
      clearTimeout(this.#timer);
      controller.resume();
    });
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const trailers = decodeFields(controller.rawTrailers);
    if (trailers.length > 0 && this.#response.chunkedEncoding) {
      const pairs: [string, string][] = [];
      for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i]!, trailers[i + 1]!]);
      this.#response.addTrailers(pairs);
    }
    if (!this.#response.writableEnded) this.#response.end();
    this.#finish('passed');
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#fail(error);
  }

  /** Early hints and their like; 100 is the gateway's own affair, and an HTTP/1.0 client knows none of them. */
  #forwardInformation(status: number, rawHeaders: readonly string[]): void {
    if (status === 100 || this.#request.httpVersion !== '1.1' || this.#response.headersSent) return;
    // Nothing holds an origin up that sends them without end, so what the client does not take would be gathered.
    if (++this.#hints > MAX_HINTS) return;
    const lines = composeResponseHeaders(rawHeaders, status, false);
    const fields: Record<string, string[]> = {};
    for (let i = 0; i < lines.length; i += 2) {
      fields[lines[i]!] ??= [];
      fields[lines[i]!]!.push(lines[i + 1]!);
    }
    this.#response.writeInformation(status, fields);
  }

  #fail(error: Error): void {
    if (this.#isDone) return;
    const { code = '' } = error as NodeJS.ErrnoException;
    if (CLOSED.has(code) && this.#mayRetry()) {
      this.#isRetried = true;
      this.#dispatch();
      return;
    }
    const isSlow = SLOW.has(code);
    if (this.#isStarted)
      this.#response.destroy(); // a cut answer must not look whole
    else sendText(this.#response, isSlow ? 504 : 502, isSlow ? 'the origin is slow' : 'the origin cannot be reached');
    this.#finish(isSlow ? 'origin-slow' : 'origin-failed');
  }

  /** Gives up without a word to the client: whoever calls this answers it. */
  cancel(): void {
    if (this.#isDone) return;
    this.#finish('client-gone');
    this.#controller?.abort(new Error('the request was given up'));
  }

  /** Only what may be done twice, and only while nothing of it was seen. */
  #mayRetry(): boolean {
    const { method } = this.#request;
    return !this.#isRetried && !this.#isStarted && this.#body === undefined && (method === 'GET' || method === 'HEAD');
  }

  readonly #onClientClose = () => {
    if (this.#isDone) return;
    this.#finish('client-gone');
    this.#controller?.abort(new Error('the client went away'));
  };

  #finish(outcome: ExchangeOutcome): void {
    if (this.#isDone) return;
    this.#isDone = true;
    clearTimeout(this.#timer);
    this.#response.off('close', this.#onClientClose);
    this.#body?.destroy();
    // What is left of the body is read and thrown away; the upload's guard still watches its pace.
    this.#request.resume();
    this.#done(outcome);
  }
}

/** undici gives raw fields as octets; a field is ISO 8859-1 in Node. */
function decodeFields(raw: unknown): string[] {
  return Array.isArray(raw)
    ? raw.map((one: Buffer | string) => (typeof one === 'string' ? one : one.toString('latin1')))
    : [];
}

/** The reason phrase in octets: undici reads it as UTF-8, and one that is not is replaced. */
function composeReason(status: number, text = ''): string {
  if (/^[\t -~]*$/.test(text)) return text;
  const octets = Buffer.from(text).toString('latin1');
  return text.includes('\ufffd') || /[^\t -~\x80-\xff]/.test(octets) ? (STATUS_CODES[status] ?? '') : octets;
}

/** Sends a short answer of the gateway's own and closes the connection. */
export function sendText(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) return void response.destroy();
  const body = `${text}\n`;
  const fields = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store', 'Connection', 'close'];
  response.writeHead(status, [...fields, 'Content-Length', String(body.length)]).end(body);
}
