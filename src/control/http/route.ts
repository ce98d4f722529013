import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { composeCanonical, hashHex } from '../../register/canonical.ts';
import type { RouteName } from '../access/permissions.ts';
import type { Actor, Role } from '../access/roles.ts';
import type { ControlServices } from '../services.ts';
import type { Collection, Tables } from '../store.ts';
import { type FormFields, takeFormBodies } from './form-body.ts';
import { findAnswer, type GivenAnswer, keepAnswer } from './idempotency.ts';
import type { Problem } from './problem.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, and by which role the route was allowed. */
    actor: Actor;
    role: Role;
    /** What was filled in, of a route that takes a form. */
    fields?: FormFields;
  }
  interface FastifyContextConfig {
    /** Composes the page that tells a refusal, of a route that answers pages. */
    composeRefusal?: (request: FastifyRequest, problem: Problem, error: unknown) => Promise<GivenAnswer>;
  }
}

/** What a handler is given. */
export interface Call<P, Q, B> {
  readonly actor: Actor;
  /** The role by which the route was allowed. */
  readonly role: Role;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Header fields, lower-case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Version of `If-Match`, when one was given. */
  readonly ifMatch?: number;
  /** What was filled in, of a route that takes a form; nothing otherwise. */
  readonly fields: FormFields;
  readonly nowSeconds: number;
  /** The transaction of this request; read-only for a GET. */
  readonly tables: Tables;
  /** Runs something once the changes are durable, and not at all when they are not. */
  afterCommit(act: () => void): void;
}

/** What a preparation is given: the call without the store's transaction, which it runs before. */
export type EarlyCall<P, Q, B> = Omit<Call<P, Q, B>, 'tables' | 'afterCommit'>;

/** What changed: `before` and `after` are records, kept as hashes. */
export interface AuditNote {
  /** What was changed, such as `drafts/0190…`. */
  readonly subject: string;
  readonly reason?: string;
  readonly before?: object;
  readonly after?: object;
}

/** What a handler answers. `version` becomes the ETag. A changing handler must say what it changed, or that nothing is. */
export interface Outcome<R> {
  readonly status?: number;
  readonly body?: R;
  readonly version?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly audit?: AuditNote | readonly AuditNote[] | 'nothing changed';
}

/** Limit on how often one address may use a route. */
export interface RouteLimit {
  readonly max: number;
  readonly windowSeconds: number;
  /** Counts all routes that are given this object together. */
  readonly shared?: true;
}

/** A request that was refused, as far as it was read. */
export interface RefusedCall
  extends Pick<Call<unknown, unknown, unknown>, 'query' | 'headers' | 'fields' | 'nowSeconds'> {
  readonly problem: Problem;
  readonly error: unknown;
}

/** A route of the control API. Types of what comes in follow from the schemas. */
export interface RouteSpec<
  P extends z.ZodType,
  Q extends z.ZodType,
  B extends z.ZodType,
  R extends z.ZodType,
  Prepared = undefined,
> {
  readonly route: RouteName;
  readonly summary: string;
  readonly tag: string;
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  /** Form of the answer; absent for one without a body or with bytes. */
  readonly response?: R;
  /** Status of success; 200 by default, 201 for what makes something. */
  readonly status?: number;
  /** Takes bodies of these content types as bytes (`call.body` is a Buffer then). */
  readonly raw?: { readonly types: readonly string[]; readonly maxBytes: number };
  /** Takes a form instead of JSON. A field `key` of it counts as the `Idempotency-Key`, which no browser sends. */
  readonly form?: { readonly maxBytes: number };
  /**
   * Set for a page for people, which is not described as a part of the API. `refuse` composes the page that tells why
   * something was not done; what had been changed by then is undone already.
   */
  readonly page?: { refuse(refused: RefusedCall): Promise<Outcome<string>> };
  readonly limit?: RouteLimit;
  /** Set for a POST that changes nothing, and is one so that what it carries is in no URL. */
  readonly changesNothing?: true;
  /** Set for a GET that is answered without the store, and so even when that is down; `call.tables` is of no use then. */
  readonly storeless?: true;
  /**
   * Long work that changes nothing, done before the transaction so as not to hold it up. It runs for a repeated request
   * too. What it read may have changed by the time of `handle`, which must make sure.
   */
  prepare?(call: EarlyCall<z.output<P>, z.output<Q>, z.output<B>>): Promise<Prepared>;
  handle(call: Call<z.output<P>, z.output<Q>, z.output<B>>, prepared: Prepared): Promise<Outcome<z.input<R>>>;
}

