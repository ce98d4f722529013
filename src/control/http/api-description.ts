import fastifySwagger, { type SwaggerTransform } from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import { createJsonSchemaTransform } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { PERMISSIONS, type RouteName } from '../access/permissions.ts';
import type { Role } from '../access/roles.ts';

/** Form of every refusal (RFC 9457). */
const PROBLEM = {
  type: 'object',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string', const: 'about:blank' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', description: 'Stable, made for programs' },
    detail: { type: 'string', description: 'Made for people' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['message'],
        properties: { line: { type: 'integer' }, path: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
} as const;

const REFUSAL = {
  description: 'Refused, or a fault of the server',
  content: { 'application/problem+json': { schema: PROBLEM } },
};

const IDEMPOTENCY_KEY = {
  type: 'string',
  minLength: 16,
  maxLength: 255,
  description: 'Sent again with the same body within a day, the request gets the same answer and changes nothing more',
};
const IF_MATCH = { type: 'string', description: 'ETag of the record as it was read' };

/**
 * Describes the API in OpenAPI, from the same schemas that requests are checked with and the same table that they are
 * admitted by: `x-roles` of an operation are the roles that may use it.
 */
export function describeApi(app: FastifyInstance): void {
  app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Warta control API', version: '1' },
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description: 'API token, OIDC token of a person, or credential signed with the key of a node',
          },
        },
      },
    },
    transform: describeRoute,
  });
  app.after(() => {
    const schema = { summary: 'Describe this API in OpenAPI', tags: ['Service'], querystring: z.strictObject({}) };
    app.get('/v1/openapi.json', { schema }, async (_request, reply) => {
      return reply.header('cache-control', 'public, max-age=300').send(app.swagger());
    });
  });
}

const describeSchema = createJsonSchemaTransform({}) as SwaggerTransform;

/** Adds to the schemas of a route who may use it and what every route has in common. */
const describeRoute: SwaggerTransform = (given) => {
  const { schema, url } = describeSchema(given);
  const { method } = given.route;
  const roles: readonly Role[] = PERMISSIONS[`${method} ${url}` as RouteName] ?? [];
  const { response, body, consumes } = (schema ?? {}) as Record<string, unknown> & { response?: object };
  const described = {
    ...schema,
    ...(body === undefined && consumes !== undefined && { body: { type: 'string', format: 'binary' } }),
    headers: describeHeaders(String(method)),
    response: { ...(response ?? { '2XX': { description: 'Done' } }), default: REFUSAL },
    // An empty requirement is one that nobody has to meet.
    security: roles.includes('public') ? [{}, { token: [] }] : [{ token: [] }],
    'x-roles': [...roles],
  };
  return { schema: described as typeof schema, url };
};

function describeHeaders(method: string): object | undefined {
  if (method === 'GET' || method === 'DELETE') return undefined;
  const properties = method === 'POST' ? { 'Idempotency-Key': IDEMPOTENCY_KEY } : { 'If-Match': IF_MATCH };
  return { type: 'object', properties };
}
