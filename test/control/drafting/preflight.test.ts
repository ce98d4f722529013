import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Packet } from 'dns2';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { tabulateAnnex } from '../../../src/control/drafting/entries/annex-pages.ts';
import { composeEntries } from '../../../src/control/drafting/entries/compose-entries.ts';
import { createAskName } from '../../../src/control/drafting/preflight/dead-names.ts';
import { FindingBook } from '../../../src/control/drafting/preflight/finding.ts';
import { openPreflightSources } from '../../../src/control/drafting/preflight/open-sources.ts';
import { loadPopularNames, parsePopularNames } from '../../../src/control/drafting/preflight/popular-names.ts';
import { gatherFactsOf, type RegisterFacts } from '../../../src/control/drafting/preflight/register-facts.ts';
import {
  findRefusals,
  needsThirdApprover,
  type PreflightInput,
  runPreflight,
} from '../../../src/control/drafting/preflight/run-preflight.ts';
import { Turns } from '../../../src/control/view/turns.ts';
import { canonicaliseName } from '../../../src/register/entry-name.ts';
import { checkOfRefusal, createGuard, refuseUrl } from '../../../src/register/guard.ts';
import { parsePack } from '../../../src/register/pack.ts';
import { composeAnswer, type ScriptedServer, startServer } from '../../cli/dns-server.ts';
import { authorities, composeNotice, day, NOW, pack, subtree, TestRegister } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { readTopSites } from '../../support/top-sites.ts';

const seed = createHash('sha256').update('seed').digest();

/** The entries of a list in plain text. */
async function tabulate(text: string) {
  const composed = composeEntries({ bytes: Buffer.from(text), type: 'text/plain', seed });
  if (!('annex' in composed)) throw new Error(JSON.stringify(composed.faults));
  return tabulateAnnex(composed.annex.bytes, composed.annex.entries, new Turns());
}

const FIELDS = composeNotice({});
const popular = parsePopularNames('rank,name\n5,popular.example\n1500,known.example\n200000,small.example');
const NO_FACTS: RegisterFacts = { sameReference: 0, noticeSizes: [], entriesInForce: 0, unknown: [], notices: [] };

/** Looks a good notice over that differs in some fields. */
async function lookOver(names: string, changes: object = {}, input: Partial<PreflightInput> = {}) {
  return runPreflight({
    fields: { ...FIELDS, ...changes },
    entries: await tabulate(names),
    pack,
    nowSeconds: NOW,
    authority: authorities.byId.get('mcmc')!,
    facts: NO_FACTS,
    popular,
    ...input,
  });
}

/** Findings as `level check ids`. */
const brief = (findings: Awaited<ReturnType<typeof lookOver>>) =>
  findings.map(({ level, check, entries }) => [level, check, ...(entries ?? [])].join(' '));

describe('a good notice', () => {
  it('has no findings', async () => {
    expect(await lookOver('scam.example\nsubtree invest.example except ok.invest.example')).toEqual([]);
  });
});

