import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { request } from 'undici';
import { describeError, WartaError } from '../base/errors.ts';
import { paint, type Style } from '../base/terminal.ts';
import { type Config, loadConfig } from '../config/config.ts';
import { NO_PAGES } from '../register/pages.ts';
import { REPORT_FILE } from '../sync/list-keeper.ts';
import type { SyncStatus } from '../sync/sync-link.ts';
import type { NodeStatus } from './node-status.ts';
import { composeRows, countOf, escapeControls, printJson, type Row } from './output.ts';

const TIMEOUT_MILLIS = 5_000;
const MAX_STATUS_BYTES = 16 << 20;
/** Lines listed of each kind; `--json` has more. */
const MAX_SHOWN = 10;

/** Adds `status` below `warta resolver` or `warta gateway`; `unit` is the node's systemd unit. */
export function registerStatusCommand(node: Command, unit: string): void {
  node
    .command('status')
    .description('what is in force on this node, how old it is, where it is from, and what was refused and why')
    .requiredOption('-c, --config <file>', 'configuration file of the node')
    .option('--json', 'print JSON')
    .action(async ({ config: file, json }: { config: string; json?: boolean }) => {
      const config = loadConfig(file);
      const status = await askNode(config);
      if (status === undefined) {
        reportStopped(config, unit, json ?? false);
        process.exitCode = 1;
        return;
      }
      if (json) printJson(status);
      else console.log(describeStatus(status));
      if (alarmsOf(status).length > 0) process.exitCode = 1;
    });
}

/** Asks the running node; `undefined` when none answers. */
async function askNode({ metrics }: Config): Promise<NodeStatus | undefined> {
  try {
    const { statusCode, body } = await request(`http://${metrics.listen}/status`, {
      signal: AbortSignal.timeout(TIMEOUT_MILLIS),
    });
    const text = await body.text();
    if (statusCode !== 200 || text.length > MAX_STATUS_BYTES) {
      throw new WartaError(
        'store-failed',
        `${metrics.listen} answered ${statusCode}: is it this node's metrics.listen?`,
      );
    }
    return JSON.parse(text) as NodeStatus;
  } catch (error) {
    if (error instanceof WartaError || error instanceof SyntaxError) throw error;
    return undefined;
  }
}

/** Says what a node that does not run compiled last. */
function reportStopped(config: Config, unit: string, json: boolean): void {
  const listen = config.metrics.listen;
  let report: { compiledAt?: string; rules?: number; void?: unknown[] } | undefined;
  let fault: string | undefined;
  try {
    report = JSON.parse(readFileSync(join(config.state, REPORT_FILE), 'utf8'));
  } catch (error) {
    fault = describeError(error);
  }
  if (json) {
    printJson({ running: false, report });
    return;
  }
  const rows: Row[] = [['node', paint('red', `not running: nothing answers on ${listen}`)]];
  if (report === undefined) rows.push(['last list', `none is kept (${fault})`]);
  else
    rows.push(['last list', `${report.rules} rules, compiled at ${report.compiledAt}; it is served at the next start`]);
  rows.push(['next', `systemctl status ${unit}, and its log`]);
  console.log(composeRows(rows));
}

/** Lines that want someone's attention. */
function alarmsOf(status: NodeStatus): string[] {
  const [, , ...alarms] = status.notes; // the first two are the mode, or the listeners, and the number of rules
  return alarms;
}

/** The status for people: the worst first, then what is in force, where it is from, what was refused. */
export function describeStatus(status: NodeStatus): string {
  const alarms = alarmsOf(status);
  const state = !status.serving
    ? paint('red', 'NOT SERVING')
    : alarms.length > 0
      ? paint('yellow', 'serving, needs attention')
      : paint('green', 'serving, all well');
  const rows: Row[] = [['node', state]];
  for (const alarm of alarms) rows.push(['', paint('yellow', `! ${escapeControls(alarm)}`)]);
  rows.push([
    'in force',
    `${status.rules} rules for ${status.licensee}${status.mode === 'observe' ? paint('yellow', ' (observe mode: nothing is blocked)') : ''}`,
  ]);
  rows.push(...describePages(status));
  rows.push(...describeAges(status));
  rows.push(
    ...(status.log === undefined
      ? [['from', `${status.directory} (a directory)`] as Row]
      : describeLog(status.log, status.nowSeconds)),
  );
  rows.push(...describeRefusals(status));
  return composeRows(rows);
}

