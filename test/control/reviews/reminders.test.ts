import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDraft } from '../../../src/control/drafting/draft-record.ts';
import { type Look, lookForReminders } from '../../../src/control/reviews/reminders.ts';
import type { DraftRecord, ReminderRecord } from '../../../src/control/store.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { AppealsRig, actorOf, DAY, HOUR } from '../appeals/appeals-rig.ts';

let rig: AppealsRig;

beforeEach(async () => {
  rig = await AppealsRig.create();
  rig.packChanges = { reviews: { stayOverdue: false } };
});
afterEach(() => rig.close());

const look = (): Promise<Look> => rig.store.transaction((tables) => lookForReminders(tables, rig.services, rig.now));
const all = (): Promise<ReminderRecord[]> => rig.read((tables) => tables.reminders.list({ limit: 500 }));
const open = async (): Promise<string[]> =>
  (await all()).filter(({ settledSeconds }) => settledSeconds === null).map(({ kind }) => kind);

/** Publishes a notice until revoked, which needs its review in so many days. */
const untilRevoked = (reviewDays: number, changes: object = {}) =>
  rig.notice(['r.example'], {
    ...{ instrument: 'onsa-direction', term: { untilRevoked: true }, reference: 'REVIEW/1' },
    ...{ dates: { made: 'now', approved: 'now', effectiveFrom: 'now', reviewBy: `${reviewDays}d` } },
    ...changes,
  });

