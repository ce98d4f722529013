import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppealState } from '../../../src/control/store.ts';
import { AppealsRig } from './appeals-rig.ts';

let rig: AppealsRig;
let notice: string;

beforeAll(async () => {
  rig = await AppealsRig.create();
  notice = await rig.notice(['a.example', 'b.example']);
});
afterAll(() => rig.close());

const STATES: AppealState[] = ['filed', 'acknowledged', 'assessed', 'decided', 'withdrawn'];

/** What is done, by whom, and in which states it can be done, with the state that comes of it. */
const ACTIONS: Record<string, { body: object; as?: string; to: Partial<Record<AppealState, AppealState>> }> = {
  messages: {
    body: { text: 'A word.' },
    to: { filed: 'filed', acknowledged: 'acknowledged', assessed: 'assessed', decided: 'decided' },
  },
  withdraw: { body: {}, to: { filed: 'withdrawn', acknowledged: 'withdrawn', assessed: 'withdrawn' } },
  acknowledge: { body: {}, as: 'clerk', to: { filed: 'acknowledged' } },
  assess: { body: {}, as: 'reviewer', to: { acknowledged: 'assessed' } },
  stay: {
    body: { reasons: 'Risk.' },
    as: 'reviewer',
    to: { filed: 'filed', acknowledged: 'acknowledged', assessed: 'assessed' },
  },
  decide: { body: { outcome: 'overturned', reasons: 'Wrong.' }, as: 'reviewer', to: { assessed: 'decided' } },
  cure: { body: { reasons: 'Clean.' }, as: 'reviewer', to: {} },
};

describe('an appeal', () => {
  const pairs = Object.entries(ACTIONS).flatMap(([action, spec]) =>
    STATES.map((state) => [action, state, spec.to[state]] as const),
  );

  it.each(pairs)('%s when it is %s gives %s', async (action, state, next) => {
    const { reference, secret } = await rig.bring(notice, state);
    const before = await rig.appeal(reference);
    const { body, as } = ACTIONS[action]!;
    const headers: Record<string, string> = as === undefined ? { 'appeal-secret': secret } : {};
    const answer = await rig.send(`POST /v1/appeals/${reference}/${action}`, body, { as, headers });
    const after = await rig.appeal(reference);
    if (next === undefined) {
      expect([answer.status, answer.body.code]).toEqual([409, 'appeal-state']);
      expect(after).toEqual(before);
    } else {
      expect(answer.status, answer.text).toBe(action === 'messages' ? 201 : 200);
      expect(after.state).toBe(next);
    }
  });

  it.each([
    ['before anything is said of a cure', undefined, 409],
    ['once it says what must be cured', 'Remove the kit.', 200],
  ])('confirms a cure %s', async (_when, cure, status) => {
    const { reference } = await rig.bring(notice, 'acknowledged');
    await rig.act(reference, 'assess', { cure });
    const answer = await rig.act(reference, 'cure', { reasons: 'The site is clean.' });
    expect(answer.status).toBe(status);
    if (status !== 200) return;
    expect(answer.body).toMatchObject({ state: 'decided', outcome: 'varied', cure, reasons: 'The site is clean.' });
    const again = await rig.act(reference, 'cure', { reasons: 'Again.' });
    expect([again.status, again.body.code]).toEqual([409, 'appeal-state']);
  });

  it('takes If-Match at its word', async () => {
    const { reference } = await rig.bring(notice, 'filed');
    const stale = await rig.act(reference, 'acknowledge', {}, 'clerk', { 'if-match': '"7"' });
    expect([stale.status, stale.body.code]).toEqual([412, 'version-mismatch']);
    const fresh = await rig.act(reference, 'acknowledge', {}, 'clerk', { 'if-match': '"1"' });
    expect([fresh.status, fresh.headers.etag]).toEqual([200, '"2"']);
  });

  it.each(['acknowledge', 'assess', 'stay', 'decide', 'cure'])('%s of one that is not there is 404', async (action) => {
    const { body } = ACTIONS[action]!;
    const answer = await rig.act('A-00000-00000', action, body);
    expect([answer.status, answer.body.code]).toEqual([404, 'not-found']);
  });
});
