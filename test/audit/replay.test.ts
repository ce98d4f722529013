import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuditRegister } from '../../src/audit/audit-register.ts';
import { diffRegister } from '../../src/audit/diff.ts';
import { Effects } from '../../src/audit/effects.ts';
import { explainNames } from '../../src/audit/explain-name.ts';
import { replayRegister, windowAt } from '../../src/audit/replay.ts';
import { entriesInForce, windowsOf } from '../../src/register/fold.ts';
import { formatInstant } from '../../src/register/time.ts';
import { isNotice } from '../../src/register/verify-statement.ts';
import { common, day, LICENSEE, NOW, pack, subtree, TestRegister } from '../register/fixture.ts';
import { auditInMemory } from './fixture.ts';

const HOUR = 3600;
const OTHER = 'NSP(I)/2021/002';
const ENTRIES = 3;

/** Something an authority does; times are hours after `NOW`, and it enters the log at `at`. */
interface Act {
  readonly kind: 'notice' | 'stay' | 'revoke' | 'exempt' | 'halt' | 'resume' | 'vary' | 'supersede';
  readonly at: number;
  readonly from: number;
  readonly span: number;
  readonly target: number;
  readonly entry: number | undefined;
  readonly toAll: boolean;
}

const act: fc.Arbitrary<Act> = fc.record({
  kind: fc.constantFrom('notice', 'notice', 'stay', 'revoke', 'exempt', 'halt', 'resume', 'vary', 'supersede'),
  at: fc.integer({ min: 0, max: 100 }),
  from: fc.integer({ min: 0, max: 100 }),
  span: fc.integer({ min: 1, max: 100 }),
  target: fc.nat(20),
  entry: fc.option(fc.nat(ENTRIES - 1), { nil: undefined }),
  toAll: fc.boolean(),
});

const script = fc
  .array(act, { minLength: 1, maxLength: 12 })
  .map((acts) => acts.sort((one, other) => one.at - other.at));

const hour = (hours: number) => formatInstant(NOW + hours * HOUR);
const entryId = (entry: number) => `e000000${entry + 1}`;
const nameOf = (notice: number, entry: number) => `n${notice}-${entry}.example`;

/** A notice as the script made it: all that the oracle needs. */
interface Made {
  readonly id: string;
  readonly number: number;
  readonly at: number;
  readonly start: number;
  readonly end: number;
  readonly toAll: boolean;
}

/** One thing that takes a block away, as the script made it. */
interface Lift {
  readonly id: string;
  readonly at: number;
  readonly from: number;
  until: number;
  readonly notice?: number;
  readonly entry?: number;
  readonly licensee?: string;
  readonly resumable: boolean;
}

