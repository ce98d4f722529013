import { hash, type KeyObject, randomUUID } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import { type Checkpoint, composeCheckpoint, type OpenedCheckpoint, openCheckpoint } from './checkpoint.ts';
import { Cosigning, type OnFault } from './cosigning.ts';
import { composeHead, HEAD_PATH, type LogHead, parseHead } from './log-head.ts';
import type { LogStorage } from './log-storage.ts';
import { EMPTY_ROOT } from './merkle.ts';
import { composeNote, createSigner, parseNote, type Signer } from './note.ts';
import { proveConsistency } from './proof.ts';
import { type LogFile, RightEdge } from './right-edge.ts';
import { composeStaged, parseStaged } from './staging.ts';
import { bundlePath, LEAF_MAX_BYTES, TILE_WIDTH, tilePath } from './tile.ts';
import type { CosignRequest, WitnessClient } from './witness-client.ts';

/** Path of the one file of the public tree that changes. */
export const CHECKPOINT_PATH = 'checkpoint';

/** What a sequencer needs. */
export interface SequencerOptions {
  /** The public tree: what mirrors serve. */
  readonly storage: LogStorage;
  /** The private state; must never be lost or set back while the public tree lives. */
  readonly state: LogStorage;
  /** Name of the log and of its key. */
  readonly origin: string;
  /** The log's Ed25519 key. */
  readonly privateKey: KeyObject;
  readonly witnesses: readonly WitnessClient[];
  /** How many witnesses to wait for before a checkpoint is published; all unless given. */
  readonly quorum?: number;
  readonly clock: Clock;
  /** Told of every witness that failed and every step that is to be finished later. */
  readonly onFault?: OnFault;
  /** Most leaves of one step, and the bytes after which no more are added. */
  readonly batchMaxLeaves?: number;
  readonly batchMaxBytes?: number;
  /** First pause before what failed is tried again; it doubles up to a minute. */
  readonly retryMillis?: number;
}

/** Where a leaf is. */
export interface Sequenced {
  readonly index: number;
  readonly integratedAtSeconds: number;
  readonly leafHash: Buffer;
}

/** Composes a leaf of at most 65,535 bytes once its time is known. */
export type ComposeLeaf = (integratedAtSeconds: number) => Uint8Array;

/** A leaf that waits for its step. */
interface Waiting {
  readonly compose: ComposeLeaf;
  resolve(sequenced: Sequenced): void;
  reject(error: unknown): void;
}

/** A leaf of the step under way. */
interface Placed {
  readonly waiting: Waiting;
  readonly sequenced: Sequenced;
}

const DEFAULT_BATCH_LEAVES = 4096;
const DEFAULT_BATCH_BYTES = 8 << 20;
const DEFAULT_RETRY_MILLIS = 5_000;
const LONGEST_RETRY_MILLIS = 60_000;

/** Files that are written at a time: a remote store takes its time for each. */
const APPLY_AT_ONCE = 16;

/** How far the time of leaves may be ahead of the clock: one that ran ahead for a moment must not hold all later ones there. */
const LEAD_MAX_SECONDS = 300;

/**
 * Puts leaves in order, one step after another:
 *
 * 1. *stage*: the files that the step brings are written as one private record.
 * 2. *commit*: a checkpoint of the log with them is signed and takes the place of the last one in the private head record, by
 *    compare-and-swap. From here on the leaves are in the log, and `append` resolves.
 * 3. *apply*: the staged files are written to the public tree.
 * 4. *cosign*: witnesses are asked. Too few of them do not stop the step: readers judge for themselves what they then accept.
 * 5. *publish*: the checkpoint is put in the public tree, where everything it names already is.
 * 6. *clean up*: partial tiles that nobody needs any more and the staged record are removed.
 *
 * After a failure of any kind, and when it is opened, a sequencer believes nothing but the head record: it does the steps from
 * 3 on again, with the staged record that the head names. All of them may be done twice. A staged record that no head names
 * was never committed, and stays behind as a useless file.
 */
