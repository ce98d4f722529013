import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RuleClock } from '../../src/base/clock.ts';
import { canonicalizeTarget } from '../../src/gateway/canonical-url.ts';
import { HostBook } from '../../src/gateway/host-book.ts';
import { NoticeAnswers, renderPlainNotice } from '../../src/gateway/notice-answer.ts';
import { createTableRules } from '../../src/gateway/table-rules.ts';
import { createCounterBuffer, SharedCounters } from '../../src/metrics/shared-counters.ts';
import { formatInstant } from '../../src/register/time.ts';
import { type QueryStages, VERDICT } from '../../src/resolver/query-stages.ts';
import { createStages } from '../../src/resolver/stage-settings.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { ListCompiler } from '../../src/sync/list-compiler.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { authoritiesFile, common, LICENSEE, NOW, TestRegister } from '../register/fixture.ts';
import { composeQuery, parseAnswer, TYPE } from '../support/dns-message.ts';

const GATEWAY_ADDRESS = '192.0.2.80';
const HOSTS = ['site.example', 'www.site.example', 'a.www.site.example', 'other.example'];
const ALL_HOSTS = [...HOSTS, 'x.a.www.site.example', 'foreign.example'];

/** Spellings of pages below a host, and the path and query that each stands for. */
const SPELLINGS: readonly (readonly [url: (host: string) => string, path: string, query: string])[] = [
  [(host) => `http://${host}`, '/', ''],
  [(host) => `https://${host.toUpperCase()}:443/x`, '/x', ''],
  [(host) => `http://${host}./%78?`, '/x', ''],
  [(host) => `http://${host}:80/y/../x?q=1`, '/x', 'q=1'],
  [(host) => `http://${host}/x?q=%31%2F`, '/x', 'q=1%2F'],
];
const TARGETS: readonly (readonly [target: string, path: string, query: string])[] = [
  ['/', '/', ''],
  ['/x', '/x', ''],
  ['/x?q=1', '/x', 'q=1'],
  ['/%78?q=1%2f', '/x', 'q=1%2F'],
  ['/x?q=2', '/x', 'q=2'],
  ['/X', '/X', ''],
  ['/x/', '/x/', ''],
];

/** An entry as a test lists it; `page` for scope url. */
interface Listed {
  id: string;
  host: string;
  scope: 'exact' | 'subtree' | 'url';
  action: 'block' | 'redirect';
  page?: { path: string; query: string; any: boolean };
  excludes: { name: string; from: number }[];
  until: number;
  cuts: Cut[];
}
interface Cut {
  from: number;
  until: number;
}
/** A notice as a test signed it, with what was taken from it since: the plain truth that the nodes are held against. */
interface Signed {
  id: string;
  reference: string;
  integrated: number;
  from: number;
  until: number;
  closes: boolean;
  entries: Listed[];
  cuts: Cut[];
}

const isCut = (cuts: readonly Cut[], at: number) => cuts.some(({ from, until }) => from <= at && at < until);

/** Everything that was signed, judged statement by statement. */
class Truth {
  readonly notices: Signed[] = [];

  inForce(notice: Signed, entry: Listed, at: number): boolean {
    if (at < notice.from || at >= notice.until || at >= entry.until) return false;
    return !isCut(notice.cuts, at) && !isCut(entry.cuts, at);
  }

  /** What blocks the whole host: of the entries with the longest name, any may be told. */
  covers(host: string, at: number): { notice: Signed; entry: Listed }[] {
    const found = this.#all((entry) => {
      if (entry.scope === 'url') return false;
      const below = entry.scope === 'subtree' && host.endsWith(`.${entry.host}`);
      if (host !== entry.host && !below) return false;
      return !entry.excludes.some(({ name, from }) => from <= at && (host === name || host.endsWith(`.${name}`)));
    }, at);
    const longest = Math.max(0, ...found.map(({ entry }) => entry.host.length));
    return found.filter(({ entry }) => entry.host.length === longest);
  }

  pages(host: string, at: number): { notice: Signed; entry: Listed }[] {
    return this.#all((entry) => entry.scope === 'url' && entry.host === host, at);
  }

  page(host: string, path: string, query: string, at: number): { notice: Signed; entry: Listed }[] {
    return this.pages(host, at).filter(
      ({ entry: { page } }) => page!.path === path && (page!.any || page!.query === query),
    );
  }

  /** Whether one page of the host has been in force, and in the register, for half a minute. */
  isSettled(host: string, at: number): boolean {
    return this.pages(host, at).some(({ notice, entry }) => {
      if (at - 30 < notice.integrated) return false;
      for (let before = at - 30; before < at; before++) if (!this.inForce(notice, entry, before)) return false;
      return true;
    });
  }

  #all(matches: (entry: Listed) => boolean, at: number) {
    return this.notices.flatMap((notice) =>
      notice.entries
        .filter((entry) => matches(entry) && this.inForce(notice, entry, at))
        .map((entry) => ({ notice, entry })),
    );
  }
}

