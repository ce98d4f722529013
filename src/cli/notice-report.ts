import { paint } from '../base/terminal.ts';
import type { EntryTable } from '../register/annex.ts';
import type { RefusedEntry, RuleSink } from '../register/compile.ts';
import { countRedirects, countsOf, type PageCounts } from '../register/pages.ts';
import type { RegisterReading } from '../register/read-register.ts';
import { type Change, type Notice, type Reach, reachOf, type Statement } from '../register/statement.ts';
import { formatInstant, NO_END_SECONDS } from '../register/time.ts';
import type { RuleNotice } from '../rules/rule-table.ts';
import { countOf, escapeControls, type Row } from './output.ts';
import type { SignatureNote } from './statement-file.ts';

/** Lists longer than this are cut on a terminal; `--json` has all of it. */
const MAX_LISTED = 200;

/** Joins lines, telling how many were left out. */
export function listSome(lines: readonly string[], limit = MAX_LISTED): string {
  const shown = lines.slice(0, limit);
  if (lines.length > limit) shown.push(`… and ${lines.length - limit} more`);
  return shown.join('\n');
}

/** Summarises a statement for people: what it is, whom it binds, how long, why, and what a change does. */
export function summarise(statement: Statement, id: string): Row[] {
  const { type, reference, authority, reasons } = statement;
  return [
    ['type', paint('bold', type)],
    ['reference', paint('cyan', reference)],
    ['id', id],
    ['authority', authority],
    ...(type === 'notice' ? noticeRows(statement) : [['effect', escapeControls(describeEffect(statement))] as const]),
    ['reasons', escapeControls(reasons.public) + (reasons.sealed === undefined ? '' : ' (more of them sealed)')],
    ['signed at', statement.signedAt],
  ];
}

/** The rows only a notice has. */
function noticeRows(notice: Notice): Row[] {
  const { annex, dates, recipients, redress, tags } = notice;
  const rows: (Row | undefined)[] = [
    optionalRow('asked for by', notice.requestedBy),
    ['instrument', notice.instrument],
    ['category', notice.category + (tags.length === 0 ? '' : ` (${tags.join(', ')})`)],
    ['offence', escapeControls(notice.offence)],
    ['recipients', 'all' in recipients ? 'every licensee' : listSome(recipients.licensees, 20)],
    optionalRow('networks', notice.networks?.join(', ')),
    ['territory', escapeControls(notice.territory)],
    ['dates', Object.entries(dates).map(composeDate).join('\n')],
    ['term', paint('bold', 'expires' in notice.term ? `until ${notice.term.expires}` : 'until revoked')],
    ['entries', `${annex.entries}${annex.sealed ? ', sealed' : ''}, annex ${annex.digest}`],
    optionalRow('https', notice.https && 'closed to the whole host of every page'),
    ['drafted by', notice.draftedBy],
    ['approved by', notice.approvals.map(({ officer, at }) => `${officer} at ${at}`).join('\n')],
    optionalRow('overrides', notice.overrides.map(({ check, officer }) => `${check} by ${officer}`).join('\n')),
    optionalRow('supersedes', notice.supersedes?.join('\n')),
    ['appeals', escapeControls(`${redress.body}, within ${redress.withinDays} days; ${redress.contacts.join(', ')}`)],
  ];
  return rows.filter((row) => row !== undefined);
}

/** A row that is left out when there is nothing to say. */
function optionalRow(label: string, value: string | undefined): Row | undefined {
  return value === undefined || value === '' ? undefined : [label, value.split('\n').map(escapeControls).join('\n')];
}

const DATE_LABELS: Record<string, string> = {
  effectiveFrom: 'in force from',
  complyBy: 'to be obeyed by',
  reviewBy: 'to be reviewed by',
};

function composeDate([key, at]: [string, string]): string {
  return `${DATE_LABELS[key] ?? key} ${at}`;
}

/** Says in one sentence what a statement other than a notice does. */
export function describeEffect(statement: Exclude<Statement, Notice>): string {
  switch (statement.type) {
    case 'heartbeat':
      return `shows that the register is alive at ${statement.at}`;
    case 'resumption':
      return `ends the stay or halt ${statement.target} from ${statement.from}`;
    case 'halt':
      return `suspends ${describeReach(statement)} ${describePeriod(statement, 'resumed')}`;
    case 'stay': {
      const { by, reference } = statement.order;
      return `suspends ${describeReach(statement)} ${describePeriod(statement, 'resumed')}, by order of ${by} (${reference})`;
    }
    case 'revocation':
      return `ends ${describeReach(statement)} for good from ${statement.from}`;
    case 'exemption': {
      const { licensee, conditions } = statement;
      return `frees ${licensee} from ${describeReach(statement)} ${describePeriod(statement, 'ended')}; conditions: ${conditions}`;
    }
    case 'variation':
      return describeVariation(statement);
  }
}

