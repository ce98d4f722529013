import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashHex as hashOf } from '../../src/register/canonical.ts';
import { entriesInForce, fold } from '../../src/register/fold.ts';
import { secondsOf } from '../../src/register/time.ts';
import { common, DAY, day, LICENSEE, NOW, subtree, TestRegister } from './fixture.ts';

const OTHER_LICENSEE = 'NSP(I)/2021/002';

/** Which names are in force on each day from `first` to `last`, by days after `NOW`. */
function timeline(register: TestRegister, first: number, last: number, licensee = LICENSEE): string[] {
  const { folded } = register.readAt(NOW + first * DAY, licensee);
  return Array.from({ length: last - first + 1 }, (_, at) =>
    [...entriesInForce(folded, NOW + (first + at) * DAY)]
      .map(({ name }) => name.replace('.example', ''))
      .sort()
      .join(),
  );
}

const order = { by: 'High Court', reference: 'WA-1' };
const request = { reference: 'Letter 1', receivedAt: day(0) };
const exemption = { type: 'exemption', ...common('X'), licensee: LICENSEE, conditions: 'None.', request };

describe('one notice', () => {
  const cases: [string, (register: TestRegister) => void, string[]][] = [
    [
      'starts and expires on time',
      (register) => {
        register.notice(['a.example'], {
          dates: { made: day(0), approved: day(0), effectiveFrom: day(1) },
          term: { expires: day(3) },
        });
      },
      ['', 'a', 'a', '', '', ''],
    ],
    [
      'drops an entry that expires earlier',
      (register) => {
        register.notice(['a.example', subtree('b.example', { expires: day(2) })], { term: { expires: day(4) } });
      },
      ['a,b', 'a,b', 'a', 'a', '', ''],
    ],
    [
      'is stayed for a time',
      (register) => {
        const notice = register.notice(['a.example']);
        register.add({ type: 'stay', ...common('S'), target: { notice }, from: day(1), until: day(3), order });
      },
      ['a', '', '', 'a', 'a', 'a'],
    ],
    [
      'is stayed in one entry until resumed',
      (register) => {
        const notice = register.notice(['a.example', 'b.example']);
        const target = { notice, entries: ['e0000002'] };
        const id = register.add({ type: 'stay', ...common('S'), target, from: day(1), order }, ['reviewer']);
        register.add({ type: 'resumption', ...common('R'), target: id, from: day(3) });
      },
      ['a,b', 'a', 'a', 'a,b', 'a,b', 'a,b'],
    ],
    [
      'is halted with its programme until resumed, as is a later notice',
      (register) => {
        register.notice(['a.example']);
        register.notice(['b.example'], { instrument: 'cma-233', reference: 'N2' });
        const id = register.add({ type: 'halt', ...common('H'), instrument: 'cma-263', from: day(1) }, ['one']);
        const dates = { made: day(0), approved: day(0), effectiveFrom: day(2) };
        register.notice(['c.example'], { dates, reference: 'N3' });
        register.add({ type: 'resumption', ...common('R'), target: id, from: day(4) });
      },
      ['a,b', 'b', 'b', 'b', 'a,b,c', 'a,b,c'],
    ],
    [
      'is revoked in one entry, then as a whole',
      (register) => {
        const notice = register.notice(['a.example', 'b.example']);
        register.add({ type: 'revocation', ...common('R1'), notice, entries: ['e0000001'], from: day(1) }, [
          'reviewer',
        ]);
        register.add({ type: 'revocation', ...common('R2'), notice, from: day(3) }, ['reviewer']);
      },
      ['a,b', 'b', 'b', '', '', ''],
    ],
    [
      'is narrowed by a variation',
      (register) => {
        const notice = register.notice(['a.example', 'b.example', 'c.example']);
        const expires = [{ entry: 'e0000002', at: day(2) }];
        const change = { type: 'variation', ...common('V'), notice, remove: ['e0000001'], expires, expiresAt: day(4) };
        register.add({ ...change, from: day(1) }, ['one']);
      },
      ['a,b,c', 'b,c', 'c', 'c', '', ''],
    ],
    [
      'is never widened by a variation',
      (register) => {
        const notice = register.notice(['a.example'], { term: { expires: day(2) } });
        register.add({ type: 'variation', ...common('V'), notice, from: day(0), expiresAt: day(9) }, ['one']);
      },
      ['a', 'a', '', '', '', ''],
    ],
    [
      'leaves out a licensee that is exempt, by notice, instrument, category',
      (register) => {
        const notice = register.notice(['a.example']);
        register.notice(['b.example'], { reference: 'N2', instrument: 'cma-233' });
        register.notice(['c.example'], { reference: 'N3', instrument: 'cma-233', category: 'drugs' });
        const scopes = [{ notice }, { instrument: 'cma-233' }, { category: 'drugs' }];
        for (const [at, scope] of scopes.entries()) {
          register.add({ ...exemption, scope, from: day(at + 1), until: day(at + 2) }, ['one']);
        }
      },
      ['a,b,c', 'b,c', 'a', 'a,b', 'a,b,c', 'a,b,c'],
    ],
    [
      'ends for good when its successor starts, even if that is revoked',
      (register) => {
        const old = register.notice(['a.example']);
        const dates = { made: day(0), approved: day(0), effectiveFrom: day(2) };
        const notice = register.notice(['b.example'], { reference: 'N2', supersedes: [old], dates });
        register.add({ type: 'revocation', ...common('R'), notice, from: day(4) }, ['one']);
      },
      ['a', 'a', 'b', 'b', '', ''],
    ],
    [
      'runs until revoked, past its review',
      (register) => {
        const dates = { made: day(0), approved: day(0), effectiveFrom: day(0), reviewBy: day(2) };
        register.notice(['a.example'], { instrument: 'onsa-direction', term: { untilRevoked: true }, dates });
      },
      ['a', 'a', 'a', 'a', 'a', 'a'],
    ],
  ];

  it.each(cases)('%s', (_case, build, expected) => {
    const register = new TestRegister();
    build(register);
    expect(register.readAt().verdicts.filter(({ ok }) => !ok)).toEqual([]);
    expect(timeline(register, 0, 5)).toEqual(expected);
  });

  it('is only for its recipients, an exemption only for its licensee', () => {
    const register = new TestRegister();
    register.notice(['a.example'], { recipients: { licensees: [OTHER_LICENSEE] } });
    register.notice(['b.example'], { reference: 'N2' });
    register.add({ ...exemption, scope: { instrument: 'cma-263' }, from: day(0), until: day(9) }, ['one']);
    expect(timeline(register, 0, 0)).toEqual(['']);
    expect(timeline(register, 0, 0, OTHER_LICENSEE)).toEqual(['a,b']);
  });

  it('is untouched when another authority halts the same programme of its own', () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.add({ type: 'halt', ...common('H', day(0), 'other'), instrument: 'cma-263', from: day(0) }, ['other-one']);
    expect(register.readAt().verdicts.every(({ ok }) => ok)).toBe(true);
    expect(timeline(register, 0, 0)).toEqual(['a']);
    register.add({ type: 'halt', ...common('H', day(0), 'tribunal'), instrument: 'cma-263', from: day(0) }, [
      'other-one',
    ]);
    expect(timeline(register, 0, 0)).toEqual(['']);
  });

  it('is not superseded by a notice without its entries', () => {
    const register = new TestRegister();
    const old = register.notice(['a.example']);
    register.notice(['b.example'], { supersedes: [old] });
    const { statements } = register.readAt();
    const bare = statements.map((one) => (one.id === old ? one : { ...one, entries: undefined }));
    expect([...entriesInForce(fold(bare, LICENSEE, NOW), NOW)].map(({ name }) => name)).toEqual(['a.example']);
  });

  it('does not count what was not yet known', () => {
    const register = new TestRegister();
    const notice = register.add(register.compose(['a.example']), undefined, NOW);
    const revocation = { type: 'revocation', ...common('R'), notice, from: day(1) };
    register.add(revocation, ['one'], NOW + 3 * DAY);
    expect(timeline(register, 2, 2)).toEqual(['a']);
    expect(timeline(register, 3, 3)).toEqual(['']);
    expect(register.readAt(NOW + 3 * DAY).folded).toEqual([]);
  });
});

