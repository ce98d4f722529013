import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { previewEntries, readAnnexLines, tabulateAnnex } from '../../../src/control/drafting/entries/annex-pages.ts';
import { composeEntries } from '../../../src/control/drafting/entries/compose-entries.ts';
import { EntryComposer } from '../../../src/control/drafting/entries/entry-composer.ts';
import { describeLook, findPlainLook, mixesScripts } from '../../../src/control/drafting/entries/label-script.ts';
import type { EntryType } from '../../../src/control/drafting/entries/read-entries.ts';
import { ProblemError } from '../../../src/control/http/problem.ts';
import { Turns } from '../../../src/control/view/turns.ts';
import { parseAnnex } from '../../../src/register/annex.ts';
import { NO_END_SECONDS } from '../../../src/register/time.ts';

const seed = createHash('sha256').update('seed').digest();
const compose = (text: string | Uint8Array, type: EntryType = 'text/plain') =>
  composeEntries({ bytes: Buffer.from(text as string), type, seed });

/** The entries of a good list without what every one of them has. */
function entriesOf(text: string, type: EntryType = 'text/plain') {
  const composed = compose(text, type);
  if (!('annex' in composed)) throw new Error(JSON.stringify(composed.faults));
  return [...readAnnexLines(composed.annex.bytes)].map(({ action, ...entry }) =>
    action === 'block' ? entry : { action, ...entry },
  );
}

/** The faults of a bad list. */
function faultsOf(text: string | Uint8Array, type: EntryType = 'text/plain') {
  const composed = compose(text, type);
  if ('annex' in composed) throw new Error('nothing is wrong with it');
  return composed.faults;
}

describe('a list of names', () => {
  const EXPECTED = [
    { id: 'e0000001', raw: 'Scam-Bank.example', canonical: 'scam-bank.example', scope: 'exact' },
    {
      id: 'e0000002',
      raw: 'invest.example',
      canonical: 'invest.example',
      scope: 'subtree',
      excludes: ['help.invest.example', 'www.invest.example'],
    },
    { id: 'e0000003', raw: 'münze.example', canonical: 'xn--mnze-0ra.example', scope: 'exact' },
    {
      id: 'e0000004',
      raw: 'https://shop.example/pay?a=1,2',
      canonical: 'shop.example',
      scope: 'url',
      url: 'https://shop.example/pay?a=1,2',
    },
    { id: 'e0000005', raw: 'one.example', canonical: 'one.example', scope: 'exact', action: 'redirect' },
    {
      id: 'e0000006',
      raw: 'all.example',
      canonical: 'all.example',
      scope: 'subtree',
      action: 'redirect',
      excludes: ['ok.all.example'],
    },
    {
      id: 'e0000007',
      raw: 'http://shop.example/list',
      canonical: 'shop.example',
      scope: 'url',
      url: 'http://shop.example/list',
      query: 'any',
    },
  ];

  it('is read from plain text', () => {
    const text = [
      '\ufeff# a comment',
      'Scam-Bank.example\r',
      '',
      '  subtree  invest.example except help.invest.example WWW.invest.example ',
      'exact münze.example',
      'https://shop.example/pay?a=1,2',
      'redirect one.example',
      'redirect subtree all.example except ok.all.example',
      'any-query http://shop.example/list',
    ];
    expect(entriesOf(text.join('\n'))).toEqual(EXPECTED);
  });

  it('is read from CSV', () => {
    const text = [
      '\ufeffName,Scope,Exclude,Action,Query',
      'Scam-Bank.example',
      '# a comment',
      'invest.example,subtree,"help.invest.example; WWW.invest.example",block',
      '',
      ' münze.example ,exact,',
      '"https://shop.example/pay?a=1,2",url,',
      'one.example,,,redirect,',
      'all.example,subtree,ok.all.example,redirect,',
      'http://shop.example/list,url,,,any',
    ];
    expect(entriesOf(text.join('\r\n'), 'text/csv')).toEqual(EXPECTED);
  });

  it('is read from JSON', () => {
    const list = [
      'Scam-Bank.example',
      { subtree: 'invest.example', exclude: ['help.invest.example', 'WWW.invest.example'] },
      { exact: 'münze.example' },
      { url: 'https://shop.example/pay?a=1,2' },
      { exact: 'one.example', action: 'redirect' },
      { subtree: 'all.example', exclude: ['ok.all.example'], action: 'redirect' },
      { url: 'http://shop.example/list', query: 'any' },
    ];
    expect(entriesOf(JSON.stringify(list), 'application/json')).toEqual(EXPECTED);
  });

  it('keeps ids and ends of its entries', () => {
    const text = 'id,name,expires\nz1,b.example,2026-05-01T00:00:00Z\na1,a.example,\n';
    expect(entriesOf(text, 'text/csv')).toEqual([
      { id: 'a1', raw: 'a.example', canonical: 'a.example', scope: 'exact' },
      { id: 'z1', raw: 'b.example', canonical: 'b.example', scope: 'exact', expires: '2026-05-01T00:00:00Z' },
    ]);
  });

  it('makes an annex that the verifier of a node takes', async () => {
    const composed = compose('subtree a.example except b.a.example\nhttps://c.example/d\n');
    if (!('annex' in composed)) throw new Error('it is bad');
    const { bytes, digest, entries } = composed.annex;
    const proven = parseAnnex(bytes, { digest, entries, sizeBytes: bytes.length, endSeconds: NO_END_SECONDS });
    const read = await tabulateAnnex(bytes, entries, new Turns());
    for (const table of [proven, read]) {
      expect([table.count, table.name(0), table.scope(1), table.excludes.get(0), table.urls.get(1)]).toEqual([
        2,
        'a.example',
        'url',
        ['b.a.example'],
        { url: 'https://c.example/d', anyQuery: false },
      ]);
    }
  });

  it('has other salts with another seed, and the same with the same', () => {
    const digestOf = (bytes: Uint8Array) => {
      const composed = composeEntries({ bytes: Buffer.from('a.example'), type: 'text/plain', seed: bytes });
      return 'annex' in composed ? composed.annex.digest : '';
    };
    expect(digestOf(seed)).toBe(digestOf(seed));
    expect(digestOf(seed)).not.toBe(digestOf(Buffer.alloc(32)));
  });
});

