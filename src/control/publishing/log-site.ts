import { readFileSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import { type Clock, systemClock } from '../../base/clock.ts';
import { describeError, WartaError } from '../../base/errors.ts';
import { DirectoryStorage } from '../../log/directory-storage.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { Sequencer } from '../../log/sequencer.ts';
import { createHttpWitness, type WitnessClient } from '../../log/witness-client.ts';
import type { Authorities } from '../../register/authorities.ts';
import { publicKeyOf, readPrivateKey } from '../../register/key.ts';
import type { HeartbeatTerms } from './heartbeat.ts';
import type { LogConfig } from './log-config.ts';
import { createLogServer } from './log-server.ts';
import { NodesFile } from './nodes-file.ts';
import { FolderCopy, openPublicTree } from './public-tree.ts';
import { PublishedTrust } from './published-trust.ts';
import { ReceiptStore } from './receipt-store.ts';
import { type PublisherEvent, RegisterPublisher } from './register-publisher.ts';
import { renewTimestamp } from './trust-renewal.ts';

/** Something worth a line in the operator's log. */
export type LogEvent = PublisherEvent | { kind: 'fault'; error: unknown };

/** How often the TUF timestamp is looked at, and what changed in the folder is copied to the bucket. */
const CHORES_MILLIS = 60_000;

/** What is given to a log besides its configuration. */
export interface LogSiteOptions {
  readonly clock?: Clock;
  readonly onEvent?: (event: LogEvent) => void;
  /** Witnesses in this process instead of those of the configuration. */
  readonly witnesses?: readonly WitnessClient[];
}

/** A log with everything around it, as its configuration says. */
export class LogSite {
  readonly publisher: RegisterPublisher;
  readonly sequencer: Sequencer;
  readonly nodes: NodesFile;
  readonly receipts: ReceiptStore;
  readonly #config: LogConfig;
  readonly #clock: Clock;
  readonly #onEvent: (event: LogEvent) => void;
  readonly #copy: FolderCopy | undefined;
  #timer: NodeJS.Timeout | undefined;
  #chores: Promise<void> = Promise.resolve();

  private constructor(
    config: LogConfig,
    { clock = systemClock, onEvent = () => {} }: LogSiteOptions,
    parts: { sequencer: Sequencer; publisher: RegisterPublisher; publicTree: LogStorage; copy?: FolderCopy },
  ) {
    this.#config = config;
    this.#clock = clock;
    this.#onEvent = onEvent;
    this.sequencer = parts.sequencer;
    this.publisher = parts.publisher;
    this.#copy = parts.copy;
    this.nodes = new NodesFile(new DirectoryStorage(config.public));
    this.receipts = new ReceiptStore({ storage: parts.publicTree, nodes: this.nodes, origin: config.origin, clock });
  }

  /**
   * Opens a log: checks that the trust repository names it and its keys, finishes what an earlier process left, publishes.
   *
   * @throws {WartaError} `config-invalid` when key, witnesses or heartbeat are not those of authorities.json, `log-busy` when
   *   another process has the log, `trust-invalid`, `key-invalid`, `log-invalid`, `store-failed`.
   */
  static async open(config: LogConfig, options: LogSiteOptions = {}): Promise<LogSite> {
    const { clock = systemClock, onEvent } = options;
    const privateKey = readPrivateKey(config.key);
    const publicTree = await openPublicTree(config);
    const trust = openTrust(config);
    const { authorities } = await trust.read(clock.wallMillis() / 1000);
    requireOwnKey(config, publicKeyOf(privateKey), authorities);
    const heartbeat = readHeartbeat(config, authorities);
    const copy = config.bucket && new FolderCopy(config.public, publicTree);
    await copy?.update();
    const sequencer = await Sequencer.open({
      storage: publicTree,
      state: new DirectoryStorage(config.state, { isPrivate: true }),
      origin: config.origin,
      privateKey,
      witnesses: options.witnesses ?? findWitnesses(config, authorities),
      quorum: authorities.file.quorum,
      clock,
      onFault: (error) => onEvent?.({ kind: 'fault', error }),
    });
    try {
      const sealedTree = new DirectoryStorage(config.sealed, { isPrivate: true });
      const { freshSeconds } = config;
      const terms = { sequencer, publicTree, sealedTree, trust, clock, heartbeat, freshSeconds, onEvent };
      const publisher = await RegisterPublisher.open(terms);
      return new LogSite(config, options, { sequencer, publisher, publicTree, copy });
    } catch (error) {
      await sequencer.close();
      throw error;
    }
  }

  /** Creates the HTTP server of this log; listening is the caller's. */
  createServer(): FastifyInstance {
    return createLogServer({
      publicFolder: this.#config.public,
      sealedFolder: this.#config.sealed,
      origin: this.#config.origin,
      nodes: this.nodes,
      receipts: this.receipts,
      publisher: () => this.publisher,
      clock: this.#clock,
      onFault: (error) => this.#onEvent({ kind: 'fault', error }),
    });
  }

  /** Begins with what is done on time: heartbeats, fresh cosignatures, the TUF timestamp. */
  start(): void {
    this.publisher.start();
    const work = () => {
      this.#chores = this.#chores.then(() => this.doChores());
    };
    work();
    this.#timer = setInterval(work, CHORES_MILLIS);
  }

  /** Signs a new TUF timestamp if one is due, and copies what is new to the bucket. A failure is told, and tried again. */
  async doChores(): Promise<void> {
    try {
      renewTimestamp(this.#config, readFileSync(this.#config.root), this.#clock.wallMillis() / 1000);
      await this.#copy?.update();
    } catch (error) {
      this.#onEvent({ kind: 'fault', error });
    }
  }

  /** Ends after the statement under way, and lets the log go. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#chores;
    await this.publisher.stop();
    await this.sequencer.close();
  }
}

/** Opens the trust repository of a log's public tree, from its pinned root. */
export function openTrust({ root, policyPack, public: folder }: LogConfig): PublishedTrust {
  try {
    return new PublishedTrust(new DirectoryStorage(folder), readFileSync(root), readFileSync(policyPack));
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    const advice = 'copy the first TUF root and the policy pack to where the configuration says';
    throw new WartaError('config-invalid', `${advice}: ${describeError(cause)}`, { cause });
  }
}

/** Requires that authorities.json names this log: nodes would refuse every checkpoint otherwise. */
function requireOwnKey({ origin }: LogConfig, publicKey: string, { file }: Authorities): void {
  if (file.log?.origin === origin && file.log.publicKey === publicKey) return;
  const wanted = JSON.stringify({ origin, publicKey });
  throw new WartaError('config-invalid', `authorities.json names another log: publish one with "log": ${wanted}`);
}

/** Returns the clients of the witnesses that the configuration gives addresses of; their keys are those of authorities.json. */
function findWitnesses({ witnesses }: LogConfig, { file }: Authorities): WitnessClient[] {
  return witnesses.map(({ name, url }) => {
    const known = file.witnesses?.find((one) => one.name === name);
    if (known !== undefined) return createHttpWitness({ name, publicKey: known.publicKey, url });
    throw new WartaError('config-invalid', `witnesses: authorities.json has no witness ${name}`);
  });
}

/**
 * Returns how heartbeats are signed.
 *
 * @throws {WartaError} `config-invalid` when the key is nobody's, or may sign more than heartbeats: it lies on a server.
 */
function readHeartbeat({ heartbeat }: LogConfig, { byId }: Authorities): HeartbeatTerms | undefined {
  if (heartbeat === undefined) return undefined;
  const { key, authority, seconds: intervalSeconds } = heartbeat;
  const privateKey = readPrivateKey(key);
  const publicKey = publicKeyOf(privateKey);
  const holders = [...byId.values()].flatMap(({ id, officers }) =>
    officers.filter((officer) => officer.publicKey === publicKey).map((officer) => ({ authority: id, officer })),
  );
  const own = holders.find((one) => one.authority === authority);
  if (own === undefined) {
    throw new WartaError('config-invalid', `heartbeat: ${authority} has no officer with the key ${publicKey}`);
  }
  if (holders.some(({ officer }) => [...officer.signs].some((type) => type !== 'heartbeat'))) {
    throw new WartaError('config-invalid', `heartbeat: ${own.officer.id} may sign more: give it "may": ["heartbeat"]`);
  }
  return { authority, intervalSeconds, signer: { keyId: own.officer.id, privateKey } };
}
