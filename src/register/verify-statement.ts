import { type ErrorCode, WartaError } from '../base/errors.ts';
import { type AnnexLabel, type AnnexTerms, type EntryTable, isExclusion, type OnEntries, parseAnnex } from './annex.ts';
import { type Authorities, type Authority, type Officer, RELEASE_TYPES, type StatementType } from './authorities.ts';
import { hashHex, parseCanonical } from './canonical.ts';
import { type Envelope, findSigners, type KnownSignatures, parseEnvelope } from './envelope.ts';
import { parseWith } from './fields.ts';
import type { Instrument, Pack } from './pack.ts';
import {
  ANNEX_MAX_BYTES,
  type Change,
  type KeptChange,
  type KeptNotice,
  type KeptStatement,
  type Notice,
  reachOf,
  readCommonHeartbeat,
  type Statement,
  statementSchema,
} from './statement.ts';
import { DAY_SECONDS, NO_END_SECONDS, secondsOf } from './time.ts';

/** How far a signer's clock may be ahead of the log's. */
export const CLOCK_SKEW_SECONDS = 300;

/**
 * A statement as a source gives it: a directory or a log. `integratedAtSeconds` is when the log took it; a directory knows
 * no such time, and the statement's own `signedAt` is used. Mind that then the signer alone says when a key was used, so a
 * directory is only as good as who may write to it.
 */
export interface StatementLeaf {
  readonly name: string;
  /** May be a getter that reads the bytes from elsewhere: it is asked once at most, and not for what a memo knows. */
  readonly envelope: Uint8Array;
  readonly integratedAtSeconds?: number;
  /** Why the source could not read it; it is then void. */
  readonly unreadable?: string;
  /**
   * What stands for exactly this envelope and this time for as long as the source lives: a digest of the leaf, or its
   * number in a log, whose leaves never change. A leaf without one is verified anew at every reading.
   */
  readonly key?: string;
  /** Why the source holds it back: it counts only if it is a release, otherwise it is void with this code and reason. */
  readonly held?: ErrorCode;
  readonly heldReason?: string;
  /** `envelope` as parsed, when that was done before. */
  readonly parsed?: Envelope;
}

/** Where annexes are read from, by digest. `undefined` when there is none; must not return more than `maxBytes` + 1. */
export interface AnnexSource {
  read(digest: string, maxBytes: number): Uint8Array | undefined;
}

/** Gives the verified entries of an annex. */
export interface EntryReader {
  /**
   * Returns the entries of the annex with that digest.
   *
   * @throws {WartaError} `annex-missing`, `-oversized`, `-malformed`, `-mismatch`.
   */
  readEntries(terms: AnnexTerms, onEntries?: OnEntries): EntryTable;
}

/** What statements are judged by. */
export interface TrustContext {
  readonly authorities: Authorities;
  readonly pack: Pack;
  /** Signatures of `parsed` envelopes that were verified before. */
  readonly known?: KnownSignatures;
}

/** A statement whose signatures, scope and dates were found good; whole, or what a memo keeps of it. */
export interface VerifiedStatement<S extends KeptStatement = Statement> {
  /** Lower-case hexadecimal SHA-256 of the payload. */
  readonly id: string;
  /** The name of the leaf it came from. */
  readonly name: string;
  readonly statement: S;
  readonly integratedAtSeconds: number;
  readonly signedAtSeconds: number;
  readonly authority: Authority;
  /** Ids of the officers who signed, one for each distinct key. */
  readonly signers: readonly string[];
  /** When a notice takes effect, and when it ends at the latest by its term and its instrument's; 0 for other types. */
  readonly startSeconds: number;
  readonly endSeconds: number;
  /** The entries of a notice once its annex was verified. */
  readonly entries?: EntryTable;
}

/** A verified notice. */
export type VerifiedNotice = VerifiedStatement<Notice>;

/** A verified change. */
export type VerifiedChange = VerifiedStatement<Change>;

/** A verified statement, whole or as a memo keeps it: all that folding and compiling ask for. */
export type KnownStatement = VerifiedStatement<KeptStatement>;
export type KnownNotice = VerifiedStatement<KeptNotice>;
export type KnownChange = VerifiedStatement<KeptChange>;

