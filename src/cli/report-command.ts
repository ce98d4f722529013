import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { callApi } from './api-client.ts';
import { composeRows, countOf, escapeControls, printJson, type Row } from './output.ts';

interface ReportOptions {
  from: string;
  tokenFile?: string;
  json?: boolean;
}

/** Adds `warta report effect` and `warta report compliance`: what an ISP asks the register for, a command each. */
export function registerReportCommand(program: Command): void {
  const report = program.command('report').description("what reached an ISP's nodes, as the register has it");
  withAccess(report.command('effect').description('what each node applied, how soon, and who is silent or refuses'))
    .option('--licensee <number>', 'one ISP; an operator sees her own alone')
    .option('--json', 'print JSON')
    .action(reportEffect);
  withAccess(report.command('compliance').description('the export for an Online Safety Plan'))
    .requiredOption('--licensee <number>', 'licence number')
    .option('--period <months>', 'first and last month, such as 2026-01..2026-06; the last twelve otherwise')
    .option('--csv', 'print CSV in place of JSON')
    .action(reportCompliance);
}

function withAccess(command: Command): Command {
  return command
    .requiredOption('--from <url>', "address of the register's control API")
    .option('--token-file <file>', 'file with the token; WARTA_TOKEN in the environment otherwise');
}

/** Reads the token; it is never an argument, which every user of the host could see. */
function readToken(file: string | undefined): string {
  const token = file === undefined ? process.env.WARTA_TOKEN : readFileSync(file, 'utf8');
  if (token === undefined || token.trim() === '') {
    throw new WartaError('usage', 'give --token-file, or WARTA_TOKEN in the environment');
  }
  return token.trim();
}

/** Times to effect as the API gives them. */
interface Times {
  statements: number;
  pending: number;
  medianSeconds?: number;
  worstSeconds?: number;
}

interface NodeEffect {
  node: string;
  lastReceiptAt?: string;
  lag: number;
  silent: boolean;
  mode?: string;
  rules?: number;
  verified?: boolean;
  rejected: readonly { statement: string; code: string }[];
  refusedEntries: number;
  pages?: { entries: number; httpOnly: number; steered: boolean };
}

interface Effect {
  asOf: string;
  treeSize: number;
  periodDays: number;
  licensees: readonly {
    number: string;
    name?: string;
    nodes: readonly NodeEffect[];
    blocking: Times;
    unblocking: Times;
  }[];
}

/** `warta report effect`. */
async function reportEffect(options: ReportOptions & { licensee?: string }): Promise<void> {
  const { from, tokenFile, licensee, json = false } = options;
  const query = licensee === undefined ? '' : `?licensee=${encodeURIComponent(licensee)}`;
  const { body } = await callApi(from, { method: 'GET', path: `/v1/effect${query}`, token: readToken(tokenFile) });
  if (json) printJson(body);
  else console.log(describeEffect(body));
}

function describeEffect({ asOf, treeSize, periodDays, licensees }: Effect): string {
  const rows: Row[] = [['register', `${countOf(treeSize, 'statement')} at ${asOf}`]];
  for (const { number, name, nodes, blocking, unblocking } of licensees) {
    rows.push(['', '']);
    rows.push(['ISP', paint('bold', escapeControls(name === undefined ? number : `${name} (${number})`))]);
    rows.push(['blocking', describeTimes(blocking, periodDays)]);
    rows.push(['unblocking', describeTimes(unblocking, periodDays)]);
    for (const node of nodes) rows.push([escapeControls(node.node), describeNode(node)]);
  }
  return composeRows(rows);
}

function describeTimes({ statements, pending, medianSeconds, worstSeconds }: Times, days: number): string {
  if (statements === 0) return `nothing fell due in ${days} days`;
  const times = medianSeconds === undefined ? 'none applied' : `median ${medianSeconds} s, worst ${worstSeconds} s`;
  const waiting = pending === 0 ? '' : paint('yellow', `, ${pending} still to be applied`);
  return `${countOf(statements, 'statement')} in ${days} days: ${times}${waiting}`;
}

function describeNode({
  lastReceiptAt,
  lag,
  silent,
  mode,
  rules,
  verified,
  rejected,
  refusedEntries,
  pages,
}: NodeEffect): string {
  if (lastReceiptAt === undefined) return paint('red', 'has sent no receipt yet');
  const parts = [`${countOf(rules ?? 0, 'rule')}, last heard ${lastReceiptAt}`];
  if (silent) parts.push(paint('red', 'silent'));
  if (lag > 0) parts.push(`${lag} behind`);
  if (mode === 'observe') parts.push(paint('yellow', 'only observes'));
  if (verified === false) parts.push(paint('red', 'its list is not what the register says'));
  if (rejected.length > 0) parts.push(paint('yellow', `refuses ${countOf(rejected.length, 'statement')}`));
  if (refusedEntries > 0) parts.push(`${countOf(refusedEntries, 'entry', 'entries')} refused by its guard-rails`);
  if (pages !== undefined) parts.push(describePages(pages));
  return parts.join('; ');
}

function describePages({ entries, httpOnly, steered }: NonNullable<NodeEffect['pages']>): string {
  const told = `${countOf(entries, 'page')}, ${httpOnly} on HTTP alone`;
  return steered ? told : paint('yellow', `${told}, and none blocked, as it sends their hosts to no gateway`);
}

/** `warta report compliance`. */
async function reportCompliance(
  options: ReportOptions & { licensee: string; period?: string; csv?: boolean },
): Promise<void> {
  const { from, tokenFile, licensee, period, csv = false } = options;
  const query = new URLSearchParams({ format: csv ? 'csv' : 'json', ...parsePeriod(period) });
  const path = `/v1/licensees/${encodeURIComponent(licensee)}/compliance?${query}`;
  const { body } = await callApi(from, { method: 'GET', path, token: readToken(tokenFile) });
  if (csv) process.stdout.write(body);
  else printJson(body);
}

function parsePeriod(period: string | undefined): Record<string, string> {
  if (period === undefined) return {};
  const [, from, to] = /^(\d{4}-\d\d)\.\.(\d{4}-\d\d)$/.exec(period) ?? [];
  if (from === undefined || to === undefined) throw new WartaError('usage', '--period: write 2026-01..2026-06');
  return { from, to };
}
