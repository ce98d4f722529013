import { Argument, type Command } from 'commander';
import { type AuditRegister, NOBODY } from '../audit/audit-register.ts';
import { describeCause, describeCoverage, describePageRule, describeUnread } from '../audit/coverage-description.ts';
import { composeDisclosure, DISCLOSURE_MAX_BYTES, openDisclosure } from '../audit/disclosure.ts';
import { Effects } from '../audit/effects.ts';
import { type Coverage, explainNames, type NameReport } from '../audit/explain-name.ts';
import { checkNameProof, composeNameProof, PROOF_MAX_BYTES, type ProvenName } from '../audit/name-proof.ts';
import { describePage, type PageRule } from '../audit/replay.ts';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { type EntryTable, parseAnnex } from '../register/annex.ts';
import { formatInstant } from '../register/time.ts';
import type { KnownNotice } from '../register/verify-statement.ts';
import { readPinnedRoot } from '../sync/register-archive.ts';
import {
  type AuditOptions,
  addAuditOptions,
  ISP_OPTION,
  nowOf,
  parseName,
  parseTime,
  withRegister,
} from './audit-options.ts';
import { describeProof } from './audit-report.ts';
import { composeRows, printJson, type Row, readInput } from './output.ts';

/** Adds `prove`, `disclose` and `check-disclosure`. */
export function registerProofCommands(audit: Command): void {
  addAuditOptions(audit.command('prove'), false)
    .description('say why a name is blocked, from the rule down to the signed log; 1 when it is not, with the reason')
    .addArgument(new Argument('[name]', 'name to explain').argParser(parseName))
    .option(...ISP_OPTION)
    .option('--at <time>', 'at another time than now', parseTime)
    .option('--out <file>', 'where the proof goes, which can be checked by itself')
    .option('--check <file>', 'check a proof with --root alone, without any mirror')
    .action(prove);
  addAuditOptions(audit.command('disclose'))
    .description('disclose one entry of a sealed notice, provably, without any other')
    .addArgument(new Argument('<name>', 'name to disclose').argParser(parseName))
    .requiredOption('--notice <id>', 'id of the notice, or its reference')
    .requiredOption('--annex <file>', 'annex of the notice')
    .option('--entry <id>', 'which entry, when several have the name')
    .option('--out <file>', 'where the disclosure goes; the standard output otherwise')
    .action(disclose);
  addAuditOptions(audit.command('check-disclosure'))
    .description('check that a disclosed entry is one of the notice in the log')
    .argument('<file>', 'disclosure')
    .option(...ISP_OPTION)
    .action(checkDisclosure);
}

interface ProveOptions extends AuditOptions {
  isp?: string;
  at?: number;
  out?: string;
  check?: string;
}

/** `warta audit prove`. */
async function prove(name: string | undefined, options: ProveOptions, command: Command): Promise<void> {
  if (options.check !== undefined) {
    report(checkNameProof(readInput(options.check, PROOF_MAX_BYTES + 1), readPinnedRoot(options.root)), options.json);
    return;
  }
  const { isp } = options;
  if (name === undefined || isp === undefined || options.mirror === undefined) {
    command.error('error: give a name with --isp and --mirror, or a proof with --check');
  }
  await withRegister(options, ({ register }) => {
    const atSeconds = options.at ?? nowOf(options);
    const terms = { licensee: isp, atSeconds, pack: register.pinned.pack };
    const reading = register.read({ size: register.sizeAt(atSeconds), rulesOnly: true });
    const explained = explainNames(reading, [name], terms).get(name)!;
    const coverage = explained.coverages.find(({ state }) => state === 'in-force');
    if (coverage === undefined) {
      reportOpen(explained, describeUnread(reading, isp, atSeconds), { ...options, isp }, atSeconds);
      process.exitCode = 1;
      return;
    }
    proveBlocked(register, name, coverage, { ...options, isp }, atSeconds);
  });
}

/** Makes the proof, checks it as its reader would, and tells what it says. */
function proveBlocked(
  register: AuditRegister,
  name: string,
  coverage: Coverage,
  { isp, out, root, json }: ProveOptions & { isp: string },
  atSeconds: number,
): void {
  const proof = composeNameProof(register, coverage, { name, licensee: isp, atSeconds });
  const proven = checkNameProof(proof, readPinnedRoot(root));
  if (out !== undefined) writeDurably(out, proof);
  report(proven, json);
  if (out !== undefined && !json) console.log(`\n${paint('green', `proof: ${out}`)}`);
}

function report(proven: ProvenName, json: boolean | undefined): void {
  if (json) printJson(noteProof(proven));
  else console.log(`${describeProof(proven)}\n\n${paint('green', 'the chain holds')}`);
}

