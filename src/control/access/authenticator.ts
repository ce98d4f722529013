import { decodeJwt } from 'jose';
import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import type { Authenticate } from '../http/control-app.ts';
import { verifyCredential } from '../publishing/node-credential.ts';
import type { NodesFile } from '../publishing/nodes-file.ts';
import type { PublishedTrust } from '../publishing/published-trust.ts';
import type { Store, UserRecord } from '../store.ts';
import { isServing } from './account-rules.ts';
import { matchesToken, type PresentedToken, parseToken } from './api-token.ts';
import { type OidcTerms, OidcVerifier } from './oidc-verifier.ts';
import type { Actor, Role } from './roles.ts';

/** What tokens are judged by. */
export interface AuthenticatorOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** The log's origin: the audience of nodes' credentials. */
  readonly origin: string;
  readonly nodes: Pick<NodesFile, 'read'>;
  /** Who is an officer now. */
  readonly trust: Pick<PublishedTrust, 'read'>;
  /** Whose sign-in is taken besides our own tokens. */
  readonly oidc?: OidcTerms;
}

const BEARER = /^Bearer +(?<token>[A-Za-z0-9._~+/=-]+)$/i;

/**
 * Creates what finds out who asks, by one of three kinds of bearer token:
 *
 * - an API token of ours, `wt_<id>_<secret>`;
 * - an OIDC token, whose subject must be that of an account: who someone is comes from the issuer, what they may do from us;
 * - a credential that a node signed with its own key, bound to the path it asks for.
 *
 * Nothing is kept between requests: a token revoked, a role taken away, an account disabled or an officer whose time ended
 * in authorities.json counts with the next request, in every process.
 *
 * @throws {WartaError} `config-invalid`, `config-unreadable`.
 */
export function createAuthenticator(options: AuthenticatorOptions): Authenticate {
  const { store, clock, origin, nodes, trust } = options;
  const oidc = options.oidc && new OidcVerifier(options.oidc);
  return async (authorization, { url }) => {
    const token = BEARER.exec(authorization)?.groups?.token;
    if (token === undefined) throw new WartaError('unauthenticated', 'write Authorization: Bearer <token>');
    const nowSeconds = Math.floor(clock.wallMillis() / 1000);
    const presented = parseToken(token);
    if (presented !== undefined) {
      return requireServing(await authenticateToken(store, presented, nowSeconds), trust, nowSeconds);
    }
    const issuer = readIssuer(token);
    if (oidc !== undefined && issuer === oidc.issuer) {
      const { subject, roles } = await oidc.verify(token, nowSeconds);
      return requireServing(await authenticateSubject(store, subject, roles), trust, nowSeconds);
    }
    // Names of nodes have no colon; issuers are URLs.
    if (issuer === undefined || issuer.includes(':')) throw unknownToken();
    const path = url.replace(/\?.*$/s, '').replace(/^\//, '');
    const id = await verifyCredential(token, { origin, path, nodes: await nodes.read(), nowSeconds });
    return { id, roles: new Set<Role>(['node', 'public']), licensee: id.slice(0, id.lastIndexOf('/')) };
  };
}

/** Requires staff to be officers still. */
async function requireServing(actor: Actor, trust: AuthenticatorOptions['trust'], nowSeconds: number): Promise<Actor> {
  const { id, authority } = actor;
  if (authority === undefined) return actor;
  const { authorities } = await trust.read(nowSeconds);
  if (isServing(authorities, authority, id, nowSeconds)) return actor;
  throw new WartaError('forbidden', `authorities.json has no officer ${id} of ${authority} whose time is not over`);
}

/** One answer to everything that does not have the secret of a token, so that nobody learns which tokens there are. */
function unknownToken(): WartaError {
  return new WartaError('unauthenticated', 'this token is not known: ask an administrator for another');
}

/** Returns the issuer that a JWT claims; `undefined` for what is no JWT. */
function readIssuer(token: string): string | undefined {
  try {
    const { iss } = decodeJwt(token);
    return typeof iss === 'string' ? iss : undefined;
  } catch {
    return undefined;
  }
}

/** Finds the person of one of our tokens. Why it no longer counts is told to whoever has its secret, and to nobody else. */
async function authenticateToken(store: Store, presented: PresentedToken, nowSeconds: number): Promise<Actor> {
  const [token, user] = await store.read(async ({ tokens, users }) => {
    const record = await tokens.get(presented.id);
    return [record, record && (await users.get(record.userId))] as const;
  });
  if (!matchesToken(presented, token) || user === undefined) throw unknownToken();
  if (token.revokedSeconds !== null) throw new WartaError('unauthenticated', 'this token was revoked');
  if (nowSeconds >= token.expiresSeconds) throw new WartaError('unauthenticated', 'this token has expired');
  return composeActor(user, token.scopes.length === 0 ? undefined : new Set(token.scopes));
}

async function authenticateSubject(store: Store, subject: string, roles?: ReadonlySet<string>): Promise<Actor> {
  const [user] = await store.read(({ users }) => users.list({ where: { oidcSubject: subject }, limit: 1 }));
  if (user === undefined) throw new WartaError('unauthenticated', 'this sign-in has no account here');
  return composeActor(user, roles);
}

/** Returns who a person is to the API: with the roles of the account, as far as `among` has them. */
function composeActor(user: UserRecord, among?: ReadonlySet<string>): Actor {
  if (user.disabled) throw new WartaError('unauthenticated', 'this account is disabled');
  const roles = user.roles.filter((role) => among === undefined || among.has(role));
  return {
    id: user.id,
    roles: new Set<Role>([...roles, 'public']),
    ...(user.authority !== null && { authority: user.authority }),
    ...(user.licensee !== null && { licensee: user.licensee }),
  };
}
