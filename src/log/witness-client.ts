import { request } from 'undici';
import { describeError, WartaError } from '../base/errors.ts';
import {
  type CosignatureVerifier,
  createCosignatureVerifier,
  isBy,
  type NoteSignature,
  parseSignatureLine,
} from './note.ts';
import { composeRequest, type Witness } from './witness.ts';

/** A checkpoint that is to be cosigned. */
export interface CosignRequest {
  readonly size: number;
  /** Text of the checkpoint. */
  readonly body: string;
  /** The note with the log's signature. */
  readonly note: Uint8Array;
  /** Makes the consistency proof from an earlier size. */
  prove(oldSize: number): Promise<readonly Uint8Array[]>;
}

/** A witness as the log sees it. */
export interface WitnessClient {
  readonly name: string;
  /** Raw Ed25519 key in base64. */
  readonly publicKey: string;
  /**
   * Returns the witness's cosignature.
   *
   * @throws {WartaError} `witness-failed`: not to be reached, slow, or it refused.
   */
  cosign(request: CosignRequest): Promise<NoteSignature>;
}

/** Sends the body of an `add-checkpoint` request and returns the answer. */
export type Exchange = (body: Buffer) => Promise<{ status: number; body: string }>;

/** Longest answer that is read: a witness has few keys. */
const ANSWER_MAX_BYTES = 16_384;

const DEFAULT_TIMEOUT_MILLIS = 5_000;

/** Creates the client of a witness behind HTTP. `url` is its submission prefix (C2SP tlog-witness, "HTTP Interface"). */
export function createHttpWitness(options: {
  readonly name: string;
  readonly publicKey: string;
  readonly url: string;
  readonly timeoutMillis?: number;
}): WitnessClient {
  const { name, publicKey, url, timeoutMillis = DEFAULT_TIMEOUT_MILLIS } = options;
  const target = `${url.replace(/\/$/, '')}/add-checkpoint`;
  return createWitnessClient(name, publicKey, (body) => post(target, body, timeoutMillis));
}

/** Creates the client of a witness in this process. */
export function createLocalWitness(witness: Witness): WitnessClient {
  return createWitnessClient(witness.name, witness.publicKey, (body) => witness.addCheckpoint(body));
}

/** Creates a client that reaches its witness by `exchange`. */
export function createWitnessClient(name: string, publicKey: string, exchange: Exchange): WitnessClient {
  const verifier = createCosignatureVerifier(name, publicKey);
  /** Up to where the witness knows the log, as far as this client knows. */
  let knownSize = 0;
  return {
    name,
    publicKey,
    async cosign(request) {
      try {
        const answer = await askTwice(request, knownSize, exchange);
        const signature = findCosignature(answer, request.body, verifier);
        knownSize = request.size;
        return signature;
      } catch (cause) {
        throw new WartaError('witness-failed', `witness ${name}: ${describeError(cause)}`, { cause });
      }
    },
  };
}

/** Asks for a cosignature, and once more when the witness says that it knows the log up to another size. */
async function askTwice(request: CosignRequest, knownSize: number, exchange: Exchange): Promise<string> {
  const first = await ask(request, Math.min(knownSize, request.size), exchange);
  if (first.status !== 409) return requireGood(first);
  const size = Number(/^(0|[1-9]\d{0,15})\n$/.exec(first.body)?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(size)) throw new Error('it says that it knows another size, and not which');
  if (size > request.size) {
    throw new Error(
      `it has seen ${size} leaves and this log has ${request.size}: was the log set back to an older copy?`,
    );
  }
  return requireGood(await ask(request, size, exchange));
}

async function ask({ note, prove }: CosignRequest, oldSize: number, exchange: Exchange) {
  return exchange(composeRequest(oldSize, await prove(oldSize), note));
}

function requireGood({ status, body }: { status: number; body: string }): string {
  if (status === 200) return body;
  throw new Error(`it answered ${status} ${body.slice(0, 200).trim()}`);
}

/** Returns the cosignature of this witness's key; lines of other keys are ignored. */
function findCosignature(answer: string, body: string, verifier: CosignatureVerifier): NoteSignature {
  const lines = answer.split('\n').filter((line) => line !== '');
  const own = lines.map(parseSignatureLine).find((signature) => isBy(signature, verifier));
  if (own === undefined || verifier.verify(body, own.signature) === undefined) {
    throw new Error('its answer has no good cosignature by its key');
  }
  return own;
}

/** Posts a request and reads a short answer, all of it in `timeoutMillis`. */
async function post(url: string, body: Buffer, timeoutMillis: number): Promise<{ status: number; body: string }> {
  const signal = AbortSignal.timeout(timeoutMillis);
  const answer = await request(url, { method: 'POST', body, signal });
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of answer.body) {
    sizeBytes += part.length;
    if (sizeBytes > ANSWER_MAX_BYTES) throw new Error(`its answer is longer than ${ANSWER_MAX_BYTES} bytes`);
    parts.push(part);
  }
  return { status: answer.statusCode, body: Buffer.concat(parts).toString('utf8') };
}
