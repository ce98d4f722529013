import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { STATEMENT_TYPES } from '../../register/authorities.ts';
import { digest, instant, licenceNumber, slug } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, cutPage, findCursor, pageOf, pageQuery } from '../http/route.ts';
import { listAll } from '../nodes/list-all.ts';
import { boundLicensee, requireLicensee } from '../nodes/own-licensee.ts';
import type { ControlServices } from '../services.ts';
import type { ReceiptRecord } from '../store.ts';
import { Turns } from '../view/turns.ts';
import { EffectBook, type EffectTimes, PERIOD_DAYS } from './effect-book.ts';
import { findNodeState, type NodeState, SILENT_MINUTES } from './node-state.ts';
import { findStatementEffect, type NodeEffect } from './statement-effect.ts';

const TAG = 'Effect';

const seconds = z.number().min(0);

const rejectedSchema = z.array(z.object({ statement: z.string(), code: z.string(), reason: z.string() }));

/** What a node says of listed pages; absent when its list has none. */
const pagesSchema = z.object({
  /** Entries that list a page, and those of them that hold on HTTP alone. */
  entries: z.int(),
  httpOnly: z.int(),
  /** Whether the node sends their hosts to a gateway; without that it blocks none of them. */
  steered: z.boolean(),
});

const timesSchema = z.object({
  /** Statements that fell due in the period and concern the ISP. */
  statements: z.int(),
  /** Pairs of a statement and a node that applied it, and the times that took. */
  count: z.int(),
  medianSeconds: seconds.optional(),
  worstSeconds: seconds.optional(),
  /** Pairs of a statement and a node that has not applied it yet. */
  pending: z.int(),
  longestPendingSeconds: seconds.optional(),
});

const nodeSchema = z.object({
  node: slug,
  lastReceiptAt: instant.optional(),
  treeSize: z.int().optional(),
  /** Leaves of the log that the node had not applied. */
  lag: z.int(),
  silent: z.boolean(),
  mode: z.string().optional(),
  rules: z.int().optional(),
  /** Whether the register replayed comes to the list that the node says it applied. */
  verified: z.boolean().optional(),
  /** Statements that the node takes for void, and entries that its guard-rails refuse. */
  rejected: rejectedSchema,
  refusedEntries: z.int(),
  pages: pagesSchema.optional(),
});

const effectSchema = z.object({
  asOf: instant,
  treeSize: z.int(),
  periodDays: z.int(),
  silentMinutes: z.int(),
  licensees: z.array(
    z.object({
      number: licenceNumber,
      name: z.string().optional(),
      nodes: z.array(nodeSchema),
      blocking: timesSchema,
      unblocking: timesSchema,
    }),
  ),
});

const statementSchema = z.object({
  id: digest,
  type: z.enum(STATEMENT_TYPES),
  authority: slug,
  reference: z.string(),
  integratedAt: instant,
  /** When it should have had its effect: at its integration, or its own start if that is later. */
  dueAt: instant,
  count: z.int(),
  medianSeconds: seconds.optional(),
  worstSeconds: seconds.optional(),
  nodes: z.array(
    z.object({
      licensee: licenceNumber,
      node: slug,
      appliedAt: instant.optional(),
      verified: z.boolean().optional(),
      removedAt: instant.optional(),
      seconds: seconds.optional(),
      /** Of a notice with pages: whether the node, as of its last receipt, sends their hosts to a gateway. */
      pagesSteered: z.boolean().optional(),
    }),
  ),
  /** Of an open notice with pages: how many there are, and how many of them hold on HTTP alone. */
  pages: pagesSchema.omit({ steered: true }).optional(),
  /** Nodes that were there when it was due and have not applied it. */
  missing: z.array(z.object({ licensee: licenceNumber, node: slug })),
  lagging: z.array(licenceNumber),
});

const receiptSchema = z.object({
  /** Where the signed receipt lies in the register's tree. */
  path: z.string(),
  licensee: licenceNumber,
  node: slug,
  appliedAt: instant,
  receivedAt: instant,
  foldedAt: instant,
  treeSize: z.int(),
  rules: z.int(),
  rulesDigest: digest,
  mode: z.string(),
  rejected: rejectedSchema,
  refusedEntries: z.int(),
  pages: pagesSchema.optional(),
  verified: z.boolean().optional(),
});

const NO_TIMES: EffectTimes = { statements: 0, count: 0, pending: 0 };

/** Adds the routes that show what reached resolvers. */
export function addEffectRoutes(add: AddRoute, services: ControlServices): void {
  addEffectRoute(add, services);
  addStatementRoute(add, services);
  addReceiptsRoute(add);
}

