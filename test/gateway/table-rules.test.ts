import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalizeTarget } from '../../src/gateway/canonical-url.ts';
import { createTableRules } from '../../src/gateway/table-rules.ts';
import type { NoticeDetails, UrlRules } from '../../src/gateway/url-rules.ts';
import { NO_END } from '../../src/rules/layout.ts';
import type { RuleNotice, TablePage } from '../../src/rules/rule-table.ts';
import { RuleTablePatch } from '../../src/rules/table-patch.ts';
import { ANSWER, CATEGORIES, compileRules, NOTICE, NOW, type RuleSpec } from '../rules/fixture.ts';
import { createUrlRules, type UrlEntry } from './naive-rules.ts';

const describeInstrument = (instrument: string, reference: string) => ({
  instrument: `Act ${instrument}`,
  section: '263',
  appealUrl: `https://register.example/appeal?notice=${reference}`,
});

const rulesOf = (table: SharedArrayBuffer) => createTableRules(table, describeInstrument);
const at = (seconds: number) => ({ startSeconds: seconds, endSeconds: seconds });

/** What is said of a page: its notice and what is blocked; `whole` for a host that is blocked as one. */
function judge(rules: UrlRules, host: string, target: string, seconds: number): unknown {
  const found = rules.findHost(host, at(seconds));
  if (found === undefined) return 'foreign';
  const { redirect, hasPages, blocksHttps } = found;
  if (redirect !== undefined) return ['whole', redirect.notice.reference, redirect.blocked, redirect.endSeconds];
  const hit = found.findPage(canonicalizeTarget(host, undefined, target));
  return [hasPages, blocksHttps, hit && [hit.notice.reference, hit.blocked, hit.usesQuery, hit.endSeconds]];
}

const PAGE_NOTICE: RuleNotice = {
  ...NOTICE,
  page: { instrument: 'cma-263', fromSeconds: NOW - 5, reviewBySeconds: NOW + 500, sealed: true },
};

describe('the rules of a table', () => {
  const pages: TablePage[] = [
    { entry: 1, url: 'http://shop.example/pay?id=7', anyQuery: false },
    { entry: 2, url: 'https://shop.example/any', anyQuery: true },
  ];
  const rules: RuleSpec[] = [
    { name: 'shop.example', trigger: 'exact', action: 'steer', entry: 1, until: NOW + 60 },
    { name: 'shop.example', trigger: 'exact', action: 'steer', entry: 2, from: NOW + 10 },
    { name: 'led.example', action: 'redirect', entry: 3 },
    { name: 'free.led.example', action: 'passthru', entry: 3 },
    { name: 'gone.example', entry: 4 },
  ];
  const table = compileRules(rules, { pages, notices: [PAGE_NOTICE] });

  it('say of a page what its notice does', () => {
    const hit = rulesOf(table)
      .findHost('shop.example', at(NOW))!
      .findPage(canonicalizeTarget('shop.example', undefined, '/pay?id=7'))!;
    expect(hit).toMatchObject({ blocked: 'http://shop.example/pay?id=7', usesQuery: true, endSeconds: NOW + 60 });
    expect(hit.notice).toEqual({
      reference: NOTICE.reference,
      authority: NOTICE.authority,
      category: 'scam',
      contacts: NOTICE.contacts,
      ...describeInstrument('cma-263', NOTICE.reference),
      sealed: true,
      fromSeconds: NOW - 5,
      endSeconds: NOW + 60,
      reviewBySeconds: NOW + 500,
    });
  });

  it('give the same object for the same rule each time', () => {
    const used = rulesOf(table);
    const hitOf = (seconds: number) =>
      used.findHost('shop.example', at(seconds))!.findPage(canonicalizeTarget('shop.example', undefined, '/pay?id=7'));
    expect(hitOf(NOW)).toBe(hitOf(NOW + 3));
    const coverOf = (host: string) => used.findHost(host, at(NOW))!.redirect;
    expect(coverOf('www.led.example')).toBe(coverOf('www.led.example'));
  });

  it('cover a host that is redirected or blocked, but not its exclusions, and no other host', () => {
    const used = rulesOf(table);
    expect(judge(used, 'www.led.example', '/', NOW)).toEqual(['whole', NOTICE.reference, 'led.example', Infinity]);
    expect(judge(used, 'gone.example', '/', NOW)).toEqual(['whole', NOTICE.reference, 'gone.example', Infinity]);
    for (const host of ['free.led.example', 'example', 'www.shop.example', 'xn--p1ai', `${'a'.repeat(64)}.example`]) {
      expect(judge(used, host, '/pay?id=7', NOW)).toBe('foreign');
    }
  });

  it('cover a host no longer than until an exclusion of it begins that is known', () => {
    const later: RuleSpec[] = [
      { name: 'led.example', action: 'redirect', entry: 3, until: NOW + 90 },
      { name: 'free.led.example', action: 'passthru', entry: 3, from: NOW + 7, until: NOW + 90 },
    ];
    const used = rulesOf(compileRules(later, { notices: [PAGE_NOTICE] }));
    const coverOf = (host: string, time = NOW) => used.findHost(host, at(time))?.redirect;
    expect(coverOf('free.led.example')).toMatchObject({ endSeconds: NOW + 7, notice: { endSeconds: NOW + 90 } });
    expect(coverOf('www.led.example')).toMatchObject({ endSeconds: NOW + 90, notice: { endSeconds: NOW + 90 } });
    expect(coverOf('free.led.example')).toBe(coverOf('free.led.example', NOW + 6));
    expect(coverOf('free.led.example', NOW + 7)).toBeUndefined();
  });

  it('hold as long as they last', () => {
    const used = rulesOf(table);
    const told = [NOW, NOW + 10, NOW + 60].map((time) => [
      judge(used, 'shop.example', '/pay?id=7', time),
      judge(used, 'shop.example', '/any?x', time),
    ]);
    const pay = [NOTICE.reference, 'http://shop.example/pay?id=7', true, NOW + 60];
    const any = [NOTICE.reference, 'https://shop.example/any', false, Infinity];
    const open = [true, false, undefined];
    expect(told).toEqual([
      [[true, false, pay], open],
      [
        [true, false, pay],
        [true, false, any],
      ],
      [open, [true, false, any]],
    ]);
  });

  it('are counted without those of notices that have ended', () => {
    const closing = { ...PAGE_NOTICE, page: { ...PAGE_NOTICE.page!, blocksHttps: true as const } };
    const two = compileRules(
      [...rules.slice(0, 2), { name: 'b.example', trigger: 'exact', action: 'steer', entry: 9, notice: 1 }],
      { pages: [...pages, { entry: 9, url: 'http://b.example/', anyQuery: false }], notices: [PAGE_NOTICE, closing] },
    );
    expect(rulesOf(two).countPages()).toEqual({ pages: 3, blockHostPages: 1 });
    const patch = new RuleTablePatch(two, {
      ...{ categories: CATEGORIES, answer: ANSWER, builtAtSeconds: NOW, source: 'p', ranks: [0, 1], ended: [0] },
    });
    const patched = patch.finish()!;
    expect(rulesOf(patched).countPages()).toEqual({ pages: 1, blockHostPages: 1 });
    expect(judge(rulesOf(patched), 'shop.example', '/pay?id=7', NOW)).toBe('foreign');
    expect(judge(rulesOf(patched), 'b.example', '/', NOW)).toEqual([
      true,
      true,
      [NOTICE.reference, 'http://b.example/', true, Infinity],
    ]);
  });
});

