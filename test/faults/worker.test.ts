import type { MessagePort, Worker, WorkerOptions } from 'node:worker_threads';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { WorkerStart } from '../../src/resolver/worker-link.ts';
import { askStream, DatagramClient } from '../support/dns-client.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

/** Threads and channels the resolver made, so that a test can do to them what only a fault would. */
const made = vi.hoisted(() => ({ workers: [] as { worker: Worker; data: WorkerStart }[], ports: [] as MessagePort[] }));

vi.mock('node:worker_threads', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:worker_threads')>();
  class RecordedWorker extends original.Worker {
    constructor(url: URL, options: WorkerOptions) {
      super(url, options);
      if (url.href.endsWith('data-plane-worker.ts')) made.workers.push({ worker: this, data: options.workerData });
    }
  }
  class RecordedChannel extends original.MessageChannel {
    constructor() {
      super();
      made.ports.push(this.port1);
    }
  }
  return { ...original, Worker: RecordedWorker, MessageChannel: RecordedChannel };
});

let upstream: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream();
});

afterAll(() => upstream?.close());

beforeEach(() => {
  made.workers.length = 0;
  made.ports.length = 0;
});

/** How a thread may die: from outside, or by an exception of its own (a table that is none). */
const DEATHS = {
  ended: ({ worker }: (typeof made.workers)[number]) => void worker.terminate(),
  threw: ({ data }: (typeof made.workers)[number], port: MessagePort) => {
    port.postMessage({ table: new SharedArrayBuffer(8) });
    Atomics.add(new Int32Array(data.signals), 0, 1);
  },
};

const cases = (['batch', 'dgram'] as const).flatMap((io) =>
  (['ended', 'threw'] as const).flatMap((death) => [1, 2].map((workers) => ({ io, death, workers }))),
);

test.each(cases)('$io I/O: one of $workers threads $death and is replaced', async ({ io, death, workers }) => {
  const site = await NodeSite.prepare({ upstreams: [upstream], resolver: { io, workers } });
  site.register.notice('n', [{ subtree: 'bad.example' }]);
  const node = await site.startHere();
  expect(made.workers.length).toBe(workers);
  DEATHS[death](made.workers[0]!, made.ports[0]!);
  expect((await askStream(node.server, 'bad.example')).rcode).toBe('NXDOMAIN');
  await waitUntil('a thread is started in its place', () => made.workers.length > workers, 5000);
  // No socket of the dead thread may be left to swallow a share of the queries: many clients find out.
  const lost = async () => {
    const clients = Array.from({ length: 64 }, () => new DatagramClient(node.server));
    let count = 0;
    const ask = (client: DatagramClient) =>
      client.askAll(['bad.example', 'good.example'], (_, answer) => void (answer === undefined && count++), {
        timeoutMillis: 1000,
      });
    await Promise.all(clients.map(ask));
    for (const client of clients) client.close();
    return count;
  };
  await waitUntil('every client is answered', async () => (await lost()) === 0, 6000);
  expect(made.workers.length).toBe(workers + 1);
  expect(node.log.join('')).toContain('data-plane thread 0 died');
  await node.stop();
});
