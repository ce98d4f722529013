import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAuthorities } from '../../src/register/authorities.ts';
import { composeCanonical, hashHex } from '../../src/register/canonical.ts';
import { PAYLOAD_TYPE, signEnvelope } from '../../src/register/envelope.ts';
import { readRegister } from '../../src/register/read-register.ts';
import { STATEMENT_MAX_BYTES } from '../../src/register/statement.ts';
import { verifyStatement } from '../../src/register/verify-statement.ts';
import {
  authorities,
  authoritiesFile,
  common,
  composeNotice,
  DAY,
  day,
  LICENSEE,
  NOW,
  pack,
  packSha256,
  signerOf,
  subtree,
  TestRegister,
} from './fixture.ts';

const context = { authorities, pack };
const stay = (target: object, changes: object = {}) => ({
  type: 'stay',
  ...common('MCMC/2026/S1'),
  target,
  from: day(1),
  order: { by: 'High Court', reference: 'WA-1' },
  ...changes,
});

/** Verifies a statement signed by these officers. */
function verdictOf(statement: object, signers: string[] = ['one', 'two'], integratedAtSeconds?: number) {
  const envelope = signEnvelope(composeCanonical(statement), signers.map(signerOf));
  return verifyStatement({ name: 'leaf', envelope, integratedAtSeconds }, context).verdict;
}

/** A notice whose annex is not looked at. */
function bareNotice(changes: object = {}) {
  return composeNotice({ annex: { digest: '0'.repeat(64), entries: 1, sizeBytes: 1, sealed: false }, ...changes });
}

/** The verdict on raw payload text signed by two officers. */
function verdictOfText(payload: string) {
  const envelope = signEnvelope(Buffer.from(payload), ['one', 'two'].map(signerOf));
  return verifyStatement({ name: 'leaf', envelope }, context).verdict;
}

const goodText = composeCanonical(bareNotice()).toString();

describe('a good statement', () => {
  it.each([
    ['notice', bareNotice()],
    ['notice to some licensees', bareNotice({ recipients: { licensees: ['NSP(I)/2021/001'] } })],
    ['stay of a programme', stay({ instrument: 'cma-263' })],
    ['halt', { type: 'halt', ...common('H1'), instrument: 'cma-263', from: day(0) }],
    ['heartbeat', { type: 'heartbeat', ...common('B1'), at: day(0) }],
    [
      'exemption of a category',
      {
        type: 'exemption',
        ...common('X1'),
        licensee: 'NSP(I)/2021/001',
        scope: { category: 'drugs' },
        from: day(0),
        until: day(30),
        conditions: 'None.',
        request: { reference: 'Letter 1', receivedAt: day(-3) },
      },
    ],
  ])('%s stands', (_case, statement) => {
    expect(verdictOf(statement)).toEqual({
      name: 'leaf',
      ok: true,
      id: hashHex(composeCanonical(statement)),
      type: (statement as { type: string }).type,
    });
  });

  it('may run until revoked where the instrument allows it', () => {
    const dates = { made: day(-1), approved: day(0), effectiveFrom: day(0), reviewBy: day(90) };
    const notice = bareNotice({ instrument: 'onsa-direction', term: { untilRevoked: true }, dates });
    expect(verdictOf(notice).ok).toBe(true);
  });
});

