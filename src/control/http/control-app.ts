import { createHmac, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import fastifyRateLimit, { normalizeIP } from '@fastify/rate-limit';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { WartaError } from '../../base/errors.ts';
import { PERMISSIONS, type RouteName } from '../access/permissions.ts';
import { type Actor, ANYONE, type Role } from '../access/roles.ts';
import type { ControlServices } from '../services.ts';
import { describeApi } from './api-description.ts';
import { takeJsonBodies } from './json-body.ts';
import { addProblemHeaders, describeProblem, describeStatus, sendProblem } from './problem.ts';
import { type AddRoute, BODY_MAX_BYTES, createAddRoute, send } from './route.ts';

/** Finds out who a request comes from, by its `Authorization` header. */
export type Authenticate = (authorization: string, request: FastifyRequest) => Promise<Actor>;

/** What the app is made of. */
export interface ControlAppOptions {
  readonly services: ControlServices;
  readonly authenticate: Authenticate;
  /** Each adds the routes of one area. */
  readonly areas: readonly ((add: AddRoute, services: ControlServices) => void)[];
  /** Adds the register's files to the app. */
  readonly addTree?: (app: FastifyInstance) => void;
  /** Number of proxies in front whose word on the client's address counts, for limits only. */
  readonly trustedProxies?: number;
  /** Told of faults of the server's own; never of who asked. */
  readonly onFault?: (error: unknown) => void;
  readonly timeouts?: Timeouts;
}

/** How long a client may take. */
export interface Timeouts {
  /** A request must have arrived after this long. */
  readonly requestMillis: number;
  /** A connection is closed when nothing went over it for this long. */
  readonly connectionMillis: number;
  /** How often connections are looked at. */
  readonly checkMillis: number;
  /** What is under way when the server closes may take this long to end. */
  readonly closeMillis: number;
}

const HEADERS_MILLIS = 60_000;

/** An annex of 150 MB in five minutes needs 4 Mbit/s. */
const TIMEOUTS: Timeouts = {
  requestMillis: 300_000,
  connectionMillis: 60_000,
  checkMillis: 5_000,
  closeMillis: 15_000,
};

const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
};

/**
 * Creates the control API; listening is the caller's. It speaks plain HTTP: on anything but a loopback address it belongs
 * behind a proxy that ends TLS. It writes no access log: the addresses of whoever asks are neither stored nor shown; those
 * that a limit is counted by are hashed with a key that lives as long as the process.
 */
export function createControlApp(options: ControlAppOptions): FastifyInstance {
  const { services, areas, addTree, trustedProxies = 0, onFault = () => {}, timeouts = TIMEOUTS } = options;
  const app = Fastify({
    bodyLimit: BODY_MAX_BYTES,
    requestTimeout: timeouts.requestMillis,
    connectionTimeout: timeouts.connectionMillis,
    http: {
      connectionsCheckingInterval: timeouts.checkMillis,
      // Node gives bodies the longer one of the two timeouts, so this one must not be left at its default.
      headersTimeout: Math.min(HEADERS_MILLIS, timeouts.requestMillis),
    },
    forceCloseConnections: 'idle',
    return503OnClosing: false, // in a form of its own; ours is below
    logger: false,
    trustProxy: (_address: string, hop: number) => hop < trustedProxies,
    routerOptions: { maxParamLength: 300 },
    frameworkErrors: (error, _request, reply) => {
      return sendProblem(reply.headers(SECURITY_HEADERS), describeProblem(error));
    },
    clientErrorHandler: refuseUnread,
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(async (error, request, reply) => {
    const problem = describeProblem(error);
    if (problem.status >= 500) onFault(error);
    const page = await request.routeOptions.config.composeRefusal?.(request, problem, error).catch(onFault);
    return page ? send(addProblemHeaders(reply, problem), page) : sendProblem(reply, problem);
  });
  app.setNotFoundHandler((_request, reply) => {
    return sendProblem(reply, describeProblem(new WartaError('not-found', 'there is no such route')));
  });
  takeJsonBodies(app);
  app.decorateRequest('actor');
  app.decorateRequest('role');
  app.decorateRequest('fields');
  const closing = prepareClosing(app, timeouts.closeMillis);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS);
    if (closing.isClosing) throw new WartaError('server-closing', 'the server is closing');
    refuseCompressed(request);
    await admit(request, options.authenticate);
  });
  describeApi(app);
  limitRates(app);
  app.register(async (scope) => {
    const add = createAddRoute(scope, services);
    for (const area of areas) area(add, services);
    addTree?.(scope);
  });
  return app;
}

