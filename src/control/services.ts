import type { Logger } from 'pino';
import type { Clock } from '../base/clock.ts';
import type { PreflightSources } from './drafting/preflight/sources.ts';
import type { PublishedTrust } from './publishing/published-trust.ts';
import type { Store, Tables } from './store.ts';
import type { RegisterView } from './view/register-view.ts';
import type { TargetTerms } from './webhooks/webhook-target.ts';

/** What webhooks can be told of. */
export type EventKind = 'statement.published' | 'appeal.filed' | 'appeal.decided' | 'node.stale' | 'notice.review-due';

/** Tells webhooks of events. */
export interface EventSink {
  /** Queues an event for every webhook that wants it, inside the transaction that made it happen. */
  emit(tables: Tables, event: EventKind, data: object, licensee?: string): Promise<void>;
  /** Looks for deliveries that are due. */
  wake(): void;
}

/** Hands signed statements to the sequencer, in whichever process that is. */
export interface PublicationSink {
  /** Looks for publications that are due. */
  wake(): void;
}

/** Keeps the register's list of nodes as the store has it. */
export interface NodesSink {
  /** Publishes the list, soon. */
  changed(): void;
}

/** What the routes of the control API work with. */
export interface ControlServices {
  readonly store: Store;
  readonly clock: Clock;
  /** Returns that many unpredictable bytes. */
  readonly random: (sizeBytes: number) => Uint8Array;
  /** The log's origin. */
  readonly origin: string;
  readonly register: RegisterView;
  readonly trust: PublishedTrust;
  readonly publications: PublicationSink;
  readonly events: EventSink;
  readonly nodes?: NodesSink;
  /** Where webhooks may go, and the key that receivers verify deliveries with, as `composeWebhookKey` spells it. */
  readonly webhooks?: { readonly terms: TargetTerms; readonly signingKey: string };
  /** What the pre-flight looks things up in besides the pack and the register. */
  readonly preflight?: PreflightSources;
  readonly log: Logger;
}
