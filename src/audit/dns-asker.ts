import { createSocket } from 'node:dgram';
import { connect as connectTcp, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Dispatcher, Pool } from 'undici';
import { describeError, WartaError } from '../base/errors.ts';
import { composeQuestion, type DnsAnswer, readAnswer, type WireQuestion } from './dns-answer.ts';

/** How a resolver is asked: RFC 1035, RFC 7766, RFC 7858, RFC 8484. */
export type Protocol = 'udp' | 'tcp' | 'dot' | 'doh';

/** The port of each protocol. */
export const PORTS: Readonly<Record<Protocol, number>> = { udp: 53, tcp: 53, dot: 853, doh: 443 };

/** A resolver, and how to know it over TLS. */
export interface ResolverTarget {
  readonly protocol: Protocol;
  /** An IP address; for DoH a name will do. */
  readonly host: string;
  readonly port: number;
  /** DoH: path of the resource. */
  readonly path?: string;
  /** DoH: ask with GET instead of POST. */
  readonly get?: boolean;
  /** The name its certificate must have; its address otherwise. */
  readonly tlsName?: string;
  /** Certificates trusted instead of the system's (PEM). */
  readonly ca?: string;
  /** Takes any certificate: what answers is asked, whoever it is. */
  readonly anyCertificate?: boolean;
}

/** Asks one resolver. */
export interface DnsAsker {
  /** @throws {WartaError} `probe-failed` when no answer arrives in time. */
  ask(name: string, type: number): Promise<DnsAnswer>;
  close(): Promise<void>;
}

const DNS_MESSAGE = 'application/dns-message';
const MAX_MESSAGE_BYTES = 65_535;

/**
 * Creates an asker. Connections are opened when the first question is asked, and again when the resolver closed them.
 */
export function createAsker(target: ResolverTarget, timeoutMillis: number): DnsAsker {
  switch (target.protocol) {
    case 'udp':
      return new DatagramAsker(target, timeoutMillis);
    case 'tcp':
    case 'dot':
      return new StreamAsker(target, timeoutMillis);
    case 'doh':
      return new HttpsAsker(target, timeoutMillis);
  }
}

/** Asks over UDP, each question from a port of its own; what was cut is asked again over TCP. */
class DatagramAsker implements DnsAsker {
  readonly #target: ResolverTarget;
  readonly #timeoutMillis: number;
  readonly #stream: StreamAsker;

  constructor(target: ResolverTarget, timeoutMillis: number) {
    this.#target = target;
    this.#timeoutMillis = timeoutMillis;
    this.#stream = new StreamAsker({ ...target, protocol: 'tcp' }, timeoutMillis);
  }

  async ask(name: string, type: number): Promise<DnsAnswer> {
    const answer = await this.#exchange(composeQuestion(name, type));
    return answer.truncated ? this.#stream.ask(name, type) : answer;
  }

  close(): Promise<void> {
    return this.#stream.close();
  }

