import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { EDE } from '../dns/constants.ts';
import { formatInstant } from '../register/time.ts';
import type { AuditRegister } from './audit-register.ts';
import { type AnswerVerdict, judgeAnswer } from './dns-answer.ts';
import type { DnsAsker } from './dns-asker.ts';
import { type Coverage, countUnread, type ExplainTerms } from './explain-name.ts';
import { type Finding, traceTo } from './finding.ts';
import { judgeObserved } from './observed-names.ts';
import type { ProbeName } from './probe-plan.ts';

/** How a resolver is asked. */
export interface ProbeTerms {
  /** Record types asked for of names that must be blocked or steered; of the others the first alone. */
  readonly types: readonly number[];
  /** Questions under way at once. */
  readonly concurrency: number;
  /** Most questions a second. */
  readonly perSecond: number;
  readonly clock?: Clock;
  readonly pause?: (millis: number) => Promise<unknown>;
  readonly onProgress?: (done: number, total: number) => void;
}

/** One question and what came of it. */
export interface ProbeResult {
  readonly asked: ProbeName;
  readonly type: number;
  readonly verdict: AnswerVerdict;
  /** What another resolver that blocks nothing said, where it was asked. */
  readonly elsewhere?: AnswerVerdict;
  /** Why there was no answer. */
  readonly fault?: string;
}

/** Questions that must not all fail, or the resolver is not there. */
const MAX_FAILURES_AT_START = 8;
const MILLIS = 1000;

/**
 * Asks a resolver for every name, a few at a time and not too fast. `compare` is a resolver that blocks nothing: it is
 * asked where a name is said not to exist without a reason, which may be true.
 *
 * @throws {WartaError} `probe-failed` when the first questions all go unanswered.
 */
export async function runProbe(
  asker: DnsAsker,
  names: readonly ProbeName[],
  terms: ProbeTerms,
  compare?: DnsAsker,
): Promise<ProbeResult[]> {
  const questions = names.flatMap((asked) =>
    (asked.expect === 'open' ? terms.types.slice(0, 1) : terms.types).map((type) => ({ asked, type })),
  );
  const { clock = systemClock, pause = sleep } = terms;
  const results: ProbeResult[] = [];
  const began = clock.monotonicMillis();
  let sent = 0;
  let answered = false;
  const queue = questions.values();
  const lane = async () => {
    for (const question of queue) {
      const early = (sent++ / terms.perSecond) * MILLIS - (clock.monotonicMillis() - began);
      if (early > 1) await pause(early);
      const result = await askOne(asker, question, compare);
      answered ||= result.fault === undefined;
      results.push(result);
      if (!answered && results.length >= MAX_FAILURES_AT_START) throw new WartaError('probe-failed', result.fault!);
      terms.onProgress?.(results.length, questions.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(terms.concurrency, questions.length) }, lane));
  if (!answered && results.length > 0) throw new WartaError('probe-failed', results[0]!.fault!);
  return results;
}

async function askOne(
  asker: DnsAsker,
  { asked, type }: { asked: ProbeName; type: number },
  compare?: DnsAsker,
): Promise<ProbeResult> {
  try {
    const verdict = judgeAnswer(await asker.ask(asked.name, type));
    if (verdict.kind !== 'denied' || compare === undefined) return { asked, type, verdict };
    const elsewhere = judgeAnswer(await compare.ask(asked.name, type));
    return { asked, type, verdict, elsewhere };
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    return { asked, type, verdict: { kind: 'failed' }, fault: describeError(error) };
  }
}

/** What one answer comes to. */
export type ProbeOutcome =
  | 'as-expected'
  | 'under-blocked'
  | 'over-blocked'
  | 'not-steered'
  | 'wrong-reference'
  | 'wrong-answer'
  | 'unproven'
  | 'unanswered';

/** Holds one answer against what the register says. */
export function judgeResult({ asked, verdict, elsewhere }: ProbeResult): ProbeOutcome {
  const silent = verdict.kind === 'denied' && elsewhere?.kind === 'open';
  if (verdict.kind === 'failed') return 'unanswered';
  if (asked.expect === 'open') return verdict.kind === 'blocked' || silent ? 'over-blocked' : 'as-expected';
  if (asked.expect === 'steered') return judgeSteered(asked, verdict, silent);
  if (verdict.kind === 'open') return 'under-blocked';
  if (verdict.kind === 'denied') return silent ? 'wrong-answer' : 'unproven';
  const inForce = asked.report.coverages.filter(({ state }) => state === 'in-force');
  if (!isNamed(inForce, verdict)) return 'wrong-reference';
  return inForce.some((coverage) => isOwed(coverage, verdict)) ? 'as-expected' : 'wrong-answer';
}

/** Whether an answer names the notice of one of these entries. */
function isNamed(coverages: readonly Coverage[], { reference }: AnswerVerdict): boolean {
  return coverages.some(({ notice }) => notice.statement.reference === reference);
}

/**
 * Whether an answer is the one that an entry in force asks for. A redirect leads to an address, and says that it is forged;
 * where there is none, for other types and for clients that asked for structured errors, it is a negative answer.
 */
