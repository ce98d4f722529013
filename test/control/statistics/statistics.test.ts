import { parse } from 'csv-parse/sync';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChangeProbe } from '../../../src/control/statistics/change-probe.ts';
import { composeCsv, wantsCsv } from '../../../src/control/statistics/csv.ts';
import { FIGURES } from '../../../src/control/statistics/figures.ts';
import { addMonths, listMonths, monthOf, startOf } from '../../../src/control/statistics/months.ts';
import type { AppealRecord, TakedownRecord } from '../../../src/control/store.ts';
import { formatInstant } from '../../../src/register/time.ts';
import type { Published } from '../../support/log-register.ts';
import { EffectBench } from '../effect/effect-bench.ts';

const DAY = 86_400;
const HOUR = 3600;

/** 2026-02-25T06:00:00Z. */
const BEGIN = Date.UTC(2026, 1, 25, 6) / 1000;

let bench: EffectBench;
beforeEach(async () => {
  bench = await EffectBench.create(BEGIN);
});
afterEach(() => bench.close());

const on = (month: number, day: number, hour = 6) => {
  const seconds = Date.UTC(2026, month - 1, day, hour) / 1000;
  bench.pass(seconds - bench.now);
};
let references = 0;
const notice = (names: unknown[], changes: object = {}) =>
  bench.register.notice(names, { reference: `N/${++references}`, term: { expires: '90d' }, ...changes });

function appeal(target: Published, changes: Partial<AppealRecord>): AppealRecord {
  return {
    ...{
      id: `APPEAL/${++references}`,
      secretHash: `${references}`,
      noticeId: target.id,
      authority: 'mcmc',
      entries: [],
    },
    ...{ standing: 'owner', state: 'filed', outcome: null, grounds: 'g', contact: null, language: null, late: false },
    ...{ filedSeconds: 0, acknowledgeBySeconds: 0, assessBySeconds: 0, decideBySeconds: 0, acknowledgedSeconds: null },
    ...{
      assessedSeconds: null,
      decidedSeconds: null,
      withdrawnSeconds: null,
      reviewer: null,
      reasons: null,
      cure: null,
    },
    ...{ curedSeconds: null, releaseDraftId: null, releaseBySeconds: null, eraseAfterSeconds: null, version: 1 },
    ...changes,
  };
}
const addAppeal = (target: Published, changes: Partial<AppealRecord>) =>
  bench.store.transaction((tables) => tables.appeals.insert(appeal(target, changes)));

function addTakedown(changes: Partial<TakedownRecord>): Promise<void> {
  const record: TakedownRecord = {
    ...{ id: `T/${++references}`, authority: 'mcmc', agency: null, platform: 'Platform', category: 'online-scams' },
    ...{ items: 1, reference: 'T', requestedSeconds: bench.now, removedSeconds: null, recordedBy: 'drafter' },
    ...changes,
  };
  return bench.store.transaction((tables) => tables.takedowns.insert(record));
}

const statistics = async (query = '') => (await bench.get(undefined, `/v1/statistics${query}`)).body;

const NOTHING = {
  ...{
    issued: 0,
    entries: 0,
    pages: 0,
    httpOnlyPages: 0,
    inForce: 0,
    entriesInForce: 0,
    expired: 0,
    revoked: 0,
    superseded: 0,
    stayed: 0,
  },
  ...{ appealsLodged: 0, appealsDecided: 0, overblocks: 0, overblockHours: 0 },
  ...{ takedownsRequested: 0, takedownsRemoved: 0 },
};