  /** Sends a second time at half the time-out, as a datagram may be lost. */
  #exchange(question: WireQuestion): Promise<DnsAnswer> {
    const { host, port } = this.#target;
    return new Promise((resolve, reject) => {
      const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
      let dropped = '';
      const send = () => socket.send(question.wire);
      const resend = setTimeout(send, this.#timeoutMillis / 2);
      const stop = setTimeout(() => settle(() => reject(timedOut(this.#target, dropped))), this.#timeoutMillis);
      const settle = (act: () => void) => {
        clearTimeout(resend);
        clearTimeout(stop);
        socket.removeAllListeners('error').on('error', () => {});
        socket.close();
        act();
      };
      socket.on('error', (error) => settle(() => reject(failed(this.#target, error))));
      socket.on('message', (message) => {
        const answer = readAnswer(message, question);
        if (typeof answer === 'string') dropped = answer;
        else settle(() => resolve(answer));
      });
      // A connected socket takes datagrams from the server alone, and learns of a closed port.
      socket.connect(port, host, send);
    });
  }
}

/** A question that waits for its answer. */
interface Waiting {
  readonly question: WireQuestion;
  resolve(answer: DnsAnswer): void;
  reject(error: WartaError): void;
}

/** Asks over one TCP or TLS connection, many questions at once (RFC 7766 §6.2.1). */
class StreamAsker implements DnsAsker {
  readonly #target: ResolverTarget;
  readonly #timeoutMillis: number;
  readonly #waiting = new Map<number, Waiting>();
  #socket: Socket | undefined;
  #rest = Buffer.alloc(0);

  constructor(target: ResolverTarget, timeoutMillis: number) {
    this.#target = target;
    this.#timeoutMillis = timeoutMillis;
  }

  ask(name: string, type: number): Promise<DnsAnswer> {
    let question = composeQuestion(name, type);
    while (this.#waiting.has(question.id)) question = composeQuestion(name, type);
    return new Promise((resolve, reject) => {
      const stop = setTimeout(() => settle(() => reject(timedOut(this.#target, ''))), this.#timeoutMillis);
      const settle = (act: () => void) => {
        clearTimeout(stop);
        this.#waiting.delete(question.id);
        act();
      };
      this.#waiting.set(question.id, {
        question,
        resolve: (answer) => settle(() => resolve(answer)),
        reject: (error) => settle(() => reject(error)),
      });
      const size = Buffer.alloc(2);
      size.writeUInt16BE(question.wire.length);
      this.#connect().write(Buffer.concat([size, question.wire]));
    });
  }

  async close(): Promise<void> {
    this.#socket?.destroy();
  }

  #connect(): Socket {
    if (this.#socket !== undefined && !this.#socket.destroyed && this.#socket.writable) return this.#socket;
    const { host, port, protocol } = this.#target;
    const socket =
      protocol === 'dot' ? connectTls({ host, port, ...tlsOptions(this.#target) }) : connectTcp({ host, port });
    this.#socket = socket;
    this.#rest = Buffer.alloc(0);
    const fail = (error: Error) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      socket.destroy();
      for (const { reject } of [...this.#waiting.values()]) reject(failed(this.#target, error));
    };
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('it closed the connection')));
    socket.on('data', (chunk) => this.#receive(Buffer.from(chunk)));
    return socket;
  }

  /** Takes whole messages out of the stream; each has two octets of length before it (RFC 1035 §4.2.2). */
  #receive(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 2 && this.#rest.length >= 2 + this.#rest.readUInt16BE(0)) {
      const end = 2 + this.#rest.readUInt16BE(0);
      const message = this.#rest.subarray(2, end);
      this.#rest = this.#rest.subarray(end);
      const waiting = message.length < 2 ? undefined : this.#waiting.get(message.readUInt16BE(0));
      if (waiting === undefined) continue;
      const answer = readAnswer(message, waiting.question);
      if (typeof answer === 'string') waiting.reject(failed(this.#target, new Error(answer)));
      else waiting.resolve(answer);
    }
  }
}

/** Asks over HTTPS (RFC 8484). */
class HttpsAsker implements DnsAsker {
  readonly #target: ResolverTarget;
  readonly #timeoutMillis: number;
  readonly #pool: Pool;

  constructor(target: ResolverTarget, timeoutMillis: number) {
    this.#target = target;
    this.#timeoutMillis = timeoutMillis;
    const host = isIPv6(target.host) ? `[${target.host}]` : target.host;
    const { servername, ...tls } = tlsOptions(target);
    this.#pool = new Pool(`https://${host}:${target.port}`, {
      allowH2: true,
      connections: 4,
      connect: { ...tls, ...(servername === undefined ? {} : { servername }) },
      connectTimeout: timeoutMillis,
    });
  }

  async ask(name: string, type: number): Promise<DnsAnswer> {
    const question = composeQuestion(name, type, 0);
    const path = this.#target.path ?? '/dns-query';
    const signal = AbortSignal.timeout(this.#timeoutMillis);
    const accept = { accept: DNS_MESSAGE };
    const request: Dispatcher.RequestOptions = this.#target.get
      ? { method: 'GET', path: `${path}?dns=${question.wire.toString('base64url')}`, headers: accept, signal }
      : { method: 'POST', path, headers: { ...accept, 'content-type': DNS_MESSAGE }, body: question.wire, signal };
    let answer: DnsAnswer | string;
    try {
      answer = readAnswer(await this.#exchange(request), question);
    } catch (cause) {
      if (signal.aborted) throw timedOut(this.#target, '');
      throw failed(this.#target, cause as Error);
    }
    if (typeof answer === 'string') throw failed(this.#target, new Error(answer));
    return answer;
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  async #exchange(request: Dispatcher.RequestOptions): Promise<Buffer> {
    const { statusCode, headers, body } = await this.#pool.request(request);
    if (statusCode !== 200 || headers['content-type'] !== DNS_MESSAGE) {
      body.destroy();
      throw new Error(`it answered ${statusCode} with ${String(headers['content-type'])}`);
    }
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_MESSAGE_BYTES) throw new Error('its answer is longer than a DNS message');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
}

/** TLS as an operator asked for it; a certificate is checked against a name or, without one, against the address. */
function tlsOptions({ tlsName, ca, anyCertificate }: ResolverTarget) {
  return { servername: tlsName, ca, rejectUnauthorized: !anyCertificate };
}

function formatTarget({ protocol, host, port }: ResolverTarget): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port} over ${protocol}`;
}

function timedOut(target: ResolverTarget, dropped: string): WartaError {
  const text = `no answer from ${formatTarget(target)} in time${dropped && ` (${dropped})`}`;
  return new WartaError('probe-failed', `${text}: check --resolver, or give more --timeout`);
}

function failed(target: ResolverTarget, cause: Error): WartaError {
  const { code } = cause as NodeJS.ErrnoException;
  const reason = code === 'ECONNREFUSED' ? 'nothing listens there' : describeError(cause) || (code ?? 'unknown fault');
  return new WartaError('probe-failed', `no answer from ${formatTarget(target)}: ${reason}; check --resolver`, {
    cause,
  });
}
