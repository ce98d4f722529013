import { composeCanonical } from '../../register/canonical.ts';
import { type Signer, signEnvelope } from '../../register/envelope.ts';
import type { Statement } from '../../register/statement.ts';
import { formatInstant } from '../../register/time.ts';

/** Who signs heartbeats and how often. The key is online, so its officer's `may` in authorities.json is `[heartbeat]`. */
export interface HeartbeatTerms {
  readonly authority: string;
  readonly signer: Signer;
  readonly intervalSeconds: number;
}

/** Composes and signs a heartbeat: the statement that says the register is alive and had nothing else to say. */
export function composeHeartbeat({ authority, signer }: HeartbeatTerms, nowSeconds: number): Buffer {
  const now = formatInstant(nowSeconds);
  const heartbeat: Statement = {
    type: 'heartbeat',
    version: 1,
    authority,
    reference: `HEARTBEAT/${now.replace(/[-:]/g, '')}`,
    reasons: { public: 'The register is alive.' },
    signedAt: now,
    at: now,
  };
  return signEnvelope(composeCanonical(heartbeat), [signer]);
}