/** The outcome for one leaf. `code` and `reason` say why a void statement is void. */
export interface Verdict {
  readonly name: string;
  readonly ok: boolean;
  readonly id?: string;
  readonly type?: StatementType;
  readonly code?: ErrorCode;
  readonly reason?: string;
}

/** Finds a statement that others may name, by id. */
export type FindStatement = (id: string) => KnownStatement | undefined;

/** Whether a verified statement is a notice. */
export function isNotice(verified: VerifiedStatement): verified is VerifiedNotice;
export function isNotice(verified: KnownStatement): verified is KnownNotice;
export function isNotice(verified: KnownStatement): boolean {
  return verified.statement.type === 'notice';
}

/** Whether a verified statement changes others. */
export function isChange(verified: VerifiedStatement): verified is VerifiedChange;
export function isChange(verified: KnownStatement): verified is KnownChange;
export function isChange(verified: KnownStatement): boolean {
  return verified.statement.type !== 'notice' && verified.statement.type !== 'heartbeat';
}

/**
 * Verifies one statement alone: everything `checkStatement` does, then its annex when `annexes` is given, then what it
 * names when `find` is given. Never throws for what the leaf holds.
 */
export function verifyStatement(
  leaf: StatementLeaf,
  context: TrustContext & { annexes?: AnnexSource; find?: FindStatement },
): { verdict: Verdict; verified?: VerifiedStatement } {
  let verified: VerifiedStatement | undefined;
  try {
    verified = checkStatement(leaf, context);
    checkHeld(leaf, verified.statement.type);
    if (context.annexes && isNotice(verified)) verified = attachAnnex(verified, readDirectly(context.annexes));
    if (context.find) checkTargets(verified, context.find);
    return { verdict: accept(verified), verified };
  } catch (error) {
    return { verdict: refuse(leaf.name, error, verified) };
  }
}

/** The verdict on a good statement. */
export function accept(verified: KnownStatement): Verdict {
  return { name: verified.name, ok: true, id: verified.id, type: verified.statement.type };
}

/**
 * The verdict on a void statement. Anything but a `WartaError` is a fault of ours and is thrown on, and so is a disk that
 * cannot be read: that says nothing of the statement, and would end its block.
 */
export function refuse(name: string, error: unknown, verified?: KnownStatement): Verdict {
  if (!(error instanceof WartaError) || error.code === 'store-failed') throw error;
  const { code } = error;
  // A fault in an entry quotes it, and reasons go into logs and tickets.
  const isSealed = verified?.statement.type === 'notice' && verified.statement.annex.sealed;
  const reason = isSealed && code === 'annex-malformed' ? 'an entry of its sealed annex is not good' : error.message;
  return { name, ok: false, id: verified?.id, type: verified?.statement.type, code, reason };
}

/**
 * Judges a statement by itself, cheapest and most basic first: size, envelope, canonical form, schema, the authority and
 * its scope, signatures, dates.
 *
 * @throws {WartaError} with the one reason it is void.
 */
export function checkStatement(leaf: StatementLeaf, context: TrustContext): VerifiedStatement {
  return checkOpened(leaf, openStatement(leaf), context);
}

/** What a leaf says, whoever signed it. */
export interface OpenedStatement {
  readonly envelope: Envelope;
  readonly statement: Statement;
}

/**
 * Opens a statement and judges its form alone: size, envelope, canonical form, schema.
 *
 * @throws {WartaError} with the one reason it is void.
 */
export function openStatement(leaf: StatementLeaf): OpenedStatement {
  if (leaf.unreadable !== undefined) {
    throw new WartaError(
      'statement-unreadable',
      `it cannot be read (${leaf.unreadable}): check the file and its owner`,
    );
  }
  const envelope = leaf.parsed ?? parseEnvelope(leaf.envelope);
  return { envelope, statement: parseStatement(envelope.payload) };
}

/**
 * Judges a statement whose form is good: the authority and its scope, signatures, dates.
 *
 * @throws {WartaError} with the one reason it is void.
 */
