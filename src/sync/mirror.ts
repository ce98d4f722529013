import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Dispatcher, Pool } from 'undici';
import { describeError, WartaError } from '../base/errors.ts';

/** A file asked of a mirror. */
export interface MirrorRequest {
  /** Path below the mirror's root, without a leading slash. */
  readonly path: string;
  /** Bound of the body; one byte more is an error. */
  readonly maxBytes: number;
  /** The version held; an unchanged file is not sent again. */
  readonly etag?: string;
  /** Octets at the start that are held already; a mirror may send the whole file all the same. */
  readonly from?: number;
  /** Value of the Authorization header. */
  readonly authorization?: string;
}

/** What a mirror answered: the whole file, the rest of it, that it is unchanged, or that there is none. */
export interface MirrorAnswer {
  readonly kind: 'whole' | 'rest' | 'unchanged' | 'absent';
  readonly bytes: Buffer;
  readonly etag?: string;
}

/** Somewhere the register's files are served from. Everything it says is untrusted until verified. */
export interface Mirror {
  readonly url: string;
  /** Octets of bodies received so far. */
  readonly receivedBytes: number;
  /** @throws {WartaError} `mirror-failed`, `response-oversized` or `response-slow`. */
  get(request: MirrorRequest): Promise<MirrorAnswer>;
  close(): Promise<void>;
}

export interface MirrorOptions {
  /** Requests at once. */
  readonly connections?: number;
  /** How long an answer may take to arrive, unless the mirror sends as much as it should in every such period. */
  readonly timeoutMillis?: number;
}

const CONNECTIONS = 16;
const TIMEOUT_MILLIS = 10_000;
/** A mirror that sends less than this, all requests together, is given up: it must not hold back what others have. */
const MIN_BYTES_PER_MILLI = 32;
const NOTHING = Buffer.alloc(0);
/** A pipe in place of a file could keep the reader waiting for ever. */
const READ_AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/** Opens a mirror: `http:` or `https:`, a `file:` URL, or a folder. */
export function openMirror(url: string, options: MirrorOptions = {}): Mirror {
  if (/^https?:/.test(url)) return new HttpMirror(url, options);
  return new FolderMirror(url.startsWith('file:') ? fileURLToPath(url) : url);
}

/** A mirror behind HTTP: any static file server will do. Redirects are not followed, nothing is sent but the request. */
class HttpMirror implements Mirror {
  readonly url: string;
  receivedBytes = 0;
  readonly #pool: Pool;
  readonly #basePath: string;
  readonly #timeoutMillis: number;

