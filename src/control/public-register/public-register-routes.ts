import { type AddRoute, pageOf } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import { answerCached } from './cached-answer.ts';
import { lookUpName } from './look-up-name.ts';
import {
  entryQuery,
  listedNoticeView,
  nameParams,
  nameQuery,
  nameView,
  noticeParams,
  noticeQuery,
  noticeView,
} from './register-forms.ts';
import { listNotices, showNotice } from './register-notices.ts';

const TAG = 'Public register';

/** Adds the routes of the public register: what anyone may know of notices, without asking anyone. */
export function addPublicRegisterRoutes(add: AddRoute, services: ControlServices): void {
  const { register } = services;
  add({
    route: 'GET /v1/register/notices',
    summary: 'List notices, newest first',
    tag: TAG,
    query: noticeQuery,
    response: pageOf(listedNoticeView),
    storeless: true,
    handle: async (call) => answerCached(services, call, listNotices(register, call.query, call.nowSeconds)),
  });
  add({
    route: 'GET /v1/register/notices/:id',
    summary: 'Show a notice: statement, standing, entries unless sealed, what changed it, its appeals',
    tag: TAG,
    params: noticeParams,
    query: entryQuery,
    response: noticeView,
    handle: async (call) => {
      const { tables, params, query, nowSeconds } = call;
      return answerCached(services, call, await showNotice(tables, register, params.id, query, nowSeconds));
    },
  });
  add({
    route: 'GET /v1/register/names/:name',
    summary: 'Ask whether a name is blocked, by which notice, and how to appeal; sealed notices are never told of',
    tag: TAG,
    params: nameParams,
    query: nameQuery,
    response: nameView,
    storeless: true,
    handle: async (call) => {
      const answer = lookUpName(register, call.params.name, call.nowSeconds, call.query.licensee);
      return answerCached(services, call, answer);
    },
  });
}