describe('names', () => {
  const cases: [what: string, names: string, findings: string[]][] = [
    ['a public suffix', 'com.my', ['refuse public-suffix e0000001']],
    ['a shared host', 'subtree github.io', ['refuse public-suffix e0000001']],
    ['one site of a shared host', 'one.github.io', []],
    ['the root', '.', ['refuse root e0000001']],
    ['an address', '192.0.2.1', ['refuse address e0000001']],
    ['a single label', 'localhost', ['refuse single-label e0000001']],
    ['a protected name', 'maybank2u.com.my', ['refuse protected-name e0000001']],
    ['a name below one', 'login.maybank2u.com.my', ['refuse protected-name e0000001']],
    ['a name above one', 'subtree quad9.net', ['refuse protected-name e0000001']],
    ['a name beside one', 'maybank2u-login.example', []],
    ['a name of the media', 'malaysiakini.com', ['needs-third-approver media-name e0000001']],
    ['a name below it', 'blog.malaysiakini.com', ['needs-third-approver media-name e0000001']],
    ['a shared resource', 'js.stripe.com', ['refuse shared-resource e0000001']],
    ['what covers one', 'subtree stripe.com', ['refuse shared-resource e0000001']],
    ['what is above one, alone', 'stripe.com', []],
    ['what is below one', 'x.esm.sh', []],
    [
      'pages',
      'https://shop.example/pay\nhttp://shop.example/',
      ['warn front-page e0000002', 'warn http-only e0000001 e0000002'],
    ],
    ['the query of a front page', 'http://a.example/?p=1', ['warn http-only e0000001']],
    [
      'a front page with any query',
      'any-query http://a.example/?p=1',
      ['warn front-page e0000001', 'warn http-only e0000001'],
    ],
    [
      'a page of a protected name',
      'https://maybank2u.com.my/x',
      ['refuse protected-name e0000001', 'warn http-only e0000001'],
    ],
    [
      'a page of the media',
      'http://malaysiakini.com/x',
      ['needs-third-approver media-name e0000001', 'warn http-only e0000001'],
    ],
    [
      'a page of a very popular name',
      'http://www.popular.example/x',
      ['refuse popular-name e0000001', 'warn http-only e0000001'],
    ],
    [
      'a page of a known name',
      'http://known.example/x',
      ['needs-third-approver popular-name e0000001', 'warn http-only e0000001'],
    ],
    [
      'a file that others load',
      'https://js.stripe.com/x.js',
      ['needs-third-approver shared-resource e0000001', 'warn http-only e0000001'],
    ],
    ['a page above a shared resource', 'https://stripe.com/x', ['warn http-only e0000001']],
    ['a redirect', 'redirect subtree a.example', []],
    [
      'a page twice in other spellings',
      'http://A.example:80/x?\nhttps://a.example/x\nhttp://a.example/x?y',
      ['warn duplicate-entry e0000002', 'warn http-only e0000001 e0000002 e0000003'],
    ],
    [
      'a page with any query beside it with one',
      'any-query http://a.example/x\nhttp://a.example/x?y\nany-query https://a.example/x\nhttp://a.example/z?y',
      [
        'warn contained-entry e0000002',
        'warn duplicate-entry e0000003',
        'warn http-only e0000001 e0000002 e0000003 e0000004',
      ],
    ],
    ['a very popular name', 'popular.example', ['refuse popular-name e0000001']],
    ['its www', 'www.popular.example', ['refuse popular-name e0000001']],
    ['a name below it', 'pages.popular.example', []],
    ['a known name', 'known.example', ['needs-third-approver popular-name e0000001']],
    ['what covers it', 'subtree known.example', ['needs-third-approver popular-name e0000001']],
    ['a name far down the list', 'small.example', []],
    ['a name twice', 'a.example\nb.example\nA.example', ['warn duplicate-entry e0000003']],
    ['a subtree twice', 'subtree a.example\nsubtree a.example', ['warn duplicate-entry e0000002']],
    ['a name within a subtree', 'subtree h.a.example\nx.h.a.example', ['warn contained-entry e0000002']],
    ['a subtree within a subtree', 'subtree x.a.example\nsubtree b.x.a.example', ['warn contained-entry e0000002']],
    ['a subtree and its own name', 'subtree a.example\na.example', ['warn contained-entry e0000002']],
    [
      'a domain beside hosts of it',
      'subtree a.example\nwww.a.example\nshop.a.example',
      ['warn breadth e0000001', 'warn contained-entry e0000002 e0000003'],
    ],
    ['a subtree at www', 'subtree www.a.example', ['warn breadth e0000001']],
    ['a name at www', 'www.a.example', []],
    [
      'a name beside a page of it',
      'a.example\nhttps://a.example/x',
      ['warn breadth e0000001', 'warn http-only e0000002'],
    ],
    ['several', 'com.my\nok.example\nnet.my', ['refuse public-suffix e0000001 e0000003']],
  ];

  it.each(cases)('%s', async (_what, names, findings) => {
    expect(brief(await lookOver(names))).toEqual(findings);
  });

  it.each([
    ['pages', 'https://shop.example/pay\nhttp://b.example/x', ['warn https-closed e0000001 e0000002']],
    [
      'a file that others load',
      'http://js.stripe.com/x',
      ['refuse shared-resource e0000001', 'warn https-closed e0000001'],
    ],
    [
      'a page of a very popular name',
      'http://popular.example/x',
      ['refuse popular-name e0000001', 'warn https-closed e0000001'],
    ],
    ['no page at all', 'a.example', ['warn https-without-page']],
  ])('of a notice that closes HTTPS: %s', async (_what, names, findings) => {
    expect(brief(await lookOver(names, { https: 'block-host' }))).toEqual(findings);
  });

  it('tell once how many pages hold on HTTP alone, and what would close HTTPS', async () => {
    const names = Array.from({ length: 300 }, (_, at) => `http://x${at}.example/page`).join('\n');
    const findings = await lookOver(names);
    expect(findings.filter(({ check }) => check === 'http-only')).toEqual([
      expect.objectContaining({ count: 300, message: expect.stringContaining('https: block-host') }),
    ]);
  });

  it('are many without a thousand findings', async () => {
    const names = Array.from({ length: 500 }, (_, at) => `x${at}.maybank2u.com.my`).join('\n');
    const [finding] = (await lookOver(names)).filter(({ check }) => check === 'protected-name');
    expect([finding!.count, finding!.entries!.length, finding!.overridable]).toEqual([500, 100, false]);
  });

  it('are compared with what the guard-rails of a node refuse: nothing of that is overridable', async () => {
    const label = fc.constantFrom('com', 'my', 'gov', 'github', 'io', 'example', 'maybank', 'www', 'google', '10', '1');
    const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
    const scoped = fc.record({ name, scope: fc.constantFrom('exact' as const, 'subtree' as const) });
    const refuse = createGuard(pack);
    await fc.assert(
      fc.asyncProperty(scoped, async ({ name, scope }) => {
        const canonical = canonicaliseName(name);
        fc.pre(canonical !== undefined); // `com.1` is neither a name nor an address
        const reason = refuse(canonical!, scope, 2);
        const findings = await lookOver(`${scope} ${name}`);
        const hard = findings.filter((finding) => finding.level === 'refuse' && finding.overridable === false);
        expect(hard.map(({ check }) => check)).toEqual(reason === undefined ? [] : [checkOfRefusal(reason)]);
      }),
      { numRuns: 150 },
    );
  });

  it('say so when no list of popular names is at hand', async () => {
    expect(brief(await lookOver('popular.example', {}, { popular: undefined }))).toEqual(['warn popular-unchecked']);
  });

  it.skipIf(readTopSites() === undefined)('of the most linked hosts are all held back', async () => {
    const sites = readTopSites()!;
    const list = parsePopularNames(sites.join('\n'));
    expect(list.size).toBeGreaterThan(490); // some are cut short, as `marketingplatform.google....`
    const findings = await lookOver(
      sites
        .slice(0, 50)
        .map((name) => `www.${name}`)
        .join('\n'),
      {},
      { popular: list },
    );
    const held = findings.filter(({ check }) => check === 'popular-name');
    expect(held).toEqual([expect.objectContaining({ level: 'refuse', overridable: true, count: 50 })]);
  });
});

