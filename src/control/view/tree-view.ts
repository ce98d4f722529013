import type { Clock } from '../../base/clock.ts';
import { WartaError } from '../../base/errors.ts';
import { findLogSignature, parseCheckpoint } from '../../log/checkpoint.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { parseNote } from '../../log/note.ts';
import type { EntryTable } from '../../register/annex.ts';
import type { Authorities } from '../../register/authorities.ts';
import { parseEnvelope } from '../../register/envelope.ts';
import { type FoldedNotice, fold } from '../../register/fold.ts';
import { parseLeaf } from '../../register/leaf.ts';
import type { Pack } from '../../register/pack.ts';
import { type Statement, statementSchema } from '../../register/statement.ts';
import { isNotice, type KnownNotice } from '../../register/verify-statement.ts';
import type { PublishedTrust } from '../publishing/published-trust.ts';
import { readLeaves } from '../publishing/register-tree.ts';
import { type AnnexTables, LeafJudge } from './leaf-judge.ts';
import type { NamedEntry, NoticeStanding, PlacedNotice, PlacedStatement, RegisterView } from './register-view.ts';
import { judgeStanding } from './standing.ts';
import { StatementRoll } from './statement-roll.ts';

/** What a view reads from. */
export interface RegisterViewOptions {
  /** The public tree. */
  readonly tree: LogStorage;
  /** The tree of sealed annexes; without it sealed notices have no entries. */
  readonly sealedTree?: LogStorage;
  readonly trust: PublishedTrust;
  readonly clock: Clock;
}

const CHECKPOINT_PATH = 'checkpoint';

/** Whole statements that are kept at hand; a page of a list is read from a handful of bundles otherwise. */
const WHOLE_KEPT = 400;

/**
 * Reads the register from its public tree. Ten thousand notices with a hundred entries each take some eight seconds
 * of one core and 160 MB.
 *
 * @throws {WartaError} as `catchUp` does.
 */
export async function createRegisterView(options: RegisterViewOptions): Promise<RegisterView> {
  const view = new TreeView(options);
  await view.catchUp();
  return view;
}

/** What was read of the log under one list of authorities. */
interface Reading {
  readonly roll: StatementRoll;
  readonly judge: LeafJudge;
  size: number;
}

