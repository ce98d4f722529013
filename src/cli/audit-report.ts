import { type Finding, SEVERITIES, type Severity } from '../audit/finding.ts';
import type { ProvenName } from '../audit/name-proof.ts';
import type { TimingSummary } from '../audit/timings.ts';
import type { StatementNote, Verification } from '../audit/verify-register.ts';
import { paint, type Style } from '../base/terminal.ts';
import { formatInstant, NO_END_SECONDS } from '../register/time.ts';
import { describeKinds, listSome } from './notice-report.ts';
import { composeRows, countOf, escapeControls, type Row } from './output.ts';

/** Verdicts shown of a register unless all are asked for. */
const SHOWN_VERDICTS = 50;

const STYLES: Record<Severity, Style> = { error: 'red', warning: 'yellow', note: 'cyan' };

/** A verification for people: the statements, then what vouches for them. */
export function describeVerification(report: Verification, all: boolean): string {
  const { counts, log, witnesses, trust, mirrors, findings, statements } = report;
  const verdicts = listSome(statements.map(describeStatement), all ? statements.length : SHOWN_VERDICTS);
  const root = log.rootMatches ? 'its root is the signed one' : paint('red', 'its root is NOT the signed one');
  const span = log.first === undefined ? '' : `, ${log.first} to ${log.last}`;
  const types = Object.entries(report.types).map(([type, count]) => `${count} ${type}`);
  const bad = counts.void === 0 ? 'none void' : paint('red', `${counts.void} void`);
  const unread = counts.unread === 0 ? '' : `, ${counts.unread} sealed and not at hand`;
  const rows: Row[] = [
    ['register', escapeControls(report.origin)],
    ['log', `${countOf(log.leaves, 'leaf', 'leaves')}${span}; ${root}\n${log.root}`],
    ['mirrors', mirrors.map(describeMirror).join('\n')],
    ['witnesses', describeWitnesses(witnesses)],
    ['trust', describeTrust(trust)],
    ['statements', `${counts.good} good, ${bad}${unread}\n${types.join(', ')}`],
    ...describeKinds(report.listed),
    ['outcome', report.sound ? paint('green', 'sound') : paint('red', 'NOT sound')],
  ];
  const lines = [verdicts, composeRows(rows)];
  if (findings.length > 0) lines.push(findings.map(describeFinding).join('\n'));
  return lines.filter((part) => part !== '').join('\n\n');
}

/** Describes a verdict in one line. */
function describeStatement({
  index,
  ok,
  integratedAt,
  type,
  reference,
  signers,
  code,
  reason,
  unread,
}: StatementNote): string {
  const place = `${String(index).padStart(7)}  ${integratedAt}`;
  const what = escapeControls(`${type ?? 'leaf'} ${reference ?? ''}`.trim());
  if (!ok)
    return `${paint('red', 'void')}  ${place}  ${what}: ${paint('red', `[${code}]`)} ${escapeControls(reason ?? '')}`;
  const sealed = unread ? ' (sealed, not at hand)' : '';
  return `${paint('green', 'ok')}    ${place}  ${what}, signed by ${signers?.join(', ')}${sealed}`;
}

function describeMirror({ url, size, files }: Verification['mirrors'][number]): string {
  const seen = size === undefined ? paint('red', 'no good checkpoint') : `${size} leaves, ${files} files compared`;
  return `${escapeControls(url)}: ${seen}`;
}

function describeWitnesses({ quorum, known, cosignatures }: Verification['witnesses']): string {
  const lines = cosignatures.map(({ name, at }) => `${escapeControls(name)} at ${at}`);
  return [`${cosignatures.length} of ${known} signed, ${quorum} must`, ...lines].join('\n');
}

function describeTrust({ versions, expires, expired, authoritiesVersion, policyPack }: Verification['trust']): string {
  const ends = Object.values(expires).sort()[0]!;
  const until = expired ? paint('red', `EXPIRED at ${ends}`) : `good until ${ends}`;
  const roles = Object.entries(versions).map(([role, version]) => `${role} ${version}`);
  return `${until}; ${roles.join(', ')}\nauthorities ${authoritiesVersion}, policy pack ${policyPack}`;
}

/** Sorts findings, the worst first, and leaves out those below a severity. */
export function selectFindings(findings: readonly Finding[], least: Severity): Finding[] {
  const rank = ({ severity }: Finding) => SEVERITIES.indexOf(severity);
  return findings
    .filter((finding) => rank(finding) <= SEVERITIES.indexOf(least))
    .toSorted((one, other) => rank(one) - rank(other));
}

