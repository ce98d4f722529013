import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { WartaError } from '../../src/base/errors.ts';
import { checkLogConfig, type LogConfig } from '../../src/control/publishing/log-config.ts';
import { LogSite } from '../../src/control/publishing/log-site.ts';
import type { Appended } from '../../src/control/publishing/register-publisher.ts';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import type { Sequenced } from '../../src/log/sequencer.ts';
import { Witness } from '../../src/log/witness.ts';
import { createLocalWitness, type WitnessClient } from '../../src/log/witness-client.ts';
import { annexPath } from '../../src/register/annex.ts';
import type { AuthoritiesFile } from '../../src/register/authorities.ts';
import { composeCanonical, hashHex } from '../../src/register/canonical.ts';
import { parseEnvelope, type Signer, signEnvelope } from '../../src/register/envelope.ts';
import { publicKeyOf, writePrivateKey } from '../../src/register/key.ts';
import { composeLeaf } from '../../src/register/leaf.ts';
import type { Notice } from '../../src/register/statement.ts';
import { formatInstant } from '../../src/register/time.ts';
import type { TrustRole } from '../../src/trust/metadata.ts';
import {
  createTrustRepository,
  publishAuthorities,
  refreshTimestamp,
  rotateTrust,
  type TrustKeys,
} from '../../src/trust/repository.ts';
import { MirrorServer } from './mirror-server.ts';
import {
  AUTHORITIES,
  LICENSEE,
  PACK_FILE,
  type SignedStatement,
  type StatementDraft,
  signStatement,
} from './test-authority.ts';

/** How a register of a test is made; everything may be left out. */
export interface LogRegisterOptions {
  origin?: string;
  /** Witnesses in this process, and how many of them must sign. One and one unless given. */
  witnesses?: number;
  quorum?: number;
  clock?: Clock;
  /** Days the TUF roles are valid for. */
  termDays?: Partial<Record<TrustRole, number>>;
  heartbeatSeconds?: number;
  freshSeconds?: number;
}

/** A witness of a test. */
export interface TestWitness extends WitnessClient {
  /** Whether it answers nobody. */
  isDown: boolean;
  close(): Promise<void>;
}

/** A statement in the log. */
export type Published = SignedStatement & Appended;

/** What `bulk` makes. */
export interface Bulk {
  statements: number;
  /** Entries of each statement. */
  entries: number;
  /** Number of the first statement, so that a second call makes other names. */
  first?: number;
  /** Called before each batch of statements; set the clock there to spread them over time. */
  onBatch?(done: number): void;
}

/** Officers who may sign by default, by the ids of authorities.json. */
const DEFAULT_SIGNERS = ['one', 'two'];
const HEARTBEAT_OFFICER = 'heartbeat';
const AUTHORITY = 'mcmc';
const ORIGIN = 'register.test/log';
/** Statements signed and appended together by `bulk`. */
const BULK_BATCH = 4096;
const SALT_BYTES = 32;

/** Returns a key that is the same in every run; `warta test officer one` is that of test-authority's officer `one`. */
export function seededKey(seed: string): KeyObject {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const raw = createHash('sha256').update(seed).digest();
  return createPrivateKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'pkcs8' });
}

/** Returns the key of an officer by id. */
export function officerKey(id: string): KeyObject {
  return seededKey(`warta test officer ${id}`);
}

/**
 * A complete register on a log, in a folder: TUF repository, authorities with log and witnesses, policy pack, log key,
 * witnesses in this process, sequencer and publisher. Every key is the same in every run, so two of them in two folders with
 * one clock are two views of one log. Close it when the test is done.
 */
export class LogRegister {
  readonly folder: string;
  readonly origin: string;
  /** What mirrors serve; `rootFile` is the root that a node pins. */
  readonly publicFolder: string;
  readonly sealedFolder: string;
  readonly rootFile: string;
  readonly config: LogConfig;
  readonly witnesses: readonly TestWitness[];
  readonly logKey: KeyObject;
  /** authorities.json as published last; change it by `changeAuthorities`. */
  authorities: AuthoritiesFile;
  trustKeys: TrustKeys;
  site!: LogSite;
  /** Officers who sign what is published without saying who. */
  signers: string[] = [...DEFAULT_SIGNERS];
  readonly #options: LogRegisterOptions;
  readonly #mirrors: MirrorServer[] = [];

  private constructor(folder: string, options: LogRegisterOptions, witnesses: readonly TestWitness[]) {
    this.folder = folder;
    this.#options = options;
    this.witnesses = witnesses;
    this.origin = options.origin ?? ORIGIN;
    this.logKey = seededKey(`warta test log ${this.origin}`);
    this.publicFolder = join(folder, 'public');
    this.sealedFolder = join(folder, 'sealed');
    this.rootFile = join(this.publicFolder, 'trust/1.root.json');
    this.authorities = this.#composeAuthorities();
    this.trustKeys = composeTrustKeys('');
    this.config = this.#composeConfig();
  }