/**
 * Makes `app.close()` let what is under way end, and nothing else hold it up: a connection is closed after the request it
 * is at, and all of them after `closeMillis`. Node looks at no timeouts of requests any more once a server closes.
 */
function prepareClosing(app: FastifyInstance, closeMillis: number): { readonly isClosing: boolean } {
  const state = { isClosing: false };
  let timer: NodeJS.Timeout | undefined;
  app.addHook('preClose', async () => {
    state.isClosing = true;
    timer = setTimeout(() => app.server.closeAllConnections(), closeMillis);
  });
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (state.isClosing) reply.header('connection', 'close');
    done(null, payload);
  });
  app.addHook('onClose', async () => clearTimeout(timer));
  return state;
}

/** Answers what could not be read as a request, or did not arrive in time, in the form of every other refusal. */
function refuseUnread(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const status = UNREAD_STATUS[error.code ?? ''] ?? 400;
  const problem = describeStatus(status, UNREAD_DETAIL[status]!);
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${status} ${problem.title}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

const UNREAD_STATUS: Record<string, number> = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 };
const UNREAD_DETAIL: Record<number, string> = {
  400: 'this is no HTTP request',
  408: 'the request did not arrive in time',
  431: 'the header fields are too many or too long',
};

/** A compressed body could unfold to any size. */
function refuseCompressed({ headers }: FastifyRequest): void {
  const { 'content-encoding': encoding = 'identity' } = headers;
  if (encoding === 'identity') return;
  throw new WartaError('media-unsupported', 'Content-Encoding: send the body as it is, not compressed');
}

/** Finds who asks and whether the route is for them. */
async function admit(request: FastifyRequest, authenticate: Authenticate): Promise<void> {
  if (request.is404) return; // answered by the handler for what is not there
  const { authorization } = request.headers;
  const route = routeOf(request);
  if (route === undefined) throw new Error(`${request.method} ${request.routeOptions.url} has no row in PERMISSIONS`);
  // The path of a sealed annex has a credential of its own form, bound to that file.
  const isOwnForm = route === 'GET /sealed/*';
  const actor = authorization === undefined || isOwnForm ? ANYONE : await authenticate(authorization, request);
  const role = isOwnForm ? 'node' : PERMISSIONS[route].find((one: Role) => actor.roles.has(one));
  request.actor = actor;
  if (role !== undefined) {
    request.role = role;
    return;
  }
  if (actor === ANYONE) throw new WartaError('unauthenticated', 'this needs a token: Authorization: Bearer <token>');
  throw new WartaError('forbidden', `${route} is for ${PERMISSIONS[route].join(', ')}`);
}

/** The route of a request as the table of permissions spells it; HEAD counts as GET. */
function routeOf({ method, routeOptions: { url } }: FastifyRequest): RouteName | undefined {
  const name = `${method === 'HEAD' ? 'GET' : method} ${url}`;
  return url !== undefined && Object.hasOwn(PERMISSIONS, name) ? (name as RouteName) : undefined;
}

/** Whoever has one IPv6 address has a whole subnet of this size. */
const IPV6_SUBNET = 64;

/** Limits per address on the routes that ask for one. */
function limitRates(app: FastifyInstance): void {
  const key = randomBytes(32);
  app.register(fastifyRateLimit, {
    global: false,
    keyGenerator: (request: FastifyRequest) =>
      createHmac('sha256', key).update(normalizeIP(request.ip, IPV6_SUBNET)).digest('base64'),
    errorResponseBuilder: () => new WartaError('request-limited', 'too many requests: wait as Retry-After says'),
  });
}
