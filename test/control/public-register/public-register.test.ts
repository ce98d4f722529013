import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ListedNotice, NameMatch } from '../../../src/control/public-register/register-forms.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { type Answer, AppealsRig, DAY } from '../appeals/appeals-rig.ts';

let rig: AppealsRig;

const get = (path: string, headers: Record<string, string> = {}) =>
  rig.send(`GET /v1/register/${path}`, undefined, { headers });
const lookUp = async (name: string): Promise<{ name: string; blocked: boolean; notices: NameMatch[] }> =>
  (await get(`names/${encodeURIComponent(name)}`)).body;
const entryOf = (notice: string, name: string): string => {
  const entries = rig.view.entriesOf(notice)!;
  return Array.from({ length: entries.count }, (_, at) => at)
    .filter((at) => entries.name(at) === name)
    .map((at) => entries.id(at))[0]!;
};

describe('a name', () => {
  beforeEach(async () => {
    rig = await AppealsRig.create();
    return () => rig.close();
  });

  it('is blocked by what names it, and by a subtree above it', async () => {
    const notice = await rig.notice(['exact.example', { subtree: 'wide.example' }, 'bücher.example'], {
      reference: 'N/1',
    });
    const expected = {
      notice: { id: notice, reference: 'N/1', authority: 'mcmc', category: 'online-scams' },
      state: 'in-force',
      since: formatInstant(rig.now),
      until: formatInstant(rig.now + 30 * DAY),
      excluded: false,
      appeal: { file: 'POST /v1/appeals', notice, contacts: ['mailto:appeals@authority.example'] },
    };
    expect(await lookUp('exact.example')).toMatchObject({ name: 'exact.example', blocked: true, notices: [expected] });
    expect(await lookUp('EXACT.example.')).toMatchObject({ name: 'exact.example', blocked: true });
    expect(await lookUp('Bücher.example')).toMatchObject({ name: 'xn--bcher-kva.example', blocked: true });
    expect(await lookUp('a.b.wide.example')).toMatchObject({
      blocked: true,
      notices: [{ ...expected, entryName: 'wide.example', scope: 'subtree' }],
    });
    for (const free of ['www.exact.example', 'example', 'xexact.example', 'other.example']) {
      expect(await lookUp(free)).toEqual({ name: free, blocked: false, notices: [] });
    }
  });

  it('with a page that is blocked is not blocked itself', async () => {
    await rig.notice([{ url: 'https://shared.example/page' }]);
    const { blocked, notices } = await lookUp('shared.example');
    expect([blocked, notices[0]!.url, notices[0]!.state]).toEqual([false, 'https://shared.example/page', 'in-force']);
    expect(notices[0]).toMatchObject({ scope: 'url', action: 'block', https: 'passed' });
  });

  it('says of redirects and pages what becomes of them, and of HTTPS', async () => {
    const lead = { subtree: 'lead.example', action: 'redirect' };
    const page = { url: 'http://shared.example/page?x', query: 'any' };
    const notice = await rig.notice([lead, page], { https: 'block-host' });
    const led = await lookUp('www.lead.example');
    expect(led).toMatchObject({ blocked: true, notices: [{ scope: 'subtree', action: 'redirect' }] });
    expect(led.notices[0]).not.toHaveProperty('https');
    const expected = {
      scope: 'url',
      action: 'block',
      url: 'http://shared.example/page?x',
      query: 'any',
      https: 'closed',
    };
    expect(await lookUp('shared.example')).toMatchObject({ blocked: false, notices: [expected] });
    const { annex, statement } = (await get(`notices/${notice}`)).body;
    expect(annex.items).toMatchObject([
      { name: 'lead.example', action: 'redirect' },
      { name: 'shared.example', ...expected },
    ]);
    expect(statement.https).toBe('block-host');
  });

  it('that was left out of a subtree is not blocked', async () => {
    const notice = await rig.notice([{ subtree: 'wide.example', exclude: ['ok.wide.example'] }]);
    for (const name of ['ok.wide.example', 'www.ok.wide.example']) {
      expect(await lookUp(name)).toMatchObject({ blocked: false, notices: [{ excluded: true }] });
    }
    expect((await lookUp('no.wide.example')).blocked).toBe(true);
    const exclude = [{ entry: entryOf(notice, 'wide.example'), names: ['no.wide.example'] }];
    await rig.publish('variation', { notice, from: 'now', exclude });
    expect((await lookUp('no.wide.example')).blocked).toBe(false);
  });

  /** What becomes of the block of `a.example`, which stands beside `b.example` in a notice. */
  const ends: Record<string, (notice: string, entry: string) => Promise<unknown>> = {
    revoked: (notice) => rig.publish('revocation', { notice, from: 'now' }),
    'revoked alone': (notice, entry) => rig.publish('revocation', { notice, entries: [entry], from: 'now' }),
    'removed alone': (notice, entry) => rig.publish('variation', { notice, remove: [entry], from: 'now' }),
    stayed: (notice) => rig.publish('stay', { target: { notice }, from: 'now', order: { by: 'T', reference: '1' } }),
    'stayed alone': (notice, entry) =>
      rig.publish('stay', { target: { notice, entries: [entry] }, from: 'now', order: { by: 'T', reference: '1' } }),
    'stayed alone for a while': (notice, entry) =>
      rig.publish('stay', {
        ...{ target: { notice, entries: [entry] }, from: 'now', until: '5d' },
        order: { by: 'T', reference: '1' },
      }),
    'expired alone': (notice, entry) =>
      rig.publish('variation', { notice, from: 'now', expires: [{ entry, at: 'now' }] }),
    superseded: (notice) => rig.notice(['c.example'], { reference: 'NEW', supersedes: [notice] }),
    halted: () => rig.publish('halt', { instrument: 'cma-263', from: 'now' }),
    expired: async () => rig.pass(30 * DAY),
  };

  it.each([
    ['revoked', 'revoked', false],
    ['revoked alone', 'revoked', true],
    ['removed alone', 'revoked', true],
    ['stayed', 'stayed', false],
    ['stayed alone', 'stayed', true],
    ['stayed alone for a while', 'stayed', true],
    ['expired alone', 'expired', true],
    ['superseded', 'superseded', false],
    ['halted', 'stayed', false],
    ['expired', 'expired', false],
  ])('whose block was %s is %s, its neighbour blocked: %s', async (end, state, neighbour) => {
    const notice = await rig.notice(['a.example', 'b.example']);
    rig.pass(100);
    await ends[end]!(notice, entryOf(notice, 'a.example'));
    rig.pass(100);
    const answer = await lookUp('a.example');
    expect(answer).toMatchObject({ blocked: false, notices: [{ state }] });
    if (end === 'stayed alone for a while') {
      expect(answer.notices[0]!.until).toBe(formatInstant(rig.now - 100 + 5 * DAY));
      rig.pass(5 * DAY);
      expect(await lookUp('a.example')).toMatchObject({ blocked: true, notices: [{ state: 'in-force' }] });
    }
    expect((await lookUp('b.example')).blocked).toBe(neighbour);
  });

  it('of a notice to come is scheduled', async () => {
    await rig.notice(['a.example'], { dates: { made: 'now', approved: 'now', effectiveFrom: '2d' } });
    expect(await lookUp('a.example')).toMatchObject({ blocked: false, notices: [{ state: 'scheduled' }] });
    rig.pass(2 * DAY);
    expect((await lookUp('a.example')).blocked).toBe(true);
  });

  it('is looked up for one licensee, exempted or not addressed', async () => {
    const notice = await rig.notice(['a.example']);
    const some = await rig.notice(['b.example'], { reference: 'B', recipients: { licensees: ['NSP-TEST-2'] } });
    await rig.publish('exemption', {
      ...{ licensee: 'NSP-TEST-1', scope: { notice }, from: 'now', until: '10d', conditions: 'None.' },
      request: { reference: 'R/1', receivedAt: 'now' },
    });
    const forOne = async (name: string, licensee: string) => (await get(`names/${name}?licensee=${licensee}`)).body;
    expect(await lookUp('a.example')).toMatchObject({ blocked: true });
    expect(await forOne('a.example', 'NSP-TEST-2')).toMatchObject({ blocked: true });
    expect(await forOne('a.example', 'NSP-TEST-1')).toMatchObject({ blocked: false, notices: [{ state: 'exempted' }] });
    expect(await forOne('b.example', 'NSP-TEST-1')).toEqual({ name: 'b.example', blocked: false, notices: [] });
    expect(await lookUp('b.example')).toMatchObject({ blocked: true, notices: [{ notice: { id: some } }] });
  });

  it('in a sealed notice is not told', async () => {
    await rig.notice(['s.example', { subtree: 't.example' }], { category: 'csam', sealed: true });
    const expected = { blocked: false, notices: [] };
    for (const name of ['s.example', 't.example', 'x.t.example']) {
      expect(await lookUp(name)).toEqual({ name, ...expected });
    }
    await rig.notice(['s.example'], { reference: 'OPEN' });
    expect((await lookUp('s.example')).notices).toMatchObject([{ notice: { reference: 'OPEN' } }]);
  });

  it.each([
    ['names/a%00b.example', 400],
    ['names/%E2%80%AEa.example', 400],
    ['names/a%20b.example', 422],
    ['names/a..example', 422],
    [`names/${'a'.repeat(64)}.example`, 422],
    ['names/%3Cscript%3E', 422],
    [`names/${'a.'.repeat(130)}example`, 422],
    [`names/${'a.'.repeat(160)}example`, 414],
    ['names/a.example?licensee=', 400],
    ['names/a.example?when=now', 400],
    ['notices?state=gone', 400],
    ['notices?limit=0', 400],
    ['notices?cursor=x', 400],
    ['notices/xyz', 400],
    [`notices/${'0'.repeat(64)}`, 404],
  ])('or a query that is none is refused: %s', async (path, status) => {
    const answer = await get(path);
    expect([answer.status, rig.faults]).toEqual([status, []]);
  });
});

