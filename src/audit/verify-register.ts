import { countRedirects, countsOf, type PageCounts, sumPages } from '../register/pages.ts';
import { formatInstant } from '../register/time.ts';
import { isNotice } from '../register/verify-statement.ts';
import type { Mirror } from '../sync/mirror.ts';
import type { AuditReading, AuditRegister, LeafVerdict } from './audit-register.ts';
import type { Finding } from './finding.ts';
import { checkLog, type LogCheck, type MirrorCheck } from './log-check.ts';
import { SealedEntries } from './sealed-entries.ts';

/** What was verified, from the pinned root to the last statement. */
export interface Verification {
  /**
   * Whether the log, who vouches for it, and the trust files are as they should be; void statements do not count here.
   */
  readonly sound: boolean;
  readonly origin: string;
  readonly log: {
    readonly leaves: number;
    readonly root: string;
    readonly rootMatches: boolean;
    /** Leaves shown without enough witnesses. */
    readonly unwitnessed: number;
    /** Leaves dated before one that precedes them. */
    readonly backdated: number;
    readonly first?: string;
    readonly last?: string;
  };
  readonly witnesses: {
    readonly quorum: number;
    readonly known: number;
    readonly cosignatures: readonly { readonly name: string; readonly at: string }[];
  };
  readonly trust: {
    readonly versions: Readonly<Record<string, number>>;
    readonly expires: Readonly<Record<string, string>>;
    readonly expired: boolean;
    readonly authoritiesVersion: number;
    readonly policyPack: string;
  };
  readonly mirrors: readonly Omit<MirrorCheck, 'findings'>[];
  /** What is wrong with the log or a mirror. */
  readonly findings: readonly Finding[];
  readonly counts: { readonly good: number; readonly void: number; readonly unread: number };
  /** Of the notices whose annexes are at hand, in force or not: entries, redirects, pages, and those on HTTP alone. */
  readonly listed: ListedEntries;
  /** By type, good statements only. */
  readonly types: Readonly<Record<string, number>>;
  /** One verdict for each leaf, in the log's order. */
  readonly statements: readonly StatementNote[];
}

/** What the annexes of good notices list. */
export interface ListedEntries extends PageCounts {
  readonly entries: number;
  readonly redirects: number;
}

/** The verdict on one leaf, for a report. */
export type StatementNote = Omit<LeafVerdict, 'claims' | 'integratedAtSeconds'> & { readonly integratedAt: string };

/** Tells of steps under way. */
export type OnVerify = (step: 'statements' | 'entries' | 'files', done: number, total: number) => void;

/** Verifies all there is: every leaf, tile, signature and annex. */
export async function verifyRegister(
  register: AuditRegister,
  mirrors: readonly Mirror[],
  nowSeconds: number,
  onProgress?: OnVerify,
): Promise<Verification> {
  const { origin } = register.archive.policy;
  await register.verifyAhead({ onStatements: (done) => onProgress?.('statements', done, register.size) });
  const check = await checkLog(register, mirrors, (done, total) => onProgress?.('files', done, total));
  const reading = register.read({ onProgress: (done, total) => onProgress?.('entries', done, total) });
  const findings = check.mirrors.flatMap((mirror) => mirror.findings);
  const log = describeLog(register, check, reading);
  const trust = describeTrust(register, nowSeconds);
  const wrong = findings.some(({ severity }) => severity === 'error');
  return {
    sound: log.rootMatches && log.unwitnessed + log.backdated === 0 && !trust.expired && !wrong,
    origin,
    log,
    witnesses: describeWitnesses(register),
    trust,
    mirrors: check.mirrors.map(({ findings: _, ...mirror }) => mirror),
    findings,
    ...countStatements(reading),
    listed: countListed(reading),
    statements: reading.verdicts.map(noteVerdict),
  };
}

function describeLog(register: AuditRegister, check: LogCheck, { verdicts }: AuditReading): Verification['log'] {
  const times = verdicts.map(({ integratedAtSeconds }) => formatInstant(integratedAtSeconds));
  return {
    leaves: check.leaves,
    root: check.root,
    rootMatches: check.rootMatches,
    unwitnessed: register.unwitnessed,
    backdated: verdicts.filter(({ index }) => register.isBackdated(index)).length,
    first: times[0],
    last: times.at(-1),
  };
}

function describeTrust({ archive, authorities }: AuditRegister, nowSeconds: number): Verification['trust'] {
  return {
    versions: archive.trust.versions,
    expires: mapValues(archive.trust.expires, formatInstant),
    expired: archive.trust.expiresSeconds <= nowSeconds,
    authoritiesVersion: authorities.version,
    policyPack: authorities.policyPack.id,
  };
}

function countStatements({ verdicts, statements }: AuditReading): Pick<Verification, 'counts' | 'types'> {
  const good = verdicts.filter(({ ok }) => ok).length;
  const unread = verdicts.filter((verdict) => verdict.unread).length;
  const byType = Object.groupBy(statements, ({ statement }) => statement.type);
  return {
    counts: { good, void: verdicts.length - good, unread },
    types: mapValues(byType, (group) => group!.length),
  };
}

function countListed({ statements }: AuditReading): ListedEntries {
  const tables = statements.filter(isNotice).flatMap(({ statement, entries }) => {
    return entries === undefined || entries instanceof SealedEntries ? [] : [{ statement, entries }];
  });
  return {
    entries: tables.reduce((sum, { entries }) => sum + entries.count, 0),
    redirects: tables.reduce((sum, { entries }) => sum + countRedirects(entries), 0),
    ...sumPages(tables.map(({ statement, entries }) => countsOf(statement, entries.urls.size))),
  };
}

function describeWitnesses({ archive }: AuditRegister): Verification['witnesses'] {
  const { opened, policy } = archive;
  const cosignatures = opened.cosignatures.map(({ name, timeSeconds }) => ({ name, at: formatInstant(timeSeconds) }));
  return { quorum: policy.quorum, known: policy.witnesses.length, cosignatures };
}

function noteVerdict({ claims, integratedAtSeconds, ...verdict }: LeafVerdict): StatementNote {
  return {
    ...verdict,
    type: verdict.type ?? (claims?.type as LeafVerdict['type']),
    integratedAt: formatInstant(integratedAtSeconds),
  };
}

function mapValues<V, W>(values: Readonly<Record<string, V>>, map: (value: V) => W): Record<string, W> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]));
}
