import { createHash } from 'node:crypto';
import { type ErrorCode, WartaError } from '../base/errors.ts';
import { type CheckpointPolicy, type OpenedCheckpoint, openCheckpoint, parseCheckpoint } from '../log/checkpoint.ts';
import { CompactRange, hashLeaf } from '../log/merkle.ts';
import { parseNote } from '../log/note.ts';
import type { AnnexSource } from '../register/verify-statement.ts';
import { AnnexFetcher, type SealedSource } from './annex-fetcher.ts';
import { findFork } from './find-fork.ts';
import { type Incident, IncidentBook } from './incident-book.ts';
import { fetchLeaves } from './leaf-fetcher.ts';
import { LeafRecords, unwitnessedLeaves } from './leaf-records.ts';
import type { Mirror } from './mirror.ts';
import type { NodeStore } from './node-store.ts';
import type { AnnexWanted, SourceReading, StatementSource } from './statement-source.ts';
import { type Trust, TrustFollower } from './trust-follower.ts';

/** Largest checkpoint with all its signatures. */
const MAX_CHECKPOINT_BYTES = 64 * 1024;
/** Leaves taken up without witnesses, and their octets: a log that lost them for long is a matter for people. */
const MAX_UNWITNESSED = 10_000;
const MAX_UNWITNESSED_BYTES = 32 * 1024 * 1024;
/** Largest log followed. */
const MAX_LEAVES = 100_000_000;

const CHECKPOINT_PATH = 'checkpoint';
const CHECKPOINT_KEY = 'checkpoint';

export interface FollowerOptions {
  readonly store: NodeStore;
  readonly mirrors: readonly Mirror[];
  readonly pinnedRoot: Uint8Array;
  readonly scratch: string;
  readonly sealed?: SealedSource;
  readonly onIncident?: (incident: Incident) => void;
  /** Told while many leaves are fetched. */
  readonly onLeaves?: (done: number, total: number) => void;
}

/** How a mirror has done. */
export interface MirrorStatus {
  readonly url: string;
  readonly answeredSeconds?: number;
  readonly fault?: string;
}

/** Where the node stands with the register. */
export interface FollowerStatus {
  readonly origin?: string;
  /** Leaves of the largest checkpoint that was verified with its witnesses, and its root in hexadecimal. */
  readonly size: number;
  readonly rootHash?: string;
  readonly witnesses: readonly { name: string; timeSeconds: number }[];
  readonly quorum: number;
  /** By this time the quorum had seen the checkpoint: how fresh the register is known to be. */
  readonly freshAtSeconds?: number;
  /** Leaves the log shows without its witnesses. */
  readonly unwitnessed: number;
  readonly authoritiesVersion?: number;
  readonly trustExpiresSeconds?: number;
  readonly mirrors: readonly MirrorStatus[];
  readonly receivedBytes: number;
  readonly incidents: readonly Incident[];
  /** Pairs of signed checkpoints kept that contradict each other. */
  readonly evidence: number;
}

/**
 * Follows the log: who may sign from the TUF repository, then the checkpoint, then the leaves that are new. The node holds
 * every leaf, so that the root it computes from its own leaves and the new ones proves at once that the log only grew. One
 * mirror is asked at each poll, the next one when it fails, another one the next time: none of them can hide news for long.
 */
export class RegisterFollower implements StatementSource {
  readonly #options: FollowerOptions;
  readonly #trustFollower: TrustFollower;
  readonly #incidents: IncidentBook;
  readonly #annexFetcher: AnnexFetcher;
  readonly #etags = new Map<Mirror, string>();
  readonly #mirrorStatus = new Map<Mirror, { answeredSeconds?: number; fault?: string }>();
  #records = this.#createRecords();
  #range = CompactRange.empty();
  /** The largest checkpoint with its witnesses, as a note, and what it says. */
  #note: Uint8Array | undefined;
  #opened: OpenedCheckpoint | undefined;
  #unwitnessed: Map<string, Uint8Array>;
  /** The last checkpoint without its witnesses whose leaves were looked at. */
  #peeked: { readonly note: Uint8Array; readonly opened: OpenedCheckpoint } | undefined;
  /** The last checkpoint that was smaller than the one held, but of the same tree. */
  #older: Uint8Array | undefined;
  /** Verified leaves at the end of the log that could not be stored, on a full disk: tried again at every poll. */
  #unsaved: readonly Uint8Array[] = [];
  #turn = 0;

