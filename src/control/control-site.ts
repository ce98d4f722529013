import { randomBytes } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../base/clock.ts';
import { DirectoryStorage } from '../log/directory-storage.ts';
import type { WitnessClient } from '../log/witness-client.ts';
import { createAuthenticator } from './access/authenticator.ts';
import { AREAS } from './areas.ts';
import { createChores } from './chores.ts';
import type { ControlConfig } from './control-config.ts';
import { openPreflightSources } from './drafting/preflight/open-sources.ts';
import { MissedReceipts, ReceiptRecorder } from './effect/receipt-rows.ts';
import { createControlApp } from './http/control-app.ts';
import { adoptNodes, NodesPublisher } from './nodes/publish-nodes.ts';
import { tellEvent } from './publishing/log-event.ts';
import { type LogEvent, openTrust } from './publishing/log-site.ts';
import { NodesFile } from './publishing/nodes-file.ts';
import { openPublicTree } from './publishing/public-tree.ts';
import { ReceiptStore } from './publishing/receipt-store.ts';
import { SequencerSeat } from './publishing/sequencer-seat.ts';
import { addTreeRoutes } from './publishing/tree-routes.ts';
import type { ControlServices } from './services.ts';
import type { Store } from './store.ts';
import { createRegisterView } from './view/tree-view.ts';

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
  readonly #seat: SequencerSeat;
  readonly #takesSequencer: boolean;
  readonly #settle: () => Promise<unknown>;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = true;

  private constructor(
    app: FastifyInstance,
    services: ControlServices,
    seat: SequencerSeat,
    takesSequencer: boolean,
    settle: () => Promise<unknown>,
  ) {
    this.app = app;
    this.#settle = settle;
    this.services = services;
    this.#seat = seat;
    this.#takesSequencer = takesSequencer;
  }

  /**
   * Opens everything and adds the routes; nothing listens yet and nothing is sequenced.
   *
   * @throws {WartaError} `config-invalid`, `trust-invalid`, `store-failed`.
   */
  static async open(config: ControlConfig, options: ControlSiteOptions): Promise<ControlSite> {
    const { store, log, clock = systemClock, random = randomBytes, witnesses } = options;
    const onEvent = (event: LogEvent) => tellEvent(log, event);
    const onFault = (error: unknown) => onEvent({ kind: 'fault', error });
    const tree = await openPublicTree(config.log);
    const trust = openTrust(config.log);
    const sealedTree = new DirectoryStorage(config.log.sealed, { isPrivate: true });
    const register = await createRegisterView({ tree, sealedTree, trust, clock });
    const nodesFile = new NodesFile(new DirectoryStorage(config.log.public));
    await adoptNodes(store, nodesFile, Math.floor(clock.wallMillis() / 1000));
    const { origin } = config.log;
    const events = { emit: async () => {}, wake: () => {} };
    const nodes = new NodesPublisher(store, nodesFile, onFault);
    let seat: SequencerSeat;
    const publications = { wake: () => seat.wake() };
    const { pack } = await trust.read(Math.floor(clock.wallMillis() / 1000));
    const { popularNames, resolver } = config;
    const preflight = openPreflightSources({ pack, packFile: config.log.policyPack, popularNames, resolver });
    const services = { store, clock, random, origin, register, trust, publications, events, preflight, nodes, log };
    const recorder = new ReceiptRecorder(store, clock, onFault);
    const chores = createChores(services, { receipts: new MissedReceipts({ store, tree, clock }) });
    seat = new SequencerSeat({ store, config: config.log, clock, events, witnesses, onEvent, chores });
    const app = createControlApp({
      services,
      authenticate: createAuthenticator({ store, clock, origin, nodes: nodesFile, oidc: config.oidc }),
      areas: AREAS,
      addTree: (scope) =>
        addTreeRoutes(scope, {
          publicFolder: config.log.public,
          sealedFolder: config.log.sealed,
          origin,
          nodes: nodesFile,
          receipts: new ReceiptStore({
            ...{ storage: tree, nodes: nodesFile, origin, clock },
            onStored: (receipt, path) => recorder.record(receipt, path),
          }),
          publisher: () => seat.site?.publisher,
          clock,
        }),
      trustedProxies: config.trustedProxies,
      onFault,
    });
    const settle = () => Promise.all([recorder.settle(), nodes.settle()]);
    return new ControlSite(app, services, seat, config.sequencer, settle);
  }

  /** Whether this process has the sequencer. */
  get isSequencing(): boolean {
    return this.#seat.site !== undefined;
  }

  /** Begins to follow the register, and to try for the sequencer; resolves after the first attempt. */
  async start(): Promise<void> {
    this.#stopped = false;
    if (this.#takesSequencer) await this.#seat.start();
    await this.look();
    this.#schedule();
  }

  /** Reads what is new in the register. A failure is told, and tried again. */
  async look(): Promise<void> {
    try {
      await this.services.register.catchUp();
    } catch (error) {
      tellEvent(this.services.log, { kind: 'fault', error });
    }
  }

  /** Lets requests under way finish, then the statement under way, then the sequencer go. */
  async close(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.app.close();
    await this.#looking;
    await this.#seat.stop();
    await this.#settle();
  }

  #schedule(): void {
    this.#timer = setTimeout(async () => {
      this.#looking = this.look();
      await this.#looking;
      if (!this.#stopped) this.#schedule();
    }, LOOK_MILLIS);
  }
}
