import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalizeHost, canonicalizeTarget, canonicalizeUrl } from '../../src/gateway/canonical-url.ts';
import { listPage } from './fixture.ts';
import { createUrlRules } from './naive-rules.ts';
import { OTHER_PAGES, SAME_PAGES, type UrlPair } from './url-pairs.ts';

const NOW = { startSeconds: 1, endSeconds: 1 };

/** A pair's member written out. */
const absolute = (text: string) => (/^[/\\]/.test(text) ? `http://h.example${text}` : text);

/** What a client sends for a URL as it is written: a browser's form when it has characters that no request line can have. */
function requestOf(text: string): { host: string; port: number | undefined; target: string } {
  const parsed = new URL(absolute(text));
  const raw = /^https?:\/\/[^/?#\\]+([^#]*)/i.exec(absolute(text))?.[1] ?? '';
  const isSendable = /^\/[^\s#]*$/.test(raw);
  const target = isSendable ? Buffer.from(raw).toString('latin1') : parsed.pathname + parsed.search;
  const port = parsed.port === '' ? undefined : Number(parsed.port);
  return { host: canonicalizeHost(parsed.hostname)!, port, target };
}

/** Whether a rule for one address hits a request for the other. */
function isHit(rule: string, asked: string): boolean {
  const { host, port, target } = requestOf(asked);
  const rules = createUrlRules([listPage(absolute(rule))]).findHost(host, NOW);
  return rules?.findPage(canonicalizeTarget(host, port, target)) !== undefined;
}

const named = (pairs: readonly UrlPair[]) => pairs.map(([first, second, beyond]) => ({ first, second, beyond }));

const isSameToWhatwg = ([first, second]: UrlPair) => new URL(absolute(first)).href === new URL(absolute(second)).href;

describe('pairs of addresses', () => {
  it('are at least 200', () => {
    expect(SAME_PAGES.length + OTHER_PAGES.length).toBeGreaterThanOrEqual(200);
  });

  it.each(named(SAME_PAGES))('$first and $second are one page', ({ first, second, beyond }) => {
    expect(canonicalizeUrl(absolute(first))).toEqual(canonicalizeUrl(absolute(second)));
    expect(isHit(first, second)).toBe(true);
    expect(isHit(second, first)).toBe(true);
    expect(isSameToWhatwg([first, second])).toBe(beyond === undefined);
  });

  it.each(named(OTHER_PAGES))('$first and $second are two pages', ({ first, second }) => {
    expect(canonicalizeUrl(absolute(first))).not.toEqual(canonicalizeUrl(absolute(second)));
    expect(isHit(first, second)).toBe(false);
    expect(isHit(second, first)).toBe(false);
    expect(isSameToWhatwg([first, second])).toBe(false);
  });
});

describe('requests that no browser sends', () => {
  it.each([
    ['/x//../listed', ['/x/listed', '/listed']],
    ['/x//%2e%2e/listed', ['/x/listed', '/listed']],
    ['/a/\\..\\listed', ['/a/listed', '/listed']],
    ['/x/../listed', ['/listed']],
    ['//listed', ['/listed']],
    ['/\xc3\xa9', ['/%C3%A9']],
    ['/\xe9', ['/%E9']],
  ])('%j may reach %j', (target, paths) => {
    expect(canonicalizeTarget('h.example', undefined, target).paths).toEqual(paths);
  });
});

describe('hosts', () => {
  it.each([
    ['h.example', 'h.example'],
    ['H.Example.', 'h.example'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['b\u00fccher.example', 'xn--bcher-kva.example'],
    ['', undefined],
    ['.', undefined],
    ['h.example..', undefined],
    ['a..b', undefined],
    ['127.0.0.1', undefined],
    ['0x7f.1', undefined],
    ['2130706433', undefined],
    ['[::1]', undefined],
    ['h.example/x', undefined],
    ['h.example?', undefined],
    ['u@h.example', undefined],
    ['h.example:80', undefined],
    ['h example', undefined],
    ['h.example\t', undefined],
    [`${'a'.repeat(2_000)}`, undefined],
  ])('%j is %j', (text, host) => {
    expect(canonicalizeHost(text)).toBe(host);
  });

  it('are the same with and without a parser', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9.-]{1,20}$/), (text) => {
        const parsed = URL.canParse(`http://${text}/`) ? new URL(`http://${text}/`).hostname.replace(/\.$/, '') : '';
        const expected = parsed === '' || /^[0-9.]+$/.test(parsed) ? undefined : parsed;
        const found = canonicalizeHost(text);
        // The parser lets empty labels and hyphens through; what matters is that no name turns into another.
        expect([expected, undefined]).toContain(found);
        if (/^([a-z][a-z0-9]*\.)*[a-z][a-z0-9]*$/.test(text)) expect(found).toBe(expected);
      }),
    );
  });
});

