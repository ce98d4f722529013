import { lookup as resolveByHost } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { WartaError } from '../../base/errors.ts';

/** Resolves a host to all its addresses. */
export type ResolveHost = (
  host: string,
  done: (error: Error | null, addresses: { address: string; family: number }[]) => void,
) => void;

/** Where webhooks may go. */
export interface TargetTerms {
  /** Plain HTTP and addresses of the operator's own networks: for tests and closed networks. */
  readonly allowPrivateAddresses: boolean;
  readonly resolve?: ResolveHost;
}

/** Whether an address is one of the public Internet: no loopback, private, link-local, multicast or embedded one. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  return ipaddr.process(address).range() === 'unicast';
}

/**
 * Requires an address that a webhook may have: HTTPS, without a password in it, and no host that is an address inside. What a
 * name leads to is looked at when it is connected to, since it can change.
 *
 * @throws {WartaError} `request-invalid`.
 */
export function requireTarget(url: string, { allowPrivateAddresses }: TargetTerms): URL {
  const target = URL.parse(url);
  const isWeb = target?.protocol === 'https:' || (allowPrivateAddresses && target?.protocol === 'http:');
  if (target === null || !isWeb) throw invalid('write an https URL');
  if (target.username !== '' || target.password !== '') throw invalid('leave name and password out of it');
  if (target.hash !== '') throw invalid('leave the part after # out of it');
  const host = target.hostname.replace(/^\[|\]$/g, '');
  if (!allowPrivateAddresses && isIP(host) !== 0 && !isPublicAddress(host)) throw invalid('it is no public address');
  return target;
}

function invalid(reason: string): WartaError {
  return new WartaError('request-invalid', `url: ${reason}`);
}

/**
 * Returns the look-up of connections to webhooks: it refuses a name as soon as one of its addresses is not public, and the
 * connection goes to what was looked at, so no second answer can lead it elsewhere. A host that is an address is not looked
 * up: `requireTarget` comes before.
 */
export function createGuardedLookup({ allowPrivateAddresses, resolve = resolveAll }: TargetTerms): LookupFunction {
  return (host, options, callback) => {
    resolve(host, (error, addresses) => {
      if (error !== null) return callback(error, '', 0);
      const inner = addresses.find(({ address }) => !isPublicAddress(address));
      if (addresses.length === 0) return callback(new Error(`${host} has no address`), '', 0);
      if (inner !== undefined && !allowPrivateAddresses) {
        return callback(new Error(`${host} leads to an address that is not public`), '', 0);
      }
      if (options.all) return callback(null, addresses);
      return callback(null, addresses[0].address, addresses[0].family);
    });
  };
}

const resolveAll: ResolveHost = (host, done) => resolveByHost(host, { all: true }, done);