/** Listed pages, on how many of them HTTPS leads past the notice, and that none is enforced where that is so. */
function describePages({ pages: inForce, list, pagesSteered }: NodeStatus): Row[] {
  const counts = list === undefined ? NO_PAGES : list;
  const pages = inForce?.pages ?? counts.pages;
  const passed = inForce === undefined ? counts.httpOnlyPages : pages - inForce.blockHostPages;
  if (pages === 0 && inForce === undefined) return [];
  const https = passed === 0 ? '' : `; HTTPS to the hosts of ${passed} passes, as no page can be told apart there`;
  const rows: Row[] = [['pages', `${pages} listed${https}`]];
  if (!pagesSteered) {
    rows.push(['', paint('yellow', 'their hosts are sent to no gateway, so no page is blocked: see resolver.gateway')]);
  }
  return rows;
}

function describeAges({ list, readAtSeconds, nowSeconds, failure }: NodeStatus): Row[] {
  const rows: Row[] = [];
  const newest = list?.newestSignedAtSeconds;
  if (newest !== undefined) rows.push(['newest', `statement signed ${describeAge(nowSeconds - newest)} ago`]);
  if (readAtSeconds > 0)
    rows.push(['asked', `for news ${describeAge(nowSeconds - readAtSeconds)} ago, without a fault`]);
  if (failure !== undefined) rows.push(['fault', paint('red', escapeControls(failure))]);
  if (list !== undefined) {
    const { ok = 0 } = list.verdictCounts;
    rows.push([
      'statements',
      `${ok} good, ${list.voidCount === 0 ? 'none void' : paint('yellow', `${list.voidCount} void`)}`,
    ]);
  }
  return rows;
}

function describeLog(log: SyncStatus, nowSeconds: number): Row[] {
  const seen = log.freshAtSeconds === undefined ? 'never' : `${describeAge(nowSeconds - log.freshAtSeconds)} ago`;
  const names = log.witnesses.map(({ name }) => name).join(', ') || 'none';
  const rows: Row[] = [
    [
      'log',
      `${log.origin ?? 'unknown'}: ${countOf(log.size, 'statement')}, root ${log.rootHash?.slice(0, 16) ?? '-'}…`,
    ],
    ['witnesses', `${names} (${log.witnesses.length} signed, ${log.quorum} needed), last ${seen}`],
  ];
  if (log.unwitnessed > 0) rows.push(['waiting', paint('yellow', `${log.unwitnessed} statements without witnesses`)]);
  if (log.trustExpiresSeconds !== undefined) {
    rows.push([
      'trust',
      `authorities version ${log.authoritiesVersion}, good ${describeUntil(log.trustExpiresSeconds - nowSeconds)}`,
    ]);
  }
  for (const { url, fault, answeredSeconds } of log.mirrors) {
    const answered =
      answeredSeconds === undefined ? 'never asked' : `answered ${describeAge(nowSeconds - answeredSeconds)} ago`;
    const style: Style = fault === undefined ? 'green' : 'red';
    rows.push([
      'mirror',
      `${url} ${paint(style, fault === undefined ? answered : `${answered}; ${escapeControls(fault)}`)}`,
    ]);
  }
  const receipts = `${log.receiptsSent} sent, ${log.receiptsQueued} waiting`;
  rows.push([
    'receipts',
    log.receiptFault === undefined ? receipts : `${receipts}; ${paint('yellow', escapeControls(log.receiptFault))}`,
  ]);
  rows.push(['node key', `${log.nodeKey} (to enrol)`]);
  if (log.evidence > 0)
    rows.push(['proof', paint('red', `${log.evidence} pairs of contradicting checkpoints are kept in register.db`)]);
  return rows;
}

function describeRefusals({ list, log, nowSeconds }: NodeStatus): Row[] {
  const rows: Row[] = [];
  for (const { name, code, reason } of list?.void.slice(0, MAX_SHOWN) ?? []) {
    rows.push(['void', escapeControls(`${name}: ${reason} [${code}]`)]);
  }
  if (list !== undefined && list.voidCount > MAX_SHOWN) rows.push(['', `… and ${list.voidCount - MAX_SHOWN} more`]);
  if (list !== undefined && list.refusedCount > 0) {
    rows.push([
      'guarded',
      paint('yellow', `${list.refusedCount} signed entries are refused by the guard-rails: see report.json`),
    ]);
  }
  for (const { code, reason, count, lastSeconds } of log?.incidents ?? []) {
    const when = lastSeconds === 0 ? 'at the start' : `last ${describeAge(nowSeconds - lastSeconds)} ago`;
    rows.push(['refused', escapeControls(`${count} × [${code}] ${reason} (${when})`)]);
  }
  return rows;
}

/** Returns a span in the largest unit that says enough: `40 s`, `12 min`, `7 h`, `3 days`. */
function describeAge(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7_200) return `${Math.round(whole / 60)} min`;
  if (whole < 172_800) return `${Math.round(whole / 3_600)} h`;
  return `${Math.round(whole / 86_400)} days`;
}

function describeUntil(seconds: number): string {
  return seconds > 0 ? `for ${describeAge(seconds)}` : paint('red', `no more: it expired ${describeAge(-seconds)} ago`);
}
