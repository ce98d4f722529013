import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { digest, instant, licenceNumber, slug } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import type { AddRoute } from '../http/route.ts';
import { requireLicensee } from '../nodes/own-licensee.ts';
import type { ControlServices } from '../services.ts';
import {
  type Compliance,
  type ComplianceNode,
  type ComplianceNotice,
  type ComplianceTimes,
  composeCompliance,
  describeScope,
} from './compliance.ts';
import { composeCsv, wantsCsv } from './csv.ts';
import { addMonths, month, monthOf, periodOf } from './months.ts';

/** Months of one export at most. */
const MONTHS_MAX = 24;

const count = z.int().min(0);
const seconds = z.number().min(0).optional();

/** What the figures of an export mean. */
const DEFINITIONS = {
  notices:
    'Notices addressed to the ISP that fell due in the period: when the register took them, or at their own start if later.',
  seconds:
    'From when a statement fell due until the first list with it came into use at a node, by the node’s signed receipt.',
  unblocking:
    'The same for the first statement that let the names resolve again: a stay, revocation, successor or exemption.',
  nodes: 'Nodes enrolled when the statement fell due. Missing ones have sent no receipt that covers it.',
  verified: 'Receipts that the register, replayed for that second, comes to the same list for.',
  held: 'Where a node held back: receipts while it only observed; most entries its guard-rails refused; most statements it took for void; receipts of lists with pages while it sent their hosts to no gateway.',
  pages:
    'Entries of an open notice that are for one page. They hold where hosts are sent to a gateway, and httpOnlyPages of them on HTTP alone.',
};

const timesSchema = z.object({
  dueAt: instant,
  nodes: count,
  missing: count,
  count,
  medianSeconds: seconds,
  worstSeconds: seconds,
});

const complianceSchema = z.object({
  licensee: z.object({ number: licenceNumber, name: z.string() }),
  from: month,
  to: month,
  asOf: instant,
  treeSize: count,
  definitions: z.record(z.string(), z.string()),
  notices: z.array(
    z.object({
      ...{ id: digest, authority: slug, reference: z.string(), instrument: slug, category: slug },
      ...{ sealed: z.boolean(), entries: count, pages: count.optional(), httpOnlyPages: count.optional() },
      ...{ integratedAt: instant, state: z.string() },
      blocking: timesSchema,
      unblocking: timesSchema.extend({ statement: digest, type: z.string(), reference: z.string() }).optional(),
    }),
  ),
  nodes: z.array(
    z.object({
      ...{ node: slug, enrolledAt: instant, revokedAt: instant.optional(), lastReceiptAt: instant.optional() },
      ...{ receipts: count, verified: count, notVerified: count },
      held: z.object({ observing: count, refusedEntries: count, rejectedStatements: count, pagesNotSteered: count }),
    }),
  ),
  exemptions: z.array(
    z.object({
      ...{ id: digest, authority: slug, reference: z.string(), scope: z.string(), from: instant, until: instant },
    }),
  ),
});

type ComplianceBody = z.input<typeof complianceSchema>;

/** Adds the export that an ISP publishes with its Online Safety Plan. */
export function addComplianceRoute(add: AddRoute, { register }: ControlServices): void {
  add({
    route: 'GET /v1/licensees/:number/compliance',
    summary: "Export an ISP's compliance: notices, time to effect both ways, exemptions, nodes",
    tag: 'Statistics',
    params: z.strictObject({ number: licenceNumber }),
    query: z.object({ from: month.optional(), to: month.optional(), format: z.enum(['json', 'csv']).optional() }),
    response: complianceSchema,
    async handle(call) {
      const { params, query, headers, tables, nowSeconds } = call;
      requireLicensee(call, params.number);
      const licensee = await tables.licensees.get(params.number);
      if (licensee === undefined) throw new WartaError('not-found', `there is no licensee ${params.number}`);
      const to = query.to ?? monthOf(nowSeconds);
      const from = query.from ?? addMonths(to, -11);
      if (from > to || addMonths(from, MONTHS_MAX) <= to) {
        throw new WartaError('request-invalid', `query: ask for 1 to ${MONTHS_MAX} months`);
      }
      const period = periodOf(from, to);
      const compliance = await composeCompliance(tables, register, { licensee: licensee.id, ...period }, nowSeconds);
      const asOf = formatInstant(nowSeconds);
      const about = { number: licensee.id, name: licensee.name };
      const body = { licensee: about, from, to, asOf, treeSize: register.size, ...describe(compliance) };
      if (!wantsCsv(query.format, headers.accept)) return { body };
      return { body: composeComplianceCsv(body) as never, headers: { 'content-type': 'text/csv; charset=utf-8' } };
    },
  });
}

