import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { tabulateAnnex } from '../control/drafting/entries/annex-pages.ts';
import { composeEntries } from '../control/drafting/entries/compose-entries.ts';
import type { LineFault } from '../control/drafting/entries/read-entries.ts';
import type { Finding, Level } from '../control/drafting/preflight/finding.ts';
import { openPreflightSources } from '../control/drafting/preflight/open-sources.ts';
import { closesHttps } from '../control/drafting/preflight/pages.ts';
import { type FactsQuery, gatherFactsOf, type RegisterFacts } from '../control/drafting/preflight/register-facts.ts';
import { findRefusals, needsThirdApprover, runPreflight } from '../control/drafting/preflight/run-preflight.ts';
import { Turns } from '../control/view/turns.ts';
import type { EntryTable } from '../register/annex.ts';
import { type Authority, parseAuthorities } from '../register/authorities.ts';
import { readDraft } from '../register/draft.ts';
import { type Pack, parsePack } from '../register/pack.ts';
import { readRegister } from '../register/read-register.ts';
import { readDirectory, STATEMENTS_FOLDER } from '../sync/directory-source.ts';
import { type AuditOptions, nowOf, withRegister } from './audit-options.ts';
import { PACK_FILE } from './demo-register.ts';
import { countKinds, describeKinds } from './notice-report.ts';
import { composeRows, countOf, escapeControls, printJson, type Row, readInput } from './output.ts';

interface PreflightOptions {
  pack: string;
  popular?: string;
  register?: string;
  root?: string;
  cache: string;
  resolver?: string;
  json?: boolean;
}

/** Entries named beside a finding, and bad names listed. */
const SHOWN_ENTRIES = 5;
const SHOWN_FAULTS = 100;

/** Adds `warta notice preflight`. */
export function addPreflightCommand(notice: Command, cache: string): void {
  notice
    .command('preflight')
    .description('look a draft of a notice over as the control API does; the exit code is 1 when it would be refused')
    .argument('<draft>', 'draft in YAML; see policies/samples')
    .option('--pack <file>', 'policy pack', PACK_FILE)
    .option('--popular <file>', 'ranked popular names: one a line, or rank and name')
    .option('--register <place>', 'what is in force: a register directory, or a mirror (with --root)')
    .option('--root <file>', '1.root.json of the register, when it is a mirror')
    .option('--cache <folder>', 'where what was verified of a mirror is kept for the next time', cache)
    .option('--resolver <address>', 'resolver to ask whether the names exist, such as 192.0.2.53:53')
    .option('--json', 'print JSON')
    .action(lookOver);
}

/** `warta notice preflight`. */
async function lookOver(file: string, options: PreflightOptions): Promise<void> {
  const nowSeconds = nowOf({});
  const { pack, sha256 } = parsePack(readInput(options.pack));
  const { fields, names, sealed } = readDraft(readInput(file).toString(), nowSeconds);
  if (fields.type !== 'notice')
    throw new WartaError('usage', `${file} is no draft of a notice: only those are looked over`);
  const { entries, faults } = await readNames(names);
  const query: FactsQuery = {
    authority: String(fields.authority),
    reference: String(fields.reference),
    supersedes: Array.isArray(fields.supersedes) ? fields.supersedes.map(String) : [],
    nowSeconds,
  };
  const known = await readFacts(options, pack, sha256, query);
  const { popular: popularNames, resolver } = options;
  const sources = openPreflightSources({ pack, packFile: options.pack, popularNames, resolver });
  const found = await runPreflight({ fields, entries, pack, nowSeconds, ...known, ...sources });
  const findings = [...faults.map(composeFault), ...(faults.length > 0 ? found.filter(isNotMissingNames) : found)];
  report(file, options, { fields, entries, findings, isSealed: sealed === true });
}

/** Reads the names of a draft as an upload of them is read. */
async function readNames(names: unknown): Promise<{ entries?: EntryTable; faults: readonly LineFault[] }> {
  if (names === undefined) return { faults: [] };
  const composed = composeEntries({
    bytes: Buffer.from(JSON.stringify(names)),
    type: 'application/json',
    seed: randomBytes(32),
  });
  if (!('annex' in composed)) return { faults: composed.faults.slice(0, SHOWN_FAULTS) };
  return { entries: await tabulateAnnex(composed.annex.bytes, composed.annex.entries, new Turns()), faults: [] };
}

