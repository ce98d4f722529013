import type { StatementType } from '../register/authorities.ts';
import type { PersonalRole } from './access/roles.ts';

/** Anything that JSON can say. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A person with an account. `id` is a slug; an officer's is the one in authorities.json. */
export interface UserRecord {
  id: string;
  name: string;
  roles: readonly PersonalRole[];
  authority: string | null;
  licensee: string | null;
  /** `sub` of the person's OIDC tokens. */
  oidcSubject: string | null;
  disabled: boolean;
  createdSeconds: number;
  version: number;
}

/** A token of a person. Only its hash is kept. `scopes` narrow the person's roles; empty leaves them as they are. */
export interface TokenRecord {
  id: string;
  userId: string;
  /** SHA-256 of the secret, hexadecimal. */
  hash: string;
  label: string;
  scopes: readonly PersonalRole[];
  createdSeconds: number;
  expiresSeconds: number;
  revokedSeconds: number | null;
}

/** The answer a POST got, for whoever sends it again with the same key. */
export interface IdempotencyRecord {
  /** SHA-256 over actor, route, path and key. */
  id: string;
  /** SHA-256 of the body. */
  bodyHash: string;
  status: number;
  /** What was answered: headers and body. */
  answer: Json;
  createdSeconds: number;
}

/** How far a draft has come. From `queued` on nothing of it can be changed. */
export const DRAFT_STATES = ['draft', 'proposed', 'approved', 'queued', 'published', 'refused', 'withdrawn'] as const;

/** How far a draft has come. */
export type DraftState = (typeof DRAFT_STATES)[number];

/** An approval of a draft, as the statement will state it. */
export interface ApprovalRecord {
  readonly officer: string;
  readonly role: string;
  readonly atSeconds: number;
}

/** A statement on its way to the register. `body` is the friendly draft (`register/draft.ts`) without names. */
export interface DraftRecord {
  id: string;
  type: StatementType;
  authority: string;
  reference: string;
  state: DraftState;
  body: { readonly [key: string]: Json };
  draftedBy: string;
  approvals: readonly ApprovalRecord[];
  overrides: readonly { readonly check: string; readonly officer: string; readonly reason: string }[];
  /** Result of the last pre-flight; null when what it looked at has changed since. */
  preflight: Json;
  /** Annex of a notice. */
  annexDigest: string | null;
  sealed: boolean;
  /** The bytes to sign, once everyone has approved. */
  payload: Uint8Array | null;
  /** SHA-256 of the payload: the statement's id in the register. */
  statementId: string | null;
  signatures: readonly {
    readonly keyid: string;
    readonly sig: string;
    readonly officer: string;
    readonly publicKey: string;
  }[];
  /** The appeal that led to it. */
  appealReference: string | null;
  /** Place in the log, once it is there. */
  leafIndex: number | null;
  integratedSeconds: number | null;
  /** Why the log refused it. */
  refusal: { readonly code: string; readonly message: string } | null;
  createdSeconds: number;
  updatedSeconds: number;
  version: number;
}

/** The annex of a draft: names with their salts, as they will be published. */
export interface AnnexRecord {
  /** The annex's digest. */
  id: string;
  entries: number;
  sizeBytes: number;
  /** The file as it is published. */
  bytes: Uint8Array;
  createdSeconds: number;
}

/** A signed statement handed over to the sequencer. Its id is the statement's. */
export interface PublicationRecord {
  id: string;
  draftId: string;
  envelope: Uint8Array;
  annexDigest: string | null;
  state: 'queued' | 'published' | 'refused';
  attempts: number;
  queuedSeconds: number;
  /** Not to be tried before this time. */
  nextAttemptSeconds: number;
}

/** How far an appeal has come. */
export type AppealState = 'filed' | 'acknowledged' | 'assessed' | 'decided' | 'withdrawn';

/** How an appeal ended. */
export type AppealOutcome = 'upheld' | 'varied' | 'overturned' | 'rejected';

