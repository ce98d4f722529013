import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request that the server looked at. */
export interface S3Request {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** How a server treats requests before it obeys them; returning a status answers with that at once. */
export type Intercept = (request: S3Request, obey: () => void) => number | 'drop' | undefined;

/**
 * A small S3 server of the tests' own for what s3rver lacks: it honours `If-None-Match` and `If-Match` on writes. It refuses
 * requests that are not signed (AWS Signature Version 4, every condition among the signed headers) or whose body is not the
 * signed one. It does not compute the signature itself, which is the client library's affair; nor does s3rver.
 */
export class ConditionalS3 {
  readonly objects = new Map<string, Buffer>();
  readonly requests: S3Request[] = [];
  readonly contentTypes = new Map<string, string>();
  /** Set to ignore conditions, as an old store does. */
  isOld = false;
  intercept: Intercept = () => undefined;
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const answer = this.#receive(request, Buffer.concat(chunks));
      if (answer === 'drop') request.socket.destroy();
      else response.writeHead(answer.status, { 'content-type': 'application/xml', ...answer.headers }).end(answer.body);
    });
  });

  /** Starts the server; returns its address. */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #receive(message: IncomingMessage, body: Buffer): S3Answer | 'drop' {
    const url = new URL(message.url!, 'http://s3');
    const key = decodeURIComponent(url.pathname).replace(/^\/bucket\/?/, '');
    const request = { method: message.method!, path: key, headers: message.headers };
    this.requests.push(request);
    const fault = findSignatureFault(message, body);
    if (fault !== undefined) return failure(403, 'SignatureDoesNotMatch', fault);
    let obeyed: S3Answer | undefined;
    const obey = () => {
      obeyed ??= this.#obey(request, url, body);
      return obeyed;
    };
    const verdict = this.intercept(request, obey);
    if (verdict === 'drop') return 'drop';
    return verdict === undefined ? obey() : failure(verdict, 'InternalError', 'intercepted');
  }

  #obey({ method, path, headers }: S3Request, url: URL, body: Buffer): S3Answer {
    if (method === 'GET' && url.searchParams.has('list-type')) return this.#list(url.searchParams.get('prefix') ?? '');
    if (method === 'POST' && url.searchParams.has('delete')) return this.#removeMany(body.toString());
    const present = this.objects.get(path);
    if (method === 'GET') {
      if (present === undefined) return failure(404, 'NoSuchKey', path);
      return {
        status: 200,
        body: present,
        headers: { etag: etagOf(present), 'content-type': 'application/octet-stream' },
      };
    }
    if (method === 'DELETE') {
      this.objects.delete(path);
      return { status: 204, body: '' };
    }
    if (!this.isOld && !isConditionMet(headers, present)) return failure(412, 'PreconditionFailed', path);
    this.objects.set(path, body);
    this.contentTypes.set(path, `${headers['content-type']}; ${headers['cache-control']}`);
    return { status: 200, body: '', headers: { etag: etagOf(body) } };
  }

  /** One key a page, so that whoever removes what is listed has to ask again. */
  #list(prefix: string): S3Answer {
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).slice(0, 1);
    const contents = keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('');
    const body = `<ListBucketResult><KeyCount>${keys.length}</KeyCount>${contents}</ListBucketResult>`;
    return { status: 200, body };
  }

  #removeMany(xml: string): S3Answer {
    for (const [, key] of xml.matchAll(/<Key>([^<]*)<\/Key>/g)) this.objects.delete(key!);
    return { status: 200, body: '<DeleteResult></DeleteResult>' };
  }
}

interface S3Answer {
  status: number;
  body: string | Buffer;
  headers?: Record<string, string>;
}

function failure(status: number, code: string, message: string): S3Answer {
  return { status, body: `<Error><Code>${code}</Code><Message>${message}</Message></Error>` };
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`;
}

function isConditionMet(headers: IncomingMessage['headers'], present: Buffer | undefined): boolean {
  if (headers['if-none-match'] === '*' && present !== undefined) return false;
  const expected = headers['if-match'];
  return expected === undefined || (present !== undefined && etagOf(present) === expected);
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/[a-z0-9-]+\/s3\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$/;

/** Returns what is wrong with the signature of a request, as far as can be told without the key. */
function findSignatureFault({ headers }: IncomingMessage, body: Buffer): string | undefined {
  const signed = AUTHORIZATION.exec(headers.authorization ?? '')?.[1]?.split(';');
  if (signed === undefined) return 'no AWS Signature Version 4';
  const needed = ['host', 'x-amz-date', 'x-amz-content-sha256'];
  for (const condition of ['if-match', 'if-none-match']) if (headers[condition] !== undefined) needed.push(condition);
  const unsigned = needed.filter((name) => !signed.includes(name));
  if (unsigned.length > 0) return `not signed: ${unsigned.join(' ')}`;
  const digest = createHash('sha256').update(body).digest('hex');
  return headers['x-amz-content-sha256'] === digest ? undefined : 'the body is not the signed one';
}
