import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { createProgress, paint } from '../base/terminal.ts';
import type { EntryTable } from '../register/annex.ts';
import { parseAuthorities } from '../register/authorities.ts';
import { hashHex } from '../register/canonical.ts';
import { compileRules } from '../register/compile.ts';
import { composeDraft } from '../register/draft.ts';
import { type Signer, signEnvelope } from '../register/envelope.ts';
import { createGuard } from '../register/guard.ts';
import { publicKeyOf, readPrivateKey } from '../register/key.ts';
import { type Pack, parsePack } from '../register/pack.ts';
import { refuseAt } from '../register/pages.ts';
import { type RegisterReading, readRegister } from '../register/read-register.ts';
import { type Notice, STATEMENT_MAX_BYTES } from '../register/statement.ts';
import { parseInstant } from '../register/time.ts';
import type { AnnexSource, StatementLeaf } from '../register/verify-statement.ts';
import { ANNEXES_FOLDER, readDirectory, STATEMENTS_FOLDER } from '../sync/directory-source.ts';
import { defaultCache } from './audit-options.ts';
import {
  countKinds,
  describeEntry,
  describeForce,
  describeKinds,
  describeKindsInForce,
  describeRefusal,
  describeSignature,
  describeVerdict,
  listEntries,
  listSome,
  listVerdicts,
  type RefusalNote,
  RuleCounter,
  summarise,
} from './notice-report.ts';
import { composeRows, countOf, printJson, type Row, readInput } from './output.ts';
import { addPreflightCommand } from './preflight-command.ts';
import {
  annexesIn,
  annexFoldersOf,
  findEntries,
  listSignatures,
  openStatement,
  type StatementFile,
} from './statement-file.ts';

/** The policy pack that comes with Warta. */
const DEFAULT_PACK = fileURLToPath(new URL('../../policies/my-cma1998.yaml', import.meta.url));

/** Entries shown of a notice unless more are asked for. */
const SHOWN_ENTRIES = 20;

/** Share of the work of `verify` that reading annexes is, for the progress bar. */
const VERIFY_SHARE = 0.8;

/** Adds `warta notice draft`, `preflight`, `sign`, `verify` and `show`. */
export function registerNoticeCommand(program: Command): void {
  const notice = program
    .command('notice')
    .description('draft, look over, sign, verify and show statements of every type');
  notice
    .command('draft')
    .description('make a draft exact: the payload to sign, and the annex of a notice')
    .argument('<draft>', 'draft in YAML; see policies/samples')
    .requiredOption('--out <folder>', 'where <reference>.payload.json and annexes/ go')
    .addOption(packOption('policy pack whose guard-rails are tried on the entries'))
    .option('--force', 'replace a payload that is there')
    .option('--json', 'print JSON')
    .action(draftStatement);
  addPreflightCommand(notice, defaultCache());
  notice
    .command('sign')
    .description('sign a payload, or add signatures to an envelope')
    .argument('<file>', 'payload or envelope')
    .requiredOption('--key <file>', "an officer's private key; repeat it for more officers", collect)
    .requiredOption('--out <file>', 'where the envelope goes; the same file when signatures are added')
    .option('--force', 'replace another file that is there')
    .option('--json', 'print JSON')
    .action(signStatement);
  notice
    .command('verify')
    .description('judge statements as a node does; the exit code is 1 when any is void')
    .argument('[files...]', 'envelopes, judged together with those of --directory')
    .option('--directory <folder>', 'register: statements/*.json and annexes/<digest>.jsonl')
    .option('--authorities <file>', "officers' keys; authorities.json of the directory otherwise")
    .addOption(packOption('policy pack'))
    .option('--annexes <folder>', 'annexes of the files; beside them otherwise')
    .option('--licensee <number>', 'count what is in force for this licensee; notices to all otherwise')
    .option('--at <time>', 'judge as of this time (2026-03-01T09:00:00Z)', parseTime)
    .option('--json', 'print JSON')
    .action(verifyStatements);
  notice
    .command('show')
    .description('summarise an envelope or a payload')
    .argument('<file>', 'payload or envelope')
    .option('--authorities <file>', 'name the officers whose keys signed')
    .option('--annexes <folder>', 'where the annex is; beside the file otherwise')
    .option('--entries <count>', 'how many entries to list', parseCount, SHOWN_ENTRIES)
    .option('--json', 'print JSON')
    .action(showStatement);
}

