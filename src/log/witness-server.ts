import Fastify, { type FastifyInstance } from 'fastify';
import { REQUEST_MAX_BYTES, type Witness } from './witness.ts';

/** Longest a client may take to send a request. */
const REQUEST_MILLIS = 10_000;

/** Told of faults of the witness itself: its clients learn no more than that there was one. */
export type OnServerError = (error: Error) => void;

/**
 * Creates the HTTP side of a witness (C2SP tlog-witness, "HTTP Interface"): `POST /add-checkpoint` for logs, and
 * `GET /<SHA-256 of the origin>/checkpoint` for monitors. Not yet listening.
 */
export function createWitnessServer(witness: Witness, onError: OnServerError = () => {}): FastifyInstance {
  const app = Fastify({ bodyLimit: REQUEST_MAX_BYTES, requestTimeout: REQUEST_MILLIS, forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  app.post('/add-checkpoint', async (request, reply) => {
    const body = request.body instanceof Uint8Array ? request.body : new Uint8Array();
    const answer = await witness.addCheckpoint(body);
    return reply.code(answer.status).type(answer.contentType).send(answer.body);
  });

  app.get<{ Params: { originHash: string } }>('/:originHash/checkpoint', async (request, reply) => {
    const note = await witness.readCheckpoint(request.params.originHash);
    reply.type('text/plain; charset=utf-8').header('cache-control', 'no-cache');
    return note === undefined ? reply.code(404).send('no checkpoint of that log\n') : reply.send(Buffer.from(note));
  });

  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) onError(error);
    return reply
      .code(status)
      .type('text/plain; charset=utf-8')
      .send(status >= 500 ? 'the witness failed\n' : `${error.message}\n`);
  });
  return app;
}
