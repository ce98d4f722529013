import { createServer, type Server, type Socket } from 'node:net';
import { canonicalizeHost } from './canonical-url.ts';
import type { ClientAdmission } from './client-connection.ts';
import { MAX_HELLO_BYTES, readClientHello } from './client-hello.ts';
import type { GatewayCounters, TlsOutcome } from './gateway-counters.ts';
import type { HostBook } from './host-book.ts';
import { closeLingering } from './lingering-close.ts';
import type { OriginConnector } from './origin-connector.ts';
import { spliceSockets } from './splice.ts';

/** What the listener for HTTPS works with. */
export interface TlsListenerParts {
  readonly hosts: HostBook;
  readonly connector: OriginConnector;
  readonly admission: ClientAdmission;
  readonly counters: GatewayCounters;
  /** Port at the origins. */
  readonly originPort: number;
  readonly helloSeconds: number;
  readonly idleSeconds: number;
}

/** TLS alerts (RFC 8446 §6): fatal, without encryption, since no key was agreed on. */
const ALERT = { accessDenied: 49, decodeError: 50, internalError: 80, unrecognizedName: 112 } as const;

/** A server name is a name in ASCII (RFC 6066 §3); escapes and other scripts are for those who write URLs. */
const SERVER_NAME = /^[a-z0-9._-]+$/i;

/** What is said before a connection is closed; undefined: nothing. */
const ALERT_OF: Partial<Record<TlsOutcome, number>> = {
  blocked: ALERT.accessDenied,
  'unknown-host': ALERT.unrecognizedName,
  'no-name': ALERT.unrecognizedName,
  malformed: ALERT.decodeError,
  oversized: ALERT.decodeError,
  'origin-failed': ALERT.internalError,
};

/** Listens for HTTPS: reads the server name of each ClientHello and joins the connection to its origin, or closes it. */
export class TlsListener {
  readonly server: Server;
  readonly #parts: TlsListenerParts;
  readonly #sockets = new Set<Socket>();

  constructor(parts: TlsListenerParts) {
    this.#parts = parts;
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => {});
      parts.admission.admit(socket, (admitted) => this.#readHello(admitted));
    });
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Closes every connection that is open. */
  closeAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #readHello(socket: Socket): void {
    let bytes: Buffer = Buffer.alloc(0);
    let neededBytes = 1;
    const stop = () => {
      clearTimeout(timer);
      socket.pause().off('data', onData).off('end', onEnd).off('close', onEnd);
    };
    const finish = (outcome: TlsOutcome) => {
      stop();
      this.#close(socket, outcome);
    };
    const onEnd = () => finish('client-gone');
    const timer = setTimeout(() => finish('timed-out'), this.#parts.helloSeconds * 1000);
    const onData = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      // One octet at a time would otherwise be read from the start for each of them.
      if (bytes.length < neededBytes) return;
      const verdict = readClientHello(bytes);
      if (verdict.kind === 'incomplete') {
        neededBytes = verdict.neededBytes;
        if (bytes.length > MAX_HELLO_BYTES) finish('oversized');
        return;
      }
      if (verdict.kind !== 'hello') return finish(verdict.kind);
      stop();
      this.#judge(socket, bytes, verdict.name);
    };
    socket.on('data', onData).on('end', onEnd).on('close', onEnd);
  }

  #judge(socket: Socket, hello: Buffer, name: string | undefined): void {
    if (name === undefined) return this.#close(socket, 'no-name');
    const host = SERVER_NAME.test(name) ? canonicalizeHost(name) : undefined;
    const rules = host === undefined ? undefined : this.#parts.hosts.find(host);
    if (host === undefined || rules === undefined) return this.#close(socket, 'unknown-host');
    if (rules.blocksHttps || rules.redirect !== undefined) return this.#close(socket, 'blocked');
    const { connector, originPort, counters, idleSeconds } = this.#parts;
    connector.connect(host, originPort, (error, origin) => {
      if (socket.destroyed) {
        origin?.destroy();
        counters.tls['client-gone'] += 1;
        return;
      }
      if (error !== null) return this.#close(socket, 'origin-failed');
      counters.tls.spliced += 1;
      if (rules.hasPages) counters.unenforceable += 1;
      origin!.write(hello);
      spliceSockets(socket, origin!, idleSeconds, () => {});
    });
  }

  /** Counts, says why by an alert where there is one to say it with, and closes. */
  #close(socket: Socket, outcome: TlsOutcome): void {
    this.#parts.counters.tls[outcome] += 1;
    const alert = ALERT_OF[outcome];
    if (alert === undefined) return outcome === 'not-tls' ? closeLingering(socket) : void socket.destroy();
    if (socket.destroyed) return;
    socket.write(Buffer.of(21, 3, 3, 0, 2, 2, alert));
    closeLingering(socket);
  }
}