describe('signatures', () => {
  const halt = { type: 'halt', ...common('H1'), instrument: 'cma-263', from: day(0) };
  it.each([
    ['nobody', bareNotice(), [], 'statement-unsigned'],
    ['one of two', bareNotice(), ['one'], 'statement-unsigned'],
    ['one key twice', bareNotice(), ['one', 'one'], 'statement-unsigned'],
    ['one key as two officers', bareNotice(), ['one', 'twin'], 'statement-unsigned'],
    ['a case officer', bareNotice(), ['one', 'drafter'], 'statement-unsigned'],
    ['a reviewer, of a notice', bareNotice(), ['one', 'reviewer'], 'statement-unsigned'],
    ['an officer no longer valid', bareNotice(), ['one', 'expired'], 'statement-unsigned'],
    ['an officer not yet valid', bareNotice(), ['one', 'future'], 'statement-unsigned'],
    ['a revoked officer', bareNotice(), ['one', 'revoked'], 'statement-unsigned'],
    ['an officer who may sign less', bareNotice(), ['one', 'narrow'], 'statement-unsigned'],
    ['an officer whom no listing lets sign more than the role', bareNotice(), ['one', 'wide'], 'statement-unsigned'],
    ['officers of another authority', bareNotice(), ['other-one', 'other-two'], 'statement-unsigned'],
    ['a case officer, of a release', halt, ['drafter'], 'statement-unsigned'],
    ['two officers', bareNotice(), ['one', 'two'], undefined],
    ['two officers and strangers', bareNotice(), ['other-one', 'one', 'drafter', 'two'], undefined],
    ['one reviewer, of a release', halt, ['reviewer'], undefined],
    ['one officer, of a release', halt, ['one'], undefined],
    [
      'one reviewer, of a resumption',
      { type: 'resumption', ...common('R'), target: '0'.repeat(64), from: day(1) },
      ['reviewer'],
      'statement-unsigned',
    ],
    ['the officer who may, of a heartbeat', { type: 'heartbeat', ...common('B'), at: day(0) }, ['narrow'], undefined],
  ])('by %s', (_case, statement, signers, code) => {
    expect(verdictOf(statement, signers).code).toBe(code);
  });

  it('counts one key under two key ids once', () => {
    const payload = composeCanonical(bareNotice());
    const twice = ['first', 'second'].map((keyId) => ({ ...signerOf('one'), keyId }));
    const envelope = JSON.parse(signEnvelope(payload, [twice[0]]).toString());
    envelope.signatures.push({ ...envelope.signatures[0], keyid: 'second' });
    const { verdict } = verifyStatement({ name: 'leaf', envelope: Buffer.from(JSON.stringify(envelope)) }, context);
    expect(verdict.code).toBe('statement-unsigned');
  });

  it('lets the key id decide nothing', () => {
    const payload = composeCanonical(bareNotice());
    const signers = ['one', 'two'].map((id) => ({ ...signerOf(id), keyId: 'mcmc/drafter' }));
    expect(verifyStatement({ name: 'leaf', envelope: signEnvelope(payload, signers) }, context).verdict.ok).toBe(true);
  });

  it('judges keys at the time the log took the statement', () => {
    expect(verdictOf(bareNotice(), ['one', 'revoked'], NOW - 2 * DAY).code).toBe('statement-malformed');
    expect(verdictOf(bareNotice({ signedAt: day(0) }), ['one', 'future'], NOW + 2 * DAY).ok).toBe(true);
  });

  it("takes the higher of the pack's minimum and the authority's threshold", () => {
    const withThresholds = (thresholds: object) => {
      const [mcmc, ...rest] = authoritiesFile.authorities;
      const file = { ...authoritiesFile, authorities: [{ ...mcmc, thresholds }, ...rest] };
      return { pack, authorities: parseAuthorities(JSON.stringify(file)) };
    };
    const envelope = signEnvelope(composeCanonical(bareNotice()), ['one'].map(signerOf));
    const lower = verifyStatement({ name: 'leaf', envelope }, withThresholds({ notice: 1, release: 1 }));
    expect(lower.verdict.reason).toContain('1 of 2 signatures');
    const higher = verifyStatement({ name: 'leaf', envelope }, withThresholds({ notice: 3, release: 1 }));
    expect(higher.verdict.reason).toContain('1 of 3 signatures');
  });
});

