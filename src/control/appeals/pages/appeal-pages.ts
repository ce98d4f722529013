import { z } from 'zod';
import type { AddRoute } from '../../http/route.ts';
import type { ControlServices } from '../../services.ts';
import { readPack, subjectOf } from '../appeal-desk.ts';
import { FILING_LIMIT, fileAppeal } from '../file-appeal.ts';
import { FILING_MAX_BYTES, filingFields, findFilingFaults } from './filing-fields.ts';
import { composeFiledPage, composeFilingPage, type FilingForm } from './filing-page.ts';
import { answerPage } from './page-frame.ts';
import { createKey, languageOf, noticeOf, PAGE } from './page-request.ts';
import { textsOf } from './page-text.ts';
import { addStatusPages } from './status-routes.ts';

/**
 * Adds the pages on which people appeal. They do what the API does, by the same functions and within the same limits.
 *
 * Nothing is done about requests that another site makes a visitor send, since there is nothing to forge: no session, no
 * cookie, no address that is trusted. Such a site could as well file an appeal itself; to write in an appeal, or to withdraw
 * it, takes its secret.
 */
export function addAppealPages(add: AddRoute, services: ControlServices): void {
  addFilingPages(add, services);
  addStatusPages(add, services);
}

function addFilingPages(add: AddRoute, services: ControlServices): void {
  const answer = (form: Pick<FilingForm, 'language' | 'fields' | 'pack' | 'nowSeconds'> & Partial<FilingForm>) => {
    const { register } = services;
    const standard = { say: textsOf(form.language), faults: [], isFilled: false, key: createKey(services), register };
    return answerPage(composeFilingPage({ ...standard, ...form }));
  };
  const page = {
    ...PAGE,
    page: {
      refuse: async (refused: Parameters<typeof findFilingFaults>[0]) => {
        const { nowSeconds, query } = refused;
        const language = languageOf(refused);
        const isFilled = Object.keys(refused.fields).length > 0;
        const fields = isFilled ? refused.fields : noticeOf(query);
        const faults = findFilingFaults(refused, { say: textsOf(language), language, fields: refused.fields });
        // It may be the pack that cannot be read, and then there is a page all the same.
        const pack = await readPack(services)({ nowSeconds }).catch(() => undefined);
        return answer({ language, fields, faults, pack, nowSeconds, isFilled });
      },
    },
    prepare: readPack(services),
  };
  const form = { maxBytes: FILING_MAX_BYTES };
  // A form leaves its address in the browser, which may ask for that again.
  for (const route of ['GET /appeal', 'GET /appeal/form'] as const) {
    add({
      ...page,
      route,
      summary: 'The form to file an appeal with',
      storeless: true,
      handle: async (call, pack) =>
        answer({ language: languageOf(call), fields: noticeOf(call.query), pack, nowSeconds: call.nowSeconds }),
    });
  }
  add({
    ...page,
    route: 'POST /appeal/form',
    summary: 'The form in another language, with what was filled in',
    form,
    body: z.unknown(),
    changesNothing: true,
    storeless: true,
    handle: async (call, pack) => {
      const { fields, nowSeconds } = call;
      return answer({ language: languageOf(call), fields, pack, nowSeconds, isFilled: true });
    },
  });
  add({
    ...page,
    route: 'POST /appeal',
    summary: 'File an appeal',
    form,
    body: filingFields,
    limit: FILING_LIMIT,
    handle: async (call, pack) => {
      const { tables, nowSeconds, body } = call;
      const language = languageOf(call);
      const { appeal, secret } = await fileAppeal({ tables, nowSeconds, pack, services }, { ...body, language });
      call.afterCommit(() => services.events.wake());
      return {
        ...answerPage(composeFiledPage(appeal, secret, language), 201),
        audit: { subject: subjectOf(appeal), after: appeal },
      };
    },
  });
}
