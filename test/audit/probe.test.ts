import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judgeAnswer } from '../../src/audit/dns-answer.ts';
import { createAsker, type DnsAsker, type Protocol, type ResolverTarget } from '../../src/audit/dns-asker.ts';
import { explainNames } from '../../src/audit/explain-name.ts';
import { countOutcomes, findInProbe, judgeResult, runProbe } from '../../src/audit/probe.ts';
import { planProbe } from '../../src/audit/probe-plan.ts';
import { RRTYPE } from '../../src/dns/constants.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { common, DAY, day, LICENSEE, NOW, pack, subtree, TestRegister } from '../register/fixture.ts';
import { type DnsDouble, type Say, startDouble } from './dns-double.ts';
import { auditInMemory } from './fixture.ts';

const PROTOCOLS: readonly Protocol[] = ['udp', 'tcp', 'dot', 'doh'];
const TERMS = { types: [RRTYPE.A, RRTYPE.HTTPS], concurrency: 8, perSecond: 2000 };
const EXPLAIN = { licensee: LICENSEE, atSeconds: NOW, pack };

/** A register with a rule of every kind, something released, something lapsed, and something excluded. */
function createRegister() {
  const register = new TestRegister();
  register.notice(['lapsed.example'], {
    ...common('N/0', day(-20)),
    dates: { made: day(-20), approved: day(-20), effectiveFrom: day(-20) },
    term: { expires: day(-10) },
  });
  const dates = { made: day(-5), approved: day(-5), effectiveFrom: day(-5) };
  const entries = [
    subtree('bad.example', { excludes: ['ok.bad.example'] }),
    { raw: 'www.worse.example', scope: 'exact' as const },
    subtree('released.example'),
    subtree('maybank.com'),
  ];
  const notice = register.notice(entries, { ...common('N/1', day(-5)), dates });
  register.add({ type: 'revocation', ...common('R/1', day(-2)), notice, entries: ['e0000003'], from: day(-2) });
  register.notice(['new.example'], { ...common('N/2', day(0)) });
  return auditInMemory(register);
}

const audit = createRegister();
let calls = 0;
const random = (bound: number) => (calls++ * 7919) % bound;
const plan = planProbe(audit, { licensee: LICENSEE, nowSeconds: NOW, settleSeconds: 120, random });

/** What an obedient resolver says. */
function obey(name: string): Say {
  const report = explainNames(audit.read(), [name], EXPLAIN).get(name)!;
  const coverage = report.coverages.find(({ state }) => state === 'in-force');
  if (coverage === undefined) return 'open';
  const form = coverage.answer === 'nxdomain' ? 'nxdomain' : 'nodata';
  return { block: `notice ${coverage.notice.statement.reference}`, form };
}

let double: DnsDouble;
const askers: DnsAsker[] = [];
beforeAll(async () => {
  double = await startDouble(obey);
});
afterAll(async () => {
  for (const asker of askers) await asker.close();
  await double.close();
});

function askerOf(target: ResolverTarget, timeoutMillis = 5000): DnsAsker {
  const asker = createAsker(target, timeoutMillis);
  askers.push(asker);
  return asker;
}

/** Probes the double by one transport while it says these things of some names. */
async function probe(protocol: Protocol, lies: Record<string, Say> = {}, compare?: DnsAsker) {
  double.say = (name) => lies[name] ?? obey(name);
  const results = await runProbe(askerOf(double.target(protocol)), plan, TERMS, compare);
  const findings = findInProbe(audit, results, 'double', EXPLAIN);
  return { results, findings, counts: countOutcomes(results) };
}

const brief = (findings: Awaited<ReturnType<typeof probe>>['findings']) =>
  [...new Set(findings.map(({ code, reference, evidence }) => `${evidence.name} ${code} ${reference}`))].sort();

