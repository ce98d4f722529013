import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { canonicalizeTarget } from './canonical-url.ts';
import type { ClientAdmission } from './client-connection.ts';
import type { GatewayCounters, HttpOutcome } from './gateway-counters.ts';
import { findField } from './header-fields.ts';
import type { HostBook } from './host-book.ts';
import { closeLingering, ignoreFurther, isIgnored, makeCloseLinger } from './lingering-close.ts';
import type { NoticeAnswers } from './notice-answer.ts';
import { splitLanguageQuery } from './notice-page/language-switch.ts';
import { type ExchangeSettings, OriginExchange, sendText } from './origin-exchange.ts';
import type { OriginPools } from './origin-pools.ts';
import { type BodyFraming, type RequestHead, readRequestHead } from './request-head.ts';
import { spliceSockets } from './splice.ts';
import { UploadGuard } from './upload-guard.ts';
import type { HostRules, RuleTime, UrlHit } from './url-rules.ts';

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
  /** Longest silence of an origin before the head of its answer, and within the body. */
  readonly headersSeconds: number;
  readonly bodySeconds: number;
}

const HTTP_PORT = 80;
const HTTPS_PORT = 443;

/** How often Node looks for connections that are late with their head. */
const CHECK_MILLIS = 500;

/** What is sent when the parser refuses; everything else is 400. */
const STATUS_OF: Record<string, readonly [number, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'Content Too Large'],
};

/** What a request expects of whoever answers it (RFC 9110 §10.1.1): that it is told to send its body, or nobody knows what. */
type Expectation = 'nothing' | '100' | 'unknown';

/** A request on its way to its answer. */
interface Serving {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly expects: Expectation;
  exchange: OriginExchange | undefined;
  /** What became of it is known, and counted. */
  isCounted: boolean;
}

/** The requests of one connection that are not answered yet. */
interface Pipeline {
  waiting: number;
  last: Serving;
}

/** What is blocked, and how the page about it was asked for. */
interface Blocked {
  readonly hit: UrlHit;
  /** The request's query, without the language that a link of the page added. */
  readonly query: string;
  readonly language: string | undefined;
}

/** Where a request goes. */
interface Destination {
  readonly head: RequestHead;
  readonly originPort: number;
  readonly blocked: Blocked | undefined;
}