const bad: [what: string, line: string, says: string][] = [
  ['two names', 'a.example b.example', 'one name a line'],
  ['no name', 'a..example', 'is no name'],
  ['a wildcard', '*.a.example', 'scope subtree'],
  ['a URL as a name', 'exact https://a.example/', 'scope url'],
  ['no URL', 'url ftp://a.example/', 'no http(s) URL'],
  ['a redirect of a page', 'redirect https://a.example/', 'is not redirected'],
  ['any query of a name', 'any-query a.example', 'query needs the scope url'],
  ['a redirect after its scope', 'subtree redirect a.example', 'one name a line'],
  ['a page on a port of its own', 'http://a.example:8080/x', 'a port other than 80 and 443'],
  ['a URL with a password', 'url https://u:p@a.example/', 'no http(s) URL'],
  ['a label too long', `${'a'.repeat(64)}.example`, 'longer than DNS allows'],
  ['a name too long', `${'a.'.repeat(127)}example`, 'longer than DNS allows'],
  ['far too long a name', `${'a.'.repeat(600)}example`, 'more than 1024 characters'],
  ['a stray exclusion', 'subtree a.example except b.example', 'is no name below a.example'],
  ['an exclusion of an exact name', 'exact a.example except b.a.example', 'needs the scope subtree'],
  ['a mark of direction', 'a\u202eb.example', 'does not show'],
  ['a zero-width space', 'pay\u200bpal.example', 'does not show'],
  ['a joiner', 'pay\u200dpal.example', 'does not show'],
  ['a soft hyphen', 'pay\u00adpal.example', 'does not show'],
  ['a tag character', 'a\u{e0041}.example', 'does not show'],
  ['a filler', 'a\u3164.example', 'does not show'],
  ['a control', 'a\u0007.example', 'control character'],
  ['a NUL', 'a\u0000.example', 'control character'],
  ['Cyrillic among Latin', 'p\u0430ypal.example', 'mixes scripts'],
  ['Greek among Latin', 'g\u03bfogle.example', 'mixes scripts'],
  ['mixed scripts in a URL', 'https://p\u0430ypal.example/login', 'mixes scripts'],
  ['mixed scripts in an exclusion', 'subtree a.example except p\u0430y.a.example', 'is no name below'],
];

