import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import type { Clock } from '../base/clock.ts';
import { DirectoryStorage } from '../log/directory-storage.ts';
import type { LogStorage } from '../log/log-storage.ts';
import type { WitnessClient } from '../log/witness-client.ts';
import { type ControlMetrics, registerControlMetrics, registerControlReadings } from '../metrics/control-metrics.ts';
import { createChores } from './chores.ts';
import type { ControlConfig } from './control-config.ts';
import { openPreflightSources } from './drafting/preflight/open-sources.ts';
import { EffectMeter } from './effect/effect-meter.ts';
import { MissedReceipts, ReceiptRecorder } from './effect/receipt-rows.ts';
import { adoptNodes, NodesPublisher } from './nodes/publish-nodes.ts';
import { tellEvent } from './publishing/log-event.ts';
import { type LogEvent, openTrust } from './publishing/log-site.ts';
import { NodesFile } from './publishing/nodes-file.ts';
import { openPublicTree } from './publishing/public-tree.ts';
import { ReceiptStore } from './publishing/receipt-store.ts';
import { SequencerSeat } from './publishing/sequencer-seat.ts';
import type { ControlServices } from './services.ts';
import type { Store } from './store.ts';
import { createRegisterView } from './view/tree-view.ts';
import { keepWebhookKey, openWebhooks, type Webhooks } from './webhooks/open-webhooks.ts';

/** What services are opened with besides the configuration. */
export interface OpenTerms {
  readonly store: Store;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: (sizeBytes: number) => Uint8Array;
  readonly witnesses?: readonly WitnessClient[];
}

/** Everything that one process of the control API works with. */
export interface OpenServices {
  readonly services: ControlServices;
  readonly seat: SequencerSeat;
  readonly nodesFile: NodesFile;
  readonly receipts: ReceiptStore;
  readonly metrics: Registry;
  readonly onFault: (error: unknown) => void;
  /** Resolves when nothing that goes on beside requests is left to write. */
  settle(): Promise<void>;
}

/**
 * Opens what the control API works with; nothing is sequenced yet.
 *
 * @throws {WartaError} `config-invalid`, `config-unreadable`, `trust-invalid`, `store-failed`.
 */
export async function openServices(config: ControlConfig, terms: OpenTerms): Promise<OpenServices> {
  const { store, log, clock, random } = terms;
  const { origin } = config.log;
  const onFault = (error: unknown) => tellEvent(log, { kind: 'fault', error });
  const tree = await openPublicTree(config.log);
  const register = await openRegister(config, tree, clock);
  const nodesFile = new NodesFile(new DirectoryStorage(config.log.public));
  await adoptNodes(store, nodesFile, Math.floor(clock.wallMillis() / 1000));
  const nodes = new NodesPublisher(store, nodesFile, onFault);
  const metrics = new Registry();
  let seat: SequencerSeat;
  const { observeEffect, countDelivery } = registerControlMetrics(metrics);
  registerControlReadings(metrics, {
    size: () => register.register.size,
    heartbeatSeconds: () => register.register.heartbeatSeconds,
    isSequencing: () => seat.site !== undefined,
  });
  const webhooks = openHooks(config, terms, countDelivery, onFault);
  const services: ControlServices = {
    ...{ store, clock, random, origin, log, nodes },
    ...register,
    preflight: await openSources(config, register.trust, clock),
    publications: { wake: () => seat.wake() },
    events: webhooks.events,
    webhooks: webhooks.terms,
  };
  seat = openSeat(config, terms, services, { tree, webhooks });
  const recorder = new ReceiptRecorder(store, clock, onFault);
  const meter = new EffectMeter(register.register, observeEffect);
  const receipts = new ReceiptStore({
    ...{ storage: tree, nodes: nodesFile, origin, clock },
    onStored: (receipt, path) => {
      recorder.record(receipt, path);
      meter.take(receipt);
    },
  });
  const settle = async () => void (await Promise.all([recorder.settle(), nodes.settle()]));
  return { services, seat, nodesFile, receipts, metrics, onFault, settle };
}

async function openRegister(config: ControlConfig, tree: LogStorage, clock: Clock) {
  const trust = openTrust(config.log);
  const sealedTree = new DirectoryStorage(config.log.sealed, { isPrivate: true });
  return { trust, register: await createRegisterView({ tree, sealedTree, trust, clock }) };
}

async function openSources(config: ControlConfig, trust: ControlServices['trust'], clock: Clock) {
  const { pack } = await trust.read(Math.floor(clock.wallMillis() / 1000));
  const { popularNames, resolver } = config;
  return openPreflightSources({ pack, packFile: config.log.policyPack, popularNames, resolver });
}

function openHooks(
  { webhooks }: ControlConfig,
  { store, clock, random }: OpenTerms,
  onAttempt: ControlMetrics['countDelivery'],
  onFault: (error: unknown) => void,
): Webhooks {
  const { key, allowPrivateAddresses } = webhooks;
  const terms = { allowPrivateAddresses };
  return openWebhooks({ store, clock, random, key: keepWebhookKey(key), terms, onAttempt, onFault });
}

/** The sequencer, and what is done by the process that has it: chores and webhooks. */
function openSeat(
  config: ControlConfig,
  { store, log, clock, witnesses }: OpenTerms,
  services: ControlServices,
  { tree, webhooks }: { tree: LogStorage; webhooks: Webhooks },
): SequencerSeat {
  return new SequencerSeat({
    ...{ store, config: config.log, clock, witnesses, events: services.events },
    onEvent: (event: LogEvent) => tellEvent(log, event),
    chores: createChores(services, { receipts: new MissedReceipts({ store, tree, clock }) }),
    duty: webhooks.runner,
  });
}