/** The canonical form written down naively, character by character, over what the WHATWG parser gives. */
function oracle(path: string, query: string): string {
  const url = new URL(`http://h.example${path}${query}`);
  const normal = (text: string) => {
    let out = '';
    for (let i = 0; i < text.length; i++) {
      const next = text.slice(i, i + 3);
      if (/^%[0-9a-f]{2}$/i.test(next)) {
        const character = String.fromCharCode(Number.parseInt(next.slice(1), 16));
        out += /[A-Za-z0-9._~!'()*-]/.test(character) ? character : next.toUpperCase();
        i += 2;
      } else if (
        `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~!'()*:/?#[]@$&+,;=-`.includes(text[i]!)
      ) {
        out += text[i];
      } else {
        out += `%${text.charCodeAt(i).toString(16).toUpperCase().padStart(2, '0')}`;
      }
    }
    return out;
  };
  return `${normal(url.pathname).replace(/\/+/g, '/')}?${normal(url.search.slice(1))}`;
}

const piece = fc.constantFrom(
  '/',
  '//',
  '.',
  '..',
  '%2e',
  '%2F',
  '%61',
  '%7e',
  '%',
  '%zz',
  '\\',
  'a',
  'B',
  '~',
  '!',
  ';',
  '|',
  '"',
  '+',
  ':',
);

describe('the matcher', () => {
  const path = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`);
  const query = fc.array(fc.oneof(piece, fc.constant('?'), fc.constant('&')), { maxLength: 6 }).map((pieces) => {
    return pieces.length === 0 ? '' : `?${pieces.join('')}`;
  });

  it('agrees with a naive one', () => {
    fc.assert(
      fc.property(path, query, (one, two) => {
        const { paths, query: found } = canonicalizeTarget('h.example', undefined, one + two);
        expect(`${paths[0]}?${found}`).toBe(oracle(one, two));
        if (!/\/\/|\\/.test(one)) expect(paths).toHaveLength(1);
      }),
      { numRuns: 2_000 },
    );
  });

  it('has a form that is its own form', () => {
    fc.assert(
      fc.property(path, query, (one, two) => {
        const { paths, query: found } = canonicalizeTarget('h.example', undefined, one + two);
        const again = canonicalizeTarget('h.example', undefined, paths[0]! + (found === '' ? '' : `?${found}`));
        expect(again.paths[0]).toBe(paths[0]);
        expect(again.query).toBe(found);
      }),
      { numRuns: 2_000 },
    );
  });

  it('finds a listed page in every spelling that the parser calls the same', () => {
    fc.assert(
      fc.property(path, query, path, query, (a, b, c, d) => {
        const rule = `http://h.example${a}${b}`;
        const asked = canonicalizeTarget('h.example', undefined, c + d);
        const isFound =
          createUrlRules([listPage(rule)])
            .findHost('h.example', NOW)!
            .findPage(asked) !== undefined;
        const isSame = oracle(a, b) === oracle(c, d);
        if (asked.paths.length === 1) expect(isFound).toBe(isSame);
        else if (isSame) expect(isFound).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['exact', '/a?x=1', '/a?x=1', true],
    ['exact', '/a?x=1', '/a?x=2', false],
    ['exact', '/a', '/a?x', false],
    ['any', '/a?x=1', '/a', true],
    ['any', '/a?x=1', '/a?y&z', true],
    ['any', '/a', '/b?x', false],
  ] as const)('applies the query rule %s: %s, asked for %s', (query, rule, asked, isFound) => {
    const rules = createUrlRules([listPage(absolute(rule), { query })]).findHost('h.example', NOW)!;
    expect(rules.findPage(canonicalizeTarget('h.example', undefined, asked)) !== undefined).toBe(isFound);
  });

  it.each(['ftp://h.example/', 'h.example/', '', 'http://', 'http://h.example:99999/', 'http://./'])(
    'takes no rule for %j',
    (url) => {
      expect(() => createUrlRules([listPage(url)])).toThrow(/no http URL/);
    },
  );
});

describe('rules of a host', () => {
  it('are in force from their start to their end', () => {
    const rules = createUrlRules([listPage('http://h.example/a', { fromSeconds: 10, endSeconds: 20 })]);
    const isOurs = (seconds: number) => {
      return rules.findHost('h.example', { startSeconds: seconds, endSeconds: seconds }) !== undefined;
    };
    expect([9, 10, 19, 20].map(isOurs)).toEqual([false, true, true, false]);
    expect(rules.findHost('h.example', { startSeconds: 9, endSeconds: 15 })).toBeUndefined();
    expect(rules.findHost('h.example', { startSeconds: 15, endSeconds: 20 })).toBeUndefined();
  });
});
