import Fastify, { type FastifyInstance } from 'fastify';
import { WartaError } from '../../base/errors.ts';
import { describeProblem, sendProblem } from '../http/problem.ts';
import { addTreeRoutes, type TreeOptions } from './tree-routes.ts';

/** What the log's HTTP server serves and takes. */
export interface LogServerOptions extends TreeOptions {
  /** Told of faults of the server's own; never of who asked. */
  readonly onFault?: (error: unknown) => void;
}

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

/**
 * Creates the HTTP server of a log alone, without the control API; listening is the caller's. It serves the public tree as any
 * mirror does, sealed annexes to enrolled nodes (`node-credential`), and takes receipts and signed statements. It speaks
 * plain HTTP: on anything but a loopback address it belongs behind a proxy that ends TLS. It writes no access log: the
 * addresses of whoever asks are neither stored nor shown.
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
  app.setErrorHandler((error: unknown, _request, reply) => {
    const problem = describeProblem(error);
    if (problem.status >= 500) options.onFault?.(error);
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((_request, reply) => {
    return sendProblem(reply, describeProblem(new WartaError('not-found', 'no such file')));
  });
  addTreeRoutes(app, options);
  return app;
}