/** Describes a finding: what is wrong, then what it is about. */
export function describeFinding(finding: Finding): string {
  const { severity, code, summary, reference, index, signers, licensee, node } = finding;
  const head = `${paint(STYLES[severity], severity.padEnd(8))} ${code.padEnd(22)} ${escapeControls(summary)}`;
  const trace = [
    reference === undefined ? undefined : `statement ${reference}`,
    index === undefined ? undefined : `leaf ${index}`,
    signers === undefined ? undefined : `signed by ${signers.join(', ')}`,
    licensee === undefined ? undefined : `at ${licensee}${node === undefined ? '' : `/${node}`}`,
  ].filter((part) => part !== undefined);
  return trace.length === 0 ? head : `${head}\n${' '.repeat(9)}${escapeControls(trace.join('; '))}`;
}

/** Describes findings for people, and how fast each licensee was. */
export function describeFindings(findings: readonly Finding[], timings: readonly TimingSummary[]): string {
  const parts: string[] = [];
  if (timings.length > 0) parts.push(composeRows(timings.map(describeTimings)));
  if (findings.length > 0) parts.push(listSome(findings.map(describeFinding)));
  const counts = SEVERITIES.map(
    (severity) => [severity, findings.filter((one) => one.severity === severity).length] as const,
  );
  const told = counts
    .filter(([, count]) => count > 0)
    .map(([severity, count]) => paint(STYLES[severity], `${count} ${severity}`));
  parts.push(told.length === 0 ? paint('green', 'no findings') : `findings: ${told.join(', ')}`);
  return parts.join('\n\n');
}

function describeTimings({
  licensee,
  direction,
  applied,
  pending,
  medianSeconds,
  maxSeconds,
  slowest,
}: TimingSummary): Row {
  const times = applied === 0 ? '' : `; median ${medianSeconds} s, slowest ${maxSeconds} s (${slowest})`;
  return [`${licensee} ${direction}s`, `${applied} applied, ${pending} not shown to be${times}`];
}

/** Describes the chain from a blocked name to the signed head of the log. */
export function describeProof(proven: ProvenName): string {
  const { name, licensee, atSeconds, notice, entry, window, index, others, authorities, trust, opened } = proven;
  const { checkpoint, cosignatures } = opened;
  const root = checkpoint.root.toString('hex');
  const until = window.notAfter === NO_END_SECONDS ? 'until revoked' : `until ${formatInstant(window.notAfter)}`;
  const bearing = others.map(
    (one) => `${one.statement.type} ${one.statement.reference}, leaf ${one.name.replace('#', '')}`,
  );
  const redirected = entry.action(0) === 'redirect' ? ', redirected to the notice page' : '';
  const rows: Row[] = [
    ['name', paint('bold', name)],
    ['blocked', `for ${licensee} at ${formatInstant(atSeconds)}, from ${formatInstant(window.notBefore)} ${until}`],
    [
      'entry',
      `${entry.id(0)}: ${entry.scope(0)} ${entry.name(0)}${redirected}, of annex ${notice.statement.annex.digest}`,
    ],
    ['notice', `${paint('cyan', notice.statement.reference)}, ${notice.id}`],
    ['signed', notice.signers.map((id) => describeSigner(id, proven)).join('\n')],
    ['authority', `${escapeControls(notice.authority.name)}, by version ${authorities.version} of the authorities`],
    ['trust', `root ${trust.versions.root} from the pinned root on, until ${formatInstant(trust.expiresSeconds)}`],
    ['log', `leaf ${index} of ${checkpoint.size}, since ${formatInstant(notice.integratedAtSeconds)}\n${root}`],
    ['witnesses', cosignatures.map(describeCosignature).join('\n') || 'none asked for'],
    ...(bearing.length === 0 ? [] : [['beside it', bearing.join('\n')] as const]),
  ];
  return composeRows(rows);
}

function describeCosignature({ name, timeSeconds }: ProvenName['opened']['cosignatures'][number]): string {
  return `${escapeControls(name)} at ${formatInstant(timeSeconds)}`;
}

function describeSigner(id: string, { notice }: ProvenName): string {
  const officer = notice.authority.officers.find((one) => one.id === id);
  return officer === undefined ? id : `${id}, ${officer.role} (${officer.publicKey})`;
}
