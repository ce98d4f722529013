import { WartaError } from '../base/errors.ts';
import { canonicaliseEntry } from '../register/annex.ts';
import { canonicaliseName, fitsWire } from '../register/entry-name.ts';
import { formatInstant } from '../register/time.ts';
import type { AuditRegister } from './audit-register.ts';
import { describeCoverage } from './coverage-description.ts';
import { type Coverage, countUnread, type ExplainTerms, explainNames, type NameReport } from './explain-name.ts';
import { type Finding, type FindingCode, traceTo } from './finding.ts';

/** A name that someone saw blocked; `subtree` when everything below it was as well, `url` when it was one page alone. */
export interface ObservedName {
  readonly name: string;
  readonly scope?: 'exact' | 'subtree';
  /** The page, in WHATWG's spelling, when only that was blocked. */
  readonly url?: string;
}

/**
 * Parses a list of names seen blocked: one a line, `*.bad.example` for a name with all below it, `http://…` for one page; or
 * what `replay` writes, CSV or JSON lines. Blank lines and `#` are skipped.
 *
 * @throws {WartaError} `name-invalid`, naming the line.
 */
export function parseObserved(text: string): ObservedName[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.flatMap((line, at) => {
    if (line === '' || line.startsWith('#') || line.startsWith('name,')) return [];
    const { name, scope, url } = splitLine(line);
    if (scope === 'sealed') return []; // it names nothing
    if (url !== undefined) {
      const forms = canonicaliseEntry(url, 'url');
      if (forms === undefined) throw new WartaError('name-invalid', `line ${at + 1}: ${url} is no http(s) URL`);
      return { name: forms.canonical, url: forms.url };
    }
    const canonical = canonicaliseName(name.replace(/^\*\./, ''));
    if (canonical === undefined || !fitsWire(canonical)) {
      throw new WartaError('name-invalid', `line ${at + 1}: ${name} is no domain name`);
    }
    return { name: canonical, scope: name.startsWith('*.') || scope === 'subtree' ? 'subtree' : undefined };
  });
}

/** Takes a line apart: JSON, CSV, or blanks between. */
function splitLine(line: string): { name: string; scope?: string; url?: string } {
  if (/^https?:/i.test(line)) return { name: line, url: line };
  if (!line.startsWith('{')) {
    const [name = '', scope] = line.split(/[\s,]+/);
    return { name, scope, url: scope === 'url' ? readUrlField(line) : undefined };
  }
  try {
    const { name, scope, url } = JSON.parse(line) as Record<string, unknown>;
    return { name: String(name), scope: String(scope), url: url === undefined ? undefined : String(url) };
  } catch {
    return { name: line };
  }
}

/** Returns the last field of a line of CSV as `replay` writes it, where addresses of pages are. */
function readUrlField(line: string): string {
  const [, quoted, plain] = /,(?:"((?:[^"]|"")*)"|([^",]*))$/.exec(line) ?? [];
  return quoted?.replaceAll('""', '"') ?? plain ?? '';
}

/** Finds names that were seen blocked and that no statement in force lets a licensee block, or not so widely. */
export function findInObserved(
  register: AuditRegister,
  observed: readonly ObservedName[],
  terms: ExplainTerms,
): Finding[] {
  const reading = register.read({ size: register.sizeAt(terms.atSeconds) });
  const reports = explainNames(
    reading,
    observed.map(({ name }) => name),
    terms,
  );
  const unread = countUnread(reading, terms.licensee, terms.atSeconds);
  return observed.flatMap((one) => judgeObserved(register, one, reports.get(one.name)!, terms, unread) ?? []);
}

/** Says what is wrong with a block that was seen; `undefined` when it is ordered. */
export function judgeObserved(
  register: AuditRegister,
  { name, scope, url }: ObservedName,
  report: NameReport,
  { licensee, atSeconds }: ExplainTerms,
  unread: number,
): Finding | undefined {
  const evidence = { name, url, at: formatInstant(atSeconds) };
  const what = url ?? name;
  const finding = (code: FindingCode, summary: string, coverage?: Pick<Coverage, 'notice' | 'at'>): Finding => {
    const trace = coverage && traceTo(coverage.notice, register.indexOf(coverage.notice.name));
    const entry = coverage?.notice.entries?.id(coverage.at);
    return { code, severity: 'error', summary, ...trace, licensee, evidence: { ...evidence, entry } };
  };
  if (report.blocked) {
    const whole = report.coverages.some((one) => one.state === 'in-force' && one.coversBelow);
    const [exact] = report.coverages;
    if (scope !== 'subtree' || whole) return undefined;
    return finding(
      'scope-wider',
      `${name} is blocked with all below it; ${referenceOf(exact!)} covers it alone`,
      exact,
    );
  }
  // Of a page that was seen blocked, other pages of its host say nothing.
  const about = report.coverages.filter(({ page }) => url === undefined || page === undefined || page.url === url);
  if (url !== undefined && about.some(({ state }) => state === 'page')) return undefined;
  const [coverage] = about.toSorted((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state));
  if (coverage !== undefined) {
    const { code, why } = explainLifted(coverage);
    return finding(code, `${what} is blocked, and may not be: ${why}`, coverage);
  }
  const [near] = report.near;
  if (near !== undefined) {
    const entryName = near.notice.entries!.name(near.at);
    return finding('scope-wider', `${what} is blocked; ${referenceOf(near)} covers ${entryName} only`, near);
  }
  const off = finding('off-register', `${what} is blocked, and no statement names it`);
  if (unread === 0) return off;
  const hidden = `${unread} sealed notices whose names are not at hand may`;
  return { ...off, severity: 'warning', summary: `${what} is blocked, and no open notice names it; ${hidden}` };
}

const STATES: readonly Coverage['state'][] = ['excluded', 'page', 'lifted', 'refused', 'in-force'];

function referenceOf({ notice }: { notice: Coverage['notice'] }): string {
  return notice.statement.reference;
}

/** Names the fault of blocking what an entry no longer covers. */
function explainLifted(coverage: Coverage): { code: FindingCode; why: string } {
  const why = describeCoverage(coverage);
  if (coverage.state !== 'lifted') return { code: 'scope-wider', why };
  const kinds = new Set(coverage.causes.map(({ kind }) => kind));
  if (kinds.has('not-addressed') || kinds.has('not-yet') || kinds.has('not-logged'))
    return { code: 'off-register', why };
  const released = coverage.causes.some(({ kind, statement }) => statement !== undefined && kind !== 'shortened');
  return { code: released ? 'released-applied' : 'expired-applied', why };
}
