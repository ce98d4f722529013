import { WartaError } from '../base/errors.ts';
import { type Authorities, parseAuthorities } from '../register/authorities.ts';
import { parseEnvelope } from '../register/envelope.ts';
import { type FoldedNotice, fold } from '../register/fold.ts';
import { digestList } from '../register/list-digest.ts';
import type { Pack } from '../register/pack.ts';
import { findMissingAnnexes, readRegister } from '../register/read-register.ts';
import { type MissingAnnex, RegisterMemo } from '../register/register-memo.ts';
import { type KeptStatement, keepStatement, type Notice, reachOf, type Statement } from '../register/statement.ts';
import {
  checkStatement,
  isChange,
  isNotice,
  type KnownNotice,
  type KnownStatement,
  type StatementLeaf,
  type Verdict,
} from '../register/verify-statement.ts';
import type { RegisterArchive } from '../sync/register-archive.ts';
import { SealedEntries } from './sealed-entries.ts';
import { peekStatement, type StatementClaims } from './statement-peek.ts';

/** What an audit needs of an opened register; its checkpoint, leaves and trust are proven from the pinned root. */
export type AuditArchive = Pick<
  RegisterArchive,
  'policy' | 'trust' | 'note' | 'opened' | 'incidents' | 'leaf' | 'leaves' | 'annexes'
>;

/** A licence number nobody has: what binds it binds everybody. */
export const NOBODY = '-';

/** A policy pack, its text and its digest. */
export interface PinnedPack {
  readonly pack: Pack;
  readonly sha256: string;
  readonly bytes: Uint8Array;
}

/** The outcome for one leaf of the log, with what the statement says of itself when it is void. */
export interface LeafVerdict extends Verdict {
  readonly index: number;
  readonly integratedAtSeconds: number;
  readonly reference?: string;
  readonly signers?: readonly string[];
  /** A good notice whose annex is sealed and not at hand: its entries were not checked. */
  readonly unread?: boolean;
  readonly claims?: StatementClaims;
}

/** What reading takes. */
export interface ReadOptions {
  /** Leaves from the start of the log; all of them unless given. */
  readonly size?: number;
  /** Annexes of notices whose term ended by then are not read, as nothing of them can be in force. */
  readonly annexesFromSeconds?: number;
  /** Passes over heartbeats, which decide no rule: their signatures are not checked, and they have no verdict. */
  readonly rulesOnly?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/** What verifying ahead takes. */
export interface VerifyOptions extends Pick<ReadOptions, 'rulesOnly'> {
  /** Called now and then with how many statements were verified. */
  readonly onStatements?: (done: number) => void;
}

/** The first leaves of the log, verified. */
export class AuditReading {
  /** One verdict for each leaf, in the log's order; none for heartbeats in a reading for rules only. */
  readonly verdicts: readonly LeafVerdict[];
  /** Good statements in the log's order. Sealed notices whose annex is not at hand are among them. */
  readonly statements: readonly KnownStatement[];

  constructor(verdicts: readonly LeafVerdict[], statements: readonly KnownStatement[]) {
    this.verdicts = verdicts;
    this.statements = statements;
  }

  /** Finds a good notice by its id. */
  findNotice(id: string): KnownNotice | undefined {
    return this.statements.find((one): one is KnownNotice => one.id === id && isNotice(one));
  }

  /** Returns the notices in force for a licensee at a time or later, as far as these leaves tell. */
  fold(licensee: string, atSeconds: number): FoldedNotice<KnownNotice>[] {
    return fold(this.statements, licensee, atSeconds);
  }
}

/** Forgets nothing from one reading to the next: an audit reads now more leaves of one log, now fewer. */
class LastingMemo extends RegisterMemo<KeptStatement> {
  override end(): void {}
}

/** A register to audit: its archive, and the policy pack that its authorities pin. Everything it tells is verified. */
export class AuditRegister {
  readonly archive: AuditArchive;
  readonly authorities: Authorities;
  readonly pinned: PinnedPack;
  /** Leaves that the log shows without enough witnesses: nothing is read from them. */
  readonly unwitnessed: number;
  readonly #leaves: readonly StatementLeaf[];
  readonly #memo = new LastingMemo(keepForReports);
  readonly #indexByName: ReadonlyMap<string, number>;
  /** For each leaf the latest time of all leaves up to it: what a reader of the log then knew. */
  readonly #knownSeconds: readonly number[];
  /** The last readings: of all leaves, and of fewer. Every one holds a verdict for each leaf, so not all are kept. */
  readonly #readings = new Map<'whole' | 'part', { key: string; reading: AuditReading }>();

