import { type CompiledList, ListCompiler } from './list-compiler.ts';
import type { AnnexWanted, SourceReading, StatementSource } from './statement-source.ts';
import type { ListTerms } from './sync-link.ts';

/** Share of the work that is done once the annexes are fetched, for the progress bar. */
const FETCH_SHARE = 0.8;
/** New leaves from which verifying on every core is worth looking for them. */
const MANY_LEAVES = 64;
/** Share of the work that judging the statements is, also when annexes are fetched meanwhile. */
const READ_SHARE = 0.3;
const AHEAD_SHARE = 0.7;
/** How long a list waits for the annexes of new notices, which may be large: a release beside them must not wait longer. */
const PATIENCE_MILLIS = 10_000;
/** How long the first list waits: what it lacks would end blocks that a saved table still has. */
const FIRST_PATIENCE_MILLIS = 600_000;

/** What one cycle does its work with. */
interface Errand {
  readonly compiler: ListCompiler;
  readonly nowSeconds: number;
  /** When annexes are waited for no longer. */
  readonly deadlineMillis: number;
  readonly onProgress: (share: number) => void;
}

/**
 * One node's way from news to a list: look, fetch what is missing, verify, fold, compile. Runs in whatever thread calls it;
 * one call at a time.
 */
export class SyncAgent {
  readonly #source: StatementSource;
  readonly #patienceMillis: number;
  #compiler: ListCompiler | undefined;
  #termsDigest = '';
  #fingerprint = '';
  /** Leaves there were at the last compilation. */
  #leafCount = 0;
  #last: CompiledList | undefined;
  /** Whether annexes were missing at the last look, and how many have come since the last compilation. */
  #missing = false;
  #arrived = 0;

  constructor(source: StatementSource, patienceMillis = PATIENCE_MILLIS) {
    this.#source = source;
    this.#patienceMillis = patienceMillis;
  }

  /** The last list compiled. */
  get last(): CompiledList | undefined {
    return this.#last;
  }

  /**
   * Returns a new list when there is a reason for one: news, other terms, a statement signed ahead that starts to count, or
   * nothing compiled yet. Signatures are verified on every core unless `allCores` is false. `failure` says why the source
   * could not be asked, or annexes not be had; what there is is compiled all the same.
   *
   * @throws {WartaError} when there is nothing to compile.
   */
  async cycle(
    terms: ListTerms,
    termsDigest: string,
    nowSeconds: number,
    onProgress?: (share: number) => void,
    allCores = true,
  ): Promise<{ list?: CompiledList; failure?: unknown }> {
    let failure: unknown;
    try {
      await this.#source.poll(nowSeconds);
    } catch (error) {
      failure = error;
    }
    if (this.#compiler === undefined || termsDigest !== this.#termsDigest) {
      this.#compiler = new ListCompiler(terms);
      this.#last = undefined;
    }
    this.#termsDigest = termsDigest;
    const compiler = this.#compiler;
    const isNew = this.#isNew(this.#read(failure), nowSeconds);
    const { leafCount = 0 } = this.#read(failure);
    const isMany = this.#last === undefined || leafCount - this.#leafCount >= MANY_LEAVES;
    const errand: Errand = {
      compiler,
      nowSeconds,
      deadlineMillis: this.#deadline(),
      onProgress: neverBack(onProgress),
    };
    const note = (error: unknown) => {
      failure ??= error;
    };
    if (isNew && isMany && allCores) await this.#verifyAhead(errand, this.#read(failure)).catch(note);
    // Also when the above failed: what is missing now is to be looked for in the next cycle.
    if (isNew || this.#missing) await this.#fetchAnnexes(errand, this.#read(failure)).catch(note);
    if (!isNew && this.#arrived === 0) return { failure };
    const reading = this.#read(failure);
    const list = compiler.compile(reading, termsDigest, nowSeconds, (share) =>
      errand.onProgress(FETCH_SHARE + (1 - FETCH_SHARE) * share),
    );
    this.#arrived = 0;
    this.#leafCount = leafCount;
    this.#fingerprint = reading.fingerprint;
    this.#last = list;
    return { list, failure };
  }

  #isNew({ fingerprint }: SourceReading, nowSeconds: number): boolean {
    if (this.#last === undefined || fingerprint !== this.#fingerprint) return true;
    return (this.#last.nextStatementSeconds ?? Number.POSITIVE_INFINITY) <= nowSeconds;
  }

  /** When annexes are waited for no longer. */
  #deadline(): number {
    return performance.now() + (this.#last === undefined ? FIRST_PATIENCE_MILLIS : this.#patienceMillis);
  }

  /** Verifies with all cores; what is missing is fetched meanwhile, as it turns up. */
  async #verifyAhead(errand: Errand, reading: SourceReading): Promise<void> {
    const { compiler, nowSeconds, deadlineMillis, onProgress } = errand;
    let wanted: AnnexWanted[] = [];
    let fetching: Promise<void> | undefined;
    const fetchWanted = async () => {
      while (wanted.length > 0 && performance.now() < deadlineMillis) {
        const some = wanted;
        wanted = [];
        await this.#fetch(errand, some);
      }
    };
    let failure: unknown;
    const onMissing = (annex: AnnexWanted) => {
      wanted.push(annex);
      fetching ??= fetchWanted()
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => {
          fetching = undefined;
        });
    };
    await compiler.verifyAhead(reading, nowSeconds, (share) => onProgress(AHEAD_SHARE * share), onMissing);
    await fetching;
    if (failure !== undefined) throw failure;
  }

  /** Has annexes fetched that good notices name. They are looked for again at every cycle until there are none. */
  async #fetchAnnexes(errand: Errand, reading: SourceReading): Promise<void> {
    if (this.#source.fetchAnnexes === undefined) return;
    const { compiler, nowSeconds, onProgress } = errand;
    const wanted = compiler.findWantedAnnexes(reading, nowSeconds, (share) => onProgress(READ_SHARE * share));
    this.#missing = wanted.length > 0;
    await this.#fetch(errand, wanted, (done, total) => {
      onProgress(READ_SHARE + ((FETCH_SHARE - READ_SHARE) * done) / total);
    });
  }

  async #fetch(
    { compiler, nowSeconds, deadlineMillis }: Errand,
    wanted: readonly AnnexWanted[],
    onFetched?: (done: number, total: number) => void,
  ): Promise<void> {
    const verify = (annex: AnnexWanted, bytes: Uint8Array) => {
      compiler.takeAnnex(annex, bytes);
      this.#arrived++;
    };
    const patienceMillis = Math.max(0, deadlineMillis - performance.now());
    await this.#source.fetchAnnexes?.(wanted, verify, nowSeconds, onFetched, patienceMillis);
  }

  /** Why the source cannot be read is best said by why it could not be asked. */
  #read(failure: unknown) {
    try {
      return this.#source.read();
    } catch (error) {
      throw failure ?? error;
    }
  }
}

/** Tells progress that never goes back: work that was done ahead is not told again. */
function neverBack(onProgress: (share: number) => void = () => {}): (share: number) => void {
  let told = 0;
  return (share) => {
    told = Math.max(told, share);
    onProgress(told);
  };
}
