import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { RuleClock, systemClock } from '../base/clock.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { SharedCounters } from '../metrics/shared-counters.ts';
import { RuleTable } from '../rules/rule-table.ts';
import { DataPlane } from './data-plane.ts';
import { BatchIo } from './io/batch-io.ts';
import type { DatagramIo, DatagramIoOptions } from './io/datagram-io.ts';
import { DgramIo } from './io/dgram-io.ts';
import { createStages } from './stage-settings.ts';
import { SIGNAL, type ThreadMessage, type WorkerNews, type WorkerStart } from './worker-link.ts';

/** Runs the data plane on this thread until it is told to stop. */
async function serve(start: WorkerStart): Promise<void> {
  const signals = new Int32Array(start.signals);
  const counters = new SharedCounters(start.counters);
  const clock = new RuleClock(systemClock, start.floorSeconds);
  const stages = createStages(start.settings, { counters, clock }, new RuleTable(start.table));
  const options: DatagramIoOptions = {
    listen: start.forward.listen,
    upstreams: start.upstreams,
    portsPerUpstream: start.forward.portsPerUpstream,
    pendingSlots: start.forward.pendingSlots,
  };
  const io: DatagramIo = start.io === 'batch' ? new BatchIo(options) : await DgramIo.open(options);
  let seen = 0;
  const poll = (): boolean => {
    const news = Atomics.load(signals, SIGNAL.NEWS);
    if (news !== seen) {
      seen = news;
      for (let got = receiveMessageOnPort(start.port); got !== undefined; got = receiveMessageOnPort(start.port)) {
        const { table, floorSeconds } = got.message as WorkerNews;
        if (floorSeconds !== undefined) clock.raiseFloor(floorSeconds);
        if (table !== undefined) stages.useTable(new RuleTable(table));
      }
    }
    return Atomics.load(signals, SIGNAL.STOP) === 0;
  };
  const plane = new DataPlane(io, stages, start.forward, {
    counters,
    upstreamUp: new Int32Array(start.upstreamUp),
    poll,
    monotonicMillis: () => performance.now(),
  });
  const tell = (message: ThreadMessage) => parentPort!.postMessage(message);
  tell({ ready: true, listeners: io.descriptors });
  try {
    await io.run(plane);
  } finally {
    tell({ closed: true });
  }
  start.port.close();
}

serve(workerData as WorkerStart).catch((error: unknown) => {
  parentPort!.postMessage({
    failed: describeError(error),
    code: error instanceof WartaError ? error.code : 'socket-failed',
  });
});
