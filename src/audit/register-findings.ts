import type { ErrorCode } from '../base/errors.ts';
import { httpsOfPages } from '../register/pages.ts';
import type { Notice } from '../register/statement.ts';
import { DAY_SECONDS, formatInstant, secondsOf } from '../register/time.ts';
import { isNotice, type KnownNotice } from '../register/verify-statement.ts';
import { type AuditReading, type AuditRegister, type LeafVerdict, NOBODY } from './audit-register.ts';
import { Effects } from './effects.ts';
import { type Finding, traceTo } from './finding.ts';

/** What is asked of a register besides its own rules. */
export interface RegisterExpectations {
  readonly nowSeconds: number;
  /** Longest time in which nothing at all may come into the log. */
  readonly silenceSeconds: number;
}

/** A fixed term longer than this deserves a review in between. */
const LONG_TERM_SECONDS = 180 * DAY_SECONDS;

/** Finds what is wrong or odd in the register itself, in the log's order. */
export function findInRegister(register: AuditRegister, expectations: RegisterExpectations): Finding[] {
  const reading = register.read();
  const { nowSeconds } = expectations;
  return [
    ...findInHead(register, nowSeconds),
    ...reading.verdicts.flatMap((verdict) => [...findInLeaf(verdict, register)]),
    ...findSilences(reading, expectations),
    ...findInNotices(register, reading, nowSeconds),
  ];
}

/** Incidents that say the log itself, or who vouches for it, is not what it should be. */
const GRAVE: ReadonlySet<ErrorCode> = new Set([
  'checkpoint-foreign',
  'checkpoint-inconsistent',
  'checkpoint-rolled-back',
  'log-invalid',
  'note-invalid',
  'trust-invalid',
]);

/** A refusal while the register was opened, as a finding. */
export function describeIncident({ code, reason }: { code: ErrorCode; reason: string }): Finding {
  const grave = GRAVE.has(code);
  const summary = `the register was not served as it should be: ${reason}`;
  return {
    code: grave ? 'log-broken' : 'mirror-failed',
    severity: grave ? 'error' : 'warning',
    summary,
    evidence: { code },
  };
}

/** Finds what is wrong with the checkpoint, with the trust files, and with the mirrors that were asked. */
function* findInHead({ archive, unwitnessed }: AuditRegister, nowSeconds: number): Generator<Finding> {
  const { opened, policy, trust, incidents } = archive;
  // These two are told below, with what they mean.
  const told: readonly ErrorCode[] = ['statement-unwitnessed', 'trust-expired'];
  for (const incident of incidents) if (!told.includes(incident.code)) yield describeIncident(incident);
  if (!opened.witnessed || unwitnessed > 0) {
    const count = opened.cosignatures.length;
    yield {
      code: 'checkpoint-unwitnessed',
      severity: 'error',
      summary: `${unwitnessed} leaves are not vouched for by ${policy.quorum} witnesses: others may see other ones`,
      evidence: { size: opened.checkpoint.size, unwitnessed, cosignatures: count, quorum: policy.quorum },
    };
  }
  if (trust.expiresSeconds <= nowSeconds) {
    const expired = formatInstant(trust.expiresSeconds);
    yield {
      code: 'trust-expired',
      severity: 'error',
      summary: `the list of who may sign expired at ${expired}: nodes take no new block until it is signed anew`,
      evidence: { expired, versions: trust.versions },
    };
  }
}

/** Finds what is wrong with one leaf. */
function* findInLeaf(verdict: LeafVerdict, register: AuditRegister): Generator<Finding> {
  const { index, integratedAtSeconds, ok, id, reference, signers, code } = verdict;
  const trace = { index, statement: id, reference, signers };
  const previous = register.latestBefore(index);
  if (register.isBackdated(index)) {
    yield {
      code: 'leaf-backdated',
      severity: 'error',
      summary: `leaf ${index} is dated ${formatInstant(integratedAtSeconds)}, before a leaf that precedes it`,
      ...trace,
      evidence: { integratedAt: formatInstant(integratedAtSeconds), latestBefore: formatInstant(previous) },
    };
  }
  if (!ok && code !== 'statement-backdated') yield { ...trace, ...classifyVoid(verdict) };
}

/** Says why a statement does not count, by what an auditor looks for first. */
function classifyVoid({ index, reference, code = 'leaf-malformed', reason, claims }: LeafVerdict) {
  const what = `${claims?.type ?? 'leaf'} ${reference ?? index}`;
  const evidence = { code, reason };
  if (claims?.draftedBy !== undefined && claims.approvers.includes(claims.draftedBy)) {
    const { draftedBy, approvers } = claims;
    const summary = `${what} was approved by ${draftedBy}, who drafted it; no node applies it`;
    return {
      code: 'self-approval',
      severity: 'error',
      summary,
      evidence: { draftedBy, approvers, ...evidence },
    } as const;
  }
  if (claims?.untilRevoked && claims.reviewBy === undefined) {
    const summary = `${what} runs until revoked and has no date of review; no node applies it`;
    return { code: 'review-missing', severity: 'error', summary, evidence } as const;
  }
  if (code.startsWith('annex-')) {
    return {
      code: 'annex-missing',
      severity: 'error',
      summary: `${what} cannot be applied: ${reason}`,
      evidence,
    } as const;
  }
  return {
    code: 'statement-void',
    severity: 'warning',
    summary: `${what} does not count: ${reason}`,
    evidence,
  } as const;
}