describe('fields', () => {
  const { dates, proportionality } = FIELDS;
  const onsa = { instrument: 'onsa-direction', term: { untilRevoked: true } };
  const cases: [what: string, changes: object, findings: string[]][] = [
    ['a missing field', { territory: undefined }, ['refuse missing-field']],
    ['a missing field deep down', { redress: { ...FIELDS.redress, body: undefined } }, ['refuse missing-field']],
    ['no dates', { dates: undefined }, ['refuse missing-field']],
    ['a malformed field', { languages: ['english'] }, ['refuse invalid-field']],
    [
      'texts too long together',
      {
        reasons: { public: '\u0bb5'.repeat(8000) },
        offence: '\u0bb5'.repeat(500),
        evidence: Array(256).fill('a'.repeat(64)),
        proportionality: { ...proportionality, balance: '\u0bb5'.repeat(2000) },
      },
      ['refuse statement-oversized'],
    ],
    ['an unknown field', { offense: 'x' }, ['refuse invalid-field']],
    ['an unknown instrument', { instrument: 'none' }, ['refuse instrument-unknown']],
    ['an unknown category', { category: 'none' }, ['refuse authority-scope', 'refuse category-unknown']],
    [
      'a category that the instrument does not cover',
      { instrument: 'onsa-priority', category: 'drugs' },
      ['refuse category-not-covered'],
    ],
    ['an unknown tag', { tags: ['none'] }, ['refuse tag-unknown']],
    ['a term too long', { term: { expires: day(366) } }, ['refuse term-too-long']],
    ['the longest term', { term: { expires: day(365) } }, []],
    ['a shorter instrument', { instrument: 'cma-211a', term: { expires: day(91) } }, ['refuse term-too-long']],
    ['an end before the start', { term: { expires: day(0) } }, ['refuse term-ended']],
    ['no end where there must be one', { term: { untilRevoked: true } }, ['refuse term-open']],
    ['no review date', onsa, ['refuse no-review-date']],
    ['a review date', { ...onsa, dates: { ...dates, reviewBy: day(180) } }, []],
    ['a review too late', { ...onsa, dates: { ...dates, reviewBy: day(181) } }, ['refuse review-too-late']],
    ['a review before the start', { dates: { ...dates, reviewBy: day(0) } }, ['refuse review-too-early']],
    [
      'a start in the past',
      { dates: { ...dates, approved: day(-2), made: day(-3), effectiveFrom: day(-1) } },
      ['warn effective-in-past'],
    ],
    [
      'a start before approval',
      { dates: { ...dates, approved: day(2), effectiveFrom: day(1) } },
      ['refuse dates-order'],
    ],
    [
      'approval before it was made',
      { dates: { ...dates, made: day(1), effectiveFrom: day(1) } },
      ['refuse dates-order'],
    ],
    ['compliance before the start', { dates: { ...dates, complyBy: day(-1) } }, ['warn comply-by']],
    ['compliance after the end', { dates: { ...dates, complyBy: day(31) } }, ['warn comply-by']],
    ['compliance between', { dates: { ...dates, complyBy: day(1) } }, []],
    [
      'a source that was not asked',
      {
        proportionality: {
          ...proportionality,
          sourceTakedown: { asked: false, detail: 'It is run by the offenders.' },
        },
      },
      ['warn source-takedown'],
    ],
    [
      'a source that was not asked for no reason',
      { proportionality: { ...proportionality, sourceTakedown: { asked: false, detail: '  n/a ' } } },
      ['needs-third-approver source-takedown'],
    ],
  ];

  it.each(cases)('%s', async (_what, changes, findings) => {
    expect(brief(await lookOver('scam.example', changes))).toEqual(findings);
  });

  it('name what is missing', async () => {
    const findings = await lookOver('scam.example', { territory: undefined });
    expect(findings[0]).toMatchObject({ message: 'territory: missing', count: 1, overridable: false });
  });

  it('may all be missing, and be anything', async () => {
    const value = fc.oneof(fc.jsonValue(), fc.constant(undefined));
    const keys = fc.constantFrom(...Object.keys(FIELDS));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(keys, value), async (changes) => {
        const findings = await runPreflight({ fields: { ...FIELDS, ...changes }, pack, nowSeconds: NOW });
        expect(brief(findings)).toContain('refuse missing-field');
      }),
      { numRuns: 200 },
    );
  });

  it('without names lack them', async () => {
    const findings = await runPreflight({ fields: FIELDS, pack, nowSeconds: NOW });
    expect(findings).toEqual([
      expect.objectContaining({ check: 'missing-field', message: 'entries: list the names to block' }),
    ]);
  });

  it('may not close whole hosts for an authority that may list pages alone', async () => {
    const authority = { ...authorities.byId.get('mcmc')!, scopes: new Set(['url'] as const) };
    const found = await lookOver('http://a.example/x', { https: 'block-host' }, { authority });
    expect(brief(found)).toEqual(['refuse authority-scope', 'warn https-closed e0000001']);
    expect(brief(await lookOver('http://a.example/x', {}, { authority }))).toEqual(['warn http-only e0000001']);
  });

  it('may not go beyond the authority', async () => {
    const authority = authorities.byId.get('other')!;
    const findings = await lookOver('subtree a.example\nb.example', { instrument: 'cma-233' }, { authority });
    expect(findings.map(({ check, message }) => [check, message])).toEqual([
      ['authority-scope', 'other has no part in online-scams'],
      ['authority-scope', 'other may not block by subtree'],
      ['authority-scope', 'other may not use cma-233'],
    ]);
  });

  it('bound the times of entries', async () => {
    const csv = `name,expires\na.example,${day(31)}\nb.example,${day(-1)}\nc.example,${day(5)}\n`;
    const composed = composeEntries({ bytes: Buffer.from(csv), type: 'text/csv', seed });
    const { bytes, entries } = (composed as { annex: { bytes: Buffer; entries: number } }).annex;
    const table = await tabulateAnnex(bytes, entries, new Turns());
    expect(brief(await lookOver('x.example', {}, { entries: table }))).toEqual([
      'refuse entry-outlives-notice e0000001',
      'warn entry-ended e0000002',
    ]);
  });
});

