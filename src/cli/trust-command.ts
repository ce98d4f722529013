import { hash, type KeyObject } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Key } from '@tufjs/models';
import { type Command, InvalidArgumentError } from 'commander';
import { systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import {
  type AuthoritiesFile,
  importPublicKey,
  parseAuthorities,
  STATEMENT_TYPES,
  type StatementType,
} from '../register/authorities.ts';
import { readPrivateKey } from '../register/key.ts';
import { DAY_SECONDS, formatInstant, parseInstant } from '../register/time.ts';
import {
  draftAuthorities,
  draftFirst,
  draftRoot,
  type OfflineRole,
  readDraft,
  readDraftText,
  readTexts,
  type TrustDraft,
} from '../trust/draft.ts';
import { lackOf, publishDraft, type Requirement, requirementsOf, signDraftFile } from '../trust/draft-signatures.ts';
import { type MetadataOf, TRUST_ROLES, type TrustRole } from '../trust/metadata.ts';
import { addOfficer, listChanges, requireHistory, revokeOfficer } from '../trust/officers.ts';
import { type Publication, publishChange } from '../trust/publish.ts';
import { requireState } from '../trust/repository.ts';
import { trustKeyOf } from '../trust/trust-key.ts';
import { composeRows, escapeControls, printJson, type Row, readInput } from './output.ts';

/** Thresholds of a first root unless others are given: root 3 of 5 keys, targets 2 of 3. */
const DEFAULT_THRESHOLDS: Record<TrustRole, number> = { root: 3, targets: 2, snapshot: 1, timestamp: 1 };

/** How long an officer's key is valid unless told. */
const OFFICER_DAYS = 2 * 365;

type RoleKey = readonly [role: TrustRole, key: Key];
type RoleNumbers = Partial<Record<TrustRole, number>>;

/** Adds `warta trust init`, `amend`, `add-key`, `revoke-key`, `rotate`, `sign`, `show` and `publish`. */
export function registerTrustCommand(program: Command): void {
  const trust = program
    .command('trust')
    .description('who may sign what: a TUF repository, made and changed by key holders who each sign alone');
  addDraftCommands(trust);
  addOfficerCommands(trust);
  trust
    .command('sign')
    .description("add signatures to a draft's root or targets; works anywhere the draft folder was copied to")
    .argument('<file>', '<N>.root.json or <N>.targets.json in a draft folder')
    .option('--key <file>', "a holder's private key; repeat it for more", collect, [])
    .option('--merge <file>', 'take over the signatures of a copy that another holder signed', collect, [])
    .option('--json', 'print JSON')
    .action(signFile);
  trust
    .command('show')
    .description('what a draft changes and who has signed it; or what a published tree holds and until when')
    .argument('<folder>', 'draft or tree')
    .option('--json', 'print JSON')
    .action(showFolder);
  trust
    .command('publish')
    .description('publish a signed draft; without a draft, sign the timestamp anew')
    .requiredOption('--tree <folder>', 'the folder trust/ that mirrors serve')
    .requiredOption('--online-keys <path>', 'snapshot and timestamp keys: key files, or folders of *.pem', collect)
    .option('--draft <folder>', 'the signed draft')
    .option('--term <role=days>', 'validity of what is signed now; repeat it', collectNumber)
    .option('--json', 'print JSON')
    .action(publish);
}

/** `init`, `amend` and `rotate`: what begins or goes on with a draft. */
function addDraftCommands(trust: Command): void {
  const draft = (name: string) =>
    trust
      .command(name)
      .requiredOption('--draft <folder>', 'where the draft is made; the folder goes to the key holders')
      .option('--term <role=days>', 'validity of root and targets; repeat it', collectNumber)
      .option('--json', 'print JSON');
  draft('init')
    .description('draft the first root and targets')
    .requiredOption('--authorities <file>', 'authorities.json')
    .requiredOption(
      '--add <role=key>',
      'a holder: role and public key as `warta key show` prints it; repeat it',
      collectKey,
    )
    .option('--threshold <role=count>', 'how many must sign; root=3 and targets=2 otherwise', collectNumber)
    .action(draftInit);
  draft('amend')
    .description('draft other authorities, or the same for a new term')
    .requiredOption('--tree <folder>', 'the published folder trust/')
    .option('--authorities <file>', 'the changed authorities.json; the published one otherwise')
    .action(draftAmendment);
  draft('rotate')
    .description('draft the next root: other keys or thresholds, or the same for a new term')
    .requiredOption('--tree <folder>', 'the published folder trust/')
    .option('--add <role=key>', 'a new holder: role and public key; repeat it', collectKey)
    .option('--remove <role=key>', 'a holder that goes; repeat it', collectKey)
    .option('--threshold <role=count>', 'how many must sign from now on; repeat it', collectNumber)
    .action(draftRotation);
}

/** `add-key` and `revoke-key`: officers in authorities.json. */
function addOfficerCommands(trust: Command): void {
  const change = (name: string) =>
    trust
      .command(name)
      .requiredOption('--tree <folder>', 'the published folder trust/')
      .requiredOption('--draft <folder>', 'where the draft is made, or goes on')
      .requiredOption('--authority <id>', 'authority in authorities.json')
      .requiredOption('--officer <id>', 'id of the officer in it')
      .option('--term <role=days>', 'validity of targets', collectNumber)
      .option('--json', 'print JSON');
  change('add-key')
    .description("draft a new officer's key")
    .requiredOption('--key <key>', 'public key as `warta key show` prints it', parsePublicKey)
    .requiredOption('--name <name>', 'name of the officer')
    .option('--role <role>', 'case-officer, approving-officer or appeals-reviewer', 'approving-officer')
    .option('--may <type>', 'sign this type of statement only; repeat it', collectType)
    .option('--from <time>', 'valid from; now otherwise', parseTime)
    .option('--until <time>', 'valid until; two years from then otherwise', parseTime)
    .option('--replaces <id>', 'an officer whose key ends when this one begins')
    .action(draftOfficer);
  change('revoke-key')
    .description("draft the end of an officer's key; what it signed before that time still counts")
    .option('--at <time>', 'when it ends; now otherwise. An earlier time voids what was integrated since', parseTime)
    .action(draftRevocation);
}

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

function collectType(value: string, earlier: readonly StatementType[] = []): StatementType[] {
  const type = STATEMENT_TYPES.find((one) => one === value);
  if (type === undefined) throw new InvalidArgumentError(`Name one of ${STATEMENT_TYPES.join(', ')}.`);
  return [...earlier, type];
}

function collectKey(text: string, earlier: readonly RoleKey[] = []): RoleKey[] {
  const [role, value] = splitRole(text);
  return [...earlier, [role, trustKeyOf(importPublicKey(parsePublicKey(value), `the ${role} key`))]];
}

function collectNumber(text: string, earlier: RoleNumbers = {}): RoleNumbers {
  const [role, value] = splitRole(text);
  if (!/^[1-9]\d{0,4}$/.test(value)) throw new InvalidArgumentError('Write a role and a number, such as root=3.');
  return { ...earlier, [role]: Number(value) };
}

function splitRole(text: string): [TrustRole, string] {
  const at = text.indexOf('=');
  const role = TRUST_ROLES.find((one) => one === text.slice(0, at));
  if (role === undefined) throw new InvalidArgumentError(`Begin with one of ${TRUST_ROLES.join('=, ')}=.`);
  return [role, text.slice(at + 1)];
}

function parsePublicKey(text: string): string {
  if (Buffer.from(text, 'base64').length === 32 && /^[A-Za-z0-9+/]{43}=$/.test(text)) return text;
  throw new InvalidArgumentError('Write a public key as `warta key show` prints it.');
}

function parseTime(text: string): number {
  const seconds = parseInstant(text);
  if (seconds === undefined) throw new InvalidArgumentError('Write a time such as 2026-03-01T09:00:00Z.');
  return seconds;
}

function nowSeconds(): number {
  return Math.floor(systemClock.wallMillis() / 1000);
}

interface DraftCommandOptions {
  draft: string;
  term?: RoleNumbers;
  json?: boolean;
}

/** Returns what every draft is made with. */
function settingsOf({ draft, term }: DraftCommandOptions) {
  return { draft, termDays: term, nowSeconds: nowSeconds() };
}

/** `warta trust init`. */
function draftInit(
  options: DraftCommandOptions & { authorities: string; add: RoleKey[]; threshold?: RoleNumbers },
): void {
  const authorities = readInput(options.authorities);
  parseAuthorities(authorities.toString());
  const keysOf = (role: TrustRole) => options.add.filter(([to]) => to === role).map(([, key]) => key);
  const [root, targets, snapshot, timestamp] = TRUST_ROLES.map(keysOf);
  const thresholds = { ...DEFAULT_THRESHOLDS, ...options.threshold };
  draftFirst({ keys: { root, targets, snapshot, timestamp }, thresholds }, authorities, settingsOf(options));
  reportDraft(options.draft, options.json);
}

/** `warta trust amend`. */
function draftAmendment(options: DraftCommandOptions & { tree: string; authorities?: string }): void {
  const { tree, draft, authorities } = options;
  if (authorities !== undefined) {
    draftChange(options, () => parseAuthorities(readInput(authorities).toString()).file);
    return;
  }
  draftAuthorities(tree, readTexts(tree, draft).current, settingsOf(options));
  reportDraft(draft, options.json, tree);
}

/** `warta trust rotate`. */
function draftRotation(
  options: DraftCommandOptions & { tree: string; add?: RoleKey[]; remove?: RoleKey[]; threshold?: RoleNumbers },
): void {
  const { add = [], remove = [], threshold = {} } = options;
  draftRoot(options.tree, { add, remove, thresholds: threshold }, settingsOf(options));
  reportDraft(options.draft, options.json, options.tree);
}

interface OfficerOptions extends DraftCommandOptions {
  tree: string;
  authority: string;
  officer: string;
}

type Officer = AuthoritiesFile['authorities'][number]['officers'][number];

/** `warta trust add-key`. */
function draftOfficer(
  options: OfficerOptions &
    Pick<Officer, 'name' | 'role' | 'may'> & { key: string; from?: number; until?: number; replaces?: string },
): void {
  const from = options.from ?? nowSeconds();
  const officer: Officer = {
    id: options.officer,
    name: options.name,
    role: options.role,
    publicKey: options.key,
    validFrom: formatInstant(from),
    validUntil: formatInstant(options.until ?? from + OFFICER_DAYS * DAY_SECONDS),
    may: options.may,
  };
  draftChange(options, (file) =>
    addOfficer<Officer, AuthoritiesFile>(file, options.authority, officer, options.replaces),
  );
}

/** `warta trust revoke-key`. */
function draftRevocation(options: OfficerOptions & { at?: number }): void {
  const at = formatInstant(options.at ?? nowSeconds());
  draftChange(options, (file) => revokeOfficer(file, options.authority, options.officer, at));
}

/** Drafts a changed authorities.json, one version above the published one, and shows what to do with it. */
function draftChange(
  options: DraftCommandOptions & { tree: string },
  change: (file: AuthoritiesFile) => AuthoritiesFile,
): void {
  const { published, current } = readTexts(options.tree, options.draft);
  const before = parseAuthorities(published.toString()).file;
  const changed = { ...change(parseAuthorities(current.toString()).file), version: before.version + 1 };
  const text = `${JSON.stringify(changed, null, 2)}\n`;
  requireHistory(before, parseAuthorities(text).file);
  draftAuthorities(options.tree, Buffer.from(text), settingsOf(options));
  reportDraft(options.draft, options.json, options.tree);
}

/** `warta trust sign`. */
function signFile(file: string, options: { key: string[]; merge: string[]; json?: boolean }, command: Command): void {
  if (options.key.length + options.merge.length === 0)
    command.error('error: give --key, or --merge with a signed copy');
  const draft = readDraft(dirname(file));
  // Before anything is signed, whoever holds the key sees what it is.
  if (!options.json) console.log(`${composeRows(describeChanges(draft))}\n`);
  const signers = options.key.map(readPrivateKey);
  signDraftFile(file, signers, options.merge);
  const signed = readDraft(dirname(file));
  if (options.json) printJson(composeDraftJson(signed));
  else console.log(composeRows([...describeFiles(signed), nextRow(signed)]));
}

/** `warta trust show`. */
function showFolder(folder: string, { json }: { json?: boolean }): void {
  if (existsSync(join(folder, 'timestamp.json'))) reportTree(folder, json);
  else reportDraft(folder, json);
}

/** Prints a draft: what it changes, who has signed, what comes next. */
function reportDraft(folder: string, json = false, tree?: string): void {
  const draft = readDraft(folder);
  if (json) printJson(composeDraftJson(draft, tree));
  else console.log(composeRows([...describeChanges(draft), ...describeFiles(draft), nextRow(draft, tree)]));
}

function composeDraftJson(draft: TrustDraft, tree?: string) {
  const files = (['root', 'targets'] as const).flatMap((role) => {
    const file = draft[role];
    if (file === undefined) return [];
    const { version, expires } = file.metadata.signed;
    const requirements = requirementsOf(draft, role).map(({ signed, open, ...rest }) => ({
      ...rest,
      signed: signed.map(showKey),
      open: open.map(showKey),
    }));
    return [{ role, file: file.path, version, expires, requirements }];
  });
  return { draft: draft.folder, files, changes: listAllChanges(draft), next: nextOf(draft, tree) };
}

/** Spells a key as `warta key show` does. */
function showKey(key: Key): string {
  return Buffer.from(key.keyVal.public, 'hex').toString('base64');
}

/** Says what would be in force after a draft that is not now. */
function describeChanges(draft: TrustDraft): Row[] {
  const changes = listAllChanges(draft).map(escapeControls);
  return [
    ['draft', paint('cyan', draft.folder)],
    ['changes', changes.join('\n') || 'none: a new term only'],
  ];
}

function listAllChanges(draft: TrustDraft): string[] {
  return [...listHolderChanges(draft), ...listTextChanges(draft)];
}

/** Lists keys and thresholds that a new root brings, and those it ends. */
function listHolderChanges({ root, published }: TrustDraft): string[] {
  if (root === undefined) return [];
  return TRUST_ROLES.flatMap((role) => {
    const now = holdersOf(root.metadata, role);
    const before = published && holdersOf(published.root, role);
    const changes = [...now.keys.difference(before?.keys ?? new Set())].map((key) => `${role}: + ${key}`);
    changes.push(...[...(before?.keys.difference(now.keys) ?? [])].map((key) => `${role}: - ${key}`));
    if (now.threshold !== before?.threshold) changes.push(`${role}: ${now.threshold} of ${now.keys.size} must sign`);
    return changes;
  });
}

function holdersOf({ signed }: MetadataOf['root'], role: TrustRole) {
  const { keyIDs, threshold } = signed.roles[role];
  return { keys: new Set(keyIDs.map((id) => showKey(signed.keys[id]))), threshold };
}

/** Lists what a new authorities.json changes. */
function listTextChanges(draft: TrustDraft): string[] {
  const text = readDraftText(draft);
  if (text === undefined) return [];
  const none: Pick<AuthoritiesFile, 'version' | 'authorities'> = { version: 0, authorities: [] };
  const before = draft.published ? parseAuthorities(draft.published.authorities.toString()).file : none;
  return listChanges(before, parseAuthorities(text.toString()).file);
}

/** Says of each file who has signed and how many are missing. */
function describeFiles(draft: TrustDraft): Row[] {
  return (['root', 'targets'] as const).flatMap((role): Row[] => {
    const file = draft[role];
    if (file === undefined) return [];
    const { version, expires } = file.metadata.signed;
    const lines = requirementsOf(draft, role).map(describeRequirement);
    return [[`${role} ${version}`, [`${paint('cyan', file.path)}, until ${expires}`, ...lines].join('\n')]];
  });
}

function describeRequirement(requirement: Requirement): string {
  const { rootVersion, threshold, signed, isNeeded } = requirement;
  const lack = lackOf(requirement);
  const count = `${signed.length} of ${threshold} signatures by keys of root ${rootVersion}`;
  if (lack === 0) return paint('green', `✓ ${count}`);
  return paint('yellow', `… ${count}${isNeeded ? '' : ' (wanted, unless these keys are lost)'}`);
}

/** Returns the commands that come next for a draft; those that sign are for holders with a copy of the folder. */
function nextOf(draft: TrustDraft, tree = '<trust folder>'): string[] {
  const open = (['root', 'targets'] as const).filter((role) => isLacking(draft, role));
  if (open.length > 0) return open.map((role) => `warta trust sign ${draft[role]!.path} --key <key file>`);
  return [`warta trust publish --draft ${draft.folder} --tree ${tree} --online-keys <key files>`];
}

function nextRow(draft: TrustDraft, tree?: string): Row {
  return [
    'next',
    nextOf(draft, tree)
      .map((command) => paint('green', command))
      .join('\n'),
  ];
}

function isLacking(draft: TrustDraft, role: OfflineRole): boolean {
  return requirementsOf(draft, role).some((requirement) => requirement.isNeeded && lackOf(requirement) > 0);
}

/** `warta trust publish`. */
function publish(options: {
  tree: string;
  onlineKeys: string[];
  draft?: string;
  term?: RoleNumbers;
  json?: boolean;
}): void {
  const { tree, draft } = options;
  const keys = options.onlineKeys.flatMap(readOnlineKeys);
  const settings = { folder: tree, nowSeconds: nowSeconds(), termDays: options.term };
  if (draft === undefined) requireState(tree);
  const publication =
    draft === undefined ? publishChange({}, keys, settings) : publishDraft(readDraft(draft), keys, settings);
  reportTree(tree, options.json, publication);
}

/** Reads a key file, or every *.pem of a folder. */
function readOnlineKeys(path: string): KeyObject[] {
  if (!existsSync(path)) throw new WartaError('key-invalid', `${path} does not exist`);
  if (!statSync(path).isDirectory()) return [readPrivateKey(path)];
  const names = readdirSync(path).filter((name) => name.endsWith('.pem'));
  return names.map((name) => readPrivateKey(join(path, name)));
}

/** Prints what a tree holds and until when. */
function reportTree(tree: string, json = false, publication?: Publication): void {
  const { set } = requireState(tree);
  const roles = TRUST_ROLES.map((role) => ({
    role,
    version: set[role].signed.version,
    expires: set[role].signed.expires,
  }));
  const pin = hash('sha256', readFileSync(join(tree, '1.root.json')), 'hex');
  const first = roles.toSorted((one, other) => one.expires.localeCompare(other.expires))[0];
  const next = `warta trust publish --tree ${tree} --online-keys <key files>`;
  if (json) {
    printJson({ tree, roles, pinnedRootSha256: pin, written: publication?.written, next: [next] });
    return;
  }
  const rows: Row[] = [['tree', paint('cyan', tree)]];
  if (publication) rows.push(['written', publication.written.map((path) => basename(path)).join('\n') || 'nothing']);
  rows.push(...roles.map(({ role, version, expires }): Row => [role, `version ${version}, until ${expires}`]));
  rows.push(['pin', `${join(tree, '1.root.json')} at every node, by hand (sha256 ${pin})`]);
  rows.push(['next', `before ${first.expires} (${first.role}): ${paint('green', next)}`]);
  console.log(composeRows(rows));
}
