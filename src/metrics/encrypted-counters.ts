/** Why a connection to an encrypted listener came to nothing: the label values of `warta_tls_failures_total`. */
export const TLS_FAILURES = [
  'acl',
  'client_limit',
  'total_limit',
  'rate_limit',
  'proxy_header',
  'timeout',
  'closed',
  'no_common_protocol',
  'alpn',
  'protocol',
] as const;
export type TlsFailure = (typeof TLS_FAILURES)[number];

/** Status codes that DoH answers with: the label values of `warta_doh_responses_total`. */
export const DOH_STATUSES = [200, 400, 404, 405, 413, 415] as const;
export type DohStatus = (typeof DOH_STATUSES)[number];

export const ENCRYPTED_TRANSPORTS = ['dot', 'doh'] as const;
export type EncryptedTransport = (typeof ENCRYPTED_TRANSPORTS)[number];

/** Counters of one encrypted transport. They live on the event loop, which is the only one to write and read them. */
export class EncryptedCounters {
  readonly failures = new Map<TlsFailure, number>(TLS_FAILURES.map((kind) => [kind, 0]));
  readonly statuses = new Map<DohStatus, number>(DOH_STATUSES.map((status) => [status, 0]));
  /** Handshakes that were completed anew, and those that went on with an earlier session. */
  fullHandshakes = 0;
  resumedHandshakes = 0;
  /** Open now. */
  connections = 0;
  streams = 0;
  /** HTTP/2 connections ended because their client reset too many streams. */
  resetFloods = 0;

  addFailure(kind: TlsFailure): void {
    this.failures.set(kind, this.failures.get(kind)! + 1);
  }

  addStatus(status: DohStatus): void {
    this.statuses.set(status, this.statuses.get(status)! + 1);
  }
}