function isOwed({ answer, coversBelow }: Coverage, { form, code }: AnswerVerdict): boolean {
  if (answer !== 'redirect') return form === answer && code === EDE.CENSORED;
  if (form === 'records') return code === EDE.FORGED_ANSWER;
  return code === EDE.CENSORED && (form === 'nodata' || coversBelow);
}

/**
 * Judges the answer for a host with listed pages. Led to the gateway, it gives an address and says that it is forged, or no
 * record of a type that the gateway has none of; a host without such a record, or that is not there, cannot be led anywhere.
 */
function judgeSteered({ report }: ProbeName, verdict: AnswerVerdict, silent: boolean): ProbeOutcome {
  if (verdict.kind === 'open') return 'not-steered';
  if (verdict.kind === 'denied') return silent ? 'over-blocked' : 'as-expected';
  if (verdict.code !== EDE.FORGED_ANSWER || verdict.form === 'nxdomain') return 'over-blocked';
  const pages = report.coverages.filter(({ state }) => state === 'page');
  return isNamed(pages, verdict) ? 'as-expected' : 'wrong-reference';
}

/** Counts answers by what they came to. */
export function countOutcomes(results: readonly ProbeResult[]): Record<ProbeOutcome, number> {
  const counts = {
    'as-expected': 0,
    'under-blocked': 0,
    'over-blocked': 0,
    'not-steered': 0,
    'wrong-reference': 0,
    'wrong-answer': 0,
    unproven: 0,
    unanswered: 0,
  };
  for (const result of results) counts[judgeResult(result)]++;
  return counts;
}

/** Puts every answer that is not as expected into a finding, traced to the notice that the name is about. */
export function findInProbe(
  register: AuditRegister,
  results: readonly ProbeResult[],
  resolver: string,
  terms: ExplainTerms,
): Finding[] {
  const unread = countUnread(register.read({ rulesOnly: true }), terms.licensee, terms.atSeconds);
  const findings = results.flatMap((result) => {
    const outcome = judgeResult(result);
    if (outcome === 'as-expected') return [];
    const { asked, type, verdict, fault } = result;
    const evidence = {
      name: asked.name,
      type,
      why: asked.reason,
      resolver,
      at: formatInstant(terms.atSeconds),
      ...verdict,
      fault,
    };
    if (outcome === 'over-blocked') {
      const finding = judgeObserved(register, asked, asked.report, terms, unread);
      return finding === undefined ? [] : [{ ...finding, evidence: { ...finding.evidence, ...evidence } }];
    }
    return [{ ...describeOutcome(register, outcome, result), licensee: terms.licensee, evidence }];
  });
  return findings;
}

/** Answers in words. */
const OWED: Record<Coverage['answer'], string> = {
  nxdomain: `NXDOMAIN with extended error ${EDE.CENSORED}`,
  nodata: `NODATA with extended error ${EDE.CENSORED}`,
  redirect: `an address with extended error ${EDE.FORGED_ANSWER}, or NODATA with ${EDE.CENSORED}`,
  steer: `an address with extended error ${EDE.FORGED_ANSWER}`,
};

function describeOutcome(
  register: AuditRegister,
  outcome: Exclude<ProbeOutcome, 'as-expected' | 'over-blocked'>,
  { asked, verdict, elsewhere }: ProbeResult,
): Pick<Finding, 'code' | 'severity' | 'summary'> {
  const counted = asked.expect === 'steered' ? 'page' : 'in-force';
  const [coverage] = asked.report.coverages.filter(({ state }) => state === counted);
  const trace = coverage && traceTo(coverage.notice, register.indexOf(coverage.notice.name));
  const { name } = asked;
  const under = trace === undefined ? '' : ` under ${trace.reference}`;
  switch (outcome) {
    case 'under-blocked':
      return { code: outcome, severity: 'error', summary: `${name} is to be blocked${under} and resolves`, ...trace };
    case 'wrong-reference': {
      const given = verdict.reference === undefined ? 'names no notice' : `names ${verdict.reference}`;
      const how = asked.expect === 'steered' ? 'led to the gateway' : 'blocked';
      const summary = `${name} is ${how}${under}, and the answer ${given}`;
      return { code: outcome, severity: 'warning', summary, ...trace };
    }
    case 'wrong-answer': {
      const owed = OWED[coverage?.answer ?? 'nodata'];
      const given =
        elsewhere === undefined ? `${verdict.form} with extended error ${verdict.code}` : 'no reason at all';
      const summary = `${name} is blocked${under} by ${owed}; the answer has ${given}`;
      return { code: outcome, severity: 'warning', summary, ...trace };
    }
    case 'not-steered': {
      const summary = `pages of ${name} are listed${under}, and it is not led to a gateway: none of them is blocked`;
      return { code: outcome, severity: 'warning', summary, ...trace };
    }
    case 'unproven': {
      const summary = `${name} is to be blocked${under}; the answer denies it without a reason, which may be true`;
      return { code: outcome, severity: 'warning', summary, ...trace };
    }
    case 'unanswered':
      return { code: outcome, severity: 'warning', summary: `no answer about ${name}`, ...trace };
  }
}