function composeFault({ line, message }: LineFault): Finding {
  return { check: 'invalid-entry', level: 'refuse', message: `name ${line}: ${message}`, count: 1, overridable: false };
}

/** Names that are bad are not missing. */
function isNotMissingNames({ check, message }: Finding): boolean {
  return !(check === 'missing-field' && message.startsWith('entries:'));
}

/** Reads what the register says: nothing without one. */
async function readFacts(
  { register: place, root, cache, pack: packFile }: PreflightOptions,
  pack: Pack,
  packSha256: string,
  query: FactsQuery,
): Promise<{ facts?: RegisterFacts; authority?: Authority }> {
  if (place === undefined) return {};
  if (existsSync(join(place, STATEMENTS_FOLDER))) {
    const authorities = parseAuthorities(readInput(join(place, 'authorities.json')).toString(), packSha256);
    const { leaves, annexes } = readDirectory(place);
    const context = { authorities, pack, licensee: '', nowSeconds: query.nowSeconds };
    const { statements, folded } = readRegister(leaves, annexes, context);
    return { facts: gatherFactsOf(statements, folded, query), authority: authorities.byId.get(query.authority) };
  }
  if (root === undefined) {
    throw new WartaError('usage', `${place} is no register directory: for a mirror give --root with its 1.root.json`);
  }
  const options: AuditOptions = { mirror: [place], root, pack: [packFile], cache };
  return withRegister(options, ({ register }) => {
    const reading = register.read({ annexesFromSeconds: query.nowSeconds, rulesOnly: true });
    return {
      facts: gatherFactsOf(reading.statements, reading.fold('', query.nowSeconds), query),
      authority: register.authorities.byId.get(query.authority),
    };
  });
}

interface Looked {
  readonly fields: Record<string, unknown>;
  readonly entries?: EntryTable;
  readonly findings: readonly Finding[];
  readonly isSealed: boolean;
}

/** Prints what was found. */
function report(file: string, { json }: PreflightOptions, { fields, entries, findings, isSealed }: Looked): void {
  const overrides = (Array.isArray(fields.overrides) ? fields.overrides : []) as { check?: unknown }[];
  const isOverridden = (check: string) => overrides.some((override) => override?.check === check);
  const refusals = findRefusals(findings, isOverridden).length;
  const approvalsNeeded = needsThirdApprover(findings, isOverridden) ? 2 : 1;
  if (refusals > 0) process.exitCode = 1;
  const count = entries?.count ?? 0;
  const https = closesHttps(fields) ? ('block-host' as const) : undefined;
  const kinds = entries === undefined ? undefined : countKinds({ https }, entries);
  if (json) {
    printJson({
      reference: fields.reference,
      entries: count,
      ...kinds,
      refused: refusals > 0,
      approvalsNeeded,
      findings,
    });
    return;
  }
  for (const finding of findings) console.log(describeFinding(finding, isSealed ? undefined : entries, isOverridden));
  const rows: Row[] = [
    ['draft', escapeControls(`${fields.reference ?? file}, ${countOf(count, 'entry', 'entries')}`)],
    ...(kinds === undefined ? [] : describeKinds(kinds)),
    ['result', refusals > 0 ? paint('red', `refused: ${countOf(refusals, 'finding')}`) : paint('green', 'not refused')],
    ['approvals', approvalsNeeded === 2 ? paint('yellow', '2, by officers other than the drafter') : '1'],
  ];
  console.log(`${findings.length > 0 ? '\n' : ''}${composeRows(rows)}`);
}

const COLOURS = { refuse: 'red', 'needs-third-approver': 'yellow', warn: 'cyan' } as const satisfies Record<
  Level,
  string
>;

/** Describes a finding with the first names it is about. */
function describeFinding(
  { check, level, message, entries: ids, count, overridable }: Finding,
  entries: EntryTable | undefined,
  isOverridden: (check: string) => boolean,
): string {
  const note = level === 'refuse' && overridable && isOverridden(check) ? ' (overridden)' : '';
  const head = `${paint(COLOURS[level], level)}  ${check}: ${escapeControls(message)}${note}`;
  if (ids === undefined) return head;
  const shown = ids.slice(0, SHOWN_ENTRIES).map((id) => {
    const at = entries?.indexOf(id) ?? -1;
    return at < 0 ? id : `${id} ${entries!.urls.get(at)?.url ?? entries!.name(at)}`;
  });
  const more = count > shown.length ? `, and ${count - shown.length} more` : '';
  return `${head}\n    ${shown.join(', ')}${more}`;
}