/** An appeal. `contact` and `grounds` are personal data: never public, erased when the pack says so. */
export interface AppealRecord {
  /** Public reference. */
  id: string;
  /** SHA-256 of the secret that its appellant follows it with. */
  secretHash: string;
  noticeId: string;
  /** Whose notice it is. */
  authority: string;
  /** Ids of the entries it is about; empty for the whole notice. */
  entries: readonly string[];
  standing: 'owner' | 'user' | 'isp';
  state: AppealState;
  outcome: AppealOutcome | null;
  grounds: string;
  contact: string | null;
  /** Language the appellant wants to be answered in. */
  language: string | null;
  /** Whether it came after the time for filing; it is heard if law or court allow. */
  late: boolean;
  filedSeconds: number;
  acknowledgeBySeconds: number;
  assessBySeconds: number;
  decideBySeconds: number;
  acknowledgedSeconds: number | null;
  assessedSeconds: number | null;
  decidedSeconds: number | null;
  withdrawnSeconds: number | null;
  /** Who hears it. */
  reviewer: string | null;
  /** Public reasons of the decision. */
  reasons: string | null;
  /** A block of a hacked site that is to be lifted once it is clean: what must be cured. */
  cure: string | null;
  curedSeconds: number | null;
  /** Draft of the statement that carries the decision out, and by when it must have effect. */
  releaseDraftId: string | null;
  releaseBySeconds: number | null;
  /** When its personal data is to be erased; null while it is open, and once that is done. */
  eraseAfterSeconds: number | null;
  version: number;
}

/** Something that happened in an appeal. `note` is public, `privateNote` for appellant and staff. */
export interface AppealEventRecord {
  id: string;
  appealId: string;
  atSeconds: number;
  /** Id of staff, or `appellant`. */
  actor: string;
  kind: string;
  note: string | null;
  privateNote: string | null;
}

/** An ISP under licence. */
export interface LicenseeRecord {
  /** Licence number. */
  id: string;
  name: string;
  /** Classes of licence such as `nsp`. */
  classes: readonly string[];
  createdSeconds: number;
  version: number;
}

/** A resolver of an ISP. `id` is `licensee/node`. */
export interface NodeRecord {
  id: string;
  licensee: string;
  node: string;
  /** Raw Ed25519 in base64. */
  publicKey: string;
  enrolledBy: string;
  enrolledSeconds: number;
  revokedSeconds: number | null;
  version: number;
}

/** A code that enrols one node once. Only its hash is kept. */
export interface EnrolmentCodeRecord {
  /** SHA-256 of the code, hexadecimal. */
  id: string;
  licensee: string;
  node: string;
  createdBy: string;
  createdSeconds: number;
  expiresSeconds: number;
  usedSeconds: number | null;
}

/** What a node said it applied, by the path of its receipt in the register's tree. */
export interface ReceiptRecord {
  id: string;
  nodeId: string;
  licensee: string;
  appliedSeconds: number;
  receivedSeconds: number;
  foldedSeconds: number;
  treeSize: number;
  rules: number;
  rulesDigest: string;
  mode: string;
  /** Void statements and refused entries as the node reports them. */
  rejected: Json;
  refusedEntries: number;
  /** Whether the register replayed for that node at that size comes to the same list; null before it was looked at. */
  agrees: boolean | null;
  /** Of the list's entries those that list a page, as the node reports them; null when there are none. */
  pages: { readonly entries: number; readonly httpOnly: number; readonly steered: boolean } | null;
}

/** An address that is told of events. */
export interface WebhookRecord {
  id: string;
  url: string;
  events: readonly string[];
  owner: string;
  licensee: string | null;
  disabled: boolean;
  createdSeconds: number;
  version: number;
}

/** One event on its way to one webhook. */
export interface DeliveryRecord {
  id: string;
  webhookId: string;
  event: string;
  body: string;
  state: 'waiting' | 'delivered' | 'dead';
  attempts: number;
  nextAttemptSeconds: number;
  lastStatus: number | null;
  lastError: string | null;
  createdSeconds: number;
}

/** Items taken down at the source, which are never counted as blocks. */
export interface TakedownRecord {
  id: string;
  authority: string;
  agency: string | null;
  platform: string;
  category: string;
  items: number;
  reference: string;
  requestedSeconds: number;
  removedSeconds: number | null;
  recordedBy: string;
}

/** Something that falls due: a review, an expiry, a clock of an appeal. `id` is `kind/subject/dueSeconds`. */
export interface ReminderRecord {
  id: string;
  kind: string;
  subject: string;
  /** Whose staff it concerns. */
  authority: string;
  dueSeconds: number;
  /** When those concerned were told. */
  toldSeconds: number | null;
  /** When it no longer needed anyone. */
  settledSeconds: number | null;
}