describe('the register', () => {
  it('has the reference already', async () => {
    const [finding] = await lookOver('a.example', {}, { facts: { ...NO_FACTS, sameReference: 1 } });
    expect(finding).toMatchObject({ check: 'reference-used', level: 'refuse', overridable: true });
  });

  it('lacks what is to be replaced', async () => {
    const register = new TestRegister();
    const id = register.notice(['a.example']);
    const { statements, folded } = register.readAt();
    const query = { authority: 'mcmc', reference: 'R/1', supersedes: [id, 'b'.repeat(64)], nowSeconds: NOW };
    const facts = gatherFactsOf(statements, folded, query);
    expect(facts.unknown).toEqual(['b'.repeat(64)]);
    expect(gatherFactsOf(statements, folded, { ...query, authority: 'other' }).unknown).toEqual(query.supersedes);
    expect(brief(await lookOver('c.example', {}, { facts }))).toEqual(['refuse supersedes-unknown']);
  });

  const size = (count: number, facts: Partial<RegisterFacts>) => {
    const names = Array.from({ length: count }, (_, at) => `n${at}.example`).join('\n');
    return lookOver(names, {}, { facts: { ...NO_FACTS, ...facts } });
  };
  const small = parsePack(
    JSON.stringify({
      ...pack,
      preflight: { breaker: { smallNotice: 10, absolute: 50, timesMedian: 3, shareOfForcePercent: 20 } },
    }),
  ).pack;
  const sizes: [count: number, facts: Partial<RegisterFacts>, findings: string[]][] = [
    [50, {}, []],
    [51, {}, ['needs-third-approver size-breaker']],
    [500, {}, ['needs-third-approver size-breaker']],
    [501, {}, ['refuse size-breaker']],
    [21, { noticeSizes: [7, 1, 9, 7] }, []],
    [21, { noticeSizes: [7, 1, 900, 7, 7] }, []],
    [22, { noticeSizes: [7, 1, 900, 7, 7] }, ['needs-third-approver size-breaker']],
    [10, { noticeSizes: [1, 1, 1, 1, 1] }, []],
    [11, { noticeSizes: [1, 1, 1, 1, 1] }, ['needs-third-approver size-breaker']],
    [31, { entriesInForce: 99 }, []],
    [40, { entriesInForce: 200 }, []],
    [41, { entriesInForce: 200 }, ['needs-third-approver size-breaker']],
  ];

  it.each(sizes)('and %i entries, with %j', async (count, facts, findings) => {
    const found = await size(count, facts);
    const own = await runPreflight({
      fields: FIELDS,
      entries: await tabulate(Array.from({ length: count }, (_, at) => `n${at}.example`).join('\n')),
      pack: small,
      nowSeconds: NOW,
      facts: { ...NO_FACTS, ...facts },
      popular,
    });
    expect(brief(own)).toEqual(findings);
    expect(brief(found).filter((line) => line.includes('refuse'))).toEqual([]); // the real pack takes more to be alarmed
  });

  it('blocks some of the names already', async () => {
    const register = new TestRegister();
    const old = register.notice(['gone.example'], { reference: 'R/0', term: { expires: day(5) } });
    register.notice([subtree('wide.example'), { raw: 'single.example', scope: 'exact' }], { reference: 'R/1' });
    const revoked = register.notice([subtree('lifted.example'), subtree('left.example')], { reference: 'R/2' });
    register.add({
      type: 'revocation',
      version: 1,
      authority: 'mcmc',
      reference: 'C/1',
      signedAt: day(0),
      reasons: { public: 'x' },
      notice: revoked,
      entries: ['e0000001'],
      from: day(0),
    });
    register.notice([subtree('later.example')], {
      reference: 'R/3',
      dates: { made: day(-1), approved: day(0), effectiveFrom: day(9) },
    });
    const nowSeconds = NOW + 6 * 86_400;
    const { statements, folded } = register.readAt(nowSeconds);
    const query = { authority: 'mcmc', reference: 'R/1', supersedes: [] as string[], nowSeconds };
    const facts = gatherFactsOf(statements, folded, query);
    expect(facts).toMatchObject({ sameReference: 1, noticeSizes: [1, 2, 2, 1], entriesInForce: 3 });
    const names = [
      'gone.example',
      'wide.example',
      'deep.wide.example',
      'subtree wide.example',
      'subtree single.example',
      'single.example',
      'lifted.example',
      'left.example',
      'later.example',
      'new.example',
    ];
    const overlapping = (known: RegisterFacts) =>
      lookOver(names.join('\n'), {}, { facts: known }).then((findings) =>
        findings
          .filter(({ check }) => check === 'overlap')
          .map(({ message, entries }) => [message, ...entries!.map((id) => names[Number(id.slice(1)) - 1])]),
      );
    expect(await overlapping(facts)).toEqual([
      ['blocked already by notice R/1', 'wide.example', 'deep.wide.example', 'subtree wide.example', 'single.example'],
      ['blocked already by notice R/2', 'left.example'],
      ['blocked already by notice R/3', 'later.example'],
    ]);
    const replaced = facts.notices.find(({ reference }) => reference === 'R/1')!.id;
    const without = gatherFactsOf(statements, folded, { ...query, supersedes: [replaced] });
    expect((await overlapping(without)).map(([message]) => message)).not.toContain('blocked already by notice R/1');
    expect(old).not.toBe(replaced);
  });
});

