import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Scope } from '../../src/register/annex.ts';
import { compileRules } from '../../src/register/compile.ts';
import { isBelow } from '../../src/register/entry-name.ts';
import { createGuard } from '../../src/register/guard.ts';
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
    ['shop.example', 'url', 'needs the URL gateway'],
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
    expect(compiled).toEqual({ rules: 10, entries: 2, refused: [] });
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
      { raw: 'https://x.example/1', scope: 'url' },
      '192.0.2.1',
      'com',
      '.',
    ]);
    const recorder = createRecorder();
    const { refused, rules } = compileRules(register.readAt().folded, pack, recorder);
    expect(recorder.rules.map(({ name }) => name)).toEqual(['good.example']);
    expect(rules).toBe(1);
    expect(refused.map(({ notice, entry, name, reason }) => [notice, entry, name, reason])).toEqual([
      ['MCMC/2026/000001', 'e0000002', 'github.io', 'a public suffix is never blocked'],
      ['MCMC/2026/000001', 'e0000003', 'x.example', 'needs the URL gateway'],
      ['MCMC/2026/000001', 'e0000004', '192.0.2.1', 'an IP address is never blocked'],
      ['MCMC/2026/000001', 'e0000005', 'com', 'a single-label name is never blocked'],
      ['MCMC/2026/000001', 'e0000006', '.', 'the root is never blocked'],
    ]);
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