/** One change, as the trail of changes keeps it. Hashes are SHA-256 of the subject's canonical JSON. */
export interface AuditEntry {
  atSeconds: number;
  actor: string;
  role: string;
  /** Route, or a name of what the server did on its own. */
  action: string;
  /** Such as `drafts/0190…`. */
  subject: string;
  reason: string | null;
  beforeHash: string | null;
  afterHash: string | null;
}

/** An entry in its place: `hash` covers the entry and the hash before it, so none can be taken out or altered unseen. */
export interface AuditRecord extends AuditEntry {
  sequence: number;
  previousHash: string;
  hash: string;
}

/** Bounds on one value: equal to it, among several, or in `[from, before)`. */
export type Condition<V> = V | { readonly in: readonly V[] } | { readonly from?: V; readonly before?: V };

/** What records to list. Pages follow each other by `after`, the last record of the page before. */
export interface ListQuery<R> {
  readonly where?: { readonly [Key in keyof R]?: Condition<R[Key]> };
  /** Ascending by default; ties are ordered by id. */
  readonly orderBy?: keyof R & string;
  readonly descending?: boolean;
  readonly after?: R;
  readonly limit: number;
}

/** Records of one kind, by id. */
export interface Collection<R extends { id: string }> {
  get(id: string): Promise<R | undefined>;
  /** @throws {WartaError} `conflict` when the id (or another unique key) is taken. */
  insert(record: R): Promise<void>;
  /**
   * Changes a record and returns it. Where records have a version it must be `expectedVersion` when that is given, and
   * goes up by one.
   *
   * @throws {WartaError} `not-found`; `version-mismatch` when someone else changed it first.
   */
  update(id: string, changes: Partial<Omit<R, 'id' | 'version'>>, expectedVersion?: number): Promise<R>;
  remove(id: string): Promise<void>;
  list(query: ListQuery<R>): Promise<R[]>;
  count(where?: ListQuery<R>['where']): Promise<number>;
}

/** The trail of changes: it only grows. */
export interface AuditTrail {
  append(entry: AuditEntry): Promise<AuditRecord>;
  /** The newest record; `undefined` before the first. */
  head(): Promise<AuditRecord | undefined>;
  list(query: { afterSequence?: number; subject?: string; actor?: string; limit: number }): Promise<AuditRecord[]>;
}

/** What a transaction works on. */
export interface Tables {
  readonly users: Collection<UserRecord>;
  readonly tokens: Collection<TokenRecord>;
  readonly idempotency: Collection<IdempotencyRecord>;
  readonly drafts: Collection<DraftRecord>;
  readonly annexes: Collection<AnnexRecord>;
  readonly publications: Collection<PublicationRecord>;
  readonly appeals: Collection<AppealRecord>;
  readonly appealEvents: Collection<AppealEventRecord>;
  readonly licensees: Collection<LicenseeRecord>;
  readonly nodes: Collection<NodeRecord>;
  readonly enrolmentCodes: Collection<EnrolmentCodeRecord>;
  readonly receipts: Collection<ReceiptRecord>;
  readonly webhooks: Collection<WebhookRecord>;
  readonly deliveries: Collection<DeliveryRecord>;
  readonly takedowns: Collection<TakedownRecord>;
  readonly reminders: Collection<ReminderRecord>;
  readonly audit: AuditTrail;
}

/** Where the control API keeps what is not in the register. Implemented in `store/`, for SQLite and for PostgreSQL. */
export interface Store {
  readonly engine: 'sqlite' | 'postgresql';
  /**
   * Runs `work` in one serialisable transaction: all of it is durable when this resolves, none of it when it rejects.
   * `work` may run more than once when another process got in between, so it has no effects but on the tables.
   *
   * @throws {WartaError} what `work` throws; `store-failed`.
   */
  transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T>;
  /** Runs `work` on one consistent state without changing anything. */
  read<T>(work: (tables: Tables) => Promise<T>): Promise<T>;
  /**
   * Takes a lock that lives as long as this process's connection; `undefined` when another process has it. `onLost` is
   * called when the connection breaks.
   */
  lock(name: string, onLost?: () => void): Promise<(() => Promise<void>) | undefined>;
  close(): Promise<void>;
}
