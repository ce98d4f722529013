import { type Command, Option } from 'commander';
import type { AuditRegister } from '../audit/audit-register.ts';
import { describePageRule } from '../audit/coverage-description.ts';
import { diffRegister, type RuleChange } from '../audit/diff.ts';
import { type Finding, SEVERITIES, type Severity } from '../audit/finding.ts';
import { findInObserved, parseObserved } from '../audit/observed-names.ts';
import { readReceipts } from '../audit/receipt-files.ts';
import { auditReceipts, type ReceiptAudit } from '../audit/receipt-findings.ts';
import { describeIncident, findInRegister } from '../audit/register-findings.ts';
import { type Replay, type ReplayedRule, replayRegister } from '../audit/replay.ts';
import { verifyRegister } from '../audit/verify-register.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { DAY_SECONDS, formatInstant } from '../register/time.ts';
import { openMirror } from '../sync/mirror.ts';
import {
  type AuditOptions,
  addAuditOptions,
  ISP_OPTION,
  nowOf,
  parsePositive,
  parseTime,
  type StepProgress,
  withRegister,
  writeLines,
} from './audit-options.ts';
import { registerProbeCommand } from './audit-probe-command.ts';
import { registerProofCommands } from './audit-proof-command.ts';
import { describeFindings, describeVerification, selectFindings } from './audit-report.ts';
import { describeKinds, listSome } from './notice-report.ts';
import { composeRows, countOf, printJson, readInput } from './output.ts';

const MINUTE_SECONDS = 60;
const HOUR_SECONDS = 3600;

/** Adds `warta audit verify`, `replay`, `diff`, `findings`, `prove`, `disclose`, `check-disclosure` and `probe`. */
export function registerAuditCommand(program: Command): void {
  const audit = program
    .command('audit')
    .description('check a register from public files and public keys alone; the exit code is 1 when anything is wrong');
  addAuditOptions(audit.command('verify'))
    .description('verify all there is: every leaf and tile, checkpoint, witnesses, trust, every statement and annex')
    .option('--all', 'list the verdict on every statement')
    .action(verify);
  addAuditOptions(audit.command('replay'))
    .description(
      'write the exact rules in force for an ISP at a time, as CSV unless told otherwise; heartbeats are passed over',
    )
    .requiredOption(...ISP_OPTION)
    .requiredOption('--at <time>', 'the time, such as 2026-03-01T09:00:00Z', parseTime)
    .option('--out <file>', 'where the rules go; the standard output otherwise')
    .option('--lines', 'write a JSON object a line instead of CSV')
    .action(replay);
  addAuditOptions(audit.command('diff'))
    .description('list what came and went in the rules of an ISP between two times, with the statement that did it')
    .requiredOption(...ISP_OPTION)
    .requiredOption('--from <time>', 'the earlier time', parseTime)
    .requiredOption('--to <time>', 'the later time', parseTime)
    .action(diff);
  addAuditOptions(audit.command('findings'))
    .description(
      'look for what should not be: in the register, in the receipts of nodes, in names that were seen blocked',
    )
    .option('--receipts <place>', 'tree with nodes.json and receipts/; the first mirror otherwise')
    .option('--no-receipts', 'leave receipts out')
    .option('--observed <file>', 'names that were seen blocked, one a line; needs --isp')
    .option(...ISP_OPTION)
    .option('--silence <minutes>', 'longest time without any statement', parsePositive, 60)
    .option(
      '--release <hours>',
      'longest time from signing a release to its effect; that of the policy pack otherwise',
      parsePositive,
    )
    .option('--block <hours>', 'the same for a block that does not say itself by when', parsePositive, 24)
    .option('--answer <hours>', 'longest time in which a node must have answered a statement', parsePositive, 24)
    .addOption(new Option('--least <severity>', 'leave out what is less').choices([...SEVERITIES]).default('note'))
    .action(findings);
  registerProofCommands(audit);
  registerProbeCommand(audit);
}

/** `warta audit verify`. */
async function verify(options: AuditOptions & { all?: boolean }): Promise<void> {
  const report = await withRegister(options, async ({ register }, progress) => {
    const mirrors = options.mirror.map((url) => openMirror(url));
    try {
      return await verifyRegister(register, mirrors, nowOf(options), (step, done, total) =>
        progress.update(step, done, total),
      );
    } finally {
      await Promise.all(mirrors.map((mirror) => mirror.close()));
    }
  });
  if (options.json) printJson(report);
  else console.log(describeVerification(report, options.all ?? false));
  if (!report.sound || report.counts.void > 0 || report.findings.length > 0) process.exitCode = 1;
}

interface ReplayOptions extends AuditOptions {
  isp: string;
  at: number;
  out?: string;
  lines?: boolean;
}

