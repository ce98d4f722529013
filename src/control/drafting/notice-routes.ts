import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { reference, slug, text } from '../../register/fields.ts';
import type { Actor } from '../access/roles.ts';
import { type AddRoute, cutPage, requireMatch } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { AnnexRecord, DraftRecord, Tables } from '../store.ts';
import { findDraft, findOwnDraft, requireDrafter, requireSight, requireState } from './draft-access.ts';
import { keepReport, overrideCheck } from './draft-approval.ts';
import { approvalsNeeded, overriddenIn, prepareStep, requireReport } from './draft-preflight.ts';
import { createDraft, removeAnnex } from './draft-record.ts';
import { answerStep, draftParams, matchIfGiven } from './draft-routes.ts';
import { draftSchema, type PreflightReport, reportSchema } from './draft-view.ts';
import { previewEntries, previewSchema } from './entries/annex-pages.ts';
import { UPLOAD_MAX_BYTES } from './entries/compose-entries.ts';
import type { EntryComposer } from './entries/entry-composer.ts';
import { ENTRY_TYPES, type EntryType } from './entries/read-entries.ts';
import { findRefusals } from './preflight/run-preflight.ts';
import { prepareRenewal } from './renewal.ts';

/** Entries that the answer to an upload shows. */
const PREVIEW_ENTRIES = 100;

const SEED_BYTES = 32;
const TAG = 'notices';

const uploadSchema = z.object({
  digest: z.string(),
  entries: z.number(),
  sizeBytes: z.number(),
  /** The first hundred, in order of their ids. */
  preview: z.array(previewSchema),
});

const preflightSchema = reportSchema.extend({
  approvalsNeeded: z.number(),
  /** Whether it would be refused at its last approval. */
  refused: z.boolean(),
});

/** Entries are counted, so a cursor is a place. */
const entriesQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z
    .string()
    .regex(/^\d{1,7}$/)
    .optional(),
});

/** Adds the routes that only drafts of notices have. */
export function addNoticeRoutes(add: AddRoute, services: ControlServices, composer: EntryComposer): void {
  addEntryRoutes(add, services, composer);
  addPreflightRoutes(add, services);
  addRenewal(add, services, composer);
}

function addEntryRoutes(add: AddRoute, services: ControlServices, composer: EntryComposer): void {
  add({
    route: 'PUT /v1/notices/:id/entries',
    summary:
      'Upload the names and pages: CSV with a header line (name, scope, action, query, exclude, expires, id), one a line, or JSON',
    tag: TAG,
    params: draftParams,
    raw: { types: ENTRY_TYPES, maxBytes: UPLOAD_MAX_BYTES },
    response: uploadSchema,
    async prepare(call) {
      // Whoever may not change the draft does not make the server read a long list either.
      await services.store.read(async (tables) => requireOpenDraft(tables, call, call.params.id));
      const seed = services.random(SEED_BYTES);
      const bytes = (call.body as Buffer | null | undefined) ?? Buffer.alloc(0);
      return composer.compose({ bytes, type: parseType(call.headers['content-type']), seed });
    },
    async handle(call, { bytes, digest, entries }) {
      const { tables, nowSeconds } = call;
      const draft = await requireOpenDraft(tables, call, call.params.id);
      const annex: AnnexRecord = { id: digest, entries, sizeBytes: bytes.length, bytes, createdSeconds: nowSeconds };
      await tables.annexes.insert(annex);
      const changes = { annexDigest: digest, preflight: null, overrides: [], updatedSeconds: nowSeconds };
      const after = await tables.drafts.update(draft.id, changes, draft.version);
      await removeAnnex(tables, draft.annexDigest);
      const preview = previewEntries(bytes, 0, PREVIEW_ENTRIES);
      return {
        body: { digest, entries, sizeBytes: bytes.length, preview },
        version: after.version,
        audit: { subject: `drafts/${draft.id}`, before: draft, after },
      };
    },
  });

  add({
    route: 'GET /v1/notices/:id/entries',
    summary: 'The names of a draft, in order of their ids',
    tag: TAG,
    params: draftParams,
    query: entriesQuery,
    response: z.object({ items: z.array(previewSchema), next: z.string().optional() }),
    async handle({ tables, actor, params, query: { limit, cursor = '0' } }) {
      const draft = await findDraft(tables, 'notice', params.id, actor);
      const { bytes } = await requireAnnex(tables, draft, actor);
      const from = Number(cursor);
      const { items, next } = cutPage(previewEntries(bytes, from, limit + 1), limit);
      return { body: { items, ...(next !== undefined && { next: String(from + limit) }) }, version: draft.version };
    },
  });

  add({
    route: 'GET /v1/notices/:id/annex',
    summary: 'The annex file as it will be published, which whoever signs should look at',
    tag: TAG,
    params: draftParams,
    async handle({ tables, actor, params }) {
      const draft = await findDraft(tables, 'notice', params.id, actor);
      const { bytes } = await requireAnnex(tables, draft, actor);
      const headers = { 'content-type': 'application/jsonl' };
      return { body: Buffer.from(bytes), version: draft.version, headers };
    },
  });
}

