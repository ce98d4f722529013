import { createHash } from 'node:crypto';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AnnexTerms,
  composeAnnex,
  ENTRY_ACTIONS,
  type EntryDraft,
  parseAnnex,
  SCOPES,
  type Scope,
} from '../../src/register/annex.ts';
import { NO_END_SECONDS } from '../../src/register/time.ts';
import { createRandom, DAY, day, NOW, subtree } from './fixture.ts';

const drafts: EntryDraft[] = [
  subtree('plain.example'),
  { raw: 'Exact.Example.', scope: 'exact', expires: day(3) },
  subtree('bücher.example', { excludes: ['ok.bücher.example'] }),
  { raw: 'https://Shop.example/a b?c=d', scope: 'url' },
  { raw: 'plain.exact.example', scope: 'exact', expires: day(4) },
  subtree('redirected.example', { action: 'redirect' }),
  { raw: 'http://shop.example/?', scope: 'url', query: 'any' },
];

/** What a notice would say about an annex. */
function termsOf(annex: { digest: string; entries: number; bytes: Uint8Array }): AnnexTerms {
  return { ...annex, sizeBytes: annex.bytes.length, endSeconds: NO_END_SECONDS };
}

/** The digest by the letter of RFC 6962 §2.1, by recursion. */
function hashTree(leaves: Buffer[]): Buffer {
  if (leaves.length === 1) return sha256(Buffer.of(0), leaves[0]);
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return sha256(Buffer.of(1), hashTree(leaves.slice(0, split)), hashTree(leaves.slice(split)));
}

