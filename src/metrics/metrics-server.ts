import Fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';

/** Whether the node can do its work, for `/healthz`. */
export interface Health {
  /** False takes the node out of service. */
  serving: boolean;
  /** One line for each thing an operator should know. */
  notes: readonly string[];
}

/** Creates the HTTP server of metrics, health and status; listening is the caller's. Nothing on it needs or shows a client. */
export function createMetricsServer(registry: Registry, health: () => Health, status: () => object): FastifyInstance {
  const app = Fastify({ bodyLimit: 1024, requestTimeout: 5_000, forceCloseConnections: true, logger: false });
  app.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
  app.get('/healthz', async (_request, reply) => {
    const state = health();
    return reply.code(state.serving ? 200 : 503).send(state);
  });
  app.get('/status', async () => status());
  return app;
}