/** A proof as JSON. */
function noteProof({
  name,
  licensee,
  atSeconds,
  notice,
  entry,
  window,
  index,
  others,
  authorities,
  trust,
  opened,
}: ProvenName) {
  const { checkpoint, cosignatures } = opened;
  return {
    blocked: true,
    name,
    licensee,
    at: formatInstant(atSeconds),
    notBefore: formatInstant(window.notBefore),
    notAfter: formatInstant(window.notAfter),
    entry: {
      id: entry.id(0),
      name: entry.name(0),
      scope: entry.scope(0),
      action: entry.action(0),
      annex: notice.statement.annex.digest,
    },
    notice: {
      id: notice.id,
      reference: notice.statement.reference,
      authority: notice.authority.id,
      signers: notice.signers,
    },
    authoritiesVersion: authorities.version,
    trust: { versions: trust.versions, expires: formatInstant(trust.expiresSeconds) },
    log: { origin: checkpoint.origin, index, size: checkpoint.size, root: checkpoint.root.toString('hex') },
    witnesses: cosignatures.map((one) => ({ name: one.name, at: formatInstant(one.timeSeconds) })),
    others: others.map((one) => ({ id: one.id, type: one.statement.type, reference: one.statement.reference })),
  };
}

/** Says of a name that is not blocked why it is not. */
function reportOpen(
  { name, coverages, near }: NameReport,
  unread: string | undefined,
  { isp, json }: ProveOptions & { isp: string },
  atSeconds: number,
): void {
  const reasons = coverages.map(describeCoverage);
  const nearby = near.map(({ notice, at }) => `${notice.statement.reference} is about ${notice.entries!.name(at)}`);
  const at = formatInstant(atSeconds);
  if (json) {
    printJson({ blocked: false, name, licensee: isp, at, reasons, nearby, unread });
    return;
  }
  const rows: Row[] = [
    ['name', paint('bold', name)],
    ['not blocked', `for ${isp} at ${at}`],
    ['because', reasons.join('\n') || 'no notice is about it'],
  ];
  if (reasons.length === 0 && nearby.length > 0) rows.push(['nearby', nearby.join('\n')]);
  if (unread !== undefined) rows.push(['but', unread]);
  console.log(composeRows(rows));
}

interface DiscloseOptions extends AuditOptions {
  notice: string;
  annex: string;
  entry?: string;
  out?: string;
}

/** `warta audit disclose`. */
async function disclose(name: string, options: DiscloseOptions): Promise<void> {
  await withRegister(options, ({ register }) => {
    const notice = findNotice(register, options.notice);
    const annex = readInput(options.annex, notice.statement.annex.sizeBytes + 1);
    const entries = parseAnnex(annex, { ...notice.statement.annex, endSeconds: notice.endSeconds });
    const disclosure = composeDisclosure(register, notice.id, annex, findEntry(entries, name, options.entry));
    if (options.out === undefined) console.log(disclosure.toString());
    else writeDurably(options.out, disclosure);
  });
}

/** Finds a notice by its id or its reference. */
function findNotice(register: AuditRegister, wanted: string): KnownNotice {
  const notices = register
    .read({ rulesOnly: true })
    .statements.filter(
      (one): one is KnownNotice =>
        one.statement.type === 'notice' && (one.id === wanted || one.statement.reference === wanted),
    );
  if (notices.length === 1) return notices[0]!;
  const many = notices.length === 0 ? 'no good notice' : `${notices.length} notices`;
  throw new WartaError(
    'statement-target-unknown',
    `the log has ${many} ${wanted}: give the id, as audit verify --json lists it`,
  );
}

/** Finds an entry by its name, or by its id among those with the name. */
function findEntry(entries: EntryTable, name: string, id: string | undefined): number {
  for (let at = 0; at < entries.count; at++) {
    if (entries.name(at) === name && (id === undefined || entries.id(at) === id)) return at;
  }
  throw new WartaError('annex-mismatch', `the annex has no entry ${id ?? ''} named ${name}`.replace('  ', ' '));
}

function describeShown({ name, action, ...page }: { name: string; action: string } & PageRule): string {
  if (page.url !== undefined) return describePageRule(page);
  return `${name}${action === 'redirect' ? ', redirected to the notice page' : ''}`;
}

/** `warta audit check-disclosure`. */
async function checkDisclosure(file: string, options: AuditOptions & { isp?: string }): Promise<void> {
  await withRegister(options, ({ register }) => {
    const bytes = readInput(file, DISCLOSURE_MAX_BYTES + 1);
    const { notice, entry } = openDisclosure(register, bytes);
    const nowSeconds = nowOf(options);
    const effects = new Effects(register.read({ rulesOnly: true }).statements, options.isp ?? NOBODY, nowSeconds);
    const causes = effects.causes({ ...notice, entries: entry }, 0);
    const index = register.indexOf(notice.name);
    const { reference } = notice.statement;
    const why = causes.map((cause) => describeCause(reference, cause));
    const page = describePage(notice, entry.urls.get(0));
    const shown = { id: entry.id(0), name: entry.name(0), scope: entry.scope(0), action: entry.action(0), ...page };
    if (options.json) {
      const found = { id: notice.id, reference, index, signers: notice.signers };
      printJson({ holds: true, entry: shown, notice: found, inForce: causes.length === 0, why });
      return;
    }
    const force = causes.length === 0 ? `in force at ${formatInstant(nowSeconds)}` : why.join('\n');
    console.log(
      composeRows([
        ['entry', `${shown.id}: ${shown.scope} ${describeShown(shown)}`],
        ['notice', `${paint('cyan', reference)}, leaf ${index}, signed by ${notice.signers.join(', ')}`],
        ['id', notice.id],
        ['force', force],
        ['outcome', paint('green', 'this entry is one of the notice in the log')],
      ]),
    );
  });
}