/** Names what a change applies to. */
function describeReach(change: Change): string {
  const { notice, entries, instrument, category }: Reach = reachOf(change) ?? {};
  if (instrument !== undefined) return `every notice under ${instrument}, later ones too,`;
  if (category !== undefined) return `every notice of category ${category}`;
  return entries === undefined
    ? `notice ${notice}`
    : `${entries.length === 1 ? 'entry' : 'entries'} ${entries.join(', ')} of notice ${notice}`;
}

function describePeriod({ from, until }: { from: string; until?: string }, otherwise: string): string {
  return `from ${from} until ${until ?? otherwise}`;
}

/** Names everything a variation narrows. */
function describeVariation(variation: Extract<Change, { type: 'variation' }>): string {
  const parts = [
    ...(variation.remove ?? []).map((entry) => `removes entry ${entry}`),
    ...(variation.exclude ?? []).map(({ entry, names }) => `keeps ${names.join(', ')} of entry ${entry} reachable`),
    ...(variation.expires ?? []).map(({ entry, at }) => `ends entry ${entry} at ${at}`),
    ...(variation.expiresAt === undefined ? [] : [`ends the notice at ${variation.expiresAt}`]),
  ];
  return `from ${variation.from}, in notice ${variation.notice}: ${parts.join('; ')}`;
}

/** An entry as `--json` shows it. */
export interface EntryNote {
  readonly id: string;
  readonly scope: string;
  readonly name: string;
  readonly url?: string;
  /** Absent for the usual `block`. */
  readonly action?: 'redirect';
  readonly query?: 'any';
  readonly excludes?: readonly string[];
  readonly expires?: string;
}

/** Returns the first entries of an annex, `limit` at most. */
export function listEntries(entries: EntryTable, limit: number): EntryNote[] {
  return Array.from({ length: Math.min(limit, entries.count) }, (_, at) => {
    const expires = entries.expiresSeconds(at);
    const page = entries.urls.get(at);
    return {
      id: entries.id(at),
      scope: entries.scope(at),
      name: entries.name(at),
      url: page?.url,
      action: entries.action(at) === 'redirect' ? 'redirect' : undefined,
      query: page?.anyQuery ? 'any' : undefined,
      excludes: entries.excludes.get(at),
      expires: expires === NO_END_SECONDS ? undefined : formatInstant(expires),
    };
  });
}

/** Describes an entry in one line. */
export function describeEntry({ id, scope, name, url, action, query, excludes, expires }: EntryNote): string {
  const how = `${action === undefined ? '' : ', redirected to the notice page'}${query === undefined ? '' : ', any query'}`;
  const except = excludes === undefined ? '' : `, except ${excludes.join(', ')}`;
  const until = expires === undefined ? '' : `, until ${expires}`;
  return `${id}  ${scope.padEnd(7)}  ${url ?? name}${how}${except}${until}`;
}

/** What is counted of entries besides their number. */
export interface EntryKinds extends PageCounts {
  readonly redirects: number;
}

/** Rows about redirects and pages, where there are any. */
export function describeKinds({ redirects, pages, httpOnlyPages }: EntryKinds): Row[] {
  const rows: Row[] = [];
  if (redirects > 0) rows.push(['redirects', `${redirects}, to the notice page`]);
  if (pages === 0) return rows;
  const closed = pages - httpOnlyPages;
  const holds = [
    ...(httpOnlyPages === 0 ? [] : [`${httpOnlyPages} on HTTP alone, as no page can be told apart on HTTPS`]),
    ...(closed === 0 ? [] : [`${closed} with HTTPS closed to the whole host`]),
  ];
  return [...rows, ['pages', `${pages}: ${holds.join(', ')}`]];
}

/** Counts the redirects and pages of a notice. */
export function countKinds(notice: Pick<Notice, 'https'>, entries: EntryTable): EntryKinds {
  return { redirects: countRedirects(entries), ...countsOf(notice, entries.urls.size) };
}

