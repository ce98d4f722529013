import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDraft } from '../../../src/control/drafting/draft-record.ts';
import { AppealsRig, actorOf, DAY, HOUR } from './appeals-rig.ts';

let rig: AppealsRig;
let notice: string;
let ids: string[];

beforeAll(async () => {
  rig = await AppealsRig.create();
});
beforeEach(async () => {
  rig.packChanges = {};
  rig.register.refreshTimestamp();
  const reference = `TEST/${rig.view.size}`;
  notice = await rig.notice(['a.example', 'b.example', { subtree: 'c.example' }], { reference });
  const entries = rig.view.entriesOf(notice)!;
  ids = [0, 1, 2].map((at) => entries.id(at));
});
afterAll(() => rig.close());

const nameOf = (id: string): string => {
  const entries = rig.view.entriesOf(notice)!;
  return entries.name(entries.indexOf(id));
};
const idOf = (name: string): string => ids.find((id) => nameOf(id) === name)!;

describe('a decision', () => {
  it.each<[string, object, { entries?: string[]; whole?: true }, () => string[] | undefined]>([
    ['what was appealed', { entries: ['a.example'] }, {}, () => [idOf('a.example')]],
    ['the whole notice when that was appealed', {}, {}, () => undefined],
    ['the entries it names', {}, { entries: ['b.example'] }, () => [idOf('b.example')]],
    ['the whole notice if it says so', { entries: ['a.example'] }, { whole: true }, () => undefined],
  ])('overturned revokes %s', async (_what, filing, extent, expected) => {
    const { reference } = await rig.bring(notice, 'assessed', filing);
    const named = extent.entries === undefined ? extent : { entries: extent.entries.map(idOf) };
    const answer = await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'Wrong site.', ...named });
    expect(answer.status, answer.text).toBe(200);
    const [draft, ...others] = await rig.draftsOf(reference);
    expect(others).toEqual([]);
    expect(draft).toMatchObject({
      type: 'revocation',
      state: 'draft',
      authority: 'mcmc',
      reference: `${reference}/R1`,
      draftedBy: 'reviewer',
      appealReference: reference,
    });
    expect(draft!.body).toMatchObject({ notice, from: 'now', reasons: { public: `Appeal ${reference}: Wrong site.` } });
    expect(draft!.body.entries).toEqual(expected());
    const appeal = await rig.appeal(reference);
    expect(appeal).toMatchObject({ outcome: 'overturned', reviewer: 'reviewer', releaseDraftId: draft!.id });
    expect(appeal.releaseBySeconds).toBe(rig.now + 24 * HOUR);
    expect(answer.body.statements).toEqual([
      { type: 'revocation', state: 'in-preparation', draft: { id: draft!.id, state: 'draft' } },
    ]);
    expect(rig.events.at(-1)).toMatchObject({ event: 'appeal.decided', data: { reference, outcome: 'overturned' } });
  });

  it('cannot be held up by another draft under the reference that its own would have', async () => {
    const { reference } = await rig.bring(notice, 'assessed', { entries: ['a.example'] });
    await rig.store.transaction((tables) =>
      createDraft(tables, rig.services, actorOf('drafter'), {
        type: 'revocation',
        body: { reference: `${reference}/R1`, notice },
      }),
    );
    const answer = await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'Wrong site.' });
    expect(answer.status, answer.text).toBe(200);
    expect((await rig.draftsOf(reference)).map((draft) => draft.reference)).toEqual([`${reference}/R2`]);
  });

  it('varied drafts the variation', async () => {
    const { reference } = await rig.bring(notice, 'assessed');
    const variation = { remove: [ids[0]], exclude: [{ entry: idOf('c.example'), names: ['ok.c.example'] }] };
    const answer = await rig.act(reference, 'decide', { outcome: 'varied', reasons: 'Too wide.', variation });
    expect(answer.status, answer.text).toBe(200);
    const [draft] = await rig.draftsOf(reference);
    expect(draft).toMatchObject({ type: 'variation', reference: `${reference}/V1` });
    expect(draft!.body).toMatchObject({ notice, from: 'now', ...variation });
    expect((await rig.appeal(reference)).releaseBySeconds).toBe(rig.now + 24 * HOUR);
  });

  it.each(['upheld', 'rejected'])('%s drafts nothing and is public with its reasons', async (outcome) => {
    const { reference } = await rig.bring(notice, 'assessed');
    expect((await rig.act(reference, 'decide', { outcome, reasons: 'Because.' })).status).toBe(200);
    expect(await rig.draftsOf(reference)).toEqual([]);
    expect(await rig.appeal(reference)).toMatchObject({ releaseDraftId: null, releaseBySeconds: null });
    const { body } = await rig.send(`GET /v1/appeals/${reference}`);
    expect(body).toMatchObject({ state: 'decided', outcome, reasons: 'Because.', statements: [] });
  });

  it('with a cure to come lifts the block once that is confirmed', async () => {
    const { reference, secret } = await rig.bring(notice, 'assessed', { entries: ['a.example'] });
    const decision = { outcome: 'varied', reasons: 'Hacked, not his doing.', cure: 'Remove the phishing kit.' };
    expect((await rig.act(reference, 'decide', decision)).status).toBe(200);
    expect(await rig.draftsOf(reference)).toEqual([]);
    rig.pass(3 * DAY);
    const said = await rig.send(
      `POST /v1/appeals/${reference}/messages`,
      { text: 'It is clean.' },
      { headers: { 'appeal-secret': secret } },
    );
    expect(said.status).toBe(201);
    const confirmed = await rig.act(reference, 'cure', { reasons: 'Looked at it: clean.' }, 'second');
    expect(confirmed.status, confirmed.text).toBe(200);
    const [draft] = await rig.draftsOf(reference);
    expect(draft).toMatchObject({ type: 'revocation', draftedBy: 'second', body: { entries: [idOf('a.example')] } });
    const appeal = await rig.appeal(reference);
    expect(appeal.decidedSeconds).toBe(rig.now - 3 * DAY);
    expect(appeal).toMatchObject({
      outcome: 'varied',
      reasons: decision.reasons,
      curedSeconds: rig.now,
      releaseDraftId: draft!.id,
      releaseBySeconds: rig.now + 24 * HOUR,
    });
    const { body } = await rig.send(`GET /v1/appeals/${reference}`);
    expect(body.cure).toBe(decision.cure);
    const kinds = body.events.map(({ kind, note }: { kind: string; note?: string }) => [kind, note]);
    expect(kinds.slice(-2)).toEqual([
      ['decided', decision.reasons],
      ['cure-confirmed', 'Looked at it: clean.'],
    ]);
  });

  it.each([
    ['no reasons', { outcome: 'upheld' }],
    ['blank reasons', { outcome: 'upheld', reasons: '  \n ' }],
    ['reasons that no statement has room for', { outcome: 'upheld', reasons: 'x'.repeat(7001) }],
    ['an outcome there is none of', { outcome: 'maybe', reasons: 'r' }],
    ['varied without saying how', { outcome: 'varied', reasons: 'r' }],
    ['varied both ways', { outcome: 'varied', reasons: 'r', cure: 'c', variation: { remove: ['e1'] } }],
    ['a variation of nothing', { outcome: 'varied', reasons: 'r', variation: {} }],
    ['entries of an upheld notice', { outcome: 'upheld', reasons: 'r', whole: true }],
    ['a cure of an overturned one', { outcome: 'overturned', reasons: 'r', cure: 'c' }],
    ['both entries and whole', { outcome: 'overturned', reasons: 'r', whole: true, entries: ['e1'] }],
    ['entries that are not there', { outcome: 'overturned', reasons: 'r', entries: ['nonesuch'] }],
    ['a variation of what is not there', { outcome: 'varied', reasons: 'r', variation: { remove: ['nonesuch'] } }],
    ['a key nobody knows', { outcome: 'upheld', reasons: 'r', reason: 'r' }],
  ])('with %s is refused and changes nothing', async (_what, decision) => {
    const { reference } = await rig.bring(notice, 'assessed');
    const before = await rig.appeal(reference);
    const answer = await rig.act(reference, 'decide', decision);
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    expect(await rig.appeal(reference)).toEqual(before);
    expect(await rig.draftsOf(reference)).toEqual([]);
  });

  it('on a notice that is over releases nothing', async () => {
    const { reference } = await rig.bring(notice, 'assessed');
    await rig.publish('revocation', { notice, from: 'now' });
    const answer = await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'It should never have been.' });
    expect(answer.body).toMatchObject({ outcome: 'overturned', statements: [] });
    expect(answer.body.clocks.release).toBeUndefined();
    const { reference: other } = await rig.bring(notice, 'assessed');
    const stay = await rig.act(other, 'stay', { reasons: 'r' });
    expect([stay.status, stay.body.code]).toEqual([409, 'appeal-state']);
  });
});

