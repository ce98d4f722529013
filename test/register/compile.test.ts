import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Scope } from '../../src/register/annex.ts';
import { compileRules } from '../../src/register/compile.ts';
import { isBelow } from '../../src/register/entry-name.ts';
import { createGuard } from '../../src/register/guard.ts';
import { countPages } from '../../src/register/pages.ts';
import { common, createRecorder, DAY, day, NOW, pack, subtree, TestRegister } from './fixture.ts';

const guardPack = {
  ...pack,
  protectedNames: [
    { name: 'files.cdn.example', scope: 'exact' as const, reason: 'CDN' },
    { name: 'bank.example', scope: 'subtree' as const, reason: 'bank' },
  ],
  mediaNames: ['news.example', 'daily.press.example'],
};
const long = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(60)}.example`;

describe('guard-rails', () => {
  it.each<[string, Scope, string | undefined]>([
    ['.', 'subtree', 'root'],
    ['com', 'subtree', 'single-label'],
    ['localhost', 'exact', 'single-label'],
    ['192.0.2.1', 'exact', 'IP address'],
    ['com.my', 'subtree', 'public suffix'],
    ['gov.my', 'exact', 'public suffix'],
    ['co.uk', 'exact', 'public suffix'],
    ['foo.ck', 'exact', 'public suffix'],
    ['github.io', 'subtree', 'public suffix'],
    ['pages.dev', 'exact', 'public suffix'],
    ['blogspot.com', 'subtree', 'public suffix'],
    ['evil.github.io', 'subtree', undefined],
    [long, 'exact', 'longer than DNS allows'],
    [`${'a'.repeat(64)}.example`, 'exact', 'longer than DNS allows'],
    ['shop.example', 'url', undefined],
    ['login.bank.example', 'url', 'below the protected name bank.example'],
    ['press.example', 'url', undefined],
    ['news.example', 'url', 'second approval'],
    ['github.io', 'url', 'public suffix'],
    ['files.cdn.example', 'exact', 'protected name: CDN'],
    ['files.cdn.example', 'subtree', 'protected name: CDN'],
    ['cdn.example', 'subtree', 'covers the protected name files.cdn.example'],
    ['cdn.example', 'exact', undefined],
    ['one.files.cdn.example', 'exact', undefined],
    ['other.cdn.example', 'subtree', undefined],
    ['xfiles.cdn.example', 'exact', undefined],
    ['bank.example', 'exact', 'protected name: bank'],
    ['login.bank.example', 'exact', 'below the protected name bank.example'],
    ['a.b.bank.example', 'subtree', 'below the protected name bank.example'],
    ['notbank.example', 'subtree', undefined],
    ['news.example', 'exact', 'second approval'],
    ['www.news.example', 'exact', 'second approval'],
    ['press.example', 'subtree', 'second approval'],
    ['press.example', 'exact', undefined],
    ['scam.example', 'exact', undefined],
  ])('%s as %s: %s', (name, scope, reason) => {
    const refusal = createGuard(guardPack)(name, scope, 1);
    if (reason === undefined) expect(refusal).toBeUndefined();
    else expect(refusal).toContain(reason);
  });

  it('lets a name of the media pass with two approvals', () => {
    expect(createGuard(guardPack)('www.news.example', 'exact', 2)).toBeUndefined();
  });

  it.each(['cdn.jsdelivr.net', 'maybank2u.com.my', 'www.google.com', 'maxcdn.bootstrapcdn.com', 'mcmc.gov.my'])(
    'of the pack hold %s back',
    (name) => expect(createGuard(pack)(name, 'exact', 1)).toBeDefined(),
  );

  it('agree with the definition of a protected name', () => {
    const label = fc.constantFrom('a', 'b', 'ab');
    const name = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => `${labels.join('.')}.example`);
    const scope = fc.constantFrom('exact' as const, 'subtree' as const);
    fc.assert(
      fc.property(fc.array(fc.record({ name, scope }), { maxLength: 4 }), name, scope, (listed, asked, askedScope) => {
        const protectedNames = listed.map((item) => ({ ...item, reason: 'test' }));
        const expected = listed.some(
          (held) =>
            held.name === asked ||
            (askedScope === 'subtree' && isBelow(held.name, asked)) ||
            (held.scope === 'subtree' && isBelow(asked, held.name)),
        );
        const refusal = createGuard({ ...pack, protectedNames, mediaNames: [] })(asked, askedScope, 1);
        expect(refusal !== undefined).toBe(expected);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('compileRules', () => {
  it('gives each window and exclusion a rule with the ordinal of its entry', () => {
    const register = new TestRegister();
    const notice = register.notice([
      subtree('a.example', { excludes: ['ok.a.example'] }),
      { raw: 'b.example', scope: 'exact', expires: day(5) },
    ]);
    const order = { by: 'High Court', reference: 'WA-1' };
    register.add({ type: 'stay', ...common('S'), target: { notice }, from: day(2), until: day(3), order }, ['one']);
    const exclude = [{ entry: 'e0000001', names: ['late.a.example'] }];
    register.add({ type: 'variation', ...common('V'), notice, from: day(1), exclude }, ['one']);
    const recorder = createRecorder();
    const compiled = compileRules(register.readAt().folded, pack, recorder);
    const rows = recorder.rules.map(({ name, trigger, action, notBefore, notAfter, entry }) => [
      name,
      trigger,
      action,
      (notBefore - NOW) / DAY,
      (notAfter - NOW) / DAY,
      entry,
    ]);
    expect(rows).toEqual([
      ['ok.a.example', 'subtree', 'passthru', 0, 2, 0],
      ['ok.a.example', 'subtree', 'passthru', 3, 30, 0],
      ['late.a.example', 'subtree', 'passthru', 1, 2, 0],
      ['late.a.example', 'subtree', 'passthru', 3, 30, 0],
      // NODATA above an exclusion: NXDOMAIN would deny it too (RFC 8020).
      ['a.example', 'exact', 'block', 0, 2, 0],
      ['a.example', 'exact', 'block', 3, 30, 0],
      ['a.example', 'subtree', 'block', 0, 2, 0],
      ['a.example', 'subtree', 'block', 3, 30, 0],
      ['b.example', 'exact', 'block', 0, 2, 1],
      ['b.example', 'exact', 'block', 3, 5, 1],
    ]);
    expect(compiled).toEqual({ rules: 10, entries: 2, pages: 0, httpOnlyPages: 0, refused: [] });
    expect(recorder.notices).toEqual([
      {
        reference: 'MCMC/2026/000001',
        category: 'online-scams',
        authority: 'Malaysian Communications and Multimedia Commission',
        contacts: ['mailto:appeals@mcmc.example', 'tel:+60-3-5550-0100'],
      },
    ]);
  });

  it('refuses entries one by one, with the reason, and lets the rest stand', () => {
    const register = new TestRegister();
    register.notice([
      'good.example',
      'github.io',
      { raw: 'https://x.example:8443/1', scope: 'url' },
      '192.0.2.1',
      'com',
      '.',
      { raw: 'https://y.example/#/shop', scope: 'url' },
    ]);
    const recorder = createRecorder();
    const { refused, rules } = compileRules(register.readAt().folded, pack, recorder);
    expect(recorder.rules.map(({ name }) => name)).toEqual(['good.example']);
    expect(rules).toBe(1);
    expect(refused.map(({ notice, entry, name, reason }) => [notice, entry, name, reason])).toEqual([
      ['MCMC/2026/000001', 'e0000002', 'github.io', 'a public suffix is never blocked'],
      ['MCMC/2026/000001', 'e0000003', 'x.example', 'a page on a port other than 80 and 443 cannot be enforced'],
      ['MCMC/2026/000001', 'e0000004', '192.0.2.1', 'an IP address is never blocked'],
      ['MCMC/2026/000001', 'e0000005', 'com', 'a single-label name is never blocked'],
      ['MCMC/2026/000001', 'e0000006', '.', 'the root is never blocked'],
      [
        'MCMC/2026/000001',
        'e0000007',
        'y.example',
        'a part of a page (behind #) cannot be told from the rest: list the page without it',
      ],
    ]);
  });

  it('only steers the host of a page, and tells the table its address', () => {
    const register = new TestRegister();
    register.notice([
      { raw: 'HTTPS://Shop.example:443/a b', scope: 'url', expires: day(3) },
      { raw: 'http://shop.example/?q=1', scope: 'url', query: 'any' },
      { raw: 'shop.test', scope: 'exact' },
    ]);
    const recorder = createRecorder();
    const compiled = compileRules(register.readAt().folded, pack, recorder);
    expect(recorder.rules.map(({ name, trigger, action, notAfter, entry }) => [name, trigger, action, notAfter, entry]))
      .toEqual([
        ['shop.example', 'exact', 'steer', NOW + 3 * DAY, 0],
        ['shop.example', 'exact', 'steer', NOW + 30 * DAY, 1],
        ['shop.test', 'exact', 'block', NOW + 30 * DAY, 2],
      ]); // biome-ignore format: a table
    expect(recorder.pages).toEqual([
      { entry: 0, url: 'https://shop.example/a%20b', anyQuery: false },
      { entry: 1, url: 'http://shop.example/?q=1', anyQuery: true },
    ]);
    expect(compiled).toEqual({ rules: 3, entries: 3, pages: 2, httpOnlyPages: 2, refused: [] });
    expect(recorder.notices[0].page).toEqual({ instrument: 'cma-263', fromSeconds: NOW });
  });

  it('redirects, and never denies what is above an exclusion of a redirect', () => {
    const register = new TestRegister();
    register.notice([
      subtree('a.example', { action: 'redirect', excludes: ['ok.b.a.example'] }),
      { raw: 'c.example', scope: 'exact', action: 'redirect' },
    ]);
    const recorder = createRecorder();
    const compiled = compileRules(register.readAt().folded, pack, recorder);
    expect(recorder.rules.map(({ name, trigger, action }) => `${action} ${trigger} ${name}`)).toEqual([
      'passthru subtree ok.b.a.example',
      'redirect subtree a.example',
      'redirect exact c.example',
    ]);
    expect(compiled).toMatchObject({ rules: 3, entries: 2, pages: 0, httpOnlyPages: 0 });
    expect(recorder.notices[0].page).toMatchObject({ instrument: 'cma-263' });
  });

  it('says of a notice that closes HTTPS that none of its pages holds on HTTP alone', () => {
    const register = new TestRegister();
    const page = { raw: 'http://a.example/1', scope: 'url' as const };
    const dates = { made: day(-1), approved: day(0), effectiveFrom: day(0), reviewBy: day(9) };
    register.notice([page], { https: 'block-host', dates });
    register.notice([page], { reference: 'N2' });
    register.notice(['b.example'], { reference: 'N3', https: 'block-host' });
    const recorder = createRecorder();
    const compiled = compileRules(register.readAt().folded, pack, recorder);
    expect(compiled).toMatchObject({ entries: 3, pages: 2, httpOnlyPages: 1 });
    const facts = Object.fromEntries(recorder.notices.map(({ reference, page: fact }) => [reference, fact]));
    expect(facts).toEqual({
      'MCMC/2026/000001': {
        instrument: 'cma-263',
        fromSeconds: NOW,
        reviewBySeconds: NOW + 9 * DAY,
        blocksHttps: true,
      },
      N2: { instrument: 'cma-263', fromSeconds: NOW },
      N3: undefined,
    });
  });

  it('counts pages as a naive reader of the folded notices does', () => {
    const name = fc.constantFrom('a.example', 'b.example', 'github.io', 'cdn.jsdelivr.net');
    const port = fc.constantFrom('', ':80', ':8080');
    const entry = fc.record({
      name,
      port,
      scope: fc.constantFrom<Scope>('exact', 'url'),
    });
    const notice = fc.record({
      entries: fc.array(entry, { minLength: 1, maxLength: 6 }),
      closes: fc.boolean(),
      ends: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(fc.array(notice, { maxLength: 3 }), fc.integer({ min: 0, max: 5 }), (notices, days) => {
        const register = new TestRegister();
        notices.forEach(({ entries, closes, ends }, number) => {
          const drafts = entries.map((one) => ({
            raw: one.scope === 'url' ? `http://${one.name}${one.port}/page` : one.name,
            scope: one.scope,
          }));
          const changes = { reference: `N${number}`, term: { expires: day(ends) } };
          register.notice(drafts, closes ? { ...changes, https: 'block-host' } : changes);
        });
        const { folded } = register.readAt(NOW + days * DAY);
        const isPage = (one: { name: string; port: string; scope: Scope }) =>
          one.scope === 'url' && one.port !== ':8080' && ['a.example', 'b.example'].includes(one.name);
        const live = notices.filter(({ ends }) => ends > days);
        const pages = live.flatMap(({ entries, closes }) => entries.filter(isPage).map(() => closes));
        const expected = { pages: pages.length, httpOnlyPages: pages.filter((closes) => !closes).length };
        const recorder = createRecorder();
        expect(compileRules(folded, pack, recorder)).toMatchObject(expected);
        expect(recorder.pages).toHaveLength(expected.pages);
        expect(recorder.rules.filter(({ action }) => action === 'steer')).toHaveLength(expected.pages);
        expect(countPages(folded, createGuard(pack))).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('numbers entries over all notices', () => {
    const register = new TestRegister();
    register.notice(['a.example', 'b.example']);
    register.notice(['a.example'], { reference: 'N2' });
    const recorder = createRecorder();
    compileRules(register.readAt().folded, pack, recorder);
    expect(recorder.rules.map(({ entry }) => entry)).toEqual([0, 1, 2]);
    const references = recorder.rules.map(({ name, notice }) => `${name} ${recorder.notices[notice].reference}`);
    expect(references.sort()).toEqual(['a.example MCMC/2026/000001', 'a.example N2', 'b.example MCMC/2026/000001']);
  });
});
