import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import {
  type AnnexTerms,
  annexPath,
  checkExpiries,
  checkSize,
  type EntryTable,
  parseAnnex,
} from '../../register/annex.ts';
import { type Authorities, RELEASE_TYPES } from '../../register/authorities.ts';
import { type Envelope, parseEnvelope } from '../../register/envelope.ts';
import { parseLeaf } from '../../register/leaf.ts';
import type { Pack } from '../../register/pack.ts';
import { SignaturePool } from '../../register/signature-pool.ts';
import { keepStatement, type Notice } from '../../register/statement.ts';
import { secondsOf } from '../../register/time.ts';
import {
  attachAnnex,
  checkStatement,
  isNotice,
  type KnownNotice,
  type VerifiedStatement,
} from '../../register/verify-statement.ts';
import type { NoticeOutline } from './register-view.ts';
import type { RollEntry } from './statement-roll.ts';
import { Turns } from './turns.ts';

/** Entries that were read, by the digest of their annex. */
export type AnnexTables = Map<string, { readonly entries: EntryTable; readonly sizeBytes: number }>;

/** What leaves are judged by. */
export interface JudgeOptions {
  readonly tree: LogStorage;
  readonly sealedTree?: LogStorage;
  readonly authorities: Authorities;
  readonly pack: Pack;
  /** Added to. */
  readonly tables: AnnexTables;
}

/** A leaf taken apart, its signatures verified. */
interface OpenedLeaf {
  readonly index: number;
  readonly parsed: Envelope;
  readonly integratedAtSeconds: number;
  readonly isBackdated: boolean;
}

const NOTHING = new Uint8Array(0);

/**
 * Judges leaves of a log in their order, each by itself, as a node does: what is void is left out, and so is an addition that
 * was integrated at an earlier time than a leaf before it. Signatures are verified on other threads, and long work is cut
 * into turns.
 */
export class LeafJudge {
  readonly #options: JudgeOptions;
  readonly #turns = new Turns();
  readonly #shared = new Map<string, unknown>();
  /** Paths of annexes that should be there and are not. */
  readonly #missing = new Set<string>();
  #newestSeconds = 0;
  #heartbeatSeconds = 0;

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /** When the newest leaf was integrated, and the newest heartbeat; 0 without one. */
  get newestSeconds(): number {
    return this.#newestSeconds;
  }

  get heartbeatSeconds(): number {
    return this.#heartbeatSeconds;
  }

  /** Whether an annex has come that was missing. */
  async findsAnnexes(): Promise<boolean> {
    const { tree, sealedTree } = this.#options;
    for (const path of this.#missing) {
      const storage = path.startsWith('sealed/') ? sealedTree : tree;
      if ((await storage?.read(path)) !== undefined) return true;
    }
    return false;
  }

  /**
   * Returns the good statements among leaves, the first of which has the number `first`, and notices whose annex is no good.
   * When it fails, the same leaves can be judged again.
   *
   * @throws {WartaError} `store-failed`.
   */
  async judge(leaves: readonly Uint8Array[], first: number, ignored: ReadonlySet<number>): Promise<RollEntry[]> {
    const newest = this.#newestSeconds;
    try {
      return await this.#judge(leaves, first, ignored);
    } catch (error) {
      this.#newestSeconds = newest;
      throw error;
    }
  }

  async #judge(leaves: readonly Uint8Array[], first: number, ignored: ReadonlySet<number>): Promise<RollEntry[]> {
    const known = new SignaturePool(this.#options.authorities);
    const opened: OpenedLeaf[] = [];
    for (const [at, leaf] of leaves.entries()) {
      const one = this.#open(leaf, first + at);
      if (one !== undefined && !ignored.has(one.index)) opened.push(one);
      await this.#turns.share();
    }
    await Promise.all(opened.map(({ parsed }) => known.verifyAhead(parsed)));
    const good: RollEntry[] = [];
    for (const leaf of opened) {
      const judged = this.#check(leaf, known);
      if (judged !== undefined) good.push(judged);
      await this.#turns.share();
    }
    return this.#attachAnnexes(good);
  }