/** Finds times in which nothing came, up to now. */
function* findSilences(
  reading: AuditReading,
  { silenceSeconds, nowSeconds }: RegisterExpectations,
): Generator<Finding> {
  let last: LeafVerdict | undefined;
  for (const next of [...reading.verdicts, undefined]) {
    const until = next?.integratedAtSeconds ?? nowSeconds;
    const seconds = last === undefined ? 0 : until - last.integratedAtSeconds;
    if (last !== undefined && seconds > silenceSeconds) {
      const [from, to] = [formatInstant(last.integratedAtSeconds), formatInstant(until)];
      yield {
        code: 'heartbeat-gap',
        severity: 'warning',
        summary: `nothing came into the log from ${from} to ${next === undefined ? 'now' : to}`,
        index: last.index,
        evidence: { from, to, seconds, allowedSeconds: silenceSeconds },
      };
    }
    // Nothing can be said of the time a backdated leaf came at.
    if (next !== undefined && next.integratedAtSeconds >= (last?.integratedAtSeconds ?? 0)) last = next;
  }
}

/** Finds what good notices say of themselves. */
function* findInNotices(register: AuditRegister, reading: AuditReading, nowSeconds: number): Generator<Finding> {
  for (const notice of reading.statements.filter(isNotice)) {
    const trace = traceTo(notice, register.indexOf(notice.name));
    const whole = register.wholeNotice(notice);
    yield* findSelfApproval(notice, whole, trace, register.pinned.pack.thresholds.notice);
    yield* findReview(notice, whole, trace, reading, nowSeconds);
    yield* findOpenPages(notice, trace, reading, nowSeconds);
    for (const { check, officer, reason } of whole.overrides) {
      const summary = `${officer} overrode the check ${check} in ${trace.reference}`;
      yield { code: 'override', severity: 'note', summary, ...trace, evidence: { check, officer, reason } };
    }
  }
}

type Trace = ReturnType<typeof traceTo>;

/** Finds an approval by the drafter under another name, and a drafter's signature without which there are too few. */
function* findSelfApproval(
  { authority, signers }: KnownNotice,
  { draftedBy, approvals }: Notice,
  trace: Trace,
  packThreshold: number,
): Generator<Finding> {
  const officers = new Map(authority.officers.map((officer) => [officer.id, officer]));
  const drafter = officers.get(draftedBy);
  if (drafter === undefined) return;
  const isDrafter = (id: string) => officers.get(id)?.publicKey === drafter.publicKey;
  const twin = approvals.find(({ officer }) => isDrafter(officer));
  if (twin !== undefined) {
    const summary = `${trace.reference} was drafted by ${draftedBy} and approved with the same key, as ${twin.officer}`;
    const evidence = { draftedBy, approver: twin.officer, publicKey: drafter.publicKey };
    yield { code: 'self-approval', severity: 'error', summary, ...trace, evidence };
  }
  const threshold = Math.max(packThreshold, authority.thresholds.notice);
  const others = signers.filter((id) => !isDrafter(id));
  if (others.length < threshold && others.length < signers.length) {
    const summary = `${trace.reference} has its ${threshold} signatures only with that of ${draftedBy}, who drafted it`;
    yield { code: 'drafter-signed', severity: 'warning', summary, ...trace, evidence: { draftedBy, threshold } };
  }
}

/** Whether a notice as a whole is in force for whoever it binds; an exemption of one licensee ends it for nobody else. */
function isInForce(notice: KnownNotice, { statements }: AuditReading, nowSeconds: number): boolean {
  const { recipients } = notice.statement;
  const licensee = 'all' in recipients ? NOBODY : recipients.licensees[0]!;
  return new Effects(statements, licensee, nowSeconds).causes(notice).length === 0;
}

/** Finds pages that hold on HTTP alone: allowed, and less than their notice may seem to say. */
function* findOpenPages(
  notice: KnownNotice,
  trace: Trace,
  reading: AuditReading,
  nowSeconds: number,
): Generator<Finding> {
  const pages = notice.entries?.urls.size ?? 0;
  if (pages === 0 || httpsOfPages(notice.statement) === 'closed' || !isInForce(notice, reading, nowSeconds)) return;
  const summary = `${pages} pages of ${trace.reference} hold on HTTP alone: HTTPS to their hosts passes`;
  yield { code: 'pages-http-only', severity: 'note', summary, ...trace, evidence: { pages } };
}

/** Finds a review that is overdue, and a long term without one. */
function* findReview(
  notice: KnownNotice,
  { dates }: Notice,
  trace: Trace,
  reading: AuditReading,
  nowSeconds: number,
): Generator<Finding> {
  const { reviewBy } = dates;
  const overdue = reviewBy !== undefined && secondsOf(reviewBy) <= nowSeconds;
  const spanSeconds = notice.endSeconds - notice.startSeconds;
  if (!overdue && (reviewBy !== undefined || spanSeconds <= LONG_TERM_SECONDS)) return;
  if (!isInForce(notice, reading, nowSeconds)) return;
  if (overdue) {
    const summary = `${trace.reference} is in force and was to be reviewed by ${reviewBy}`;
    yield { code: 'review-overdue', severity: 'warning', summary, ...trace, evidence: { reviewBy } };
  } else {
    const days = Math.round(spanSeconds / DAY_SECONDS);
    const summary = `${trace.reference} runs for ${days} days and has no date of review`;
    yield { code: 'review-missing', severity: 'note', summary, ...trace, evidence: { days } };
  }
}