describe('the payload', () => {
  it.each([
    ['a key given twice', goodText.replace('{"annex"', '{"type":"notice","annex"'), 'statement-not-canonical'],
    ['keys not in order', JSON.stringify(bareNotice()), 'statement-not-canonical'],
    ['a blank', goodText.replace(':', ': '), 'statement-not-canonical'],
    ['a list', '[]', 'statement-malformed'],
    ['null', 'null', 'statement-malformed'],
    ['another version', goodText.replace('"version":1', '"version":2'), 'statement-malformed'],
    ['an unknown type', goodText.replace('"type":"notice"', '"type":"order"'), 'statement-malformed'],
    ['a prototype', '{"__proto__":{"type":"heartbeat"}}', 'statement-malformed'],
  ])('is refused with %s', (_case, text, code) => expect(verdictOfText(text).code).toBe(code));

  it.each([
    ['an unknown key', { redirect: '192.0.2.1' }, 'statement-malformed'],
    ['a time with a fraction', { signedAt: '2026-03-01T09:00:00.0Z' }, 'statement-malformed'],
    ['a time with a zone', { signedAt: '2026-03-01T17:00:00+08:00' }, 'statement-malformed'],
    ['both an expiry and until revoked', { term: { expires: day(9), untilRevoked: true } }, 'statement-malformed'],
    ['no end', { term: {} }, 'statement-malformed'],
    [
      'a million and one entries',
      { annex: { digest: '0'.repeat(64), entries: 1_000_001, sizeBytes: 1, sealed: false } },
      'statement-malformed',
    ],
    ['a reference that is no ASCII', { reference: 'MCMC/2026/é' }, 'statement-malformed'],
    ['evidence that is no digest', { evidence: ['https://evidence.example/1'] }, 'statement-malformed'],
    ['an approval by the one who drafted', { draftedBy: 'one' }, 'statement-malformed'],
    ['no approval', { approvals: [] }, 'statement-malformed'],
    [
      'an approval by a case officer',
      { draftedBy: 'one', approvals: [{ officer: 'drafter', role: 'approving-officer', at: day(0) }] },
      'statement-out-of-scope',
    ],
    ['a category the pack does not have', { category: 'gambling' }, 'statement-out-of-scope'],
    ['a tag the pack does not have', { tags: ['gambling'] }, 'statement-out-of-scope'],
    ['an instrument the pack does not have', { instrument: 'cma-1' }, 'statement-out-of-scope'],
    [
      'a category its instrument does not cover',
      { instrument: 'onsa-priority', category: 'drugs' },
      'statement-out-of-scope',
    ],
    ['an authority that is not pinned', { authority: 'nobody' }, 'statement-out-of-scope'],
    ["a category not its authority's", { authority: 'other' }, 'statement-out-of-scope'],
    [
      "an instrument not its authority's",
      { authority: 'other', category: 'drugs', instrument: 'cma-233' },
      'statement-out-of-scope',
    ],
    ['a term too long', { term: { expires: day(366) } }, 'statement-out-of-scope'],
    ['an end before its start', { term: { expires: day(0) } }, 'statement-malformed'],
    ['until revoked where its instrument needs an end', { term: { untilRevoked: true } }, 'statement-out-of-scope'],
    [
      'until revoked and no review',
      { instrument: 'onsa-direction', term: { untilRevoked: true } },
      'statement-malformed',
    ],
    [
      'a review too late',
      {
        instrument: 'onsa-direction',
        term: { untilRevoked: true },
        dates: { ...bareNotice().dates, reviewBy: day(181) },
      },
      'statement-out-of-scope',
    ],
    ['approval before it was made', { dates: { ...bareNotice().dates, made: day(1) } }, 'statement-malformed'],
    ['force before approval', { dates: { ...bareNotice().dates, effectiveFrom: day(-1) } }, 'statement-malformed'],
    ['a signature before approval', { signedAt: day(-1) }, 'statement-malformed'],
  ])('of a notice is refused with %s', (_case, changes, code) => {
    const verdict = verdictOf(bareNotice(changes), ['one', 'two', 'other-one', 'other-two']);
    expect(verdict.code).toBe(code);
    expect(verdict.reason).not.toBe('');
  });

  it('is refused when signed more than five minutes after it was logged', () => {
    expect(verdictOf(bareNotice(), undefined, NOW - 300).ok).toBe(true);
    expect(verdictOf(bareNotice(), undefined, NOW - 301).code).toBe('statement-malformed');
  });

  it.each([
    ['a variation that varies nothing', { type: 'variation', notice: '0'.repeat(64), from: day(1) }],
    ['a stay that ends before it starts', stay({ instrument: 'cma-263' }, { until: day(0) })],
    ['a stay of a notice and a programme', stay({ instrument: 'cma-263', notice: '0'.repeat(64) })],
    ['a halt of nothing', { type: 'halt', from: day(0) }],
  ])('is refused for %s', (_case, statement) => {
    expect(verdictOf({ ...common('C1'), ...statement }).code).toBe('statement-malformed');
  });
});

