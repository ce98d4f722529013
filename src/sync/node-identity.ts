import type { KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';

/** Who a node is: its licensee, its name, its key. */
export interface NodeIdentity {
  readonly licensee: string;
  readonly node: string;
  readonly key: KeyObject;
}

/** How long a credential is good for. */
const VALID_SECONDS = 120;

/**
 * Returns the Authorization header by which a node shows who it is: a JWT signed with its own Ed25519 key (RFC 8037), for
 * one path of one register (`sub`, `aud`) and for two minutes.
 */
export async function composeCredential(
  { licensee, node, key }: NodeIdentity,
  origin: string,
  path: string,
  nowSeconds: number,
): Promise<string> {
  const issuedAt = Math.floor(nowSeconds);
  const token = await new SignJWT({})
    .setProtectedHeader({ alg: 'EdDSA', typ: 'JWT' })
    .setIssuer(`${licensee}/${node}`)
    .setAudience(origin)
    .setSubject(path)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + VALID_SECONDS)
    .sign(key);
  return `Bearer ${token}`;
}
