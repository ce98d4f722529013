import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { RuleClock, systemClock } from '../base/clock.ts';
import { describeError, WartaError } from '../base/errors.ts';
import { loadLibc } from '../base/libc.ts';
import { createCounterBuffer, SharedCounters } from '../metrics/shared-counters.ts';
import { RuleTable } from '../rules/rule-table.ts';
import { ClientAcl } from './client-acl.ts';
import type { ForwardOptions } from './data-plane.ts';
import { type CertificateEvent, type EncryptedOptions, EncryptedService } from './encrypted/encrypted-service.ts';
import { createGatewayMonitor, type GatewayOptions } from './gateway-monitor.ts';
import type { HealthMonitor } from './health-monitor.ts';
import type { QueryStages } from './query-stages.ts';
import type { SocketAddress } from './socket-address.ts';
import { createStages, type StageSettings } from './stage-settings.ts';
import { StreamExchange } from './stream-exchange.ts';
import { StreamForwarder } from './stream-forwarder.ts';
import { type StreamLimits, StreamListener } from './stream-listener.ts';
import { UpstreamMonitor } from './upstream-monitor.ts';
import { SIGNAL, type ThreadMessage, type WorkerNews, type WorkerStart } from './worker-link.ts';

export interface ResolverOptions {
  listen: readonly SocketAddress[];
  upstreams: readonly SocketAddress[];
  io: 'batch' | 'dgram' | 'auto';
  workers: number;
  settings: StageSettings;
  forward: Omit<ForwardOptions, 'listen' | 'upstreamCount'>;
  streams: StreamLimits;
  /** DoT and DoH; absent when neither is served. */
  encrypted?: EncryptedOptions;
  /** Where hosts with listed pages are steered to, and redirected names. */
  gateway?: GatewayOptions;
  health: { checkName: string; intervalMillis: number; timeoutMillis: number };
  table: SharedArrayBuffer;
  /** Ends are never judged by an earlier time than this. */
  floorSeconds: number;
  /** Told of everything an operator should read in the log. No client address ever comes through here. */
  onEvent(event: ResolverEvent): void;
}

export type ResolverEvent =
  | CertificateEvent
  | { kind: 'io'; io: 'batch' | 'dgram'; reason?: string }
  | { kind: 'upstream'; upstream: SocketAddress; up: boolean }
  | { kind: 'gateway'; address: string; up: boolean }
  | { kind: 'worker-died'; worker: number; reason: string };

/** A crashed thread is started again after so long. */
const RESTART_MILLIS = 200;
const NO_GATEWAY: GatewayOptions = { addresses: [], checkPorts: [], intervalMillis: 1000, timeoutMillis: 1000 };
/** How long threads get to finish their batch when the resolver stops. */
const STOP_MILLIS = 1000;

interface Thread {
  worker: Worker;
  port: MessagePort;
  counters: SharedArrayBuffer;
  /** It answers queries. */
  serving: boolean;
  exited: Promise<void>;
}

/**
 * The running resolver: data-plane threads for UDP, TCP and encrypted streams on the event loop, health checks, and the one table all of them
 * use. `swap` replaces the table whole; nothing else about it ever changes.
 */
export class Resolver {
  /** Addresses in use. */
  readonly listen: SocketAddress[];
  readonly io: 'batch' | 'dgram';
  readonly monitor: UpstreamMonitor;
  readonly gateways: HealthMonitor;
  /** Counters of every thread, the event loop's first. */
  readonly counters: SharedCounters[];
  readonly clock: RuleClock;
  readonly streams: StreamListener;
  readonly encrypted: EncryptedService | undefined;
  table: RuleTable;
  /** Category ids of the table in use, in the order of the counters. */
  categories: readonly string[];
  readonly #options: ResolverOptions;
  readonly #settings: StageSettings;
  readonly #threads: (Thread | undefined)[] = [];
  readonly #signals = new SharedArrayBuffer(8);
  readonly #stages: QueryStages;
  #floorSeconds: number;
  #stopping = false;