/** Listens for HTTP: answers listed pages with 451, passes everything else of our hosts on, refuses the rest. */
export class HttpListener {
  readonly server: Server;
  readonly #parts: HttpListenerParts;
  readonly #guard: UploadGuard;
  readonly #sockets = new Set<Socket>();
  readonly #pipelines = new WeakMap<Socket, Pipeline>();
  /** The request that last asked for an upgrade in vain. */
  #declined: IncomingMessage | undefined;
  #isStopping = false;

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
      shouldUpgradeCallback: (request) => this.#takesUpgrade(request),
    });
    // Where nothing moves for longer than any side may keep quiet, a client takes nothing of its answer.
    const quietSeconds = Math.max(limits.stallSeconds, parts.headersSeconds, parts.bodySeconds);
    this.server.timeout = quietSeconds * 1000 + CHECK_MILLIS;
    this.server.maxHeadersCount = 0; // above a count Node drops fields silently; readRequestHead refuses
    this.server.on('request', (request, response) => this.#serve(request, response, 'nothing'));
    this.server.on('checkContinue', (request, response) => this.#serve(request, response, '100'));
    this.server.on('checkExpectation', (request, response) => this.#serve(request, response, 'unknown'));
    this.server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    this.server.on('connect', (_request, socket) => this.#refuseConnect(socket as Socket));
    this.server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket));
    this.#interposeAdmission();
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Closes the connections that wait for a request, and from now on every other one behind its answers. */
  closeIdle(): void {
    this.#isStopping = true;
    this.server.closeIdleConnections();
  }

  closeAll(): void {
    this.#guard.stop();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Node's own handler of new connections is called for those that were admitted only. */
  #interposeAdmission(): void {
    const handlers = this.server.listeners('connection') as ((socket: Socket) => void)[];
    this.server.removeAllListeners('connection').on('connection', (socket: Socket) => {
      makeCloseLinger(socket);
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      this.#parts.admission.admit(socket, (admitted) => {
        for (const handle of handlers) handle.call(this.server, admitted);
      });
    });
  }

  /** Behind another request no upgrade is taken up: that one's answer still needs the connection. */
  #takesUpgrade(request: IncomingMessage): boolean {
    if (isWebSocket(request) && !this.#pipelines.has(request.socket)) return true;
    this.#declined = request;
    return false;
  }

  /** Takes a request as it was read, and begins with it when those before it on the same connection are answered. */
  #serve(request: IncomingMessage, response: ServerResponse, expects: Expectation): void {
    const { socket } = request;
    // What follows an answer that closes must not be acted on (RFC 9112 §9.6).
    if (isIgnored(socket)) return void request.resume();
    // Node's parser throws away what came in one piece with it, so nobody knows where the next request begins.
    if (request === this.#declined) response.shouldKeepAlive = false;
    const serving: Serving = { request, response, expects, exchange: undefined, isCounted: false };
    const pipeline = this.#pipelines.get(socket);
    if (pipeline === undefined) {
      const first: Pipeline = { waiting: 1, last: serving };
      this.#pipelines.set(socket, first);
      this.#leaveWhenAnswered(serving, first);
      this.#begin(serving);
      return;
    }
    if (pipeline.waiting >= this.#parts.limits.pipelined) {
      this.#refuse(serving, 'refused', 503, 'too many requests at once');
      return;
    }
    const before = pipeline.last;
    pipeline.waiting += 1;
    pipeline.last = serving;
    this.#leaveWhenAnswered(serving, pipeline);
    // One after another: what a client asks for in turn may depend on it (RFC 9112 §9.3.2).
    before.response.once('close', () => {
      if (!response.writableEnded && socket.writable) this.#begin(serving);
    });
  }

  #leaveWhenAnswered({ request: { socket }, response }: Serving, pipeline: Pipeline): void {
    response.once('close', () => {
      pipeline.waiting -= 1;
      if (pipeline.waiting > 0) return;
      this.#pipelines.delete(socket); // an idle connection keeps no answer alive
      if (this.#isStopping) closeLingering(socket);
    });
  }

  #begin(serving: Serving): void {
    const destination = this.#judge(serving);
    if (destination === undefined) return;
    if (destination.head.body !== 0) this.#guard.watch(serving.request);
    if (destination.blocked === undefined) this.#exchange(serving, destination);
    else this.#sendNotice(serving, destination.blocked, destination.head.body);
  }

  #count(serving: Serving, outcome: HttpOutcome): void {
    if (serving.isCounted) return;
    serving.isCounted = true;
    this.#parts.counters.http[outcome] += 1;
  }

  /** Finds out where a request goes; undefined when it was refused. */
  #judge(serving: Serving): Destination | undefined {
    const { limits, hosts, originPorts } = this.#parts;
    const { request } = serving;
    if (request.rawHeaders.length > limits.fields * 2) {
      return this.#refuse(serving, 'refused', 431, 'too many header fields');
    }
    if (serving.expects === 'unknown')
      return this.#refuse(serving, 'refused', 417, 'only 100-continue can be expected');
    const head = readRequestHead(request);
    if ('status' in head) {
      return this.#refuse(serving, head.status === 421 ? 'misdirected' : 'refused', head.status, head.reason);
    }
    const rules = hosts.find(head.host);
    // At the port of HTTPS the origin would be asked in plain text.
    const originPort = head.port === HTTPS_PORT ? undefined : originPorts[head.port ?? HTTP_PORT];
    if (rules === undefined || originPort === undefined) {
      return this.#refuse(serving, 'misdirected', 421, 'this host is not served here');
    }
    return { head, originPort, blocked: findBlocked(rules, head) };
  }

  /** Answers that a request is refused, and takes no other on its connection. */
  #refuse(serving: Serving, outcome: HttpOutcome, status: number, text: string): undefined {
    this.#count(serving, outcome);
    ignoreFurther(serving.request.socket);
    sendText(serving.response, status, text);
  }

  #sendNotice(serving: Serving, { hit, query, language }: Blocked, body: BodyFraming): void {
    const { answers, time } = this.#parts;
    const { request, response } = serving;
    this.#count(serving, 'blocked');
    const accept = findField(request.rawHeaders, 'accept');
    const acceptLanguage = findField(request.rawHeaders, 'accept-language');
    const answer = answers.compose(hit, { accept, acceptLanguage, language, query }, time().endSeconds);
    // A body that nobody wants is not waited for; it may be bad, or, where 100 was expected, not come.
    if (body !== 0) response.shouldKeepAlive = false;
    request.resume();
    response.writeHead(451, 'Unavailable For Legal Reasons', answer.headers).end(answer.body, 'latin1');
  }

  #exchange(serving: Serving, { head, originPort }: Destination, onUpgrade?: ExchangeSettings['onUpgrade']): void {
    const { pools, limits, headersSeconds } = this.#parts;
    const { request, response, expects } = serving;
    const origin = pools.find(head.host, originPort);
    const { stallSeconds } = limits;
    const settings = { expectsContinue: expects === '100', onUpgrade, headersSeconds, stallSeconds };
    serving.exchange = new OriginExchange(request, response, head, origin, settings, (outcome) => {
      this.#count(serving, outcome);
    });
    serving.exchange.start();
  }

  /** Only WebSocket gets here; its answer is an ordinary one unless the origin switches protocols. */
  #upgrade(request: IncomingMessage, socket: Socket, clientHead: Buffer): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => closeLingering(socket));
    socket.setTimeout(this.server.timeout, () => socket.destroy()); // Node let go of it
    const onDrain = () => response.emit('drain'); // the server does this for its own requests only
    socket.on('error', () => {}).on('drain', onDrain);
    const serving: Serving = { request, response, expects: 'nothing', exchange: undefined, isCounted: false };
    const destination = this.#judge(serving);
    if (destination === undefined) return;
    if (destination.blocked !== undefined) return this.#sendNotice(serving, destination.blocked, destination.head.body);
    this.#exchange(serving, destination, (origin, answer) => {
      response.detachSocket(socket);
      socket.off('drain', onDrain);
      socket.write(answer, 'latin1');
      if (clientHead.length > 0) origin.write(clientHead);
      spliceSockets(socket, origin, this.#parts.limits.spliceIdleSeconds, () => {});
    });
  }

  #endSlowUpload(request: IncomingMessage): void {
    const serving = this.#pipelines.get(request.socket)?.last;
    if (serving?.request === request) this.#giveUp(serving, 'timed-out', 408, 'the upload is too slow');
    else request.socket.destroy(); // its answer is out already
  }

  /** Ends a request whose body is of no use any more, and its connection with it. */
  #giveUp(serving: Serving, outcome: HttpOutcome, status: number, text: string): void {
    const { request, response } = serving;
    this.#count(serving, outcome);
    ignoreFurther(request.socket);
    serving.exchange?.cancel();
    // A refusal and a notice do not depend on the body.
    if (response.writableEnded) closeBehind(response, request.socket);
    else if (response.headersSent) request.socket.destroy();
    else sendText(response, status, text);
  }

  /** What the parser or a clock found wrong with a connection. */
  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const { code = '' } = error;
    // Behind an answer that closes, everything is wrong; and what is wrong stays so with every further octet.
    if (isIgnored(socket) || code === 'HPE_CLOSED_CONNECTION') return;
    if (!code.startsWith('HPE_') && code !== 'ERR_HTTP_REQUEST_TIMEOUT') return void socket.destroy();
    const [status, text] = STATUS_OF[code] ?? [400, 'Bad Request'];
    const outcome = status === 408 ? 'timed-out' : 'refused';
    const last = this.#pipelines.get(socket)?.last;
    if (last !== undefined && !last.request.complete) return this.#giveUp(last, outcome, status, text);
    this.#refuseBehind(socket, outcome, status, text); // it is the next request that is wrong
  }

  #refuseConnect(socket: Socket): void {
    socket.on('error', () => {});
    if (isIgnored(socket)) return;
    this.#refuseBehind(socket, 'refused', 405, 'Method Not Allowed');
  }

  /** Refuses what is no request, behind the answers that are under way. */
  #refuseBehind(socket: Socket, outcome: HttpOutcome, status: number, text: string): void {
    this.#parts.counters.http[outcome] += 1;
    ignoreFurther(socket);
    const last = this.#pipelines.get(socket)?.last;
    if (last === undefined) sendRaw(socket, status, text);
    else last.response.once('close', () => sendRaw(socket, status, text));
  }
}