describe('a stay', () => {
  it('is drafted with the order that was given, or the reviewer’s own', async () => {
    const { reference } = await rig.bring(notice, 'filed', { entries: ['a.example'] });
    expect((await rig.act(reference, 'stay', { reasons: 'Harm.' })).status).toBe(200);
    const until = new Date((rig.now + DAY) * 1000).toISOString().replace('.000', '');
    const order = { by: 'Tribunal', reference: 'T/7' };
    rig.pass(1);
    await rig.act(reference, 'stay', { reasons: 'Ordered.', order, entries: [idOf('b.example')], until });
    const [own, ordered] = await rig.draftsOf(reference);
    expect(own!.body).toMatchObject({
      target: { notice, entries: [idOf('a.example')] },
      order: { by: 'Appeals reviewer reviewer', reference },
    });
    expect(own!.reference).toBe(`${reference}/S1`);
    expect(ordered!.body).toMatchObject({ target: { notice, entries: [idOf('b.example')] }, order, until });
    expect(ordered!.reference).toBe(`${reference}/S2`);
    const { body } = await rig.send(`GET /v1/appeals/${reference}`);
    expect(body.state).toBe('filed');
    expect(body.events.map(({ kind }: { kind: string }) => kind)).toEqual(['filed', 'stay-ordered', 'stay-ordered']);
  });

  it('that is over before it begins is refused', async () => {
    const { reference } = await rig.bring(notice, 'filed');
    const answer = await rig.act(reference, 'stay', { reasons: 'r', until: '2020-01-01T00:00:00Z' });
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
  });
});