function packOption(description: string): Option {
  return new Option('--pack <file>', description).default(DEFAULT_PACK, 'policies/my-cma1998.yaml of this package');
}

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

function parseTime(text: string): number {
  const seconds = parseInstant(text);
  if (seconds === undefined) throw new InvalidArgumentError('Write a time such as 2026-03-01T09:00:00Z.');
  return seconds;
}

function parseCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('Write a whole number.');
  return Number(text);
}

function nowSeconds(): number {
  return Math.floor(systemClock.wallMillis() / 1000);
}

/** Refuses to replace a file unless told to. */
function requireFree(path: string, force: boolean, advice: string): void {
  if (!force && existsSync(path)) throw new WartaError('store-failed', `${path} exists: ${advice}`);
}

interface DraftCommandOptions {
  out: string;
  pack: string;
  force?: boolean;
  json?: boolean;
}

/** `warta notice draft`. */
function draftStatement(file: string, options: DraftCommandOptions): void {
  const source = readInput(file).toString();
  const { pack } = parsePack(readInput(options.pack));
  const { statement, payload, annex } = composeDraft(source, { nowSeconds: nowSeconds(), random: randomBytes });
  const stem = statement.reference.replace(/[/ ]/g, '-');
  const payloadFile = join(options.out, `${stem}.payload.json`);
  requireFree(payloadFile, options.force ?? false, 'give the draft another reference, or pass --force to replace it');
  const annexFile = annex && join(options.out, ANNEXES_FOLDER, `${annex.digest}.jsonl`);
  if (annex && annexFile) writeDurably(annexFile, annex.bytes);
  writeDurably(payloadFile, payload);
  const id = hashHex(payload);
  const entries = statement.type === 'notice' ? findDrafted(statement, options.out) : undefined;
  const refused = statement.type === 'notice' ? tryGuard(statement, entries!, pack) : [];
  const kinds = statement.type === 'notice' ? countKinds(statement, entries!) : undefined;
  const envelopeFile = join(options.out, STATEMENTS_FOLDER, `${stem}.json`);
  if (options.json) {
    const { type, reference } = statement;
    const { entries: count, digest } = annex ?? {};
    printJson({
      payload: payloadFile,
      annex: annexFile,
      type,
      reference,
      id,
      entries: count,
      ...kinds,
      digest,
      refused,
    });
    return;
  }
  const rows: Row[] = [['payload', paint('cyan', payloadFile)]];
  if (annex && annexFile) rows.push(['annex', paint('cyan', annexFile)], ['entries', String(annex.entries)]);
  if (kinds !== undefined) rows.push(...describeKinds(kinds));
  rows.push(['id', id]);
  if (refused.length > 0) rows.push(['guard-rails', refusalHeadline(refused, pack)]);
  const next = `warta notice sign ${payloadFile} --key KEY.pem --out ${envelopeFile}`;
  console.log(composeRows([...rows, ['next', paint('green', next)]]));
}

/** Reads back the annex that was just written. */
function findDrafted(notice: Notice, folder: string): EntryTable {
  return findEntries(notice, annexesIn([join(folder, ANNEXES_FOLDER)]))!;
}

/** Returns what no node would enforce of a drafted notice, so that the officer sees it before anyone signs. */
function tryGuard(notice: Notice, entries: EntryTable, pack: Pack): RefusalNote[] {
  const refuse = createGuard(pack);
  const refused: RefusalNote[] = [];
  for (let at = 0; at < entries.count; at++) {
    const name = entries.name(at);
    const reason = refuseAt(refuse, entries, at, notice.approvals.length, name);
    if (reason === undefined) continue;
    const shown = notice.annex.sealed ? undefined : name;
    refused.push({ notice: notice.reference, entry: entries.id(at), name: shown, reason });
  }
  return refused;
}

function refusalHeadline(refused: readonly RefusalNote[], pack: Pack): string {
  const count = countOf(refused.length, 'entry', 'entries');
  return `${count} would make no rule under ${pack.id}: correct the draft\n${listSome(refused.map(describeRefusal))}`;
}

interface SignCommandOptions {
  key: string[];
  out: string;
  force?: boolean;
  json?: boolean;
}

