import { constants, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { describeError, WartaError } from '../../base/errors.ts';

export interface CertificateFiles {
  /** PEM with the certificate and what chains it to its issuer. */
  certificate: string;
  /** PEM with its private key. */
  key: string;
}

export interface CertificateEvents {
  /** Another certificate is in use for new connections. */
  onReload(expiresAtSeconds: number): void;
  /** The files cannot be used; the certificate in use stays. Told once for each reason. */
  onFailure(reason: string): void;
}

/** How often the files are looked at. */
const LOOK_MILLIS = 5_000;
/** Octets of a session ticket key, as OpenSSL takes it. */
const TICKET_KEY_BYTES = 48;
/** A ticket key is used for so long: who steals it can read TLS 1.2 sessions of that time (RFC 5077 §5.5). */
const TICKET_KEY_MILLIS = 12 * 3600_000;
/** Sessions are taken up again for so long. */
const SESSION_SECONDS = 7_200;

/**
 * The certificate of the encrypted listeners, followed on disk: when either file changes, connections from then on get the
 * new pair, and those that are open keep what they have. A pair that does not fit, or half a file, changes nothing and is
 * told; it is tried again until it does.
 */
export class CertificateKeeper {
  readonly #files: CertificateFiles;
  readonly #events: CertificateEvents;
  readonly #monotonicMillis: () => number;
  #context!: SecureContext;
  #expiresAtSeconds = 0;
  #stamp = '';
  #failure = '';
  #ticketKeys = randomBytes(TICKET_KEY_BYTES);
  #ticketKeysAt: number;
  #timer: NodeJS.Timeout | undefined;

  /** @throws {WartaError} `config-invalid` when the files cannot be used. */
  constructor(files: CertificateFiles, events: CertificateEvents, monotonicMillis = () => performance.now()) {
    this.#files = files;
    this.#events = events;
    this.#monotonicMillis = monotonicMillis;
    this.#ticketKeysAt = monotonicMillis();
    try {
      this.#load(this.#readStamp());
    } catch (cause) {
      const text = `resolver.tls: ${files.certificate} and ${files.key} cannot be used: ${describeError(cause)}`;
      throw new WartaError('config-invalid', text, { cause });
    }
  }

  /** What a new connection is made with. */
  get context(): SecureContext {
    return this.#context;
  }

  get expiresAtSeconds(): number {
    return this.#expiresAtSeconds;
  }

  /** Why the files on disk are not what is in use; empty when they are. */
  get failure(): string {
    return this.#failure;
  }

  follow(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MILLIS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks at the files once, and renews the ticket key when it is due. Never throws. */
  look(): void {
    const aged = this.#monotonicMillis() - this.#ticketKeysAt > TICKET_KEY_MILLIS;
    try {
      const stamp = this.#readStamp();
      if (stamp === this.#stamp) this.#failure = '';
      if (stamp === this.#stamp && !aged) return;
      if (aged) this.#ticketKeys = randomBytes(TICKET_KEY_BYTES);
      if (aged) this.#ticketKeysAt = this.#monotonicMillis();
      const isNew = stamp !== this.#stamp;
      this.#load(stamp);
      this.#failure = '';
      if (isNew) this.#events.onReload(this.#expiresAtSeconds);
    } catch (error) {
      const reason = describeError(error);
      if (reason !== this.#failure) this.#events.onFailure(reason);
      this.#failure = reason;
    }
  }

  #load(stamp: string): void {
    const cert = readFileSync(this.#files.certificate);
    const key = readFileSync(this.#files.key);
    const leaf = new X509Certificate(cert);
    const context = createSecureContext({
      cert,
      key,
      minVersion: 'TLSv1.2',
      honorCipherOrder: true,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
      ticketKeys: this.#ticketKeys,
      sessionIdContext: 'warta-dns',
      sessionTimeout: SESSION_SECONDS,
    });
    this.#context = context;
    this.#expiresAtSeconds = leaf.validToDate.getTime() / 1000;
    this.#stamp = stamp;
  }

  /** Changes whenever either file is written or replaced. */
  #readStamp(): string {
    return [this.#files.certificate, this.#files.key]
      .map((file) => {
        const { mtimeMs, size, ino } = statSync(file);
        return `${mtimeMs} ${size} ${ino}`;
      })
      .join(' ');
  }
}