  /** Opens the store of an earlier run; a checkpoint that its leaves do not give is forgotten, and they are fetched anew. */
  static open(options: FollowerOptions): RegisterFollower {
    const follower = new RegisterFollower(options);
    const fault = follower.#trustFollower.open();
    if (fault !== undefined) follower.#incidents.note(fault, 0);
    follower.#takeUp();
    return follower;
  }

  private constructor(options: FollowerOptions) {
    this.#options = options;
    this.#incidents = new IncidentBook(options.onIncident);
    this.#trustFollower = new TrustFollower(options);
    this.#annexFetcher = new AnnexFetcher({ ...options, incidents: this.#incidents });
    this.#unwitnessed = options.store.unwitnessed();
  }

  async poll(nowSeconds: number): Promise<void> {
    let fault: unknown;
    try {
      this.#annexFetcher.save();
    } catch (error) {
      fault = error;
    }
    await this.#pollMirrors(nowSeconds);
    if (fault !== undefined) throw fault;
  }

  async #pollMirrors(nowSeconds: number): Promise<void> {
    const { mirrors } = this.#options;
    const first = this.#turn++ % mirrors.length;
    let failure: unknown;
    for (let i = 0; i < mirrors.length; i++) {
      const mirror = mirrors[(first + i) % mirrors.length]!;
      try {
        await this.#pollMirror(mirror, nowSeconds, i === mirrors.length - 1);
        this.#mirrorStatus.set(mirror, { answeredSeconds: nowSeconds });
        return;
      } catch (error) {
        failure = error;
        this.#incidents.note(error, nowSeconds);
        const { answeredSeconds } = this.#mirrorStatus.get(mirror) ?? {};
        this.#mirrorStatus.set(mirror, {
          answeredSeconds,
          fault: error instanceof Error ? error.message : String(error),
        });
      }
    }
    throw failure;
  }

  /**
   * @throws {WartaError} `mirror-failed` before a checkpoint was verified: no leaves at all would end every block that a
   * saved table still has.
   */
  read(): SourceReading {
    const { store } = this.#options;
    const trust = this.#requireTrust();
    if (this.#opened === undefined) {
      throw new WartaError('mirror-failed', 'no checkpoint with its witnesses has been seen: check register.mirrors');
    }
    const annexes: AnnexSource = { read: (digest) => store.annex(digest) };
    return {
      authorities: trust.reading.authorities,
      leaves: this.#leaves(trust),
      leafCount: this.#records.count,
      annexes,
      fingerprint: this.#fingerprint(trust),
    };
  }

  fetchAnnexes(
    wanted: readonly AnnexWanted[],
    verify: (annex: AnnexWanted, bytes: Uint8Array) => void,
    nowSeconds: number,
    onFetched?: (done: number, total: number) => void,
    patienceMillis?: number,
  ): Promise<void> {
    return this.#annexFetcher.fetch(wanted, verify, nowSeconds, onFetched, patienceMillis);
  }

  status(): FollowerStatus {
    const { store, mirrors, sealed } = this.#options;
    const trust = this.#trustFollower.trust;
    const sources = sealed === undefined ? mirrors : [...mirrors, sealed.mirror];
    return {
      origin: trust?.log.origin,
      size: this.#range.size,
      rootHash: this.#opened && Buffer.from(this.#opened.checkpoint.root).toString('hex'),
      witnesses: this.#opened?.cosignatures ?? [],
      quorum: trust?.file.quorum ?? 0,
      freshAtSeconds: this.#freshAt(),
      unwitnessed: this.#unwitnessed.size,
      authoritiesVersion: trust?.file.version,
      trustExpiresSeconds: trust?.reading.expiresSeconds,
      mirrors: mirrors.map((mirror) => ({ url: mirror.url, ...this.#mirrorStatus.get(mirror) })),
      receivedBytes: sources.reduce((sum, mirror) => sum + mirror.receivedBytes, 0),
      incidents: this.#incidents.list(),
      evidence: store.evidence().filter(({ code }) => code === 'checkpoint-inconsistent').length,
    };
  }

  /** What has been proven so far: who may sign, and the newest checkpoint with its witnesses. */
  proven(): { trust?: Trust; note?: Uint8Array } {
    return { trust: this.#trustFollower.trust, note: this.#note };
  }

  /** What checkpoints are judged by. */
  policy(): CheckpointPolicy {
    return policyOf(this.#requireTrust());
  }

  async close(): Promise<void> {
    const { mirrors, sealed, store } = this.#options;
    await Promise.all([...mirrors, ...(sealed ? [sealed.mirror] : [])].map((mirror) => mirror.close()));
    store.close();
  }

  /** Computes the tree again from the leaves in the store: disks lose bits too. */
  #takeUp(): void {
    const { store } = this.#options;
    const note = store.value(CHECKPOINT_KEY);
    const trust = this.#trustFollower.trust;
    if (note === undefined || trust === undefined) return;
    try {
      const opened = reopenCheckpoint(note, policyOf(trust));
      const { size, root } = opened.checkpoint;
      for (const leaf of store.leaves()) {
        if (this.#range.size === size) break; // what an interrupted replay left
        const hash = hashLeaf(leaf);
        this.#records.append(leaf);
        this.#range.append(hash);
        if (this.#unwitnessed.size > 0) this.#unwitnessed.delete(hash.toString('hex'));
      }
      if (this.#range.size !== size || Buffer.compare(this.#range.root(), root) !== 0) {
        throw new WartaError(
          'log-invalid',
          "the node's store has other leaves than its checkpoint: they are fetched anew",
        );
      }
      this.#note = note;
      this.#opened = opened;
    } catch (error) {
      this.#incidents.note(error, 0);
      this.#records = this.#createRecords();
      this.#range = CompactRange.empty();
    }
  }

  async #pollMirror(mirror: Mirror, nowSeconds: number, isLast: boolean): Promise<void> {
    let fault: unknown;
    const trusted = this.#trustFollower.trust;
    try {
      await this.#trustFollower.refresh(mirror, nowSeconds);
    } catch (error) {
      // Trust that is held goes on for what it covers: a release must not wait until the repository is mended. Of a mirror
      // that does not answer nothing more is expected when there is another to ask.
      const isSilent = error instanceof WartaError && error.code === 'response-slow';
      if (trusted === undefined || (isSilent && !isLast)) throw error;
      fault = error;
    }
    try {
      await this.#pollCheckpoint(mirror, trusted !== this.#trustFollower.trust, nowSeconds);
    } catch (error) {
      if (fault === undefined) throw error;
      this.#incidents.note(error, nowSeconds);
    }
    if (fault !== undefined) throw fault;
  }

  async #pollCheckpoint(mirror: Mirror, policyChanged: boolean, nowSeconds: number): Promise<void> {
    const etag = policyChanged ? undefined : this.#etags.get(mirror);
    const answer = await mirror.get({ path: CHECKPOINT_PATH, maxBytes: MAX_CHECKPOINT_BYTES, etag });
    if (answer.kind === 'absent') throw new WartaError('mirror-failed', `${mirror.url}${CHECKPOINT_PATH} is not there`);
    if (answer.kind !== 'whole') return;
    const opened = openCheckpoint(answer.bytes, policyOf(this.#requireTrust()));
    this.#compare(opened, answer.bytes, nowSeconds);
    try {
      if (opened.witnessed) await this.#advance(mirror, opened, answer.bytes, nowSeconds);
      else await this.#peek(mirror, opened, answer.bytes);
    } catch (error) {
      if (!(error instanceof WartaError) || error.code !== 'log-invalid') throw error;
      throw await this.#explain(error, mirror, opened, answer.bytes, nowSeconds);
    }
    if (answer.etag !== undefined) this.#etags.set(mirror, answer.etag);
  }

  /**
   * Refuses a checkpoint that the one held contradicts, and keeps both.
   *
   * @throws {WartaError} `checkpoint-rolled-back`, `checkpoint-inconsistent`.
   */
  #compare(opened: OpenedCheckpoint, note: Uint8Array, nowSeconds: number): void {
    const { size, root } = opened.checkpoint;
    if (size > MAX_LEAVES) throw new WartaError('log-invalid', `the checkpoint claims ${size} leaves`);
    if (this.#opened === undefined) return;
    const held = this.#opened.checkpoint;
    if (size > held.size) return;
    const isOlder = this.#older !== undefined && Buffer.compare(this.#older, note) === 0;
    if (!isOlder && Buffer.compare(size === held.size ? held.root : this.#rootAt(size), root) !== 0) {
      this.#keepEvidence('checkpoint-inconsistent', note, nowSeconds);
      const reason = `the log signed two trees of ${size} leaves: both notes are kept, tell the regulator and the witnesses`;
      throw new WartaError('checkpoint-inconsistent', reason);
    }
    if (size === held.size) return;
    this.#older = note;
    this.#keepEvidence('checkpoint-rolled-back', note, nowSeconds);
    const reason = `the mirror shows ${size} leaves, this node has seen ${held.size}: it is behind, or the log was cut`;
    throw new WartaError('checkpoint-rolled-back', reason);
  }

  /** Returns the root of the first leaves of those held. */
  #rootAt(size: number): Buffer {
    const range = CompactRange.empty();
    for (let index = 0; index < size; index++) range.append(hashLeaf(this.#leaf(index)));
    return range.root();
  }

  /** Keeps two notes. A full disk costs the proof, not the verdict. */
  #keepEvidence(code: ErrorCode, shown: Uint8Array, atSeconds: number, held = this.#note): void {
    if (held === undefined) return;
    try {
      this.#options.store.commit({ evidence: { code, atSeconds, held, shown } });
    } catch (error) {
      this.#incidents.note(error, atSeconds);
    }
  }

  /** Says what is wrong when the leaves of a mirror are not what its checkpoint signs: the mirror, or the log. */
  async #explain(
    error: WartaError,
    mirror: Mirror,
    { checkpoint }: OpenedCheckpoint,
    note: Uint8Array,
    nowSeconds: number,
  ): Promise<WartaError> {
    const held = { size: this.#range.size, root: this.#range.root() };
    const fork = await findFork(mirror, held, checkpoint);
    if (fork === 'unproven') this.#keepEvidence('log-invalid', note, nowSeconds);
    if (fork !== 'forked') return error;
    this.#keepEvidence('checkpoint-inconsistent', note, nowSeconds);
    const reason = `the log signed a tree of ${checkpoint.size} leaves that does not begin with the ${held.size} seen before`;
    return new WartaError(
      'checkpoint-inconsistent',
      `${reason}: both notes are kept, tell the regulator and the witnesses`,
      { cause: error },
    );
  }

  /** Takes up a witnessed checkpoint: all of it or, when its leaves do not give its root, nothing. */
  async #advance(mirror: Mirror, opened: OpenedCheckpoint, note: Uint8Array, nowSeconds: number): Promise<void> {
    const before = this.#records.count;
    try {
      await this.#extend(mirror, opened, note, nowSeconds);
    } catch (error) {
      this.#records.truncate(Math.max(before, this.#range.size));
      throw error;
    }
  }

  async #extend(mirror: Mirror, opened: OpenedCheckpoint, note: Uint8Array, nowSeconds: number): Promise<void> {
    const { store, onLeaves } = this.#options;
    const { size, root } = opened.checkpoint;
    const from = this.#range.size;
    const range = this.#range.clone();
    const witnessed: string[] = [];
    let pending = this.#unsaved;
    let fork = false;
    const span = { from, to: size, heldBytes: (index: number) => this.#records.sizeBytes(index) };
    for await (const leaves of fetchLeaves(mirror, span)) {
      if (range.size > from) {
        store.commit({ firstLeaf: range.size - pending.length, leaves: pending });
        pending = [];
      }
      for (const leaf of leaves) {
        const hash = hashLeaf(leaf);
        if (this.#unwitnessed.has(hash.toString('hex'))) witnessed.push(hash.toString('hex'));
        this.#records.append(leaf);
        range.append(hash);
        fork ||= this.#contradictsPeeked(range);
      }
      pending = [...pending, ...leaves];
      onLeaves?.(range.size - from, size - from);
    }
    requireRoot(range, root, mirror);
    if (fork) this.#tellFork(note, nowSeconds);
    const kept = this.#isFresher(opened) || size > from ? note : this.#note!;
    const isNew = kept !== this.#note || pending.length > 0;
    this.#note = kept;
    if (kept === note) this.#opened = opened;
    this.#range = range;
    for (const hash of witnessed) this.#unwitnessed.delete(hash);
    if (!isNew) return;
    // What was verified counts, stored or not: on a full disk it is the restart that suffers, not a release.
    this.#unsaved = pending;
    const leaves = pending.length > 0 ? { firstLeaf: size - pending.length, leaves: pending } : {};
    store.commit({ ...leaves, values: { [CHECKPOINT_KEY]: kept }, witnessed });
    this.#unsaved = [];
  }

  /** Whether the log once signed another tree of this size, without its witnesses. */
  #contradictsPeeked(range: CompactRange): boolean {
    const peeked = this.#peeked?.opened.checkpoint;
    return peeked?.size === range.size && Buffer.compare(peeked.root, range.root()) !== 0;
  }

  /** Reports what the log had shown this node without its witnesses, and to nobody else. */
  #tellFork(note: Uint8Array, nowSeconds: number): void {
    this.#keepEvidence('checkpoint-inconsistent', note, nowSeconds, this.#peeked!.note);
    const reason = 'the log signed another tree before, which its witnesses never saw: both notes are kept';
    this.#incidents.note(new WartaError('checkpoint-inconsistent', reason), nowSeconds);
  }

  /** Whether a checkpoint was seen by its quorum later than the one held. */
  #isFresher(opened: OpenedCheckpoint): boolean {
    return (quorumTime(opened, this.#quorum) ?? -1) > (this.#freshAt() ?? -1) || this.#opened === undefined;
  }

  /**
   * Looks at what the log shows without its witnesses. It is kept beside the log, for its releases count at once: a log that
   * lost its witnesses must not keep blocks alive.
   */
  async #peek(mirror: Mirror, opened: OpenedCheckpoint, note: Uint8Array): Promise<void> {
    const { store } = this.#options;
    const { size, root } = opened.checkpoint;
    const from = this.#range.size;
    const reason = `${opened.cosignatures.length} of ${this.#quorum} witnesses signed the checkpoint of ${size} leaves`;
    const missing = new WartaError('statement-unwitnessed', `${reason}: new blocks wait, releases are applied`);
    const seen = this.#peeked !== undefined && Buffer.compare(this.#peeked.note, note) === 0;
    if (seen || Math.max(size - from, this.#unwitnessed.size) > MAX_UNWITNESSED) throw missing;
    const range = this.#range.clone();
    const fresh = new Map<string, Uint8Array>();
    let sizeBytes = 0;
    for (const leaf of this.#unwitnessed.values()) sizeBytes += leaf.length;
    const span = { from, to: size, heldBytes: (index: number) => this.#records.sizeBytes(index) };
    for await (const leaves of fetchLeaves(mirror, span)) {
      for (const leaf of leaves) {
        const hash = hashLeaf(leaf);
        const key = hash.toString('hex');
        range.append(hash);
        if (this.#unwitnessed.has(key)) continue;
        fresh.set(key, leaf);
        sizeBytes += leaf.length;
      }
      if (sizeBytes > MAX_UNWITNESSED_BYTES) throw missing;
    }
    requireRoot(range, root, mirror);
    for (const [hash, leaf] of fresh) this.#unwitnessed.set(hash, leaf);
    if (fresh.size > 0) store.commit({ unwitnessed: fresh });
    this.#peeked = { note, opened };
    throw missing;
  }

  #createRecords(): LeafRecords {
    return new LeafRecords((index) => this.#leaf(index));
  }

  #leaf(index: number): Uint8Array {
    return this.#unsaved[index - this.#range.size + this.#unsaved.length] ?? this.#options.store.leaf(index);
  }

  *#leaves(trust: Trust) {
    yield* this.#records.leaves(trust.reading.expiresSeconds);
    yield* unwitnessedLeaves(this.#unwitnessed);
  }

  #fingerprint(trust: Trust): string {
    const digest = createHash('sha256');
    const held = this.#records.countAfter(trust.reading.expiresSeconds);
    digest.update(`${trust.digest}\0${held}\0${this.#range.size}\0`);
    if (this.#range.size > 0) digest.update(this.#range.root());
    for (const hash of this.#unwitnessed.keys()) digest.update(hash);
    return digest.digest('hex');
  }

  get #quorum(): number {
    return this.#trustFollower.trust?.file.quorum ?? 0;
  }

  #freshAt(): number | undefined {
    return this.#opened && quorumTime(this.#opened, this.#quorum);
  }

  #requireTrust(): Trust {
    const { trust } = this.#trustFollower;
    if (trust !== undefined) return trust;
    throw new WartaError(
      'trust-invalid',
      'the trust repository has not been read yet: check register.mirrors and register.root',
    );
  }
}

/** Opens a checkpoint that was verified before. The log may have another key by now; what its old one signed still stands. */
function reopenCheckpoint(note: Uint8Array, policy: CheckpointPolicy): OpenedCheckpoint {
  try {
    return openCheckpoint(note, policy);
  } catch (error) {
    const checkpoint = parseCheckpoint(parseNote(note).body);
    if (checkpoint.origin !== policy.origin) throw error;
    return { checkpoint, cosignatures: [], witnessed: false };
  }
}

/** @throws {WartaError} `log-invalid` unless the leaves gave the root that the checkpoint signs. */
function requireRoot(range: CompactRange, root: Uint8Array, mirror: Mirror): void {
  if (Buffer.compare(range.root(), root) === 0) return;
  throw new WartaError('log-invalid', `the leaves of ${mirror.url} are not what its checkpoint signs`);
}

/** What a checkpoint is judged by. */
function policyOf({ log, file }: Trust): CheckpointPolicy {
  return { origin: log.origin, publicKey: log.publicKey, witnesses: file.witnesses ?? [], quorum: file.quorum ?? 0 };
}

/** Returns the time by which a quorum had signed: one witness with a wrong clock does not move it. */
function quorumTime({ cosignatures }: OpenedCheckpoint, quorum: number): number | undefined {
  const times = cosignatures.map(({ timeSeconds }) => timeSeconds).sort((one, other) => other - one);
  return times[Math.max(0, quorum - 1)];
}
