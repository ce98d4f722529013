import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import { NO_PAGES, type PageCounts } from '../register/pages.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { RuleTableBuilder } from '../rules/rule-table-builder.ts';
import { loadTable } from '../rules/table-file.ts';
import type { Incident } from './incident-book.ts';
import type {
  ListReport,
  ListTerms,
  RegisterPlace,
  SyncMessage,
  SyncRequest,
  SyncStart,
  SyncStatus,
} from './sync-link.ts';

export interface ListKeeperOptions {
  place: RegisterPlace;
  /** What trust begins with: authorities.json of a directory, 1.root.json of a log. */
  anchorFile: string;
  packFile: string;
  licensee: string;
  answer: AnswerOptions;
  mode: 'enforce' | 'observe';
  /**
   * Whether the hosts of listed pages are sent to a gateway: by a resolver that has any configured, and by a gateway, which is
   * one. Receipts say so. False unless given.
   */
  steersPages?: boolean;
  /** Folder for the saved table, the report and the copy of the register. */
  state: string;
  /** How often the register is asked for news. */
  intervalSeconds: number;
  nowSeconds(): number;
  /** A new table to take into use. */
  onTable(table: SharedArrayBuffer): void;
  onEvent(event: ListEvent): void;
  onProgress?(share: number): void;
}

export type ListEvent =
  | { kind: 'loaded'; rules: number; seconds: number }
  | { kind: 'not-loaded'; code: ErrorCode; reason: string }
  | { kind: 'compiled'; list: ListReport }
  | { kind: 'incident'; incident: Incident }
  /** One look at the log is done. */
  | { kind: 'looked'; status: SyncStatus }
  | { kind: 'failed'; code: string; reason: string };

/** File names in the state folder. */
const TABLE_FILE = 'rules.table';
export const REPORT_FILE = 'report.json';
/** Reports may name what is not for everyone's eyes. */
const PRIVATE = 0o600;
/** Passing objects of a replay are many and small: more room for them makes it no faster, and the node larger. */
const YOUNG_MEGABYTES = 24;
/** How long a stop waits for a table that is being saved. */
const SAVE_GRACE_MILLIS = 1_500;
/** Polls come a tenth earlier or later, so that a thousand nodes do not ask at once. */
const JITTER = 0.1;
/** After failures the interval doubles up to so many times its length. */
const MAX_BACKOFF = 6;

/**
 * Keeps the rule table in step with the register: loads the saved one for an instant start, has a thread of its own follow
 * the register and compile, and hands over each new table whole. When anything fails the last good table stays in use, and
 * every rule in it still ends on time.
 */