/** Adds one route; `PERMISSIONS` says who may use it. */
export type AddRoute = <
  P extends z.ZodType = z.ZodType<unknown>,
  Q extends z.ZodType = z.ZodType<unknown>,
  B extends z.ZodType = z.ZodType<unknown>,
  R extends z.ZodType = z.ZodType<unknown>,
  Prepared = undefined,
>(
  spec: RouteSpec<P, Q, B, R, Prepared>,
) => void;

/** Most bytes of a JSON body. */
export const BODY_MAX_BYTES = 1024 * 1024;

/** A spec whatever its schemas; they did their work when the route was written. */
type AnySpec = RouteSpec<z.ZodType, z.ZodType, z.ZodType, z.ZodType, unknown>;

/** Returns what adds routes to `app`. */
export function createAddRoute(app: FastifyInstance, services: ControlServices): AddRoute {
  const limiters = new WeakMap<RouteLimit, ReturnType<FastifyInstance['rateLimit']>>();
  const limiterOf = (limit: RouteLimit) => {
    const known = limit.shared && limiters.get(limit);
    const limiter = known ?? app.rateLimit({ max: limit.max, timeWindow: limit.windowSeconds * 1000 });
    limiters.set(limit, limiter);
    return limiter;
  };
  return (given) => {
    const spec = given as unknown as AnySpec;
    const [method, url] = spec.route.split(' ') as [HTTPMethods, string];
    app.register(async (scope) => {
      if (spec.raw !== undefined) takeBytes(scope, spec.raw.types);
      if (spec.form !== undefined) takeFormBodies(scope);
      scope.route({
        method,
        url,
        bodyLimit: (spec.raw ?? spec.form)?.maxBytes ?? BODY_MAX_BYTES,
        config: spec.page === undefined ? {} : { composeRefusal: createRefusal(spec, services) },
        // A form is read before it is counted, so that the page that refuses it has what was filled in.
        ...(spec.limit && { [spec.form === undefined ? 'onRequest' : 'preHandler']: limiterOf(spec.limit) }),
        schema: composeSchema(spec),
        handler: (request, reply) => serve(spec, services, request, reply),
      });
    });
  };
}