/** Finds a draft whose names the actor may replace. */
async function requireOpenDraft(
  tables: Tables,
  call: { actor: Actor; ifMatch?: number },
  id: string,
): Promise<DraftRecord> {
  const draft = await findOwnDraft(tables, 'notice', id, call.actor);
  requireMatch(call, draft);
  requireDrafter(call.actor, draft);
  requireState(draft, 'given names', 'draft');
  return draft;
}

/** How an upload is written. */
function parseType(header: string | string[] | undefined): EntryType {
  const [type, ...parameters] = String(header).toLowerCase().split(';');
  const charset = parameters
    .map((one) => /^\s*charset="?([^"]*)"?\s*$/.exec(one)?.[1])
    .find((one) => one !== undefined);
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8') {
    throw new WartaError('request-invalid', 'content-type: send the names in UTF-8');
  }
  const known = ENTRY_TYPES.find((one) => one === type!.trim());
  if (known === undefined) throw new WartaError('request-invalid', `content-type: one of ${ENTRY_TYPES.join(', ')}`);
  return known;
}

async function requireAnnex(tables: Tables, draft: DraftRecord, actor: Actor): Promise<AnnexRecord> {
  requireSight(actor, draft);
  const annex = draft.annexDigest === null ? undefined : await tables.annexes.get(draft.annexDigest);
  if (annex === undefined) throw new WartaError('not-found', 'no names are listed: upload them');
  return annex;
}

function addPreflightRoutes(add: AddRoute, services: ControlServices): void {
  add({
    route: 'POST /v1/notices/:id/preflight',
    summary: 'Look a draft over; with askNames also ask the resolver whether its names exist',
    tag: TAG,
    params: draftParams,
    body: z.union([z.strictObject({ askNames: z.boolean().optional() }), z.null()]).optional(),
    response: preflightSchema,
    prepare: ({ actor, nowSeconds, params, body }) =>
      prepareStep(services, {
        type: 'notice',
        id: params.id,
        actor,
        nowSeconds,
        preflight: true,
        askNames: body?.askNames,
      }),
    async handle(call, readiness) {
      const { tables, actor, params } = call;
      const draft = await findDraft(tables, 'notice', params.id, actor);
      matchIfGiven(call, draft);
      if (actor.authority !== draft.authority) {
        // An auditor's look leaves no trace in the draft.
        requireState(draft, 'looked over', 'draft', 'proposed');
        const report = requireReport(readiness, draft);
        return { body: composeReport(report, draft), version: draft.version, audit: 'nothing changed' };
      }
      const after = await keepReport(call, draft, readiness);
      return {
        body: composeReport(readiness.report!, after),
        version: after.version,
        audit: { subject: `drafts/${draft.id}`, before: draft, after },
      };
    },
  });

  add({
    route: 'POST /v1/notices/:id/overrides',
    summary: 'Override the refusals of one check, with a reason that everyone can read in the signed notice',
    tag: TAG,
    params: draftParams,
    body: z.strictObject({ check: slug, reason: text(1000) }),
    response: draftSchema,
    prepare: ({ actor, nowSeconds, params }) =>
      prepareStep(services, { type: 'notice', id: params.id, actor, nowSeconds, preflight: true }),
    async handle(call, readiness) {
      const draft = await findOwnDraft(call.tables, 'notice', call.params.id, call.actor);
      matchIfGiven(call, draft);
      const after = await overrideCheck(call, draft, call.body, readiness);
      return answerStep(call.actor, draft, after, readiness, call.body.reason);
    },
  });
}

function composeReport(report: PreflightReport, draft: DraftRecord): z.input<typeof preflightSchema> {
  const refused = findRefusals(report.findings, overriddenIn(draft)).length > 0;
  return { ...report, approvalsNeeded: approvalsNeeded(report, draft), refused };
}

function addRenewal(add: AddRoute, services: ControlServices, composer: EntryComposer): void {
  add({
    route: 'POST /v1/notices/:id/renew',
    summary: 'Draft the renewal of a published notice: the same names with new salts, dates to be decided anew',
    tag: TAG,
    params: draftParams,
    body: z.strictObject({ reference }),
    response: draftSchema,
    status: 201,
    async prepare({ actor, nowSeconds, params }) {
      await services.register.catchUp();
      const { draft, annex } = await services.store.read(async (tables) => {
        const found = await findOwnDraft(tables, 'notice', params.id, actor);
        const digest = found.annexDigest;
        return { draft: found, annex: digest === null ? undefined : await tables.annexes.get(digest) };
      });
      return prepareRenewal(services, composer, draft, annex, nowSeconds);
    },
    async handle({ tables, actor, body }, { body: fields, sealed, annex }) {
      const draft = await createDraft(tables, services, actor, {
        type: 'notice',
        sealed,
        body: { ...fields, reference: body.reference },
      });
      await tables.annexes.insert(annex);
      const after = await tables.drafts.update(draft.id, { annexDigest: annex.id });
      const headers = { location: `/v1/notices/${draft.id}` };
      return { ...answerStep(actor, undefined, after), status: 201, headers };
    },
  });
}
