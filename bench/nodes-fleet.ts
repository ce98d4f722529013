/** Many nodes in one process, for `bench/nodes.ts`: each with its own store, mirror connection and table. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseName } from '../src/dns/name.ts';
import { NO_RULE } from '../src/rules/layout.ts';
import { RuleTable } from '../src/rules/rule-table.ts';
import { openMirror } from '../src/sync/mirror.ts';
import { SqliteNodeStore } from '../src/sync/node-store.ts';
import { RegisterFollower } from '../src/sync/register-follower.ts';
import { SyncAgent } from '../src/sync/sync-agent.ts';
import type { ListTerms } from '../src/sync/sync-link.ts';
import { LICENSEE, PACK_FILE } from '../test/support/test-authority.ts';

/** What a process of nodes is started with. */
export interface FleetStart {
  nodes: number;
  folder: string;
  mirror: string;
  rootFile: string;
  pollSeconds: number;
}

/** What it says: every node has its first list; when each of them began to block a name, or stopped. */
export type FleetMessage = { kind: 'ready' } | { kind: 'times'; atMillis: number[] };

const start = JSON.parse(process.argv[2]!) as FleetStart;
const pinnedRoot = readFileSync(start.rootFile);
const terms: ListTerms = {
  licensee: LICENSEE,
  anchor: pinnedRoot.toString(),
  pack: readFileSync(PACK_FILE),
  answer: { soaMname: 'a.example', soaRname: 'b.example', operator: 'bench', language: 'en' },
};
const JITTER = 0.1;

/** What every node looks for now. */
let wanted: { wire: Uint8Array; isBlocked: boolean; atMillis: number[] } | undefined;

/** One node: its agent and the table it would serve. */
class FleetNode {
  readonly #agent: SyncAgent;
  #table: RuleTable | undefined;
  #told: unknown;

  constructor(folder: string) {
    const follower = RegisterFollower.open({
      store: SqliteNodeStore.open(join(folder, 'register.db')),
      mirrors: [openMirror(start.mirror, { connections: 2 })],
      pinnedRoot,
      scratch: join(folder, 'scratch'),
    });
    this.#agent = new SyncAgent(follower);
  }

  async look(): Promise<void> {
    const { list, failure } = await this.#agent.cycle(terms, 'bench', Date.now() / 1000);
    if (failure !== undefined) console.error(failure);
    if (list?.tableChanged) this.#table = new RuleTable(list.table);
    this.#check();
  }

  #check(): void {
    if (wanted === undefined || this.#told === wanted) return;
    const now = Date.now() / 1000;
    this.#table!.setTime(now, now);
    if ((this.#table!.findRule(wanted.wire, 0) !== NO_RULE) !== wanted.isBlocked) return;
    this.#told = wanted;
    wanted.atMillis.push(Date.now());
    if (wanted.atMillis.length === start.nodes) process.send!({ kind: 'times', atMillis: wanted.atMillis });
  }

  async follow(): Promise<void> {
    await sleep(Math.random() * start.pollSeconds * 1000);
    for (;;) {
      await this.look();
      await sleep(start.pollSeconds * 1000 * (1 - JITTER + 2 * JITTER * Math.random()));
    }
  }
}

process.on('message', ({ name, isBlocked }: { name: string; isBlocked: boolean }) => {
  wanted = { wire: parseName(name), isBlocked, atMillis: [] };
});
process.on('disconnect', () => process.exit());

const nodes: FleetNode[] = [];
for (let i = 0; i < start.nodes; i++) {
  const node = new FleetNode(join(start.folder, String(i)));
  await node.look();
  nodes.push(node);
}
process.send!({ kind: 'ready' });
for (const node of nodes) void node.follow();
