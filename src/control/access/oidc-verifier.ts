import { readFileSync } from 'node:fs';
import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { describeError, WartaError } from '../../base/errors.ts';

/** Whose tokens are taken, and how they are known. Give one of `jwksUri` and `jwksFile`. */
export interface OidcTerms {
  readonly issuer: string;
  /** What the issuer calls this API in `aud`. */
  readonly audience: string;
  /** Where the issuer publishes its keys: HTTPS, or plain HTTP on a loopback address. */
  readonly jwksUri?: string;
  /** File with the issuer's keys, read once. */
  readonly jwksFile?: string;
  /**
   * Claim with a list of roles, such as `warta_roles` or `realm_access.roles`. It narrows what our own record of the person
   * gives, and never adds to it.
   */
  readonly rolesClaim?: string;
}

/** A person as the issuer knows them. */
export interface OidcIdentity {
  readonly subject: string;
  /** Absent when roles are not narrowed by a claim. */
  readonly roles?: ReadonlySet<string>;
}

/** Asymmetric ones only: with a shared secret whoever can verify can sign, and with `none` anyone can. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/** Kinds of token that name a person to an API; a logout token or the like does not. */
const TYPES = new Set([undefined, 'jwt', 'at+jwt', 'application/at+jwt']);

const TOKEN_MAX_LENGTH = 8192;
const TOKEN_MAX_AGE_SECONDS = 24 * 3600;
const CLOCK_TOLERANCE_SECONDS = 30;
const SUBJECT_MAX_LENGTH = 255;

/** The issuer is asked for its keys no more often than this, however many tokens name a key that nobody knows. */
const JWKS_COOLDOWN_MILLIS = 30_000;
const JWKS_TIMEOUT_MILLIS = 5_000;
/** A key that the issuer withdrew counts for no longer than this. */
const JWKS_MAX_AGE_MILLIS = 600_000;

/** Faults of the issuer's keys, not of the token. */
const ISSUER_FAULTS = new Set(['ERR_JOSE_GENERIC', 'ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID']);

/** Verifies tokens of one OpenID Connect issuer (RFC 7519, RFC 9068). */
export class OidcVerifier {
  readonly issuer: string;
  readonly #terms: OidcTerms;
  readonly #findKey: JWTVerifyGetKey;

  /** @throws {WartaError} `config-invalid`, `config-unreadable`. */
  constructor(terms: OidcTerms) {
    this.issuer = terms.issuer;
    this.#terms = terms;
    this.#findKey = openKeys(terms);
  }

  /**
   * Verifies a token and returns whom it names.
   *
   * @throws {WartaError} `unauthenticated` with what is wrong with the token; `identity-unavailable` when the issuer's keys
   *   cannot be had.
   */
  async verify(token: string, nowSeconds: number): Promise<OidcIdentity> {
    if (token.length > TOKEN_MAX_LENGTH) throw refused('too long');
    const { issuer, audience, rolesClaim } = this.#terms;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, this.#findKey, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ['sub', 'exp', 'iat'],
        currentDate: new Date(nowSeconds * 1000),
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        maxTokenAge: TOKEN_MAX_AGE_SECONDS,
      });
      if (!TYPES.has(protectedHeader.typ?.toLowerCase())) throw refused('it is of another type');
      const subject = payload.sub!;
      if (subject === '' || subject.length > SUBJECT_MAX_LENGTH) throw refused('its "sub" is of no use');
      return rolesClaim === undefined ? { subject } : { subject, roles: readRoles(payload, rolesClaim) };
    } catch (cause) {
      if (cause instanceof WartaError) throw cause;
      if (cause instanceof errors.JOSEError && !ISSUER_FAULTS.has(cause.code)) throw refused(cause.message, cause);
      throw new WartaError('identity-unavailable', `the keys of ${issuer}: ${describeError(cause)}`, { cause });
    }
  }
}

/** The holder knows the token, so what is wrong with it is told; it says nothing of anyone else's. */
function refused(reason: string, cause?: unknown): WartaError {
  return new WartaError('unauthenticated', `this sign-in token is not accepted: ${reason}`, { cause });
}

function openKeys({ jwksUri, jwksFile }: OidcTerms): JWTVerifyGetKey {
  if (jwksUri !== undefined) {
    const url = new URL(jwksUri);
    const isLoopback = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback)) {
      throw new WartaError(
        'config-invalid',
        'oidc.jwksUri: keys are fetched by HTTPS: whoever is on the way could give others',
      );
    }
    return createRemoteJWKSet(url, {
      cooldownDuration: JWKS_COOLDOWN_MILLIS,
      timeoutDuration: JWKS_TIMEOUT_MILLIS,
      cacheMaxAge: JWKS_MAX_AGE_MILLIS,
    });
  }
  if (jwksFile === undefined) throw new WartaError('config-invalid', 'oidc: give one of jwksUri and jwksFile');
  let text: string;
  try {
    text = readFileSync(jwksFile, 'utf8');
  } catch (cause) {
    throw new WartaError('config-unreadable', `oidc.jwksFile: ${describeError(cause)}`, { cause });
  }
  try {
    return createLocalJWKSet(JSON.parse(text));
  } catch (cause) {
    throw new WartaError('config-invalid', `oidc.jwksFile: ${jwksFile} is no JSON Web Key Set`, { cause });
  }
}

/** Reads a claim by its name, or by a path of names with dots between them. */
function readRoles(payload: JWTPayload, claim: string): ReadonlySet<string> {
  const value = Object.hasOwn(payload, claim)
    ? payload[claim]
    : claim
        .split('.')
        .reduce<unknown>((at, name) => (isRecord(at) && Object.hasOwn(at, name) ? at[name] : undefined), payload);
  return new Set(Array.isArray(value) ? value.filter((role) => typeof role === 'string') : []);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
