import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashLeaf } from '../../src/log/merkle.ts';
import { readRegister } from '../../src/register/read-register.ts';
import { authorities, common, DAY, day, LICENSEE, NOW, pack, subtree, TestRegister } from './fixture.ts';

const revocation = (notice: string, changes: object = {}) => ({
  type: 'revocation',
  ...common('MCMC/2026/R1'),
  notice,
  from: day(1),
  ...changes,
});
const stay = (target: object) => ({
  type: 'stay',
  ...common('MCMC/2026/S1'),
  target,
  from: day(1),
  order: { by: 'High Court', reference: 'WA-1' },
});
const codesOf = (register: TestRegister) => register.readAt().verdicts.map(({ name, code }) => [name, code]);

describe('readRegister', () => {
  it('voids bad statements and lets the others stand', () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.notice(['b.example'], {}, ['one']);
    register.leaves.push({ name: 'junk', envelope: Buffer.from('junk') });
    const { verdicts, folded } = register.readAt();
    expect(verdicts.map(({ name, ok }) => [name, ok])).toEqual([
      ['0-notice', true],
      ['1-notice', false],
      ['junk', false],
    ]);
    expect(folded.map(({ entries }) => entries.name(0))).toEqual(['a.example']);
  });

  it('names no entry of a sealed notice in the reason it is void for', () => {
    const entry = '{"action":"block","canonical":"other.example","id":"e1","raw":"secret.example","scope":"exact"}';
    const salt = Buffer.alloc(32, 7);
    const bytes = Buffer.from(`{"entry":${entry},"salt":"${salt.toString('base64url')}"}\n`);
    const digest = hashLeaf(Buffer.concat([salt, Buffer.from(entry)])).toString('hex');
    for (const sealed of [false, true]) {
      const register = new TestRegister();
      register.annexes.set(digest, bytes);
      register.notice(['a.example'], { annex: { digest, entries: 1, sizeBytes: bytes.length, sealed } });
      const [verdict] = register.readAt().verdicts;
      expect(verdict.code).toBe('annex-malformed');
      expect(verdict.reason!.includes('secret.example')).toBe(!sealed);
    }
  });

  it('counts a statement once and reports its copies', () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.leaves.push({ ...register.leaves[0], name: 'copy' });
    const { verdicts, folded } = register.readAt();
    expect(verdicts.map(({ code }) => code)).toEqual([undefined, 'statement-replayed']);
    expect(folded).toHaveLength(1);
  });

  it('is not fooled by an unsigned copy that comes first', () => {
    const register = new TestRegister();
    const notice = register.compose(['a.example']);
    register.add(notice, []);
    register.add(notice);
    expect(codesOf(register)).toEqual([
      ['1-notice', undefined],
      ['0-notice', 'statement-unsigned'],
    ]);
  });

  it('does not let a later copy revive what was revoked', () => {
    const register = new TestRegister();
    const notice = register.compose(['a.example']);
    register.add(revocation(register.add(notice, undefined, NOW), { from: day(0) }), ['one'], NOW);
    register.add(notice, undefined, NOW + DAY);
    expect(register.readAt(NOW + 2 * DAY).folded).toEqual([]);
  });

  it.each<[string, (register: TestRegister, id: string) => [object, string[]?], string | undefined]>([
    ['revokes a notice', (_register, id) => [revocation(id)], undefined],
    ['revokes an entry', (_register, id) => [revocation(id, { entries: ['e0000001'] })], undefined],
    ['revokes what is not there', () => [revocation('0'.repeat(64))], 'statement-target-unknown'],
    [
      'revokes an entry that is not there',
      (_r, id) => [revocation(id, { entries: ['e9'] })],
      'statement-target-unknown',
    ],
    [
      'stays an entry that is not there',
      (_r, id) => [stay({ notice: id, entries: ['e9'] })],
      'statement-target-unknown',
    ],
    [
      'resumes a notice',
      (_r, id) => [{ type: 'resumption', ...common('R'), target: id, from: day(2) }],
      'statement-target-unknown',
    ],
    [
      "revokes another's notice",
      (_r, id) => [revocation(id, { authority: 'other' }), ['other-one']],
      'statement-out-of-scope',
    ],
    ['is a release by one who may', (_r, id) => [revocation(id, { authority: 'tribunal' }), ['other-one']], undefined],
    [
      'halts a programme as one who may release',
      () => [{ type: 'halt', ...common('H', day(0), 'tribunal'), instrument: 'cma-263', from: day(1) }, ['other-one']],
      undefined,
    ],
    [
      "halts another's programme",
      () => [{ type: 'halt', ...common('H', day(0), 'other'), instrument: 'cma-233', from: day(1) }, ['other-one']],
      'statement-out-of-scope',
    ],
    [
      'excludes a name that is not below',
      (_r, id) => [
        {
          type: 'variation',
          ...common('V'),
          notice: id,
          from: day(1),
          exclude: [{ entry: 'e0000001', names: ['b.example'] }],
        },
      ],
      'statement-malformed',
    ],
    [
      'excludes from an exact entry',
      (_r, id) => [
        {
          type: 'variation',
          ...common('V'),
          notice: id,
          from: day(1),
          exclude: [{ entry: 'e0000002', names: ['x.exact.example'] }],
        },
      ],
      'statement-malformed',
    ],
    [
      'varies as it should',
      (_r, id) => [
        {
          type: 'variation',
          ...common('V'),
          notice: id,
          from: day(1),
          exclude: [{ entry: 'e0000001', names: ['x.a.example'] }],
        },
      ],
      undefined,
    ],
    [
      'supersedes what is not there',
      (register) => [register.compose(['c.example'], { supersedes: ['0'.repeat(64)] })],
      'statement-target-unknown',
    ],
    ['supersedes', (register, id) => [register.compose(['c.example'], { supersedes: [id] })], undefined],
  ])('judges a statement that %s', (_case, compose, code) => {
    const register = new TestRegister();
    const id = register.notice(['a.example', { raw: 'exact.example', scope: 'exact' }]);
    register.add(...compose(register, id));
    const { verdicts } = register.readAt();
    expect(verdicts.find(({ name }) => name.startsWith('1-'))?.code).toBe(code);
    expect(verdicts.find(({ name }) => name.startsWith('0-'))?.ok).toBe(true);
  });

  it('voids the resumption of a void stay', () => {
    const register = new TestRegister();
    const id = register.add(stay({ notice: '0'.repeat(64) }), ['one']);
    register.add({ type: 'resumption', ...common('R'), target: id, from: day(2) });
    expect(register.readAt().verdicts.map(({ code }) => code)).toEqual(Array(2).fill('statement-target-unknown'));
  });

  it('keeps the old notice in force when its successor is void', () => {
    const register = new TestRegister();
    const id = register.notice(['a.example']);
    register.notice(['b.example'], { supersedes: [id] });
    register.annexes.delete([...register.annexes.keys()][1]);
    const { folded, verdicts } = register.readAt();
    expect(verdicts.map(({ code }) => code).filter(Boolean)).toEqual(['annex-missing']);
    expect(folded.map(({ entries }) => entries.name(0))).toEqual(['a.example']);
  });

  it('lets a good successor that has lapsed end the old notice, and a void one not', () => {
    const register = new TestRegister();
    const id = register.notice(['a.example']);
    register.notice(['b.example'], { supersedes: [id], term: { expires: day(2) } });
    expect(register.readAt(NOW + 3 * DAY).folded).toEqual([]);
    register.annexes.delete([...register.annexes.keys()][1]);
    expect(register.readAt(NOW + 3 * DAY).folded.map(({ entries }) => entries.name(0))).toEqual(['a.example']);
  });

  it("refuses to supersede or resume what is another authority's", () => {
    const register = new TestRegister();
    const id = register.notice(['a.example']);
    const approvals = [{ officer: 'other-one', role: 'approving-officer', at: day(0) }];
    const other = { authority: 'other', category: 'drugs', approvals, supersedes: [id] };
    register.notice([{ raw: 'b.example', scope: 'exact' }], other, ['other-one', 'other-two']);
    const halted = register.add({ type: 'halt', ...common('H'), instrument: 'cma-263', from: day(0) }, ['one']);
    const resumption = { type: 'resumption', ...common('R', day(0), 'other'), target: halted, from: day(0) };
    register.add(resumption, ['other-one', 'other-two']);
    expect(Object.fromEntries(codesOf(register))).toEqual({
      '0-notice': undefined,
      '1-notice': 'statement-out-of-scope',
      '2-halt': undefined,
      '3-resumption': 'statement-out-of-scope',
    });
  });

  it('lets a successor stand whose predecessor has lost its annex', () => {
    const register = new TestRegister();
    const id = register.notice(['a.example']);
    register.notice(['b.example'], { supersedes: [id] });
    register.annexes.delete([...register.annexes.keys()][0]);
    expect(register.readAt().folded.map(({ entries }) => entries.name(0))).toEqual(['b.example']);
  });

  it('does not read the annex of a notice that has lapsed', () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.annexes.clear();
    expect(register.readAt(NOW + 31 * DAY).verdicts[0].ok).toBe(true);
  });

  it('tells the age of the list and when it changes next', () => {
    const register = new TestRegister();
    register.add({ type: 'heartbeat', ...common('B1', day(-2)), at: day(-2) }, ['one']);
    register.add({ type: 'heartbeat', ...common('B2', day(3)), at: day(3) }, ['one']);
    const reading = register.readAt();
    expect(reading.newestSignedAtSeconds).toBe(NOW - 2 * DAY);
    expect(reading.nextStatementSeconds).toBe(NOW + 3 * DAY);
  });

  it('reports progress up to the whole', () => {
    const register = new TestRegister();
    register.notice(['a.example', 'b.example']);
    register.notice([subtree('c.example')], { reference: 'MCMC/2' });
    const seen: [number, number][] = [];
    const onProgress = (done: number, total: number) => seen.push([done, total]);
    readRegister(register.leaves, register, { authorities, pack, licensee: LICENSEE, nowSeconds: NOW, onProgress });
    expect(seen.at(-1)).toEqual([3, 3]);
    expect(seen.every(([done, total]) => done <= total)).toBe(true);
  });

  it('does not depend on the order of the leaves', () => {
    const register = new TestRegister();
    const first = register.notice(['a.example']);
    register.notice(['b.example'], { supersedes: [first], reference: 'MCMC/2' });
    const halted = register.add(stay({ instrument: 'cma-263' }), ['one']);
    register.add({ type: 'resumption', ...common('R'), target: halted, from: day(2) });
    register.add(revocation(first), ['one']);
    register.leaves.push({ ...register.leaves[0], name: 'copy' });
    const view = (leaves: TestRegister['leaves']) => {
      const reading = readRegister(leaves, register, { authorities, pack, licensee: LICENSEE, nowSeconds: NOW });
      return [reading.verdicts, reading.folded.map(({ notice, windows }) => [notice.id, windows])];
    };
    const expected = view(register.leaves);
    fc.assert(
      fc.property(fc.shuffledSubarray(register.leaves, { minLength: register.leaves.length }), (shuffled) => {
        expect(view(shuffled)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });
});