  constructor(url: string, options: MirrorOptions) {
    const parsed = new URL(url);
    this.url = url;
    this.#basePath = parsed.pathname.replace(/\/?$/, '/');
    this.#timeoutMillis = options.timeoutMillis ?? TIMEOUT_MILLIS;
    this.#pool = new Pool(parsed.origin, {
      connections: options.connections ?? CONNECTIONS,
      connectTimeout: this.#timeoutMillis,
      headersTimeout: this.#timeoutMillis,
      bodyTimeout: this.#timeoutMillis,
    });
  }

  async get(request: MirrorRequest): Promise<MirrorAnswer> {
    const abort = new AbortController();
    const leastBytes = this.#timeoutMillis * MIN_BYTES_PER_MILLI;
    let before = this.receivedBytes;
    const timer = setInterval(() => {
      if (this.receivedBytes - before < leastBytes) abort.abort();
      before = this.receivedBytes;
    }, this.#timeoutMillis);
    try {
      const response = await this.#pool.request({
        method: 'GET',
        path: this.#basePath + request.path,
        headers: headersOf(request),
        signal: abort.signal,
      });
      return await this.#answer(request, response);
    } catch (cause) {
      if (cause instanceof WartaError) throw cause;
      const slow = abort.signal.aborted || /Timeout/.test((cause as Error).name);
      const what = slow ? 'did not answer in time' : `failed: ${describeError(cause)}`;
      throw new WartaError(slow ? 'response-slow' : 'mirror-failed', `${this.url}${request.path} ${what}`, { cause });
    } finally {
      clearInterval(timer);
    }
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  async #answer(request: MirrorRequest, response: Dispatcher.ResponseData): Promise<MirrorAnswer> {
    const { statusCode, headers } = response;
    // A body that is cut off says so as an event, which would end the thread if nobody listened.
    response.body.on('error', () => {});
    if (statusCode === 304 && request.etag !== undefined) {
      await response.body.dump();
      return { kind: 'unchanged', bytes: NOTHING, etag: request.etag };
    }
    // 416: the file ends where this node's copy does, so this mirror has no more of it.
    if (statusCode === 404 || statusCode === 410 || statusCode === 416) {
      await response.body.dump();
      return { kind: 'absent', bytes: NOTHING };
    }
    const rest = statusCode === 206 && request.from !== undefined;
    const fault = this.#findFault(request, response, rest);
    if (fault !== undefined) {
      response.body.destroy();
      throw new WartaError('mirror-failed', `${this.url}${request.path} ${fault}`);
    }
    const bytes = await this.#collect(request, response);
    const etag = typeof headers.etag === 'string' && headers.etag.length <= 200 ? headers.etag : undefined;
    return { kind: rest ? 'rest' : 'whole', bytes, etag };
  }

  /** Returns why an answer cannot be used, if so. */
  #findFault(request: MirrorRequest, { statusCode, headers }: Dispatcher.ResponseData, rest: boolean) {
    if (statusCode !== 200 && !rest) return `answered ${statusCode}`;
    if (rest && !String(headers['content-range']).startsWith(`bytes ${request.from}-`)) return 'sent another range';
    const encoding = headers['content-encoding'];
    return encoding !== undefined && encoding !== 'identity' ? `is encoded as ${String(encoding)}` : undefined;
  }

  async #collect(request: MirrorRequest, response: Dispatcher.ResponseData): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      this.receivedBytes += chunk.length;
      if (sizeBytes > request.maxBytes) {
        response.body.destroy();
        throw new WartaError(
          'response-oversized',
          `${this.url}${request.path} is longer than the ${request.maxBytes} octets it may have`,
        );
      }
      chunks.push(chunk);
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, sizeBytes);
  }
}

function headersOf({ etag, from, authorization }: MirrorRequest): Record<string, string> {
  return {
    'accept-encoding': 'identity',
    ...(etag === undefined ? {} : { 'if-none-match': etag }),
    ...(from === undefined ? {} : { range: `bytes=${from}-` }),
    ...(authorization === undefined ? {} : { authorization }),
  };
}

/** A copy of the register in a folder: an archive, or a disk carried to where there is no network. */
class FolderMirror implements Mirror {
  readonly url: string;
  receivedBytes = 0;

  constructor(folder: string) {
    this.url = join(folder, '/');
  }

  async get({ path, maxBytes, etag, from }: MirrorRequest): Promise<MirrorAnswer> {
    try {
      await using file = await open(join(this.url, path), READ_AT_ONCE);
      const stats = await file.stat({ bigint: true });
      if (!stats.isFile()) return { kind: 'absent', bytes: NOTHING };
      const version = `"${stats.size}-${stats.mtimeNs}-${stats.ino}"`;
      if (version === etag) return { kind: 'unchanged', bytes: NOTHING, etag };
      const start = from ?? 0;
      const sizeBytes = Number(stats.size) - start;
      if (sizeBytes <= 0 && from !== undefined) return { kind: 'absent', bytes: NOTHING };
      if (sizeBytes > maxBytes) {
        throw new WartaError('response-oversized', `${this.url}${path} is longer than ${maxBytes} octets`);
      }
      const bytes = Buffer.allocUnsafe(sizeBytes);
      const { bytesRead } = await file.read(bytes, 0, sizeBytes, start);
      this.receivedBytes += bytesRead;
      return { kind: from === undefined ? 'whole' : 'rest', bytes: bytes.subarray(0, bytesRead), etag: version };
    } catch (cause) {
      if (cause instanceof WartaError) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'absent', bytes: NOTHING };
      throw new WartaError('mirror-failed', `cannot read ${this.url}${path} (${code ?? describeError(cause)})`, {
        cause,
      });
    }
  }

  async close(): Promise<void> {}
}