export function checkOpened(
  leaf: StatementLeaf,
  { envelope, statement }: OpenedStatement,
  context: TrustContext,
): VerifiedStatement {
  const authority = checkAuthority(statement, context);
  const signedAtSeconds = secondsOf(statement.signedAt);
  const integratedAtSeconds = leaf.integratedAtSeconds ?? signedAtSeconds;
  const candidates = authority.officers.filter((officer) => maySign(officer, statement.type, integratedAtSeconds));
  const signers = findSigners(envelope, candidates, context.known);
  const threshold = requiredSignatures(statement.type, authority, context.pack);
  if (signers.length < threshold) {
    throw new WartaError(
      'statement-unsigned',
      `${signers.length} of ${threshold} signatures by distinct keys of officers who may sign a ${statement.type}`,
    );
  }
  if (signedAtSeconds > integratedAtSeconds + CLOCK_SKEW_SECONDS) {
    throw malformed(`signedAt ${statement.signedAt} is later than its entry into the log`);
  }
  return {
    id: hashHex(envelope.payload),
    name: leaf.name,
    statement,
    integratedAtSeconds,
    signedAtSeconds,
    authority,
    signers: signers.map((officer) => officer.id),
    startSeconds: statement.type === 'notice' ? secondsOf(statement.dates.effectiveFrom) : 0,
    endSeconds: statement.type === 'notice' ? checkDates(statement, context.pack) : 0,
  };
}

/** Requires an authority that may say this, and returns it. */
function checkAuthority(statement: Statement, context: TrustContext): Authority {
  const authority = context.authorities.byId.get(statement.authority);
  if (authority === undefined) throw outOfScope(`no authority ${statement.authority} is pinned`);
  checkScope(statement, authority, context);
  return authority;
}

/**
 * Judges what a statement says before anyone has signed it: its authority, scope and dates.
 *
 * @throws {WartaError} with the one reason it would be void.
 */
export function checkContent(statement: Statement, context: TrustContext): void {
  checkAuthority(statement, context);
  if (statement.type === 'notice') checkDates(statement, context.pack);
}

/** @throws {WartaError} `statement-malformed` or `statement-not-canonical`. */
function parseStatement(payload: Buffer): Statement {
  const heartbeat = readCommonHeartbeat(payload);
  if (heartbeat !== undefined) return heartbeat;
  return parseWith(statementSchema, parseCanonical(payload), 'statement-malformed', 'statement');
}

/** Whether an officer may sign a type of statement at a time. */
export function maySign(officer: Officer, type: StatementType, atSeconds: number): boolean {
  return officer.signs.has(type) && officer.validFromSeconds <= atSeconds && atSeconds < officer.validUntilSeconds;
}

/** Returns the signatures a type needs: the pack's minimum or the authority's own threshold, whichever is more. */
export function requiredSignatures(type: StatementType, authority: Authority, pack: Pack): number {
  if (type === 'heartbeat') return 1;
  const kind = RELEASE_TYPES.has(type) ? 'release' : 'notice';
  return Math.max(pack.thresholds[kind], authority.thresholds[kind]);
}

/** Requires that what the statement is about lies within what the pack and the authority allow. */
function checkScope(statement: Statement, authority: Authority, context: TrustContext): void {
  switch (statement.type) {
    case 'notice':
      checkNoticeScope(statement, authority, context.pack);
      break;
    case 'halt':
      checkInstrument(statement.instrument, authority, context);
      break;
    case 'stay':
      if ('instrument' in statement.target) checkInstrument(statement.target.instrument, authority, context);
      break;
    case 'exemption':
      if ('instrument' in statement.scope) checkInstrument(statement.scope.instrument, authority, context);
      if ('category' in statement.scope) requireListed(context.pack.categories, statement.scope.category, 'category');
  }
}

