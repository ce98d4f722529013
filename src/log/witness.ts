import { hash, type KeyObject } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import { type Checkpoint, findLogSignature, parseCheckpoint } from './checkpoint.ts';
import type { LogStorage } from './log-storage.ts';
import { EMPTY_ROOT, HASH_BYTES, verifyConsistency } from './merkle.ts';
import {
  type Cosigner,
  composeNote,
  composeSignatureLine,
  createCosigner,
  createVerifier,
  decodeBase64,
  NOTE_LIMITS,
  type Note,
  type NoteSignature,
  parseNote,
} from './note.ts';

/** A log that a witness watches. */
export interface WatchedLog {
  readonly origin: string;
  /** Raw Ed25519 key of the log in base64. */
  readonly publicKey: string;
}

/** What a witness needs. */
export interface WitnessOptions {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly logs: readonly WatchedLog[];
  /** Where it keeps the last checkpoint of each log. No other witness may use it, and it must never be lost or set back. */
  readonly state: LogStorage;
  readonly clock: Clock;
}

/** What a witness answers, as HTTP status and text. */
export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly contentType: string;
  readonly body: string;
}

/** What a client asks: sign this checkpoint; I think you know the log up to `oldSize`, and this proves the rest. */
interface AddCheckpointRequest {
  readonly oldSize: number;
  readonly proof: readonly Buffer[];
  readonly note: Note;
  readonly checkpoint: Checkpoint;
}

/** A proof in a tree of less than 2^63 leaves needs no more (C2SP tlog-witness, "add-checkpoint"). */
export const PROOF_MAX_HASHES = 63;

/** Longest request: 63 proof lines of 45 bytes, and the longest note. */
export const REQUEST_MAX_BYTES = 4096 + NOTE_LIMITS.maxBytes;

const PLAIN_TEXT = 'text/plain; charset=utf-8';
const SIZE_TEXT = 'text/x.tlog.size';

/** A refusal on the way to an answer. */
class Refusal extends Error {
  readonly answer: WitnessAnswer;

  constructor(status: WitnessAnswer['status'], text: string, contentType = PLAIN_TEXT) {
    super(text);
    this.answer = { status, contentType, body: `${text}\n` };
  }
}

/**
 * A witness: cosigns a log's checkpoint only after it has made sure, from what it remembers itself, that the log only grew
 * (C2SP tlog-witness). It remembers the new checkpoint durably before it lets the cosignature out, so that no crash makes
 * it cosign two checkpoints of which one does not extend the other.
 */
export class Witness {
  readonly name: string;
  /** Raw Ed25519 key in base64. */
  readonly publicKey: string;
  readonly #cosigner: Cosigner;
  readonly #logs: ReadonlyMap<string, WatchedLog>;
  readonly #state: LogStorage;
  readonly #clock: Clock;
  readonly #unlock: () => void;
  /** The last request of each log: the next one starts when it is done. */
  readonly #turns = new Map<string, Promise<unknown>>();

  private constructor({ name, privateKey, logs, state, clock }: WitnessOptions, unlock: () => void) {
    this.#cosigner = createCosigner(name, privateKey);
    this.name = name;
    this.publicKey = this.#cosigner.publicKey;
    for (const { origin, publicKey } of logs) createVerifier(origin, publicKey);
    this.#logs = new Map(logs.map((log) => [log.origin, log]));
    this.#state = state;
    this.#clock = clock;
    this.#unlock = unlock;
  }