  #open(bytes: Uint8Array, index: number): OpenedLeaf | undefined {
    return ifGood(() => {
      const { envelope, integratedAtSeconds } = parseLeaf(bytes);
      const isBackdated = integratedAtSeconds < this.#newestSeconds;
      this.#newestSeconds = Math.max(this.#newestSeconds, integratedAtSeconds);
      return { index, parsed: parseEnvelope(envelope), integratedAtSeconds, isBackdated };
    });
  }

  #check({ index, parsed, integratedAtSeconds, isBackdated }: OpenedLeaf, known: SignaturePool): RollEntry | undefined {
    const { authorities, pack } = this.#options;
    const leaf = { name: `#${index}`, envelope: NOTHING, parsed, integratedAtSeconds };
    const verified = ifGood(() => checkStatement(leaf, { authorities, pack, known }));
    if (verified === undefined) return undefined;
    const { statement } = verified;
    if (isBackdated && !RELEASE_TYPES.has(statement.type)) return undefined;
    if (statement.type === 'heartbeat') {
      this.#heartbeatSeconds = integratedAtSeconds;
      return undefined;
    }
    const kept = { ...verified, statement: keepStatement(statement, (value) => this.#share(value)) };
    return { index, verified: kept, outline: this.#outline(verified) };
  }

  #outline({ statement }: VerifiedStatement): NoticeOutline | undefined {
    if (statement.type !== 'notice') return undefined;
    const { requestedBy, draftedBy, tags, dates }: Notice = statement;
    return this.#share({
      draftedBy,
      tags,
      ...(requestedBy === undefined ? {} : { agency: requestedBy }),
      ...(dates.complyBy === undefined ? {} : { complyBySeconds: secondsOf(dates.complyBy) }),
      ...(dates.reviewBy === undefined ? {} : { reviewBySeconds: secondsOf(dates.reviewBy) }),
    });
  }

  /** Returns the first value equal to this one: what many notices have in common is kept once. */
  #share<T>(value: T): T {
    const key = JSON.stringify(value);
    if (!this.#shared.has(key)) this.#shared.set(key, value);
    return this.#shared.get(key) as T;
  }

  /** Gives notices their entries. The files are read together, as a store may be far away. */
  async #attachAnnexes(good: readonly RollEntry[]): Promise<RollEntry[]> {
    const bytes = await Promise.all(good.map(({ verified }) => isNotice(verified) && this.#readAnnex(verified)));
    const attached: RollEntry[] = [];
    for (const [at, one] of good.entries()) {
      const { verified } = one;
      attached.push(isNotice(verified) ? { ...one, ...this.#attach(verified, bytes[at] || undefined) } : one);
      await this.#turns.share();
    }
    return attached;
  }

  /** Returns the bytes of an annex that was not read before; `undefined` when it is not at hand. */
  async #readAnnex({ statement: { annex } }: KnownNotice): Promise<Uint8Array | undefined> {
    const { tree, sealedTree, tables } = this.#options;
    if (tables.has(annex.digest)) return undefined;
    return (annex.sealed ? sealedTree : tree)?.read(annexPath(annex.digest, annex.sealed));
  }

  #attach(notice: KnownNotice, bytes: Uint8Array | undefined): { verified: KnownNotice; isVoid?: boolean } {
    const { digest, sealed } = notice.statement.annex;
    if (bytes === undefined && !this.#options.tables.has(digest)) {
      this.#missing.add(annexPath(digest, sealed));
      return { verified: notice };
    }
    const verified = ifGood(() => attachAnnex(notice, { readEntries: (terms) => this.#readEntries(terms, bytes) }));
    return verified === undefined ? { verified: notice, isVoid: true } : { verified };
  }

  /** One digest is one text, but what else a notice says of it may be false. */
  #readEntries(terms: AnnexTerms, bytes: Uint8Array | undefined): EntryTable {
    const { tables } = this.#options;
    const known = tables.get(terms.digest);
    if (known === undefined) {
      const entries = parseAnnex(bytes!, terms);
      tables.set(terms.digest, { entries, sizeBytes: terms.sizeBytes });
      return entries;
    }
    checkSize(known.sizeBytes, terms);
    if (known.entries.count !== terms.entries) {
      throw new WartaError('annex-mismatch', `the annex has ${known.entries.count} entries, not ${terms.entries}`);
    }
    checkExpiries(known.entries, terms.endSeconds);
    return known.entries;
  }
}

/** Returns what a check gives, `undefined` when it refuses. A disk that cannot be read says nothing of a statement. */
function ifGood<T>(check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof WartaError) || error.code === 'store-failed') throw error;
    return undefined;
  }
}
