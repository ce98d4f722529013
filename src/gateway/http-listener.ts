import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { canonicalizeTarget } from './canonical-url.ts';
import type { ClientAdmission } from './client-connection.ts';
import type { GatewayCounters, HttpOutcome } from './gateway-counters.ts';
import type { HostBook } from './host-book.ts';
import type { NoticeAnswers } from './notice-answer.ts';
import { splitLanguageQuery } from './notice-page/language-choice.ts';
import { type ExchangeSettings, OriginExchange, sendText } from './origin-exchange.ts';
import type { OriginPools } from './origin-pools.ts';
import { type RequestHead, readRequestHead } from './request-head.ts';
import { spliceSockets } from './splice.ts';
import { UploadGuard } from './upload-guard.ts';
import type { RuleTime, UrlHit } from './url-rules.ts';

/** Limits on what one client may do over HTTP. */
export interface HttpLimits {
  /** Octets of the request line and all fields. */
  readonly headBytes: number;
  /** Time for a whole head, from the connection or the first octet on. */
  readonly headSeconds: number;
  /** Time a connection may stay open without a request. */
  readonly idleSeconds: number;
  readonly fields: number;
  /** Requests sent before the first is answered. */
  readonly pipelined: number;
  /** Least pace of a body, and the time it is judged over, so that a short pause is nobody's fault. */
  readonly bytesPerSecond: number;
  readonly paceSeconds: number;
  /** Longest time a client may leave an answer untaken. */
  readonly stallSeconds: number;
  /** Quiet time of an upgraded connection. */
  readonly spliceIdleSeconds: number;
}

/** What the listener for HTTP works with. */
export interface HttpListenerParts {
  readonly hosts: HostBook;
  readonly time: () => RuleTime;
  readonly answers: NoticeAnswers;
  readonly pools: OriginPools;
  readonly admission: ClientAdmission;
  readonly counters: GatewayCounters;
  readonly limits: HttpLimits;
  /** Which ports a Host field may name, and where the origin is asked for each. */
  readonly originPorts: Readonly<Record<number, number>>;
  readonly headersSeconds: number;
}

/** How often Node looks for connections that are late with their head. */
const CHECK_MILLIS = 500;

/** What is sent when the parser refuses; everything else is 400. */
const STATUS_OF: Record<string, readonly [number, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'Content Too Large'],
};

interface Pipeline {
  waiting: number;
  last: ServerResponse;
}

/** A link of the notice page adds the language to the query; the rule names the page without it. */
interface LanguageWish {
  readonly target: string;
  readonly query: string;
  readonly language: string | undefined;
}

/** Where a request goes. */
interface Destination {
  readonly head: RequestHead;
  readonly wish: LanguageWish;
  readonly originPort: number;
  readonly hit: UrlHit | undefined;
}

/** Listens for HTTP: answers listed pages with 451, passes everything else of our hosts on, refuses the rest. */
export class HttpListener {
  readonly server: Server;
  readonly #parts: HttpListenerParts;
  readonly #guard: UploadGuard;
  readonly #sockets = new Set<Socket>();
  readonly #pipelines = new WeakMap<Duplex, Pipeline>();

