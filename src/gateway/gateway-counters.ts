/** What became of a request over HTTP. */
export const HTTP_OUTCOMES = [
  /** Answered 451. */
  'blocked',
  'passed',
  /** Handed over to a WebSocket. */
  'upgraded',
  /** 421: the host or the port is none of ours. */
  'misdirected',
  /** 4xx or 501: broken, ambiguous or beyond a limit. */
  'refused',
  'origin-failed',
  'origin-slow',
  'client-gone',
  /** The client was too slow. */
  'timed-out',
] as const;

/** What became of a connection over HTTPS. */
export const TLS_OUTCOMES = [
  'spliced',
  /** `https: block-host`, or a host that is sent to the notice page. */
  'blocked',
  'unknown-host',
  'no-name',
  'malformed',
  'not-tls',
  'oversized',
  'timed-out',
  'client-gone',
  'origin-failed',
] as const;

/** Why a connection was closed before anything was read from it. */
export const CONNECTION_REFUSALS = ['total', 'client', 'proxy-header'] as const;

export type HttpOutcome = (typeof HTTP_OUTCOMES)[number];
export type TlsOutcome = (typeof TLS_OUTCOMES)[number];
export type ConnectionRefusal = (typeof CONNECTION_REFUSALS)[number];

/** Numbers of one gateway since its start: no name and no client is among them. */
export class GatewayCounters {
  readonly http = zeros(HTTP_OUTCOMES);
  readonly tls = zeros(TLS_OUTCOMES);
  readonly refusedConnections = zeros(CONNECTION_REFUSALS);
  /** HTTPS connections to hosts with listed pages that were spliced, because a page cannot be told apart there. */
  unenforceable = 0;
}

function zeros<K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;
}