/** Describes whose a signature is. */
export function describeSignature({ keyId, officer, byLabelledKey }: SignatureNote): string {
  const label = escapeControls(keyId) || 'no label';
  if (officer !== undefined) return `${paint('green', officer)} (${label})`;
  if (byLabelledKey === undefined) return `${label} (a label only)`;
  return byLabelledKey ? `${label} (by this key)` : paint('red', `${label} (not by this key)`);
}

/** An entry the guard-rails refuse; without its name when its notice is sealed. */
export type RefusalNote = Omit<RefusedEntry, 'name'> & { readonly name?: string };

/** Describes a refused entry in one line. */
export function describeRefusal({ notice, entry, name, reason }: RefusalNote): string {
  return `${paint('yellow', 'refused')}  ${notice}  ${entry}  ${name ?? '(sealed)'}: ${reason}`;
}

/** A verdict with what is known of the statement. */
export interface VerdictNote {
  readonly name: string;
  readonly ok: boolean;
  readonly id?: string;
  readonly type?: string;
  readonly reference?: string;
  readonly signers?: readonly string[];
  readonly code?: string;
  readonly reason?: string;
}

/** Joins each verdict with its statement's reference and signers. */
export function listVerdicts({ verdicts, statements }: RegisterReading): VerdictNote[] {
  const known = new Map(statements.map((verified) => [verified.id, verified]));
  return verdicts.map((verdict) => {
    const good = verdict.ok ? known.get(verdict.id!) : undefined;
    return { ...verdict, reference: good?.statement.reference, signers: good?.signers };
  });
}

/** Describes a verdict in one line. */
export function describeVerdict({ name, ok, type, reference, signers, code, reason }: VerdictNote): string {
  const file = escapeControls(name);
  if (!ok) return `${paint('red', 'void')}  ${file}: ${paint('red', `[${code}]`)} ${escapeControls(reason ?? '')}`;
  return `${paint('green', 'ok')}    ${file}: ${type} ${reference}, signed by ${signers?.join(', ')}`;
}

/** Counts rules instead of keeping them: what `verify` compiles into. */
export class RuleCounter implements RuleSink {
  /** Rules, entries behind them, and those of them that redirect or list a page, at the time asked for. */
  rulesInForce = 0;
  entriesInForce = 0;
  redirectsInForce = 0;
  pagesInForce = 0;
  /** Pages in force that hold on HTTP alone. */
  httpOnlyPagesInForce = 0;
  /** Rules that start later. */
  rulesLater = 0;
  readonly #atSeconds: number;
  /** Whether each notice closes HTTPS to the hosts of its pages. */
  readonly #closesHttps: boolean[] = [];
  #lastEntry = -1;

  constructor(atSeconds: number) {
    this.#atSeconds = atSeconds;
  }

  addNotice({ page }: RuleNotice): number {
    return this.#closesHttps.push(page?.blocksHttps ?? false) - 1;
  }

  addPage(): void {}

  /** The compiler adds an entry's rules one after another. */
  addRule(
    _name: string,
    _trigger: string,
    action: string,
    notBefore: number,
    notAfter: number,
    notice: number,
    entry: number,
  ): void {
    if (notBefore > this.#atSeconds) this.rulesLater++;
    else if (this.#atSeconds < notAfter) {
      this.rulesInForce++;
      if (action === 'passthru' || entry === this.#lastEntry) return;
      this.#lastEntry = entry;
      this.entriesInForce++;
      if (action === 'redirect') this.redirectsInForce++;
      if (action !== 'steer') return;
      this.pagesInForce++;
      if (!this.#closesHttps[notice]) this.httpOnlyPagesInForce++;
    }
  }
}

/** Rows about the redirects and pages in force. */
export function describeKindsInForce({ redirectsInForce, pagesInForce, httpOnlyPagesInForce }: RuleCounter): Row[] {
  return describeKinds({ redirects: redirectsInForce, pages: pagesInForce, httpOnlyPages: httpOnlyPagesInForce });
}

/** Describes counts in one line. */
export function describeForce(counter: RuleCounter, atSeconds: number, licensee: string | undefined): string {
  const { rulesInForce, entriesInForce, rulesLater } = counter;
  const whom = licensee === undefined ? 'notices to every licensee' : `licensee ${licensee}`;
  const later = rulesLater === 0 ? '' : `, ${countOf(rulesLater, 'more rule')} later`;
  const entries = countOf(entriesInForce, 'entry', 'entries');
  return `${entries} by ${countOf(rulesInForce, 'rule')} at ${formatInstant(atSeconds)} (${whom})${later}`;
}
