import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { RuleTable } from '../rules/rule-table.ts';
import { loadTable, saveTable } from '../rules/table-file.ts';
import type { CompiledList, ListTerms } from './compile-list.ts';
import type { CompileMessage, CompileStart } from './compile-worker.ts';
import { DirectorySource } from './directory-source.ts';

export interface ListKeeperOptions {
  directory: string;
  authoritiesFile: string;
  packFile: string;
  licensee: string;
  answer: AnswerOptions;
  /** Folder for the saved table and the report. */
  state: string;
  rescanSeconds: number;
  nowSeconds(): number;
  /** A new table to take into use. */
  onTable(table: SharedArrayBuffer): void;
  onEvent(event: ListEvent): void;
  onProgress?(share: number): void;
}

export type ListEvent =
  | { kind: 'loaded'; rules: number; seconds: number }
  | { kind: 'not-loaded'; code: ErrorCode; reason: string }
  | { kind: 'compiled'; list: CompiledList; changed: boolean }
  | { kind: 'failed'; code: string; reason: string };

/** File names in the state folder. */
const TABLE_FILE = 'rules.table';
const REPORT_FILE = 'report.json';
/** Refused entries written to the report; the count is always whole. */
const MAX_REPORTED_REFUSALS = 10_000;

/**
 * Keeps the rule table in step with the register: loads the saved one for an instant start, compiles in a thread whenever
 * statements change, hands over the new table whole, saves it. When anything fails the last good table stays in use, and
 * every rule in it still ends on time.
 */
export class ListKeeper {
  /** Account of the last compilation, if there was one. */
  last: CompiledList | undefined;
  /** When the register was last read without a failure, seconds since the epoch; 0 before. */
  readAtSeconds = 0;
  readonly #options: ListKeeperOptions;
  readonly #source: DirectorySource;
  #inUse = '';
  #version = '';
  #timer: NodeJS.Timeout | undefined;
  #worker: Worker | undefined;
  #stopped = false;
  /** The last failure told, so that one that lasts is told once. */
  #failure = '';

  constructor(options: ListKeeperOptions) {
    this.#options = options;
    this.#source = new DirectorySource(options.directory);
  }