/** What is made up of a register: times are days after `NOW`. */
const days = fc.noBias(fc.nat(9));
const entryIds = fc.subarray(['e0000001', 'e0000002', 'e0000003'], { minLength: 1 });
const change = fc.record({
  kind: fc.constantFrom('stay', 'halt', 'revocation', 'variation', 'exemption', 'resumption'),
  target: fc.nat(9),
  entries: fc.option(entryIds, { nil: undefined }),
  wide: fc.boolean(),
  from: days,
  length: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
  at: days,
  integrated: days,
});
const notice = fc.record({
  instrument: fc.constantFrom('cma-263', 'cma-233'),
  category: fc.constantFrom('drugs', 'violence'),
  from: fc.nat(4),
  length: fc.integer({ min: 1, max: 15 }),
  shortened: fc.integer({ min: 1, max: 9 }),
  recipient: fc.constantFrom(undefined, LICENSEE, OTHER_LICENSEE),
  supersedes: fc.option(fc.nat(3), { nil: undefined }),
  integrated: days,
});

/** Builds a register out of what was made up. */
function build(notices: readonly Made<typeof notice>[], changes: readonly Made<typeof change>[]): TestRegister {
  const register = new TestRegister();
  const ids: string[] = [];
  const suspensions: string[] = [];
  notices.forEach((made, at) => {
    const end = made.from + made.length;
    const entries = ['a', 'b', 'c'].map((name, entry) =>
      subtree(`${name}${at}.example`, {
        expires: entry === 1 ? day(Math.min(end, made.from + made.shortened)) : undefined,
        excludes: entry === 2 ? [`ok.${name}${at}.example`] : undefined,
      }),
    );
    const composed = register.compose(entries, {
      reference: `N${at}`,
      instrument: made.instrument,
      category: made.category,
      dates: { made: day(0), approved: day(0), effectiveFrom: day(made.from) },
      term: { expires: day(end) },
      recipients: made.recipient === undefined ? { all: true } : { licensees: [made.recipient] },
      supersedes: made.supersedes !== undefined && made.supersedes < at ? [ids[made.supersedes]] : undefined,
    });
    ids.push(register.add(composed, undefined, NOW + made.integrated * DAY));
  });
  changes.forEach((made, at) => {
    const base = { type: made.kind, ...common(`C${at}`), from: day(made.from) };
    const until = made.length === undefined ? undefined : day(made.from + made.length);
    const id = ids[made.target % ids.length];
    const some = { notice: id, entries: made.entries };
    const { instrument, category } = notices[made.target % ids.length];
    const resumed = suspensions[made.target % Math.max(1, suspensions.length)];
    if (made.kind === 'resumption' && resumed === undefined) return;
    const statement = {
      stay: { ...base, until, order, target: made.wide ? { instrument } : some },
      halt: { ...base, until, instrument },
      revocation: { ...base, ...some },
      variation: {
        ...base,
        notice: id,
        remove: made.wide ? undefined : ['e0000001'],
        expires: made.entries?.map((entry) => ({ entry, at: day(made.at) })),
        expiresAt: made.wide ? day(made.at) : undefined,
        exclude: [{ entry: 'e0000003', names: [`v${at}.c${made.target % ids.length}.example`] }],
      },
      exemption: {
        ...exemption,
        ...base,
        until: day(made.from + (made.length ?? 9)),
        scope: made.wide ? { category } : some,
      },
      resumption: { ...base, target: resumed },
    }[made.kind] as object;
    const added = register.add(statement, undefined, NOW + made.integrated * DAY);
    if (made.kind === 'stay' || made.kind === 'halt') suspensions.push(added);
  });
  return register;
}