export class ListKeeper {
  /** Account of the last compilation, if there was one. */
  last: ListReport | undefined;
  /** Where the node stands with the log, after the last look. */
  status: SyncStatus | undefined;
  /** When the register was last read without a failure, seconds since the epoch; 0 before. */
  readAtSeconds = 0;
  /** Why the register could not be read or kept, since it last could; a failure that lasts is told once. */
  failure = '';
  readonly #options: ListKeeperOptions;
  readonly #tableFile: string;
  #timer: NodeJS.Timeout | undefined;
  #worker: Worker | undefined;
  #saving = false;
  /** Whether a saved table serves: until the first list is compiled there is time. */
  #hasSaved = false;
  #failures = 0;
  /** Settles when every cycle asked for is done. */
  #turn: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: ListKeeperOptions) {
    this.#options = options;
    this.#tableFile = join(options.state, TABLE_FILE);
  }

  /**
   * Returns the table to start with: the saved one when it is whole and was compiled on the same terms (licensee, trust,
   * pack, answers), else a freshly compiled one. A saved table may be behind the register; `follow` catches up at once. When
   * there is neither, an empty one: a node that blocks nothing and says so is better than a network without DNS.
   */
  async open(): Promise<SharedArrayBuffer> {
    const began = performance.now();
    try {
      const table = loadTable(this.#tableFile);
      const { source } = table;
      if (!source.startsWith(`${digestTerms(this.#readTerms())}:`)) {
        throw new WartaError('table-foreign', 'the saved table was compiled on other terms');
      }
      this.#hasSaved = true;
      this.#tell({ kind: 'loaded', rules: table.ruleCount, seconds: (performance.now() - began) / 1000 });
      return table.buffer;
    } catch (error) {
      const code = error instanceof WartaError ? error.code : 'table-damaged';
      this.#tell({ kind: 'not-loaded', code, reason: describeError(error) });
    }
    await this.#cycle(false);
    return this.last?.table ?? createEmptyTable(this.#options);
  }

  /** Entries of the last list that list a page, and whether their hosts are sent to a gateway. */
  get pages(): PageCounts & { readonly pagesSteered: boolean } {
    const { pages, httpOnlyPages } = this.last ?? NO_PAGES;
    return { pages, httpOnlyPages, pagesSteered: this.#steersPages };
  }

  get #steersPages(): boolean {
    return this.#options.steersPages ?? false;
  }

  /** Looks for changes now and every few seconds from now on. */
  follow(): void {
    const look = async () => {
      await this.refresh();
      if (!this.#stopped) this.#timer = setTimeout(look, this.#nextMillis());
    };
    void look();
  }

  /** Looks for news and compiles when there are any, when a statement signed ahead starts to count, or for the first time. */
  refresh(): Promise<void> {
    // One after another: of two at once the older reading could come second and undo the newer.
    this.#turn = this.#turn.then(() => this.#refresh());
    return this.#turn;
  }

  async #refresh(): Promise<void> {
    if (this.#stopped) return;
    await this.#cycle(this.#hasSaved && this.last === undefined);
  }

  /** Stops looking. A compilation under way ends; a table being saved gets a moment to be whole. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const worker = this.#worker;
    if (worker === undefined) return;
    const ended = once(worker, 'exit').catch(() => {});
    this.#ask({ kind: 'stop' });
    await Promise.race([ended, sleep(this.#saving ? SAVE_GRACE_MILLIS : 0)]);
    await worker.terminate();
  }

  #nextMillis(): number {
    const factor = Math.min(MAX_BACKOFF, 2 ** Math.min(this.#failures, 8));
    return this.#options.intervalSeconds * factor * 1000 * (1 - JITTER + 2 * JITTER * Math.random());
  }

  /** One look. Never throws: what fails is told, and the last good list stays. */
  async #cycle(background: boolean): Promise<void> {
    const began = this.failure;
    try {
      const terms = this.#readTerms();
      const failure = await this.#run(terms, background);
      if (failure !== undefined) throw failure;
      this.#failures = 0;
      this.failure = '';
      this.readAtSeconds = this.#options.nowSeconds();
    } catch (error) {
      if (!isWaiting(error)) this.#failures++;
      if (!this.#stopped) this.#tellFailure(error, began);
    }
  }

  #tellFailure(error: unknown, before: string): void {
    const reason = describeError(error);
    this.failure = reason;
    if (reason === before) return;
    this.#tell({ kind: 'failed', code: error instanceof WartaError ? error.code : 'store-failed', reason });
  }

  /** Has the thread do one cycle; returns why it failed, if it did. A list may come all the same. */
  #run(terms: ListTerms, background: boolean): Promise<unknown> {
    const worker = this.#startWorker(terms);
    const { nowSeconds } = this.#options;
    return new Promise((resolve) => {
      let failure: unknown;
      const onMessage = (message: SyncMessage) => {
        if (message.kind === 'list') failure = this.#accept(message.list) ?? failure;
        else if (message.kind === 'failed') failure = new WartaError(message.code, message.message);
        else if (message.kind === 'progress') this.#options.onProgress?.(message.share);
        else if (message.kind === 'incident') this.#tell({ kind: 'incident', incident: message.incident });
        else if (message.kind === 'saved') this.#saving = false;
        else end(message.status);
      };
      const end = (status?: SyncStatus) => {
        worker.off('message', onMessage);
        worker.off('exit', onExit);
        this.#saving = false;
        if (status !== undefined) {
          this.status = status;
          this.#tell({ kind: 'looked', status });
        }
        resolve(failure);
      };
      const onExit = () => {
        failure ??= new WartaError('store-failed', 'the sync thread ended: it is started again');
        end();
      };
      worker.on('message', onMessage);
      worker.on('exit', onExit);
      this.#ask({ kind: 'cycle', terms, termsDigest: digestTerms(terms), nowSeconds: nowSeconds(), background });
    });
  }

  /** Starts the thread unless it runs. It keeps what it verified, so that the next cycle has only the news to do. */
  #startWorker(terms: ListTerms): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const { place, state } = this.#options;
    const pinnedRoot = place.kind === 'log' ? terms.anchor : undefined;
    const start: SyncStart = { place, pinnedRoot, state, tableFile: this.#tableFile };
    const worker = new Worker(new URL('./sync-worker.ts', import.meta.url), {
      workerData: start,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
    });
    worker.on('error', (error) => this.#tell({ kind: 'failed', code: 'store-failed', reason: describeError(error) }));
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    this.#worker = worker;
    return worker;
  }

  #ask(request: SyncRequest): void {
    this.#worker?.postMessage(request);
  }

  /**
   * Takes a compiled list into use and returns what could not be kept of it: a full disk loses only the report and the
   * instant restart. The first list after a saved table was loaded is always taken: the same statements may fold to another
   * list by now, and the saved bytes are trusted no longer than necessary.
   */
  #accept(list: ListReport): unknown {
    if (this.#stopped) return undefined;
    const first = this.last === undefined;
    this.last = list;
    this.#saving = list.tableChanged;
    const { nowSeconds, state, mode, onTable } = this.#options;
    if (first || list.tableChanged) onTable(list.table);
    this.#ask({ kind: 'applied', atSeconds: nowSeconds(), mode, steersPages: this.#steersPages });
    this.#tell({ kind: 'compiled', list });
    try {
      const report = JSON.stringify(reportOf(list, nowSeconds(), this.#steersPages), null, 2);
      writeDurably(join(state, REPORT_FILE), `${report}\n`, PRIVATE);
    } catch (error) {
      return error;
    }
    return undefined;
  }

  #readTerms(): ListTerms {
    const { place, anchorFile, packFile, licensee, answer } = this.#options;
    const [code, key]: [ErrorCode, string] =
      place.kind === 'log' ? ['trust-invalid', 'register.root'] : ['authorities-invalid', 'register.authorities'];
    return {
      licensee,
      answer,
      anchor: readPinned(anchorFile, code, key).toString(),
      pack: readPinned(packFile, 'pack-invalid', 'register.policyPack'),
    };
  }

  #tell(event: ListEvent): void {
    this.#options.onEvent(event);
  }
}