/** Plays a script into a register, and keeps what the oracle needs. */
function play(acts: readonly Act[]) {
  const register = new TestRegister();
  const notices: Made[] = [];
  const lifts: Lift[] = [];
  const resumptions: { at: number; from: number; target: string }[] = [];
  acts.forEach(({ kind, at, from, span, target, entry, toAll }, number) => {
    const signed = { ...common(`R/${number}`, hour(at)) };
    const add = (statement: object) => register.add({ ...signed, ...statement }, ['one', 'two'], NOW + at * HOUR);
    const notice = notices[target % Math.max(1, notices.length)];
    const named = notice && { notice: notice.id, ...(entry === undefined ? {} : { entries: [entryId(entry)] }) };
    const until = { from: hour(from), until: hour(from + span) };
    const lift = (id: string, changes: Partial<Lift>) =>
      lifts.push({ id, at, from, until: from + span, notice: notice?.number, entry, resumable: false, ...changes });
    if (kind === 'notice' || (kind === 'supersede' && notice !== undefined)) {
      const supersedes = kind === 'supersede' ? { supersedes: [notice!.id] } : {};
      const start = Math.max(at, from);
      const composed = register.compose(
        Array.from({ length: ENTRIES }, (_, i) =>
          subtree(nameOf(notices.length, i), i === 2 ? { expires: hour(start + span) } : {}),
        ),
        {
          ...signed,
          dates: { made: hour(at), approved: hour(at), effectiveFrom: hour(start) },
          term: { expires: hour(start + 2 * span) },
          recipients: toAll ? { all: true } : { licensees: [LICENSEE] },
          ...supersedes,
        },
      );
      const id = add(composed);
      if (kind === 'supersede') lift(id, { from: start, until: Number.POSITIVE_INFINITY, entry: undefined });
      notices.push({ id, number: notices.length, at, start, end: start + 2 * span, toAll });
    } else if (kind === 'halt') {
      lift(add({ type: 'halt', instrument: 'cma-263', ...until }), {
        notice: undefined,
        entry: undefined,
        resumable: true,
      });
    } else if (kind === 'resume') {
      const suspensions = lifts.filter(({ resumable }) => resumable);
      const suspended = suspensions[target % Math.max(1, suspensions.length)];
      if (suspended === undefined) return;
      resumptions.push({ at, from, target: suspended.id });
      add({ type: 'resumption', target: suspended.id, from: hour(from) });
    } else if (named !== undefined && kind === 'stay') {
      const order = { by: 'Tribunal', reference: 'T/1' };
      lift(add({ type: 'stay', target: named, order, ...until }), { resumable: true });
    } else if (named !== undefined && kind === 'revoke') {
      lift(add({ type: 'revocation', ...named, from: hour(from) }), { until: Number.POSITIVE_INFINITY });
    } else if (named !== undefined && kind === 'exempt') {
      const request = { reference: 'X', receivedAt: hour(at) };
      const licensee = toAll ? LICENSEE : OTHER;
      lift(add({ type: 'exemption', licensee, scope: named, conditions: 'None.', request, ...until }), { licensee });
    } else if (notice !== undefined && kind === 'vary' && entry !== undefined) {
      const id = add({ type: 'variation', notice: notice.id, from: hour(from), remove: [entryId(entry)] });
      lift(id, { until: Number.POSITIVE_INFINITY });
    }
  });
  return { register, notices, lifts, resumptions };
}

/** What is blocked at an hour, entry by entry, straight from the script. */
function blockedAt({ notices, lifts, resumptions }: ReturnType<typeof play>, licensee: string, now: number): string[] {
  const isLifted = (notice: Made, entry: number) =>
    lifts.some((lift) => {
      const ends = resumptions.filter(({ at, target }) => at <= now && target === lift.id).map(({ from }) => from);
      const until = Math.min(lift.until, ...ends);
      return (
        lift.at <= now &&
        (lift.notice === undefined || lift.notice === notice.number) &&
        (lift.entry === undefined || lift.entry === entry) &&
        (lift.licensee === undefined || lift.licensee === licensee) &&
        lift.from <= now &&
        now < until
      );
    });
  const blocked: string[] = [];
  for (const notice of notices) {
    if (notice.at > now || !(notice.toAll || licensee === LICENSEE)) continue;
    for (let entry = 0; entry < ENTRIES; entry++) {
      const end = entry === 2 ? notice.start + (notice.end - notice.start) / 2 : notice.end;
      if (notice.start <= now && now < end && !isLifted(notice, entry)) blocked.push(nameOf(notice.number, entry));
    }
  }
  return blocked.sort();
}

const at = (hours: number) => NOW + hours * HOUR;

function replayedNames(audit: AuditRegister, licensee: string, hours: number): string[] {
  return [...replayRegister(audit, licensee, at(hours)).rules()].map(({ name }) => name).sort();
}