describe('the register', () => {
  let ids: string[];
  let sealed: string;

  beforeAll(async () => {
    rig = await AppealsRig.create();
    ids = [];
    for (let i = 0; i < 7; i++) {
      rig.pass(60);
      const category = i % 2 === 0 ? 'online-scams' : 'drugs';
      ids.push(await rig.notice([`n${i}.example`, { subtree: `s${i}.example` }], { reference: `REF/${i}`, category }));
    }
    await rig.publish('revocation', { notice: ids[0], from: 'now', reasons: { public: 'It was wrong.' } }, ['one']);
    sealed = await rig.notice(['s.example', 't.example', 'u.example'], {
      ...{ category: 'csam', instrument: 'onsa-priority', sealed: true, reference: 'SEALED/1' },
      ...{
        term: { untilRevoked: true },
        dates: { made: 'now', approved: 'now', effectiveFrom: 'now', reviewBy: '60d' },
      },
    });
  });
  afterAll(() => rig.close());

  const list = async (query: string): Promise<string[]> =>
    (await get(`notices?${query}`)).body.items.map(({ id }: ListedNotice) => id);

  it('lists notices, newest first, page by page', async () => {
    const all = [sealed, ...ids.toReversed()];
    expect(await list('')).toEqual(all);
    for (const limit of [1, 3, 8]) {
      const seen: string[] = [];
      let next: string | undefined;
      do {
        const { body } = await get(`notices?limit=${limit}${next === undefined ? '' : `&cursor=${next}`}`);
        seen.push(...body.items.map(({ id }: ListedNotice) => id));
        next = body.next;
      } while (next !== undefined);
      expect(seen).toEqual(all);
    }
  });

  it.each([
    ['category=drugs', () => [5, 3, 1].map((i) => ids[i])],
    ['state=revoked', () => [ids[0]]],
    ['state=in-force&category=online-scams', () => [6, 4, 2].map((i) => ids[i])],
    ['instrument=onsa-priority', () => [sealed]],
    ['authority=mcmc&category=csam', () => [sealed]],
    ['authority=other', () => []],
    ['q=ref%2F3', () => [ids[3]]],
    ['q=sealed', () => [sealed]],
  ])('filters by %s', async (query, expected) => {
    expect(await list(query)).toEqual(expected());
  });

  it('shows an open notice with its reasons, signers, entries and what changed it', async () => {
    const { body } = await get(`notices/${ids[0]}`);
    expect(body).toMatchObject({
      id: ids[0],
      reference: 'REF/0',
      standing: { state: 'revoked', entriesInForce: 0 },
      statement: { type: 'notice', reasons: { public: 'A test.' }, proportionality: { balance: 'Narrow.' } },
      signers: ['one', 'two'],
      entries: 2,
      reviewOverdue: false,
      changes: [{ type: 'revocation', reasons: 'It was wrong.', signers: ['one'] }],
      appeals: [],
      appealCount: 0,
    });
    expect(body.leafIndex).toBe(rig.view.findNotice(ids[0]!)!.index);
    expect(body.annex.items).toMatchObject([
      { name: 'n0.example', scope: 'exact', state: 'revoked' },
      { name: 's0.example', scope: 'subtree', state: 'revoked' },
    ]);
  });

  it('pages through entries', async () => {
    const first = (await get(`notices/${ids[1]}?limit=1`)).body.annex;
    expect(first.items.map(({ name }: { name: string }) => name)).toEqual(['n1.example']);
    const second = (await get(`notices/${ids[1]}?limit=1&cursor=${first.next}`)).body.annex;
    expect(second.items.map(({ name }: { name: string }) => name)).toEqual(['s1.example']);
    expect(second.next).toBeUndefined();
  });

  it('shows of a sealed notice how many entries it has, and no more', async () => {
    const { body, text } = await get(`notices/${sealed}`);
    expect(body).toMatchObject({ sealed: true, entries: 3, standing: { entriesInForce: 3 } });
    expect(body.annex).toBeUndefined();
    for (const name of ['s.example', 't.example', 'u.example']) expect(text).not.toContain(`"${name}`);
  });

  it('shows the public chain of appeals with a notice', async () => {
    const { reference } = await rig.bring(ids[2]!, 'decided', { grounds: 'Private words.' });
    const { body, text } = await get(`notices/${ids[2]}`);
    expect(body.appealCount).toBe(1);
    expect(body.appeals).toMatchObject([{ reference, state: 'decided', outcome: 'upheld', reasons: 'It stands.' }]);
    expect(text).not.toContain('Private words');
  });

  it('says when a review is overdue', async () => {
    const at = rig.clock.wall;
    const look = async () => (await get(`notices/${sealed}`)).body;
    expect((await look()).reviewOverdue).toBe(false);
    rig.pass(60 * DAY - 1);
    expect((await look()).reviewOverdue).toBe(false);
    rig.pass(1);
    expect(await look()).toMatchObject({ reviewOverdue: true, standing: { state: 'in-force' } });
    expect((await get('notices?category=csam')).body.items).toMatchObject([{ id: sealed, reviewOverdue: true }]);
    rig.clock.wall = at;
  });

  it.each([() => 'notices', () => `notices/${ids[3]}`, () => 'names/n3.example'])(
    'can be kept for half a minute and asked for again by its ETag (%#)',
    async (path) => {
      const first = await get(path());
      expect(first.headers['cache-control']).toBe('public, max-age=30');
      expect(first.headers.etag).toMatch(new RegExp(`^"${rig.view.size}-`));
      const again = (tag: unknown): Promise<Answer> => get(path(), { 'if-none-match': String(tag) });
      expect([(await again(first.headers.etag)).status, (await again(first.headers.etag)).text]).toEqual([304, '']);
      expect((await again(`W/${first.headers.etag}, "x"`)).status).toBe(304);
      expect((await again('"x"')).status).toBe(200);
      rig.pass(31 * DAY); // without a word from the register
      const later = await again(first.headers.etag);
      rig.pass(-31 * DAY);
      expect(later.status).toBe(200);
    },
  );

  it('answers HEAD like GET', async () => {
    const answer = await rig.send('HEAD /v1/register/notices');
    expect([answer.status, answer.text]).toEqual([200, '']);
  });
});