const TERMS = {
  licensee: LICENSEE,
  pack: readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url)),
  answer: { soaMname: 'warta.invalid', soaRname: 'hostmaster.warta.invalid', operator: 'Test', language: 'en' },
};
const AUTHORITIES = JSON.stringify(authoritiesFile);
const FOREVER = Number.POSITIVE_INFINITY;

/** One entry to be listed. */
interface EntryDraw {
  host: number;
  kind: 'page' | 'any' | 'exact' | 'subtree' | 'led' | 'led-subtree';
  spelling: number;
  excludes: boolean;
  lasts: number | undefined;
}
type Act =
  | {
      act: 'notice';
      entries: EntryDraw[];
      starts: number;
      lasts: number;
      closes: boolean;
      supersedes: number | undefined;
    }
  | {
      act: 'stay' | 'revocation' | 'exemption';
      notice: number;
      entry: number | undefined;
      from: number;
      lasts: number | undefined;
    }
  | { act: 'resumption'; stay: number; from: number }
  | {
      act: 'variation';
      notice: number;
      entry: number;
      what: 'remove' | 'exclude' | 'expires' | 'expiresAt';
      from: number;
      lasts: number;
    }
  | { act: 'restart' };

/** What the gateway said of a page; the notice's reference, and how long the answer may be kept, if it is blocked. */
interface Judged {
  hasPages: boolean;
  blocksHttps: boolean;
  reference?: string;
  whole: boolean;
  age: number;
}

/** A register, a resolver and a gateway, which look at the register at times of their own. */
class Site {
  readonly clock = new FakeClock(NOW);
  readonly truth = new Truth();
  readonly register = new TestRegister();
  #stays: { id: string; cut: Cut }[] = [];
  #version = 0;
  #resolverCompiler = new ListCompiler(TERMS);
  #gatewayCompiler = new ListCompiler(TERMS);
  readonly #rules = new RuleClock(this.clock);
  readonly #counters = new SharedCounters(createCounterBuffer());
  #stages: QueryStages | undefined;
  #book: HostBook | undefined;
  #answers = new NoticeAnswers(renderPlainNotice, 'https://isp.example/');

  get now(): number {
    return this.clock.wall / 1000;
  }

  restart(): void {
    this.#resolverCompiler = new ListCompiler(TERMS);
    this.#gatewayCompiler = new ListCompiler(TERMS);
  }

  pass(seconds: number): void {
    this.clock.pass(seconds * 1000);
    this.#rules.read();
  }

