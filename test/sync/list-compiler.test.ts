import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseName } from '../../src/dns/name.ts';
import { type EntryInForce, entriesInForce } from '../../src/register/fold.ts';
import { createGuard } from '../../src/register/guard.ts';
import { readRegister } from '../../src/register/read-register.ts';
import type { Notice } from '../../src/register/statement.ts';
import type { StatementLeaf } from '../../src/register/verify-statement.ts';
import { HEADER, NO_RULE } from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { loadTable, saveTable } from '../../src/rules/table-file.ts';
import { type CompiledList, ListCompiler, type ListReading } from '../../src/sync/list-compiler.ts';
import {
  authorities,
  authoritiesFile,
  common,
  DAY,
  day,
  LICENSEE,
  NOW,
  pack,
  subtree,
  TestRegister,
} from '../register/fixture.ts';
import { find } from '../rules/fixture.ts';

const HOUR = 3_600;
const TERMS = {
  licensee: LICENSEE,
  pack: readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url)),
  answer: { soaMname: 'warta.invalid', soaRname: 'hostmaster.warta.invalid', operator: 'Test', language: 'en' },
};
const AUTHORITIES = JSON.stringify(authoritiesFile);
const guard = createGuard(pack);

/** A register that a list is compiled of again and again, and the state of its source. */
class GrowingRegister {
  readonly register = new TestRegister();
  readonly compiler = new ListCompiler(TERMS);
  nowSeconds = NOW;
  authorities = AUTHORITIES;
  readonly notices: string[] = [];
  readonly suspensions: string[] = [];
  readonly held = new Set<number>();
  readonly hidden = new Set<string>();
  /** Envelopes asked for. */
  envelopesRead = 0;
  #version = 0;

  /** Adds a statement that is integrated now. */
  add(statement: object): string {
    return this.register.add(statement, ['one', 'two'], this.nowSeconds);
  }

  /** The register as its source gives it; without keys nothing can be remembered. */
  reading(keyed = true): ListReading {
    const leaves = this.register.leaves.map((leaf, at): StatementLeaf => {
      const countRead = () => this.envelopesRead++;
      return {
        name: leaf.name,
        integratedAtSeconds: leaf.integratedAtSeconds,
        key: keyed ? leaf.name : undefined,
        held: this.held.has(at) ? 'statement-unwitnessed' : undefined,
        get envelope() {
          if (keyed) countRead();
          return leaf.envelope;
        },
      };
    });
    const annexes = {
      read: (digest: string) => (this.hidden.has(digest) ? undefined : this.register.read(digest)),
    };
    return { authorities: this.authorities, leaves, annexes, fingerprint: `${this.#version++}` };
  }

  compile(): CompiledList {
    return this.compiler.compile(this.reading(), 'terms', this.nowSeconds);
  }

  compileAnew(): CompiledList {
    return new ListCompiler(TERMS).compile(this.reading(false), 'terms', this.nowSeconds);
  }
}

/** What a table answers for a name at a time, told without the numbers that differ from table to table. */
function answerOf(table: RuleTable, references: readonly string[], name: string, atSeconds: number): unknown {
  table.setTime(atSeconds, atSeconds);
  const rule = find(table, name);
  if (rule === NO_RULE) return [table.matchedUntil, table.steeredRule !== NO_RULE];
  const action = [table.isSubtree(rule), table.isRedirect(rule)];
  const where = [table.matchedOffset, table.matchedUntil, ...action, table.categoryOf(rule)];
  return [references[table.noticeOf(rule)], ...where, table.windowOf(rule)];
}

function openTable(list: CompiledList): { table: RuleTable; references: string[] } {
  const table = new RuleTable(list.table);
  return { table, references: table.describe().notices.map(({ reference }) => reference) };
}

/** The pages of a host that a table lists at a time. */
function pagesOf({ table, references }: ReturnType<typeof openTable>, host: string, atSeconds: number): string[] {
  const inForce = table.findSteering(parseName(host), 0).filter((rule) => {
    const { notBefore, notAfter } = table.windowOf(rule);
    return notBefore <= atSeconds && atSeconds < notAfter;
  });
  const notices = new Map(inForce.map((rule) => [table.entryOf(rule), references[table.noticeOf(rule)]]));
  const pages = [...table.pages()].filter(({ entry }) => notices.has(entry));
  return pages.map(({ entry, url, anyQuery }) => `${notices.get(entry)} ${url} ${anyQuery}`).sort();
}

/** What is told of a list beside its table and the time it took. */
function accountOf({ table: _, tableChanged: __, seconds: ___, ...account }: CompiledList) {
  return account;
}