function addEffectRoute(add: AddRoute, { register }: ControlServices): void {
  const book = new EffectBook(register);
  add({
    route: 'GET /v1/effect',
    summary: 'Show for each ISP what its nodes applied, and how long that took',
    tag: TAG,
    query: z.object({
      licensee: licenceNumber.optional(),
      silentMinutes: z.coerce.number().int().min(1).max(100_000).default(SILENT_MINUTES),
    }),
    response: effectSchema,
    async handle(call) {
      const { tables, nowSeconds, query } = call;
      const { licensee = boundLicensee(call), silentMinutes } = query;
      if (licensee !== undefined) requireLicensee(call, licensee);
      const times = await book.measure(tables, nowSeconds);
      const where = { revokedSeconds: null, ...(licensee === undefined ? {} : { licensee }) };
      const nodes = Map.groupBy(await listAll(tables.nodes, { where }), (node) => node.licensee);
      const licensees = [];
      const turns = new Turns();
      for (const [number, own] of nodes) {
        const states: NodeState[] = [];
        for (const node of own) states.push(await findNodeState(tables, register, node, nowSeconds, silentMinutes));
        await turns.share();
        const { blocking = NO_TIMES, unblocking = NO_TIMES } = times.get(number) ?? {};
        const name = (await tables.licensees.get(number))?.name;
        licensees.push({ number, name, nodes: states.map(describeState), blocking, unblocking });
      }
      const asOf = formatInstant(nowSeconds);
      return { body: { asOf, treeSize: register.size, periodDays: PERIOD_DAYS, silentMinutes, licensees } };
    },
  });
}

function describeState({ node, last, lag, isSilent }: NodeState): z.input<typeof nodeSchema> {
  const common = { node: node.node, lag, silent: isSilent };
  if (last === undefined) return { ...common, rejected: [], refusedEntries: 0 };
  const { treeSize, mode, rules, agrees, rejected, refusedEntries, pages } = last;
  return {
    ...{ ...common, treeSize, mode, rules, refusedEntries },
    lastReceiptAt: formatInstant(last.appliedSeconds),
    rejected: rejected as z.input<typeof rejectedSchema>,
    ...(pages === null ? {} : { pages }),
    ...(agrees === null ? {} : { verified: agrees }),
  };
}

function addStatementRoute(add: AddRoute, { register }: ControlServices): void {
  add({
    route: 'GET /v1/effect/statements/:id',
    summary: 'Show where a statement has had its effect, and when',
    tag: TAG,
    params: z.strictObject({ id: digest }),
    query: z.object({ licensee: licenceNumber.optional() }),
    response: statementSchema,
    async handle(call) {
      const { tables, nowSeconds, params, query } = call;
      const { licensee = boundLicensee(call) } = query;
      if (licensee !== undefined) requireLicensee(call, licensee);
      const placed = register.find(params.id);
      if (placed === undefined) throw new WartaError('not-found', `the register has no statement ${params.id}`);
      const { id, statement, integratedAtSeconds } = placed.verified;
      const { dueSeconds, nodes, lagging, pages, ...summary } = await findStatementEffect(
        ...([tables, register, placed, nowSeconds, licensee] as const),
      );
      return {
        body: {
          ...{ id, type: statement.type, authority: statement.authority, reference: statement.reference ?? '' },
          integratedAt: formatInstant(integratedAtSeconds),
          dueAt: formatInstant(dueSeconds),
          ...summary,
          ...(pages === undefined ? {} : { pages: { entries: pages.pages, httpOnly: pages.httpOnlyPages } }),
          nodes: nodes.map(describeEffect),
          missing: nodes.filter(({ isMissing }) => isMissing).map(({ licensee, node }) => ({ licensee, node })),
          lagging: [...lagging],
        },
      };
    },
  });
}

function describeEffect({
  licensee,
  node,
  appliedSeconds,
  removedSeconds,
  verified,
  seconds,
  pagesSteered,
}: NodeEffect) {
  return {
    ...{ licensee, node, verified, seconds, pagesSteered },
    ...(appliedSeconds === undefined ? {} : { appliedAt: formatInstant(appliedSeconds) }),
    ...(removedSeconds === undefined ? {} : { removedAt: formatInstant(removedSeconds) }),
  };
}

function addReceiptsRoute(add: AddRoute): void {
  add({
    route: 'GET /v1/receipts',
    summary: 'List receipts, the newest first',
    tag: TAG,
    query: pageQuery.extend({ licensee: licenceNumber.optional(), node: slug.optional() }),
    response: pageOf(receiptSchema),
    async handle(call) {
      const { tables, query } = call;
      const { limit, cursor, node, licensee = boundLicensee(call) } = query;
      if (licensee !== undefined) requireLicensee(call, licensee);
      if (node !== undefined && licensee === undefined) {
        throw new WartaError('request-invalid', 'query.node: give the licensee too, as its name is unique there only');
      }
      const own = licensee === undefined ? {} : { licensee };
      const records = await tables.receipts.list({
        where: node === undefined ? own : { nodeId: `${licensee}/${node}` },
        orderBy: 'appliedSeconds',
        descending: true,
        after: await findCursor(tables.receipts, cursor),
        limit: limit + 1,
      });
      const { items, next } = cutPage(records, limit);
      return { body: { items: items.map(describeReceipt), next } };
    },
  });
}

function describeReceipt(record: ReceiptRecord): z.input<typeof receiptSchema> {
  const { id, nodeId, licensee, treeSize, rules, rulesDigest, mode, rejected, refusedEntries, agrees, pages } = record;
  return {
    ...{ path: id, licensee, treeSize, rules, rulesDigest, mode, refusedEntries },
    node: nodeId.slice(licensee.length + 1),
    appliedAt: formatInstant(record.appliedSeconds),
    receivedAt: formatInstant(record.receivedSeconds),
    foldedAt: formatInstant(record.foldedSeconds),
    ...(pages === null ? {} : { pages }),
    rejected: rejected as z.input<typeof rejectedSchema>,
    ...(agrees === null ? {} : { verified: agrees }),
  };
}
