import { createCipheriv, createDecipheriv, hash, hkdfSync, randomBytes } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { WartaError } from '../../base/errors.ts';
import type { Tables } from '../store.ts';

/** An answer as it was given. */
export interface GivenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON as it was sent; bytes or a stream in the answer to a GET, which nobody keeps. */
  readonly body?: unknown;
}

/** What a client may choose as a key; long enough that nobody guesses it, since it opens the answer that is kept. */
const KEY = /^[\x21-\x7e]{16,255}$/;

/** How long an answer is kept for whoever asks again. */
export const IDEMPOTENCY_SECONDS = 24 * 3600;

interface KeyedRequest {
  readonly key: string;
  readonly id: string;
  readonly bodyHash: string;
}

/**
 * Returns the answer that this POST got before, if it carries the `Idempotency-Key` of one.
 *
 * @throws {WartaError} `request-invalid` for a key that is none, `idempotency-mismatch` for one used with another body.
 */
export async function findAnswer(tables: Tables, request: FastifyRequest): Promise<GivenAnswer | undefined> {
  const keyed = readKey(request);
  const earlier = keyed && (await tables.idempotency.get(keyed.id));
  if (keyed === undefined || earlier === undefined) return undefined;
  if (earlier.bodyHash !== keyed.bodyHash) {
    throw new WartaError('idempotency-mismatch', 'this Idempotency-Key was used with another body: choose a new one');
  }
  return JSON.parse(open(earlier.answer as string, keyed));
}

/** Keeps the answer to a POST that has an `Idempotency-Key`. It may hold a secret, so only that key opens it. */
export async function keepAnswer(
  tables: Tables,
  request: FastifyRequest,
  answer: GivenAnswer,
  createdSeconds: number,
): Promise<void> {
  const keyed = readKey(request);
  if (keyed === undefined) return;
  const { id, bodyHash } = keyed;
  const sealed = seal(JSON.stringify(answer), keyed);
  await tables.idempotency.insert({ id, bodyHash, status: answer.status, answer: sealed, createdSeconds });
}

function readKey(request: FastifyRequest): KeyedRequest | undefined {
  const { 'idempotency-key': key = request.fields?.key } = request.headers;
  if (request.method !== 'POST' || key === undefined) return undefined;
  if (typeof key !== 'string' || !KEY.test(key)) {
    throw new WartaError('request-invalid', 'Idempotency-Key: write 16 to 255 printable characters, such as a UUID');
  }
  const { body, actor, url } = request;
  const bodyHash = hash('sha256', body instanceof Uint8Array ? body : JSON.stringify(body ?? null));
  // Those without an account share one name: whoever has the key must have the body too.
  const whose = actor.id === 'public' ? bodyHash : '';
  return { key, bodyHash, id: hash('sha256', JSON.stringify([actor.id, url, key, whose])) };
}

function deriveKey({ key, id }: KeyedRequest): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.from(id, 'hex'), 'warta idempotency', 32));
}

/** Encrypts an answer: nonce, tag, text, in base64. */
function seal(text: string, keyed: KeyedRequest): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', deriveKey(keyed), nonce);
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64');
}

function open(base64: string, keyed: KeyedRequest): string {
  const bytes = Buffer.from(base64, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', deriveKey(keyed), bytes.subarray(0, 12));
  decipher.setAuthTag(bytes.subarray(12, 28));
  return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8');
}