describe('a look', () => {
  it('reminds of an expiry at 30, 14 and 3 days, one at a time, and settles it when the notice is over', async () => {
    const notice = await rig.notice(['a.example'], { term: { expires: '40d' }, reference: 'E/1' });
    const startedAt = rig.now;
    const at = async (days: number, seconds = 0) => {
      rig.clock.wall = (startedAt + days * DAY + seconds) * 1000;
      await look();
      return open();
    };
    expect(await at(10, -1)).toEqual([]);
    expect(await at(10)).toEqual(['expiry-30']);
    expect(await at(26, -1)).toEqual(['expiry-30']);
    expect(await at(26)).toEqual(['expiry-14']);
    expect(await at(37)).toEqual(['expiry-3']);
    expect(await at(40, -1)).toEqual(['expiry-3']);
    expect(await at(40)).toEqual([]);
    const told = rig.events.map(({ event, data }) => [event, (data as { daysBefore: number }).daysBefore]);
    expect(told).toEqual([30, 14, 3].map((days) => ['notice.review-due', days]));
    expect(rig.events[0]!.data).toEqual({
      notice: { id: notice, reference: 'E/1', authority: 'mcmc', category: 'online-scams' },
      due: 'expiry',
      at: formatInstant(startedAt + 40 * DAY),
      daysBefore: 30,
    });
    const [first] = await all();
    expect(first).toMatchObject({
      id: `expiry-14/notices/${notice}/${startedAt + 40 * DAY}`,
      authority: 'mcmc',
      subject: `notices/${notice}`,
    });
  });

  it('reminds of a review at 30, 14 and 3 days and from its date on', async () => {
    await untilRevoked(60);
    const seen: string[][] = [];
    for (const days of [29, 1, 16, 11, 2, 1, 100]) {
      rig.pass(days * DAY);
      await look();
      seen.push(await open());
    }
    expect(seen).toEqual([[], ['review-30'], ['review-14'], ['review-3'], ['review-3'], ['review-0'], ['review-0']]);
  });

  it('changes nothing the second time, whatever is due', async () => {
    const notice = await rig.notice(['a.example', 'b.example'], { term: { expires: '20d' } });
    await untilRevoked(10);
    await rig.bring(notice, 'filed');
    const { reference } = await rig.bring(notice, 'assessed');
    await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'r', whole: true });
    rig.pass(3 * DAY);
    expect((await look()).made).toBe(4);
    const [records, events] = [await all(), rig.events.length];
    expect(new Set(await open())).toEqual(
      new Set(['expiry-30', 'review-14', 'appeal-acknowledge-missed', 'release-late']),
    );
    expect(await look()).toEqual({ made: 0, settled: 0, stayed: 0 });
    expect(await all()).toEqual(records);
    expect(rig.events).toHaveLength(events);
  });

  /** What makes a reminder of a notice unnecessary. */
  const ends: Record<string, (notice: string) => Promise<unknown>> = {
    revoked: (notice) => rig.publish('revocation', { notice, from: 'now' }),
    'to be revoked': (notice) => rig.publish('revocation', { notice, from: '1d' }),
    superseded: (notice) =>
      rig.notice(['b.example'], { reference: 'NEW', term: { expires: '90d' }, supersedes: [notice] }),
    'to be superseded': (notice) =>
      rig.notice(['b.example'], {
        ...{ reference: 'NEW', term: { expires: '90d' }, supersedes: [notice] },
        dates: { made: 'now', approved: 'now', effectiveFrom: '1d' },
      }),
  };

  it.each(Object.keys(ends))('settles the expiry of a notice that is %s', async (end) => {
    const notice = await rig.notice(['a.example'], { term: { expires: '10d' } });
    await look();
    expect(await open()).toEqual(['expiry-14']);
    await ends[end]!(notice);
    rig.pass(60);
    expect((await look()).settled).toBe(1);
    expect(await open()).toEqual([]);
  });

  it('goes by the earlier end that a variation gives', async () => {
    const notice = await rig.notice(['a.example'], { term: { expires: '300d' } });
    await look();
    expect(await open()).toEqual([]);
    await rig.publish('variation', { notice, from: 'now', expiresAt: '2d' });
    rig.pass(60);
    await look();
    expect(await open()).toEqual(['expiry-3']);
  });

  it('takes a reminder up again when it is needed again', async () => {
    const notice = await rig.notice(['a.example'], { term: { expires: '10d' } });
    await look();
    const reminder = (await all())[0]!;
    await rig.store.transaction((tables) => tables.reminders.update(reminder.id, { settledSeconds: rig.now }));
    expect(await look()).toMatchObject({ made: 0 });
    expect((await all())[0]).toEqual(reminder);
    expect(rig.events).toHaveLength(1);
    expect(notice).toBeDefined();
  });

  it('asks for the review of a stayed notice as well', async () => {
    const notice = await untilRevoked(3);
    await rig.publish('stay', { target: { notice }, from: 'now', order: { by: 'T', reference: '1' } });
    rig.pass(4 * DAY);
    await look();
    expect(await open()).toEqual(['review-0']);
  });

  it('follows the clocks of an appeal', async () => {
    const notice = await rig.notice(['a.example'], { term: { expires: '300d' } });
    const { reference } = await rig.file(notice);
    const seen: string[][] = [];
    const step = async (seconds: number) => {
      rig.pass(seconds);
      await look();
      seen.push(await open());
    };
    await step(DAY - 1);
    await step(1);
    await step(DAY);
    await step(1);
    await rig.act(reference, 'acknowledge', {}, 'clerk');
    await step(0);
    await step(5 * DAY);
    await rig.act(reference, 'assess', {});
    await step(0);
    await step(8 * DAY);
    await rig.act(reference, 'decide', { outcome: 'upheld', reasons: 'r' });
    await step(0);
    expect(seen).toEqual([
      [],
      ['appeal-acknowledge-near'],
      ['appeal-acknowledge-near'],
      ['appeal-acknowledge-missed'],
      [],
      ['appeal-assess-missed'],
      [],
      ['appeal-decide-missed'],
      [],
    ]);
  });

  it.each(['the draft is published', 'another statement lifts the entry', 'the notice is over'])(
    'reminds of a late release until %s',
    async (how) => {
      const notice = await rig.notice(['a.example', 'b.example'], { term: { expires: '300d' } });
      const { reference } = await rig.bring(notice, 'assessed', { entries: ['a.example'] });
      await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'r' });
      const [draft] = await rig.draftsOf(reference);
      rig.pass(24 * HOUR);
      await look();
      expect(await open()).toEqual([]);
      rig.pass(1);
      await look();
      expect(await open()).toEqual(['release-late']);
      if (how === 'the draft is published') {
        const published = { state: 'published', integratedSeconds: rig.now } as const;
        await rig.store.transaction((tables) => tables.drafts.update(draft!.id, published));
      } else if (how === 'the notice is over') await rig.publish('revocation', { notice, from: 'now' });
      else await rig.publish('revocation', { notice, entries: draft!.body.entries, from: 'now' });
      rig.pass(60);
      await look();
      expect(await open()).toEqual([]);
    },
  );

  it.each(['withdrawn', 'refused'] as const)('still reminds of a release whose draft was %s', async (state) => {
    const notice = await rig.notice(['a.example', 'b.example'], { term: { expires: '300d' } });
    const { reference } = await rig.bring(notice, 'assessed');
    await rig.act(reference, 'decide', { outcome: 'overturned', reasons: 'r' });
    const [draft] = await rig.draftsOf(reference);
    await rig.store.transaction((tables) => tables.drafts.update(draft!.id, { state }));
    rig.pass(2 * DAY);
    await look();
    expect(await open()).toEqual(['release-late']);
  });

  it.each([
    ['proposed', ['draft-unapproved']],
    ['approved', ['draft-unsigned']],
    ['draft', []],
    ['published', []],
  ] as const)('finds a draft that is %s and was forgotten: %j', async (state, expected) => {
    const draft: DraftRecord = await rig.store.transaction(async (tables) => {
      const body = { reference: 'D/1', notice: 'x' };
      const made = await createDraft(tables, rig.services, actorOf('clerk'), { type: 'revocation', body });
      return tables.drafts.update(made.id, { state });
    });
    rig.pass(2 * DAY - 1);
    await look();
    expect(await open()).toEqual([]);
    rig.pass(1);
    await look();
    expect(await open()).toEqual(expected);
    await rig.store.transaction((tables) => tables.drafts.update(draft.id, { updatedSeconds: rig.now }));
    await look();
    expect(await open()).toEqual([]);
  });

  it('finds every one of many hundred', async () => {
    const notice = await rig.notice(['a.example'], { term: { expires: '300d' } });
    const { reference } = await rig.file(notice);
    const appeal = await rig.appeal(reference);
    await rig.store.transaction(async (tables) => {
      for (let i = 0; i < 1100; i++) await tables.appeals.insert({ ...appeal, id: `X-${i}` });
    });
    rig.pass(3 * DAY);
    expect((await look()).made).toBe(1101);
    await rig.store.transaction(async (tables) => {
      for (let i = 0; i < 1100; i++) await tables.appeals.update(`X-${i}`, { state: 'withdrawn' });
    });
    expect((await look()).settled).toBe(1100);
  });
});

