import { hash } from 'node:crypto';
import { z } from 'zod';
import { PAYLOAD_TYPE } from '../../register/envelope.ts';
import { instant, slug, text } from '../../register/fields.ts';
import { STATEMENT_MAX_BYTES } from '../../register/statement.ts';
import { secondsOf } from '../../register/time.ts';
import type { RouteName } from '../access/permissions.ts';
import type { Actor } from '../access/roles.ts';
import { type AddRoute, cutPage, findCursor, type Outcome, pageOf, pageQuery, requireMatch } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import { DRAFT_STATES, type DraftRecord, type ListQuery } from '../store.ts';
import { authorityOf, findDraft, findOwnDraft, requireState, seesSealed } from './draft-access.ts';
import { approveDraft, proposeDraft, returnDraft } from './draft-approval.ts';
import { COLLECTIONS, createSchemaOf, type DraftCollection, patchSchemaOf, splitInput } from './draft-body.ts';
import { prepareStep, type Readiness } from './draft-preflight.ts';
import { attachSignatures, publishDraft, signaturesNeeded } from './draft-publication.ts';
import { createDraft, editDraft, type Step, withdrawDraft } from './draft-record.ts';
import { composeSummary, composeView, draftSchema, summarySchema } from './draft-view.ts';

/** The path of one draft. */
export const draftParams = z.object({ id: z.string().min(1).max(64) });

const listQuery = pageQuery.extend({
  state: z.enum(DRAFT_STATES).optional(),
  reference: z.string().max(120).optional(),
  /** Only what changed at or after this time. */
  updatedSince: instant.optional(),
  /** For auditors, who see every authority's. */
  authority: slug.optional(),
});

/** A body with nothing in it, or none. */
const nothing = z.union([z.strictObject({}), z.null()]).optional();
const optionalReason = z.union([z.strictObject({ reason: text(1000).optional() }), z.null()]).optional();

const signature = z.strictObject({ keyid: z.string().max(200).optional(), sig: z.string().max(200) });
const signatureBody = z.union([
  signature.describe('A signature over the pre-authentication encoding of the payload, in base64'),
  z
    .strictObject({
      payloadType: z.string().max(200),
      payload: z.string().max(STATEMENT_MAX_BYTES),
      signatures: z.array(signature).min(1).max(16),
    })
    .describe('A DSSE envelope as `warta notice sign` writes it; its payload must be the same bytes'),
]);

/** Who looks at what, for an answer. */
export function viewTerms(actor: Actor, draft: DraftRecord, readiness?: Readiness) {
  return {
    seesSealed: seesSealed(actor, draft),
    signaturesNeeded: readiness && signaturesNeeded(draft, readiness),
  };
}

/** Composes the answer to a step that changed a draft. */
export function answerStep(
  actor: Actor,
  before: DraftRecord | undefined,
  after: DraftRecord,
  readiness?: Readiness,
  reason?: string,
): Outcome<z.input<typeof draftSchema>> {
  return {
    body: composeView(after, viewTerms(actor, after, readiness)),
    version: after.version,
    audit: { subject: `drafts/${after.id}`, before, after, reason },
  };
}

/** Requires the version that was read, when one is given. */
export function matchIfGiven(call: { ifMatch?: number }, draft: DraftRecord): void {
  if (call.ifMatch !== undefined) requireMatch(call, draft);
}

/** What tells one step of a draft's life from another. */
interface StepSpec<B extends z.ZodType> {
  readonly path: string;
  readonly summary: string;
  readonly body: B;
  /** Whether a notice is looked over before it. */
  readonly preflight?: boolean;
  /** Whether it must say which version it is about: who approves has read just that one. */
  readonly needsMatch?: boolean;
  act(
    step: Step & { readonly body: z.output<B>; afterCommit(act: () => void): void },
    draft: DraftRecord,
    readiness: Readiness,
  ): Promise<DraftRecord>;
}

