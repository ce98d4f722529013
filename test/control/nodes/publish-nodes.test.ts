import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNodes, NodesPublisher, publishNodes } from '../../../src/control/nodes/publish-nodes.ts';
import { NODES_PATH, NodesFile } from '../../../src/control/publishing/nodes-file.ts';
import type { NodeRecord, Store } from '../../../src/control/store.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { MemoryStorage } from '../../log/memory-storage.ts';
import { makeFolder } from '../../support/folders.ts';
import { seededKey } from '../../support/log-register.ts';

let store: Store;
let storage: MemoryStorage;
let file: NodesFile;

beforeEach(async () => {
  store = await openStore(`sqlite:${join(makeFolder(), 'control.db')}`);
  storage = new MemoryStorage();
  file = new NodesFile(storage);
});
afterEach(() => store.close());

function compose(node: string, revokedSeconds: number | null = null): NodeRecord {
  const publicKey = publicKeyOf(seededKey(node));
  const common = { enrolledBy: 'operator', enrolledSeconds: 0, version: 1 };
  return { id: `A/${node}`, licensee: 'A', node, publicKey, revokedSeconds, ...common };
}
const add = (...nodes: NodeRecord[]) =>
  store.transaction(async (tables) => {
    for (const node of nodes) await tables.nodes.insert(node);
  });
const names = async () => (await file.read()).nodes.map(({ node }) => node);

describe('the list of nodes', () => {
  it('says what the store says, whatever stood there', async () => {
    await file.enrol({ licensee: 'A', node: 'by-hand', publicKey: publicKeyOf(seededKey('x')) });
    await add(compose('two'), compose('gone', 5), compose('one'));
    await publishNodes(store, file);
    expect(await names()).toEqual(['one', 'two']);
    await store.transaction((tables) => tables.nodes.update('A/one', { revokedSeconds: 7 }));
    await publishNodes(store, file);
    expect(await names()).toEqual(['two']);
    await store.transaction((tables) => tables.nodes.update('A/two', { revokedSeconds: 7 }));
    await publishNodes(store, file);
    expect(await names()).toEqual([]);
  });

  it('is not written when it is the same', async () => {
    await add(compose('one'));
    await publishNodes(store, file);
    let writes = 0;
    const replace = storage.replace.bind(storage);
    storage.replace = async (...given) => {
      writes++;
      return replace(...given);
    };
    await publishNodes(store, file);
    expect(writes).toBe(0);
    await add(compose('two'));
    await publishNodes(store, file);
    expect(writes).toBe(1);
  });

  it('comes to what the store says when another process writes it in between', async () => {
    await add(compose('one'));
    await publishNodes(store, file);
    await add(compose('two'));
    let interruptions = 0;
    const other = {
      read: async <T>(work: Parameters<Store['read']>[0]) => {
        const read = await store.read(work);
        if (interruptions++ < 2)
          await storage.replace(NODES_PATH, Buffer.from('[]\n\n'.slice(interruptions)), await storage.read(NODES_PATH));
        return read as T;
      },
    };
    await publishNodes(other as Store, file);
    expect(await names()).toEqual(['one', 'two']);
    expect(interruptions).toBe(3);
  });

  it('is published after each change, and a failure is told', async () => {
    const faults: unknown[] = [];
    const publisher = new NodesPublisher(store, file, (error) => faults.push(error));
    await add(compose('one'));
    publisher.changed();
    const second = add(compose('two')).then(() => publisher.changed());
    await second;
    await publisher.settle();
    expect(await names()).toEqual(['one', 'two']);
    const replace = storage.replace.bind(storage);
    storage.replace = async () => {
      throw new Error('disk');
    };
    await add(compose('three'));
    publisher.changed();
    await publisher.settle();
    expect(faults).toMatchObject([{ message: 'disk' }]);
    storage.replace = replace;
    publisher.changed();
    await publisher.settle();
    expect(await names()).toEqual(['one', 'three', 'two']);
  });

  it('takes over the nodes of a register without a store, once', async () => {
    await file.enrol({ licensee: 'A', node: 'one', publicKey: publicKeyOf(seededKey('one')) });
    expect(await adoptNodes(store, file, 9)).toBe(1);
    expect(await adoptNodes(store, file, 9)).toBe(0);
    await publishNodes(store, file);
    expect(await names()).toEqual(['one']);
    expect(await store.read((tables) => tables.licensees.get('A'))).toMatchObject({ id: 'A', classes: [] });
    const trail = await store.read((tables) => tables.audit.list({ limit: 9 }));
    expect(trail).toMatchObject([
      { actor: 'system', action: 'take over a node of the register', subject: 'nodes/A/one' },
    ]);
  });
});