  /** @throws {WartaError} `pack-invalid` when none of the packs is the one that the authorities pin. */
  constructor(archive: AuditArchive, packs: readonly PinnedPack[]) {
    this.authorities = parseAuthorities(archive.trust.authorities);
    const { policyPack } = this.authorities;
    const pinned = packs.find(({ sha256 }) => sha256 === policyPack.sha256);
    if (pinned === undefined) {
      throw new WartaError(
        'pack-invalid',
        `the register pins policy pack ${policyPack.id} with digest ${policyPack.sha256}: give that file with --pack`,
      );
    }
    this.archive = archive;
    this.pinned = pinned;
    const leaves = [...archive.leaves()];
    this.#leaves = leaves.slice(0, archive.opened.checkpoint.size);
    this.unwitnessed = leaves.length - this.#leaves.length;
    this.#indexByName = new Map(this.#leaves.map(({ name }, index) => [name, index]));
    let latest = 0;
    this.#knownSeconds = this.#leaves.map(({ integratedAtSeconds = 0 }) => {
      latest = Math.max(latest, integratedAtSeconds);
      return latest;
    });
  }

  get size(): number {
    return this.#leaves.length;
  }

  /** Position in the log of the leaf with that name. */
  indexOf(name: string): number {
    return this.#indexByName.get(name)!;
  }

  /** The leaf at a position. */
  leafAt(index: number): StatementLeaf {
    return this.#leaves[index]!;
  }

  /** The latest time of all leaves before a position. */
  latestBefore(index: number): number {
    return index === 0 ? 0 : this.#knownSeconds[index - 1]!;
  }

  /** Whether a leaf is dated before one that precedes it. A leaf that cannot be read has no date. */
  isBackdated(index: number): boolean {
    const { unreadable, integratedAtSeconds = 0 } = this.#leaves[index]!;
    return unreadable === undefined && integratedAtSeconds < this.latestBefore(index);
  }

  /** Number of leaves that were in the log at a time. */
  sizeAt(seconds: number): number {
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#knownSeconds[middle]! <= seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Verifies the first leaves of the log, as a node that had no more of them would. The same question again costs
   * nothing.
   */
  read(options: ReadOptions = {}): AuditReading {
    const { size = this.size, annexesFromSeconds = 0, rulesOnly = false } = options;
    const key = `${size} ${annexesFromSeconds} ${rulesOnly}`;
    const slot = size === this.size ? 'whole' : 'part';
    const known = this.#readings.get(slot);
    if (known?.key === key) return known.reading;
    const reading = this.#read({ ...options, size });
    this.#readings.set(slot, { key, reading });
    return reading;
  }

  /** Returns all that a verified notice says; of good statements only what decides about rules is kept at hand. */
  wholeNotice(notice: KnownNotice): Notice {
    const { payload } = parseEnvelope(this.leafAt(this.indexOf(notice.name)).envelope);
    return JSON.parse(payload.toString()) as Notice;
  }

  /** Digest of the rules in force, as a receipt states it. */
  digestOf(folded: readonly FoldedNotice<KnownNotice>[]): string {
    return digestList(folded, this.pinned.sha256);
  }

  /** Verifies the statements with all cores, and reads annexes meanwhile, so that the first reading finds it done. */
  verifyAhead({ rulesOnly, onStatements }: VerifyOptions = {}): Promise<void> {
    const { authorities, pinned, archive } = this;
    const context = {
      authorities,
      pack: pinned.pack,
      rulesOnly,
      nowSeconds: 0,
      annexes: archive.annexes,
      onStatements,
    };
    return this.#memo.judgeAhead(this.#leaves, context);
  }

  /** Verifies the statements and returns which annexes are not at hand; give what can be had to `takeAnnex`. */
  findMissingAnnexes(): readonly MissingAnnex[] {
    const missing = findMissingAnnexes(this.#leaves, this.archive.annexes, this.#contextOf(0, true));
    // Whoever gives an annex of someone else a wrong size must not keep it from being fetched.
    const largestLast = missing.toSorted((one, other) => one.sizeBytes - other.sizeBytes);
    return [...new Map(largestLast.map((annex) => [annex.digest, annex])).values()];
  }

  /**
   * Takes up an annex that was fetched.
   *
   * @throws {WartaError} for bytes that are not the annex.
   */
  takeAnnex(digest: string, bytes: Uint8Array): void {
    this.#memo.takeAnnex(digest, bytes);
  }

  /** What to read with. What is wanted here is the verdicts; readers fold for whom they like. */
  #contextOf(nowSeconds: number, rulesOnly?: boolean) {
    const { authorities, pinned } = this;
    return { authorities, pack: pinned.pack, licensee: NOBODY, nowSeconds, memo: this.#memo, rulesOnly };
  }

  #read({ size, annexesFromSeconds = 0, rulesOnly, onProgress }: ReadOptions & { size: number }): AuditReading {
    const leaves = this.#leaves.slice(0, size);
    const context = { ...this.#contextOf(annexesFromSeconds, rulesOnly), onProgress };
    const reading = readRegister(leaves, this.archive.annexes, context);
    const verdicts = new Map(reading.verdicts.map((verdict) => [verdict.name, verdict]));
    const unread = this.#readSealed(leaves, verdicts, reading.statements);
    const good = new Map(reading.statements.map((statement) => [statement.name, statement]));
    const described: LeafVerdict[] = [];
    leaves.forEach((leaf, index) => {
      const verdict = verdicts.get(leaf.name);
      if (verdict === undefined) return; // passed over
      described.push(describeVerdict(leaf, index, verdict, good.get(leaf.name), unread.get(leaf.name)));
    });
    const statements = [...reading.statements, ...unread.values()];
    statements.sort((one, other) => this.indexOf(one.name) - this.indexOf(other.name));
    return new AuditReading(described, statements);
  }

  /**
   * Returns the sealed notices that are void for want of their annex alone, as good ones with no entry at hand: whoever
   * audits from public files never has them, and they are in force all the same.
   */
  #readSealed(
    leaves: readonly StatementLeaf[],
    verdicts: ReadonlyMap<string, Verdict>,
    statements: readonly KnownStatement[],
  ): Map<string, KnownNotice> {
    const { authorities } = this;
    const named = indexNamedEntries(statements);
    const sealed = new Map<string, KnownNotice>();
    for (const leaf of leaves) {
      if (verdicts.get(leaf.name)?.code !== 'annex-missing') continue;
      const notice = checkStatement(leaf, { authorities, pack: this.pinned.pack });
      if (!isNotice(notice) || !notice.statement.annex.sealed) continue;
      sealed.set(leaf.name, { ...notice, entries: new SealedEntries(named.get(notice.id) ?? []) });
    }
    return sealed;
  }
}

