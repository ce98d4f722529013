import { type KeyObject, verify } from 'node:crypto';
import { WartaError } from '../base/errors.ts';
import type { Authorities, Officer } from './authorities.ts';
import {
  composePreAuthentication,
  type Envelope,
  type KnownSignatures,
  PAYLOAD_TYPE,
  parseEnvelope,
  type Signature,
} from './envelope.ts';
import type { StatementLeaf } from './verify-statement.ts';

/** Envelopes verified together; while one batch is on its way the next is parsed and the last is judged. */
const BATCH = 256;

/**
 * Verifies signatures on the threads of libuv's pool before they are asked for: of a long register they are half the work,
 * and the other cores have nothing to do. It only ever remembers a signature that it verified by that very key over that
 * very object; whoever asks about anything else verifies for himself.
 */
export class SignaturePool implements KnownSignatures {
  readonly #byHint = new Map<string, Officer>();
  readonly #good = new WeakMap<Signature, string>();

  constructor({ byId }: Authorities) {
    for (const authority of byId.values()) {
      for (const officer of authority.officers) {
        for (const hint of [officer.publicKey, officer.id, `${authority.id}/${officer.id}`])
          this.#byHint.set(hint, officer);
      }
    }
  }

  /** Verifies those signatures of an envelope whose key id names an officer. */
  async verifyAhead({ payload, signatures }: Envelope): Promise<void> {
    const message = composePreAuthentication(PAYLOAD_TYPE, payload);
    await Promise.all(
      signatures.map(async (signature) => {
        const officer = this.#byHint.get(signature.hint ?? '');
        if (officer === undefined) return;
        if (await verifyInPool(message, officer.key, signature.bytes)) this.#good.set(signature, officer.publicKey);
      }),
    );
  }

  /** Whether this signature, taken from the envelope that was given to `verifyAhead`, was found to be by this key. */
  isBy(signature: Signature, publicKey: string): boolean {
    return this.#good.get(signature) === publicKey;
  }
}

/** A leaf with its envelope as parsed; without one when that is none, as the judge will say. */
function parseLeafOnce(leaf: StatementLeaf): StatementLeaf {
  try {
    const { name, key, integratedAtSeconds, envelope } = leaf; // the envelope is read here, and only once
    return { name, key, integratedAtSeconds, envelope, parsed: parseEnvelope(envelope) };
  } catch (error) {
    if (!(error instanceof WartaError) || error.code === 'store-failed') throw error;
    return leaf;
  }
}

/**
 * Judges leaves with their signatures verified ahead, by `judge`, which is given each leaf once and in order.
 */
export async function judgeAhead(
  leaves: Iterable<StatementLeaf>,
  pool: SignaturePool,
  judge: (leaf: StatementLeaf) => void,
): Promise<void> {
  let ready: StatementLeaf[] = [];
  let batch: StatementLeaf[] = [];
  let underWay: Promise<unknown> = Promise.resolve();
  const turnOver = async () => {
    await underWay;
    const done = ready;
    ready = batch;
    batch = [];
    underWay = Promise.all(ready.map(({ parsed }) => parsed && pool.verifyAhead(parsed)));
    for (const leaf of done) judge(leaf);
  };
  for (const leaf of leaves) {
    if (batch.push(parseLeafOnce(leaf)) === BATCH) await turnOver();
  }
  await turnOver();
  await turnOver();
}

function verifyInPool(message: Buffer, key: KeyObject, signature: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    verify(null, message, key, signature, (error, isGood) => resolve(error === null && isGood));
  });
}