const APEXES = ['shop.example', 'b.example'];
/** Few names, so that notices meet on them; some that the guard-rails refuse. */
const NAMES = APEXES.flatMap((apex) => [apex, `a.${apex}`, `ok.${apex}`, `b.a.${apex}`, `ok.b.a.${apex}`]);
const REFUSED = ['co.uk', 'gov.my', 'a.gov.my', '10.0.0.1', 'localhost'];
const NEAR_MISSES = NAMES.flatMap((name) => [`x${name}`, `${name}x`, `${name}.com`]).concat('example', 'c.example');
const ASKED = [...NAMES, ...NAMES.map((name) => `deep.${name}`), ...REFUSED, ...NEAR_MISSES];

const hours = fc.constantFrom(0, 0, 0, 1, 5, 24, 49);
const step = fc.record({
  kind: fc.constantFrom('notice', 'notice', 'change', 'change', 'change', 'time', 'hold', 'hide', 'trust', 'nothing'),
  change: fc.constantFrom('stay', 'halt', 'revocation', 'variation', 'exemption', 'resumption', 'heartbeat'),
  pick: fc.noBias(fc.nat(9)),
  names: fc.subarray([...NAMES, ...REFUSED], { minLength: 1, maxLength: 6 }),
  scopes: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
  some: fc.boolean(),
  from: hours,
  length: fc.constantFrom(1, 4, 24, 72, 200),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** So many steps at the start are notices, so that changes have something to change. */
const FIRST_NOTICES = 3;

/** The time so many hours after `NOW`. */
const hour = (count: number) => day(count / 24);

function addNotice(growing: GrowingRegister, at: number, { names, scopes, pick, some, from, length }: Step): void {
  const entries = names.map((name, i) => {
    const expires = scopes[i + 2] === false ? hour(from + 1 + (i % length)) : undefined;
    if ((pick + i) % 4 === 3) {
      const query = some ? ('any' as const) : undefined;
      return { raw: `http://${name}/page?${i % 2}`, scope: 'url' as const, query, expires };
    }
    const scope = scopes[i] ? ('subtree' as const) : ('exact' as const);
    const action = (pick + i) % 5 === 4 ? ('redirect' as const) : undefined;
    const excludes = scopes[i] && scopes[i + 1] && NAMES.includes(name) ? [`ok.${name}`] : undefined;
    return { raw: name, scope, action, excludes, expires };
  });
  const supersedes =
    pick === 9 && growing.notices.length > 0 ? [growing.notices[at % growing.notices.length]!] : undefined;
  const composed = growing.register.compose(entries, {
    reference: `N${at}`,
    category: some ? 'drugs' : 'online-scams',
    dates: { made: day(-1), approved: day(0), effectiveFrom: hour(from) },
    term: { expires: hour(from + length) },
    https: pick % 2 === 1 ? 'block-host' : undefined,
    recipients: pick === 8 ? { licensees: ['another'] } : { all: true },
    supersedes,
  });
  if (pick === 7) growing.hidden.add(annexOf(composed).digest);
  growing.notices.push(growing.add(composed));
}

function annexOf(notice: object): Notice['annex'] {
  return (notice as Notice).annex;
}

function addChange(growing: GrowingRegister, at: number, { change, pick, some, from, length, names }: Step): void {
  const { notices, suspensions } = growing;
  const base = { type: change, ...common(`C${at}`), from: hour(from) };
  const notice = notices[pick % Math.max(1, notices.length)] ?? 'ab'.repeat(32);
  const entries = some ? ['e0000001', 'e0000002'].slice(pick % 2) : undefined;
  const until = hour(from + length);
  const order = { by: 'A court', reference: '1' };
  const exemption = { licensee: LICENSEE, conditions: 'None.', request: { reference: '1', receivedAt: day(0) } };
  const statement = {
    stay: { ...base, until, order, target: { notice, entries } },
    halt: { ...base, until, instrument: 'cma-263' },
    revocation: { ...base, notice, entries },
    variation: {
      ...base,
      notice,
      expires: some ? [{ entry: 'e0000001', at: until }] : undefined,
      exclude: some ? undefined : [{ entry: 'e0000001', names: [`ok.b.${names[0]}`] }],
    },
    exemption: { ...exemption, ...base, until, scope: some ? { category: 'drugs' } : { notice } },
    resumption: { ...base, target: suspensions[pick % Math.max(1, suspensions.length)] ?? 'ab'.repeat(32) },
    heartbeat: { type: change, ...common(`C${at}`), at: day(0) },
  }[change] as object;
  const id = growing.add(statement);
  if (change === 'stay' || change === 'halt') suspensions.push(id);
}

function take(growing: GrowingRegister, at: number, step: Step): void {
  const leaf = step.pick % Math.max(1, growing.register.leaves.length);
  if (step.kind === 'notice') addNotice(growing, at, step);
  if (step.kind === 'change') addChange(growing, at, step);
  if (step.kind === 'time') growing.nowSeconds += step.from * HOUR;
  if (step.kind === 'hold' && !growing.held.delete(leaf)) growing.held.add(leaf);
  if (step.kind === 'hide') growing.hidden.clear();
  if (step.kind === 'trust') growing.authorities = JSON.stringify({ ...authoritiesFile, version: 2 + (at % 2) });
}

/** Asks the fold, entry by entry, which notices cover a name now, and list a page of it: slow and by the letter. */
function createOracle(growing: GrowingRegister): (name: string) => { covering: string[]; pages: string[] } {
  const { leaves, annexes } = growing.reading(false);
  const context = { authorities, pack, licensee: LICENSEE, nowSeconds: growing.nowSeconds };
  const { folded } = readRegister(leaves, annexes, context);
  const allowed = [...entriesInForce(folded, growing.nowSeconds)].filter(
    ({ name, scope, notice }) => guard(name, scope, notice.statement.approvals.length) === undefined,
  );
  return (name) => {
    const within = (apex: string) => name === apex || name.endsWith(`.${apex}`);
    const covers = (entry: EntryInForce) => (entry.scope === 'subtree' ? within(entry.name) : name === entry.name);
    const matching = allowed.filter((entry) => covers(entry) && !entry.exclusions.some(within));
    const referenceOf = ({ notice }: EntryInForce) => notice.statement.reference;
    const pages = matching
      .filter(({ scope }) => scope === 'url')
      .map((entry) => {
        const anyQuery = entry.notice.entries!.urls.get(entry.notice.entries!.indexOf(entry.id))!.anyQuery;
        return `${referenceOf(entry)} ${entry.url} ${anyQuery}`;
      });
    return { covering: matching.filter(({ scope }) => scope !== 'url').map(referenceOf), pages: pages.sort() };
  };
}

describe('a list compiled again and again', () => {
  it('is the list compiled anew of everything, after every step', () => {
    let patched = 0;
    let built = 0;
    let blocked = 0;
    let listed = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 12, size: 'max' }), (steps) => {
        const growing = new GrowingRegister();
        let seed: number[] | undefined;
        for (const [at, one] of steps.entries()) {
          take(growing, at, at < FIRST_NOTICES ? { ...one, kind: 'notice' } : one);
          const list = growing.compile();
          const fresh = growing.compileAnew();
          expect(accountOf(list)).toEqual(accountOf(fresh));
          // A table that is built anew has another seed.
          if (String(seed) !== String(seedOf(list))) built++;
          else if (list.tableChanged) patched++;
          seed = seedOf(list);
          const [ours, theirs] = [openTable(list), openTable(fresh)];
          for (const later of [0, 1, 24, 49, 100]) {
            const time = growing.nowSeconds + later * HOUR;
            for (const name of ASKED) {
              const answer = answerOf(ours.table, ours.references, name, time);
              expect(answer, `${name} at ${later}`).toEqual(answerOf(theirs.table, theirs.references, name, time));
              const pages = pagesOf(ours, name, time);
              expect(pages, `pages of ${name} at ${later}`).toEqual(pagesOf(theirs, name, time));
              listed += pages.length;
            }
          }
          const findCovering = createOracle(growing);
          for (const name of ASKED) {
            const [reference] = answerOf(ours.table, ours.references, name, growing.nowSeconds) as [string | number];
            const { covering, pages } = findCovering(name);
            expect(pagesOf(ours, name, growing.nowSeconds)).toEqual(pages);
            if (covering.length > 0) blocked++;
            if (covering.length === 0) expect(reference).toBeTypeOf('number');
            else expect(covering).toContain(reference);
          }
        }
      }),
      { numRuns: 25 },
    );
    expect(Math.min(patched, built)).toBeGreaterThan(20);
    expect(blocked).toBeGreaterThan(100);
    expect(listed).toBeGreaterThan(100);
  });
});