describe('a bad line', () => {
  it.each(bad)('with %s is named', (_what, line, says) => {
    const faults = faultsOf(`good.example\n# nothing\n${line}\nfine.example\n`);
    expect(faults).toEqual([{ line: 3, message: expect.stringContaining(says) }]);
    // What a stranger wrote is quoted without anything a terminal or a log would obey.
    expect(faults[0]!.message).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  });

  const csv: [what: string, text: string, faults: [number, string][]][] = [
    ['no header', 'a.example\nb.example\n', [[1, 'header']]],
    ['an unknown column', 'name,colour\na.example,red\n', [[1, 'header']]],
    ['a column twice', 'name,name\na.example,b.example\n', [[1, 'header']]],
    ['a scope that is none', 'name,scope\na.example,all\nb.example,exact\n', [[2, 'scope "all"']]],
    ['an action that is none', 'name,action\na.example,drop\nb.example,block\n', [[2, 'action "drop"']]],
    ['a query that is not any', 'name,scope,query\nhttp://a.example/,url,x=1\n', [[2, 'query "x=1"']]],
    ['a span for a time', 'name,expires\na.example,7d\n', [[2, 'expires "7d"']]],
    ['a bad id', 'name,id\na.example,a b\n', [[2, 'id "a b"']]],
    ['an id twice', 'name,id\na.example,x\nb.example,y\nc.example,x\n', [[4, 'id x is that of line 2']]],
    ['an id that stands for another place', 'name,id\na.example,e0000002\nb.example,\n', [[3, 'e0000002']]],
    ['fields without a column', 'name\na.example\nb.example,exact\n', [[3, 'more fields']]],
    ['no name', 'name,scope\n,exact\n', [[2, 'has no name']]],
    ['a quote that does not close', 'name\na.example\n"b.example\n', [[3, 'no CSV']]],
    ['nothing', '', [[1, 'lists no name']]],
    ['nothing but a header', 'name\n', [[1, 'lists no name']]],
  ];

  it.each(csv)('of CSV with %s is named', (_what, text, expected) => {
    const faults = faultsOf(text, 'text/csv');
    expect(faults.map(({ line }) => line)).toEqual(expected.map(([line]) => line));
    for (const [at, [, says]] of expected.entries()) expect(faults[at]!.message).toContain(says);
  });

  it.each([
    ['no JSON', '["a.example"', 1, 'not JSON'],
    ['no list', '{"names":[]}', 1, 'no list'],
    ['an item of another kind', '["a.example", 5]', 2, 'expected string'],
    ['an unknown key', '["a.example", "b.example", {"exact":"c.example","note":1}]', 3, 'note'],
    ['an unknown action', '[{"exact":"a.example","action":"drop"}]', 1, 'action'],
    ['an action of a page', '[{"url":"http://a.example/","action":"redirect"}]', 1, 'action'],
    ['a query of a name', '[{"exact":"a.example","query":"any"}]', 1, 'query'],
    ['an empty list', '[]', 1, 'lists no name'],
    ['a lone surrogate', '["a.example", "\\ud800.example"]', 2, 'does not show'],
  ])('of JSON with %s is named', (_what, text, line, says) => {
    expect(faultsOf(text, 'application/json')).toEqual([{ line, message: expect.stringContaining(says) }]);
  });

  it('is named when it is not UTF-8', () => {
    const text = Buffer.concat([
      Buffer.from('a.example\nb.example\n'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('\nc\n'),
    ]);
    expect(faultsOf(text)).toEqual([{ line: 3, message: 'is not UTF-8' }]);
  });

  it('is one of a thousand at most', () => {
    const lines = Array.from({ length: 1500 }, () => 'no name');
    const composed = compose(lines.join('\n'));
    expect(composed).toMatchObject({ count: 1500 });
    expect('faults' in composed && composed.faults.length).toBe(1000);
  });

  it('is the one too many', () => {
    const lines = Array.from({ length: 200_001 }, (_, at) => `n${at}.example`);
    expect(faultsOf(lines.join('\n'))).toEqual([{ line: 200_001, message: expect.stringContaining('200000 entries') }]);
  });
});

const letters = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789_üßñéçж中文தமிழ்ا');
const label = fc.string({ unit: letters, minLength: 1, maxLength: 20 });

/** Good names in any scope, as JSON, CSV and text may hold them; what is no name is left to the other property. */
const goodName = fc
  .tuple(fc.array(fc.stringMatching(/^[a-z_][a-z0-9_]{0,20}$/), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([labels, isUpper]) => {
    const name = `${labels.join('.')}.example`;
    return isUpper ? name.toUpperCase() : name;
  });

describe('any list', () => {
  it('of good names comes to the same entries however it is written', () => {
    const entry = fc.record({ name: goodName, scope: fc.constantFrom('exact', 'subtree') });
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 30 }), (list) => {
        const plain = list.map(({ name, scope }) => `${scope} ${name}`).join('\n');
        const csv = ['scope,name', ...list.map(({ name, scope }) => `${scope},"${name}"`)].join('\n');
        const json = JSON.stringify(list.map(({ name, scope }) => ({ [scope]: name })));
        const expected = list.map(({ name, scope }) => [name, name.toLowerCase(), scope]);
        const read = (text: string, type: EntryType) =>
          entriesOf(text, type).map(({ raw, canonical, scope }) => [raw, canonical, scope]);
        expect(read(plain, 'text/plain')).toEqual(expected);
        expect(read(csv, 'text/csv')).toEqual(expected);
        expect(read(json, 'application/json')).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('names exactly its bad lines', () => {
    const badLine = fc.constantFrom(
      'a b c',
      '*.x.example',
      'x..example',
      'p\u0430y.example',
      'a\u200bb.example',
      'exact @',
    );
    const line = fc.oneof(
      goodName.map((text) => ({ text, isBad: false })),
      badLine.map((text) => ({ text, isBad: true })),
    );
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 40 }), (list) => {
        const expected = list.flatMap(({ isBad }, at) => (isBad ? [at + 1] : []));
        const text = list.map((one) => one.text).join('\n');
        const composed = compose(text);
        expect('annex' in composed ? [] : composed.faults.map((fault) => fault.line)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('is either good, with canonical names that stay as they are, or has faults; nothing else happens', () => {
    const text = fc.array(fc.oneof(label, fc.string({ unit: 'binary', maxLength: 30 })), { maxLength: 10 });
    fc.assert(
      fc.property(text, fc.constantFrom<EntryType>('text/plain', 'text/csv', 'application/json'), (lines, type) => {
        const composed = compose([...(type === 'text/csv' ? ['name'] : []), ...lines].join('\n'), type);
        if (!('annex' in composed)) {
          expect(composed.faults.length).toBeGreaterThan(0);
          return;
        }
        for (const { canonical } of readAnnexLines(composed.annex.bytes)) {
          expect(entriesOf(`exact ${canonical}`)[0]!.canonical).toBe(canonical);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('EntryComposer', () => {
  it('composes a long list apart, to the same annex', async () => {
    const text = Array.from({ length: 5000 }, (_, at) => `subtree name-${at}.some-host.example`).join('\n');
    const job = { bytes: Buffer.from(text), type: 'text/plain', seed } as const;
    const composed = compose(text);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const annex = await new EntryComposer().compose(job);
    clearInterval(timer);
    expect(Buffer.isBuffer(annex.bytes)).toBe(true);
    expect('annex' in composed && composed.annex).toEqual(annex);
    expect(turns).toBeGreaterThan(0);
  });

  it.each([10, 10_000])('names the bad lines of %i', async (count) => {
    const lines = Array.from({ length: count }, (_, at) => (at === 6 ? 'no name' : `n${at}.example`));
    const job = { bytes: Buffer.from(lines.join('\n')), type: 'text/plain', seed } as const;
    const fault = await new EntryComposer().compose(job).catch((error) => error);
    expect(fault).toBeInstanceOf(ProblemError);
    expect(fault).toMatchObject({ code: 'entries-invalid', errors: [{ line: 7 }] });
  });
});

describe('the look of a label', () => {
  it.each([
    ['apple', false],
    ['bänk', false],
    ['\u0430\u0440\u0440\u04cf\u0435', false],
    ['中文', false],
    ['日本のサイト', false],
    ['shop中文', false],
    ['தமிழ்2', false],
    ['p\u0430ypal', true],
    ['中文\u0430', true],
    ['கa', true],
    ['عربa', true],
    ['ᚠᚢ', true],
  ])('%s mixes scripts: %s', (text, expected) => {
    expect(mixesScripts(text)).toBe(expected);
  });

  it.each([
    ['apple', undefined],
    ['\u0430\u0440\u0440\u04cf\u0435', 'apple'],
    ['bänk', 'bank'],
    ['中文', undefined],
    ['g\u03bf\u03bfgle', 'google'],
  ])('%s may be taken for %s', (text, expected) => {
    expect(findPlainLook(text)).toBe(expected);
  });

  it('is told of names in A-labels, which are taken as they are', () => {
    expect(entriesOf('xn--pypal-4ve.example')[0]!.canonical).toBe('xn--pypal-4ve.example');
    expect(describeLook('xn--pypal-4ve.example')).toEqual([
      expect.stringContaining('mixes scripts'),
      expect.stringContaining('may be taken for paypal'),
    ]);
    expect(describeLook('plain.example')).toEqual([]);
  });

  it('is in the preview', () => {
    const composed = compose('\u0430\u0440\u0440\u04cf\u0435.example\nplain.example');
    const previews = previewEntries((composed as { annex: { bytes: Buffer } }).annex.bytes, 0, 10);
    expect(previews).toEqual([
      {
        id: 'e0000001',
        raw: '\u0430\u0440\u0440\u04cf\u0435.example',
        canonical: 'xn--80ak6aa92e.example',
        unicode: '\u0430\u0440\u0440\u04cf\u0435.example',
        scope: 'exact',
        action: 'block',
        warnings: ['\u0430\u0440\u0440\u04cf\u0435 may be taken for apple'],
      },
      {
        id: 'e0000002',
        raw: 'plain.example',
        canonical: 'plain.example',
        unicode: 'plain.example',
        scope: 'exact',
        action: 'block',
        warnings: [],
      },
    ]);
  });
});
