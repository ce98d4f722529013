import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import fastifyStatic from '@fastify/static';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../../base/clock.ts';
import { describeError, type ErrorCode, WartaError } from '../../base/errors.ts';
import { RECEIPT_MAX_BYTES } from '../../register/receipt.ts';
import { formatInstant } from '../../register/time.ts';
import { verifyCredential } from './node-credential.ts';
import type { NodesFile } from './nodes-file.ts';
import type { ReceiptStore } from './receipt-store.ts';
import type { RegisterPublisher } from './register-publisher.ts';
import { discardRest, readSubmission, SUBMISSION_TYPE } from './submission.ts';

/** What the log's HTTP server serves and takes. */
export interface LogServerOptions {
  /** Folder of the public tree: what any mirror may serve. */
  readonly publicFolder: string;
  /** Folder that holds `sealed/`; apart from the public tree, so that copying that one never publishes a sealed name. */
  readonly sealedFolder: string;
  readonly origin: string;
  readonly nodes: NodesFile;
  readonly receipts: ReceiptStore;
  readonly publisher: Pick<RegisterPublisher, 'submit'>;
  readonly clock: Clock;
  /** Told of faults of the server's own; never of who asked. */
  readonly onFault?: (error: unknown) => void;
}

/** Files that are replaced. They are small, read whole, and known by their content: see `serveMutable`. */
const MUTABLE = ['checkpoint', 'trust/timestamp.json', 'nodes.json'];

/** Files that never change once they are there; nothing else of the public folder is served. */
const TILE_INDEX = '(?:x\\d{3}/)*\\d{3}(?:\\.p/\\d{1,3})?';
const IMMUTABLE = [
  new RegExp(`^/tile/(?:\\d{1,2}|entries)/${TILE_INDEX}$`),
  /^\/annex\/[0-9a-f]{2}\/[0-9a-f]{64}\.jsonl$/,
  /^\/trust\/\d{1,9}\.(?:root|snapshot|targets)\.json$/,
  /^\/trust\/targets\/[0-9a-f]{64}\.authorities\.json$/,
  /^\/receipts\/[A-Za-z0-9][A-Za-z0-9._-]*\/[a-z0-9][a-z0-9.-]*\/\d{8}T\d{6}Z-\d+\.json$/,
];

/** Lists of receipts grow during their day. */
const RECEIPT_LIST = /^\/receipts\/_days\/\d{4}-\d\d-\d\d\.txt$/;

const SEALED = /^\/sealed\/([0-9a-f]{2})\/\1[0-9a-f]{62}\.jsonl$/;

/** Whoever submits a statement holds memory for its envelope, and for its annex once the signatures are good. */
const MAX_SUBMISSIONS = 8;

/** A request must have arrived after this long: an annex of 150 MB in five minutes needs 4 Mbit/s. */
const REQUEST_TIMEOUT_MILLIS = 300_000;
const CONNECTION_TIMEOUT_MILLIS = 60_000;
const BODY_MAX_BYTES = 1024;

const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'cross-origin',
};

/** HTTP status of each refusal; 500 for what is no refusal but a fault. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  'receipt-invalid': 400,
  'credential-invalid': 401,
  'statement-replayed': 409,
  'statement-oversized': 413,
  'annex-oversized': 413,
  'log-busy': 503,
  'store-failed': 503,
  'trust-expired': 503,
  'trust-invalid': 503,
};

/**
 * Creates the log's HTTP server; listening is the caller's. It serves the public tree as any mirror does, sealed annexes to
 * enrolled nodes (`node-credential`), and takes receipts and signed statements. It speaks plain HTTP: on anything but a
 * loopback address it belongs behind a proxy that ends TLS. It writes no access log: the addresses of whoever asks are
 * neither stored nor shown.
 */
export function createLogServer(options: LogServerOptions): FastifyInstance {
  const app = Fastify({
    bodyLimit: BODY_MAX_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MILLIS,
    connectionTimeout: CONNECTION_TIMEOUT_MILLIS,
    forceCloseConnections: true,
    logger: false,
    routerOptions: { maxParamLength: 200 },
  });
  app.addHook('onRequest', async (_request, reply) => void reply.headers(SECURITY_HEADERS));
  app.setErrorHandler((error: unknown, _request, reply) => refuse(error, reply, options.onFault));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ code: 'not-found', message: 'no such file' }));
  serveTree(app, options);
  serveSealed(app, options);
  takeReceipts(app, options.receipts);
  takeStatements(app, options.publisher);
  return app;
}

/** Answers a refusal with its code and message, and anything else without a word of what happened. */
function refuse(error: unknown, reply: FastifyReply, onFault?: (error: unknown) => void): FastifyReply {
  if (error instanceof WartaError) {
    const { code } = error;
    const status = STATUS[code] ?? (/^(statement|annex)-/.test(code) ? 422 : 500);
    if (status < 500) return reply.code(status).send({ code, message: describeError(error) });
    onFault?.(error);
    return reply.code(status).send({ code, message: 'the log cannot do this now: try again later' });
  }
  const { statusCode = 500, code = 'fault' } = error as FastifyError;
  if (statusCode < 500) return reply.code(statusCode).send({ code: 'usage', message: describeError(error) });
  onFault?.(error);
  return reply.code(500).send({ code: code === 'fault' ? code : 'fault', message: 'a fault of the log' });
}