describe('the envelope', () => {
  const envelope = signEnvelope(composeCanonical({ type: 'heartbeat', ...common('B1'), at: day(0) }), [
    signerOf('one'),
  ]);

  it('never yields another statement, whatever byte is changed', () => {
    const { verified } = verifyStatement({ name: 'leaf', envelope }, context);
    fc.assert(
      fc.property(fc.nat(envelope.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Buffer.from(envelope);
        bytes[at] ^= flip;
        const outcome = verifyStatement({ name: 'leaf', envelope: bytes }, context);
        // A key id is a label: changing it changes nothing. Everything else voids the statement.
        if (outcome.verdict.ok) expect(outcome.verified).toEqual(verified);
        else expect(outcome.verdict.code).toMatch(/^statement-/);
        const label = /^(.*"keyid":")[^"]*(","sig.*)$/;
        if (outcome.verdict.ok)
          expect(bytes.toString().replace(label, '$1$2')).toBe(envelope.toString().replace(label, '$1$2'));
      }),
      { numRuns: 3000 },
    );
  });

  it('never throws, whatever the bytes', () => {
    const mangled = fc.tuple(fc.nat(envelope.length), fc.uint8Array({ maxLength: 40 }), fc.nat(envelope.length));
    fc.assert(
      fc.property(mangled, ([start, middle, end]) => {
        const bytes = Buffer.concat([envelope.subarray(0, start), middle, envelope.subarray(end)]);
        if (!bytes.equals(envelope)) expect(verifyStatement({ name: 'leaf', envelope: bytes }, context)).toBeDefined();
      }),
    );
    for (const bytes of ['', 'null', '[]', '{}', '"', '\xff', '['.repeat(30_000), '{"a":'.repeat(9_000)]) {
      const { verdict } = verifyStatement({ name: 'leaf', envelope: Buffer.from(bytes, 'latin1') }, context);
      expect(verdict.code).toBe('statement-malformed');
    }
  });

  it('of 64 KiB is read and of one byte more is not', () => {
    const pad = (size: number) => Buffer.concat([envelope, Buffer.alloc(size - envelope.length, ' ')]);
    expect(verifyStatement({ name: 'leaf', envelope: pad(STATEMENT_MAX_BYTES) }, context).verdict.ok).toBe(true);
    const { verdict } = verifyStatement({ name: 'leaf', envelope: pad(STATEMENT_MAX_BYTES + 1) }, context);
    expect(verdict.code).toBe('statement-oversized');
  });

  it('of another payload type is no statement, even when that was signed', () => {
    const foreign = JSON.parse(envelope.toString());
    foreign.payloadType = PAYLOAD_TYPE.replace('warta', 'other');
    const { verdict } = verifyStatement({ name: 'leaf', envelope: Buffer.from(JSON.stringify(foreign)) }, context);
    expect(verdict.code).toBe('statement-malformed');
  });

  it('deep in a payload does no harm', () => {
    expect(verdictOfText(`${'['.repeat(5_000)}${']'.repeat(5_000)}`).code).toMatch(/^statement-/);
  });
});

describe('an annex', () => {
  const changed = (change: (register: TestRegister, notice: ReturnType<TestRegister['compose']>) => object) => {
    const register = new TestRegister();
    const notice = register.compose(['a.example', subtree('b.example')]) as ReturnType<TestRegister['compose']> & {
      annex: { digest: string; entries: number; sizeBytes: number };
    };
    register.add(change(register, notice));
    return register.readAt().verdicts[0];
  };
  it.each<[string, Parameters<typeof changed>[0], string | undefined]>([
    ['as signed', (_register, notice) => notice, undefined],
    [
      'missing',
      (register, notice) => {
        register.annexes.clear();
        return notice;
      },
      'annex-missing',
    ],
    [
      'of another count',
      (_register, notice) => ({ ...notice, annex: { ...annexOf(notice), entries: 1 } }),
      'annex-mismatch',
    ],
    [
      'of another size',
      (_register, notice) => ({ ...notice, annex: { ...annexOf(notice), sizeBytes: 9 } }),
      'annex-mismatch',
    ],
    [
      'of another notice',
      (register, notice) => {
        const [digest] = register.annexes.keys();
        register.annexes.set(digest, register.annexes.get(digest)!.toReversed());
        return notice;
      },
      'annex-malformed',
    ],
  ])('%s', (_case, change, code) => expect(changed(change).code).toBe(code));

  it('voids a notice with entries of a scope its authority may not use', () => {
    const register = new TestRegister();
    const approvals = [{ officer: 'other-one', role: 'approving-officer', at: day(0) }];
    const other = { authority: 'other', category: 'drugs', approvals };
    register.notice([{ raw: 'a.example', scope: 'exact' }], other, ['other-one', 'other-two']);
    register.notice(['b.example'], other, ['other-one', 'other-two']);
    expect(
      register
        .readAt()
        .verdicts.map(({ code }) => code)
        .sort(),
    ).toEqual(['statement-out-of-scope', undefined]);
  });

  it('voids a notice that closes HTTPS to hosts which its authority may not block', () => {
    const register = new TestRegister();
    register.notice([{ raw: 'https://a.example/x', scope: 'url' }], { https: 'block-host' });
    register.notice([{ raw: 'https://b.example/x', scope: 'url' }]);
    const codesFor = (scopes: readonly string[]) => {
      const changed = authoritiesFile.authorities.map((one) => (one.id === 'mcmc' ? { ...one, scopes } : one));
      const context = {
        authorities: parseAuthorities(JSON.stringify({ ...authoritiesFile, authorities: changed }), packSha256),
        ...{ pack, licensee: LICENSEE, nowSeconds: NOW },
      };
      return readRegister(register.leaves, register, context)
        .verdicts.map(({ name, code }) => `${name}: ${code}`)
        .sort();
    };
    expect(codesFor(['url'])).toEqual(['0-notice: statement-out-of-scope', '1-notice: undefined']);
    expect(codesFor(['url', 'exact'])).toEqual(['0-notice: undefined', '1-notice: undefined']);
  });
});

/** The annex terms of a composed notice. */
function annexOf(notice: object): object {
  return (notice as { annex: object }).annex;
}