  constructor(parts: HttpListenerParts) {
    this.#parts = parts;
    const { limits } = parts;
    this.#guard = new UploadGuard(limits, (request) => this.#endSlowUpload(request));
    this.server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize: limits.headBytes,
      headersTimeout: limits.headSeconds * 1000,
      requestTimeout: 0, // an upload may take hours; its pace is watched
      keepAliveTimeout: limits.idleSeconds * 1000,
      connectionsCheckingInterval: CHECK_MILLIS,
      noDelay: true,
      requireHostHeader: false, // readRequestHead says so, and counts it
      shouldUpgradeCallback: isWebSocket,
    });
    this.server.maxHeadersCount = 0; // above a count Node drops fields silently; readRequestHead refuses
    this.server.on('request', (request, response) => this.#serve(request, response, false));
    this.server.on('checkContinue', (request, response) => this.#serve(request, response, true));
    this.server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    this.server.on('connect', (_request, socket) => this.#refuseRaw(socket, 405, 'Method Not Allowed'));
    this.server.on('clientError', (error, socket) => this.#onClientError(error, socket));
    this.#interposeAdmission();
  }

  get connections(): number {
    return this.#sockets.size;
  }

  closeAll(): void {
    this.#guard.stop();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Node's own handler of new connections is called for those that were admitted only. */
  #interposeAdmission(): void {
    const handlers = this.server.listeners('connection') as ((socket: Socket) => void)[];
    this.server.removeAllListeners('connection').on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      this.#parts.admission.admit(socket, (admitted) => {
        for (const handle of handlers) handle.call(this.server, admitted);
      });
    });
  }

  #serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    if (!this.#enterPipeline(request, response)) return;
    const destination = this.#judge(request, response);
    if (destination === undefined) return;
    if (destination.head.body !== 0) this.#guard.watch(request);
    if (destination.hit !== undefined)
      return this.#sendNotice(request, response, destination.hit, destination.wish, expectsContinue);
    this.#exchange(request, response, destination, { expectsContinue });
  }

  /** Counts what a connection waits for; false when that is too much, and the request was answered. */
  #enterPipeline(request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request;
    const pipeline = this.#pipelines.get(socket);
    if (pipeline === undefined) {
      this.#pipelines.set(socket, { waiting: 1, last: response });
    } else {
      if (pipeline.waiting >= this.#parts.limits.pipelined) {
        this.#refuse(response, 'refused', 503, 'too many requests at once');
        return false;
      }
      pipeline.waiting += 1;
      pipeline.last = response;
    }
    response.once('close', () => {
      const left = this.#pipelines.get(socket)!;
      left.waiting -= 1;
      if (left.waiting === 0) this.#pipelines.delete(socket); // an idle connection keeps no answer alive
    });
    return true;
  }

  /** Finds out where a request goes; undefined when it was refused. */
  #judge(request: IncomingMessage, response: ServerResponse): Destination | undefined {
    const { limits, hosts, originPorts } = this.#parts;
    if (request.rawHeaders.length > limits.fields * 2) {
      return this.#refuse(response, 'refused', 431, 'too many header fields');
    }
    const head = readRequestHead(request);
    if ('status' in head) {
      return this.#refuse(response, head.status === 421 ? 'misdirected' : 'refused', head.status, head.reason);
    }
    const rules = hosts.find(head.host);
    const originPort = originPorts[head.port ?? 80];
    if (rules === undefined || originPort === undefined) {
      return this.#refuse(response, 'misdirected', 421, 'this host is not served here');
    }
    const wish = splitWish(head.target);
    const hit = rules.redirect ?? rules.findPage(canonicalizeTarget(head.host, head.port, wish.target));
    return { head, originPort, hit, wish };
  }

  #refuse(response: ServerResponse, outcome: HttpOutcome, status: number, text: string): undefined {
    this.#parts.counters.http[outcome] += 1;
    sendText(response, status, text);
  }

  #sendNotice(
    request: IncomingMessage,
    response: ServerResponse,
    hit: UrlHit,
    { query, language }: LanguageWish,
    expectsContinue: boolean,
  ): void {
    const { counters, answers, time } = this.#parts;
    counters.http.blocked += 1;
    const { accept, 'accept-language': acceptLanguage } = request.headers;
    const { headers, body } = answers.compose(hit, { accept, acceptLanguage, language, query }, time().endSeconds);
    if (expectsContinue) response.shouldKeepAlive = false; // the client may send its body or not, and nobody can tell
    request.resume();
    response.writeHead(451, 'Unavailable For Legal Reasons', headers).end(body, 'latin1');
  }

  #exchange(
    request: IncomingMessage,
    response: ServerResponse,
    { head, originPort }: Destination,
    more: Pick<ExchangeSettings, 'expectsContinue' | 'onUpgrade'>,
  ): void {
    const { pools, counters, limits, headersSeconds } = this.#parts;
    const origin = pools.find(head.host, originPort);
    const settings = { ...more, headersSeconds, stallSeconds: limits.stallSeconds };
    new OriginExchange(request, response, head, origin, settings, (outcome) => {
      counters.http[outcome] += 1;
    }).start();
  }

  /** Only WebSocket gets here; its answer is an ordinary one unless the origin switches protocols. */
  #upgrade(request: IncomingMessage, socket: Socket, clientHead: Buffer): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    const onDrain = () => response.emit('drain'); // the server does this for its own requests only
    socket.on('error', () => {}).on('drain', onDrain);
    const destination = this.#judge(request, response);
    if (destination === undefined) return;
    if (destination.hit !== undefined)
      return this.#sendNotice(request, response, destination.hit, destination.wish, false);
    this.#exchange(request, response, destination, {
      expectsContinue: false,
      onUpgrade: (origin, answer) => {
        response.detachSocket(socket);
        socket.off('drain', onDrain);
        socket.write(answer, 'latin1');
        if (clientHead.length > 0) origin.write(clientHead);
        spliceSockets(socket, origin, this.#parts.limits.spliceIdleSeconds, () => {});
      },
    });
  }

  #endSlowUpload(request: IncomingMessage): void {
    this.#parts.counters.http['timed-out'] += 1;
    request.socket.destroy();
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const [status, text] = STATUS_OF[error.code ?? ''] ?? [400, 'Bad Request'];
    const pipeline = this.#pipelines.get(socket);
    const waiting = pipeline?.waiting ?? 0;
    // Answered and counted already, for its head: the answer still has to get out.
    if (waiting > 0 && pipeline!.last.writableEnded) return void (socket as Socket).destroySoon();
    const isProtocol = error.code?.startsWith('HPE_') || error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
    if (isProtocol) this.#parts.counters.http[status === 408 ? 'timed-out' : 'refused'] += 1;
    // Between answers, or into one, a message would be taken for another's.
    const mayWrite = waiting === 0 || (waiting === 1 && !pipeline!.last.headersSent);
    if (!isProtocol || !mayWrite || !socket.writable) return void socket.destroy();
    this.#sendRaw(socket, status, text);
  }

  #refuseRaw(socket: Duplex, status: number, text: string): void {
    this.#parts.counters.http.refused += 1;
    this.#sendRaw(
      socket.on('error', () => {}),
      status,
      text,
    );
  }

  #sendRaw(socket: Duplex, status: number, text: string): void {
    socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
  }
}

/** HTTP/2 is asked for by the same field, and is not wanted; an upgrade with a body is an ordinary request. */
function isWebSocket(request: IncomingMessage): boolean {
  const { headers, method } = request;
  return (
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] ?? '0') === '0'
  );
}

function splitWish(target: string): LanguageWish {
  const mark = target.indexOf('?');
  if (mark < 0) return { target, query: '', language: undefined };
  const { query, language } = splitLanguageQuery(target.slice(mark + 1));
  if (language === undefined) return { target, query, language };
  return { target: query === '' ? target.slice(0, mark) : `${target.slice(0, mark)}?${query}`, query, language };
}