/** Serves the files of the public tree. */
function serveTree(app: FastifyInstance, { publicFolder, sealedFolder }: LogServerOptions): void {
  const sealedRoot = resolve(sealedFolder);
  app.register(fastifyStatic, {
    root: resolve(publicFolder),
    index: false,
    dotfiles: 'deny',
    cacheControl: false,
    suppressWarning: true,
    allowedPath: (path, root) =>
      root === sealedRoot ? SEALED.test(path) : RECEIPT_LIST.test(path) || IMMUTABLE.some((form) => form.test(path)),
    setHeaders: (reply, path) => {
      if (path.startsWith(sealedRoot)) return;
      reply.header('cache-control', path.endsWith('.txt') ? 'no-cache' : 'public, max-age=31536000, immutable');
    },
  });
  for (const path of MUTABLE) {
    const type = path.endsWith('.json') ? 'application/json' : 'text/plain; charset=utf-8';
    app.get(`/${path}`, (request, reply) => serveMutable(join(publicFolder, path), type, request, reply));
  }
}

/**
 * Serves a file that is replaced. It is read whole, so that no replacement comes in between its length and its bytes, and
 * its ETag is its digest: by size and time of change two checkpoints of one second could not be told apart, and a node
 * would wait for a third.
 */
async function serveMutable(path: string, type: string, request: FastifyRequest, reply: FastifyReply) {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return reply.callNotFound();
  }
  const etag = `"${hash('sha256', bytes, 'base64url')}"`;
  reply.headers({ etag, 'cache-control': 'no-cache' });
  const known = request.headers['if-none-match']?.split(',').map((one) => one.trim().replace(/^W\//, ''));
  if (known?.includes(etag)) return reply.code(304).send();
  return reply.type(type).send(bytes);
}

/** Serves sealed annexes to enrolled nodes. Without a credential nobody learns whether there is such a file. */
function serveSealed(app: FastifyInstance, { origin, nodes, clock, sealedFolder }: LogServerOptions): void {
  app.get('/sealed/*', async (request, reply) => {
    const path = new URL(request.url, 'http://log').pathname;
    const token = /^Bearer ([\w.-]+)$/.exec(request.headers.authorization ?? '')?.[1];
    reply.headers({ 'cache-control': 'no-store', 'www-authenticate': 'Bearer' });
    if (token === undefined) throw new WartaError('credential-invalid', 'a sealed annex needs a credential');
    const nowSeconds = clock.wallMillis() / 1000;
    await verifyCredential(token, { origin, path: path.slice(1), nodes: await nodes.read(), nowSeconds });
    reply.removeHeader('www-authenticate');
    return reply.sendFile(path, resolve(sealedFolder));
  });
}

/** Takes receipts. A node drops one that was answered with 400, 413 or 422 and sends it again after anything else. */
function takeReceipts(app: FastifyInstance, receipts: ReceiptStore): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    scope.post('/receipts', { bodyLimit: RECEIPT_MAX_BYTES }, async (request, reply) => {
      const outcome = await receipts.accept((request.body as Buffer | undefined) ?? Buffer.alloc(0));
      if (outcome === 'stored' || outcome === 'known') {
        return reply.code(outcome === 'stored' ? 201 : 200).send({ outcome });
      }
      if (outcome === 'conflict') {
        return reply.code(422).send({ code: 'receipt-invalid', message: 'another receipt of this moment is there' });
      }
      return reply.code(429).header('retry-after', '60').send({ code: outcome, message: 'too many receipts' });
    });
  });
}

/** Takes signed statements from anyone: only the signatures count. */
function takeStatements(app: FastifyInstance, publisher: Pick<RegisterPublisher, 'submit'>): void {
  let underWay = 0;
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(SUBMISSION_TYPE, (_request, payload, done) => done(null, payload));
    scope.post('/statements', async (request, reply) => {
      if (underWay >= MAX_SUBMISSIONS) {
        return reply.code(503).header('retry-after', '5').send({ code: 'log-busy', message: 'try again in a moment' });
      }
      underWay++;
      const body = request.body as Readable;
      const { socket } = request.raw;
      try {
        const { envelope, readAnnex } = await readSubmission(body);
        const { id, index, integratedAtSeconds } = await publisher.submit(envelope, readAnnex);
        return reply.code(201).send({ id, index, integratedAt: formatInstant(integratedAtSeconds) });
      } finally {
        underWay--;
        // Destroying the request is not enough once it was answered: Node keeps the connection for the next one.
        void discardRest(body).then((whole) => whole || socket.destroy());
      }
    });
  });
}