it('does not look again at what its own term has ended', async () => {
  await rig.notice(['a.example'], { term: { expires: '2d' } });
  rig.pass(3 * DAY);
  const looked = vi.spyOn(rig.view, 'standingOf');
  await look();
  expect(looked).not.toHaveBeenCalled();
});

describe('a notice past its review', () => {
  const stays = () => rig.read((tables) => tables.drafts.list({ where: { type: 'stay' }, limit: 10 }));

  it('gets a draft of a stay where the pack says so, once, for staff to approve and sign', async () => {
    const notice = await untilRevoked(5);
    rig.packChanges = { reviews: { stayOverdue: true } };
    rig.pass(5 * DAY - 1);
    expect(await look()).toMatchObject({ stayed: 0 });
    rig.pass(1);
    expect(await look()).toMatchObject({ stayed: 1 });
    const [stay, ...others] = await stays();
    expect(others).toEqual([]);
    expect(stay).toMatchObject({
      state: 'proposed',
      authority: 'mcmc',
      draftedBy: 'system',
      signatures: [],
      body: { target: { notice }, from: 'now' },
    });
    expect(await look()).toMatchObject({ stayed: 0 });
    await rig.store.transaction((tables) => tables.drafts.update(stay!.id, { state: 'withdrawn' }));
    rig.pass(DAY);
    expect(await look()).toMatchObject({ stayed: 0 });
    const trail = await rig.read((tables) => tables.audit.list({ subject: `drafts/${stay!.id}`, limit: 5 }));
    expect(trail).toMatchObject([{ actor: 'system', action: 'stay a notice past its review' }]);
  });

  it.each([
    ['the pack says nothing', undefined, 0],
    ['the pack says no', { stayOverdue: false }, 0],
    ['the pack says so', { stayOverdue: true }, 1],
  ])('when %s', async (_when, reviews, count) => {
    rig.packChanges = { reviews };
    await untilRevoked(5);
    rig.pass(6 * DAY);
    await look();
    expect(await stays()).toHaveLength(count);
    expect(await open()).toEqual(['review-0']);
  });

  it('gets it, and everyone their reminders, though someone took the reference that it would have', async () => {
    const notice = await untilRevoked(5);
    rig.packChanges = { reviews: { stayOverdue: true } };
    const body = { reference: `review-${notice.slice(0, 16)}/S1` };
    await rig.store.transaction((tables) =>
      createDraft(tables, rig.services, actorOf('drafter'), { type: 'stay', body }),
    );
    rig.pass(6 * DAY);
    expect(await look()).toMatchObject({ stayed: 1 });
    expect((await stays()).map(({ reference }) => reference)).toContain(`review-${notice.slice(0, 16)}/S2`);
    expect(await open()).toContain('review-0');
  });

  it('that is stayed already gets none', async () => {
    const notice = await untilRevoked(5);
    rig.packChanges = { reviews: { stayOverdue: true } };
    await rig.publish('stay', { target: { notice }, from: 'now', order: { by: 'T', reference: '1' } });
    rig.pass(6 * DAY);
    expect(await look()).toMatchObject({ stayed: 0 });
  });
});

