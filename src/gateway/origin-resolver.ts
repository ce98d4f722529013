import { promises as dns, type RecordWithTtl } from 'node:dns';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import type { AddressPolicy } from './address-policy.ts';

/** Bounds on how long addresses are kept, whatever their TTL says. */
const MIN_TTL_SECONDS = 5;
const MAX_TTL_SECONDS = 300;
/** How long a failure is kept, so that a broken host does not cost a lookup for each request. */
const FAILURE_SECONDS = 5;
const KEPT_HOSTS = 10_000;
const TIMEOUT_MILLIS = 2_000;
const TRIES = 2;
/** Codes that say there is no such record; every other one is a failure of the lookup. */
const NO_RECORD = new Set(['ENODATA', 'ENOTFOUND']);

/** Where addresses come from; tests give their own. Rejects like `node:dns`. */
export interface AddressSource {
  resolve4(host: string): Promise<RecordWithTtl[]>;
  resolve6(host: string): Promise<RecordWithTtl[]>;
}

/**
 * Asks the given resolvers (`192.0.2.1`, `192.0.2.1:53`, `[2001:db8::1]:53`) over UDP, then TCP. They must be resolvers without
 * rules: one that steers would send the gateway to itself. The machine's own resolver and hosts file are not looked at.
 */
export function createAddressSource(resolvers: readonly string[]): AddressSource {
  const resolver = new dns.Resolver({ timeout: TIMEOUT_MILLIS, tries: TRIES });
  try {
    resolver.setServers(resolvers);
  } catch (cause) {
    const given = resolvers.join(', ');
    throw new WartaError('config-invalid', `no resolver's address in '${given}': write 192.0.2.1:53`, { cause });
  }
  return {
    resolve4: (host) => resolver.resolve4(host, { ttl: true }),
    resolve6: (host) => resolver.resolve6(host, { ttl: true }),
  };
}

/** An address as `net.connect` wants it. */
export interface OriginAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

interface Kept {
  readonly addresses: Promise<readonly OriginAddress[]>;
  untilMillis: number;
}

/** Finds the addresses of origins that may be connected to, and keeps them for their TTL. */
export class OriginResolver {
  readonly #source: AddressSource;
  readonly #policy: AddressPolicy;
  readonly #clock: Clock;
  readonly #kept = new LRUCache<string, Kept>({ max: KEPT_HOSTS });

  constructor(source: AddressSource, policy: AddressPolicy, clock: Clock) {
    this.#source = source;
    this.#policy = policy;
    this.#clock = clock;
  }

  /**
   * Returns at least one address, IPv4 first; asks once however many wait.
   *
   * @throws {WartaError} `query-failed` when there is none, or none that is allowed.
   */
  resolve(host: string): Promise<readonly OriginAddress[]> {
    const kept = this.#kept.get(host);
    if (kept !== undefined && this.#clock.monotonicMillis() < kept.untilMillis) return kept.addresses;
    const lookup = this.#ask(host);
    const entry: Kept = { addresses: lookup.then(({ addresses }) => addresses), untilMillis: Number.POSITIVE_INFINITY };
    this.#kept.set(host, entry);
    const keepFor = (seconds: number) => {
      entry.untilMillis = this.#clock.monotonicMillis() + seconds * 1000;
    };
    lookup.then(
      ({ ttlSeconds }) => keepFor(Math.min(MAX_TTL_SECONDS, Math.max(MIN_TTL_SECONDS, ttlSeconds))),
      () => keepFor(FAILURE_SECONDS),
    );
    entry.addresses.catch(() => {}); // whoever waits hears of it
    return entry.addresses;
  }

  async #ask(host: string): Promise<{ addresses: OriginAddress[]; ttlSeconds: number }> {
    const [four, six] = await Promise.all([
      this.#source.resolve4(host).catch(orNone),
      this.#source.resolve6(host).catch(orNone),
    ]);
    const failure = [four, six].find((one) => one instanceof Error);
    const records = [four, six].flatMap((one) => (one instanceof Error ? [] : one));
    if (records.length === 0) {
      throw new WartaError('query-failed', `no address for ${host} from the resolvers`, { cause: failure });
    }
    const permitted = records.filter(({ address }) => this.#policy.permits(address));
    if (permitted.length === 0) {
      throw new WartaError('query-failed', `${host} has only addresses that an origin must not have`);
    }
    const ttlSeconds = Math.min(...records.map(({ ttl }) => ttl));
    const addresses = permitted.map(({ address }): OriginAddress => {
      return { address, family: address.includes(':') ? 6 : 4 };
    });
    return { addresses, ttlSeconds };
  }
}

/** No record of one family is an answer; a failure counts only when the other family has nothing either. */
function orNone(error: NodeJS.ErrnoException): RecordWithTtl[] | Error {
  return NO_RECORD.has(error.code ?? '') ? [] : error;
}