function takeBytes(scope: FastifyInstance, types: readonly string[]): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser([...types], { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}

function createRefusal(spec: AnySpec, { clock }: ControlServices) {
  return async (request: FastifyRequest, problem: Problem, error: unknown): Promise<GivenAnswer> => {
    const { query, headers, fields = {} } = request;
    const nowSeconds = Math.floor(clock.wallMillis() / 1000);
    const page = await spec.page!.refuse({ problem, error, query, headers, fields, nowSeconds });
    return composeAnswer(spec, { ...page, status: problem.status });
  };
}

/** What nobody asked for is refused: a misspelt parameter that is passed over would filter nothing. */
function composeSchema({ route, summary, tag, params, query, body, response, status, raw, page }: AnySpec) {
  const takesBody = !route.startsWith('GET ');
  return {
    summary,
    tags: [tag],
    ...(page && { hide: true }),
    ...(params && { params }),
    querystring: query instanceof z.ZodObject ? query.strict() : (query ?? z.strictObject({})),
    ...(raw !== undefined && { consumes: [...raw.types] }),
    ...(takesBody && raw === undefined && { body: body ?? z.union([z.strictObject({}), z.null()]).optional() }),
    ...(response && { response: { [status ?? 200]: response } }),
  };
}

/** Runs a handler: what only reads on one state of the store, anything else in one transaction with its trace in the audit trail. */
async function serve(spec: AnySpec, services: ControlServices, request: FastifyRequest, reply: FastifyReply) {
  refuseHidden(request.params, 'path');
  refuseHidden(request.query, 'query');
  refuseHidden(request.body, 'body');
  const { store, clock, log } = services;
  const nowSeconds = Math.floor(clock.wallMillis() / 1000);
  let acts: (() => void)[] = [];
  const early: EarlyCall<unknown, unknown, unknown> = {
    actor: request.actor,
    role: request.role,
    params: request.params,
    query: request.query,
    body: request.body,
    headers: request.headers,
    ifMatch: parseIfMatch(request.headers['if-match']),
    fields: request.fields ?? {},
    nowSeconds,
  };
  const prepared = await spec.prepare?.(early);
  const call = (tables: Tables): Call<unknown, unknown, unknown> => ({
    ...early,
    tables,
    afterCommit: (act) => acts.push(act),
  });
  if (request.method === 'GET' || request.method === 'HEAD' || spec.changesNothing) {
    const read = (tables: Tables) => spec.handle(call(tables), prepared);
    return send(reply, composeAnswer(spec, await (spec.storeless ? read(NO_TABLES) : store.read(read))));
  }
  const answer = await store.transaction(async (tables) => {
    acts = []; // the transaction may run again
    const earlier = await findAnswer(tables, request);
    if (earlier !== undefined) return earlier;
    const outcome = await spec.handle(call(tables), prepared);
    await recordChange(tables, spec, request, outcome, nowSeconds);
    const given = composeAnswer(spec, outcome);
    await keepAnswer(tables, request, given, nowSeconds);
    return given;
  });
  for (const act of acts) runAfterCommit(act, log);
  return send(reply, answer);
}

/** What a handler without the store has in the place of tables. */
const NO_TABLES = Object.freeze({}) as Tables;

/** The change is made and must be answered as such, whatever becomes of what follows from it. */
function runAfterCommit(act: () => void, log: ControlServices['log']): void {
  try {
    act();
  } catch (error) {
    log.error({ err: error }, 'what follows from a change failed');
  }
}

/** Appends what a handler changed to the audit trail. */
async function recordChange(
  tables: Tables,
  { route }: AnySpec,
  { actor, role }: FastifyRequest,
  { audit }: Outcome<unknown>,
  atSeconds: number,
): Promise<void> {
  if (audit === 'nothing changed') return;
  const notes = (audit === undefined ? [] : [audit].flat()) as AuditNote[];
  if (notes.length === 0) throw new Error(`${route} does not say what it changed`);
  for (const { subject, reason, before, after } of notes) {
    await tables.audit.append({
      atSeconds,
      actor: actor.id,
      role,
      action: route,
      subject,
      reason: reason ?? null,
      beforeHash: hashRecord(before),
      afterHash: hashRecord(after),
    });
  }
}

/** SHA-256 of a record's canonical JSON; bytes in it count by their own SHA-256. */
export function hashRecord(record: object | undefined): string | null {
  if (record === undefined) return null;
  const text = JSON.stringify(record, (_key, value) =>
    value instanceof Uint8Array ? hashHex(value) : value?.type === 'Buffer' ? hashHex(Buffer.from(value.data)) : value,
  );
  return hashHex(composeCanonical(JSON.parse(text)));
}

/**
 * Composes the answer inside the transaction: one that is not of the form its route promises undoes the change, instead of
 * failing after it, and whoever sends the request again gets the same bytes. A body with a content type of its own is sent
 * as it is.
 */
function composeAnswer(spec: AnySpec, outcome: Outcome<unknown>): GivenAnswer {
  const { version, body } = outcome;
  const status = outcome.status ?? spec.status ?? (body === undefined ? 204 : 200);
  const headers: Record<string, string> = { 'cache-control': 'no-store' };
  if (version !== undefined) headers.etag = `"${version}"`;
  Object.assign(headers, outcome.headers);
  if (body === undefined || headers['content-type'] !== undefined) return { status, headers, body };
  headers['content-type'] = 'application/json; charset=utf-8';
  const isPromised = spec.response !== undefined && status < 300;
  return { status, headers, body: JSON.stringify(isPromised ? z.encode(spec.response!, body) : body) };
}

/** Sends an answer as it was composed. */
export function send(reply: FastifyReply, { status, headers, body }: GivenAnswer): FastifyReply {
  return reply.headers(headers).code(status).send(body);
}

function parseIfMatch(header: string | undefined): number | undefined {
  const [, version] = /^"(\d{1,15})"$/.exec(header ?? '') ?? [];
  if (version !== undefined) return Number(version);
  if (header === undefined || header === '*') return undefined;
  throw new WartaError('request-invalid', 'If-Match: give the ETag of the record as it was read, such as "3"');
}

/**
 * Requires that a record is the one the client read.
 *
 * @throws {WartaError} `version-required` without If-Match, `version-mismatch` when it changed since.
 */
export function requireMatch({ ifMatch }: { ifMatch?: number }, record: { version: number }): void {
  if (ifMatch === undefined) {
    throw new WartaError(
      'version-required',
      'give the ETag of what you read in If-Match, so that nobody overwrites another',
    );
  }
  if (ifMatch !== record.version) {
    throw new WartaError('version-mismatch', 'someone changed it since you read it: read it again');
  }
}

/**
 * Text that reads otherwise than it is: controls (but tab and line ends), marks that turn the direction of writing, other
 * line ends, and what shows nothing at all. The two joiners and the variation selectors stay: several scripts need them.
 */
const HIDDEN =
  /[[\p{Cc}--[\t\n\r]]\p{Bidi_Control}\p{Zl}\p{Zp}[\p{Default_Ignorable_Code_Point}--[\u200c\u200d\ufe00-\ufe0f]]\ufff9-\ufffb]/v;

/** Whether text reads otherwise than it is. */
export function hasHidden(text: string): boolean {
  return HIDDEN.test(text) || !text.isWellFormed();
}

const PATH_MAX_LENGTH = 100;

/**
 * Refuses text that reads otherwise than it is, wherever it comes in: in logs, in lists and on paper nobody would see it.
 *
 * @throws {WartaError} `request-invalid`.
 */
function refuseHidden(value: unknown, path: string): void {
  if (typeof value === 'string') {
    if (hasHidden(value)) {
      throw new WartaError('request-invalid', `${path}: has control characters, or characters that do not show`);
    }
  } else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    for (const [key, item] of Object.entries(value)) {
      refuseHidden(key, path);
      refuseHidden(item, `${path}.${key}`.slice(0, PATH_MAX_LENGTH));
    }
  }
}

/** Query of a list that comes in pages. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  /** The `next` of the page before. */
  cursor: z.string().min(1).max(300).optional(),
});

/**
 * Finds the record that a page goes on from.
 *
 * @throws {WartaError} `request-invalid` when it is not there.
 */
export async function findCursor<R extends { id: string }>(
  collection: Pick<Collection<R>, 'get'>,
  cursor: string | undefined,
): Promise<R | undefined> {
  const record = cursor === undefined ? undefined : await collection.get(cursor);
  if (cursor !== undefined && record === undefined) {
    throw new WartaError('request-invalid', 'cursor: give the next of the page before, or start anew without');
  }
  return record;
}

/** One page. `next` is the cursor of the page after it; absent on the last. */
export function pageOf<S extends z.ZodType>(item: S) {
  return z.object({ items: z.array(item), next: z.string().optional() });
}

/** Cuts a page out of one record more than was asked for, and says how to go on. */
export function cutPage<R extends { id: string }>(records: readonly R[], limit: number): { items: R[]; next?: string } {
  const items = records.slice(0, limit);
  return records.length > limit ? { items, next: items.at(-1)!.id } : { items };
}