describe('planProbe', () => {
  it('asks for rules, for names around them, for what was released or lapsed, and for protected names', () => {
    const names = new Map(plan.map(({ name, reason, expect: expected }) => [name, `${reason} ${expected}`]));
    const token = [...names.keys()]
      .find((name) => name.endsWith('.bad.example') && name.startsWith('warta-probe'))!
      .split('.')[0];
    expect(Object.fromEntries([...names].filter(([, what]) => what !== 'protected open'))).toEqual({
      'bad.example': 'rule blocked',
      [`${token}.bad.example`]: 'below-rule blocked',
      'ok.bad.example': 'exclusion open',
      [`${token}.ok.bad.example`]: 'exclusion open',
      [`${token}-bad.example`]: 'near-miss open',
      [`${token}.example`]: 'sibling open',
      'www.worse.example': 'rule blocked',
      [`${token}.www.worse.example`]: 'below-exact open',
      [`${token}-www.worse.example`]: 'near-miss open',
      [`${token}.worse.example`]: 'sibling open',
      'worse.example': 'parent open',
      'lapsed.example': 'released open',
      'released.example': 'released open',
      // The notice that starts only now is left alone until it settled; what looks like its name is not.
      [`${token}-new.example`]: 'near-miss open',
    });
    const protectedNames = [...names].filter(([, what]) => what === 'protected open').map(([name]) => name);
    expect(protectedNames).toHaveLength(50);
  });

  it('draws a sample that is as large as asked for', () => {
    const register = new TestRegister();
    register.notice(Array.from({ length: 200 }, (_, i) => `n${i}.example`));
    const large = auditInMemory(register);
    const terms = { licensee: LICENSEE, nowSeconds: NOW + DAY, settleSeconds: 0, sample: 7, random };
    expect(planProbe(large, terms).filter(({ reason }) => reason === 'rule')).toHaveLength(7);
  });
});

describe('runProbe', () => {
  it.each(PROTOCOLS)('finds nothing wrong with a resolver that obeys, over %s', async (protocol) => {
    const before = double.asked.length;
    const { findings, counts, results } = await probe(protocol);
    expect(findings).toEqual([]);
    expect(counts['as-expected']).toBe(results.length);
    expect(results.length).toBeGreaterThan(plan.length);
    expect(new Set(double.asked.slice(before).map((one) => one.protocol))).toEqual(new Set([protocol]));
  });

  it.each(PROTOCOLS)('finds what is blocked too little, too much or under another name, over %s', async (protocol) => {
    const block = (reference: string, form: 'nxdomain' | 'nodata' = 'nxdomain', code = 16): Say => ({
      block: `notice ${reference}`,
      form,
      code,
    });
    const { findings } = await probe(protocol, {
      'bad.example': 'open',
      'www.worse.example': block('N/1', 'nxdomain'),
      'ok.bad.example': block('N/1'),
      'worse.example': block('N/1'),
      'lapsed.example': block('N/0'),
      'released.example': block('N/1'),
      'google.com': block('N/7'),
    });
    const probed = plan.some(({ name }) => name === 'google.com');
    expect(brief(findings).filter((line) => !line.startsWith('google.com'))).toEqual([
      'bad.example under-blocked N/1',
      'lapsed.example expired-applied N/0',
      'ok.bad.example scope-wider N/1',
      'released.example released-applied N/1',
      'worse.example scope-wider N/1',
      'www.worse.example wrong-answer N/1',
    ]);
    expect(brief(findings).includes('google.com off-register undefined')).toBe(probed);
    const wrong = await probe(protocol, {
      'bad.example': block('N/2'),
      'www.worse.example': block('N/1', 'nodata', 15),
    });
    expect(brief(wrong.findings)).toEqual(['bad.example wrong-reference N/1', 'www.worse.example wrong-answer N/1']);
  });

  it('cannot tell a denial from the truth, unless a resolver that blocks nothing is asked as well', async () => {
    const lies: Record<string, Say> = { 'bad.example': 'denied', 'ok.bad.example': 'denied' };
    const alone = await probe('udp', lies);
    expect(brief(alone.findings)).toEqual(['bad.example unproven N/1']);
    const other = await startDouble(() => 'open');
    const compared = await probe('udp', lies, askerOf(other.target('udp')));
    expect(brief(compared.findings)).toEqual(['bad.example wrong-answer N/1', 'ok.bad.example scope-wider N/1']);
    other.say = () => 'denied';
    expect(brief((await probe('udp', lies, askerOf(other.target('udp')))).findings)).toEqual([
      'bad.example unproven N/1',
    ]);
    await other.close();
  });

  it('tells of names that get no answer, and gives up on a resolver that is not there', async () => {
    double.say = (name) => (name === 'bad.example' ? 'nothing' : name === 'worse.example' ? 'servfail' : obey(name));
    const results = await runProbe(askerOf(double.target('udp'), 300), plan, TERMS);
    const findings = findInProbe(audit, results, 'double', EXPLAIN);
    expect(brief(findings)).toEqual(['bad.example unanswered N/1', 'worse.example unanswered undefined']);
    double.say = () => 'nothing';
    await expect(runProbe(askerOf(double.target('tcp'), 200), plan, TERMS)).rejects.toMatchObject({
      code: 'probe-failed',
    });
    const closed: ResolverTarget = { protocol: 'tcp', host: '127.0.0.1', port: 1 };
    await expect(runProbe(askerOf(closed), plan, TERMS)).rejects.toThrow('nothing listens there');
  });

  it('keeps to its pace', async () => {
    double.say = obey;
    const clock = new FakeClock();
    const began = clock.monotonicMillis();
    const pause = async (millis: number) => clock.pass(millis);
    const names = plan.slice(0, 10);
    const results = await runProbe(askerOf(double.target('udp')), names, { ...TERMS, perSecond: 50, clock, pause });
    expect(results.length).toBeGreaterThan(names.length);
    expect(clock.monotonicMillis() - began).toBeCloseTo((results.length - 1) * 20);
  });
});