/** A register of a few notices with many names, so that there is room to patch. */
function growLarge(): GrowingRegister {
  const growing = new GrowingRegister();
  for (let notice = 0; notice < 10; notice++) {
    const names = Array.from({ length: 50 }, (_, i) => `n${notice}-${i}.example`);
    growing.notices.push(growing.add(growing.register.compose(names, { reference: `N${notice}` })));
  }
  return growing;
}

function digestOf(table: SharedArrayBuffer): string {
  return createHash('sha256').update(new Uint8Array(table)).digest('hex');
}

describe('an update', () => {
  it('verifies nothing twice, and patches the table', () => {
    const growing = growLarge();
    const first = growing.compile();
    const before = digestOf(first.table);
    growing.add(growing.register.compose(['new.example']));
    const list = growing.compile();
    expect(growing.envelopesRead).toBe(11);
    expect([list.rules, list.tableChanged]).toEqual([501, true]);
    expect(digestOf(first.table)).toBe(before);
    expect(seedOf(list)).toEqual(seedOf(first));
  });

  it('that changes no rule keeps the table', () => {
    const growing = growLarge();
    const first = growing.compile();
    growing.add({ type: 'heartbeat', ...common('H'), at: day(0) });
    const list = growing.compile();
    expect([list.table === first.table, list.tableChanged, list.verdicts.length]).toEqual([true, false, 11]);
    expect(list.rulesDigest).toBe(first.rulesDigest);
  });

  it('ends one entry after another of the same notice, and then is done with it', () => {
    const growing = growLarge();
    growing.compile();
    const notice = growing.notices[3];
    const exclude = [{ entry: 'e0000001', names: ['ok.n3-0.example'] }];
    growing.add({ type: 'variation', ...common('V'), notice, from: day(0), exclude });
    expect(growing.compile().rules).toBe(502);
    growing.add({ type: 'revocation', ...common('R'), notice, entries: ['e0000001'], from: day(0) });
    const list = growing.compile();
    expect(list.rules).toBe(499);
    const { table } = openTable(list);
    table.setTime(NOW, NOW);
    for (const name of ['n3-0.example', 'ok.n3-0.example']) expect(find(table, name)).toBe(NO_RULE);
    expect(find(table, 'n3-1.example')).not.toBe(NO_RULE);
    growing.add({ type: 'revocation', ...common('R2'), notice, from: day(0) });
    expect(growing.compile().rules).toBe(450);
    growing.add({ type: 'heartbeat', ...common('H'), at: day(0) });
    expect(growing.compile().tableChanged).toBe(false);
  });

  it('follows the order of notices when an earlier copy of one comes to count', () => {
    const growing = growLarge();
    const late = growing.register.compose(['same.example'], { reference: 'late' });
    growing.held.add(growing.register.leaves.length);
    growing.add(late);
    growing.nowSeconds += HOUR;
    growing.add(growing.register.compose(['same.example'], { reference: 'early' }));
    growing.nowSeconds += HOUR;
    growing.add(late);
    const blockedBy = () => {
      const list = growing.compile();
      expect(accountOf(list)).toEqual(accountOf(growing.compileAnew()));
      const { table, references } = openTable(list);
      return (answerOf(table, references, 'same.example', growing.nowSeconds) as string[])[0];
    };
    expect(blockedBy()).toBe('early');
    growing.held.clear();
    expect(blockedBy()).toBe('late');
  });

  it('answers in the name that an authority has now', () => {
    const growing = growLarge();
    growing.compile();
    const [mcmc, ...others] = authoritiesFile.authorities;
    growing.authorities = JSON.stringify({
      ...authoritiesFile,
      authorities: [{ ...mcmc, name: 'New name' }, ...others],
    });
    const list = growing.compile();
    expect(list.tableChanged).toBe(true);
    const names = new RuleTable(list.table).describe().notices.map(({ authority }) => authority);
    expect(new Set(names)).toEqual(new Set(['New name']));
  });

  it('only lets notices lapse by their own time', () => {
    const growing = growLarge();
    const first = growing.compile();
    growing.nowSeconds += 31 * DAY;
    const list = growing.compile();
    expect([list.rules, list.entries, list.tableChanged]).toEqual([0, 0, false]);
    growing.notices.push(growing.add(growing.register.compose(['late.example'], { term: { expires: day(40) } })));
    const next = growing.compile();
    expect([next.rules, next.tableChanged, seedOf(next)]).toEqual([1, true, seedOf(first)]);
    expect(openTable(next).table.ruleCount).toBe(1);
  });

  it('that does not fit has everything built anew', () => {
    const growing = growLarge();
    const first = growing.compile();
    growing.add(growing.register.compose(Array.from({ length: 200 }, (_, i) => `more${i}.example`)));
    const list = growing.compile();
    expect(list.rules).toBe(700);
    expect(seedOf(list)).not.toEqual(seedOf(first));
    expect(accountOf(list)).toEqual(accountOf(growing.compileAnew()));
  });

  it('goes on fitting for an eighth of the names, and blocks none of ten thousand that are not listed', () => {
    const growing = growLarge();
    const first = growing.compile();
    let list = first;
    for (let i = 0; i < 12; i++) {
      growing.add(growing.register.compose(Array.from({ length: 5 }, (_, j) => `p${i}-${j}.example`)));
      list = growing.compile();
    }
    expect([list.rules, seedOf(list)]).toEqual([560, seedOf(first)]);
    const { table } = openTable(list);
    table.setTime(NOW, NOW);
    for (let i = 0; i < 10_000; i++) expect(find(table, `q${i % 100}-${i}.example`)).toBe(NO_RULE);
    for (let i = 0; i < 12; i++) expect(find(table, `www.p${i}-4.example`)).not.toBe(NO_RULE);
  });

  it('is saved and loaded like any other', () => {
    const folder = mkdtempSync(join(tmpdir(), 'warta-list-'));
    try {
      const growing = growLarge();
      growing.compile();
      growing.add({ type: 'revocation', ...common('R'), notice: growing.notices[3], from: day(0) });
      const list = growing.compile();
      saveTable(join(folder, 'table'), list.table);
      const loaded = loadTable(join(folder, 'table'));
      loaded.setTime(NOW, NOW);
      expect([loaded.source, loaded.ruleCount]).toEqual(['terms:1', 450]);
      expect(find(loaded, 'n3-7.example')).toBe(NO_RULE);
      expect(find(loaded, 'n4-7.example')).not.toBe(NO_RULE);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('under other authorities verifies everything anew', () => {
    const growing = growLarge();
    growing.compile();
    const officers = authoritiesFile.authorities[0]!.officers.map((one) =>
      one.id === 'two' ? { ...one, revokedAt: day(-2) } : one,
    );
    const [mcmc, ...others] = authoritiesFile.authorities;
    growing.authorities = JSON.stringify({ ...authoritiesFile, authorities: [{ ...mcmc, officers }, ...others] });
    const list = growing.compile();
    expect(growing.envelopesRead).toBe(20);
    expect(list.rules).toBe(0);
    expect(new Set(list.verdicts.map(({ code }) => code))).toEqual(new Set(['statement-unsigned']));
    growing.authorities = AUTHORITIES;
    expect(growing.compile().rules).toBe(500);
  });

  it('wants the annexes that are missing, and takes each as it is fetched', () => {
    const growing = growLarge();
    growing.compile();
    const annex = annexOf(growing.register.compose([subtree('new.example')]));
    growing.hidden.add(annex.digest);
    growing.add({ ...growing.register.compose(['x.example']), annex: { ...annex, sizeBytes: annex.sizeBytes - 1 } });
    growing.add({ ...growing.register.compose(['x.example']), annex });
    const wanted = growing.compiler.findWantedAnnexes(growing.reading(), NOW);
    expect(wanted).toEqual([annex]);
    expect(growing.compile().verdicts.filter(({ code }) => code === 'annex-missing')).toHaveLength(2);
    const bytes = growing.register.read(annex.digest)!;
    const damaged = Uint8Array.from(bytes, (octet, at) => (at === 60 ? octet ^ 1 : octet));
    const foreign = [Buffer.alloc(0), Buffer.from('<html>'), damaged, bytes.subarray(1), Buffer.concat([bytes, bytes])];
    for (const wrong of foreign) expect(() => growing.compiler.takeAnnex(annex, wrong)).toThrow(/annex/);
    growing.compiler.takeAnnex(annex, bytes);
    expect(growing.compiler.findWantedAnnexes(growing.reading(), NOW)).toEqual([]);
    const list = growing.compile();
    expect(list.rules).toBe(501);
    // The notice that gives the annex another size is void for that, however the annex got here.
    expect(list.verdicts.filter(({ ok }) => !ok).map(({ code }) => code)).toEqual(['annex-mismatch']);
  });

  it('tells progress from nothing to all, never backwards', () => {
    const growing = growLarge();
    const shares: number[] = [];
    const reading = { ...growing.reading(), leafCount: 10 };
    growing.compiler.compile(reading, 'terms', NOW, (share) => shares.push(share));
    expect(shares).toEqual(shares.toSorted((one, other) => one - other));
    expect(shares.at(-1)).toBe(1);
  });
});

/** The seed of a list's table. */
function seedOf({ table }: CompiledList): number[] {
  return [...new Uint32Array(table, HEADER.SEED_A * 4, 2)];
}