/** A register of two months whose figures can be counted by hand. */
async function fill(): Promise<void> {
  const scam = await notice(['a.example', { subtree: 'b.example' }], { requestedBy: 'Central bank' });
  const drugs = await notice(['c.example', 'd.example', 'e.example'], { category: 'drugs', instrument: 'cma-233' });
  await notice(['s.example'], { category: 'csam', sealed: true, requestedBy: 'Police' });
  on(3, 1);
  await addAppeal(drugs, { filedSeconds: bench.now, decidedSeconds: bench.now + 4 * DAY, outcome: 'overturned' });
  await addAppeal(scam, { filedSeconds: bench.now, decidedSeconds: bench.now + 10 * DAY, outcome: 'upheld' });
  await addAppeal(scam, { filedSeconds: bench.now });
  await addTakedown({ items: 20, removedSeconds: Date.UTC(2026, 3, 2) / 1000 });
  await addTakedown({ items: 5, category: 'drugs', agency: 'Police', removedSeconds: bench.now });
  on(3, 10);
  await bench.register.stay(scam.id, '2d');
  on(3, 11);
  await bench.register.revoke(drugs.id);
  on(3, 14);
  await notice(['f.example'], { term: { expires: '5d' } });
  await notice(['g.example', { exact: 'h.example', expires: '1d' }], { requestedBy: 'Central bank' });
  await notice(['t.example'], { category: 'csam', sealed: true });
  await notice(['u.example'], { category: 'csam', sealed: true });
  on(3, 20);
  await notice(['b.example'], { supersedes: [scam.id] });
  on(4, 3);
}

describe('figures by month', () => {
  it('are those counted by hand', async () => {
    await fill();
    const body = await statistics('?from=2026-02&to=2026-04');
    expect(body).toMatchObject({ from: '2026-02', to: '2026-04', group: 'month', asOf: formatInstant(bench.now) });
    expect(body.treeSize).toBe(bench.register.size);
    expect(body.rows).toEqual([
      { ...NOTHING, group: '2026-02', issued: 2, entries: 5, inForce: 2, entriesInForce: 5 },
      {
        ...{ ...NOTHING, group: '2026-03', issued: 3, entries: 4, inForce: 2, entriesInForce: 2 },
        ...{ expired: 1, revoked: 1, superseded: 1, stayed: 1 },
        ...{ appealsLodged: 3, appealsDecided: 2, medianDays: 7, overblocks: 1, overblockHours: 14 * 24 },
        ...{ takedownsRequested: 25, takedownsRemoved: 5 },
      },
      { ...NOTHING, group: '2026-04', inForce: 2, entriesInForce: 2, takedownsRemoved: 20 },
    ]);
    expect(body.total).toEqual({
      ...{ issued: 5, entries: 9, pages: 0, httpOnlyPages: 0, inForce: 2, entriesInForce: 2 },
      ...{ expired: 1, revoked: 1, superseded: 1, stayed: 1 },
      ...{ appealsLodged: 3, appealsDecided: 2, medianDays: 7, overblocks: 1, overblockHours: 14 * 24 },
      ...{ takedownsRequested: 25, takedownsRemoved: 25 },
    });
  });

  it('tell pages from names, and those that hold on HTTP alone; nothing of sealed ones', async () => {
    const pages = [{ url: 'http://paged.example/1' }, { url: 'http://paged.example/2', query: 'any' }];
    await notice(['a.example', ...pages]);
    await notice(pages, { https: 'block-host' });
    await notice(pages, { category: 'csam', sealed: true });
    const { total, definitions } = await statistics();
    expect(total).toMatchObject({ issued: 2, entries: 5, pages: 4, httpOnlyPages: 2 });
    expect(definitions.httpOnlyPages).toMatchObject({ unit: 'pages', definition: expect.stringContaining('HTTPS') });
  });

  it('are of twelve months unless asked otherwise, and of a hundred and twenty at most', async () => {
    const body = await statistics();
    expect([body.rows.length, body.from, body.to]).toEqual([12, '2025-03', '2026-02']);
    const status = async (query: string) => (await bench.get(undefined, `/v1/statistics${query}`)).status;
    expect(await status('?from=2016-03&to=2026-02')).toBe(200);
    expect(await status('?from=2016-02&to=2026-02')).toBe(400);
    expect(await status('?from=2026-02&to=2026-01')).toBe(400);
    expect(await status('?from=2026-13')).toBe(400);
    expect(await status('?group=reference')).toBe(400);
  });

  it('of the month that is not over are as of now', async () => {
    await notice(['a.example'], { term: { expires: '2d' } });
    await notice(['c.example', 'd.example'], { term: { expires: '3d' } });
    await notice(['b.example'], { dates: { made: 'now', approved: 'now', effectiveFrom: '2d' } });
    expect((await statistics()).total).toMatchObject({ issued: 3, inForce: 2, entriesInForce: 3 });
  });

  it('of a month to come say nothing', async () => {
    await notice(['a.example']);
    const body = await statistics('?from=2026-02&to=2026-03');
    expect(body.rows.map(({ inForce }: { inForce: number }) => inForce)).toEqual([1, 0]);
  });
});