/** `warta notice sign`. */
function signStatement(path: string, options: SignCommandOptions): void {
  const file = openStatement(path);
  const same = file.envelope !== undefined && resolve(options.out) === resolve(path);
  requireFree(
    options.out,
    same || (options.force ?? false),
    'sign that file to add to its signatures, or pass --force',
  );
  // Before anything is signed, whoever holds the keys sees what it is.
  if (!options.json) console.log(`${composeRows(describeFile(file, annexFoldersOf(path), SHOWN_ENTRIES))}\n`);
  const envelope = signEnvelope(file.payload, readSigners(options.key), file.envelope);
  writeDurably(options.out, envelope);
  const signatures = listSignatures({ ...file, envelope });
  const added = signatures.length - listSignatures(file).length;
  if (options.json) {
    printJson({ envelope: options.out, id: file.id, added, signatures, statement: file.statement });
    return;
  }
  const rows: Row[] = [
    ['envelope', paint('cyan', options.out)],
    [
      'signatures',
      `${signatures.length} (${added} added${added < options.key.length ? ', the others were there' : ''})`,
    ],
    ['next', `another officer signs the same file, or: ${paint('green', nextCheck(options.out))}`],
  ];
  console.log(composeRows(rows));
}

/** The command that checks an envelope where it lies. */
function nextCheck(envelopeFile: string): string {
  const folder = dirname(envelopeFile);
  return basename(folder) === STATEMENTS_FOLDER
    ? `warta notice verify --directory ${dirname(folder)}`
    : `warta notice verify ${envelopeFile} --authorities authorities.json`;
}

/** Reads keys. The label of a signature is the public key itself, so that anyone can see whose it claims to be. */
function readSigners(paths: readonly string[]): Signer[] {
  const signers = new Map<string, Signer>();
  for (const path of paths) {
    const privateKey = readPrivateKey(path);
    const keyId = publicKeyOf(privateKey);
    if (signers.has(keyId)) {
      throw new WartaError(
        'key-invalid',
        `${path} holds the same key as another --key: a key counts once, every officer signs with their own`,
      );
    }
    signers.set(keyId, { keyId, privateKey });
  }
  return [...signers.values()];
}

interface VerifyCommandOptions {
  directory?: string;
  authorities?: string;
  pack: string;
  annexes?: string;
  licensee?: string;
  at?: number;
  json?: boolean;
}

/** `warta notice verify`. */
function verifyStatements(files: string[], options: VerifyCommandOptions, command: Command): void {
  const { directory, licensee, at = nowSeconds() } = options;
  if (files.length === 0 && directory === undefined) command.error('error: name files or give --directory');
  const trustFile = options.authorities ?? (directory && join(directory, 'authorities.json'));
  if (trustFile === undefined) command.error("error: give --authorities with the officers' keys");
  const { pack, sha256 } = parsePack(readInput(options.pack));
  const authorities = parseAuthorities(readInput(trustFile).toString(), sha256);
  const { leaves, annexes } = gatherStatements(files, directory, options.annexes);
  const progress = createProgress('verifying');
  const onProgress = (done: number, total: number) => progress.update((VERIFY_SHARE * done) / Math.max(1, total), 1);
  // No licence number is empty, so the empty one reaches exactly the notices to all.
  const context = { authorities, pack, licensee: licensee ?? '', nowSeconds: at, onProgress };
  const reading = readRegister(leaves, annexes, context);
  const counter = new RuleCounter(at);
  const { refused } = compileRules(reading.folded, pack, counter, (done, total) =>
    progress.update(VERIFY_SHARE + ((1 - VERIFY_SHARE) * done) / Math.max(1, total), 1),
  );
  progress.done();
  const notes = hideSealedNames(refused, reading);
  if (options.json) printJson(composeReport(reading, notes, counter, at, licensee));
  else printReport(reading, notes, counter, at, licensee);
  if (reading.verdicts.some(({ ok }) => !ok)) process.exitCode = 1;
}

/** Gathers the statements of a register directory and of single files, and where their annexes are. */
function gatherStatements(files: readonly string[], directory: string | undefined, annexFolder: string | undefined) {
  const register = directory === undefined ? undefined : readDirectory(directory);
  const single = files.map((name): StatementLeaf => ({ name, envelope: readInput(name, STATEMENT_MAX_BYTES + 1) }));
  const beside = annexesIn(annexFolder === undefined ? files.flatMap(annexFoldersOf) : [annexFolder]);
  const annexes: AnnexSource = {
    read: (digest, maxBytes) => beside.read(digest, maxBytes) ?? register?.annexes.read(digest, maxBytes),
  };
  return { leaves: [...(register?.leaves ?? []), ...single], annexes };
}

