import { decodeJwt, jwtVerify } from 'jose';
import { WartaError } from '../../base/errors.ts';
import type { NodeRegistry } from '../../register/receipt.ts';

/** Longest life of a credential, from `iat` to `exp`. */
export const CREDENTIAL_MAX_SECONDS = 300;

/** How far a node's clock may be from the log's. */
const CLOCK_SKEW_SECONDS = 60;

/** Longest credential looked at. */
const CREDENTIAL_MAX_LENGTH = 2048;

/** What a credential is checked against. */
export interface CredentialTerms {
  /** The log's origin. */
  readonly origin: string;
  /** The path asked for below the register's root, such as `sealed/ab/ab….jsonl`. */
  readonly path: string;
  readonly nodes: NodeRegistry;
  readonly nowSeconds: number;
}

/**
 * Verifies the credential of a request for a sealed annex and returns the node's name, `licensee/node`. It is a JWT
 * (RFC 7519) in the header `Authorization: Bearer <token>`, signed with the node's Ed25519 key, the one of its receipts:
 *
 * | part | value |
 * |---|---|
 * | header | `{"alg":"EdDSA","typ":"JWT"}` |
 * | `iss` | `<licensee>/<node>` as enrolled in nodes.json |
 * | `aud` | the log's origin |
 * | `sub` | the path asked for, without a leading slash: `sealed/ab/ab….jsonl` |
 * | `iat`, `exp` | seconds; at most 300 apart, `iat` at most 60 seconds ahead of the server's clock |
 *
 * Bound to one file, it is of no use for another one to whoever sees it on its way.
 *
 * @throws {WartaError} `credential-invalid`.
 */
export async function verifyCredential(token: string, terms: CredentialTerms): Promise<string> {
  try {
    return await check(token, terms);
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    // The fault is told in full: the caller knows its own token, and nothing else is revealed.
    const reason = cause instanceof Error ? cause.message : 'not a token';
    throw new WartaError('credential-invalid', `credential: ${reason}`, { cause });
  }
}

async function check(token: string, { origin, path, nodes, nowSeconds }: CredentialTerms): Promise<string> {
  if (token.length > CREDENTIAL_MAX_LENGTH) throw invalid('too long');
  const issuer = decodeJwt(token).iss ?? '';
  const key = nodes.findByName(issuer);
  if (key === undefined) throw invalid('its issuer is not an enrolled node');
  const { payload } = await jwtVerify(token, key, {
    algorithms: ['EdDSA'],
    typ: 'JWT',
    issuer,
    audience: origin,
    subject: path,
    requiredClaims: ['exp'],
    currentDate: new Date(nowSeconds * 1000),
    maxTokenAge: CREDENTIAL_MAX_SECONDS,
    clockTolerance: CLOCK_SKEW_SECONDS,
  });
  if (payload.exp! - payload.iat! > CREDENTIAL_MAX_SECONDS) {
    throw invalid(`it is good for more than ${CREDENTIAL_MAX_SECONDS} seconds`);
  }
  return issuer;
}

function invalid(reason: string): WartaError {
  return new WartaError('credential-invalid', `credential: ${reason}`);
}
