import { randomBytes } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { type Clock, systemClock } from '../base/clock.ts';
import type { WitnessClient } from '../log/witness-client.ts';
import { createAuthenticator } from './access/authenticator.ts';
import { AREAS } from './areas.ts';
import type { ControlConfig } from './control-config.ts';
import { createControlApp } from './http/control-app.ts';
import { type OpenServices, openServices } from './open-services.ts';
import { addTreeRoutes } from './publishing/tree-routes.ts';
import type { ControlServices } from './services.ts';
import type { Store } from './store.ts';

/** What a control site is given besides its configuration. */
export interface ControlSiteOptions {
  /** Opened by the caller, who closes it after the site. */
  readonly store: Store;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Returns that many unpredictable bytes. */
  readonly random?: (sizeBytes: number) => Uint8Array;
  /** Witnesses in this process instead of those of the configuration. */
  readonly witnesses?: readonly WitnessClient[];
}

/** How often a process looks whether the register has grown. */
const LOOK_MILLIS = 200;

/** One process of the control API, and the log while this process has the sequencer. */
export class ControlSite {
  readonly app: FastifyInstance;
  readonly services: ControlServices;
  readonly #opened: OpenServices;
  readonly #takesSequencer: boolean;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = true;

  private constructor(app: FastifyInstance, opened: OpenServices, takesSequencer: boolean) {
    this.app = app;
    this.services = opened.services;
    this.#opened = opened;
    this.#takesSequencer = takesSequencer;
  }

  /**
   * Opens everything and adds the routes; nothing listens yet and nothing is sequenced.
   *
   * @throws {WartaError} `config-invalid`, `trust-invalid`, `store-failed`.
   */
  static async open(config: ControlConfig, options: ControlSiteOptions): Promise<ControlSite> {
    const { store, log, clock = systemClock, random = randomBytes, witnesses } = options;
    const opened = await openServices(config, { store, log, clock, random, witnesses });
    const { services, nodesFile, receipts, onFault } = opened;
    const { origin, public: publicFolder, sealed: sealedFolder } = config.log;
    const publisher = () => opened.seat.site?.publisher;
    const app = createControlApp({
      services,
      authenticate: createAuthenticator({
        store,
        clock,
        origin,
        nodes: nodesFile,
        trust: services.trust,
        oidc: config.oidc,
      }),
      areas: AREAS,
      addTree: (scope) =>
        addTreeRoutes(scope, { publicFolder, sealedFolder, origin, nodes: nodesFile, receipts, publisher, clock }),
      trustedProxies: config.trustedProxies,
      onFault,
    });
    return new ControlSite(app, opened, config.sequencer);
  }

  /** What Prometheus is told of this process. */
  get metrics(): Registry {
    return this.#opened.metrics;
  }

  /** Whether this process has the sequencer. */
  get isSequencing(): boolean {
    return this.#opened.seat.site !== undefined;
  }

  /** Begins to follow the register, and to try for the sequencer; resolves after the first attempt. */
  async start(): Promise<void> {
    this.#stopped = false;
    if (this.#takesSequencer) await this.#opened.seat.start();
    await this.look();
    this.#schedule();
  }

  /** Lets the sequencer go after the statement under way; another process takes it. */
  async stopSequencing(): Promise<void> {
    await this.#opened.seat.stop();
  }

  /** Reads what is new in the register. A failure is told, and tried again. */
  async look(): Promise<void> {
    await this.services.register.catchUp().catch(this.#opened.onFault);
  }

  /** Lets requests under way finish, then the statement under way, then the sequencer go. */
  async close(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.app.close();
    await this.#looking;
    await this.stopSequencing();
    await this.#opened.settle();
  }

  #schedule(): void {
    this.#timer = setTimeout(async () => {
      this.#looking = this.look();
      await this.#looking;
      if (!this.#stopped) this.#schedule();
    }, LOOK_MILLIS);
  }
}