export class Sequencer {
  readonly #options: SequencerOptions;
  readonly #signer: Signer;
  readonly #cosigning: Cosigning;
  readonly #writer = randomUUID();
  readonly #unlock: () => void;
  #head!: LogHead;
  /** The head as it is stored, for compare-and-swap. */
  #headBytes!: Uint8Array;
  #checkpoint!: Checkpoint;
  #edge = RightEdge.empty();
  /** The published note, `undefined` before the first. */
  #published: Uint8Array | undefined;
  /** Whether storage has to be read again because an earlier step failed. */
  #isStale = true;
  #isClosed = false;
  #waiting: Waiting[] = [];
  /** The last task; tasks run one after another. */
  #tail: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #retryMillis: number;

  private constructor(options: SequencerOptions, unlock: () => void) {
    const { witnesses, quorum = witnesses.length, onFault = () => {} } = options;
    this.#options = options;
    this.#signer = createSigner(options.origin, options.privateKey);
    this.#cosigning = new Cosigning(witnesses, quorum, onFault);
    this.#unlock = unlock;
    this.#retryMillis = options.retryMillis ?? DEFAULT_RETRY_MILLIS;
  }

  /**
   * Opens a log, or begins one where there is none, finishes what an earlier process left unfinished, and publishes.
   *
   * @throws {WartaError} `log-busy` when another sequencer has the log; `log-invalid` when private state and public tree do
   * not fit (one was set back, or lost), as going on would fork the log; `store-failed`.
   */
  static async open(options: SequencerOptions): Promise<Sequencer> {
    const unlock = await options.state.lock();
    let sequencer: Sequencer | undefined;
    try {
      sequencer = new Sequencer(options, unlock);
      await sequencer.#claim();
      await sequencer.#recover();
      return sequencer;
    } catch (error) {
      if (sequencer === undefined) unlock();
      else await sequencer.close();
      throw error;
    }
  }

  /** Number of leaves committed. */
  get size(): number {
    return this.#checkpoint.size;
  }

