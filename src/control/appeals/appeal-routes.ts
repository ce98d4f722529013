import type { z } from 'zod';
import type { Pack } from '../../register/pack.ts';
import { formatInstant } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { type AddRoute, type AuditNote, type Call, cutPage, type Outcome, pageOf, pageQuery } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { AppealRecord } from '../store.ts';
import { type AppealDesk, readAppeal, readPack, subjectOf } from './appeal-desk.ts';
import {
  type Appeal,
  acknowledgeForm,
  appealQuery,
  appealView,
  assessForm,
  cureForm,
  decideForm,
  filedView,
  filingForm,
  listedAppealView,
  messageForm,
  referenceParams,
  stayForm,
  withdrawForm,
} from './appeal-forms.ts';
import { listAppeal, type Viewer, viewAppeal } from './appeal-view.ts';
import { identifyViewer, MESSAGE_LIMIT, postMessage, withdrawAppeal } from './appellant-acts.ts';
import { FILING_LIMIT, fileAppeal } from './file-appeal.ts';
import {
  type Act,
  acknowledgeAppeal,
  assessAppeal,
  confirmCure,
  type Done,
  decideAppeal,
  stayAppealed,
} from './hear-appeal.ts';

const TAG = 'Appeals';

type AnyCall = Pick<Call<unknown, unknown, unknown>, 'tables' | 'nowSeconds' | 'actor' | 'ifMatch' | 'headers'>;

/** Adds the routes of appeals. */
export function addAppealRoutes(add: AddRoute, services: ControlServices): void {
  const open: OpenDesk = ({ tables, nowSeconds }, pack) => ({ tables, nowSeconds, pack, services });
  addFiling(add, services, open);
  addFollowing(add, services);
  addAppellantActs(add, services, open);
  addStaffActs(add, services, open);
}

type OpenDesk = (call: Pick<AnyCall, 'tables' | 'nowSeconds'>, pack: Pack) => AppealDesk;

function addFiling(add: AddRoute, services: ControlServices, open: OpenDesk): void {
  add({
    route: 'POST /v1/appeals',
    summary: 'File an appeal: no account, no e-mail address; the secret follows it and is shown this once',
    tag: TAG,
    body: filingForm,
    response: filedView,
    status: 201,
    limit: FILING_LIMIT,
    prepare: readPack(services),
    handle: async (call, pack) => {
      const { appeal, secret } = await fileAppeal(open(call, pack), call.body);
      call.afterCommit(() => services.events.wake());
      return {
        body: {
          reference: appeal.id,
          secret,
          acknowledgeBy: formatInstant(appeal.acknowledgeBySeconds),
          assessBy: formatInstant(appeal.assessBySeconds),
          decideBy: formatInstant(appeal.decideBySeconds),
        },
        headers: { location: `/v1/appeals/${appeal.id}` },
        audit: { subject: subjectOf(appeal), after: appeal },
      };
    },
  });
}

function addFollowing(add: AddRoute, services: ControlServices): void {
  add({
    route: 'GET /v1/appeals',
    summary: 'List appeals, newest first: those of one’s own authority, or all for auditors and administrators',
    tag: TAG,
    query: pageQuery.extend(appealQuery.shape),
    response: pageOf(listedAppealView),
    handle: async ({ tables, query, actor, nowSeconds }) => {
      const { limit, cursor, state, notice } = query;
      const where = { ...ownAuthority(actor), ...(state && { state }), ...(notice && { noticeId: notice }) };
      const after = cursor === undefined ? undefined : await readAppeal(tables, cursor);
      const order = { orderBy: 'filedSeconds', descending: true } as const;
      const page = cutPage(await tables.appeals.list({ where, ...order, after, limit: limit + 1 }), limit);
      const items = page.items.map((appeal) => listAppeal(services.register, appeal, nowSeconds));
      return { body: { ...page, items } };
    },
  });
  add({
    route: 'GET /v1/appeals/:reference',
    summary: 'Follow an appeal: its public chain, or more of it with the header appeal-secret or as staff',
    tag: TAG,
    params: referenceParams,
    response: appealView,
    handle: async ({ tables, params, actor, headers, nowSeconds }) => {
      const appeal = await readAppeal(tables, params.reference);
      const viewer = identifyViewer(appeal, actor, headers);
      const body = await viewAppeal(tables, services.register, appeal, nowSeconds, viewer);
      return { body, version: viewer === 'public' ? undefined : appeal.version };
    },
  });
}