  #compile(compiler: ListCompiler): SharedArrayBuffer {
    const leaves = this.register.leaves.map((leaf) => ({ ...leaf, key: leaf.name }));
    const reading = { authorities: AUTHORITIES, leaves, annexes: this.register, fingerprint: `${this.#version++}` };
    const list = compiler.compile(reading, 'terms', this.now);
    expect(list.verdicts.filter(({ ok }) => !ok)).toEqual([]);
    expect(list.refusedCount).toBe(0);
    return list.table;
  }

  updateResolver(): void {
    const table = new RuleTable(this.#compile(this.#resolverCompiler));
    if (this.#stages !== undefined) return this.#stages.useTable(table);
    const up = new SharedArrayBuffer(4);
    new Int32Array(up)[0] = 1;
    const settings = {
      ...{ allow: ['127.0.0.0/8'], responsesPerSecond: 0, rateLimitKey: 0, cookieSecret: new Uint8Array(16) },
      ...{ observe: false, checkTargets: true, maxTtlSeconds: 60, structuredOption: -1 },
      steering: { addresses: [GATEWAY_ADDRESS], up },
    };
    this.#stages = createStages(settings, { counters: this.#counters, clock: this.#rules }, table);
  }

  updateGateway(): void {
    const describeInstrument = () => ({ instrument: 'Act', section: '1' });
    const rules = createTableRules(this.#compile(this.#gatewayCompiler), describeInstrument);
    if (this.#book === undefined) this.#book = new HostBook(rules, () => this.#rules);
    else this.#book.replaceRules(rules);
  }

  /** What the resolver answers: `forwarded`, or RCODE, addresses, reference and TTL. */
  resolve(name: string, type: number) {
    const message = composeQuery(name, { type, edns: {} });
    const wire = new Uint8Array(2048);
    wire.set([2, 0, 0, 53, 127, 0, 0, 1]);
    wire.set(message, 32);
    this.#stages!.readClock();
    const verdict = this.#stages!.decide(wire, 32, message.length, 0, 1232, false);
    if (verdict === VERDICT.FORWARD) return undefined;
    const { rcode, ede, soa, answers } = parseAnswer(Buffer.from(wire.subarray(32, 32 + verdict)));
    const ttl = soa?.ttl ?? answers[0]!.ttl!;
    return { rcode, steered: answers.length > 0, code: ede!.code, reference: ede!.text.replace(/^notice /, ''), ttl };
  }

  /** What the gateway makes of a request; undefined when the host is none of its own. */
  request(host: string, target: string): Judged | undefined {
    const rules = this.#book!.find(host);
    if (rules === undefined) return undefined;
    const hit = rules.redirect ?? rules.findPage(canonicalizeTarget(host, undefined, target));
    const { hasPages, blocksHttps } = rules;
    if (hit === undefined) return { hasPages, blocksHttps, whole: false, age: 0 };
    const request = { acceptLanguage: undefined, accept: undefined };
    const { headers, body } = this.#answers.compose(hit, request, this.#rules.endSeconds);
    expect(body).toContain(`Notice: ${hit.notice.reference}\n`);
    const age = Number(/max-age=(\d+)/.exec(headers.join(' '))![1]);
    return { hasPages, blocksHttps, reference: hit.notice.reference, whole: rules.redirect !== undefined, age };
  }

  act(act: Act): void {
    const reference = `T/${this.register.leaves.length}`;
    const signedAt = formatInstant(this.now);
    const base = common(reference, signedAt);
    const notices = this.truth.notices;
    if (act.act === 'restart') return this.restart();
    if (act.act === 'notice') return this.#sign(act, reference, signedAt);
    if (act.act === 'resumption') {
      const stay = this.#stays[act.stay % Math.max(1, this.#stays.length)];
      if (stay === undefined) return;
      const from = this.now + act.from;
      this.#add({ ...base, type: 'resumption', target: stay.id, from: formatInstant(from) });
      stay.cut.until = Math.min(stay.cut.until, from);
      return;
    }
    const notice = notices[act.notice % Math.max(1, notices.length)];
    if (notice === undefined) return;
    const from = this.now + act.from;
    if (act.act === 'variation') return this.#vary(act, base, notice, from);
    const entry = act.entry === undefined ? undefined : notice.entries[act.entry % notice.entries.length]!;
    const until = act.lasts === undefined || act.act === 'revocation' ? FOREVER : from + act.lasts;
    const cut = { from, until };
    const target = { notice: notice.id, ...(entry === undefined ? {} : { entries: [entry.id] }) };
    const end = until === FOREVER ? {} : { until: formatInstant(until) };
    if (act.act === 'stay') {
      const order = { by: 'High Court', reference: 'HC/1' };
      const id = this.#add({ ...base, type: 'stay', target, from: formatInstant(from), ...end, order });
      this.#stays.push({ id, cut });
    } else if (act.act === 'revocation') {
      this.#add({ ...base, type: 'revocation', ...target, from: formatInstant(from) });
    } else {
      cut.until = from + (act.lasts ?? 500);
      const rest = { conditions: 'None.', request: { reference: 'R', receivedAt: signedAt } };
      const period = { from: formatInstant(from), until: formatInstant(cut.until) };
      this.#add({ ...base, type: 'exemption', licensee: LICENSEE, scope: target, ...period, ...rest });
    }
    (entry ?? notice).cuts.push(cut);
  }

  #add(statement: object): string {
    return this.register.add(statement, ['one', 'two'], this.now);
  }

  #vary(act: Act & { act: 'variation' }, base: object, notice: Signed, from: number): void {
    const entry = notice.entries[act.entry % notice.entries.length]!;
    const at = this.now + act.lasts;
    const cut = { from: Math.max(from, at), until: FOREVER };
    const statement = { ...base, type: 'variation', notice: notice.id, from: formatInstant(from) };
    if (act.what === 'remove') {
      this.#add({ ...statement, remove: [entry.id] });
      entry.cuts.push({ from, until: FOREVER });
    } else if (act.what === 'expires') {
      this.#add({ ...statement, expires: [{ entry: entry.id, at: formatInstant(at) }] });
      entry.cuts.push(cut);
    } else if (act.what === 'expiresAt') {
      this.#add({ ...statement, expiresAt: formatInstant(at) });
      notice.cuts.push(cut);
    } else if (entry.scope === 'subtree') {
      const name = `a.${entry.host}`;
      this.#add({ ...statement, exclude: [{ entry: entry.id, names: [name] }] });
      entry.excludes.push({ name, from });
    }
  }

  #sign(act: Act & { act: 'notice' }, reference: string, signedAt: string): void {
    const from = this.now + act.starts;
    const until = from + act.lasts;
    const entries = act.entries.map((draw, at): Listed & { raw: string } => {
      const host = HOSTS[draw.host]!;
      const isPage = draw.kind === 'page' || draw.kind === 'any';
      const [spell, path, query] = SPELLINGS[draw.spelling]!;
      const scope = isPage ? 'url' : draw.kind.endsWith('subtree') ? 'subtree' : 'exact';
      return {
        ...{ id: `e${at}`, host, scope, raw: isPage ? spell(host) : host, cuts: [] },
        action: draw.kind.startsWith('led') ? 'redirect' : 'block',
        page: isPage ? { path, query, any: draw.kind === 'any' } : undefined,
        excludes: draw.excludes && scope === 'subtree' ? [{ name: `www.${host}`, from: 0 }] : [],
        until: draw.lasts === undefined ? FOREVER : Math.min(until, from + draw.lasts),
      };
    });
    const drafts = entries.map(({ id, raw, scope, action, page, excludes, until: ends }) => ({
      ...{ id, raw, scope, action, query: page?.any ? ('any' as const) : undefined },
      excludes: excludes.length === 0 ? undefined : excludes.map(({ name }) => name),
      expires: ends === FOREVER ? undefined : formatInstant(ends),
    }));
    const old = this.truth.notices[(act.supersedes ?? 0) % Math.max(1, this.truth.notices.length)];
    const supersedes = act.supersedes === undefined || old === undefined ? {} : { supersedes: [old.id] };
    const notice = this.register.compose(drafts, {
      ...common(reference, signedAt),
      dates: { made: formatInstant(NOW), approved: formatInstant(NOW), effectiveFrom: formatInstant(from) },
      term: { expires: formatInstant(until) },
      ...(act.closes ? { https: 'block-host' } : {}),
      ...supersedes,
    });
    const id = this.#add(notice);
    if ('supersedes' in supersedes) old!.cuts.push({ from, until: FOREVER });
    this.truth.notices.push({
      id,
      reference,
      integrated: this.now,
      from,
      until,
      closes: act.closes,
      entries,
      cuts: [],
    });
  }
}