  /**
   * Takes up a witness.
   *
   * @throws {WartaError} `log-busy` when another process uses its state; `key-invalid`.
   */
  static async open(options: WitnessOptions): Promise<Witness> {
    const unlock = await options.state.lock();
    try {
      return new Witness(options, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Ends, after the requests under way. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#turns.values());
    this.#unlock();
  }

  /**
   * Answers the body of an `add-checkpoint` request (C2SP tlog-witness, "add-checkpoint").
   *
   * @throws {WartaError} `store-failed`, `log-invalid` when its own state cannot be read or written: nothing was cosigned.
   */
  async addCheckpoint(body: Uint8Array): Promise<WitnessAnswer> {
    try {
      const request = parseRequest(body);
      const signature = this.#verifySignature(request);
      const line = await this.#inTurn(request.checkpoint.origin, () => this.#cosign(request, signature));
      return { status: 200, contentType: PLAIN_TEXT, body: line };
    } catch (error) {
      if (error instanceof Refusal) return error.answer;
      throw error;
    }
  }

  /**
   * Returns the last checkpoint that was cosigned of the log whose origin has this SHA-256 in hexadecimal, with the log's
   * signature and the cosignature (C2SP tlog-witness, "Monitor Retrieval Mechanism"); `undefined` when there is none.
   */
  async readCheckpoint(originHash: string): Promise<Uint8Array | undefined> {
    const log = [...this.#logs.keys()].find((origin) => hashOrigin(origin) === originHash);
    return log === undefined ? undefined : this.#state.read(statePath(log));
  }

  /** Requires that this is a log to watch, and the signature of its key. */
  #verifySignature({ note, checkpoint }: AddCheckpointRequest): NoteSignature {
    const log = this.#logs.get(checkpoint.origin);
    if (log === undefined) throw new Refusal(404, 'this witness does not watch that log');
    try {
      return findLogSignature(note, log);
    } catch (error) {
      throw new Refusal(403, describeError(error));
    }
  }

  /** Checks a request against what is remembered, remembers the checkpoint, and returns the cosignature line. */
  async #cosign({ note, checkpoint, oldSize, proof }: AddCheckpointRequest, signature: NoteSignature): Promise<string> {
    const path = statePath(checkpoint.origin);
    const stored = await this.#state.read(path);
    const known = stored === undefined ? undefined : parseCheckpoint(parseNote(stored).body);
    if (oldSize > checkpoint.size) throw new Refusal(400, 'the old size is above that of the checkpoint');
    if (oldSize !== (known?.size ?? 0)) throw new Refusal(409, String(known?.size ?? 0), SIZE_TEXT);
    requireConsistent(known, checkpoint, proof);
    const cosignature = this.#cosigner.cosign(note.body, Math.floor(this.#clock.wallMillis() / 1000));
    await this.#state.replace(path, composeNote(note.body, [signature, cosignature]), stored);
    return composeSignatureLine(cosignature);
  }

  /** Runs `task` when the earlier ones of the same log are done. */
  #inTurn<T>(origin: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(origin) ?? Promise.resolve()).then(task, task);
    this.#turns.set(origin, turn);
    return turn;
  }
}

/** Requires that the new checkpoint extends the known one. */
function requireConsistent(known: Checkpoint | undefined, next: Checkpoint, proof: readonly Buffer[]): void {
  if (next.size === 0 && !next.root.equals(EMPTY_ROOT)) throw new Refusal(422, 'size 0 has one root only');
  if (known === undefined || known.size === 0) {
    if (proof.length > 0) throw new Refusal(422, 'nothing is to be proven from size 0');
    return;
  }
  try {
    verifyConsistency(known.size, next.size, known.root, next.root, proof);
  } catch (error) {
    throw new Refusal(422, describeError(error));
  }
}

/** Parses the body: old size, proof lines, an empty line, the checkpoint. */
function parseRequest(body: Uint8Array): AddCheckpointRequest {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  const end = bytes.indexOf('\n\n');
  const [oldLine, ...proofLines] = bytes.toString('latin1', 0, Math.max(0, end)).split('\n');
  const oldSize = Number(/^old (0|[1-9]\d{0,15})$/.exec(oldLine)?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(oldSize)) throw new Refusal(400, 'the first line is not: old SIZE');
  if (proofLines.length > PROOF_MAX_HASHES) throw new Refusal(400, `over ${PROOF_MAX_HASHES} proof lines`);
  const proof = proofLines.map((line) => decodeBase64(line));
  if (!proof.every((hash) => hash?.length === HASH_BYTES)) throw new Refusal(400, 'a proof line is no hash in base64');
  try {
    const note = parseNote(bytes.subarray(end + 2));
    return { oldSize, proof: proof as Buffer[], note, checkpoint: parseCheckpoint(note.body) };
  } catch (error) {
    throw new Refusal(400, describeError(error));
  }
}

/** Composes the body of an `add-checkpoint` request. */
export function composeRequest(oldSize: number, proof: readonly Uint8Array[], note: Uint8Array): Buffer {
  const lines = proof.map((hash) => `${Buffer.from(hash).toString('base64')}\n`).join('');
  return Buffer.concat([Buffer.from(`old ${oldSize}\n${lines}\n`), note]);
}

/** Where the last checkpoint of a log is kept; also where monitors ask for it. */
function statePath(origin: string): string {
  return `${hashOrigin(origin)}/checkpoint`;
}

function hashOrigin(origin: string): string {
  return hash('sha256', origin);
}