describe('the list of reminders', () => {
  const list = async (query: string, as = 'clerk') =>
    (await rig.send(`GET /v1/reminders?${query}`, undefined, { as })).body;

  it('has the open ones first, by when they are due, then the settled, page by page', async () => {
    await rig.store.transaction(async (tables) => {
      const rows: [string, number, number | null, string][] = [
        ['a', 300, null, 'mcmc'],
        ['b', 100, null, 'mcmc'],
        ['c', 200, 900, 'mcmc'],
        ['d', 50, 950, 'mcmc'],
        ['e', 10, null, 'other'],
      ];
      for (const [kind, dueSeconds, settledSeconds, authority] of rows) {
        const id = `${kind}/x/${dueSeconds}`;
        await tables.reminders.insert({
          id,
          kind,
          subject: 'x',
          authority,
          dueSeconds,
          settledSeconds,
          toldSeconds: null,
        });
      }
    });
    const kinds = (items: { kind: string }[]) => items.map(({ kind }) => kind).join('');
    expect(kinds((await list('')).items)).toBe('badc');
    for (const limit of [1, 2, 3]) {
      let seen = '';
      let next: string | undefined;
      do {
        const cursor: string = next === undefined ? '' : `&cursor=${encodeURIComponent(next)}`;
        const page = await list(`limit=${limit}${cursor}`);
        seen += kinds(page.items);
        next = page.next;
      } while (next !== undefined);
      expect(seen).toBe('badc');
    }
    expect(kinds((await list('state=open')).items)).toBe('ba');
    expect(kinds((await list('state=settled')).items)).toBe('dc');
    expect(kinds((await list('', 'auditor')).items)).toBe('ebadc');
    expect(kinds((await list('', 'stranger')).items)).toBe('e');
    expect((await list('', 'homeless')).items).toEqual([]);
    expect((await list('', 'operator')).code).toBe('forbidden');
    for (const cursor of ['x', 'open:none', 'shut:b/x/100']) {
      expect((await list(`cursor=${encodeURIComponent(cursor)}`)).code).toBe('request-invalid');
    }
  });

  it('says what is overdue', async () => {
    await untilRevoked(5);
    rig.pass(4 * DAY);
    await look();
    expect((await list('')).items).toMatchObject([
      { kind: 'review-3', overdue: false, toldAt: formatInstant(rig.now) },
    ]);
    rig.pass(2 * DAY);
    await look();
    expect((await list('')).items).toMatchObject([
      { kind: 'review-0', overdue: true },
      { kind: 'review-3', overdue: false, settledAt: formatInstant(rig.now) },
    ]);
  });
});
