import { WartaError } from '../base/errors.ts';
import {
  type AnnexLabel,
  type AnnexTerms,
  checkExpiries,
  checkSize,
  type EntryTable,
  labelBytes,
  type OnEntries,
  type ProvenAnnex,
  proveAnnex,
  readEntries,
} from './annex.ts';
import { judgeAhead, SignaturePool } from './signature-pool.ts';
import { type KeptStatement, keepStatement, type Statement } from './statement.ts';
import {
  type AnnexSource,
  attachAnnex,
  checkOpened,
  isNotice,
  type KnownNotice,
  openStatement,
  readAnnex,
  refuse,
  type StatementLeaf,
  type TrustContext,
  type Verdict,
  type VerifiedStatement,
} from './verify-statement.ts';

/** What a reading judges by, and which statements. */
export interface ReadingTerms extends TrustContext {
  /**
   * Passes over heartbeats: whoever asks for the rules in force need not check their signatures, as none of them decides a
   * rule. They are then neither good nor void.
   */
  readonly rulesOnly?: boolean;
}

/** A leaf that was judged by itself: what it holds, or why it is void; neither if it was passed over. */
export interface KnownLeaf<S extends KeptStatement = KeptStatement> {
  readonly name: string;
  readonly integratedAtSeconds?: number;
  /** What it holds; of a notice that can still matter, with its entries. */
  verified?: VerifiedStatement<S>;
  readonly refusal?: Verdict;
  /** Whether it holds a heartbeat, good or void. */
  readonly isHeartbeat: boolean;
  /** The annex the entries are from. */
  annex?: KnownAnnex;
  /** The last reading that saw it. */
  reading: number;
  /** Its place among all leaves in their order, and the reading that said so. */
  place: number;
  placedIn: number;
}

/** A leaf that holds a good statement. */
export type GoodLeaf<S extends KeptStatement = KeptStatement> = KnownLeaf<S> & { verified: VerifiedStatement<S> };

/** An annex that was proven: its entries, or why they are not good. */
export interface KnownAnnex {
  readonly sizeBytes: number;
  readonly entries: EntryTable | WartaError;
  reading: number;
}

/** An annex that a good notice names and its source does not have. */
export interface MissingAnnex extends AnnexLabel {
  readonly sealed: boolean;
}

/** What statements are judged ahead by. */
export interface AheadContext extends ReadingTerms {
  readonly nowSeconds: number;
  readonly annexes: AnnexSource;
  /** Called now and then, with how many statements were verified. */
  readonly onStatements?: (done: number) => void;
  /** Told of annexes that are missing as far as can be seen: what is not told may be missing all the same. */
  readonly onMissing?: (annex: MissingAnnex) => void;
}

/** Statements judged ahead between two reports of progress. */
const PROGRESS_EVERY = 256;

/**
 * What one reading of a register leaves for the next, so that ten thousand statements and one more cost one verification:
 * judged leaves by their key, for as long as authorities and pack are the same, and the entries of annexes by digest.
 *
 * A verdict is kept only when time cannot heal it. An annex that is missing or damaged, a target that is not known yet and a
 * hold are looked at again at every reading. What a reading did not see is forgotten with it.
 */
export class RegisterMemo<S extends KeptStatement = KeptStatement> {
  readonly #keep: (statement: Statement) => S;
  readonly #leaves = new Map<string, KnownLeaf<S>>();
  readonly #annexes = new Map<string, KnownAnnex>();
  #context: ReadingTerms | undefined;
  #reading = 0;
  /** The last reading that sorted its leaves. */
  #sortedIn = 0;
  #leavesSeen = 0;
  #annexesSeen = 0;

  /** @param keep returns what to keep of a good statement. */
  constructor(keep: (statement: Statement) => S) {
    this.#keep = keep;
  }