function describe({ notices, nodes, exemptions }: Compliance) {
  return {
    definitions: DEFINITIONS,
    notices: notices.map(describeNotice),
    nodes: nodes.map(describeNode),
    exemptions: exemptions.flatMap((placed) => {
      const { id, statement } = placed.verified;
      if (statement.type !== 'exemption') return [];
      const { authority, reference, from, until } = statement;
      return [{ id, authority, reference, scope: describeScope(placed), from, until }];
    }),
  };
}

function describeTimes({ dueSeconds, nodes, missing, count: applied, medianSeconds, worstSeconds }: ComplianceTimes) {
  return { dueAt: formatInstant(dueSeconds), nodes, missing, count: applied, medianSeconds, worstSeconds };
}

function describeNotice({
  notice,
  standing,
  pages,
  blocking,
  unblocking,
}: ComplianceNotice): ComplianceBody['notices'][number] {
  const { id, statement, integratedAtSeconds } = notice.verified;
  const { authority, reference, instrument, category, annex } = statement;
  return {
    ...{ id, authority, reference, instrument, category, sealed: annex.sealed, entries: annex.entries },
    ...pages,
    integratedAt: formatInstant(integratedAtSeconds),
    state: standing.state,
    blocking: describeTimes(blocking),
    ...(unblocking && {
      unblocking: {
        ...describeTimes(unblocking),
        statement: unblocking.by.verified.id,
        type: unblocking.by.verified.statement.type,
        reference: unblocking.by.verified.statement.reference ?? '',
      },
    }),
  };
}

function describeNode({ node, lastSeconds, ...counts }: ComplianceNode): ComplianceBody['nodes'][number] {
  const { receipts, agreeing, disagreeing, observing, refusedEntries, rejectedStatements, pagesNotSteered } = counts;
  return {
    node: node.node,
    enrolledAt: formatInstant(node.enrolledSeconds),
    ...(node.revokedSeconds === null ? {} : { revokedAt: formatInstant(node.revokedSeconds) }),
    ...(lastSeconds === undefined ? {} : { lastReceiptAt: formatInstant(lastSeconds) }),
    ...{ receipts, verified: agreeing, notVerified: disagreeing },
    held: { observing, refusedEntries, rejectedStatements, pagesNotSteered },
  };
}

const HEADER = [
  ...['licensee', 'from', 'to', 'as_of', 'notice', 'authority', 'reference', 'instrument', 'category', 'sealed'],
  ...['entries', 'integrated_at', 'state', 'due_at', 'nodes', 'missing', 'median_seconds', 'worst_seconds'],
  ...['release', 'release_reference', 'release_due_at', 'release_nodes', 'release_missing', 'release_median_seconds'],
  ...['release_worst_seconds', 'seconds_definition', 'pages', 'http_only_pages'],
];

/** A line for each notice; nodes and exemptions are in the JSON. */
function composeComplianceCsv({ licensee, from, to, asOf, notices }: Omit<ComplianceBody, 'definitions'>): string {
  return composeCsv(
    HEADER,
    notices.map(({ blocking, unblocking, ...notice }) => [
      ...[licensee.number, from, to, asOf, notice.id, notice.authority, notice.reference, notice.instrument],
      ...[notice.category, notice.sealed, notice.entries, notice.integratedAt, notice.state],
      ...[blocking.dueAt, blocking.nodes, blocking.missing, blocking.medianSeconds, blocking.worstSeconds],
      ...[unblocking?.type, unblocking?.reference, unblocking?.dueAt, unblocking?.nodes, unblocking?.missing],
      ...[unblocking?.medianSeconds, unblocking?.worstSeconds, DEFINITIONS.seconds, notice.pages, notice.httpOnlyPages],
    ]),
  );
}