describe('pages that another notice lists', () => {
  const entries = [
    { raw: 'http://paged.example/x?a=1', scope: 'url' as const },
    { raw: 'http://any.example/x', scope: 'url' as const, query: 'any' as const },
    { raw: 'whole.example', scope: 'exact' as const },
    subtree('wide.example', { action: 'redirect' }),
  ];
  const register = new TestRegister();
  register.notice(entries, { reference: 'R/1' });
  const { statements, folded } = register.readAt();
  const facts = gatherFactsOf(statements, folded, {
    authority: 'mcmc',
    reference: 'N/1',
    supersedes: [],
    nowSeconds: NOW,
  });

  it.each([
    ['https://Paged.example/x?a=1', true],
    ['http://paged.example/x', false],
    ['any-query http://paged.example/x?a=1', false],
    ['http://paged.example/', false],
    ['paged.example', false],
    ['http://any.example/x?b=2', true],
    ['any-query https://any.example/x?c', true],
    ['http://any.example/', false],
    ['http://whole.example/x', true],
    ['http://deep.whole.example/x', false],
    ['http://wide.example/x', true],
    ['http://deep.wide.example/x', true],
    ['deep.wide.example', true],
  ])('%s: %s', async (line, isKnown) => {
    const found = (await lookOver(line, {}, { facts })).filter(({ check }) => check === 'overlap');
    expect(found.map(({ message }) => message)).toEqual(isKnown ? ['blocked already by notice R/1'] : []);
  });
});