const references = (found: readonly { notice: Signed }[]) => found.map(({ notice }) => notice.reference);

/** Holds what a gateway makes of every page of every host against the statements. */
function checkGateway(site: Site): void {
  const { truth, now } = site;
  for (const host of ALL_HOSTS) {
    const covers = truth.covers(host, now);
    const pages = truth.pages(host, now);
    for (const [target, path, query] of TARGETS) {
      const told = `${host}${target} at ${now - NOW}`;
      const said = site.request(host, target);
      const hitsAt = (at: number) => (covers.length > 0 ? truth.covers(host, at) : truth.page(host, path, query, at));
      const hits = hitsAt(now);
      const { reference, whole, age } = said ?? { age: 0, whole: false };
      if (hits.length === 0) expect([told, reference]).toEqual([told, undefined]);
      else {
        expect([told, references(hits)]).toEqual([told, expect.arrayContaining([reference])]);
        expect([told, whole]).toEqual([told, covers.length > 0]);
        if (age > 0) expect([told, hitsAt(now + age - 1).length > 0]).toEqual([told, true]);
      }
      const closes = pages.some(({ notice }) => notice.closes);
      expect([told, said?.hasPages ?? false, said?.blocksHttps ?? false]).toEqual([told, pages.length > 0, closes]);
    }
  }
}

