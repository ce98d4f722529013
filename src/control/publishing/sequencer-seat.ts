import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import type { WitnessClient } from '../../log/witness-client.ts';
import type { EventSink, PublicationSink } from '../services.ts';
import type { Store } from '../store.ts';
import type { LogConfig } from './log-config.ts';
import { type LogEvent, LogSite } from './log-site.ts';
import { PublicationQueue } from './publication-queue.ts';

/** What a seat needs. */
export interface SequencerSeatOptions {
  readonly store: Store;
  readonly config: LogConfig;
  readonly clock: Clock;
  readonly events: EventSink;
  /** Witnesses in this process instead of those of the configuration. */
  readonly witnesses?: readonly WitnessClient[];
  readonly onEvent?: (event: LogEvent) => void;
  /** Runs in the process that has the sequencer, once after taking it and then every minute. */
  readonly chores?: () => Promise<void>;
  /** Goes on in that process for as long as it has the sequencer. */
  readonly duty?: Duty;
}

/** Something that one process does. */
export interface Duty {
  start(): void;
  stop(): Promise<void>;
}

/** How long a process waits before it tries for the sequencer again. */
const RETRY_MILLIS = 1000;
const CHORES_MILLIS = 60_000;

/** Name of the lock in the store. */
const LOCK = 'sequencer';

const LOST = 'the connection that held the sequencer is lost: trying for it again';

/** What a process has while it has the sequencer. */
interface Holding {
  readonly site: LogSite;
  readonly queue: PublicationQueue;
  readonly release: () => Promise<void>;
  readonly timer: NodeJS.Timeout | undefined;
}

/**
 * The sequencer among several processes on one database: one has it, the others wait for it. Two locks keep it single: the
 * store's, which ends with the process's connection, and the log's own, which ends with the process.
 */
export class SequencerSeat implements PublicationSink {
  readonly #options: SequencerSeatOptions;
  #holding: Holding | undefined;
  #timer: NodeJS.Timeout | undefined;
  #trying: Promise<void> = Promise.resolve();
  #chores: Promise<void> = Promise.resolve();
  #losing: Promise<void> = Promise.resolve();
  #stopped = true;

  constructor(options: SequencerSeatOptions) {
    this.#options = options;
  }

  /** The log, while this process has it. */
  get site(): LogSite | undefined {
    return this.#holding?.site;
  }

  /** Begins to try for the sequencer; resolves after the first attempt. */
  start(): Promise<void> {
    this.#stopped = false;
    return this.#try();
  }

  /** Ends after the statement under way, and lets the sequencer go. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#trying;
    await this.#losing;
    await this.#leave();
  }

  wake(): void {
    this.#holding?.queue.wake();
  }

  #try(): Promise<void> {
    this.#trying = this.#take().catch((error) => this.#tell(error));
    return this.#trying.then(() => {
      if (!this.#stopped && this.#holding === undefined) this.#timer = setTimeout(() => this.#try(), RETRY_MILLIS);
    });
  }

  async #take(): Promise<void> {
    const { store, config, clock, witnesses, onEvent, events, chores } = this.#options;
    let isLost = false;
    const release = await store.lock(LOCK, () => {
      isLost = true;
      if (this.#holding !== undefined) this.#losing = this.#lose();
    });
    if (release === undefined) return;
    let site: LogSite | undefined;
    try {
      site = await LogSite.open(config, { clock, witnesses, onEvent });
      if (isLost) throw new WartaError('store-failed', LOST);
      const onFault = (error: unknown) => this.#tell(error);
      const queue = new PublicationQueue({ store, publisher: site.publisher, events, clock, onFault });
      const timer = chores && setInterval(() => this.#doChores(chores), CHORES_MILLIS);
      this.#holding = { site, queue, release, timer };
      site.start();
      queue.start();
      this.#options.duty?.start();
      if (chores !== undefined) this.#doChores(chores);
    } catch (error) {
      await site?.close();
      await release();
      if (!(error instanceof WartaError && error.code === 'log-busy')) throw error;
    }
  }

  /** The connection that held the lock is gone: another process may have it by now. */
  async #lose(): Promise<void> {
    this.#tell(new WartaError('store-failed', LOST));
    await this.#leave().catch((error) => this.#tell(error));
    if (!this.#stopped) await this.#try();
  }

  async #leave(): Promise<void> {
    const holding = this.#holding;
    this.#holding = undefined;
    if (holding === undefined) return;
    clearInterval(holding.timer);
    await this.#options.duty?.stop();
    await holding.queue.stop();
    await this.#chores;
    await holding.site.close();
    await holding.release().catch((error) => this.#tell(error));
  }

  #doChores(chores: () => Promise<void>): void {
    this.#chores = this.#chores.then(chores).catch((error) => this.#tell(error));
  }

  #tell(error: unknown): void {
    this.#options.onEvent?.({ kind: 'fault', error });
  }
}