describe('replay', () => {
  it('gives what a naive reading of the acts gives, at any hour and for any licensee', () => {
    fc.assert(
      fc.property(script, fc.array(fc.integer({ min: 0, max: 320 }), { minLength: 8, maxLength: 8 }), (acts, hours) => {
        const made = play(acts);
        const audit = auditInMemory(made.register);
        expect(audit.read().verdicts.filter(({ ok }) => !ok)).toEqual([]);
        for (const now of [...hours, ...acts.flatMap((one) => [one.at, one.from, one.from + one.span])]) {
          for (const licensee of [LICENSEE, OTHER]) {
            expect(replayedNames(audit, licensee, now)).toEqual(blockedAt(made, licensee, now));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('shows at least one block in most scripts, so that the property says something', () => {
    const shown = fc.sample(script, { numRuns: 50, seed: 1 }).filter((acts) => {
      const made = play(acts);
      return [10, 40, 80, 120].some((now) => blockedAt(made, LICENSEE, now).length > 0);
    });
    expect(shown.length).toBeGreaterThan(25);
  });

  it('says scope, exclusions, notice and window of each rule', () => {
    const register = new TestRegister();
    const notice = register.notice([
      subtree('bad.example', { excludes: ['ok.bad.example'] }),
      { raw: 'www.worse.example', scope: 'exact', expires: day(5) },
    ]);
    const change = { type: 'variation', ...common('V/1', day(1)), notice, from: day(2) };
    register.add({ ...change, exclude: [{ entry: 'e0000001', names: ['more.bad.example'] }] });
    const audit = auditInMemory(register);
    const rules = [...replayRegister(audit, LICENSEE, NOW + 2 * 86_400).rules()];
    const common2 = { notice: 'MCMC/2026/000001', noticeId: notice, notBefore: day(0), action: 'block' };
    expect(rules).toEqual([
      {
        ...common2,
        name: 'bad.example',
        scope: 'subtree',
        exclusions: ['more.bad.example', 'ok.bad.example'],
        entry: 'e0000001',
        notAfter: day(30),
      },
      { ...common2, name: 'www.worse.example', scope: 'exact', exclusions: [], entry: 'e0000002', notAfter: day(5) },
    ]);
    const [before] = replayRegister(audit, LICENSEE, NOW + 86_400).rules();
    expect(before!.exclusions).toEqual(['ok.bad.example']);
  });

  it('says of redirects and pages what they are, and what becomes of HTTPS', () => {
    const register = new TestRegister();
    const pages = [
      { raw: 'HTTP://paged.example/a b,c', scope: 'url' as const, query: 'any' as const },
      { raw: 'http://odd.example:8080/', scope: 'url' as const },
    ];
    register.notice([subtree('lead.example', { action: 'redirect' }), ...pages]);
    register.notice([{ raw: 'https://closed.example/', scope: 'url' }], { ...common('N/2'), https: 'block-host' });
    const refused: string[] = [];
    const audit = auditInMemory(register);
    const rules = [...replayRegister(audit, LICENSEE, NOW).rules(({ url }, why) => refused.push(`${url}: ${why}`))];
    expect(rules.map(({ name, scope, action, url, query, https }) => [name, scope, action, url, query, https])).toEqual(
      [
        ['lead.example', 'subtree', 'redirect', undefined, undefined, undefined],
        ['paged.example', 'url', 'block', 'http://paged.example/a%20b,c', 'any', 'passed'],
        ['closed.example', 'url', 'block', 'https://closed.example/', undefined, 'closed'],
      ],
    );
    expect(refused).toEqual(['http://odd.example:8080/: a page on a port other than 80 and 443 cannot be enforced']);
    const changes = [...diffRegister(audit, LICENSEE, NOW - 1, NOW)];
    expect(changes.map(({ change, name, action, url, https }) => [change, name, action, url, https])).toEqual([
      ['added', 'lead.example', 'redirect', undefined, undefined],
      ['added', 'paged.example', 'block', 'http://paged.example/a%20b,c', 'passed'],
      ['added', 'closed.example', 'block', 'https://closed.example/', 'closed'],
    ]);
  });

  it('leaves out what the guard-rails refuse, and tells of it', () => {
    const register = new TestRegister();
    register.notice(['bad.example', 'google.com']);
    const refused: string[] = [];
    const rules = replayRegister(auditInMemory(register), LICENSEE, NOW).rules((rule) => refused.push(rule.name));
    expect([...rules].map(({ name }) => name)).toEqual(['bad.example']);
    expect(refused).toEqual(['google.com']);
  });

  it('does not know a statement before the log did, whatever it says of its own time', () => {
    const register = new TestRegister();
    register.add(register.compose(['bad.example']), ['one', 'two'], NOW + 5 * HOUR);
    const audit = auditInMemory(register);
    expect(replayedNames(audit, LICENSEE, 4)).toEqual([]);
    expect(replayedNames(audit, LICENSEE, 5)).toEqual(['bad.example']);
  });

  it('shows a sealed notice without its annex as sealed, with the digest that a node has that holds it', () => {
    const register = new TestRegister();
    const sealed = register.compose([
      'secret-one.example',
      'secret-two.example',
      'secret-three.example',
    ]) as unknown as { annex: { digest: string } };
    const notice = register.add({ ...sealed, annex: { ...sealed.annex, sealed: true } });
    register.notice(['open.example'], common('MCMC/2026/000002'));
    // Named out of order: a digest follows the annex's order.
    const order = { by: 'Tribunal', reference: 'T/1' };
    const target = { notice, entries: ['e0000003', 'e0000001'] };
    register.add({ type: 'stay', ...common('S/1', day(1)), target, from: day(1), until: day(3), order });
    const whole = auditInMemory(register);
    const outside = auditInMemory(register, new Set([sealed.annex.digest]));
    for (const now of [0, 30, 80]) {
      const [inner, outer] = [whole, outside].map((audit) => replayRegister(audit, LICENSEE, at(now)));
      expect(outer!.rulesDigest).toBe(inner!.rulesDigest);
      expect([inner!.unread, outer!.unread]).toEqual([0, 1]);
      const shown = [...outer!.rules()];
      expect(shown.map(({ name, scope, entry }) => [name, scope, entry])).toEqual([
        ['(sealed)', 'sealed', '3'],
        ['open.example', 'subtree', 'e0000001'],
      ]);
      expect(JSON.stringify(shown)).not.toContain('secret');
    }
    expect(replayRegister(whole, LICENSEE, at(0)).rulesDigest).not.toBe(
      replayRegister(whole, LICENSEE, at(80)).rulesDigest,
    );
  });
});

describe('Effects', () => {
  it('has a cause exactly where the fold has no window', () => {
    fc.assert(
      fc.property(script, fc.integer({ min: 0, max: 250 }), (acts, now) => {
        const reading = auditInMemory(play(acts).register).read();
        for (const licensee of [LICENSEE, OTHER]) {
          const effects = new Effects(reading.statements, licensee, at(now));
          const folded = new Map(reading.fold(licensee, at(now)).map((one) => [one.notice.id, one]));
          for (const notice of reading.statements.filter(isNotice)) {
            const one = folded.get(notice.id);
            for (let entry = 0; entry < ENTRIES; entry++) {
              const holds = one !== undefined && windowAt(windowsOf(one, entry), at(now)) !== undefined;
              expect(effects.causes(notice, entry).length === 0).toBe(holds);
            }
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('diff', () => {
  it('turns the earlier list into the later one', () => {
    fc.assert(
      fc.property(script, fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 120 }), (acts, from, span) => {
        const audit = auditInMemory(play(acts).register);
        const names = new Set(replayedNames(audit, LICENSEE, from));
        for (const { change, name, reason, statement } of diffRegister(audit, LICENSEE, at(from), at(from + span))) {
          if (change === 'removed') expect(names.delete(name)).toBe(true);
          if (change === 'added') expect(names.has(name) || !names.add(name)).toBe(false);
          const byClock = ['began', 'expired', 'entry-expired'].includes(reason);
          expect([byClock, statement === undefined]).toEqual([byClock, byClock]);
        }
        expect([...names].sort()).toEqual(replayedNames(audit, LICENSEE, from + span));
      }),
      { numRuns: 60 },
    );
  });

  it('names the statement that did it', () => {
    const register = new TestRegister();
    const first = register.notice(['a.example', 'b.example', 'c.example'], common('N/1'));
    const order = { by: 'Tribunal', reference: 'T/1' };
    const stay = { type: 'stay', ...common('S/1', day(1)), target: { notice: first, entries: ['e0000001'] }, order };
    register.add({ ...stay, from: day(1), until: day(4) });
    register.add({ type: 'revocation', ...common('R/1', day(2)), notice: first, entries: ['e0000002'], from: day(2) });
    register.add(
      register.compose(['d.example'], {
        ...common('N/2', day(2)),
        dates: { made: day(1), approved: day(1), effectiveFrom: day(2) },
      }),
    );
    const change = { type: 'variation', ...common('V/1', day(3)), notice: first, from: day(3) };
    register.add({ ...change, exclude: [{ entry: 'e0000003', names: ['ok.c.example'] }] });
    const audit = auditInMemory(register);
    const list = (from: number, to: number) =>
      [...diffRegister(audit, LICENSEE, NOW + from * 86_400, NOW + to * 86_400)].map(
        ({ change, name, reason, statement }) => [change, name, reason, statement?.statement.reference].join(' '),
      );
    expect(list(0, 3)).toEqual([
      'removed a.example stayed S/1',
      'removed b.example revoked R/1',
      'narrowed c.example varied V/1',
      'added d.example notice N/2',
    ]);
    expect(list(3, 5)).toEqual(['added a.example resumed S/1']);
    expect(list(5, 5)).toEqual([]);
    expect(list(25, 31)).toEqual([
      'removed a.example expired ',
      'removed c.example expired ',
      'removed d.example expired ',
    ]);
  });
});

describe('explainNames', () => {
  it('heeds an exclusion from its day on, and not before', () => {
    const register = new TestRegister();
    const notice = register.notice(['bad.example']);
    const exclude = [{ entry: 'e0000001', names: ['ok.bad.example'] }];
    register.add({ type: 'variation', ...common('V/1', day(0)), notice, from: day(2), exclude });
    const reading = auditInMemory(register).read();
    const explain = (days: number) =>
      explainNames(reading, ['x.ok.bad.example'], { licensee: LICENSEE, atSeconds: NOW + days * 86_400, pack });
    expect([1, 2].map((days) => explain(days).get('x.ok.bad.example')!.blocked)).toEqual([true, false]);
  });

  it('blocks exactly the names that lie in an entry in force and in none of its exclusions', () => {
    const label = fc.constantFrom('a', 'b', 'c');
    const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => `${labels.join('.')}.example`);
    const entry = fc.record({ raw: name, scope: fc.constantFrom('exact' as const, 'subtree' as const), below: label });
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 6 }),
        fc.array(name, { minLength: 10, maxLength: 10 }),
        (drafts, names) => {
          const register = new TestRegister();
          register.notice(
            drafts.map(({ raw, scope, below }) => ({
              raw,
              scope,
              excludes: scope === 'subtree' ? [`${below}.${raw}`] : undefined,
            })),
          );
          const audit = auditInMemory(register);
          const inForce = [...entriesInForce(audit.read().fold(LICENSEE, NOW), NOW)];
          const isIn = (one: string, apex: string) => one === apex || one.endsWith(`.${apex}`);
          const reports = explainNames(audit.read(), names, { licensee: LICENSEE, atSeconds: NOW, pack });
          for (const one of names) {
            const blocked = inForce.some(
              ({ name: apex, scope, exclusions }) =>
                (scope === 'exact' ? one === apex : isIn(one, apex)) &&
                !exclusions.some((excluded) => isIn(one, excluded)),
            );
            expect([one, reports.get(one)!.blocked]).toEqual([one, blocked]);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