  /** Makes a register with nothing in it, open for statements. */
  static async create(folder: string, options: LogRegisterOptions = {}): Promise<LogRegister> {
    const witnesses = await openWitnesses(folder, options);
    const register = new LogRegister(folder, options, witnesses);
    writePrivateKey(register.config.key, pemOf(register.logKey));
    writePrivateKey(register.config.heartbeat!.key, pemOf(officerKey(HEARTBEAT_OFFICER)));
    createTrustRepository({
      ...register.#trustOptions(),
      keys: register.trustKeys,
      thresholds: { root: 2, targets: 2 },
      authorities: JSON.stringify(register.authorities),
    });
    await register.open();
    return register;
  }

  /** Opens the log again after `site.close()`. */
  async open(): Promise<void> {
    const { clock } = this.#options;
    this.site = await LogSite.open(this.config, { clock, witnesses: this.witnesses });
  }

  /** Ends everything, mirrors included. */
  async close(): Promise<void> {
    await this.site.close();
    await Promise.all([...this.witnesses, ...this.#mirrors].map((one) => one.close()));
  }

  get nowSeconds(): number {
    return Math.floor((this.#options.clock ?? systemClock).wallMillis() / 1000);
  }

  /** Leaves committed. */
  get size(): number {
    return this.site.sequencer.size;
  }

  /** The `register` section of a node's configuration that follows this register. */
  nodeConfig(mirrors: readonly string[] = [this.publicFolder]) {
    return {
      licensee: LICENSEE,
      policyPack: PACK_FILE,
      mirrors: [...mirrors],
      root: this.rootFile,
      pollSeconds: 1,
    };
  }

  /** Serves the public tree on a loopback port. */
  async serve(port?: number): Promise<MirrorServer> {
    const mirror = await MirrorServer.start(this.publicFolder, port);
    this.#mirrors.push(mirror);
    return mirror;
  }

  /** Completes and signs a statement without publishing it. `signers` are officers by id; none at all is allowed. */
  sign(draft: StatementDraft, signers: readonly string[] = this.signers): SignedStatement {
    const signed = signStatement(draft, this.nowSeconds);
    if (String(signers) === String(DEFAULT_SIGNERS)) return signed;
    const { payload } = parseEnvelope(signed.envelope);
    return { ...signed, envelope: signEnvelope(payload, signers.map(signerOf)) };
  }

  /** Signs and publishes a statement as an officer does: it is refused when it does not verify. */
  async publish(draft: StatementDraft, signers?: readonly string[]): Promise<Published> {
    const signed = this.sign(draft, signers);
    const appended = await this.site.publisher.submit(signed.envelope, async () => signed.annex?.bytes);
    await this.site.sequencer.flush();
    return { ...signed, ...appended };
  }

  /** Publishes a notice over these names: `'a.example'` (exact) or `{ subtree: … }`, as in a draft. */
  notice(names: readonly unknown[], changes: object = {}): Promise<Published> {
    return this.publish({ type: 'notice', names, ...changes });
  }

  /** Publishes the revocation of a notice, or of some of its entries. */
  revoke(notice: string, entries?: readonly string[]): Promise<Published> {
    return this.publish({ type: 'revocation', notice, from: 'now', ...(entries && { entries }) });
  }

  /** Publishes a stay of a notice until a time, such as `30d`. */
  stay(notice: string, until?: string): Promise<Published> {
    const order = { by: 'Tribunal', reference: 'T/1' };
    return this.publish({ type: 'stay', target: { notice }, from: 'now', order, ...(until && { until }) });
  }

  async heartbeat(): Promise<Appended> {
    const appended = await this.site.publisher.beat();
    await this.site.sequencer.flush();
    return appended;
  }

  /** Publishes the checkpoint again with what cosignatures there are now. */
  async cosign(): Promise<void> {
    await this.site.sequencer.publish();
  }

  /** Does something while no witness answers; what it appends is published without their signatures. */
  async withoutWitnesses<T>(act: () => Promise<T>): Promise<T> {
    for (const witness of this.witnesses) witness.isDown = true;
    try {
      return await act();
    } finally {
      for (const witness of this.witnesses) witness.isDown = false;
    }
  }

  /** Appends any bytes as a leaf, past all checks: what a stolen log key, or a dishonest operator, can do. */
  async appendRaw(leaf: Uint8Array | ((integratedAtSeconds: number) => Uint8Array)): Promise<Sequenced> {
    const compose = typeof leaf === 'function' ? leaf : () => leaf;
    const sequenced = await this.site.sequencer.append(compose);
    await this.site.sequencer.flush();
    return sequenced;
  }

  /** Appends a statement past all checks, with its annex and, if given, a time of the forger's choice. */
  async appendStatement(signed: SignedStatement, integratedAtSeconds?: number): Promise<Sequenced> {
    if (signed.annex) await this.storeAnnex(signed.annex.digest, signed.annex.bytes);
    return this.appendRaw((atSeconds) => composeLeaf(signed.envelope, integratedAtSeconds ?? atSeconds));
  }

  /** Stores an annex past all checks. */
  storeAnnex(digest: string, bytes: Uint8Array, sealed = false): Promise<void> {
    const storage = new DirectoryStorage(sealed ? this.sealedFolder : this.publicFolder);
    return storage.create(annexPath(digest, sealed), bytes);
  }

  /** Enrols a node whose public key is known. */
  enrolNode(licensee: string, node: string, publicKey: string): Promise<void> {
    return this.site.nodes.enrol({ licensee, node, publicKey });
  }

  /** Publishes the next version of authorities.json after a change to it. */
  changeAuthorities(change: (file: AuthoritiesFile) => void): void {
    const next = structuredClone(this.authorities);
    change(next);
    next.version++;
    publishAuthorities({ ...this.#trustOptions(), keys: this.trustKeys, authorities: JSON.stringify(next) });
    this.authorities = next;
  }

  /** Gives an officer a new key from now on, under the id `<id>-next`, which takes over in `signers`. */
  rotateOfficer(id: string): void {
    const now = formatInstant(this.nowSeconds);
    const next = `${id}-next`;
    this.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      const old = officers.find((officer) => officer.id === id)!;
      officers.push({ ...old, id: next, publicKey: publicKeyOf(officerKey(next)), validFrom: now });
      old.validUntil = now;
    });
    this.signers = this.signers.map((signer) => (signer === id ? next : signer));
  }

  /** Revokes an officer's key as of a time, now unless given. */
  revokeOfficer(id: string, atSeconds = this.nowSeconds): void {
    this.changeAuthorities((file) => {
      const officer = file.authorities[0]!.officers.find((one) => one.id === id)!;
      officer.revokedAt = formatInstant(atSeconds);
    });
  }

  /** Signs a new timestamp, as is done every day. */
  refreshTimestamp(): void {
    refreshTimestamp({ ...this.#trustOptions(), keys: this.trustKeys });
  }

  /** Replaces every TUF key. */
  rotateTrust(seed: string): void {
    const next = composeTrustKeys(seed);
    const signers = [this.trustKeys, next].flatMap((keys) => [
      ...keys.root,
      ...keys.targets,
      keys.snapshot,
      keys.timestamp,
    ]);
    rotateTrust({ ...this.#trustOptions(), keys: next, thresholds: { root: 2, targets: 2 }, signers });
    this.trustKeys = next;
  }

  /**
   * Appends many notices at once, past the checks that they would pass: some 150 µs each, most of it the two signatures, and
   * 6 µs an entry. Statement `i` blocks the subtrees `b<i>-<j>.example`. Nothing is synced to disk but the log.
   */
  async bulk({ statements, entries, first = 0, onBatch }: Bulk): Promise<void> {
    for (let shard = 0; shard < 256; shard++) {
      mkdirSync(join(this.publicFolder, 'annex', shard.toString(16).padStart(2, '0')), { recursive: true });
    }
    const signers = this.signers.map(signerOf);
    for (let done = 0; done < statements; done += BULK_BATCH) {
      onBatch?.(done);
      const template = parseEnvelope(this.sign({ type: 'notice', names: ['template.example'] }).envelope).payload;
      const notice = JSON.parse(template.toString()) as Notice;
      const count = Math.min(BULK_BATCH, statements - done);
      const leaves = Array.from({ length: count }, (_, i) =>
        this.#composeBulk(notice, first + done + i, entries, signers),
      );
      await Promise.all(
        leaves.map((envelope) => this.site.sequencer.append((atSeconds) => composeLeaf(envelope, atSeconds))),
      );
    }
    await this.site.sequencer.flush();
  }

  /** Signs one notice of many and writes its annex. */
  #composeBulk(template: Notice, number: number, entries: number, signers: readonly Signer[]): Buffer {
    const annex = composeBulkAnnex(number, entries);
    writeFileSync(join(this.publicFolder, annexPath(annex.digest, false)), annex.bytes);
    const terms = { digest: annex.digest, entries, sizeBytes: annex.bytes.length, sealed: false };
    return signEnvelope(composeCanonical({ ...template, reference: `BULK/${number}`, annex: terms }), signers);
  }

  #trustOptions() {
    const { termDays } = this.#options;
    return { folder: join(this.publicFolder, 'trust'), nowSeconds: this.nowSeconds, termDays };
  }

  #composeAuthorities(): AuthoritiesFile {
    const file = JSON.parse(AUTHORITIES) as AuthoritiesFile;
    const { officers } = file.authorities[0]!;
    const publicKey = publicKeyOf(officerKey(HEARTBEAT_OFFICER));
    officers.push({ ...officers[0]!, id: HEARTBEAT_OFFICER, publicKey, may: ['heartbeat'] });
    return {
      ...file,
      log: { origin: this.origin, publicKey: publicKeyOf(this.logKey) },
      witnesses: this.witnesses.map(({ name, publicKey }) => ({ name, publicKey })),
      quorum: this.#options.quorum ?? this.witnesses.length,
    };
  }

  #composeConfig(): LogConfig {
    const { heartbeatSeconds, freshSeconds } = this.#options;
    const source = {
      origin: this.origin,
      root: this.rootFile,
      policyPack: PACK_FILE,
      listen: '127.0.0.1:0',
      heartbeat: { authority: AUTHORITY, seconds: heartbeatSeconds },
      freshSeconds,
    };
    return checkLogConfig(source, join(this.folder, 'log.yaml'));
  }
}

/** Adds the officers that accounts of the control API stand for, besides the two who sign by default. */
export function addOfficers(register: LogRegister): void {
  register.changeAuthorities((file) => {
    const { officers } = file.authorities[0]!;
    const add = (id: string, role: (typeof officers)[number]['role']) =>
      officers.push({ ...officers[0]!, id, name: `Officer ${id}`, role, publicKey: publicKeyOf(officerKey(id)) });
    add('three', 'approving-officer');
    add('reviewer', 'appeals-reviewer');
    add('drafter', 'case-officer');
  });
}

/** Returns the signer of an officer's id. */
export function signerOf(id: string): Signer {
  return { keyId: id, privateKey: officerKey(id) };
}

/** The id of a statement by its envelope. */
export function idOf(envelope: Uint8Array): string {
  return hashHex(parseEnvelope(envelope).payload);
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function composeTrustKeys(seed: string): TrustKeys {
  const key = (role: string) => seededKey(`warta test trust ${role} ${seed}`);
  return {
    root: ['root 1', 'root 2', 'root 3'].map(key),
    targets: ['targets 1', 'targets 2'].map(key),
    snapshot: key('snapshot'),
    timestamp: key('timestamp'),
  };
}

async function openWitnesses(folder: string, options: LogRegisterOptions): Promise<TestWitness[]> {
  const { witnesses = 1, clock = systemClock, origin = ORIGIN } = options;
  const logs = [{ origin, publicKey: publicKeyOf(seededKey(`warta test log ${origin}`)) }];
  const names = Array.from({ length: witnesses }, (_, i) => `witness.test/w${i + 1}`);
  return Promise.all(
    names.map(async (name) => {
      const state = new DirectoryStorage(join(folder, 'witnesses', hashHex(Buffer.from(name)).slice(0, 8)));
      const witness = await Witness.open({ name, privateKey: seededKey(name), logs, state, clock });
      return composeTestWitness(createLocalWitness(witness), () => witness.close());
    }),
  );
}

/** Wraps a witness that can be taken down. */
function composeTestWitness(client: WitnessClient, close: () => Promise<void>): TestWitness {
  return {
    name: client.name,
    publicKey: client.publicKey,
    isDown: false,
    cosign(request) {
      if (this.isDown) return Promise.reject(new WartaError('witness-failed', `witness ${this.name} is down`));
      return client.cosign(request);
    },
    close,
  };
}

/** Composes an annex by hand, which is ten times as fast as by way of drafts. */
function composeBulkAnnex(number: number, entries: number): { digest: string; bytes: Buffer } {
  const salts = createHash('shake256', { outputLength: entries * SALT_BYTES })
    .update(`bulk ${number}`)
    .digest();
  const lines: string[] = [];
  const hashes: Buffer[] = [];
  for (let i = 0; i < entries; i++) {
    const name = `b${number}-${i}.example`;
    const id = `e${String(i + 1).padStart(7, '0')}`;
    const entry = `{"action":"block","canonical":"${name}","id":"${id}","raw":"${name}","scope":"subtree"}`;
    const salt = salts.subarray(i * SALT_BYTES, (i + 1) * SALT_BYTES);
    hashes.push(hashLeaf(Buffer.concat([salt, Buffer.from(entry)])));
    lines.push(`{"entry":${entry},"salt":"${salt.toString('base64url')}"}\n`);
  }
  return { digest: rootOf(hashes).toString('hex'), bytes: Buffer.from(lines.join('')) };
}