  /**
   * Returns the table to start with: the saved one when it is whole and was compiled on the same terms (licensee, trust,
   * pack, answers), else a freshly compiled one. A saved table may be behind the register; `follow` catches up at once.
   *
   * @throws {WartaError} when there is neither.
   */
  async open(): Promise<SharedArrayBuffer> {
    const terms = this.#readTerms();
    const began = performance.now();
    try {
      const table = loadTable(join(this.#options.state, TABLE_FILE));
      const { source } = table.describe();
      if (!source.startsWith(`${digestTerms(terms)}:`)) {
        throw new WartaError('table-foreign', 'the saved table was compiled on other terms');
      }
      this.#inUse = source;
      this.#tell({ kind: 'loaded', rules: table.ruleCount, seconds: (performance.now() - began) / 1000 });
      return table.buffer;
    } catch (error) {
      const code = error instanceof WartaError ? error.code : 'table-damaged';
      this.#tell({ kind: 'not-loaded', code, reason: describeError(error) });
    }
    this.#version = await this.#readVersion(terms);
    const list = await this.#compile(terms, false);
    this.#inUse = new RuleTable(list.table).describe().source;
    this.#accept(list, true);
    return list.table;
  }

  /** Looks for changes now and every few seconds from now on. */
  follow(): void {
    const look = async () => {
      await this.refresh();
      if (!this.#stopped) this.#timer = setTimeout(look, this.#options.rescanSeconds * 1000);
    };
    void look();
  }

  /** Compiles when statements changed, when one signed ahead starts to count, or when nothing was compiled yet. */
  async refresh(): Promise<void> {
    try {
      const terms = this.#readTerms();
      const version = await this.#readVersion(terms);
      const due = this.last?.nextStatementSeconds;
      const waiting = due === undefined || due > this.#options.nowSeconds();
      if (this.last !== undefined && version === this.#version && waiting) return;
      const list = await this.#compile(terms, true);
      this.#version = version;
      const { source } = new RuleTable(list.table).describe();
      const changed = source !== this.#inUse || !waiting;
      if (this.#stopped) return;
      if (changed) {
        this.#inUse = source;
        this.#options.onTable(list.table);
      }
      this.#accept(list, changed);
    } catch (error) {
      if (this.#stopped) return;
      this.#tellFailure(error);
    }
  }

  /** Stops looking, and ends a compilation under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#worker?.terminate();
  }

  /** Takes note of a compiled list and saves it. A full disk loses only the instant restart. */
  #accept(list: CompiledList, changed: boolean): void {
    this.last = list;
    this.#failure = '';
    this.readAtSeconds = this.#options.nowSeconds();
    this.#tell({ kind: 'compiled', list, changed });
    try {
      if (changed) saveTable(join(this.#options.state, TABLE_FILE), list.table);
      writeDurably(
        join(this.#options.state, REPORT_FILE),
        `${JSON.stringify(reportOf(list, this.readAtSeconds), null, 2)}\n`,
      );
    } catch (error) {
      this.#tellFailure(error);
    }
  }

  #tellFailure(error: unknown): void {
    const reason = describeError(error);
    if (reason === this.#failure) return;
    this.#failure = reason;
    this.#tell({ kind: 'failed', code: error instanceof WartaError ? error.code : 'store-failed', reason });
  }

  #readTerms(): ListTerms {
    const { authoritiesFile, packFile, licensee, answer } = this.#options;
    return {
      licensee,
      answer,
      authorities: readPinned(authoritiesFile, 'authorities-invalid', 'register.authorities').toString(),
      pack: readPinned(packFile, 'pack-invalid', 'register.policyPack'),
    };
  }

  /** Changes whenever another compilation could come out differently: other statements, other trust, another pack. */
  async #readVersion(terms: ListTerms): Promise<string> {
    return `${digestTerms(terms)}:${await this.#source.version()}`;
  }

  /** Compiles in a thread of its own, so that no query and no scrape waits for it. */
  #compile(terms: ListTerms, background: boolean): Promise<CompiledList> {
    const { directory } = this.#options;
    const start: CompileStart = {
      directory,
      terms,
      termsDigest: digestTerms(terms),
      nowSeconds: this.#options.nowSeconds(),
      background,
    };
    return new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./compile-worker.ts', import.meta.url), { workerData: start });
      this.#worker = worker;
      worker.on('message', (message: CompileMessage) => {
        if (message.kind === 'progress') this.#options.onProgress?.(message.share);
        else if (message.kind === 'list') resolve(message.list);
        else reject(new WartaError(message.code as ErrorCode, message.message));
      });
      worker.on('error', reject);
      worker.on('exit', () => {
        this.#worker = undefined;
        reject(new WartaError('store-failed', 'the compile thread ended early'));
      });
    });
  }

  #tell(event: ListEvent): void {
    this.#options.onEvent(event);
  }
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
  const parts = [terms.licensee, terms.authorities, Buffer.from(terms.pack).toString('base64'), terms.answer];
  return hash('sha256', JSON.stringify(parts));
}

/** What the last compilation came to, for the operator: void statements and refused entries with their reasons. */
function reportOf(list: CompiledList, atSeconds: number) {
  return {
    compiledAt: new Date(atSeconds * 1000).toISOString(),
    seconds: Number(list.seconds.toFixed(3)),
    rules: list.rules,
    entries: list.entries,
    statements: list.verdicts.length,
    void: list.verdicts.filter((verdict) => !verdict.ok),
    refusedEntries: list.refused.length,
    refused: list.refused.slice(0, MAX_REPORTED_REFUSALS),
  };
}