/** Adds the routes that drafts of every type have. */
export function addDraftRoutes(add: AddRoute, services: ControlServices, collection: DraftCollection): void {
  const type = COLLECTIONS[collection];
  const route = (method: 'GET' | 'POST' | 'PATCH', path = '') => `${method} /v1/${collection}${path}` as RouteName;
  const tag = collection;

  add({
    route: route('GET'),
    summary: `List drafts of ${collection}, newest first`,
    tag,
    query: listQuery,
    response: pageOf(summarySchema),
    async handle({ tables, actor, query }) {
      const { state, reference, updatedSince, limit, cursor } = query;
      const authority = actor.roles.has('auditor') ? query.authority : authorityOf(actor);
      const where: ListQuery<DraftRecord>['where'] = {
        type,
        ...(authority !== undefined && { authority }),
        ...(state !== undefined && { state }),
        ...(reference !== undefined && { reference }),
        ...(updatedSince !== undefined && { updatedSeconds: { from: secondsOf(updatedSince) } }),
      };
      const after = await findCursor(tables.drafts, cursor);
      const records = await tables.drafts.list({ where, orderBy: 'id', descending: true, after, limit: limit + 1 });
      const page = cutPage(records, limit);
      return { body: { ...page, items: page.items.map(composeSummary) } };
    },
  });

  add({
    route: route('POST'),
    summary: `Open a draft of a ${type}`,
    tag,
    body: createSchemaOf(type),
    response: draftSchema,
    status: 201,
    async handle({ tables, actor, body }) {
      const { reference, sealed, body: fields } = splitInput(body);
      const draft = await createDraft(tables, services, actor, {
        type,
        sealed,
        body: { ...fields, reference: reference! },
      });
      const headers = { location: `/v1/${collection}/${draft.id}` };
      return { ...answerStep(actor, undefined, draft), status: 201, headers };
    },
  });

  add({
    route: route('GET', '/:id'),
    summary: `Read a draft of a ${type}`,
    tag,
    params: draftParams,
    response: draftSchema,
    prepare: ({ nowSeconds }) => services.trust.read(nowSeconds).catch(() => undefined),
    async handle({ tables, actor, params }, trust) {
      const draft = await findDraft(tables, type, params.id, actor);
      const terms = viewTerms(actor, draft, trust && { trust });
      return { body: composeView(draft, terms), version: draft.version };
    },
  });

  add({
    route: route('PATCH', '/:id'),
    summary: `Change a draft of a ${type}: each key replaces the one that was there, null takes it out`,
    tag,
    params: draftParams,
    body: patchSchemaOf(type),
    response: draftSchema,
    async handle(call) {
      const draft = await findOwnDraft(call.tables, type, call.params.id, call.actor);
      requireMatch(call, draft);
      return answerStep(call.actor, draft, await editDraft(call, draft, splitInput(call.body)));
    },
  });

  add({
    route: route('GET', '/:id/payload'),
    summary: 'The exact bytes to sign',
    tag,
    params: draftParams,
    async handle({ tables, actor, params }) {
      const draft = await findDraft(tables, type, params.id, actor);
      requireState(draft, 'signed', 'approved', 'queued', 'published');
      const payload = Buffer.from(draft.payload!);
      const digest = hash('sha256', payload, 'base64');
      const headers = { 'content-type': PAYLOAD_TYPE, 'content-digest': `sha-256=:${digest}:` };
      return { body: payload, version: draft.version, headers };
    },
  });

  const addStep = <B extends z.ZodType>({ path, summary, body, preflight, needsMatch, act }: StepSpec<B>) =>
    add({
      route: route('POST', `/:id/${path}`),
      summary,
      tag,
      params: draftParams,
      body,
      response: draftSchema,
      prepare: ({ actor, nowSeconds, params }) =>
        prepareStep(services, { type, id: params.id, actor, nowSeconds, preflight }),
      async handle(call, readiness) {
        const draft = await findOwnDraft(call.tables, type, call.params.id, call.actor);
        if (needsMatch) requireMatch(call, draft);
        else matchIfGiven(call, draft);
        const after = await act(call, draft, readiness);
        const reason = (call.body as { reason?: string } | null | undefined)?.reason;
        return answerStep(call.actor, draft, after, readiness, reason);
      },
    });

  addStep({
    path: 'withdraw',
    summary: 'End a draft',
    body: optionalReason,
    act: (step, draft) => withdrawDraft(step, draft),
  });
  addStep({
    path: 'propose',
    summary: 'Put a draft before whoever approves it',
    body: nothing,
    preflight: true,
    act: (step, draft, readiness) => proposeDraft(step, draft, readiness, services.register),
  });
  addStep({
    path: 'approve',
    summary: 'Approve a draft as it was read; the last approval fixes the bytes to sign',
    body: nothing,
    preflight: true,
    needsMatch: true,
    act: (step, draft, readiness) => approveDraft(step, draft, readiness, services.register),
  });
  addStep({
    path: 'return',
    summary: 'Send a draft back: approvals, overrides and signatures are gone',
    body: z.strictObject({ reason: text(1000) }),
    act: (step, draft) => returnDraft(step, draft),
  });
  addStep({
    path: 'signatures',
    summary: 'Attach a signature, or those of an envelope; `signaturesMissing` says how many are still needed',
    body: signatureBody,
    act: (step, draft, readiness) => attachSignatures(step, draft, step.body, readiness),
  });
  addStep({
    path: 'publish',
    summary: 'Hand the signed statement over to the log',
    body: nothing,
    async act(step, draft, readiness) {
      const queued = await publishDraft(step, draft, readiness, services.register);
      step.afterCommit(() => services.publications.wake());
      return queued;
    },
  });
}