function sha256(...parts: Uint8Array[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}

/** Lines of an annex as text. */
function linesOf(bytes: Uint8Array): string[] {
  return Buffer.from(bytes).toString().split('\n').slice(0, -1);
}

/** Seals changed lines again, as a signer who means it would: digest and size are right, only the content is not. */
function reseal(lines: readonly string[]) {
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  const leaves = lines.map((line) => {
    const at = line.lastIndexOf(',"salt":"');
    return Buffer.concat([Buffer.from(line.slice(at + 9, -2), 'base64url'), Buffer.from(line.slice(9, at))]);
  });
  return { bytes, entries: lines.length, digest: hashTree(leaves).toString('hex') };
}

describe('annex', () => {
  it('round-trips entries of every kind', () => {
    const annex = composeAnnex(drafts, createRandom());
    const table = parseAnnex(annex.bytes, termsOf(annex));
    const read = Array.from({ length: table.count }, (_, at) => [
      table.id(at),
      table.name(at),
      table.scope(at),
      table.expiresSeconds(at),
      table.action(at),
    ]);
    expect(read).toEqual([
      ['e0000001', 'plain.example', 'subtree', NO_END_SECONDS, 'block'],
      ['e0000002', 'exact.example', 'exact', NOW + 3 * DAY, 'block'],
      ['e0000003', 'xn--bcher-kva.example', 'subtree', NO_END_SECONDS, 'block'],
      ['e0000004', 'shop.example', 'url', NO_END_SECONDS, 'block'],
      ['e0000005', 'plain.exact.example', 'exact', NOW + 4 * DAY, 'block'],
      ['e0000006', 'redirected.example', 'subtree', NO_END_SECONDS, 'redirect'],
      ['e0000007', 'shop.example', 'url', NO_END_SECONDS, 'block'],
    ]);
    expect(table.redirects).toBe(true);
    expect(table.scopes).toEqual(['exact', 'subtree', 'url']);
    expect(table.excludes).toEqual(new Map([[2, ['ok.xn--bcher-kva.example']]]));
    expect(table.urls).toEqual(
      new Map([
        [3, { url: 'https://shop.example/a%20b?c=d', anyQuery: false }],
        [6, { url: 'http://shop.example/?', anyQuery: true }],
      ]),
    );
    expect(table.indexOf('e0000004')).toBe(3);
    expect(table.indexOf('e0000008')).toBe(-1);
    expect(table.indexOf('')).toBe(-1);
  });

  it('has the RFC 6962 root for any number of entries', () => {
    for (let count = 1; count <= 40; count++) {
      const annex = composeAnnex(
        Array.from({ length: count }, (_, at) => subtree(`n${at}.example`)),
        createRandom(),
      );
      expect(reseal(linesOf(annex.bytes)).digest).toBe(annex.digest);
    }
  });

  it('hashes salted leaves, so the digest moves with the salt', () => {
    const random = createRandom();
    expect(composeAnnex(drafts, random).digest).not.toBe(composeAnnex(drafts, random).digest);
  });

  it('refuses whatever was changed after signing', () => {
    const annex = composeAnnex(drafts, createRandom());
    const terms = termsOf(annex);
    fc.assert(
      fc.property(fc.nat(annex.bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Buffer.from(annex.bytes);
        bytes[at] ^= flip;
        expect(() => parseAnnex(bytes, terms)).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^annex-(malformed|mismatch)$/) }),
        );
      }),
      { numRuns: 500 },
    );
  });

  const annex = composeAnnex(drafts, createRandom());
  const lines = linesOf(annex.bytes);
  const join = (all: string[]) => Buffer.from(all.map((line) => `${line}\n`).join(''));
  it.each([
    ['reordered', join([...lines].reverse()), {}, 'annex-mismatch'],
    ['truncated by a line', join(lines.slice(1)), {}, 'annex-mismatch'],
    ['truncated within a line', annex.bytes.subarray(0, -5), {}, 'annex-mismatch'],
    [
      'truncated, with the size to match',
      annex.bytes.subarray(0, -5),
      { sizeBytes: annex.bytes.length - 5 },
      'annex-mismatch',
    ],
    ['one entry more than stated', annex.bytes, { entries: drafts.length - 1 }, 'annex-mismatch'],
    ['one entry fewer than stated', annex.bytes, { entries: drafts.length + 1 }, 'annex-mismatch'],
    ['another digest', annex.bytes, { digest: '0'.repeat(64) }, 'annex-mismatch'],
    ['another notice', composeAnnex(drafts, () => new Uint8Array(32 * drafts.length)).bytes, {}, 'annex-mismatch'],
  ])('refuses an annex that is %s', (_case, bytes, change, code) => {
    expect(() => parseAnnex(bytes, { ...termsOf(annex), ...change })).toThrow(expect.objectContaining({ code }));
  });

  const good = (fields: string) => `{"entry":{${fields}},"salt":"${'A'.repeat(43)}"}`;
  it.each([
    ['an unknown action', '"action":"drop","canonical":"a.example","id":"a","raw":"a.example","scope":"exact"'],
    [
      'a redirect of a page',
      '"action":"redirect","canonical":"a.example","id":"a","raw":"http://a.example/","scope":"url","url":"http://a.example/"',
    ],
    [
      'a query of a name',
      '"action":"block","canonical":"a.example","id":"a","query":"any","raw":"a.example","scope":"exact"',
    ],
    [
      'a query that is not any',
      '"action":"block","canonical":"a.example","id":"a","query":"some","raw":"http://a.example/","scope":"url","url":"http://a.example/"',
    ],
    ['a wrong canonical form', '"action":"block","canonical":"b.example","id":"a","raw":"a.example","scope":"exact"'],
    [
      'an upper-case canonical form',
      '"action":"block","canonical":"A.example","id":"a","raw":"A.example","scope":"exact"',
    ],
    [
      'a canonical form that is no name',
      '"action":"block","canonical":"a..example","id":"a","raw":"a..example","scope":"exact"',
    ],
    ['an unknown scope', '"action":"block","canonical":"a.example","id":"a","raw":"a.example","scope":"all"'],
    ['an unknown key', '"action":"block","canonical":"a.example","id":"a","note":"","raw":"a.example","scope":"exact"'],
    ['keys out of order', '"canonical":"a.example","action":"block","id":"a","raw":"a.example","scope":"exact"'],
    [
      'a key given twice',
      '"action":"block","action":"block","canonical":"a.example","id":"a","raw":"a.example","scope":"exact"',
    ],
    ['a blank', '"action":"block", "canonical":"a.example","id":"a","raw":"a.example","scope":"exact"'],
    [
      'a day that does not exist',
      '"action":"block","canonical":"a.example","expires":"2026-02-30T00:00:00Z","id":"a","raw":"a.example","scope":"exact"',
    ],
    [
      'an end after its notice',
      '"action":"block","canonical":"a.example","expires":"2026-09-30T00:00:00Z","id":"a","raw":"a.example","scope":"exact"',
    ],
    [
      'an end after its notice, on an IDN',
      '"action":"block","canonical":"xn--bcher-kva.example","expires":"2026-09-30T00:00:00Z","id":"a","raw":"bücher.example","scope":"exact"',
    ],
    [
      'an exclusion at its apex',
      '"action":"block","canonical":"a.example","excludes":["a.example"],"id":"a","raw":"a.example","scope":"subtree"',
    ],
    [
      'an exclusion elsewhere',
      '"action":"block","canonical":"a.example","excludes":["b.example"],"id":"a","raw":"a.example","scope":"subtree"',
    ],
    [
      'an exclusion of an exact entry',
      '"action":"block","canonical":"a.example","excludes":["b.a.example"],"id":"a","raw":"a.example","scope":"exact"',
    ],
    [
      'a URL under a name',
      '"action":"block","canonical":"a.example","id":"a","raw":"a.example","scope":"exact","url":"http://a.example/"',
    ],
    [
      'a URL of another scheme',
      '"action":"block","canonical":"a.example","id":"a","raw":"ftp://a.example/","scope":"url","url":"ftp://a.example/"',
    ],
    ['an id with a blank', '"action":"block","canonical":"a.example","id":"a b","raw":"a.example","scope":"exact"'],
    ['something else than an entry', '"entry":1'],
  ])('refuses a signed annex with %s', (_case, fields) => {
    const sealed = reseal([good(fields)]);
    const terms = { ...termsOf(sealed), endSeconds: NOW + 30 * DAY };
    expect(() => parseAnnex(sealed.bytes, terms)).toThrow(expect.objectContaining({ code: 'annex-malformed' }));
  });

  it('refuses ids that repeat or do not ascend', () => {
    const entry = (id: string) =>
      good(`"action":"block","canonical":"a.example","id":"${id}","raw":"a.example","scope":"exact"`);
    for (const ids of [
      ['a', 'a'],
      ['b', 'a'],
    ]) {
      const sealed = reseal(ids.map(entry));
      expect(() => parseAnnex(sealed.bytes, termsOf(sealed))).toThrow('ids ascend and are unique');
    }
    expect(() =>
      composeAnnex([subtree('a.example', { id: 'x' }), subtree('b.example', { id: 'x' })], createRandom()),
    ).toThrow('ids ascend and are unique');
  });

  it('refuses bytes after the last entry that was signed', () => {
    const bytes = Buffer.concat([annex.bytes, Buffer.from('more')]);
    expect(() => parseAnnex(bytes, { ...termsOf(annex), sizeBytes: bytes.length })).toThrow('more than');
  });

  it('refuses salts in any but the one spelling', () => {
    const line = good('"action":"block","canonical":"a.example","id":"a","raw":"a.example","scope":"exact"');
    for (const salt of [`${'A'.repeat(42)}B`, `${'A'.repeat(42)}=`, `${'A'.repeat(42)}+`]) {
      const sealed = reseal([line.replace('A'.repeat(43), salt)]);
      expect(() => parseAnnex(sealed.bytes, termsOf(sealed))).toThrow('base64url');
    }
  });

  it('refuses a line over 4 KiB', () => {
    const excludes = Array.from({ length: 20 }, (_, at) => `${`${at}${'x'.repeat(60)}.`.repeat(3)}a.example`);
    expect(() => composeAnnex([subtree('a.example', { excludes })], createRandom())).toThrow('line 1');
  });

  it('reads back what was drafted, whatever its action and its query are', () => {
    const host = fc.constantFrom('a.example', 'b.example', 'Bücher.example');
    const path = fc.constantFrom('', '/', '/a b', '/a?x=1', '/?');
    const name = fc.record(
      { raw: host, scope: fc.constantFrom<Scope>('exact', 'subtree'), action: fc.constantFrom(...ENTRY_ACTIONS) },
      { requiredKeys: ['raw', 'scope'] },
    );
    const page = fc.record(
      { raw: fc.tuple(host, path).map(([one, other]) => `http://${one}${other}`), query: fc.constant('any' as const) },
      { requiredKeys: ['raw'] },
    );
    const draft = fc.oneof(
      name,
      page.map((one) => ({ ...one, scope: 'url' as const })),
    );
    fc.assert(
      fc.property(fc.array(draft, { minLength: 1, maxLength: 8 }), (list: EntryDraft[]) => {
        const composed = composeAnnex(list, createRandom());
        const table = parseAnnex(composed.bytes, termsOf(composed));
        list.forEach(({ raw, scope, action = 'block', query }, at) => {
          expect([table.scope(at), table.action(at)]).toEqual([scope, action]);
          const address = scope === 'url' ? { url: new URL(raw).href, anyQuery: query === 'any' } : undefined;
          expect(table.urls.get(at)).toEqual(address);
          expect(table.name(at)).toBe(domainToASCII(scope === 'url' ? new URL(raw).hostname : raw));
        });
        expect(table.redirects).toBe(list.some(({ action }) => action === 'redirect'));
        expect(table.scopes).toEqual(SCOPES.filter((scope) => list.some((one) => one.scope === scope)));
      }),
    );
  });

  it('reads the common spelling and the rare one alike', () => {
    const label = fc.stringMatching(/^[a-z0-9_-]{1,6}$/);
    const raw = fc.oneof(
      fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.')),
      fc.constantFrom('Ab.example', 'bücher.example', 'xn--bcher-kva.example', '1.2.3.4', 'a.0x1', '.', 'com'),
    );
    const scope = fc.constantFrom<Scope>('exact', 'subtree');
    fc.assert(
      fc.property(fc.array(fc.record({ raw, scope }), { minLength: 1, maxLength: 9 }), (list) => {
        let annex: ReturnType<typeof composeAnnex>;
        try {
          annex = composeAnnex(list, createRandom());
        } catch {
          return; // not a name at all: composing refuses it
        }
        const table = parseAnnex(annex.bytes, termsOf(annex));
        const oracle = linesOf(annex.bytes).map((line) => JSON.parse(line).entry);
        oracle.forEach((entry, at) => {
          expect([table.id(at), table.name(at), table.scope(at)]).toEqual([entry.id, entry.canonical, entry.scope]);
        });
      }),
    );
  });
});