/** Requires instrument, category, tags and approvals that this authority may use together. */
function checkNoticeScope(notice: Notice, authority: Authority, pack: Pack): void {
  const instrument = requireListed(pack.instruments, notice.instrument, 'instrument');
  requireListed(pack.categories, notice.category, 'category');
  for (const tag of notice.tags) requireListed(pack.tags, tag, 'tag');
  if (!authority.instruments.has(notice.instrument))
    throw outOfScope(`${authority.id} may not use ${notice.instrument}`);
  if (!authority.categories.has(notice.category)) throw outOfScope(`${authority.id} has no part in ${notice.category}`);
  if (!instrument.categories.includes(notice.category)) {
    throw outOfScope(`${notice.instrument} does not cover ${notice.category}`);
  }
  for (const { officer } of notice.approvals) {
    const approver = authority.officers.find(({ id }) => id === officer);
    if (approver?.role !== 'approving-officer')
      throw outOfScope(`${officer} is no approving officer of ${authority.id}`);
  }
}

/** Requires an instrument that this authority, or one whose notices it may release, uses. */
function checkInstrument(id: string, authority: Authority, context: TrustContext): void {
  requireListed(context.pack.instruments, id, 'instrument');
  for (const other of authority.mayRelease) if (context.authorities.byId.get(other)?.instruments.has(id)) return;
  throw outOfScope(`${authority.id} may not halt ${id}`);
}

/** Returns the item of the pack with that id. */
function requireListed<T extends { id: string }>(items: readonly T[], id: string, what: string): T {
  const found = items.find((item) => item.id === id);
  if (found === undefined) throw outOfScope(`the policy pack has no ${what} ${id}`);
  return found;
}

/** Requires dates in order and a term the instrument allows; returns when the notice ends at the latest. */
function checkDates(notice: Notice, pack: Pack): number {
  const { made, approved, effectiveFrom, reviewBy } = notice.dates;
  if (approved < made) throw malformed('dates.approved is before dates.made');
  if (effectiveFrom < approved) throw malformed('dates.effectiveFrom is before dates.approved');
  if (notice.signedAt < approved) throw malformed('signedAt is before dates.approved');
  if (reviewBy !== undefined && reviewBy <= effectiveFrom) throw malformed('dates.reviewBy is not after effectiveFrom');
  const start = secondsOf(effectiveFrom);
  const { term } = requireListed(pack.instruments, notice.instrument, 'instrument');
  return 'expires' in notice.term
    ? checkExpiry(notice.term.expires, start, term)
    : checkReview(reviewBy, start, term, notice.instrument);
}

/** Requires a fixed end after the start and within the instrument's longest term. */
function checkExpiry(expires: string, start: number, term: Instrument['term']): number {
  const end = secondsOf(expires);
  if (end <= start) throw malformed('term.expires is not after dates.effectiveFrom');
  if (end > start + term.maxDays * DAY_SECONDS) {
    throw outOfScope(`term.expires is more than the instrument's ${term.maxDays} days after dates.effectiveFrom`);
  }
  return end;
}

/** Requires that an order until revoked is allowed and has a date of review that is near enough. */
function checkReview(
  reviewBy: string | undefined,
  start: number,
  term: Instrument['term'],
  instrument: string,
): number {
  if (term.untilRevoked === undefined) throw outOfScope(`${instrument} may not run until revoked: give term.expires`);
  if (reviewBy === undefined) throw malformed('dates.reviewBy is required for a notice until revoked');
  if (secondsOf(reviewBy) > start + term.untilRevoked.maxReviewDays * DAY_SECONDS) {
    throw outOfScope(`dates.reviewBy is more than the instrument's ${term.untilRevoked.maxReviewDays} days away`);
  }
  return NO_END_SECONDS;
}

/** Refuses a leaf that its source holds back, unless it is a release: nothing may keep a block from ending. */
export function checkHeld(leaf: StatementLeaf, type: StatementType): void {
  if (leaf.held === undefined || RELEASE_TYPES.has(type)) return;
  throw new WartaError(leaf.held, leaf.heldReason ?? 'its source holds it back');
}

/** Reads annexes from a source and verifies each. */
export function readDirectly(annexes: AnnexSource): EntryReader {
  return {
    readEntries: (terms, onEntries) => parseAnnex(readAnnex(annexes, terms), terms, onEntries),
  };
}

/** @throws {WartaError} `annex-missing`. */
export function readAnnex(annexes: AnnexSource, { digest, sizeBytes }: AnnexLabel): Uint8Array {
  const bytes = annexes.read(digest, Math.min(sizeBytes, ANNEX_MAX_BYTES));
  if (bytes === undefined) throw new WartaError('annex-missing', `no annex ${digest}: fetch it beside the notice`);
  return bytes;
}