/** Returns what is kept of a statement: reports name heartbeats too. */
function keepForReports(statement: Statement): KeptStatement {
  return statement.type === 'heartbeat' ? statement : keepStatement(statement, (value) => value);
}

/** Returns the ids of entries that changes name, by notice. */
function indexNamedEntries(statements: readonly KnownStatement[]): Map<string, string[]> {
  const named = new Map<string, string[]>();
  for (const { statement } of statements.filter(isChange)) {
    const { notice, entries } = reachOf(statement) ?? {};
    if (notice !== undefined) named.set(notice, [...(named.get(notice) ?? []), ...(entries ?? [])]);
  }
  return named;
}

function describeVerdict(
  leaf: StatementLeaf,
  index: number,
  verdict: Verdict,
  good: KnownStatement | undefined,
  unread: KnownNotice | undefined,
): LeafVerdict {
  const place = { index, integratedAtSeconds: leaf.integratedAtSeconds ?? 0 };
  const counted = good ?? unread;
  if (counted === undefined) {
    const claims = leaf.unreadable === undefined ? peekStatement(leaf.envelope) : undefined;
    return { ...verdict, ...place, reference: claims?.reference, claims };
  }
  const { id, name, statement, signers } = counted;
  const { type, reference } = statement;
  return { name, ok: true, id, type, ...place, reference, signers, unread: unread !== undefined || undefined };
}
