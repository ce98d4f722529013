import type { KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../../register/key.ts';
import type { ControlServices, EventSink } from '../services.ts';
import { DeliveryRunner, type DeliveryRunnerOptions } from './delivery-runner.ts';
import { createEventSink } from './event-sink.ts';
import { composeWebhookKey } from './webhook-signature.ts';

/** Everything about webhooks that one process has. */
export interface Webhooks {
  readonly events: EventSink;
  /** Delivers while it is started; in one process at a time. */
  readonly runner: DeliveryRunner;
  /** What the routes need. */
  readonly terms: NonNullable<ControlServices['webhooks']>;
}

/** Puts together what queues events and what delivers them. */
export function openWebhooks(options: DeliveryRunnerOptions): Webhooks {
  const { clock, random, key, terms } = options;
  const runner = new DeliveryRunner(options);
  const events = createEventSink({ clock, random, onWake: () => runner.wake() });
  return { events, runner, terms: { terms, signingKey: composeWebhookKey(publicKeyOf(key)) } };
}

/** Reads the key that deliveries are signed with, or makes it where there is none yet. Receivers hold on to its public half. */
export function keepWebhookKey(path: string): KeyObject {
  if (!existsSync(path)) writePrivateKey(path, createKey().privatePem);
  return readPrivateKey(path);
}
