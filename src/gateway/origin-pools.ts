import type { Socket } from 'node:net';
import { LRUCache } from 'lru-cache';
import { type Dispatcher, Pool } from 'undici';
import type { OriginConnector } from './origin-connector.ts';

/** How origins' connections are kept. */
export interface PoolSettings {
  /** Most connections to one host and port. */
  readonly connectionsPerOrigin: number;
  /** How long an idle connection is kept for reuse. */
  readonly idleSeconds: number;
  /** Longest wait for the head of an answer, and between two pieces of its body. */
  readonly headersSeconds: number;
  readonly bodySeconds: number;
}

/** Origins whose connections are kept. The one not used for longest is let go when there are more. */
const MAX_POOLS = 512;
/** Largest head of an answer, in octets. */
const MAX_ANSWER_HEAD_BYTES = 65_536;

/** Pooled connections, by host and port. */
export class OriginPools {
  readonly #connector: OriginConnector;
  readonly #settings: PoolSettings;
  readonly #pools = new LRUCache<string, Pool>({
    max: MAX_POOLS,
    dispose: (pool) => void pool.close().catch(() => {}),
  });

  constructor(connector: OriginConnector, settings: PoolSettings) {
    this.#connector = connector;
    this.#settings = settings;
  }

  find(host: string, port: number): Dispatcher {
    const key = `${host}:${port}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = this.#open(host, port);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  /** Ends every connection, busy ones too. */
  async destroy(): Promise<void> {
    const pools = [...this.#pools.values()];
    await Promise.all(pools.map((pool) => pool.destroy()));
    this.#pools.clear();
  }

  #open(host: string, port: number): Pool {
    const { connectionsPerOrigin, idleSeconds, headersSeconds, bodySeconds } = this.#settings;
    return new Pool(`http://${host}:${port}`, {
      connections: connectionsPerOrigin,
      pipelining: 1,
      keepAliveTimeout: idleSeconds * 1000,
      keepAliveMaxTimeout: idleSeconds * 1000,
      headersTimeout: headersSeconds * 1000,
      bodyTimeout: bodySeconds * 1000,
      maxHeaderSize: MAX_ANSWER_HEAD_BYTES,
      connect: (_options, callback) =>
        this.#connector.connect(host, port, callback as (e: Error | null, s: Socket | null) => void),
    });
  }
}
