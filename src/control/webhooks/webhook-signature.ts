import { type KeyObject, sign } from 'node:crypto';

/** What a delivery is signed over. */
export interface SignedDelivery {
  /** The same at every attempt: whoever gets it twice knows it by this. */
  readonly id: string;
  /** When this attempt is made. */
  readonly timestampSeconds: number;
  readonly body: string;
}

/**
 * Returns the headers of a delivery as the Standard Webhooks specification has them, with its asymmetric signature (`v1a`):
 * Ed25519 over `<id>.<timestamp>.<body>`. Nobody who can verify it can make one.
 */
export function composeWebhookHeaders({ id, timestampSeconds, body }: SignedDelivery, key: KeyObject) {
  const signature = sign(null, Buffer.from(`${id}.${timestampSeconds}.${body}`), key).toString('base64');
  return {
    'content-type': 'application/json',
    'user-agent': 'warta',
    'webhook-id': id,
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': `v1a,${signature}`,
  };
}

/** Spells a public key (raw Ed25519 in base64) as libraries for Standard Webhooks take it. */
export function composeWebhookKey(publicKey: string): string {
  return `whpk_${publicKey}`;
}
