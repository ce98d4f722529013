import { WartaError } from '../base/errors.ts';
import { EMPTY_ROOT, HASH_BYTES } from './merkle.ts';
import {
  createCosignatureVerifier,
  createVerifier,
  decodeBase64,
  isBy,
  NOTE_LIMITS,
  type Note,
  type NoteLimits,
  type NoteSignature,
  parseNote,
} from './note.ts';

/** The head of a log: so many leaves, with this root (C2SP tlog-checkpoint). */
export interface Checkpoint {
  /** Name of the log; also the name of its key. */
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

/** Composes the text of a checkpoint (C2SP tlog-checkpoint, "Note text"). */
export function composeCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/**
 * Parses the text of a checkpoint. Extension lines are allowed and mean nothing.
 *
 * @throws {WartaError} `note-invalid`.
 */
export function parseCheckpoint(body: string): Checkpoint {
  const [origin, sizeText, rootText, ...extensions] = body.split('\n');
  const size = /^(0|[1-9]\d{0,15})$/.test(sizeText ?? '') ? Number(sizeText) : Number.NaN;
  const root = decodeBase64(rootText ?? '');
  const ends = extensions.pop() === '' && extensions.every((line) => line !== '');
  if (origin === '' || !ends || !Number.isSafeInteger(size) || root?.length !== HASH_BYTES) {
    throw new WartaError('note-invalid', 'no checkpoint: write origin, size and root in a line each');
  }
  return { origin, size, root };
}

/** Which log is followed, and whom it must have shown its head to. Keys are raw Ed25519 in base64. */
export interface CheckpointPolicy {
  readonly origin: string;
  readonly publicKey: string;
  readonly witnesses: readonly { readonly name: string; readonly publicKey: string }[];
  /** How many witnesses must have cosigned. */
  readonly quorum: number;
}

/** A witness's statement: as of `timeSeconds` this was the largest head it saw. */
export interface Cosignature {
  readonly name: string;
  readonly timeSeconds: number;
}

/** A checkpoint the log's key signed. */
export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  /** One for each witness of the policy that cosigned, by distinct public key, newest first. */
  readonly cosignatures: readonly Cosignature[];
  /** Whether there are as many as the quorum asks for. */
  readonly witnessed: boolean;
  /** Time of the newest cosignature. */
  readonly newestCosignatureSeconds?: number;
  /** Time of the oldest of the newest `quorum` cosignatures: no single witness with a fast clock can move it. */
  readonly witnessedAtSeconds?: number;
}

/**
 * Opens a checkpoint: verifies the log's signature and those of the policy's witnesses. Signatures by other keys are
 * ignored; one by a known key that does not verify makes the whole note invalid (C2SP signed-note, "Signatures").
 *
 * @throws {WartaError} `note-invalid` (form, a bad signature of a known key) or `checkpoint-foreign` (another origin, or no
 * signature by the log's key).
 */
export function openCheckpoint(
  bytes: Uint8Array,
  policy: CheckpointPolicy,
  limits: NoteLimits = NOTE_LIMITS,
): OpenedCheckpoint {
  const note = parseNote(bytes, limits);
  const checkpoint = parseCheckpoint(note.body);
  if (checkpoint.origin !== policy.origin) {
    throw new WartaError('checkpoint-foreign', `the checkpoint is of ${checkpoint.origin}, not of ${policy.origin}`);
  }
  findLogSignature(note, policy);
  if (checkpoint.size === 0 && !checkpoint.root.equals(EMPTY_ROOT)) {
    throw new WartaError('note-invalid', 'the checkpoint has size 0 and another root than that of the empty tree');
  }
  const cosignatures = findCosignatures(note, policy);
  const witnessed = cosignatures.length >= policy.quorum;
  return {
    checkpoint,
    cosignatures,
    witnessed,
    newestCosignatureSeconds: cosignatures[0]?.timeSeconds,
    witnessedAtSeconds: witnessed ? cosignatures[policy.quorum - 1]?.timeSeconds : undefined,
  };
}

/**
 * Returns the log's own signature on a note, verified. `publicKey` is a raw Ed25519 key in base64.
 *
 * @throws {WartaError} `checkpoint-foreign` when there is none, `note-invalid` when it is not good.
 */
export function findLogSignature(
  note: Note,
  { origin, publicKey }: { readonly origin: string; readonly publicKey: string },
): NoteSignature {
  const verifier = createVerifier(origin, publicKey);
  const own = note.signatures.filter((signature) => isBy(signature, verifier));
  if (own.length === 0) {
    throw new WartaError('checkpoint-foreign', `the checkpoint has no signature by the key of ${origin}`);
  }
  if (!own.every(({ signature }) => verifier.verify(note.body, signature))) throw badSignature(origin);
  return own[0];
}

/** Returns the newest cosignature of each witness, the newest first. */
function findCosignatures(note: Note, policy: CheckpointPolicy): Cosignature[] {
  const newest = new Map<string, Cosignature>();
  for (const { name, publicKey } of policy.witnesses) {
    const verifier = createCosignatureVerifier(name, publicKey);
    for (const signature of note.signatures.filter((one) => isBy(one, verifier))) {
      const timeSeconds = verifier.verify(note.body, signature.signature);
      if (timeSeconds === undefined) throw badSignature(name);
      if (timeSeconds > (newest.get(publicKey)?.timeSeconds ?? -1)) newest.set(publicKey, { name, timeSeconds });
    }
  }
  return [...newest.values()].sort((one, other) => other.timeSeconds - one.timeSeconds);
}

function badSignature(name: string): WartaError {
  return new WartaError('note-invalid', `the signature of ${name} on the checkpoint does not verify`);
}