describe('figures by group', () => {
  it.each<[string, [string, number, number, number][]]>([
    [
      'category',
      [
        ['drugs', 1, 5, 1],
        ['online-scams', 4, 20, 0],
      ],
    ],
    [
      'instrument',
      [
        ['', 0, 25, 0],
        ['cma-233', 1, 0, 1],
        ['cma-263', 4, 0, 0],
      ],
    ],
    ['authority', [['mcmc', 5, 25, 1]]],
    [
      'agency',
      [
        ['', 3, 20, 1],
        ['Central bank', 2, 0, 0],
        ['Police', 0, 5, 0],
      ],
    ],
  ])('of %s are those counted by hand', async (group, expected) => {
    await fill();
    const { rows, total } = await statistics(`?from=2026-02&to=2026-04&group=${group}`);
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    const seen = rows.map((row: any) => [row.group, row.issued, row.takedownsRequested, row.overblocks]);
    expect(seen).toEqual(expected);
    for (const { name } of FIGURES.filter(({ name }) => !/^median/.test(name))) {
      // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
      expect(rows.reduce((sum: number, row: any) => sum + row[name], 0)).toBeCloseTo(total[name]);
    }
  });
});

describe('sealed notices', () => {
  it('are in a total of each month and nowhere else', async () => {
    await fill();
    const sealed = [
      { month: '2026-02', issued: 1 },
      { month: '2026-03', issued: 2 },
      { month: '2026-04', issued: 0 },
    ];
    for (const group of ['month', 'category', 'instrument', 'authority', 'agency']) {
      const body = await statistics(`?from=2026-02&to=2026-04&group=${group}`);
      expect(body.sealed.months).toEqual(sealed);
      expect(JSON.stringify([body.rows, body.total])).not.toMatch(/csam/);
      expect(body.total.issued).toBe(5);
    }
  });

  it('leave the same figures as a register without them, whatever becomes of them', async () => {
    await notice(['a.example'], { requestedBy: 'Central bank' });
    const before = await Promise.all(['month', 'category', 'agency'].map((group) => statistics(`?group=${group}`)));
    const sealed = await notice(['s.example'], { category: 'csam', sealed: true, requestedBy: 'Police' });
    await addAppeal(sealed, { filedSeconds: bench.now, decidedSeconds: bench.now, outcome: 'overturned' });
    await bench.register.stay(sealed.id, '1d');
    await bench.register.revoke(sealed.id);
    bench.pass(60); // the store was changed past the trail
    const after = await Promise.all(['month', 'category', 'agency'].map((group) => statistics(`?group=${group}`)));
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    const figures = (bodies: any[]) => bodies.map(({ rows, total }) => ({ rows, total }));
    expect(figures(after)).toEqual(figures(before));
  });
});