/** `warta audit replay`. */
async function replay(options: ReplayOptions): Promise<void> {
  await withRegister(options, async ({ register }, progress) => {
    const replayed = replayRegister(register, options.isp, options.at, (done, total) =>
      progress.update('entries', done, total),
    );
    progress.done();
    const counts = { ruleCount: 0, redirects: 0, pages: 0, httpOnlyPages: 0, refused: 0 };
    const lines = options.json ? composeDocument(register, replayed, counts) : composeRules(replayed, options, counts);
    await writeLines(lines, options.out);
    if (options.json && options.out === undefined) return;
    const summary = summarise(register, replayed, counts);
    if (options.json) printJson(summary);
    // The rules have the standard output to themselves.
    else (options.out === undefined ? console.error : console.log)(describeReplay(summary));
  });
}

interface RuleCounts {
  ruleCount: number;
  redirects: number;
  pages: number;
  /** Pages to whose hosts HTTPS passes. */
  httpOnlyPages: number;
  refused: number;
}

/** What a replay comes to, without its rules. */
function summarise(
  register: AuditRegister,
  { licensee, atSeconds, treeSize, passedOver, rulesDigest, unread }: Replay,
  counts: RuleCounts,
) {
  const { version } = register.authorities;
  return {
    licensee,
    at: formatInstant(atSeconds),
    treeSize,
    heartbeatsPassedOver: passedOver,
    rulesDigest,
    authoritiesVersion: version,
    ...counts,
    sealedUnread: unread,
  };
}

function describeReplay({
  licensee,
  at,
  treeSize,
  heartbeatsPassedOver,
  rulesDigest,
  ruleCount,
  redirects,
  pages,
  httpOnlyPages,
  refused,
  sealedUnread,
}: ReturnType<typeof summarise>): string {
  const sealed = sealedUnread === 0 ? '' : `, ${countOf(sealedUnread, 'sealed notice')} not at hand`;
  return composeRows([
    ['in force', `${countOf(ruleCount, 'rule')} for ${licensee} at ${at}${sealed}`],
    ...describeKinds({ redirects, pages, httpOnlyPages }),
    ['refused', `${countOf(refused, 'entry', 'entries')} by the guard-rails`],
    ['log', `${countOf(treeSize, 'leaf', 'leaves')}; ${describePassedOver(heartbeatsPassedOver)}`],
    ['digest', `${rulesDigest} (as a receipt of these leaves, folded at this second, has it)`],
  ]);
}

function describePassedOver(heartbeats: number): string {
  return `${countOf(heartbeats, 'heartbeat')} passed over, as none decides a rule (audit verify checks them)`;
}

const CSV_HEADER = 'name,scope,exclusions,notice,noticeId,entry,notBefore,notAfter,action,query,https,url';

/** Yields the rules as CSV or as JSON lines. */
function* composeRules(replayed: Replay, { lines }: { lines?: boolean }, counts: RuleCounts): Generator<string> {
  if (!lines) yield CSV_HEADER;
  for (const rule of countRules(replayed, counts)) yield lines ? JSON.stringify(rule) : composeCsv(rule);
}

/** Composes a line; no value but the address of a page can hold a comma, and none a line feed. */
function composeCsv({
  name,
  scope,
  exclusions,
  notice,
  noticeId,
  entry,
  notBefore,
  notAfter = '',
  action,
  query,
  https,
  url = '',
}: ReplayedRule): string {
  const rule = `${name},${scope},${exclusions.join(' ')},${notice},${noticeId},${entry},${notBefore},${notAfter}`;
  return `${rule},${action ?? ''},${query ?? ''},${https ?? ''},${/[,"]/.test(url) ? `"${url.replaceAll('"', '""')}"` : url}`;
}

/** Yields one JSON document, rule by rule: a million of them need not be held at once. */
function* composeDocument(register: AuditRegister, replayed: Replay, counts: RuleCounts): Generator<string> {
  yield '{"rules":[';
  let first = true;
  for (const rule of countRules(replayed, counts)) {
    yield `${first ? '' : ','}${JSON.stringify(rule)}`;
    first = false;
  }
  yield `],${JSON.stringify(summarise(register, replayed, counts)).slice(1)}`;
}

function* countRules(replayed: Replay, counts: RuleCounts): Generator<ReplayedRule> {
  const rules = replayed.rules(() => {
    counts.refused++;
  });
  for (const rule of rules) {
    counts.ruleCount++;
    if (rule.action === 'redirect') counts.redirects++;
    if (rule.url !== undefined) counts.pages++;
    if (rule.https === 'passed') counts.httpOnlyPages++;
    yield rule;
  }
}