/** Leaves out the names of sealed notices: a report is copied into mails and tickets. */
function hideSealedNames(refused: readonly RefusalNote[], { statements }: RegisterReading): RefusalNote[] {
  const sealed = new Set(
    statements.flatMap(({ statement }) =>
      statement.type === 'notice' && statement.annex.sealed ? [statement.reference] : [],
    ),
  );
  return refused.map((note) => (sealed.has(note.notice) ? { ...note, name: undefined } : note));
}

/** The report as one JSON document. */
function composeReport(
  reading: RegisterReading,
  refused: readonly RefusalNote[],
  counter: RuleCounter,
  at: number,
  licensee: string | undefined,
) {
  const statements = listVerdicts(reading);
  const { entriesInForce, redirectsInForce, pagesInForce, httpOnlyPagesInForce, rulesInForce, rulesLater } = counter;
  const voided = statements.filter(({ ok }) => !ok).length;
  const kinds = { redirectsInForce, pagesInForce, httpOnlyPagesInForce };
  const counts = { entriesInForce, ...kinds, rulesInForce, rulesLater };
  return { atSeconds: at, licensee, statements, void: voided, refused, ...counts };
}

/** Prints the report for people. */
function printReport(
  reading: RegisterReading,
  refused: readonly RefusalNote[],
  counter: RuleCounter,
  at: number,
  licensee: string | undefined,
): void {
  const verdicts = listVerdicts(reading);
  for (const verdict of verdicts) console.log(describeVerdict(verdict));
  if (refused.length > 0) console.log(`\n${listSome(refused.map(describeRefusal))}`);
  const voided = verdicts.filter(({ ok }) => !ok).length;
  const rows: Row[] = [
    ['statements', `${verdicts.length}, ${voided === 0 ? 'none void' : paint('red', `${voided} void`)}`],
    ['refused', `${countOf(refused.length, 'entry', 'entries')} by the guard-rails`],
    ['in force', describeForce(counter, at, licensee)],
    ...describeKindsInForce(counter),
  ];
  console.log(`\n${composeRows(rows)}`);
}

interface ShowCommandOptions {
  authorities?: string;
  annexes?: string;
  entries: number;
  json?: boolean;
}

/** `warta notice show`. */
function showStatement(path: string, options: ShowCommandOptions): void {
  const file = openStatement(path);
  const folders = options.annexes === undefined ? annexFoldersOf(path) : [options.annexes];
  const trust = options.authorities === undefined ? undefined : readInput(options.authorities).toString();
  const signatures = listSignatures(file, trust === undefined ? undefined : parseAuthorities(trust));
  if (options.json) {
    const entries = isOpenNotice(file) ? findEntries(file.statement, annexesIn(folders)) : undefined;
    const listed = entries && listEntries(entries, options.entries);
    const kinds = isOpenNotice(file) && entries !== undefined ? countKinds(file.statement, entries) : undefined;
    printJson({ id: file.id, statement: file.statement, signatures, ...kinds, entries: listed });
    return;
  }
  const signed: Row = ['signatures', signatures.map(describeSignature).join('\n') || 'none yet'];
  console.log(composeRows([...describeFile(file, folders, options.entries), signed]));
}

/** A statement file that holds a notice whose names are public. */
type OpenNoticeFile = StatementFile & { readonly statement: Notice };

/** Whether a file holds a notice whose names may be shown. */
function isOpenNotice(file: StatementFile): file is OpenNoticeFile {
  return file.statement.type === 'notice' && !file.statement.annex.sealed;
}

/** Summarises a file, with the first entries of its annex when that is at hand. */
function describeFile(file: StatementFile, annexFolders: readonly string[], limit: number): Row[] {
  const rows = summarise(file.statement, file.id);
  if (file.statement.type !== 'notice') return rows;
  if (!isOpenNotice(file)) return [...rows, ['names', 'sealed, and so not shown here']];
  const entries = findEntries(file.statement, annexesIn(annexFolders));
  if (entries === undefined) {
    const where = annexFolders[0];
    return [...rows, ['names', paint('yellow', `the annex is not in ${where}: get it to see what is blocked`)]];
  }
  const lines = listEntries(entries, limit).map(describeEntry);
  if (entries.count > limit)
    lines.push(`… and ${entries.count - limit} more (warta notice show --entries ${entries.count})`);
  return [...rows, ...describeKinds(countKinds(file.statement, entries)), ['names', lines.join('\n')]];
}
