import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { ForwardOptions } from './data-plane.ts';
import type { SocketAddress } from './socket-address.ts';
import type { StageSettings } from './stage-settings.ts';

/** What a data-plane thread is started with. */
export interface WorkerStart {
  io: 'batch' | 'dgram';
  forward: ForwardOptions;
  upstreams: readonly SocketAddress[];
  settings: StageSettings;
  table: SharedArrayBuffer;
  floorSeconds: number;
  counters: SharedArrayBuffer;
  upstreamUp: SharedArrayBuffer;
  /** Words shared with the main thread, see `SIGNAL`. */
  signals: SharedArrayBuffer;
  /** Where new tables and time floors arrive. */
  port: MessagePort;
}

/** Shared words: a change of `NEWS` says that messages wait on the port; `STOP` above zero asks to end. */
export const SIGNAL = { NEWS: 0, STOP: 1 } as const;

/**
 * What a thread says: that it serves, with the file descriptors of its listeners; that it has closed them; why it ended. A
 * thread that is ended from outside, or runs out of memory, closes nothing: then the main thread must.
 */
export type ThreadMessage =
  | { ready: true; listeners: readonly number[] }
  | { closed: true }
  | { failed: string; code: ErrorCode };

/** A new table, a higher time floor, or both. */
export interface WorkerNews {
  table?: SharedArrayBuffer;
  floorSeconds?: number;
}