  /**
   * Appends a leaf; resolves when it is committed, that is, when no crash can lose it. Many at once share a step. `compose`
   * is called with the time the leaf gets: that of the clock, but never before the leaf before it, unless that one is more
   * than five minutes ahead of the clock.
   *
   * @throws {WartaError} `leaf-malformed` when it is too long; `store-failed` when it could not be committed (when the
   * outcome could not be found out, it may turn out to be in the log after all); `log-busy` when another sequencer took over.
   * What `compose` throws passes through.
   */
  append(compose: ComposeLeaf): Promise<Sequenced> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(closedError());
        return;
      }
      this.#waiting.push({ compose, resolve, reject });
      if (this.#waiting.length === 1) this.#exclusively(() => this.#sequence());
    });
  }

  /**
   * Publishes the same checkpoint with fresh cosignatures, so that readers see that it is still the newest.
   *
   * @throws {WartaError} `store-failed`, `log-busy`.
   */
  publish(): Promise<void> {
    return this.#exclusively(() => this.#finishAnd(() => this.#publish(false)));
  }

  /**
   * Resolves when everything appended so far is published.
   *
   * @throws {WartaError} `store-failed`, `log-busy`.
   */
  flush(): Promise<void> {
    return this.#exclusively(() => this.#finishAnd(async () => {}));
  }

  /** Returns the published checkpoint, as the note that readers get and taken apart with the witnesses' names. */
  checkpoint(): OpenedCheckpoint & { readonly note: Uint8Array } {
    const note = this.#published!;
    return { ...openCheckpoint(note, this.#policy()), note };
  }

  /** Ends after the step under way. Leaves that wait for another one are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    for (const { reject } of this.#waiting.splice(0)) reject(closedError());
    await this.#tail;
    clearTimeout(this.#retry);
    this.#unlock();
  }

  /** Runs a task when the earlier ones are done; none once the log is being closed. */
  #exclusively(task: () => Promise<void>): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const done = this.#tail.then(task);
    this.#tail = done.catch(() => {});
    return done;
  }

  /** Finishes what an earlier step left, then runs `task`; when anything fails, storage is read again before the next one. */
  async #finishAnd(task: () => Promise<void>): Promise<void> {
    try {
      if (this.#isStale) await this.#recover();
      await task();
    } catch (error) {
      this.#isStale = true;
      this.#scheduleRetry();
      throw error;
    }
  }

  /** Takes the log for this sequencer: whoever had it before finds another writer's name in the head, and stops. */
  async #claim(): Promise<void> {
    const { state, storage, origin } = this.#options;
    const before = await state.read(HEAD_PATH);
    if (before === undefined && (await storage.read(CHECKPOINT_PATH)) !== undefined) {
      throw new WartaError('log-invalid', `${origin} is published but its private state is missing: restore it`);
    }
    const head = before === undefined ? this.#composeFirstHead() : { ...parseHead(before), writer: this.#writer };
    await state.replace(HEAD_PATH, composeHead(head), before);
  }

  #composeFirstHead(): LogHead {
    const checkpoint = this.#sign({ origin: this.#options.origin, size: 0, root: EMPTY_ROOT });
    return { version: 1, writer: this.#writer, checkpoint, lastLeafSeconds: 0, staged: null };
  }

  /** Reads what was committed, and finishes it. */
  async #recover(): Promise<void> {
    await this.#readHead();
    const files = await this.#readStaged();
    await this.#finish(files, undefined);
  }

  /** Reads the head record and the published checkpoint, and requires that they fit. */
  async #readHead(): Promise<void> {
    const { state, storage, origin } = this.#options;
    const bytes = await state.read(HEAD_PATH);
    if (bytes === undefined) throw new WartaError('log-invalid', `the private state of ${origin} is gone: restore it`);
    this.#head = parseHead(bytes);
    this.#headBytes = bytes;
    if (this.#head.writer !== this.#writer) {
      throw new WartaError('log-busy', `another sequencer has taken over ${origin}: stop one of the two`);
    }
    this.#checkpoint = openCheckpoint(this.#headNote(), this.#policy()).checkpoint;
    this.#published = await storage.read(CHECKPOINT_PATH);
    if (this.#published === undefined) return;
    requireLeadsTo(openCheckpoint(this.#published, this.#policy()).checkpoint, this.#checkpoint);
    this.#cosigning.resume(parseNote(this.#published));
  }

  /** Returns the staged files that the head names. They are gone once its checkpoint was published. */
  async #readStaged(): Promise<LogFile[]> {
    const { staged } = this.#head;
    if (staged === null) return [];
    const record = await this.#options.state.read(staged.path);
    if (record === undefined && this.#isPublished()) return [];
    if (record === undefined || hash('sha256', record) !== staged.sha256) {
      throw new WartaError(
        'log-invalid',
        `the published checkpoint is not that of the private state, and ${staged.path}, which leads there, is gone or ` +
          'damaged: restore the published files from a mirror',
      );
    }
    return parseStaged(record);
  }

  /** Whether the published checkpoint is the one committed to. */
  #isPublished(): boolean {
    return this.#published !== undefined && parseNote(this.#published).body === parseNote(this.#headNote()).body;
  }

  #headNote(): Buffer {
    return Buffer.from(this.#head.checkpoint);
  }

  /** Steps 3 to 6: everything after the commit. `edge` is the log's with the files, read from storage when not known. */
  async #finish(files: readonly LogFile[], edge: RightEdge | undefined): Promise<void> {
    const { storage, state } = this.#options;
    for (let at = 0; at < files.length; at += APPLY_AT_ONCE) {
      await Promise.all(files.slice(at, at + APPLY_AT_ONCE).map(({ path, bytes }) => storage.create(path, bytes)));
    }
    this.#edge = edge ?? (await RightEdge.load(this.#checkpoint, (path) => storage.read(path)));
    await this.#publish(false);
    const { staged } = this.#head;
    if (files.length > 0 && staged !== null) {
      for (const path of listSuperseded(staged.fromSize, this.#checkpoint.size)) await storage.remove(path);
      await state.remove(staged.path);
    }
    this.#isStale = false;
    this.#retryMillis = this.#options.retryMillis ?? DEFAULT_RETRY_MILLIS;
  }

  /** Steps through everything that waits. */
  async #sequence(): Promise<void> {
    while (this.#waiting.length > 0) {
      try {
        await this.#finishAnd(() => this.#step());
      } catch (error) {
        // Leaves of the step that failed have been told. The next ones need not wait for the same fault one by one.
        for (const { reject } of this.#waiting.splice(0)) reject(error);
      }
    }
  }

  /** One step, from stage to clean up. */
  async #step(): Promise<void> {
    const edge = this.#edge.clone();
    const integratedAtSeconds = this.#assignTime();
    const placed = this.#place(edge, integratedAtSeconds);
    if (placed.length === 0) return;
    const files = edge.takeFiles();
    const checkpoint = { origin: this.#options.origin, size: edge.size, root: edge.root() };
    try {
      await this.#commit(checkpoint, files, integratedAtSeconds);
    } catch (error) {
      if (!(await this.#isCommitted(checkpoint))) {
        for (const { waiting } of placed) waiting.reject(error);
        throw error;
      }
    }
    for (const { waiting, sequenced } of placed) waiting.resolve(sequenced);
    await this.#finish(files, edge);
  }

  /** Composes the leaves that wait, as many as fit one step, and appends them to `edge`. */
  #place(edge: RightEdge, integratedAtSeconds: number): Placed[] {
    const { batchMaxLeaves = DEFAULT_BATCH_LEAVES, batchMaxBytes = DEFAULT_BATCH_BYTES } = this.#options;
    const placed: Placed[] = [];
    let taken = 0;
    for (let sizeBytes = 0; taken < this.#waiting.length && placed.length < batchMaxLeaves; taken++) {
      if (sizeBytes >= batchMaxBytes) break;
      const waiting = this.#waiting[taken];
      try {
        const leaf = composeChecked(waiting.compose, integratedAtSeconds);
        sizeBytes += leaf.length;
        const index = edge.size;
        placed.push({ waiting, sequenced: { index, integratedAtSeconds, leafHash: edge.append(leaf) } });
      } catch (error) {
        waiting.reject(error);
      }
    }
    this.#waiting.splice(0, taken);
    return placed;
  }

  /** Returns the time of the next leaves in whole seconds. */
  #assignTime(): number {
    const now = Math.floor(this.#options.clock.wallMillis() / 1000);
    const last = this.#head.lastLeafSeconds;
    return last > now + LEAD_MAX_SECONDS ? now : Math.max(now, last);
  }

  /** Steps 1 and 2. */
  async #commit(checkpoint: Checkpoint, files: readonly LogFile[], lastLeafSeconds: number): Promise<void> {
    const { state } = this.#options;
    const record = composeStaged(files);
    const path = `staged/${checkpoint.size}-${checkpoint.root.toString('hex')}`;
    await state.create(path, record);
    const head: LogHead = {
      version: 1,
      writer: this.#writer,
      checkpoint: this.#sign(checkpoint),
      lastLeafSeconds,
      staged: { path, sha256: hash('sha256', record), fromSize: this.#checkpoint.size },
    };
    const bytes = composeHead(head);
    await state.replace(HEAD_PATH, bytes, this.#headBytes);
    this.#head = head;
    this.#headBytes = bytes;
    this.#checkpoint = checkpoint;
  }

  /** Whether a commit that failed is in the head all the same; no when that cannot be found out either. */
  async #isCommitted({ root }: Checkpoint): Promise<boolean> {
    try {
      await this.#readHead();
      return this.#checkpoint.root.equals(root);
    } catch {
      return false; // The error of the commit is what gets reported.
    }
  }

  /** Steps 4 and 5. */
  async #publish(onlyMissing: boolean): Promise<void> {
    const request = this.#composeRequest();
    await this.#cosigning.collect(request, { onlyMissing });
    const own = this.#signer.sign(request.body);
    const note = composeNote(request.body, [own, ...this.#cosigning.signatures]);
    if (this.#published === undefined || !note.equals(this.#published)) {
      await this.#options.storage.replace(CHECKPOINT_PATH, note, this.#published);
      this.#published = note;
    }
    if (!this.#cosigning.isComplete) this.#scheduleRetry();
  }

  #composeRequest(): CosignRequest {
    const { size, root } = this.#checkpoint;
    const prove = (oldSize: number) => proveConsistency(oldSize, size, (path) => this.#readTile(path), root);
    return { size, body: composeCheckpoint(this.#checkpoint), note: this.#headNote(), prove };
  }

  async #readTile(path: string): Promise<Uint8Array> {
    const bytes = await this.#options.storage.read(path);
    if (bytes === undefined) throw new WartaError('log-invalid', `${path} is missing: restore the log's folder`);
    return bytes;
  }

  /** Tries again after a while what failed: a step that is not finished, or witnesses that did not answer. */
  #scheduleRetry(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#tryAgain(), this.#retryMillis).unref();
    this.#retryMillis = Math.min(2 * this.#retryMillis, LONGEST_RETRY_MILLIS);
  }

  #tryAgain(): void {
    const task = async () => (this.#cosigning.isComplete ? undefined : this.#publish(true));
    this.#exclusively(() => this.#finishAnd(task)).catch((error) => this.#options.onFault?.(error));
  }

  #sign(checkpoint: Checkpoint): string {
    const body = composeCheckpoint(checkpoint);
    return composeNote(body, [this.#signer.sign(body)]).toString();
  }

  #policy() {
    const { origin, witnesses, quorum = witnesses.length } = this.#options;
    return { origin, publicKey: this.#signer.publicKey, witnesses, quorum };
  }
}

/** Requires that the published checkpoint can have come before the one committed to. */
function requireLeadsTo(published: Checkpoint, committed: Checkpoint): void {
  const isSame = published.size === committed.size && published.root.equals(committed.root);
  if (published.size < committed.size || isSame) return;
  throw new WartaError(
    'log-invalid',
    `the published checkpoint of ${committed.origin} (${published.size} leaves) does not lead to the private state ` +
      `(${committed.size}): restore the newest state, never an older one`,
  );
}

/** Composes a leaf and requires that it fits an entry bundle. */
function composeChecked(compose: ComposeLeaf, integratedAtSeconds: number): Buffer {
  const leaf = Buffer.from(compose(integratedAtSeconds)); // a copy: it stays in memory until its bundle is full
  if (leaf.length <= LEAF_MAX_BYTES) return leaf;
  throw new WartaError('leaf-malformed', `the leaf has ${leaf.length} bytes, ${LEAF_MAX_BYTES} at most`);
}

/**
 * Returns the folders of partial tiles that may go when a log has grown: those of a tile after which another one is full, so
 * that a reader who is a little behind still finds what his checkpoint names (C2SP tlog-tiles, "Partial Tiles").
 */
function listSuperseded(fromSize: number, toSize: number): string[] {
  const folders: string[] = [];
  for (let level = 0; TILE_WIDTH ** (level + 1) <= toSize; level++) {
    const span = TILE_WIDTH ** (level + 1);
    const [fullBefore, full] = [Math.floor(fromSize / span), Math.floor(toSize / span)];
    // Only these two can have partial tiles: later ones came full at once.
    for (const index of [fullBefore - 1, fullBefore]) {
      if (index < 0 || index > full - 2 || full === fullBefore) continue;
      folders.push(`${tilePath(level, index)}.p/`);
      if (level === 0) folders.push(`${bundlePath(index)}.p/`);
    }
  }
  return folders;
}

function closedError(): WartaError {
  return new WartaError('store-failed', 'the log is being closed: append after it is open again');
}