function addAppellantActs(add: AddRoute, services: ControlServices, open: OpenDesk): void {
  add({
    route: 'POST /v1/appeals/:reference/messages',
    summary: 'Write in an appeal, as its appellant (header appeal-secret) or as staff',
    tag: TAG,
    params: referenceParams,
    body: messageForm,
    response: appealView,
    status: 201,
    limit: MESSAGE_LIMIT,
    prepare: readPack(services),
    handle: async (call, pack) => {
      const appeal = await readAppeal(call.tables, call.params.reference);
      const viewer = identifyViewer(appeal, call.actor, call.headers);
      await postMessage(open(call, pack), appeal, { actor: call.actor, viewer }, call.body);
      return answer(services, call, appeal, viewer, [{ subject: `${subjectOf(appeal)}/messages` }]);
    },
  });
  add({
    route: 'POST /v1/appeals/:reference/withdraw',
    summary: 'Withdraw an appeal, as its appellant (header appeal-secret)',
    tag: TAG,
    params: referenceParams,
    body: withdrawForm,
    response: appealView,
    prepare: readPack(services),
    handle: async (call, pack) => {
      const appeal = await readAppeal(call.tables, call.params.reference);
      const viewer = identifyViewer(appeal, call.actor, call.headers);
      const after = await withdrawAppeal(open(call, pack), appeal, viewer, call.body, call.ifMatch);
      return answer(services, call, after, viewer, [{ subject: subjectOf(appeal), before: appeal, after }]);
    },
  });
}

function addStaffActs(add: AddRoute, services: ControlServices, open: OpenDesk): void {
  const addAct = <B extends z.ZodType>(
    verb: 'acknowledge' | 'assess' | 'stay' | 'decide' | 'cure',
    summary: string,
    body: B,
    perform: (desk: AppealDesk, act: Act, terms: z.output<B>) => Promise<Done>,
  ) =>
    add({
      route: `POST /v1/appeals/:reference/${verb}`,
      summary,
      tag: TAG,
      params: referenceParams,
      body,
      response: appealView,
      prepare: readPack(services),
      handle: async (call, pack) => {
        const appeal = await readAppeal(call.tables, call.params.reference);
        const act = { actor: call.actor, appeal, expectedVersion: call.ifMatch };
        const { appeal: after, draft } = await perform(open(call, pack), act, call.body as z.output<B>);
        call.afterCommit(() => services.events.wake());
        const notes: AuditNote[] = [{ subject: subjectOf(appeal), before: appeal, after }];
        if (draft !== undefined) notes.push({ subject: `drafts/${draft.id}`, after: draft });
        return answer(services, call, after, 'staff', notes);
      },
    });
  addAct('acknowledge', 'Say that an appeal has been received', acknowledgeForm, acknowledgeAppeal);
  addAct('assess', 'Take an appeal up for hearing, by someone who took no part', assessForm, assessAppeal);
  addAct('stay', 'Draft a stay of what is appealed', stayForm, stayAppealed);
  addAct('decide', 'Decide an appeal; a release is drafted to be signed', decideForm, decideAppeal);
  addAct('cure', 'Confirm that what had to be cured is; the revocation is drafted', cureForm, confirmCure);
}

async function answer(
  services: ControlServices,
  { tables, nowSeconds }: AnyCall,
  appeal: AppealRecord,
  viewer: Viewer,
  audit: readonly AuditNote[],
): Promise<Outcome<Appeal>> {
  const body = await viewAppeal(tables, services.register, appeal, nowSeconds, viewer);
  return { body, version: appeal.version, audit };
}

/** Auditors and administrators see all, staff those of their own authority. */
function ownAuthority({ roles, authority = '' }: Actor): { authority?: string } {
  return roles.has('auditor') || roles.has('admin') ? {} : { authority };
}