describe('the clocks', () => {
  const days = (count: number) => rig.now + count * DAY;

  it('come from the pack: two days, seven, fourteen', async () => {
    const { reference } = await rig.file(notice);
    const appeal = await rig.appeal(reference);
    expect([appeal.acknowledgeBySeconds, appeal.assessBySeconds, appeal.decideBySeconds]).toEqual(
      [2, 7, 14].map((count) => days(count)),
    );
  });

  it.each([
    [3, 3],
    [undefined, 15],
  ])('give %s days for assessing, or half of those for deciding: %i', async (assessWithinDays, expected) => {
    const { pack } = await rig.services.trust.read(rig.now);
    rig.packChanges = { appeals: { ...pack.appeals, assessWithinDays, decideWithinDays: 30 } };
    const appeal = await rig.appeal((await rig.file(notice)).reference);
    expect([appeal.assessBySeconds, appeal.decideBySeconds]).toEqual([days(expected), days(30)]);
  });

  it('show what was missed', async () => {
    const { reference } = await rig.file(notice);
    const clocks = async () => (await rig.send(`GET /v1/appeals/${reference}`)).body.clocks;
    rig.pass(2 * DAY);
    expect((await clocks()).acknowledge.missed).toBe(false);
    rig.pass(1);
    expect((await clocks()).acknowledge.missed).toBe(true);
    await rig.act(reference, 'acknowledge', {}, 'clerk');
    await rig.act(reference, 'assess', {});
    rig.pass(15 * DAY);
    const { acknowledge, assess, decide } = await clocks();
    expect([acknowledge.missed, assess.missed, decide.missed]).toEqual([true, false, true]);
    expect(acknowledge.at).toBeDefined();
    await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'r' });
    expect((await clocks()).release).toMatchObject({ missed: false });
    rig.pass(DAY + 1);
    expect((await clocks()).release).toMatchObject({ missed: true });
  });

  it.each([
    [30 * DAY, false],
    [30 * DAY + 1, true],
  ])('take an appeal %i seconds after effect for late: %s', async (seconds, late) => {
    rig.pass(seconds);
    const { reference, secret } = await rig.file(notice);
    const own = await rig.send(`GET /v1/appeals/${reference}`, undefined, { headers: { 'appeal-secret': secret } });
    expect(own.body.late).toBe(late);
    expect((await rig.send(`GET /v1/appeals/${reference}`)).body.late).toBeUndefined();
  });
});