describe('a resolver', () => {
  let server: ScriptedServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });

  it('tells names that do not exist from those that do, and from those it does not answer for', async () => {
    server = await startServer();
    server.script = (query) => {
      const [{ name }] = query.questions as unknown as [{ name: string }];
      if (name === 'dead.example') return [composeAnswer(query, { rcode: Packet.RCODE.NXDOMAIN })];
      if (name === 'empty.example') return [composeAnswer(query, {})];
      if (name === 'broken.example') return [composeAnswer(query, { rcode: Packet.RCODE.SERVFAIL })];
      const answers = [{ name, type: Packet.TYPE.A, class: Packet.CLASS.IN, ttl: 1, address: '192.0.2.1' }];
      return [composeAnswer(query, { answers })];
    };
    const askName = createAskName(server.address);
    const findings = await lookOver('dead.example\nalive.example\nempty.example\nbroken.example', {}, { askName });
    expect(brief(findings)).toEqual(['warn dead-name e0000001', 'warn dead-name-unknown']);
  });

  it('is asked for a bounded number of names, so many at once', async () => {
    let under = 0;
    let most = 0;
    let asked = 0;
    const askName = async () => {
      asked++;
      most = Math.max(most, ++under);
      await new Promise((done) => setImmediate(done));
      under--;
      return 'alive' as const;
    };
    const names = Array.from({ length: 2500 }, (_, at) => `n${at}.example`).join('\n');
    const findings = await lookOver(names, {}, { askName });
    expect([asked, most <= 32, most > 1]).toEqual([2000, true, true]);
    expect(findings).toContainEqual(
      expect.objectContaining({ check: 'dead-name-unknown', message: expect.stringContaining('500') }),
    );
  });
});

