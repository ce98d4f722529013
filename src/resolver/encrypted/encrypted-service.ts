import type { RuleClock } from '../../base/clock.ts';
import { ENCRYPTED_TRANSPORTS, EncryptedCounters, type EncryptedTransport } from '../../metrics/encrypted-counters.ts';
import { createCounterBuffer, SharedCounters } from '../../metrics/shared-counters.ts';
import { RuleTable } from '../../rules/rule-table.ts';
import { ClientAcl } from '../client-acl.ts';
import type { QueryStages } from '../query-stages.ts';
import type { SocketAddress } from '../socket-address.ts';
import { createStages, type StageSettings } from '../stage-settings.ts';
import { StreamConnection, WriteQueue } from '../stream-connection.ts';
import { StreamExchange } from '../stream-exchange.ts';
import type { StreamForwarder } from '../stream-forwarder.ts';
import { type CertificateFiles, CertificateKeeper } from './certificate-keeper.ts';
import { DohService } from './doh-service.ts';
import { type TlsLimits, TlsListener } from './tls-listener.ts';

export interface EncryptedOptions extends CertificateFiles {
  dot: { listen: readonly SocketAddress[]; maxPipelined: number };
  doh: { listen: readonly SocketAddress[]; path: string; maxStreams: number };
  limits: TlsLimits;
  /** A connection without a query is closed after so long. */
  idleSeconds: number;
  /** Prefixes of proxies whose connections begin with a PROXY protocol v2 header. */
  proxyFrom: readonly string[];
}

/** What the service is given by the resolver it belongs to. */
export interface EncryptedParts {
  settings: StageSettings;
  clock: RuleClock;
  table: SharedArrayBuffer;
  createForwarder(counters: SharedCounters): StreamForwarder;
  onEvent(event: CertificateEvent): void;
}

export type CertificateEvent =
  | { kind: 'certificate'; expiresAtSeconds: number }
  | { kind: 'certificate-failed'; reason: string };

/** How long answers under way get when the resolver stops. */
const STOP_MILLIS = 1_000;
const LOOK_MILLIS = 20;
/** An HTTP request that has begun must be complete after so long. */
const REQUEST_SECONDS = 5;

/** One encrypted transport's counters: what its queries came to, and its connections. */
export interface TransportCounters {
  queries: SharedCounters;
  connections: EncryptedCounters;
}

/** DoT (RFC 7858) and DoH (RFC 8484) on the event loop: the same stages, rules and answers as every other transport. */
export class EncryptedService {
  readonly counters: Readonly<Record<EncryptedTransport, TransportCounters>>;
  readonly certificate: CertificateKeeper;
  /** Addresses in use. */
  readonly listen: Record<EncryptedTransport, SocketAddress[]> = { dot: [], doh: [] };
  readonly #listeners: Record<EncryptedTransport, TlsListener>;
  readonly #stages: QueryStages[] = [];
  readonly #dot = new Set<StreamConnection>();
  readonly #doh: DohService;

  private constructor(options: EncryptedOptions, parts: EncryptedParts) {
    const { settings } = parts;
    const create = (): TransportCounters => ({
      queries: new SharedCounters(createCounterBuffer()),
      connections: new EncryptedCounters(),
    });
    this.counters = { dot: create(), doh: create() };
    this.certificate = new CertificateKeeper(options, {
      onReload: (expiresAtSeconds) => parts.onEvent({ kind: 'certificate', expiresAtSeconds }),
      onFailure: (reason) => parts.onEvent({ kind: 'certificate-failed', reason }),
    });
    const monotonicMillis = () => performance.now();
    const shared = {
      limits: options.limits,
      acl: new ClientAcl(settings.allow),
      proxies: new ClientAcl(options.proxyFrom),
      certificate: this.certificate,
      rateLimitKey: settings.rateLimitKey,
      monotonicMillis,
    };
    const exchanges = { dot: this.#createExchange('dot', parts), doh: this.#createExchange('doh', parts) };
    const queue = new WriteQueue();
    const dotLimits = { maxPipelined: options.dot.maxPipelined, idleSeconds: options.idleSeconds };
    const doh = new DohService({
      path: options.doh.path,
      limits: {
        maxStreams: options.doh.maxStreams,
        idleSeconds: options.idleSeconds,
        requestSeconds: REQUEST_SECONDS,
      },
      exchange: exchanges.doh,
      counters: this.counters.doh.connections,
      monotonicMillis,
    });
    this.#doh = doh;
    this.#listeners = {
      dot: new TlsListener({
        ...{ kind: 'DoT', key: 'resolver.tls.dot.listen', protocols: ['dot'] },
        ...shared,
        counters: this.counters.dot.connections,
        onConnection: (socket, client) => {
          const connection = new StreamConnection(socket, client, exchanges.dot, dotLimits, queue);
          this.#dot.add(connection);
          socket.once('close', () => this.#dot.delete(connection));
        },
      }),
      doh: new TlsListener({
        ...{ kind: 'DoH', key: 'resolver.tls.doh.listen', protocols: ['h2', 'http/1.1'] },
        ...shared,
        counters: this.counters.doh.connections,
        onConnection: (socket, client) => doh.serve(socket, client),
      }),
    };
  }

  /**
   * Listens and serves.
   *
   * @throws {WartaError} `config-invalid` for a certificate that cannot be used, `socket-failed` for an address.
   */
  static async start(options: EncryptedOptions, parts: EncryptedParts): Promise<EncryptedService> {
    const service = new EncryptedService(options, parts);
    try {
      for (const transport of ENCRYPTED_TRANSPORTS) {
        for (const address of options[transport].listen) {
          service.listen[transport].push(await service.#listeners[transport].open(address));
        }
      }
    } catch (error) {
      await service.stop();
      throw error;
    }
    service.certificate.follow();
    return service;
  }

  /** Swaps in another table. Each transport has a view of its own, because a view counts its filter's work. */
  useTable(table: SharedArrayBuffer): void {
    for (const stages of this.#stages) stages.useTable(new RuleTable(table));
  }

  /** Stops listening, lets answers under way leave for a second, and closes every connection. */
  async stop(): Promise<void> {
    this.certificate.stop();
    const listeners = ENCRYPTED_TRANSPORTS.map((transport) => this.#listeners[transport]);
    for (const listener of listeners) listener.stopListening();
    for (const connection of this.#dot) connection.finish();
    this.#doh.finish();
    const until = performance.now() + STOP_MILLIS;
    while (this.#openConnections > 0 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MILLIS));
    }
    this.#doh.destroy();
    for (const listener of listeners) listener.destroy();
  }

  get #openConnections(): number {
    return ENCRYPTED_TRANSPORTS.reduce((sum, transport) => sum + this.counters[transport].connections.connections, 0);
  }

  #createExchange(transport: EncryptedTransport, parts: EncryptedParts): StreamExchange {
    const counters = this.counters[transport].queries;
    const stages = createStages(parts.settings, { counters, clock: parts.clock }, new RuleTable(parts.table));
    this.#stages.push(stages);
    return new StreamExchange(stages, parts.createForwarder(counters), true);
  }
}
