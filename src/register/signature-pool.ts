import { type KeyObject, verify } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { WartaError } from '../base/errors.ts';
import { yieldPoolThreads } from '../base/libc.ts';
import type { Authorities, Officer } from './authorities.ts';
import {
  composePreAuthentication,
  type Envelope,
  type KnownSignatures,
  PAYLOAD_TYPE,
  parseEnvelope,
  type Signature,
} from './envelope.ts';
import { readCommonHeartbeat } from './statement.ts';
import type { StatementLeaf } from './verify-statement.ts';

/** Envelopes that are judged together, and how many such batches wait for their signatures: the other threads never do. */
const BATCH = 256;
const BATCHES_UNDER_WAY = 4;

/**
 * Verifies signatures on the threads of libuv's pool before they are asked for: of a long register they are half the work,
 * and the other cores have nothing to do. It only ever remembers a signature that it verified by that very key over that
 * very object; whoever asks about anything else verifies for himself.
 */
export class SignaturePool implements KnownSignatures {
  readonly #byHint = new Map<string, Officer>();
  readonly #good = new WeakMap<Signature, string>();
  readonly #rulesOnly: boolean;

  /** @param rulesOnly leaves heartbeats out: nobody will ask. */
  constructor({ byId }: Authorities, rulesOnly = false) {
    this.#rulesOnly = rulesOnly;
    for (const authority of byId.values()) {
      for (const officer of authority.officers) {
        for (const hint of [officer.publicKey, officer.id, `${authority.id}/${officer.id}`])
          this.#byHint.set(hint, officer);
      }
    }
  }

  /** Verifies those signatures of an envelope whose key id names an officer. */
  async verifyAhead({ payload, signatures }: Envelope): Promise<void> {
    if (this.#rulesOnly && readCommonHeartbeat(payload) !== undefined) return;
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
    const { name, key, integratedAtSeconds, held, envelope } = leaf; // the envelope is read here, and only once
    return { name, key, integratedAtSeconds, held, envelope, parsed: parseEnvelope(envelope) };
  } catch (error) {
    if (!(error instanceof WartaError) || error.code === 'store-failed') throw error;
    return leaf;
  }
}

/**
 * Judges leaves with their signatures verified ahead, by `judge`, which is given each leaf once and in order. This thread
 * has less to do than the others: while it would wait it calls `meanwhile`, which does a little and says whether it did.
 */
export async function judgeAhead(
  leaves: Iterable<StatementLeaf>,
  pool: SignaturePool,
  judge: (leaf: StatementLeaf) => void,
  meanwhile: () => boolean = () => false,
): Promise<void> {
  const underWay: { leaves: readonly StatementLeaf[]; verified: Promise<unknown> }[] = [];
  const launch = (batch: readonly StatementLeaf[]) => {
    const verified = Promise.all(batch.map(({ parsed }) => parsed && pool.verifyAhead(parsed)));
    underWay.push({ leaves: batch, verified });
    if (underWay.length === 1) yieldPoolThreads();
  };
  const judgeOldest = async () => {
    const { leaves: batch, verified } = underWay.shift()!;
    await workUntil(verified, meanwhile);
    for (const leaf of batch) judge(leaf);
  };
  let batch: StatementLeaf[] = [];
  for (const leaf of leaves) {
    if (batch.push(parseLeafOnce(leaf)) < BATCH) continue;
    launch(batch);
    batch = [];
    if (underWay.length === BATCHES_UNDER_WAY) await judgeOldest();
  }
  launch(batch);
  while (underWay.length > 0) await judgeOldest();
}

/** Waits for a promise, and works as long as that takes. */
async function workUntil(promise: Promise<unknown>, work: () => boolean): Promise<void> {
  let isSettled = false;
  const settled = promise.then(() => {
    isSettled = true;
  });
  do
    await nextTurn(); // what is fetched meanwhile has its turn, too
  while (!isSettled && work());
  await settled;
}

function verifyInPool(message: Buffer, key: KeyObject, signature: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    verify(null, message, key, signature, (error, isGood) => resolve(error === null && isGood));
  });
}
