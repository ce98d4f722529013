import { WartaError } from '../../base/errors.ts';
import type { Actor, Role } from '../access/roles.ts';

/**
 * Returns the one ISP that someone may see and change things of; `undefined` for whoever is not bound to one.
 *
 * @throws {WartaError} `forbidden` for an operator of no ISP.
 */
export function boundLicensee({ actor, role }: { readonly actor: Actor; readonly role: Role }): string | undefined {
  if (role !== 'operator' && role !== 'node') return undefined;
  if (actor.licensee === undefined) throw new WartaError('forbidden', 'this account belongs to no licensee');
  return actor.licensee;
}

/**
 * Requires that someone may have to do with an ISP.
 *
 * @throws {WartaError} `forbidden`.
 */
export function requireLicensee(call: { readonly actor: Actor; readonly role: Role }, licensee: string): void {
  const own = boundLicensee(call);
  if (own !== undefined && own !== licensee) throw new WartaError('forbidden', `that is not of ${own}`);
}
