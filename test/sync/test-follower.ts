import { hash, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NO_RULE } from '../../src/rules/layout.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import type { CompiledList } from '../../src/sync/list-compiler.ts';
import { type Mirror, openMirror } from '../../src/sync/mirror.ts';
import { composeCredential } from '../../src/sync/node-identity.ts';
import { type NodeStore, SqliteNodeStore } from '../../src/sync/node-store.ts';
import { RegisterFollower } from '../../src/sync/register-follower.ts';
import { SyncAgent } from '../../src/sync/sync-agent.ts';
import { composeName } from '../support/dns-message.ts';
import { LICENSEE, PACK_FILE } from '../support/test-authority.ts';

/** What a follower of a test is opened with. */
export interface TestFollowerOptions {
  /** URLs or folders. */
  mirrors: readonly string[];
  /** 1.root.json. */
  rootFile: string;
  /** What is kept between two runs. */
  folder: string;
  nowSeconds(): number;
  licensee?: string;
  /** How long a mirror is waited for: generous, but for those that a test knows to be slow. */
  timeoutMillis?: (url: string) => number;
  patienceMillis?: number;
  sealed?: { url: string; key: KeyObject; origin: string };
  /** Puts something between the follower and its store. */
  wrapStore?: (store: NodeStore) => NodeStore;
}

/** Answers say nothing that these tests look at. */
const ANSWER = {
  soaMname: 'warta.invalid',
  soaRname: 'hostmaster.warta.invalid',
  operator: 'Test ISP',
  language: 'en',
};
const NODE = 'node-1';

/** What a node makes of the register: the real follower, store, mirrors and compiler, without threads and sockets of DNS. */
export class TestFollower {
  readonly follower: RegisterFollower;
  readonly store: NodeStore;
  /** The last list compiled. */
  list: CompiledList | undefined;
  /** Why the last look failed, if it did: codes of what was thrown. */
  failure: string | undefined;
  readonly #options: TestFollowerOptions;
  readonly #agent: SyncAgent;

  constructor(options: TestFollowerOptions) {
    const { folder, sealed, timeoutMillis = () => 10_000, wrapStore = (store) => store } = options;
    this.#options = options;
    this.store = wrapStore(SqliteNodeStore.open(join(folder, 'register.db')));
    const identity = { licensee: options.licensee ?? LICENSEE, node: NODE, key: sealed?.key as KeyObject };
    this.follower = RegisterFollower.open({
      store: this.store,
      mirrors: options.mirrors.map((url): Mirror => openMirror(url, { timeoutMillis: timeoutMillis(url) })),
      pinnedRoot: readFileSync(options.rootFile),
      scratch: join(folder, 'scratch'),
      sealed: sealed && {
        mirror: openMirror(sealed.url),
        authorize: (path) => composeCredential(identity, sealed.origin, path, options.nowSeconds()),
      },
    });
    this.#agent = new SyncAgent(this.follower, options.patienceMillis);
  }

  /** Looks for news once, as a node does at every poll. Returns why that failed, if it did. */
  async poll(): Promise<string | undefined> {
    const { licensee = LICENSEE, nowSeconds } = this.#options;
    const terms = { licensee, anchor: '', pack: readFileSync(PACK_FILE), answer: ANSWER };
    try {
      const { list, failure } = await this.#agent.cycle(terms, 'terms', nowSeconds());
      this.list = list ?? this.list;
      this.failure = failure === undefined ? undefined : codeOf(failure);
    } catch (error) {
      this.failure = codeOf(error);
    }
    return this.failure;
  }

  /** Which of these names the list blocks at a time, now unless given. */
  blocked(names: readonly string[], atSeconds = this.#options.nowSeconds()): string[] {
    if (this.list === undefined) return [];
    const table = new RuleTable(this.list.table);
    table.setTime(atSeconds, atSeconds);
    return names.filter((name) => table.findRule(composeName(name), 0) !== NO_RULE);
  }

  /** All that must not change when an attack fails: the table octet by octet, and the digest a receipt states. */
  get rules() {
    const { table, rulesDigest } = this.list!;
    return { table: hash('sha256', new Uint8Array(table)), rulesDigest };
  }

  /** Codes of everything refused so far. */
  get incidents(): string[] {
    return this.follower
      .status()
      .incidents.map(({ code }) => code)
      .sort();
  }

  /** Verdicts on void statements as `name code`. */
  get voids(): string[] {
    return this.list!.verdicts.filter(({ ok }) => !ok).map(({ name, code }) => `${name} ${code}`);
  }

  close(): Promise<void> {
    return this.follower.close();
  }
}

/** The code of an error of ours; anything else in full, so that a test shows it. */
export function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String((error as Error).stack ?? error);
}