/**
 * Gives a notice its entries.
 *
 * @throws {WartaError} what reading the annex throws, or `statement-out-of-scope` for entries of a scope the authority may
 *   not use.
 */
export function attachAnnex<N extends KnownNotice>(notice: N, annexes: EntryReader, onEntries?: OnEntries): N {
  const entries = annexes.readEntries({ ...notice.statement.annex, endSeconds: notice.endSeconds }, onEntries);
  for (const scope of entries.scopes) {
    if (!notice.authority.scopes.has(scope)) throw outOfScope(`${notice.authority.id} may not block by ${scope}`);
  }
  // Closing HTTPS to a host is blocking it.
  if (notice.statement.https !== undefined && !notice.authority.scopes.has('exact')) {
    throw outOfScope(`${notice.authority.id} may not block by exact, which https: block-host does`);
  }
  return notice.entries === entries ? notice : { ...notice, entries };
}

/**
 * Requires that everything a statement names exists and is its authority's to change. A statement's id is a digest, so what
 * it names was there before it; no order of files or of clocks is needed.
 *
 * @throws {WartaError} `statement-target-unknown` or `statement-out-of-scope`.
 */
export function checkTargets(verified: KnownStatement, find: FindStatement): void {
  if (isNotice(verified)) {
    for (const id of verified.statement.supersedes ?? []) requireOwn(verified, requireNotice(id, find));
    return;
  }
  if (!isChange(verified)) return;
  if (verified.statement.type === 'resumption') {
    checkResumption(verified, verified.statement.target, find);
    return;
  }
  const reach = reachOf(verified.statement);
  if (reach?.notice === undefined) return;
  const notice = requireNotice(reach.notice, find);
  if (!verified.authority.mayRelease.has(notice.statement.authority)) {
    throw outOfScope(`${verified.authority.id} may not change a notice of ${notice.statement.authority}`);
  }
  if (notice.entries !== undefined) checkEntries(verified.statement, reach.entries ?? [], notice.entries);
}

/** Requires that a resumption names a stay or a halt of its own authority. */
function checkResumption(verified: KnownStatement, id: string, find: FindStatement): void {
  const target = find(id);
  if (target?.statement.type !== 'stay' && target?.statement.type !== 'halt') {
    throw new WartaError('statement-target-unknown', `no stay or halt ${id} is known`);
  }
  requireOwn(verified, target);
}

/** Returns the notice with that id. */
function requireNotice(id: string, find: FindStatement): KnownNotice {
  const target = find(id);
  if (target !== undefined && isNotice(target)) return target;
  throw new WartaError('statement-target-unknown', `no notice ${id} is known`);
}

/** Requires that both statements are of one authority: only releases may reach further. */
function requireOwn(verified: KnownStatement, target: KnownStatement): void {
  if (verified.authority.id === target.authority.id) return;
  throw outOfScope(`${verified.authority.id} may not change a statement of ${target.authority.id}`);
}

/** Requires that the entries a change names are the notice's, and that what it excludes lies below them. */
function checkEntries(change: KeptChange, ids: readonly string[], entries: EntryTable): void {
  const missing = ids.find((id) => entries.indexOf(id) < 0);
  if (missing !== undefined) throw new WartaError('statement-target-unknown', `the notice has no entry ${missing}`);
  if (change.type !== 'variation') return;
  for (const { entry, names } of change.exclude ?? []) {
    const at = entries.indexOf(entry);
    const apex = entries.name(at);
    const stray = entries.scope(at) === 'subtree' ? names.find((name) => !isExclusion(name, apex)) : names[0];
    if (stray !== undefined) throw malformed(`exclude: ${stray} is not below a subtree entry ${entry}`);
  }
}

/** The refusal of something its signers may not do. */
function outOfScope(reason: string): WartaError {
  return new WartaError('statement-out-of-scope', reason);
}

/** The refusal of a statement that contradicts itself. */
function malformed(reason: string): WartaError {
  return new WartaError('statement-malformed', reason);
}
