/**
 * The program of a node that dies: installed from one mirror, then following another, it kills itself as hard as can be
 * before or after one commit of its store. Prints how many commits it made when it lives.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReceiptQueue } from '../../src/sync/receipt-queue.ts';
import { TestFollower } from '../sync/test-follower.ts';
import { FaultyStore } from './faulty-store.ts';
import { LICENSEE } from './test-authority.ts';

interface Life {
  folder: string;
  rootFile: string;
  mirrors: string[];
  nowSeconds: number;
  /** Number of the commit, and whether it is written. */
  dies?: { at: number; when: 'before' | 'after' };
}

const life = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Life;
let commits = 0;

for (const mirror of life.mirrors) {
  const node = new TestFollower({
    mirrors: [mirror],
    rootFile: life.rootFile,
    folder: life.folder,
    nowSeconds: () => life.nowSeconds,
    wrapStore: (real) => {
      const commit = (changes: Parameters<typeof real.commit>[0]) => {
        const isLast = ++commits === life.dies?.at;
        if (isLast && life.dies?.when === 'before') process.kill(process.pid, 'SIGKILL');
        real.commit(changes);
        if (isLast) process.kill(process.pid, 'SIGKILL');
      };
      return Object.assign(new FaultyStore(real, () => undefined), { commit });
    },
  });
  await node.poll();
  const identity = { licensee: LICENSEE, node: 'node-1', key: generateKeyPairSync('ed25519').privateKey };
  const receipts = new ReceiptQueue(node.store, identity, 'http://127.0.0.1:9/');
  receipts.add(node.list!, node.follower.status(), life.nowSeconds, { mode: 'enforce', steersPages: false });
  await node.close();
}
console.log(JSON.stringify({ commits, store: join(life.folder, 'register.db') }));