describe('overblocks', () => {
  const hours = async () => (await statistics('?from=2026-02&to=2026-03')).total.overblockHours;
  const overturn = (target: Published, changes: Partial<AppealRecord> = {}) =>
    addAppeal(target, { filedSeconds: bench.now, decidedSeconds: bench.now, outcome: 'overturned', ...changes });

  it('last until the release, without the time they were stayed', async () => {
    const block = await notice(['a.example', 'b.example']);
    bench.pass(10 * HOUR);
    await bench.register.stay(block.id, '4h');
    await overturn(block);
    bench.pass(20 * HOUR);
    await bench.register.revoke(block.id);
    bench.pass(10 * HOUR);
    expect(await hours()).toBe(26);
  });

  it('last until now while nothing was released', async () => {
    const block = await notice(['a.example']);
    bench.pass(10 * HOUR);
    await overturn(block);
    bench.pass(5 * HOUR);
    expect(await hours()).toBe(15);
  });

  it('of some entries end with these, and not with others', async () => {
    const block = await notice(['a.example', 'b.example']);
    await bench.view.catchUp();
    const [a, b] = [0, 1].map((at) => bench.view.entriesOf(block.id)!.id(at));
    bench.pass(10 * HOUR);
    await overturn(block, { entries: [a!] });
    bench.pass(HOUR);
    await bench.register.revoke(block.id, [b!]);
    bench.pass(HOUR);
    await bench.register.publish({
      ...{ type: 'stay', target: { notice: block.id, entries: [a!] }, from: 'now', reference: 'S/1' },
      order: { by: 'Tribunal', reference: 'T/1' },
    });
    bench.pass(5 * HOUR);
    await bench.register.revoke(block.id, [a!]);
    bench.pass(HOUR);
    expect(await hours()).toBe(12);
  });

  it('of several entries last until the last is released, in whatever way', async () => {
    const block = await notice(['a.example', { subtree: 'b.example' }, { subtree: 'c.example' }]);
    await bench.view.catchUp();
    const [a, b, c] = [0, 1, 2].map((at) => bench.view.entriesOf(block.id)!.id(at));
    const vary = (change: object, reference: string) =>
      bench.register.publish({ type: 'variation', notice: block.id, from: 'now', reference, ...change });
    bench.pass(HOUR);
    await vary({ exclude: [{ entry: b, names: ['ok.b.example'] }] }, 'V/1'); // before anyone appealed
    bench.pass(HOUR);
    await overturn(block, { entries: [a!, b!, c!] });
    await vary({ remove: [a] }, 'V/2');
    bench.pass(HOUR);
    await vary({ expires: [{ entry: c, at: '2h' }] }, 'V/3');
    bench.pass(4 * HOUR);
    await vary({ exclude: [{ entry: b, names: ['also.b.example'] }] }, 'V/4');
    bench.pass(10 * HOUR);
    expect(await hours()).toBe(7);
  });

  it('are none of appeals that ended otherwise', async () => {
    const block = await notice(['a.example']);
    for (const outcome of ['upheld', 'varied', 'rejected'] as const) await overturn(block, { outcome });
    await addAppeal(block, { filedSeconds: bench.now });
    expect((await statistics()).total).toMatchObject({ appealsLodged: 4, appealsDecided: 3, overblocks: 0 });
  });
});

describe('CSV', () => {
  it('has a figure a line with its definition, by ?format and by Accept', async () => {
    await fill();
    const url = '/v1/statistics?from=2026-02&to=2026-03&group=category';
    const answer = await bench.get(undefined, `${url}&format=csv`);
    expect(answer.headers['content-type']).toBe('text/csv; charset=utf-8');
    expect((await bench.get(undefined, url, { accept: 'text/csv' })).body).toBe(answer.body);
    const lines: Record<string, string>[] = parse(answer.body, { columns: true });
    // Two categories and the total, and two months of sealed ones.
    expect(lines).toHaveLength(3 * FIGURES.length + 2);
    expect(lines.every(({ definition }) => definition!.length > 20)).toBe(true);
    const find = (group: string, figure: string) =>
      lines.find((line) => line.group === group && line.figure === figure && line.grouped_by === 'category');
    expect(find('drugs', 'issued')).toEqual({
      ...{ from: '2026-02', to: '2026-03', grouped_by: 'category', group: 'drugs', figure: 'issued', value: '1' },
      ...{ unit: 'notices', definition: FIGURES[0]!.definition },
    });
    expect(find('online-scams', 'medianDays')?.value).toBe('10');
    expect(lines.filter(({ figure }) => figure === 'sealedIssued').map(({ value }) => value)).toEqual(['1', '2']);
  });

  it('quotes what needs it, and starts no formula', () => {
    const text = composeCsv(
      ['a', 'b', 'c'],
      [
        ['x,"y"\nz', '=1+1', undefined],
        [-5, '-5', true],
        ['@a', '+b', '\tc'],
      ],
    );
    expect(text).toBe('a,b,c\r\n"x,""y""\nz",\'=1+1,\r\n-5,\'-5,true\r\n\'@a,\'+b,\'\tc\r\n');
    expect(parse(text)).toHaveLength(4);
  });

  it.each([
    [undefined, undefined, false],
    ['csv', undefined, true],
    ['json', 'text/csv', false],
    [undefined, 'text/csv', true],
    [undefined, 'text/html, text/csv;q=0.5', true],
    [undefined, '*/*', false],
  ] as const)('is wanted by format %s and Accept %s: %s', (format, accept, expected) => {
    expect(wantsCsv(format, accept)).toBe(expected);
  });
});