  /** Begins a reading; under other authorities or another pack every statement is judged anew. */
  begin({ authorities, pack, known, rulesOnly }: ReadingTerms): void {
    if (this.#context?.authorities !== authorities || this.#context.pack !== pack) this.#leaves.clear();
    this.#context = { authorities, pack, known, rulesOnly };
    this.#reading++;
    this.#leavesSeen = 0;
    this.#annexesSeen = 0;
  }

  /** Ends a reading that saw every leaf: forgets leaves that are gone, and annexes that no notice needs any more. */
  end(): void {
    if (this.#leavesSeen < this.#leaves.size) forgetUnseen(this.#leaves, this.#reading);
    if (this.#annexesSeen < this.#annexes.size) forgetUnseen(this.#annexes, this.#reading);
  }

  /**
   * Judges what is new before a reading does, with all cores: the signatures on other threads, the rest on this one, which
   * takes up the annexes of good notices meanwhile. The reading that comes after finds it done, or does it.
   */
  async judgeAhead(leaves: Iterable<StatementLeaf>, ahead: AheadContext): Promise<void> {
    const { authorities, pack, rulesOnly, nowSeconds, annexes, onStatements, onMissing } = ahead;
    const known = new SignaturePool(authorities, rulesOnly);
    this.begin({ authorities, pack, known, rulesOnly });
    const due: MissingAnnex[] = [];
    let done = 0;
    const judge = (leaf: StatementLeaf) => {
      const { verified } = this.check(leaf);
      const counts = verified !== undefined && leaf.held === undefined;
      if (counts && isNotice(verified) && isDue(verified, nowSeconds)) due.push(verified.statement.annex);
      if (++done % PROGRESS_EVERY === 0) onStatements?.(done);
    };
    const takeUpNext = () => {
      const annex = due.pop();
      if (annex !== undefined && !this.#takeUpAhead(annex, annexes)) onMissing?.(annex);
      return annex !== undefined;
    };
    await judgeAhead(this.#findNew(leaves), known, judge, takeUpNext);
  }

  /** Takes up an annex; returns whether the source has it. Whatever else is wrong with it the reading will say. */
  #takeUpAhead(annex: MissingAnnex, annexes: AnnexSource): boolean {
    if (this.#annexes.has(annex.digest)) return true;
    try {
      this.#takeUp(annex.digest, proveAnnex(readAnnex(annexes, annex), annex));
      return true;
    } catch (error) {
      if (!(error instanceof WartaError)) throw error;
      return error.code !== 'annex-missing';
    }
  }

  *#findNew(leaves: Iterable<StatementLeaf>): Generator<StatementLeaf> {
    for (const leaf of leaves) {
      if (leaf.key === undefined || leaf.unreadable !== undefined) continue;
      const known = this.#leaves.get(leaf.key);
      if (known === undefined || !this.#isEnough(known)) yield leaf;
    }
  }

  /** Whether this reading needs no more of a leaf than is known. */
  #isEnough({ verified, refusal }: KnownLeaf<S>): boolean {
    return this.#context!.rulesOnly || verified !== undefined || refusal !== undefined;
  }

  /** Judges a leaf by itself, or remembers how it was judged. Of two leaves with one key only the last is remembered. */
  check(leaf: StatementLeaf): KnownLeaf<S> {
    if (leaf.key === undefined || leaf.unreadable !== undefined) return this.#judge(leaf);
    const known = this.#leaves.get(leaf.key);
    if (known?.reading !== this.#reading) this.#leavesSeen++;
    if (known !== undefined && known.reading !== this.#reading && isOf(known, leaf) && this.#isEnough(known)) {
      known.reading = this.#reading;
      return known;
    }
    const judged = this.#judge(leaf);
    this.#leaves.set(leaf.key, judged);
    return judged;
  }

  #judge(leaf: StatementLeaf): KnownLeaf<S> {
    const { name, integratedAtSeconds } = leaf;
    const common = { name, integratedAtSeconds, reading: this.#reading, place: 0, placedIn: 0 };
    let isHeartbeat = false;
    try {
      const opened = openStatement(leaf);
      isHeartbeat = opened.statement.type === 'heartbeat';
      if (isHeartbeat && this.#context!.rulesOnly) return { ...common, isHeartbeat };
      const checked = checkOpened(leaf, opened, this.#context!);
      return { ...common, isHeartbeat, verified: { ...checked, statement: this.#keep(checked.statement) } };
    } catch (error) {
      return { ...common, isHeartbeat, refusal: refuse(name, error) };
    }
  }

  /**
   * Sorts leaves in place. Those that the last sorting saw go in as they stood then: what is sorted but for a few new ones
   * takes one look at each.
   */
  sort(leaves: GoodLeaf<S>[], compare: (one: GoodLeaf<S>, other: GoodLeaf<S>) => number): void {
    const before: GoodLeaf<S>[] = [];
    const added: GoodLeaf<S>[] = [];
    for (const leaf of leaves) {
      if (leaf.placedIn === this.#sortedIn && this.#sortedIn > 0) before[leaf.place] = leaf;
      else added.push(leaf);
    }
    let count = 0;
    for (const leaf of before) if (leaf !== undefined) leaves[count++] = leaf;
    for (const leaf of added) leaves[count++] = leaf;
    leaves.sort(compare);
    this.#sortedIn = this.#reading;
    for (let place = 0; place < leaves.length; place++) {
      leaves[place].place = place;
      leaves[place].placedIn = this.#sortedIn;
    }
  }

  /**
   * Gives the notice in a leaf its entries, from the source if they are not known. What was attached once was found good
   * then, and neither the notice nor its annex ever changes.
   *
   * @throws {WartaError} as `attachAnnex` does.
   */
  attach(leaf: GoodLeaf<S> & { verified: KnownNotice }, annexes: AnnexSource, onEntries?: OnEntries): void {
    if (leaf.annex === undefined) {
      leaf.verified = attachAnnex(leaf.verified, {
        readEntries: (terms) => this.#readEntries(terms, annexes, onEntries),
      });
      leaf.annex = this.#annexes.get(leaf.verified.statement.annex.digest)!;
    }
    this.#see(leaf.annex);
  }

  /** Takes the entries of a notice away, which can matter no more. */
  detach(leaf: GoodLeaf<S>): void {
    if (leaf.annex === undefined) return;
    leaf.verified = { ...leaf.verified, entries: undefined };
    leaf.annex = undefined;
  }

  #readEntries(terms: AnnexTerms, annexes: AnnexSource, onEntries?: OnEntries): EntryTable {
    if (!this.#annexes.has(terms.digest)) {
      this.#takeUp(terms.digest, proveAnnex(readAnnex(annexes, terms), terms), onEntries);
    }
    const annex = this.#annexes.get(terms.digest)!;
    this.#see(annex);
    checkSize(annex.sizeBytes, terms);
    const { entries } = annex;
    if (entries instanceof WartaError) throw entries;
    if (entries.count !== terms.entries) {
      throw new WartaError(
        'annex-mismatch',
        `the annex has ${entries.count} entries, the notice says ${terms.entries}`,
      );
    }
    checkExpiries(entries, terms.endSeconds);
    return entries;
  }

  #see(annex: KnownAnnex): void {
    if (annex.reading !== this.#reading) this.#annexesSeen++;
    annex.reading = this.#reading;
  }

  /**
   * Takes an annex up before any notice asks for it, so that whoever fetches one has it proven and read in one go. Entries
   * that are not good do not throw here: the bytes are the annex all the same, and its notice will be void.
   *
   * @throws {WartaError} `annex-oversized`, `annex-malformed` or `annex-mismatch` for bytes that are not the annex.
   */
  takeAnnex(digest: string, bytes: Uint8Array): void {
    this.#takeUp(digest, proveAnnex(bytes, labelBytes(bytes, digest)));
  }

  #takeUp(digest: string, proven: ProvenAnnex, onEntries?: OnEntries): void {
    let entries: EntryTable | WartaError;
    try {
      entries = readEntries(proven, onEntries);
    } catch (error) {
      if (!(error instanceof WartaError)) throw error;
      entries = error;
    }
    this.#annexes.set(digest, { sizeBytes: proven.bytes.length, entries, reading: 0 });
  }

  /** Whether an annex was proven to be the one of its digest, whatever its entries are worth. */
  hasAnnex(digest: string): boolean {
    return this.#annexes.has(digest);
  }
}

/**
 * Whether a notice's annex can still matter. One that lapsed by its own term need not be read again at every start, or a
 * node would read all the past; but a successor still ends what it superseded, so its annex is always read.
 */
export function isDue(notice: KnownNotice, nowSeconds: number): boolean {
  return notice.endSeconds > nowSeconds || notice.statement.supersedes !== undefined;
}

/** Creates a memo that keeps of each statement what folding and compiling need. */
export function createSlimMemo(): RegisterMemo {
  const shared = new Map<string, unknown>();
  const share = <T>(value: T): T => {
    const key = JSON.stringify(value);
    if (!shared.has(key)) shared.set(key, value);
    return shared.get(key) as T;
  };
  return new RegisterMemo((statement) => keepStatement(statement, share));
}

/** Whether what is known of a leaf's key is known of this leaf: same name, same time. */
function isOf(known: KnownLeaf, { name, integratedAtSeconds }: StatementLeaf): boolean {
  return known.name === name && known.integratedAtSeconds === integratedAtSeconds;
}

function forgetUnseen(known: Map<string, { reading: number }>, reading: number): void {
  for (const [key, one] of known) if (one.reading !== reading) known.delete(key);
}