/** A register with redirects and pages; one host with a page is blocked as a whole too. */
function createPagesRegister() {
  const register = new TestRegister();
  const dates = { made: day(-5), approved: day(-5), effectiveFrom: day(-5) };
  const entries = [
    subtree('lead.example', { action: 'redirect' as const, excludes: ['ok.deep.lead.example'] }),
    { raw: 'one.lead.test', scope: 'exact' as const, action: 'redirect' as const },
    { raw: 'http://paged.example/listed', scope: 'url' as const },
    { raw: 'http://paged.example/other', scope: 'url' as const, query: 'any' as const },
    { raw: 'http://whole.example/listed', scope: 'url' as const },
    subtree('whole.example'),
    { raw: 'http://odd.example:8080/', scope: 'url' as const },
  ];
  register.notice(entries, { ...common('P/1', day(-5)), dates });
  const gone = register.notice([{ raw: 'http://gone.example/', scope: 'url' }], { ...common('P/2', day(-5)), dates });
  register.add({ type: 'revocation', ...common('R/1', day(-2)), notice: gone, from: day(-2) });
  return auditInMemory(register);
}

describe('redirects and pages', () => {
  const paged = createPagesRegister();
  const names = planProbe(paged, { licensee: LICENSEE, nowSeconds: NOW, settleSeconds: 120, random });
  const types = [RRTYPE.A, RRTYPE.AAAA, RRTYPE.HTTPS];

  /** A resolver with a gateway, which has an IPv4 address alone, or without any. */
  const resolverWith =
    (gateway: boolean) =>
    (name: string, type: number): Say => {
      const report = explainNames(paged.read(), [name], EXPLAIN).get(name)!;
      const coverage = report.coverages.find(({ state }) => state === 'in-force' || state === 'page');
      const covering = report.coverages.find(({ state }) => state === 'in-force') ?? coverage;
      if (covering === undefined) return 'open';
      const block = `notice ${covering.notice.statement.reference}`;
      const hasAddress = gateway && type === RRTYPE.A;
      if (covering.answer === 'steer') {
        return gateway
          ? { block, form: hasAddress ? 'records' : 'nodata', code: 4 }
          : type === RRTYPE.A
            ? 'open'
            : 'denied';
      }
      if (covering.answer === 'redirect')
        return hasAddress ? { block, form: 'records', code: 4 } : { block, form: 'nodata' };
      return { block, form: covering.answer };
    };

  async function probeWith(say: (name: string, type: number) => Say) {
    double.say = say;
    const results = await runProbe(askerOf(double.target('tcp')), names, { ...TERMS, types });
    const findings = findInProbe(paged, results, 'double', EXPLAIN);
    return { findings, brief: brief(findings), counts: countOutcomes(results), results };
  }

  it('are asked for, with the names around them', () => {
    const planned = new Map(names.map(({ name, reason, expect: expected }) => [name, `${reason} ${expected}`]));
    expect(planned.get('lead.example')).toBe('rule blocked');
    expect(planned.get('one.lead.test')).toBe('rule blocked');
    expect(planned.get('paged.example')).toBe('page steered');
    expect(planned.get('whole.example')).toBe('page blocked');
    expect(planned.get('gone.example')).toBe('released open');
    expect([...planned].find(([name]) => name.endsWith('.paged.example'))?.[1]).toBe('below-exact open');
    // The guard-rails let no page on another port make a rule.
    expect(planned.has('odd.example')).toBe(false);
  });

  it('are as they should be at a resolver with a gateway', async () => {
    const { findings, counts, results } = await probeWith(resolverWith(true));
    expect(findings).toEqual([]);
    expect(counts['as-expected']).toBe(results.length);
  });

  it('are told of as pages that nobody steers at a resolver without one; its redirects are blocks', async () => {
    const { findings, brief: told } = await probeWith(resolverWith(false));
    expect(told).toEqual(['paged.example not-steered P/1']);
    expect(findings[0]).toMatchObject({ severity: 'warning', licensee: LICENSEE });
  });

  const block = 'notice P/1';
  it.each<[string, string, Say, string[]]>([
    ['a host with pages that is blocked whole', 'paged.example', { block, form: 'nxdomain' }, ['paged.example scope-wider P/1']],
    ['a host with pages that has no record', 'paged.example', { block, form: 'nodata' }, ['paged.example scope-wider P/1']],
    ['a host with pages that is denied by a forged answer', 'paged.example', { block, form: 'nxdomain', code: 4 }, ['paged.example scope-wider P/1']],
    ['a host led to the gateway under another notice', 'paged.example', { block: 'notice P/9', form: 'records', code: 4 }, ['paged.example wrong-reference P/1']],
    ['a host whose page was released', 'gone.example', { block, form: 'records', code: 4 }, ['gone.example released-applied P/2']],
    ['a redirect that leads nowhere in particular', 'one.lead.test', 'open', ['one.lead.test under-blocked P/1']],
    ['a redirect that says its answer is no forgery', 'one.lead.test', { block, form: 'records', code: 16 }, ['one.lead.test wrong-answer P/1']],
    ['a redirect of one name that denies all below it', 'one.lead.test', { block, form: 'nxdomain' }, ['one.lead.test wrong-answer P/1']],
    ['a redirect that is blocked', 'one.lead.test', { block, form: 'nodata' }, []],
    ['a block that gives an address', 'whole.example', { block, form: 'records', code: 4 }, ['whole.example wrong-answer P/1']],
  ])('%s', async (_case, name, say, expected) => {
    const honest = resolverWith(true);
    expect((await probeWith((asked, type) => (asked === name ? say : honest(asked, type)))).brief).toEqual(expected);
  }); // biome-ignore format: a table
});

