import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import { RECEIPT_MAX_BYTES } from '../../register/receipt.ts';
import { formatInstant } from '../../register/time.ts';
import { describeFile, type FileReading, FreshFile } from './fresh-file.ts';
import { verifyCredential } from './node-credential.ts';
import type { NodesFile } from './nodes-file.ts';
import type { ReceiptStore } from './receipt-store.ts';
import type { RegisterPublisher } from './register-publisher.ts';
import { discardRest, readSubmission, SUBMISSION_TYPE } from './submission.ts';

/** What is served of a register and taken for it. */
export interface TreeOptions {
  /** Folder of the public tree: what any mirror may serve. */
  readonly publicFolder: string;
  /** Folder that holds `sealed/`; apart from the public tree, so that copying that one never publishes a sealed name. */
  readonly sealedFolder: string;
  readonly origin: string;
  readonly nodes: NodesFile;
  readonly receipts: ReceiptStore;
  /** Where signed statements go; without it this process has no sequencer and says so. */
  readonly publisher?: () => Pick<RegisterPublisher, 'submit'> | undefined;
  readonly clock: Clock;
}

/** Files that are replaced. They are small, read whole, and known by their content. */
const MUTABLE = {
  '/checkpoint': 'text/plain; charset=utf-8',
  '/trust/timestamp.json': 'application/json',
  '/nodes.json': 'application/json',
};

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

const FOREVER = 'public, max-age=31536000, immutable';

/** Immutable files up to the size of an entry bundle are kept in memory: every node asks for the same newest ones. */
const KEPT_FILE_MAX_BYTES = 2 * 1024 * 1024;
const KEPT_MAX_BYTES = 64 * 1024 * 1024;

/** Whoever submits a statement holds memory for its envelope, and for its annex once the signatures are good. */
const MAX_SUBMISSIONS = 8;

/** Adds the register's files, sealed annexes for enrolled nodes, and what takes receipts and signed statements. */
export function addTreeRoutes(app: FastifyInstance, options: TreeOptions): void {
  app.register(fastifyStatic, { root: resolve(options.publicFolder), serve: false, cacheControl: false });
  serveMutable(app, options.publicFolder);
  serveImmutable(app, options.publicFolder);
  serveSealed(app, options);
  takeReceipts(app, options.receipts);
  takeStatements(app, options.publisher);
}

/** Serves the files that are replaced, by conditional GET. */
function serveMutable(app: FastifyInstance, publicFolder: string): void {
  for (const [path, type] of Object.entries(MUTABLE)) {
    const file = new FreshFile(join(publicFolder, path));
    app.get(path, async (request, reply) => {
      const reading = await file.read();
      if (reading === undefined) return reply.callNotFound();
      return sendReading(request, reply.header('cache-control', 'no-cache'), reading, type);
    });
  }
}

/** Sends a file as it was read, or 304 to who has it. */
function sendReading(request: FastifyRequest, reply: FastifyReply, { bytes, etag }: FileReading, type: string) {
  reply.header('etag', etag);
  const known = request.headers['if-none-match']?.split(',').map((one) => one.trim().replace(/^W\//, ''));
  if (known?.includes(etag)) return reply.code(304).send();
  return reply.type(type).send(bytes);
}

/** Serves files that never change, and the receipt lists, which only grow. */
function serveImmutable(app: FastifyInstance, publicFolder: string): void {
  const root = resolve(publicFolder);
  const kept = new LRUCache<string, FileReading>({
    maxSize: KEPT_MAX_BYTES,
    sizeCalculation: ({ bytes }) => bytes.length + 200,
  });
  const serve = async (request: FastifyRequest, reply: FastifyReply) => {
    const path = pathOf(request);
    if (RECEIPT_LIST.test(path)) return reply.header('cache-control', 'no-cache').sendFile(path);
    if (!IMMUTABLE.some((form) => form.test(path))) return reply.callNotFound();
    reply.header('cache-control', FOREVER);
    const isWhole = request.headers.range === undefined;
    const reading = isWhole ? (kept.get(path) ?? (await keepFile(root, path, kept))) : undefined;
    if (reading === undefined) return reply.sendFile(path);
    return sendReading(
      request,
      reply,
      reading,
      path.endsWith('.json') ? 'application/json' : 'application/octet-stream',
    );
  };
  for (const folder of ['tile', 'annex', 'trust', 'receipts']) app.get(`/${folder}/*`, serve);
}

/** Reads a file into memory when it is a small one; `undefined` for a large one and for one that is not there. */
async function keepFile(
  root: string,
  path: string,
  kept: LRUCache<string, FileReading>,
): Promise<FileReading | undefined> {
  const file = join(root, path);
  try {
    if ((await stat(file)).size > KEPT_FILE_MAX_BYTES) return undefined;
    const reading = describeFile(await readFile(file));
    kept.set(path, reading);
    return reading;
  } catch {
    return undefined; // the static server says what is the matter
  }
}

function pathOf({ url }: FastifyRequest): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** Serves sealed annexes to enrolled nodes. Without a credential nobody learns whether there is such a file. */
function serveSealed(app: FastifyInstance, { origin, nodes, clock, sealedFolder }: TreeOptions): void {
  app.get('/sealed/*', async (request, reply) => {
    const path = pathOf(request);
    const token = /^Bearer ([\w.-]+)$/.exec(request.headers.authorization ?? '')?.[1];
    reply.headers({ 'cache-control': 'no-store', 'www-authenticate': 'Bearer' });
    if (token === undefined) throw new WartaError('credential-invalid', 'a sealed annex needs a credential');
    const nowSeconds = clock.wallMillis() / 1000;
    await verifyCredential(token, { origin, path: path.slice(1), nodes: await nodes.read(), nowSeconds });
    reply.removeHeader('www-authenticate');
    return SEALED.test(path) ? reply.sendFile(path, resolve(sealedFolder)) : reply.callNotFound();
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
      if (outcome === 'conflict') throw new WartaError('receipt-repeated', 'another receipt of this moment is there');
      reply.header('retry-after', '60');
      throw new WartaError('request-limited', 'too many receipts: send it again in a minute');
    });
  });
}

/** Takes signed statements from anyone: only the signatures count. */
function takeStatements(app: FastifyInstance, findPublisher: TreeOptions['publisher']): void {
  let underWay = 0;
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(SUBMISSION_TYPE, (_request, payload, done) => done(null, payload));
    scope.post('/statements', async (request, reply) => {
      const publisher = findPublisher?.();
      if (publisher === undefined || underWay >= MAX_SUBMISSIONS) {
        throw new WartaError('log-busy', 'the sequencer is busy or in another process: try again in a moment');
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