/** `warta audit diff`. */
async function diff(
  options: AuditOptions & { isp: string; from: number; to: number },
  command: Command,
): Promise<void> {
  const { isp, from, to, json } = options;
  if (to < from) command.error('error: --to is before --from');
  const changes = await withRegister(options, ({ register }) => [...diffRegister(register, isp, from, to)]);
  const [start, end] = [formatInstant(from), formatInstant(to)];
  if (json) {
    printJson({ licensee: isp, from: start, to: end, changes: changes.map(noteChange) });
    return;
  }
  const counts = Map.groupBy(changes, ({ change }) => change);
  const told = [...counts].map(([change, group]) => `${group.length} ${change}`).join(', ') || 'nothing changed';
  if (changes.length > 0) console.log(`${listSome(changes.map(describeChange))}\n`);
  console.log(`${start} to ${end}, ${isp}: ${told}`);
}

function noteChange({ notice, statement, ...change }: RuleChange) {
  const { reference } = notice.statement;
  const by = statement && {
    id: statement.id,
    type: statement.statement.type,
    reference: statement.statement.reference,
  };
  return { ...change, notice: reference, noticeId: notice.id, by };
}

const CHANGE_STYLES = { added: 'red', removed: 'green', narrowed: 'green', widened: 'red' } as const;

function describeChange({
  change,
  name,
  scope,
  action,
  notice,
  reason,
  statement,
  exclusions,
  ...page
}: RuleChange): string {
  const by =
    statement === undefined ? 'by the clock' : `by ${statement.statement.type} ${statement.statement.reference}`;
  const except = exclusions === undefined ? '' : `, except ${exclusions.join(', ') || 'nothing'}`;
  const shown = page.url === undefined ? name : describePageRule(page);
  const how = action === 'redirect' ? ', redirected' : '';
  const what = `${scope.padEnd(7)}  ${shown}${how}${except}`;
  return `${paint(CHANGE_STYLES[change], change.padEnd(8))}  ${what}  (${notice.statement.reference}; ${reason}, ${by})`;
}

interface FindingsOptions extends AuditOptions {
  receipts: string | boolean | undefined;
  observed?: string;
  isp?: string;
  silence: number;
  release?: number;
  block: number;
  answer: number;
  least: Severity;
}

/** `warta audit findings`. */
async function findings(options: FindingsOptions, command: Command): Promise<void> {
  if (options.observed !== undefined && options.isp === undefined) {
    command.error('error: --observed needs --isp: whose resolver was it?');
  }
  const { found, receipts } = await collectFindings(options);
  const selected = selectFindings(found, options.least);
  const timings = receipts?.timings ?? [];
  if (options.json) printJson({ asOf: formatInstant(nowOf(options)), findings: selected, timings });
  else console.log(describeFindings(selected, timings));
  if (selected.length > 0) process.exitCode = 1;
}

/** Faults of a register that cannot even be opened, and are findings all the same. */
const UNOPENED = /^(?:checkpoint|log|note|trust|mirror|response)-|^statement-unwitnessed$/;

async function collectFindings(options: FindingsOptions): Promise<{ found: Finding[]; receipts?: ReceiptAudit }> {
  try {
    return await withRegister(options, async ({ register }, progress) => {
      await register.verifyAhead({ onStatements: (done) => progress.update('statements', done, register.size) });
      const receipts = options.receipts === false ? undefined : await checkReceipts(register, options, progress);
      const nowSeconds = nowOf(options);
      const own = findInRegister(register, { nowSeconds, silenceSeconds: options.silence * MINUTE_SECONDS });
      return { found: [...own, ...(receipts?.findings ?? []), ...checkObserved(register, options)], receipts };
    });
  } catch (error) {
    if (!(error instanceof WartaError && UNOPENED.test(error.code))) throw error;
    return { found: [describeIncident({ code: error.code, reason: describeError(error) })] };
  }
}

/** Reads the receipts and holds them against the register. */
async function checkReceipts(
  register: AuditRegister,
  options: FindingsOptions,
  progress: StepProgress,
): Promise<ReceiptAudit> {
  const { receipts, mirror: mirrors, release, block, answer } = options;
  const nowSeconds = nowOf(options);
  const mirror = openMirror(typeof receipts === 'string' ? receipts : mirrors[0]!);
  const [first] = register.read().verdicts;
  try {
    const book = await readReceipts(mirror, first?.integratedAtSeconds ?? nowSeconds - DAY_SECONDS, nowSeconds);
    progress.done();
    const releaseHours = release ?? register.pinned.pack.appeals.releaseWithinHours;
    return auditReceipts(register, book, {
      nowSeconds,
      releaseSeconds: releaseHours * HOUR_SECONDS,
      blockSeconds: block * HOUR_SECONDS,
      answerSeconds: answer * HOUR_SECONDS,
    });
  } finally {
    await mirror.close();
  }
}

function checkObserved(register: AuditRegister, { observed, isp, asOf }: FindingsOptions): Finding[] {
  if (observed === undefined || isp === undefined) return [];
  const names = parseObserved(readInput(observed).toString());
  return findInObserved(register, names, { licensee: isp, atSeconds: nowOf({ asOf }), pack: register.pinned.pack });
}