/** Holds what the resolver answers against the statements, and for how long it may be kept. */
function checkResolver(site: Site): void {
  const { truth, now } = site;
  for (const host of ALL_HOSTS) {
    for (const type of [TYPE.A, TYPE.AAAA, TYPE.HTTPS, TYPE.TXT, TYPE.ANY]) {
      const told = `${host} ${type} at ${now - NOW}`;
      const said = site.resolve(host, type);
      const covers = truth.covers(host, now);
      const steers = type !== TYPE.TXT && type !== TYPE.ANY && truth.isSettled(host, now);
      if (covers.length === 0 && !steers) {
        expect([told, said]).toEqual([told, undefined]);
        continue;
      }
      if (said === undefined) throw new Error(`${told}: forwarded`);
      const likely = covers.length > 0 ? covers : truth.pages(host, now);
      expect([told, references(likely)]).toEqual([told, expect.arrayContaining([said.reference])]);
      const denies = covers.some(({ entry }) => entry.scope === 'subtree' && entry.action === 'block');
      if (said.rcode === 'NXDOMAIN') expect([told, denies]).toEqual([told, true]);
      const leads = covers.length === 0 || covers.some(({ entry }) => entry.action === 'redirect');
      if (said.steered) expect([told, leads && type === TYPE.A, said.code]).toEqual([told, true, 4]);
      else if (covers.length === 0) expect([told, type === TYPE.A, said.rcode]).toEqual([told, false, 'NOERROR']);
      for (let later = now + 1; later < now + said.ttl; later++) {
        const holds = covers.length > 0 ? truth.covers(host, later).length > 0 : truth.isSettled(host, later);
        expect([told, later - now, holds]).toEqual([told, later - now, true]);
      }
    }
  }
}

const seconds = fc.constantFrom(0, 7, 40);
const entryDraw = fc.record<EntryDraw>({
  host: fc.nat(HOSTS.length - 1),
  kind: fc.constantFrom('page', 'page', 'page', 'any', 'exact', 'subtree', 'led', 'led-subtree'),
  spelling: fc.nat(SPELLINGS.length - 1),
  excludes: fc.boolean(),
  lasts: fc.constantFrom(undefined, undefined, 65),
});
const number = fc.nat(11);
const sign: fc.Arbitrary<Act> = fc.record({
  act: fc.constant('notice' as const),
  entries: fc.array(entryDraw, { minLength: 1, maxLength: 4 }),
  starts: seconds,
  lasts: fc.constantFrom(90, 900, 9_000),
  closes: fc.boolean(),
  supersedes: fc.option(number, { nil: undefined, freq: 3 }),
});
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 5, arbitrary: sign },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constantFrom('stay' as const, 'stay' as const, 'revocation' as const, 'exemption' as const),
      ...{
        notice: number,
        entry: fc.option(number, { nil: undefined }),
        from: seconds,
        lasts: fc.constantFrom(undefined, 20, 100),
      },
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('resumption' as const), stay: number, from: seconds }) },
  {
    weight: 3,
    arbitrary: fc.record({
      act: fc.constant('variation' as const),
      ...{ notice: number, entry: number, from: seconds, lasts: fc.constantFrom(0, 50) },
      what: fc.constantFrom('remove' as const, 'exclude' as const, 'expires' as const, 'expiresAt' as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ act: 'restart' as const }) },
);

describe('pages from the register to the gateway', () => {
  it('are blocked, steered and passed just as the statements say, at every time', () => {
    const step = fc.record({
      act,
      pass: fc.constantFrom(0, 1, 9, 29, 30, 31, 61),
      rest: fc.constantFrom(0, 5, 35, 120),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 10 }), (steps) => {
        const site = new Site();
        for (const { act, pass, rest } of steps) {
          site.act(act);
          site.updateResolver();
          site.updateGateway();
          for (const wait of [pass, rest]) {
            site.pass(wait);
            checkGateway(site);
            checkResolver(site);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it('leave no host unusable: whoever a resolver leads to the gateway is known there, however late each looks', () => {
    const lag = fc.integer({ min: 0, max: 11 });
    const step = fc.record({ act, lags: fc.tuple(lag, lag), rest: fc.constantFrom(0, 10, 19, 31, 120, 700) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
        const site = new Site();
        site.updateResolver();
        site.updateGateway();
        const led = new Map<string, number>();
        const passSecond = () => {
          for (const host of ALL_HOSTS) {
            const answer = site.resolve(host, TYPE.A);
            if (answer?.steered) led.set(host, site.now + answer.ttl);
            // Of a host that is blocked whole it is only which page says so.
            if (site.now < (led.get(host) ?? 0) && site.truth.covers(host, site.now).length === 0) {
              const known = site.request(host, '/elsewhere') !== undefined;
              expect([host, site.now - NOW, known]).toEqual([host, site.now - NOW, true]);
            }
          }
          site.pass(1);
        };
        for (const { act, lags, rest } of steps) {
          site.act(act);
          for (let second = 0; second <= Math.max(...lags); second++) {
            if (second === lags[0]) site.updateResolver();
            if (second === lags[1]) site.updateGateway();
            passSecond();
          }
          for (let second = 0; second < Math.min(rest, 40); second++) passSecond();
          if (rest > 40) site.pass(rest - 40);
        }
      }),
      { numRuns: 25 },
    );
  });
});