/** Whether the register answers and only additions wait: a release may come at any time, so it is asked as often as ever. */
function isWaiting(error: unknown): boolean {
  return error instanceof WartaError && ['statement-unwitnessed', 'trust-expired'].includes(error.code);
}

function readPinned(path: string, code: ErrorCode, key: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new WartaError(code, `cannot read ${path}: check ${key}`, { cause });
  }
}

/** Digest of all terms: a table compiled on others is not used. */
function digestTerms(terms: ListTerms): string {
  const parts = [terms.licensee, terms.anchor, Buffer.from(terms.pack).toString('base64'), terms.answer];
  return hash('sha256', JSON.stringify(parts));
}

/** A table without rules, for a first start without a readable register. */
function createEmptyTable({ answer, nowSeconds }: ListKeeperOptions): SharedArrayBuffer {
  const builtAtSeconds = Math.floor(nowSeconds());
  return new RuleTableBuilder({ categories: [], answer, seed: [0, 0], builtAtSeconds, source: '' }).build();
}

/** What the last compilation came to, for the operator: void statements and refused entries with their reasons. */
function reportOf(list: ListReport, atSeconds: number, steersPages: boolean) {
  return {
    compiledAt: new Date(atSeconds * 1000).toISOString(),
    seconds: Number(list.seconds.toFixed(3)),
    rules: list.rules,
    entries: list.entries,
    pages: list.pages,
    httpOnlyPages: list.httpOnlyPages,
    pagesSteered: steersPages,
    rulesDigest: list.rulesDigest,
    statements: Object.values(list.verdictCounts).reduce((sum, count) => sum + count, 0),
    void: list.void,
    refusedEntries: list.refusedCount,
    refused: list.refused,
  };
}