describe('a list of popular names', () => {
  it.each([
    ['names alone', 'a.example\n# note\n\nB.example.\n', 2],
    ['ranks', '1,a.example\n2,b.example\n', 2],
    ['quoted fields', '"rank","domain"\r\n"1","a.example"\r\n"2","b.example"', 2],
  ])('may hold %s', (_what, text, rank) => {
    const list = parsePopularNames(text);
    expect([list.size, list.rankOf('b.example', false), list.rankOf('x.b.example', false)]).toEqual([
      2,
      rank,
      undefined,
    ]);
  });

  it('knows a site by its www, and what lies below a subtree', () => {
    const list = parsePopularNames('www.a.example\nshop.b.example\nb.example');
    expect(list.rankOf('a.example', false)).toBe(1);
    expect(list.rankOf('b.example', false)).toBe(3);
    expect(list.rankOf('b.example', true)).toBe(2);
    expect(list.rankOf('c.example', true)).toBeUndefined();
  });

  it.each(['', '# nothing', 'no name at all', '1,a.example\nx,b.example', '1,', '1,a.example\n2,b..example'])(
    'is refused as %j',
    (text) => {
      expect(() => parsePopularNames(text)).toThrowError(expect.objectContaining({ code: 'config-invalid' }));
    },
  );

  it('is the one beside the pack unless the operator has one', () => {
    const folder = makeFolder();
    writeFileSync(join(folder, 'pack.csv'), '1,pack.example');
    writeFileSync(join(folder, 'own.csv'), '1,own.example');
    const named = parsePack(JSON.stringify({ ...pack, preflight: { popular: { file: 'pack.csv' } } })).pack;
    const places = { pack: named, packFile: join(folder, 'pack.yaml') };
    expect(openPreflightSources(places).popular!.rankOf('pack.example', false)).toBe(1);
    const own = openPreflightSources({ ...places, popularNames: join(folder, 'own.csv') });
    expect(own.popular!.rankOf('pack.example', false)).toBeUndefined();
    expect(openPreflightSources({ ...places, pack })).toEqual({});
    expect(() => loadPopularNames(join(folder, 'none.csv'))).toThrowError(
      expect.objectContaining({ code: 'config-unreadable' }),
    );
  });
});

