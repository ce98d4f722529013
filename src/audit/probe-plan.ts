import { ancestorsOf, fitsWire } from '../register/entry-name.ts';
import { type FoldedNotice, windowsOf } from '../register/fold.ts';
import { createGuard } from '../register/guard.ts';
import type { Pack } from '../register/pack.ts';
import { refuseAt } from '../register/pages.ts';
import { isNotice, type KnownNotice } from '../register/verify-statement.ts';
import { STEERING_DELAY_SECONDS } from '../rules/layout.ts';
import type { AuditReading, AuditRegister } from './audit-register.ts';
import { type ExplainTerms, explainNames, type NameReport } from './explain-name.ts';
import { excludedNames, windowAt } from './replay.ts';

/**
 * Why a name is asked. `rule` and `below-rule` must be blocked; `page` is the host of a listed page, which is to be sent to the
 * gateway. The rest must not be touched: names an exclusion keeps reachable,
 * names below an exact entry, names that only look like an entry (`near-miss`), beside or above one, names released or
 * lapsed, and names the policy pack protects.
 */
export type ProbeReason =
  | 'rule'
  | 'below-rule'
  | 'page'
  | 'exclusion'
  | 'below-exact'
  | 'near-miss'
  | 'sibling'
  | 'parent'
  | 'released'
  | 'protected';

/** What a name must be. */
export type ProbeExpectation = 'blocked' | 'steered' | 'open';

/** A name to ask for, and what the register says about it. */
export interface ProbeName {
  readonly name: string;
  readonly reason: ProbeReason;
  /** `steered`: sent to the gateway, and not blocked. */
  readonly expect: ProbeExpectation;
  readonly report: NameReport;
}

/** What a probe is planned by. */
export interface PlanTerms {
  readonly licensee: string;
  readonly nowSeconds: number;
  /** What changed within this time, or is about to, is left out: nodes and caches need a moment. */
  readonly settleSeconds: number;
  /** Rules to try, and as many released names; all unless given. */
  readonly sample?: number;
  /** Returns a whole number from 0 to below `bound`. */
  readonly random: (bound: number) => number;
}

/** Protected names asked for. */
const MAX_PROTECTED = 50;

/**
 * Chooses the names to ask a resolver for. Every name is held against the whole register, now and a moment ago: one
 * that happens to be covered by something else, or that is just changing, is left out.
 */
export function planProbe(register: AuditRegister, terms: PlanTerms): ProbeName[] {
  const { pack } = register.pinned;
  const reading = register.read({ rulesOnly: true });
  const { rules, released } = chooseEntries(reading, pack, terms);
  const candidates = new Map<string, ProbeReason>();
  const token = `warta-probe-${terms.random(36 ** 6).toString(36)}`;
  const add = (name: string, reason: ProbeReason) => {
    if (fitsWire(name) && !candidates.has(name)) candidates.set(name, reason);
  };
  for (const rule of rules) for (const [name, reason] of namesAround(rule, token, terms)) add(name, reason);
  for (const name of released) add(name, 'released');
  const protectedNames = new Sample<string>(MAX_PROTECTED, terms.random);
  for (const { name } of pack.protectedNames) protectedNames.offer(name);
  for (const name of protectedNames.chosen) add(name, 'protected');
  return keepSettled(reading, candidates, terms, pack);
}

/** A sample of so many of the things offered, each as likely as the others (reservoir sampling). */
class Sample<T> {
  readonly chosen: T[] = [];
  readonly #size: number;
  readonly #random: (bound: number) => number;
  #offered = 0;

  constructor(size: number | undefined, random: (bound: number) => number) {
    this.#size = size ?? Number.POSITIVE_INFINITY;
    this.#random = random;
  }

  offer(item: T): void {
    this.#offered++;
    if (this.chosen.length < this.#size) this.chosen.push(item);
    else {
      const place = this.#random(this.#offered);
      if (place < this.#size) this.chosen[place] = item;
    }
  }
}

/** An entry in force. */
interface Rule {
  readonly folded: FoldedNotice<KnownNotice>;
  readonly at: number;
}

/** Draws entries that are in force, and names of entries that are not. */
function chooseEntries(reading: AuditReading, pack: Pack, { licensee, nowSeconds, sample, random }: PlanTerms) {
  const refuse = createGuard(pack);
  const rules = new Sample<Rule>(sample, random);
  const released = new Sample<string>(sample, random);
  const inForce = new Map(reading.fold(licensee, nowSeconds).map((one) => [one.notice.id, one]));
  for (const notice of reading.statements) {
    if (!isNotice(notice) || notice.entries === undefined) continue;
    const { entries } = notice;
    const folded = inForce.get(notice.id);
    for (let at = 0; at < entries.count; at++) {
      if (folded === undefined || windowAt(windowsOf(folded, at), nowSeconds) === undefined) {
        if (notice.integratedAtSeconds <= nowSeconds) released.offer(entries.name(at));
      } else if (refuseAt(refuse, entries, at, notice.statement.approvals.length) === undefined) {
        rules.offer({ folded, at });
      }
    }
  }
  return { rules: rules.chosen, released: released.chosen };
}

/** Yields a rule's name and the names around it where a rule that is too wide or badly matched would show. */
function* namesAround(
  { folded, at }: Rule,
  token: string,
  { nowSeconds }: PlanTerms,
): Generator<[string, ProbeReason]> {
  const name = folded.entries.name(at);
  const scope = folded.entries.scope(at);
  const subtree = scope === 'subtree';
  yield [name, scope === 'url' ? 'page' : 'rule'];
  yield [`${token}.${name}`, subtree ? 'below-rule' : 'below-exact'];
  for (const excluded of excludedNames(folded, at, nowSeconds)) {
    yield [excluded, 'exclusion'];
    yield [`${token}.${excluded}`, 'exclusion'];
  }
  yield [`${token}-${name}`, 'near-miss'];
  const [parent] = ancestorsOf(name);
  if (parent === undefined) return;
  yield [`${token}.${parent}`, 'sibling'];
  if (parent.includes('.')) yield [parent, 'parent'];
}

function expectationOf({ blocked, steered }: NameReport): ProbeExpectation {
  return blocked ? 'blocked' : steered ? 'steered' : 'open';
}

/** Keeps the names about which the register says the same now, a moment ago, and in a moment. */
function keepSettled(
  reading: AuditReading,
  candidates: ReadonlyMap<string, ProbeReason>,
  { licensee, nowSeconds, settleSeconds }: PlanTerms,
  pack: Pack,
): ProbeName[] {
  const explain = (atSeconds: number): ReadonlyMap<string, NameReport> => {
    const terms: ExplainTerms = { licensee, atSeconds, pack };
    return explainNames(reading, candidates.keys(), terms);
  };
  const [before, now, after] = [nowSeconds - settleSeconds, nowSeconds, nowSeconds + settleSeconds].map(explain);
  // Resolvers steer nobody before gateways know of the page too.
  const steered = settleSeconds < STEERING_DELAY_SECONDS ? explain(nowSeconds - STEERING_DELAY_SECONDS) : before;
  const names: ProbeName[] = [];
  for (const [name, reason] of candidates) {
    const report = now!.get(name)!;
    const expect = expectationOf(report);
    const others = expect === 'steered' ? [before, after, steered] : [before, after];
    if (others.some((reports) => expectationOf(reports!.get(name)!) !== expect)) continue;
    names.push({ name, reason, expect, report });
  }
  return names;
}
