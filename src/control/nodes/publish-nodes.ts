import { WartaError } from '../../base/errors.ts';
import type { EnrolledNode } from '../../register/receipt.ts';
import { hashRecord } from '../http/route.ts';
import type { NodesFile } from '../publishing/nodes-file.ts';
import type { NodeRecord, Store, Tables } from '../store.ts';
import { listAll } from './list-all.ts';

/** Attempts while other processes write the file too; the next look at it puts right what is still wrong then. */
const ATTEMPTS = 5;

/** Who the trail of changes names for what the server does on its own. */
const SYSTEM = 'system';

/** Lists the nodes whose receipts and credentials count. */
export async function listEnrolledNodes(tables: Pick<Tables, 'nodes'>): Promise<EnrolledNode[]> {
  const records = await listAll(tables.nodes, { where: { revokedSeconds: null } });
  return records.map(({ licensee, node, publicKey }) => ({ licensee, node, publicKey }));
}

/**
 * Makes nodes.json of the public tree say what the store says. Writes nothing when it does already; several processes may do
 * this at once, and the last one to read the store wins.
 *
 * @throws {WartaError} `store-failed`, `log-busy` when others kept writing.
 */
export async function publishNodes(store: Pick<Store, 'read'>, file: NodesFile): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const replace = await file.prepareReplacement();
    try {
      await replace(await store.read(listEnrolledNodes));
      return;
    } catch (error) {
      const isBusy = error instanceof WartaError && error.code === 'log-busy';
      if (!isBusy || attempt === ATTEMPTS) throw error;
    }
  }
}

/**
 * Takes over the nodes of a register that had none but those of its file, when the store has none yet: otherwise the first
 * publication would put every node out. Returns how many.
 */
export async function adoptNodes(
  store: Pick<Store, 'transaction'>,
  file: NodesFile,
  nowSeconds: number,
): Promise<number> {
  const { nodes } = await file.read();
  if (nodes.length === 0) return 0;
  return store.transaction(async (tables) => {
    if ((await tables.nodes.count()) > 0) return 0;
    for (const { licensee, node, publicKey } of nodes) {
      const record: NodeRecord = {
        ...{ id: `${licensee}/${node}`, licensee, node, publicKey },
        ...{ enrolledBy: SYSTEM, enrolledSeconds: nowSeconds, revokedSeconds: null, version: 1 },
      };
      await tables.nodes.insert(record);
      await tables.audit.append({
        ...{ atSeconds: nowSeconds, actor: SYSTEM, role: SYSTEM, action: 'take over a node of the register' },
        ...{ subject: `nodes/${record.id}`, reason: null, beforeHash: null, afterHash: hashRecord(record) },
      });
      if ((await tables.licensees.get(licensee)) !== undefined) continue;
      await tables.licensees.insert({
        id: licensee,
        name: licensee,
        classes: [],
        createdSeconds: nowSeconds,
        version: 1,
      });
    }
    return nodes.length;
  });
}

/** Publishes the list of nodes after each change, one publication at a time. */
export class NodesPublisher {
  readonly #publish: () => Promise<void>;
  readonly #onFault: (error: unknown) => void;
  #underWay: Promise<void> | undefined;
  #isDue = false;

  /** `onFault` is told of a failure; whoever calls `changed` now and then tries it again. */
  constructor(store: Pick<Store, 'read'>, file: NodesFile, onFault: (error: unknown) => void = () => {}) {
    this.#publish = () => publishNodes(store, file);
    this.#onFault = onFault;
  }

  /** Publishes what the store says now, soon. */
  changed(): void {
    this.#isDue = true;
    this.#underWay ??= this.#run();
  }

  /** Resolves when nothing is left to publish. */
  async settle(): Promise<void> {
    while (this.#underWay !== undefined) await this.#underWay;
  }

  async #run(): Promise<void> {
    try {
      while (this.#isDue) {
        this.#isDue = false;
        await this.#publish();
      }
    } catch (error) {
      this.#onFault(error);
    } finally {
      this.#underWay = undefined;
    }
  }
}