describe('an answer', () => {
  it('is composed once for a state and a minute, and anew after a change', async () => {
    await notice(['a.example']);
    await bench.view.catchUp();
    let counted = 0;
    const notices = bench.view.notices.bind(bench.view);
    bench.view.notices = () => {
      counted++;
      return notices();
    };
    const ask = async () => (await bench.send(undefined, 'GET', '/v1/statistics')).body;
    const first = await ask();
    const looks = counted;
    await Promise.all(Array.from({ length: 20 }, ask));
    expect(counted).toBe(looks);
    expect(first.definitions.overblocks.definition).toMatch(/should not have been/);
    // A change in the store that left a trace.
    await bench.send('admin', 'POST', '/v1/licensees', { number: 'X', name: 'X' });
    await ask();
    expect(counted).toBe(2 * looks);
    await notice(['b.example']);
    await bench.view.catchUp();
    expect((await ask()).total.issued).toBe(2);
    bench.pass(60);
    expect((await ask()).asOf).toBe(formatInstant(bench.now));
  });

  it('that is known goes out to whoever asks, and no more than so many different ones are composed a minute', async () => {
    const month = (i: number) => `20${10 + Math.floor(i / 12)}-${String((i % 12) + 1).padStart(2, '0')}`;
    const ask = async (i: number) =>
      (await bench.send(undefined, 'GET', `/v1/statistics?from=${month(i)}&to=${month(i)}`)).status;
    const statuses: number[] = [];
    for (let i = 0; i < 100; i++) statuses.push(await ask(i));
    expect(statuses.filter((status) => status === 200).length).toBeLessThan(100);
    expect(statuses.at(-1)).toBe(429);
    expect(await ask(0)).toBe(200);
    bench.pass(60);
    expect(await ask(99)).toBe(200);
  });

  it('knows of a change by the trail of changes', async () => {
    const { store } = bench;
    const change = () =>
      store.transaction((tables) =>
        tables.audit.append({
          ...{ atSeconds: 0, actor: 'a', role: 'admin', action: 'x', subject: 's', reason: null },
          ...{ beforeHash: null, afterHash: null },
        }),
      );
    const read = (probe: ChangeProbe) => store.read((tables) => probe.read(tables));
    const early = new ChangeProbe();
    expect(await read(early)).toBe(0);
    let last = 0;
    for (let count = 1; count <= 37; count++) {
      last = (await change()).sequence;
      expect(await read(new ChangeProbe())).toBe(last);
      if (count % 5 === 0) expect(await read(early)).toBe(last);
    }
    expect(await read(early)).toBe(last);
  });
});

describe('months', () => {
  it('follow each other over the end of a year', () => {
    expect(listMonths('2025-11', '2026-02')).toEqual(['2025-11', '2025-12', '2026-01', '2026-02']);
    expect(listMonths('2026-02', '2026-01')).toEqual([]);
    expect([addMonths('2026-01', -1), addMonths('2026-12', 1), addMonths('2026-05', -12)]).toEqual([
      ...['2025-12', '2027-01', '2025-05'],
    ]);
    expect(monthOf(startOf('2026-03'))).toBe('2026-03');
    expect(monthOf(startOf('2026-03') - 1)).toBe('2026-02');
  });
});
