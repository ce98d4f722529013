import type { z } from 'zod';
import { ANYONE } from '../../access/roles.ts';
import type { AddRoute, Call, RefusedCall } from '../../http/route.ts';
import type { ControlServices } from '../../services.ts';
import type { AppealRecord, Tables } from '../../store.ts';
import { readAppeal, readPack, subjectOf } from '../appeal-desk.ts';
import { SECRET_HEADER } from '../appeal-secret.ts';
import { viewAppeal } from '../appeal-view.ts';
import { identifyViewer, MESSAGE_LIMIT, postMessage, withdrawAppeal } from '../appellant-acts.ts';
import { answerPage } from './page-frame.ts';
import { createKey, languageOf, PAGE } from './page-request.ts';
import { type TextKey, textsOf } from './page-text.ts';
import { findStatusFaults, lookFields, messageFields, STATUS_MAX_BYTES, withdrawFields } from './status-fields.ts';
import { composeDonePage, composeLookPage, composeStatusPage, type OwnAppeal, type StatusForm } from './status-page.ts';

/** What proves that an appeal is one's own. */
type Credentials = z.output<typeof lookFields>;

type AnyCall = Pick<Call<unknown, unknown, unknown>, 'headers' | 'query' | 'fields'>;

/** A form with a message of 4000 characters, or with none. */
const FORM = { maxBytes: STATUS_MAX_BYTES };

/** Adds the pages on which an appellant follows her appeal. Reference and secret are sent in forms: a URL is kept and shown. */
export function addStatusPages(add: AddRoute, services: ControlServices): void {
  addLook(add, services);
  addActs(add, services);
}

function describePage(services: ControlServices, heading: TextKey, schema: z.ZodType) {
  return { ...PAGE, page: { refuse: (refused: RefusedCall) => refuse(services, refused, heading, schema) } };
}

function addLook(add: AddRoute, services: ControlServices): void {
  const page = describePage(services, 'faultsStatus', lookFields);
  // A form leaves its address in the browser, which may ask for that again.
  for (const route of ['GET /appeal/status', 'GET /appeal/message', 'GET /appeal/withdraw'] as const) {
    add({
      ...page,
      route,
      summary: 'The form to follow an appeal with',
      storeless: true,
      handle: async (call) => answerPage(composeLookPage(composeState(services, call))),
    });
  }
  add({
    ...page,
    route: 'POST /appeal/status',
    summary: 'An appeal as its appellant sees it',
    form: FORM,
    body: lookFields,
    changesNothing: true,
    handle: async (call) => {
      const own = await openOwn(call.tables, services, call.body, call.nowSeconds);
      return answerPage(composeStatusPage(own, composeState(services, call)));
    },
  });
}

function addActs(add: AddRoute, services: ControlServices): void {
  add({
    ...describePage(services, 'faultsMessage', messageFields),
    route: 'POST /appeal/message',
    summary: 'Write in an appeal as its appellant',
    form: FORM,
    body: messageFields,
    limit: MESSAGE_LIMIT,
    prepare: readPack(services),
    handle: async (call, pack) => {
      const { tables, nowSeconds, body } = call;
      const appeal = await readOwn(tables, body);
      const by = { actor: ANYONE, viewer: 'appellant' } as const;
      await postMessage({ tables, nowSeconds, pack, services }, appeal, by, { text: body.text });
      const page = composeDonePage(proofOf(body), 'messageSent', composeState(services, call));
      return { ...answerPage(page), audit: { subject: `${subjectOf(appeal)}/messages` } };
    },
  });
  add({
    ...describePage(services, 'faultsWithdraw', withdrawFields),
    route: 'POST /appeal/withdraw',
    summary: 'Withdraw an appeal as its appellant',
    form: FORM,
    body: withdrawFields,
    prepare: readPack(services),
    handle: async (call, pack) => {
      const { tables, nowSeconds, body } = call;
      const before = await readOwn(tables, body);
      const { reason } = body;
      const after = await withdrawAppeal({ tables, nowSeconds, pack, services }, before, 'appellant', { reason });
      const page = composeDonePage(proofOf(body), 'withdrawnNow', composeState(services, call));
      return { ...answerPage(page), audit: { subject: subjectOf(before), before, after } };
    },
  });
}

/** Without what else a form carries. */
function proofOf({ reference, secret }: Credentials): Credentials {
  return { reference, secret };
}

/** How the page of a request is shown as long as nothing is wrong. */
function composeState(services: ControlServices, call: AnyCall): StatusForm {
  const language = languageOf(call);
  const { fields } = call;
  return { language, say: textsOf(language), fields, faults: [], heading: 'faultsStatus', key: createKey(services) };
}

/** Tells what is wrong on the page of the appeal, when that is named and proven, else on the form that asks for it. */
async function refuse(services: ControlServices, refused: RefusedCall, heading: TextKey, schema: z.ZodType) {
  const state = { ...composeState(services, refused), heading };
  const form = { ...state, faults: findStatusFaults(refused, schema, state) };
  const { reference, secret } = refused.fields;
  const found = lookFields.safeParse({ reference, secret });
  const read = (tables: Tables) => openOwn(tables, services, found.data!, refused.nowSeconds);
  // Whatever is the matter now was the matter before, or makes no difference.
  const own = found.success ? await services.store.read(read).catch(() => undefined) : undefined;
  return answerPage(own === undefined ? composeLookPage(form) : composeStatusPage(own, form));
}

/**
 * Reads the appeal that credentials are of.
 *
 * @throws {WartaError} `not-found`, `forbidden`.
 */
async function readOwn(tables: Tables, { reference, secret }: Credentials): Promise<AppealRecord> {
  const appeal = await readAppeal(tables, reference);
  identifyViewer(appeal, ANYONE, { [SECRET_HEADER]: secret });
  return appeal;
}

async function openOwn(
  tables: Tables,
  services: ControlServices,
  credentials: Credentials,
  nowSeconds: number,
): Promise<OwnAppeal> {
  const { register } = services;
  const record = await readOwn(tables, credentials);
  const view = await viewAppeal(tables, register, record, nowSeconds, 'appellant');
  return { record, view, secret: credentials.secret, register };
}
