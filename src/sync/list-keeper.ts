import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { writeDurably } from '../base/durable-file.ts';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import type { AnswerOptions } from '../rules/answer-template.ts';
import { RuleTableBuilder } from '../rules/rule-table-builder.ts';
import { loadTable } from '../rules/table-file.ts';
import type { CompileMessage, CompileStart } from './compile-link.ts';
import type { CompiledList, ListTerms } from './compile-list.ts';
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
  | { kind: 'compiled'; list: CompiledList }
  | { kind: 'failed'; code: string; reason: string };

/** File names in the state folder. */
const TABLE_FILE = 'rules.table';
const REPORT_FILE = 'report.json';
/** Reports may name what is not for everyone's eyes. */
const PRIVATE = 0o600;
/** How long a stop waits for a table that is being saved. */
const SAVE_GRACE_MILLIS = 1_500;

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
  /** Why the register could not be read or kept, since it last could; a failure that lasts is told once. */
  failure = '';
  readonly #options: ListKeeperOptions;
  readonly #source: DirectorySource;
  readonly #tableFile: string;
  /** A list was handed over and is being saved. */
  #saving = false;
  #version = '';
  #timer: NodeJS.Timeout | undefined;
  #worker: Worker | undefined;
  /** Settles when no compile thread runs: one may still be saving when the next is due. */
  #idle: Promise<unknown> = Promise.resolve();
  /** Settles when every refresh asked for is done. */
  #turn: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: ListKeeperOptions) {
    this.#options = options;
    this.#source = new DirectorySource(options.directory);
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
      const { source } = table.describe();
      if (!source.startsWith(`${digestTerms(this.#readTerms())}:`)) {
        throw new WartaError('table-foreign', 'the saved table was compiled on other terms');
      }
      this.#tell({ kind: 'loaded', rules: table.ruleCount, seconds: (performance.now() - began) / 1000 });
      return table.buffer;
    } catch (error) {
      const code = error instanceof WartaError ? error.code : 'table-damaged';
      this.#tell({ kind: 'not-loaded', code, reason: describeError(error) });
    }
    await this.#update(false);
    return this.last?.table ?? createEmptyTable(this.#options);
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
  refresh(): Promise<void> {
    // One after another: of two at once the older reading could come second and undo the newer.
    this.#turn = this.#turn.then(() => this.#refresh());
    return this.#turn;
  }

  async #refresh(): Promise<void> {
    const before = this.last;
    await this.#update(true);
    if (this.last !== undefined && this.last !== before) this.#options.onTable(this.last.table);
  }

  /** Stops looking. A compilation under way ends; a table being saved gets a moment to be whole. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#worker === undefined) return;
    if (this.#saving) await Promise.race([once(this.#worker, 'exit'), sleep(SAVE_GRACE_MILLIS)]);
    await this.#worker?.terminate();
  }

  /**
   * Compiles if there is a reason to. The first compilation after a saved table was loaded is always taken into use: the
   * same statements may fold to another list by now, and the saved bytes are trusted no longer than necessary.
   */
  async #update(background: boolean): Promise<void> {
    try {
      await this.#idle;
      const terms = this.#readTerms();
      const version = `${digestTerms(terms)}:${await this.#source.version()}`;
      const due = this.last?.nextStatementSeconds;
      const waiting = due === undefined || due > this.#options.nowSeconds();
      if (this.last !== undefined && version === this.#version && waiting) return;
      const list = await this.#compile(terms, background);
      if (this.#stopped) return;
      this.#version = version;
      this.#accept(list);
    } catch (error) {
      if (!this.#stopped) this.#tellFailure(error);
    }
  }

  /** Takes note of a compiled list. A full disk loses only the report and the instant restart. */
  #accept(list: CompiledList): void {
    this.last = list;
    this.failure = '';
    this.readAtSeconds = this.#options.nowSeconds();
    this.#tell({ kind: 'compiled', list });
    try {
      const report = JSON.stringify(reportOf(list, this.readAtSeconds), null, 2);
      writeDurably(join(this.#options.state, REPORT_FILE), `${report}\n`, PRIVATE);
    } catch (error) {
      this.#tellFailure(error);
    }
  }

  #tellFailure(error: unknown): void {
    const reason = describeError(error);
    if (reason === this.failure) return;
    this.failure = reason;
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

  /** Compiles in a thread of its own, so that no query and no scrape waits for it. */
  #compile(terms: ListTerms, background: boolean): Promise<CompiledList> {
    const start: CompileStart = {
      directory: this.#options.directory,
      terms,
      termsDigest: digestTerms(terms),
      nowSeconds: this.#options.nowSeconds(),
      background,
      tableFile: this.#tableFile,
    };
    return new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./compile-worker.ts', import.meta.url), { workerData: start });
      this.#worker = worker;
      this.#idle = once(worker, 'exit').catch(() => {});
      worker.on('message', (message: CompileMessage) => {
        if (message.kind === 'progress') this.#options.onProgress?.(message.share);
        if (message.kind === 'saved') this.#saving = false;
        if (message.kind === 'list') {
          this.#saving = true;
          resolve(message.list);
        }
        if (message.kind === 'failed') {
          const error = new WartaError(message.code, message.message);
          if (this.#saving) this.#tellFailure(error);
          else reject(error);
        }
      });
      worker.on('error', reject);
      worker.on('exit', () => {
        this.#saving = false;
        if (this.#worker === worker) this.#worker = undefined;
        reject(new WartaError('store-failed', 'the compile thread ended early')); // nothing once there is a list
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

/** A table without rules, for a first start without a readable register. */
function createEmptyTable({ answer, nowSeconds }: ListKeeperOptions): SharedArrayBuffer {
  const builtAtSeconds = Math.floor(nowSeconds());
  return new RuleTableBuilder({ categories: [], answer, seed: [0, 0], builtAtSeconds, source: '' }).build();
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
    refusedEntries: list.refusedCount,
    refused: list.refused,
  };
}