/** Answers where there is no request to answer, and closes. */
function sendRaw(socket: Socket, status: number, text: string): void {
  if (!socket.writable) return;
  socket.write(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  closeLingering(socket);
}

/** Closes when an answer that was written is out. */
function closeBehind(response: ServerResponse, socket: Socket): void {
  if (response.writableFinished) closeLingering(socket);
  else response.once('close', () => closeLingering(socket));
}

/** HTTP/2 is asked for by the same field, and is not wanted; an upgrade with a body is an ordinary request. */
function isWebSocket(request: IncomingMessage): boolean {
  const { headers, method } = request;
  return (
    method === 'GET' &&
    request.httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] ?? '0') === '0'
  );
}

/**
 * Looks a request up as it came, and only then without the language that a link of the page adds: so no rule is missed that
 * names such a query itself, and nothing is blocked that is not either.
 */
function findBlocked(rules: HostRules, { host, port, target }: RequestHead): Blocked | undefined {
  const mark = target.indexOf('?');
  const asked = mark < 0 ? '' : target.slice(mark + 1);
  const find = (one: string) => rules.redirect ?? rules.findPage(canonicalizeTarget(host, port, one));
  const hit = find(target);
  const wish = asked === '' ? undefined : splitLanguageQuery(asked);
  if (wish?.language === undefined) return hit && { hit, query: asked, language: undefined };
  if (hit !== undefined) return { hit, query: asked, language: wish.language };
  const path = target.slice(0, mark);
  const meant = find(wish.query === '' ? path : `${path}?${wish.query}`);
  return meant && { hit: meant, query: wish.query, language: wish.language };
}