  private constructor(options: ResolverOptions, listen: SocketAddress[], parts: ResolverParts) {
    this.#options = options;
    this.listen = listen;
    this.io = parts.io;
    this.monitor = parts.monitor;
    this.gateways = parts.gateways;
    this.#settings = parts.settings;
    this.counters = [parts.counters];
    this.clock = parts.clock;
    this.streams = parts.streams;
    this.encrypted = parts.encrypted;
    this.table = parts.table;
    this.categories = parts.table.categories;
    this.#stages = parts.stages;
    this.#floorSeconds = options.floorSeconds;
  }

  /**
   * Starts everything and returns once every thread serves.
   *
   * @throws {WartaError} `socket-failed` when an address cannot be had; `io-unavailable` for `io: batch` without FFI.
   */
  static async start(options: ResolverOptions): Promise<Resolver> {
    const io = chooseIo(options);
    const table = new RuleTable(options.table);
    const counters = new SharedCounters(createCounterBuffer());
    const clock = new RuleClock(systemClock, options.floorSeconds);
    const monitor = new UpstreamMonitor({
      upstreams: options.upstreams,
      ...options.health,
      proxyProtocol: options.forward.proxyProtocol,
      onChange: (upstream, up) => options.onEvent({ kind: 'upstream', upstream: options.upstreams[upstream]!, up }),
    });
    const gateways = createGatewayMonitor(options.gateway ?? NO_GATEWAY, (address, up) =>
      options.onEvent({ kind: 'gateway', address, up }),
    );
    const steering = { addresses: options.gateway?.addresses ?? [], up: gateways.up.buffer as SharedArrayBuffer };
    const settings: StageSettings = { ...options.settings, steering };
    const stages = createStages(settings, { counters, clock }, table);
    const createForwarder = (own: SharedCounters, maxPending: number) =>
      new StreamForwarder({
        ...{ upstreams: options.upstreams, upstreamUp: monitor.up, counters: own, maxPending },
        timeoutMillis: options.forward.timeoutMillis,
        attempts: options.forward.attempts,
        proxyProtocol: options.forward.proxyProtocol,
      });
    const exchange = new StreamExchange(stages, createForwarder(counters, options.streams.maxConnections), false);
    const streams = new StreamListener(new ClientAcl(options.settings.allow), exchange, options.streams);
    let encrypted: EncryptedService | undefined;
    let resolver: Resolver | undefined;
    try {
      // TCP first: it refuses a port in use, which SO_REUSEPORT on UDP would silently share with a forgotten process.
      const listen: SocketAddress[] = [];
      for (const address of options.listen) listen.push(await streams.open(address));
      encrypted =
        options.encrypted &&
        (await EncryptedService.start(options.encrypted, {
          ...{ settings, clock, table: options.table, onEvent: options.onEvent },
          createForwarder: (own) => createForwarder(own, options.encrypted!.limits.maxConnections),
        }));
      const parts = { io, monitor, gateways, settings, counters, clock, streams, encrypted, stages, table };
      const started = new Resolver(options, listen, parts);
      resolver = started;
      await gateways.checkAll();
      await Promise.all(Array.from({ length: options.workers }, (_, i) => started.#startThread(i)));
      monitor.start();
      if (options.gateway !== undefined) gateways.start();
      return started;
    } catch (error) {
      streams.close();
      await Promise.all([encrypted?.stop(), resolver?.stop()]);
      throw error;
    }
  }

  /** Replaces the table in every thread; each takes it between two batches, so no query is lost or judged by half of it. */
  swap(table: SharedArrayBuffer): void {
    this.table = new RuleTable(table);
    this.categories = this.table.categories;
    this.#stages.useTable(this.table);
    this.encrypted?.useTable(table);
    this.#tell({ table });
  }

  /** Raises the time below which ends are never judged. */
  raiseFloor(seconds: number): void {
    if (seconds <= this.#floorSeconds) return;
    this.#floorSeconds = seconds;
    this.clock.raiseFloor(seconds);
    this.#tell({ floorSeconds: seconds });
  }

  /** Stops within about a second: batches under way are finished, connections closed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.monitor.stop();
    this.gateways.stop();
    this.streams.close();
    Atomics.store(new Int32Array(this.#signals), SIGNAL.STOP, 1);
    await Promise.all([this.encrypted?.stop(), ...this.#threads.map((thread) => thread && endThread(thread))]);
  }

  /** Whether every data-plane thread answers queries. */
  get serving(): boolean {
    return this.#threads.every((thread) => thread?.serving === true);
  }

  #tell(news: WorkerNews): void {
    for (const thread of this.#threads) thread?.port.postMessage(news);
    Atomics.add(new Int32Array(this.#signals), SIGNAL.NEWS, 1);
  }

  /** Starts thread `i` and resolves when it serves; later, a thread that dies is replaced, with its counters kept. */
  #startThread(i: number): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    const counters = this.#threads[i]?.counters ?? createCounterBuffer();
    const start: WorkerStart = {
      io: this.io,
      forward: { ...this.#options.forward, listen: this.listen, upstreamCount: this.#options.upstreams.length },
      upstreams: this.#options.upstreams,
      settings: this.#settings,
      table: this.table.buffer,
      floorSeconds: this.#floorSeconds,
      counters,
      upstreamUp: this.monitor.up.buffer as SharedArrayBuffer,
      signals: this.#signals,
      port: port2,
    };
    const worker = new Worker(new URL('./data-plane-worker.ts', import.meta.url), {
      workerData: start,
      transferList: [port2],
    });
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const thread: Thread = { worker, port: port1, counters, serving: false, exited };
    this.#threads[i] = thread;
    this.counters[i + 1] = new SharedCounters(counters);
    return new Promise((resolve, reject) => {
      let served = false;
      let listeners: readonly number[] = [];
      let told = false;
      const fail = (error: Error) => {
        thread.serving = false;
        told = true;
        if (served) this.#options.onEvent({ kind: 'worker-died', worker: i, reason: describeError(error) });
        else reject(error);
      };
      worker.on('message', (message: ThreadMessage) => {
        if ('failed' in message) return fail(new WartaError(message.code, message.failed));
        if ('closed' in message) {
          listeners = [];
          return;
        }
        listeners = message.listeners;
        served = true;
        thread.serving = true;
        resolve();
      });
      worker.on('error', fail);
      worker.once('exit', (code) => {
        thread.serving = false;
        port1.close();
        // Left open they would take their share of the port's queries for good and answer none.
        for (const fd of listeners) loadLibc().close(fd);
        if (served && !told && !this.#stopping) fail(new Error(`it ended with code ${code}`));
        if (!this.#stopping && served) setTimeout(() => this.#restartThread(i), RESTART_MILLIS);
        reject(new WartaError('socket-failed', 'a data-plane thread ended before it served')); // nothing once it served
      });
    });
  }

  #restartThread(i: number): void {
    if (this.#stopping) return;
    this.#startThread(i).catch((error: Error) => {
      this.#options.onEvent({ kind: 'worker-died', worker: i, reason: error.message });
      setTimeout(() => this.#restartThread(i), RESTART_MILLIS * 10);
    });
  }
}

interface ResolverParts {
  io: 'batch' | 'dgram';
  monitor: UpstreamMonitor;
  gateways: HealthMonitor;
  settings: StageSettings;
  counters: SharedCounters;
  clock: RuleClock;
  streams: StreamListener;
  encrypted: EncryptedService | undefined;
  stages: QueryStages;
  table: RuleTable;
}

/** Picks the backend and says so; `auto` falls back to dgram where FFI is not available. */
function chooseIo(options: ResolverOptions): 'batch' | 'dgram' {
  if (options.io === 'dgram') {
    options.onEvent({ kind: 'io', io: 'dgram' });
    return 'dgram';
  }
  try {
    loadLibc();
    options.onEvent({ kind: 'io', io: 'batch' });
    return 'batch';
  } catch (cause) {
    const reason = describeError(cause);
    if (options.io === 'batch') {
      throw new WartaError('io-unavailable', `batch I/O is not available (${reason}): set resolver.io to auto`, {
        cause,
      });
    }
    options.onEvent({ kind: 'io', io: 'dgram', reason });
    return 'dgram';
  }
}

async function endThread(thread: Thread): Promise<void> {
  const timer = setTimeout(() => void thread.worker.terminate(), STOP_MILLIS);
  await thread.exited;
  clearTimeout(timer);
}
