import type { EntryTable } from '../../register/annex.ts';
import type { Authorities } from '../../register/authorities.ts';
import type { FoldedNotice } from '../../register/fold.ts';
import type { Pack } from '../../register/pack.ts';
import type { Statement } from '../../register/statement.ts';
import type { KnownNotice, KnownStatement } from '../../register/verify-statement.ts';

/** What lists and figures say of a notice besides what decides about its rules. Times in seconds since the epoch. */
export interface NoticeOutline {
  /** The agency that asked for it, if it was not the authority's own doing. */
  readonly agency?: string;
  readonly draftedBy: string;
  readonly tags: readonly string[];
  readonly complyBySeconds?: number;
  readonly reviewBySeconds?: number;
}

/** A good statement of the register and its place in the log. */
export interface PlacedStatement {
  readonly index: number;
  readonly verified: KnownStatement;
  /** Of a notice. */
  readonly outline?: NoticeOutline;
}

/** A notice of the register and its place in the log. */
export interface PlacedNotice extends PlacedStatement {
  readonly verified: KnownNotice;
  readonly outline: NoticeOutline;
}

/** How a notice stands at one time; `exempted` only for a licensee that is asked about. */
export type StandingState = 'scheduled' | 'in-force' | 'stayed' | 'exempted' | 'expired' | 'revoked' | 'superseded';

/** How a notice stands at one time, for every licensee or for one. */
export interface NoticeStanding {
  readonly state: StandingState;
  /** Since when it is so, and until when as far as is known. */
  readonly sinceSeconds: number;
  readonly untilSeconds?: number;
  /** How many entries it has, and how many of them are in force now. */
  readonly entries: number;
  readonly entriesInForce: number;
  /** Ids of the statements that changed it, oldest first: stays, variations, revocations, exemptions, successors. */
  readonly changedBy: readonly string[];
}

/** An entry of a notice, by its place in the notice's annex. */
export interface NamedEntry {
  readonly notice: PlacedNotice;
  readonly at: number;
}

/**
 * What the register says, as this process has read it from the public tree: the good statements but heartbeats, in the order
 * of the log. Void leaves are left out. A notice whose annex is not at hand is among them, without entries. Nothing here is
 * stored: the files are the truth.
 */
export interface RegisterView {
  /** Leaves read so far. */
  readonly size: number;
  /** Goes up whenever the statements change: what was computed from them before is out of date. */
  readonly revision: number;
  /** When the newest heartbeat was integrated; 0 without one. */
  readonly heartbeatSeconds: number;
  /** When the newest leaf was integrated; 0 for an empty log. */
  readonly newestSeconds: number;
  /** By whom statements were judged. */
  readonly authorities: Authorities;
  /** The policy pack they were judged by, and its SHA-256. */
  readonly pack: Pack;
  readonly packSha256: string;
  /**
   * Reads what is new in the tree. Cheap when nothing is. What was published before the call is read when it resolves.
   *
   * @throws {WartaError} `checkpoint-foreign`, `checkpoint-rolled-back`, `note-invalid`, `log-invalid`, `store-failed`,
   *   `trust-invalid`; what was read before stays.
   */
  catchUp(): Promise<void>;
  statements(): readonly PlacedStatement[];
  notices(): readonly PlacedNotice[];
  /** Finds a statement by its id (SHA-256 of the payload). */
  find(id: string): PlacedStatement | undefined;
  findNotice(id: string): PlacedNotice | undefined;
  findByReference(authority: string, reference: string): readonly PlacedStatement[];
  /** Reads the whole statement from the log, with its reasons. */
  readStatement(id: string): Promise<Statement | undefined>;
  /** The entries of a notice; `undefined` when its annex is not there. */
  entriesOf(noticeId: string): EntryTable | undefined;
  /** The entries, of whatever notice and standing, with exactly this canonical name. */
  findEntries(name: string): readonly NamedEntry[];
  /** The statements that name a notice or its programme, oldest first; resumptions of those among them. */
  changesOf(noticeId: string): readonly PlacedStatement[];
  /**
   * How a notice stands as far as was known at that time. `undefined` when the id is not that of a notice, or the notice is
   * not addressed to the licensee.
   */
  standingOf(noticeId: string, atSeconds: number, licensee?: string): NoticeStanding | undefined;
  /** What is in force for a licensee at a time, as far as the first `treeSize` leaves say (all by default). */
  fold(licensee: string, atSeconds: number, treeSize?: number): FoldedNotice<KnownNotice>[];
}