class TreeView implements RegisterView {
  readonly #options: RegisterViewOptions;
  #reading: Reading | undefined;
  #authorities!: Authorities;
  #pack!: Pack;
  /** Text of the authorities that statements were judged by; the same text is read anew every day. */
  #authoritiesText = '';
  #checkpoint: Uint8Array | undefined;
  /** Whether what is there lacks something until all was read anew. */
  #isHalf = false;
  #revision = 0;
  /** Entries by digest, so that other authorities need not read every annex again. */
  readonly #tables: AnnexTables = new Map();
  readonly #whole = new Map<string, Statement>();
  #underWay: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(options: RegisterViewOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#reading?.size ?? 0;
  }

  get revision(): number {
    return this.#revision;
  }

  get heartbeatSeconds(): number {
    return this.#reading?.judge.heartbeatSeconds ?? 0;
  }

  get newestSeconds(): number {
    return this.#reading?.judge.newestSeconds ?? 0;
  }

  get authorities(): Authorities {
    return this.#authorities;
  }

  get pack(): Pack {
    return this.#pack;
  }

  get packSha256(): string {
    return this.#authorities.policyPack.sha256;
  }

  /** Calls that come while a reading is under way share the one after it, which sees all they may ask for. */
  catchUp(): Promise<void> {
    if (this.#underWay === undefined) {
      this.#underWay = this.#catchUp().finally(() => {
        this.#underWay = undefined;
      });
      return this.#underWay;
    }
    this.#next ??= this.#underWay
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.catchUp();
      });
    return this.#next;
  }

  async #catchUp(): Promise<void> {
    const { tree, trust, clock } = this.#options;
    const { authorities, pack } = await trust.read(clock.wallMillis() / 1000);
    const bytes = await tree.read(CHECKPOINT_PATH);
    const isJudgedAnew = this.#isJudgedAnew(authorities);
    const isSame =
      bytes !== undefined && this.#checkpoint !== undefined && Buffer.compare(bytes, this.#checkpoint) === 0;
    if (isSame && !isJudgedAnew) return;
    const size = bytes === undefined ? 0 : openSize(bytes, authorities);
    if (size < this.size) {
      throw new WartaError(
        'checkpoint-rolled-back',
        `the log has ${size} leaves, and had ${this.size}: restore its files`,
      );
    }
    const isAnew = isJudgedAnew || (await this.#reading!.judge.findsAnnexes());
    const before = this.#reading;
    const sizeBefore = this.size;
    try {
      this.#reading = await this.#readUpTo(size, authorities, pack, isAnew ? undefined : before);
    } finally {
      if (this.#reading !== before || this.size !== sizeBefore) this.#revision++;
    }
    this.#authorities = authorities;
    this.#pack = pack;
    this.#authoritiesText = JSON.stringify(authorities.file);
    this.#checkpoint = bytes;
  }

  #isJudgedAnew(authorities: Authorities): boolean {
    if (this.#reading === undefined || this.#isHalf) return true;
    return this.#authorities !== authorities && this.#authoritiesText !== JSON.stringify(authorities.file);
  }

  /** Reads on, or from the start. What is read anew takes the place of what was there when it is complete. */
  async #readUpTo(size: number, authorities: Authorities, pack: Pack, known: Reading | undefined): Promise<Reading> {
    const { tree, sealedTree } = this.#options;
    let reading = known;
    const ignored = new Set<number>();
    for (;;) {
      reading ??= {
        roll: new StatementRoll(),
        judge: new LeafJudge({ tree, sealedTree, authorities, pack, tables: this.#tables }),
        size: 0,
      };
      const redo = await readOn(tree, reading, size, ignored);
      this.#isHalf = redo;
      if (!redo) return reading;
      reading = undefined;
    }
  }

  statements(): readonly PlacedStatement[] {
    return this.#reading!.roll.placed;
  }

  notices(): readonly PlacedNotice[] {
    return this.#reading!.roll.notices;
  }

  find(id: string): PlacedStatement | undefined {
    return this.#reading!.roll.find(id);
  }

  findNotice(id: string): PlacedNotice | undefined {
    const placed = this.find(id);
    return placed !== undefined && isNotice(placed.verified) ? (placed as PlacedNotice) : undefined;
  }

  findByReference(authority: string, reference: string): readonly PlacedStatement[] {
    return this.#reading!.roll.findByReference(authority, reference);
  }

  async readStatement(id: string): Promise<Statement | undefined> {
    const placed = this.find(id);
    if (placed === undefined) return undefined;
    const kept = this.#whole.get(id);
    if (kept !== undefined) return kept;
    for await (const leaf of readLeaves(this.#options.tree, placed.index, this.size)) {
      const { payload } = parseEnvelope(parseLeaf(leaf).envelope);
      const statement = statementSchema.parse(JSON.parse(payload.toString()));
      if (this.#whole.size >= WHOLE_KEPT) this.#whole.delete(this.#whole.keys().next().value!);
      this.#whole.set(id, statement);
      return statement;
    }
    return undefined;
  }

  entriesOf(noticeId: string): EntryTable | undefined {
    return this.findNotice(noticeId)?.verified.entries;
  }

  findEntries(name: string): readonly NamedEntry[] {
    return this.#reading!.roll.findEntries(name);
  }

  changesOf(noticeId: string): readonly PlacedStatement[] {
    const notice = this.findNotice(noticeId);
    return notice === undefined ? [] : this.#reading!.roll.changesOf(notice);
  }

  standingOf(noticeId: string, atSeconds: number, licensee?: string): NoticeStanding | undefined {
    const notice = this.findNotice(noticeId);
    return notice && judgeStanding(notice.verified, this.#reading!.roll.changesOf(notice), atSeconds, licensee);
  }

  fold(licensee: string, atSeconds: number, treeSize = this.size): FoldedNotice<KnownNotice>[] {
    const placed = this.statements();
    const counted = treeSize >= this.size ? placed : placed.filter(({ index }) => index < treeSize);
    return fold(
      counted.map(({ verified }) => verified),
      licensee,
      atSeconds,
    );
  }
}

/** Returns the size of the log by a checkpoint that its key signed. */
function openSize(bytes: Uint8Array, { file }: Authorities): number {
  if (file.log === undefined) throw new WartaError('checkpoint-foreign', 'authorities.json names no log');
  const note = parseNote(bytes);
  const { origin, size } = parseCheckpoint(note.body);
  if (origin !== file.log.origin) {
    throw new WartaError('checkpoint-foreign', `the checkpoint is of ${origin}, not of ${file.log.origin}`);
  }
  findLogSignature(note, file.log);
  return size;
}

/** Leaves judged together; nothing of them is seen before all are. */
const BATCH = 64;

/**
 * Reads on from where a reading has come. Returns whether all must be read anew, as a leaf came to light that takes the
 * place of an earlier one; `ignored` then has that one.
 */
async function readOn(tree: LogStorage, reading: Reading, size: number, ignored: Set<number>): Promise<boolean> {
  const { roll, judge } = reading;
  let batch: Buffer[] = [];
  const takeBatch = async () => {
    const judged = await judge.judge(batch, reading.size, ignored);
    const redo = judged.some((one) => {
      if (roll.add(one)) return false;
      ignored.add(roll.find(one.verified.id)?.index ?? one.index);
      return true;
    });
    reading.size += batch.length;
    batch = [];
    return redo;
  };
  for await (const leaf of readLeaves(tree, reading.size, size)) {
    if (batch.push(leaf) === BATCH && (await takeBatch())) return true;
  }
  return batch.length > 0 && takeBatch();
}