describe('the rules of a table and a naive model', () => {
  const HOSTS = ['a.example', 'b.a.example', 'c.example'];
  const TARGETS = ['/', '/x', '/x/y', '/x?q=1', '/x?q=2', '/%78', '/x/./y'];
  const TIMES = [0, 3, 5, 6, 9].map((offset) => NOW + offset);
  interface Spec {
    host: string;
    target: string | undefined;
    below: boolean;
    any: boolean;
    notice: number;
    from: number;
    until: number;
  }
  const spec = fc.record<Spec>({
    host: fc.constantFrom(...HOSTS),
    target: fc.option(fc.constantFrom(...TARGETS), { nil: undefined, freq: 5 }),
    below: fc.boolean(),
    any: fc.boolean(),
    notice: fc.nat(2),
    from: fc.constantFrom(0, NOW + 3),
    until: fc.constantFrom(NOW + 6, NO_END),
  });
  const notices = [0, 1, 2].map((number): RuleNotice => {
    const page = { instrument: 'i', fromSeconds: NOW, ...(number === 2 ? { blocksHttps: true as const } : {}) };
    return { ...NOTICE, reference: `N-${number}`, page };
  });

  function compileSpecs(specs: readonly Spec[]): SharedArrayBuffer {
    const rules = specs.map(({ host, target, below, notice, from, until }, entry): RuleSpec => {
      const led = target === undefined;
      const trigger = led && below ? 'subtree' : 'exact';
      return { name: host, trigger, action: led ? 'redirect' : 'steer', from, until, notice, entry };
    });
    const pages = specs.flatMap(({ host, target, any }, entry) =>
      target === undefined ? [] : [{ entry, url: new URL(`http://${host}${target}`).href, anyQuery: any }],
    );
    return compileRules(rules, { pages, notices });
  }

  function modelOf(specs: readonly Spec[]): UrlRules {
    return createUrlRules(
      specs.map(({ host, target, below, any, notice, from, until }): UrlEntry => {
        const window = {
          notice: { reference: `N-${notice}` } as NoticeDetails,
          fromSeconds: from,
          endSeconds: until === NO_END ? undefined : until,
        };
        if (target === undefined) return { host, subtree: below, ...window };
        const https = notice === 2 ? 'block-host' : undefined;
        return { url: `http://${host}${target}`, query: any ? 'any' : 'exact', https, ...window };
      }),
    );
  }

  const isWhole = (said: unknown): said is unknown[] => Array.isArray(said) && said[0] === 'whole';
  const withoutEnd = (said: unknown) => (isWhole(said) ? said.slice(0, 3) : said);

  it('say the same of every page at every time', () => {
    fc.assert(
      fc.property(fc.array(spec, { maxLength: 8 }), (specs) => {
        const [ours, model] = [rulesOf(compileSpecs(specs)), modelOf(specs)];
        for (const host of [...HOSTS, 'd.b.a.example', 'xa.example']) {
          for (const target of TARGETS) {
            for (const time of TIMES) {
              const told = `${host}${target} at ${time - NOW}`;
              const said = judge(ours, host, target, time);
              const meant = judge(model, host, target, time);
              expect([told, withoutEnd(said)]).toEqual([told, withoutEnd(meant)]);
              // What begins later is known to the table, and ends sooner what caches may keep.
              if (isWhole(said) && isWhole(meant)) expect([NOW + 3, meant[3]]).toContain(said[3]);
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});