describe('findings', () => {
  it('come gravest first, and the same fault once', () => {
    const book = new FindingBook();
    book.add('b', 'warn', 'm');
    book.addEntry('z', 'refuse', 'm', 'e1', true);
    book.addEntry('z', 'refuse', 'm', 'e2', true);
    book.addEntry('y', 'refuse', 'm', 'e1');
    book.add('a', 'needs-third-approver', 'm');
    expect(book.list().map(({ check, count }) => `${check} ${count}`)).toEqual(['y 1', 'z 2', 'a 1', 'b 1']);
  });

  it('are refused until overridden, and then need a third person', async () => {
    const findings = await lookOver('popular.example\ncom.my');
    const nothing = () => false;
    const popularOnly = (check: string) => check === 'popular-name';
    const everything = () => true;
    expect(findRefusals(findings, nothing).map(({ check }) => check)).toEqual(['public-suffix', 'popular-name']);
    expect(findRefusals(findings, popularOnly).map(({ check }) => check)).toEqual(['public-suffix']);
    expect(findRefusals(findings, everything).map(({ check }) => check)).toEqual(['public-suffix']);
    expect([needsThirdApprover(findings, nothing), needsThirdApprover(findings, popularOnly)]).toEqual([false, true]);
  });
});

describe('a policy pack', () => {
  it('may say nothing of the pre-flight', () => {
    const { preflight: _, reviews: __, ...old } = pack;
    const { assessWithinDays: ___, eraseContactAfterDays: ____, ...appeals } = old.appeals;
    const parsed = parsePack(JSON.stringify({ ...old, appeals })).pack;
    expect(parsed.reviews).toBeUndefined();
    expect(parsed.preflight).toEqual({
      popular: { refuseTop: 1000, thirdApproverTop: 100_000 },
      breaker: { smallNotice: 100, absolute: 5000, timesMedian: 10, shareOfForcePercent: 20 },
      sharedResources: [],
    });
  });

  it('gives every refusal of its guard-rails a check', () => {
    const refuse = createGuard(pack);
    const names = [...pack.protectedNames.flatMap(({ name }) => [name, `x.${name}`]), ...pack.mediaNames];
    const more = ['.', 'com', '10.0.0.1', 'com.my', `${'a.'.repeat(127)}example`];
    const reasons = [...names, ...more].flatMap((name) =>
      (['exact', 'subtree', 'url'] as const).map((scope) => refuse(name, scope, 0)),
    );
    reasons.push(refuseUrl('http://a.example:8080/'), refuseUrl('http://a.example/#/b'));
    const checks = new Set(reasons.filter((reason) => reason !== undefined).map(checkOfRefusal));
    expect([...checks].sort()).toEqual([
      'address',
      'media-name',
      'name-too-long',
      'protected-name',
      'public-suffix',
      'root',
      'single-label',
      'url-fragment',
      'url-port',
    ]);
  });
});