describe('createAsker', () => {
  it('asks again over TCP when a UDP answer is cut', async () => {
    double.say = () => 'open';
    double.cut = true;
    const before = double.asked.length;
    const answer = await askerOf(double.target('udp')).ask('www.example', RRTYPE.A);
    double.cut = false;
    expect(judgeAnswer(answer)).toEqual({ kind: 'open' });
    expect(double.asked.slice(before).map(({ protocol }) => protocol)).toEqual(['udp', 'tcp']);
  });

  it.each(['dot', 'doh'] as const)(
    'checks the certificate over %s, by address or by name, unless told not to',
    async (protocol) => {
      double.say = () => 'open';
      const { ca, ...bare } = double.target(protocol);
      const ask = (target: ResolverTarget) => askerOf(target).ask('www.example', RRTYPE.A);
      await expect(ask(bare)).rejects.toMatchObject({ code: 'probe-failed' });
      await expect(ask({ ...bare, ca, tlsName: 'other.test' })).rejects.toMatchObject({ code: 'probe-failed' });
      for (const target of [
        { ...bare, ca },
        { ...bare, ca, tlsName: 'dns.test' },
        { ...bare, anyCertificate: true },
      ]) {
        expect(judgeAnswer(await ask(target)).kind).toBe('open');
      }
    },
  );

  it('asks by GET over HTTPS when told to, and goes on after a connection was closed', async () => {
    double.say = obey;
    const asker = askerOf({ ...double.target('doh'), get: true });
    expect(judgeAnswer(await asker.ask('bad.example', RRTYPE.A))).toMatchObject({ kind: 'blocked', reference: 'N/1' });
    const stream = askerOf(double.target('tcp'));
    await stream.ask('bad.example', RRTYPE.A);
    await stream.close();
    expect(judgeAnswer(await stream.ask('bad.example', RRTYPE.A)).kind).toBe('blocked');
  });
});

describe('judgeResult', () => {
  it('accepts the reference of any notice in force for the name', () => {
    const register = new TestRegister();
    register.notice(['twice.example'], common('N/1'));
    register.notice(['twice.example'], common('N/2'));
    const twice = auditInMemory(register);
    const report = explainNames(twice.read(), ['twice.example'], EXPLAIN).get('twice.example')!;
    const asked = { name: 'twice.example', reason: 'rule', expect: 'blocked', report } as const;
    const judge = (reference: string) =>
      judgeResult({ asked, type: 1, verdict: { kind: 'blocked', code: 16, form: 'nxdomain', reference } });
    expect(['N/1', 'N/2', 'N/3'].map(judge)).toEqual(['as-expected', 'as-expected', 'wrong-reference']);
  });
});
