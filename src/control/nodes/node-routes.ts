import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, licenceNumber, slug, text } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, cutPage, findCursor, pageOf, pageQuery } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { NodeRecord } from '../store.ts';
import { CODE_MAX_SECONDS, createEnrolmentCode, enrolNode, revokeNode } from './enrolment.ts';
import { addLicenseeRoutes } from './licensee-routes.ts';
import { boundLicensee, requireLicensee } from './own-licensee.ts';

const TAG = 'Licensees and nodes';
const HOUR_SECONDS = 3600;

/** Whoever guesses codes from one address gets nowhere, and a fleet behind one address gets its nodes in. */
const ENROLMENT_LIMIT = { max: 60, windowSeconds: 60 };

const publicKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/, 'expected a raw 32-byte Ed25519 key in base64');
const nodeParams = z.strictObject({ licensee: licenceNumber, node: slug });

const codeSchema = z.object({
  /** Shown this once. */
  code: z.string(),
  licensee: licenceNumber,
  node: slug,
  expiresAt: instant,
});

const nodeSchema = z.object({
  licensee: licenceNumber,
  node: slug,
  publicKey,
  state: z.enum(['enrolled', 'revoked']),
  enrolledBy: z.string(),
  enrolledAt: instant,
  revokedAt: instant.optional(),
  version: z.int(),
});

function describeNode({ licensee, node, publicKey, version, ...record }: NodeRecord) {
  const { enrolledBy, enrolledSeconds, revokedSeconds } = record;
  return {
    ...{ licensee, node, publicKey, version, enrolledBy },
    state: revokedSeconds === null ? ('enrolled' as const) : ('revoked' as const),
    enrolledAt: formatInstant(enrolledSeconds),
    ...(revokedSeconds === null ? {} : { revokedAt: formatInstant(revokedSeconds) }),
  };
}

/** Adds the routes of ISPs and their nodes. */
export function addNodeRoutes(add: AddRoute, services: ControlServices): void {
  addLicenseeRoutes(add);
  addCodeRoute(add, services);
  addEnrolmentRoute(add, services);
  addListRoutes(add);
  add({
    route: 'POST /v1/nodes/:licensee/:node/revoke',
    summary: 'Revoke a node: its receipts and credentials count no more',
    tag: TAG,
    params: nodeParams,
    body: z.strictObject({ reason: text(1000) }),
    response: nodeSchema,
    async handle(call) {
      const { params, body, tables, nowSeconds, ifMatch } = call;
      requireLicensee(call, params.licensee);
      const { before, after } = await revokeNode(tables, `${params.licensee}/${params.node}`, nowSeconds, ifMatch);
      call.afterCommit(() => services.nodes?.changed());
      return {
        body: describeNode(after),
        version: after.version,
        audit: { subject: `nodes/${after.id}`, reason: body.reason, before, after },
      };
    },
  });
}

function addCodeRoute(add: AddRoute, { random }: ControlServices): void {
  add({
    route: 'POST /v1/enrolment-codes',
    summary: 'Make a code that enrols one node once',
    tag: TAG,
    body: z.strictObject({
      /** An operator's own ISP unless given. */
      licensee: licenceNumber.optional(),
      node: slug,
      validHours: z
        .int()
        .min(1)
        .max(CODE_MAX_SECONDS / HOUR_SECONDS)
        .default(24),
    }),
    response: codeSchema,
    status: 201,
    async handle(call) {
      const { actor, body, tables, nowSeconds } = call;
      const licensee = body.licensee ?? boundLicensee(call);
      if (licensee === undefined) throw new WartaError('request-invalid', 'body.licensee: say whose node it is');
      requireLicensee(call, licensee);
      const terms = { licensee, node: body.node, createdBy: actor.id, nowSeconds };
      const validSeconds = body.validHours * HOUR_SECONDS;
      const { code, record } = await createEnrolmentCode(tables, { ...terms, validSeconds }, random);
      const expiresAt = formatInstant(record.expiresSeconds);
      return {
        body: { code, licensee, node: body.node, expiresAt },
        audit: { subject: `enrolment-codes/${record.id}`, after: record },
      };
    },
  });
}

function addEnrolmentRoute(add: AddRoute, services: ControlServices): void {
  add({
    route: 'POST /v1/nodes',
    summary: 'Enrol a node with the code of its operator and a proof of its key',
    tag: TAG,
    body: z.strictObject({
      code: z.string().min(1).max(100),
      publicKey,
      /** Signature of the code by the node's key, as `warta resolver enrol` makes it; base64. */
      proof: z.string().regex(/^[A-Za-z0-9+/]{86}==$/, 'expected an Ed25519 signature in base64'),
      /** What the node's configuration says; refused when the code is for another. */
      licensee: licenceNumber.optional(),
      node: slug.optional(),
    }),
    response: nodeSchema.extend({ origin: z.string() }),
    status: 201,
    limit: ENROLMENT_LIMIT,
    async handle({ body, tables, nowSeconds, afterCommit }) {
      const { before, after } = await enrolNode(tables, body, nowSeconds);
      afterCommit(() => services.nodes?.changed());
      return {
        body: { ...describeNode(after), origin: services.origin },
        version: after.version,
        audit: { subject: `nodes/${after.id}`, reason: `code of ${after.enrolledBy}`, before, after },
      };
    },
  });
}

function addListRoutes(add: AddRoute): void {
  add({
    route: 'GET /v1/nodes',
    summary: 'List nodes',
    tag: TAG,
    query: pageQuery.extend({ licensee: licenceNumber.optional() }),
    response: pageOf(nodeSchema),
    async handle(call) {
      const { limit, cursor, licensee = boundLicensee(call) } = call.query;
      if (licensee !== undefined) requireLicensee(call, licensee);
      const records = await call.tables.nodes.list({
        where: licensee === undefined ? {} : { licensee },
        after: await findCursor(call.tables.nodes, cursor),
        limit: limit + 1,
      });
      const { items, next } = cutPage(records, limit);
      return { body: { items: items.map(describeNode), next } };
    },
  });
  add({
    route: 'GET /v1/nodes/:licensee/:node',
    summary: 'Show a node',
    tag: TAG,
    params: nodeParams,
    response: nodeSchema,
    async handle(call) {
      const { licensee, node } = call.params;
      requireLicensee(call, licensee);
      const record = await call.tables.nodes.get(`${licensee}/${node}`);
      if (record === undefined) throw new WartaError('not-found', `there is no node ${licensee}/${node}`);
      return { body: describeNode(record), version: record.version };
    },
  });
}
