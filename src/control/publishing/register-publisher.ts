import { type Clock, systemClock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import type { Sequencer } from '../../log/sequencer.ts';
import { annexPath } from '../../register/annex.ts';
import { RELEASE_TYPES } from '../../register/authorities.ts';
import { composeLeaf } from '../../register/leaf.ts';
import { reachOf } from '../../register/statement.ts';
import {
  type AnnexSource,
  attachAnnex,
  checkStatement,
  checkTargets,
  isChange,
  isNotice,
  readDirectly,
  type VerifiedStatement,
} from '../../register/verify-statement.ts';
import { composeHeartbeat, type HeartbeatTerms } from './heartbeat.ts';
import type { CurrentTrust, PublishedTrust } from './published-trust.ts';
import { StatementIndex } from './statement-index.ts';

/** What a publisher works with. */
export interface PublisherOptions {
  readonly sequencer: Sequencer;
  /** The tree that mirrors serve, and the one that holds sealed annexes. */
  readonly publicTree: LogStorage;
  readonly sealedTree: LogStorage;
  readonly trust: PublishedTrust;
  readonly clock?: Clock;
  /** Without it the log sends no heartbeats, and nodes cannot tell a quiet register from a silent one. */
  readonly heartbeat?: HeartbeatTerms;
  /** Cosignatures are renewed after this long without a new one. */
  readonly freshSeconds: number;
  readonly onEvent?: (event: PublisherEvent) => void;
}

/** Something worth a line in the operator's log. */
export type PublisherEvent =
  | { kind: 'appended'; type: string; reference: string; id: string; index: number }
  | { kind: 'failed'; what: 'heartbeat' | 'cosigning'; error: unknown };

/** Where a statement went into the log. */
export interface Appended {
  readonly id: string;
  readonly index: number;
  readonly integratedAtSeconds: number;
}

/** Reads the annex of a statement handed in, at most so many bytes of it. */
export type ReadAnnex = (maxBytes: number) => Promise<Uint8Array | undefined>;

/** How often the publisher looks whether something is due. */
const LOOK_MILLIS = 1000;

/** How long after a failure it is tried again. */
const RETRY_MILLIS = 30_000;

/**
 * The one way into the log. A statement is appended when a node would accept it at this moment: signatures, scope, dates,
 * annex, targets, under the authorities and the pack in force. So a void leaf in the log means that authorities changed
 * since, or that somebody else had the log's key.
 */
export class RegisterPublisher {
  readonly #options: PublisherOptions;
  readonly #clock: Clock;
  readonly #index: StatementIndex;
  /** Settles when every statement that was being appended is in the log or refused: each is judged by those before it. */
  #turn: Promise<unknown> = Promise.resolve();
  #heartbeatDueMillis: number;
  #cosignDueMillis: number;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  private constructor(options: PublisherOptions, index: StatementIndex) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#index = index;
    this.#cosignDueMillis = this.#clock.monotonicMillis();
    const { heartbeat } = options;
    const sinceHeartbeat = this.#nowSeconds() - index.heartbeatSeconds;
    const waitSeconds = Math.max(0, (heartbeat?.intervalSeconds ?? 0) - Math.max(0, sinceHeartbeat));
    this.#heartbeatDueMillis = this.#clock.monotonicMillis() + waitSeconds * 1000;
  }

  /** Reads which statements the log holds and returns a publisher for it. */
  static async open(options: PublisherOptions): Promise<RegisterPublisher> {
    const index = new StatementIndex(options.publicTree);
    await index.catchUp(options.sequencer.size);
    return new RegisterPublisher(options, index);
  }

  /**
   * Judges a statement as a node does and appends it. The annex is asked for once the signatures are good, is stored before
   * the leaf, and stays when the process dies in between: handing the statement in again then goes on from there.
   *
   * @throws {WartaError} the code a node would give; `statement-replayed` when the log has it already; `trust-expired` for
   *   anything but a release while the TUF metadata has lapsed. The log is then as it was.
   */
  async submit(envelope: Uint8Array, readAnnex: ReadAnnex = async () => undefined): Promise<Appended> {
    const { verified } = await this.#judge(envelope);
    // Before its turn comes: a slow sender keeps nobody else waiting.
    const annex = isNotice(verified) ? await readAnnex(verified.statement.annex.sizeBytes) : undefined;
    const turn = this.#turn.then(() => this.#admit(envelope, annex));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Finds where a statement is in the log, once what came before has been applied; `undefined` when it is not there. */
  async find(id: string): Promise<Appended | undefined> {
    await this.#turn;
    await this.#readNewLeaves();
    const index = this.#index.placeOf(id);
    if (index === undefined) return undefined;
    const { integratedAtSeconds } = (await this.#index.read(id))!;
    return { id, index, integratedAtSeconds };
  }

  /** Signs and appends a heartbeat now. */
  async beat(): Promise<Appended> {
    const { heartbeat } = this.#options;
    if (heartbeat === undefined) throw new WartaError('config-invalid', 'the log has no heartbeat key');
    const appended = await this.submit(composeHeartbeat(heartbeat, this.#nowSeconds()));
    this.#heartbeatDueMillis = this.#clock.monotonicMillis() + heartbeat.intervalSeconds * 1000;
    return appended;
  }

  /** Does what is due: a heartbeat, or new cosignatures. What fails is told, and tried again in half a minute. */
  async look(): Promise<void> {
    const { heartbeat, freshSeconds, sequencer } = this.#options;
    const now = this.#clock.monotonicMillis();
    if (heartbeat !== undefined && now >= this.#heartbeatDueMillis) {
      this.#heartbeatDueMillis = now + RETRY_MILLIS;
      await this.#attempt('heartbeat', () => this.beat());
    }
    if (now >= this.#cosignDueMillis) {
      this.#cosignDueMillis = now + Math.min(RETRY_MILLIS, freshSeconds * 1000);
      await this.#attempt('cosigning', async () => {
        await sequencer.publish();
        this.#cosignDueMillis = now + freshSeconds * 1000;
      });
    }
  }

  /** Looks now and every second from now on. */
  start(): void {
    const look = async () => {
      this.#looking = this.look();
      await this.#looking;
      if (this.#timer !== undefined) this.#timer = setTimeout(look, LOOK_MILLIS);
    };
    this.#timer = setTimeout(look, 0);
  }

  /** Stops looking and waits for what is under way. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#looking;
    await this.#turn;
  }

  #nowSeconds(): number {
    return Math.floor(this.#clock.wallMillis() / 1000);
  }

  /** Everything a node checks of a statement alone, as if it were integrated at that time. */
  #check(envelope: Uint8Array, trust: CurrentTrust, integratedAtSeconds: number): VerifiedStatement {
    return checkStatement({ name: 'statement', envelope, integratedAtSeconds }, trust);
  }

  /** What is committed is not yet in the public tree: that comes with the end of the step. */
  async #readNewLeaves(): Promise<void> {
    const { sequencer } = this.#options;
    await sequencer.flush();
    await this.#index.catchUp(sequencer.size);
  }

  /** Judges a statement by itself, under what is in force now. */
  async #judge(envelope: Uint8Array): Promise<{ verified: VerifiedStatement; trust: CurrentTrust }> {
    const trust = await this.#options.trust.read(this.#nowSeconds());
    const verified = this.#check(envelope, trust, this.#nowSeconds());
    const { type } = verified.statement;
    if (this.#index.has(verified.id)) {
      throw new WartaError('statement-replayed', `the log has statement ${verified.id} already`);
    }
    if (trust.expired && !RELEASE_TYPES.has(type)) {
      throw new WartaError('trust-expired', `the TUF metadata has lapsed: sign a new timestamp before a ${type}`);
    }
    return { verified, trust };
  }

  /** Appends a statement whose turn has come. It is judged again: a key may have been revoked while its annex came in. */
  async #admit(envelope: Uint8Array, annex: Uint8Array | undefined): Promise<Appended> {
    const { sequencer } = this.#options;
    // They differ when an earlier step failed and its outcome was not known.
    if (this.#index.size !== sequencer.size) await this.#readNewLeaves();
    const { verified, trust } = await this.#judge(envelope);
    if (isNotice(verified)) attachAnnex(verified, readDirectly({ read: () => annex }));
    checkTargets(verified, await this.#findTargets(verified, trust));
    await this.#storeAnnex(verified, annex);
    let leaf: Uint8Array;
    const { index, integratedAtSeconds } = await sequencer.append((atSeconds) => {
      this.#requireForward(verified, atSeconds);
      this.#check(envelope, trust, atSeconds);
      leaf = composeLeaf(envelope, atSeconds);
      return leaf;
    });
    this.#index.add(leaf!);
    this.#cosignDueMillis = this.#clock.monotonicMillis() + this.#options.freshSeconds * 1000;
    const { type, reference } = verified.statement;
    this.#options.onEvent?.({ kind: 'appended', type, reference, id: verified.id, index });
    return { id: verified.id, index, integratedAtSeconds };
  }

  /** A leaf with a time before its predecessor's counts only if it is a release: see the register's rules. */
  #requireForward({ statement }: VerifiedStatement, atSeconds: number): void {
    const { newestSeconds } = this.#index;
    if (atSeconds >= newestSeconds || RELEASE_TYPES.has(statement.type)) return;
    const reason = `the log's clock is ${newestSeconds - atSeconds} seconds behind its newest leaf: set the clock`;
    throw new WartaError('statement-backdated', reason);
  }

  /** Reads what a statement names from the log, and returns how to find it. */
  async #findTargets(verified: VerifiedStatement, trust: CurrentTrust) {
    const found = new Map<string, VerifiedStatement>();
    for (const id of namedBy(verified)) {
      const target = await this.#readTarget(id, trust, entriesNamedBy(verified));
      if (target !== undefined) found.set(id, target);
    }
    return (id: string) => found.get(id);
  }

  /** Reads a statement of the log if it still counts; with its entries when they are needed. */
  async #readTarget(id: string, trust: CurrentTrust, withEntries: boolean): Promise<VerifiedStatement | undefined> {
    if (!this.#index.has(id)) return undefined;
    await this.#options.sequencer.flush();
    const leaf = (await this.#index.read(id))!;
    try {
      const target = this.#check(leaf.envelope, trust, leaf.integratedAtSeconds);
      return withEntries && isNotice(target) ? attachAnnex(target, readDirectly(await this.#annexOf(target))) : target;
    } catch (error) {
      if (error instanceof WartaError) return undefined; // void by now: nothing may be built on it
      throw error;
    }
  }

  async #annexOf({ statement }: VerifiedStatement): Promise<AnnexSource> {
    if (statement.type !== 'notice') return { read: () => undefined };
    const { digest, sealed } = statement.annex;
    const bytes = await this.#treeOf(sealed).read(annexPath(digest, sealed));
    return { read: () => bytes };
  }

  async #storeAnnex({ statement }: VerifiedStatement, annex: Uint8Array | undefined): Promise<void> {
    if (statement.type !== 'notice' || annex === undefined) return;
    const { digest, sealed } = statement.annex;
    await this.#treeOf(sealed).create(annexPath(digest, sealed), annex);
  }

  #treeOf(sealed: boolean): LogStorage {
    return sealed ? this.#options.sealedTree : this.#options.publicTree;
  }

  async #attempt(what: 'heartbeat' | 'cosigning', act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#options.onEvent?.({ kind: 'failed', what, error });
    }
  }
}

/** Returns the ids that a statement names. */
function namedBy(verified: VerifiedStatement): readonly string[] {
  const { statement } = verified;
  if (statement.type === 'notice') return statement.supersedes ?? [];
  if (statement.type === 'resumption') return [statement.target];
  const notice = isChange(verified) ? reachOf(verified.statement)?.notice : undefined;
  return notice === undefined ? [] : [notice];
}

/** Whether a statement names entries of its notice, so that these must be there. */
function entriesNamedBy(verified: VerifiedStatement): boolean {
  return isChange(verified) && (reachOf(verified.statement)?.entries?.length ?? 0) > 0;
}