type Made<A> = A extends fc.Arbitrary<infer T> ? T : never;
// biome-ignore lint/suspicious/noExplicitAny: the oracle reads statements as plain JSON, on purpose without our types
type Plain = any;

/** The oracle: asks of every entry, at one instant, whether anything known takes it away. Slow and by the letter. */
function listInForce(register: TestRegister, licensee: string, knownAt: number, at: number): string[] {
  const known = register.leaves
    .filter(({ integratedAtSeconds }) => integratedAtSeconds! <= knownAt)
    .map(({ envelope }) => Buffer.from(JSON.parse(envelope.toString()).payload, 'base64'))
    .map((payload): Plain => ({ ...JSON.parse(payload.toString()), id: hashOf(payload) }));
  const begun = (time: string) => secondsOf(time) <= at;
  const runs = (one: Plain) => begun(one.from) && (one.until === undefined || !begun(one.until));
  const resumed = (id: string) =>
    known.some((one) => one.type === 'resumption' && one.target === id && begun(one.from));
  const names = (one: Plain, id: string) => one.entries === undefined || one.entries.includes(id);
  const hits = (target: Plain, of: Plain, id: string) =>
    (target.notice === of.id && names(target, id)) ||
    target.instrument === of.instrument ||
    target.category === of.category;
  const takesAway = (one: Plain, of: Plain, entry: Plain): boolean => {
    switch (one.type) {
      case 'stay':
        return hits(one.target, of, entry.id) && runs(one) && !resumed(one.id);
      case 'halt':
        return one.instrument === of.instrument && runs(one) && !resumed(one.id);
      case 'revocation':
        return one.notice === of.id && names(one, entry.id) && begun(one.from);
      case 'exemption':
        return one.licensee === licensee && hits(one.scope, of, entry.id) && runs(one);
      case 'variation': {
        if (one.notice !== of.id || !begun(one.from)) return false;
        const ends = (one.expires ?? []).filter((end: Plain) => end.entry === entry.id).map((end: Plain) => end.at);
        if (one.expiresAt !== undefined) ends.push(one.expiresAt);
        return Boolean(one.remove?.includes(entry.id)) || ends.some(begun);
      }
      case 'notice':
        return Boolean(one.supersedes?.includes(of.id)) && begun(one.dates.effectiveFrom);
      default:
        return false;
    }
  };
  const found: string[] = [];
  for (const of of known.filter((one) => one.type === 'notice')) {
    if (!of.recipients.all && !of.recipients.licensees.includes(licensee)) continue;
    if (!begun(of.dates.effectiveFrom) || begun(of.term.expires)) continue;
    const lines = Buffer.from(register.read(of.annex.digest)!).toString().trimEnd().split('\n');
    for (const { entry } of lines.map((line): Plain => JSON.parse(line))) {
      if (entry.expires !== undefined && begun(entry.expires)) continue;
      if (known.some((one) => takesAway(one, of, entry))) continue;
      const varied = known.filter((one) => one.type === 'variation' && one.notice === of.id && begun(one.from));
      const added = varied.flatMap((one) => one.exclude.filter((item: Plain) => item.entry === entry.id));
      const excluded = [...(entry.excludes ?? []), ...added.flatMap((item: Plain) => item.names)];
      found.push([entry.canonical, ...excluded.sort()].join());
    }
  }
  return found.sort();
}

describe('fold', () => {
  it('agrees with an oracle that asks instant by instant', () => {
    let inForce = 0;
    fc.assert(
      fc.property(
        fc.array(notice, { minLength: 1, maxLength: 3 }),
        fc.array(change, { maxLength: 6, size: 'max' }),
        days,
        (notices, changes, at) => {
          const register = build(notices, changes);
          const { verdicts, statements } = register.readAt(NOW);
          expect(verdicts.filter(({ ok, code }) => !ok && code !== 'statement-replayed')).toEqual([]);
          const knownAt = NOW + at * DAY;
          for (const licensee of [LICENSEE, OTHER_LICENSEE]) {
            const folded = fold(statements, licensee, knownAt);
            for (let later = knownAt; later < knownAt + 10 * DAY; later += DAY / 2) {
              const ours = [...entriesInForce(folded, later)].map(({ name, exclusions }) =>
                [name, ...[...exclusions].sort()].join(),
              );
              const expected = listInForce(register, licensee, knownAt, later);
              inForce += expected.length;
              expect(ours.sort()).toEqual(expected);
            }
          }
        },
      ),
      { numRuns: 150 },
    );
    expect(inForce).toBeGreaterThan(500);
  });
});
