import type { KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type AuditArchive, AuditRegister } from '../../src/audit/audit-register.ts';
import { type OpenedRegister, openRegister, type RegisterPlace } from '../../src/audit/open-register.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import { annexPath } from '../../src/register/annex.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { composeLeaf } from '../../src/register/leaf.ts';
import { parsePack } from '../../src/register/pack.ts';
import { describePages, describeRejected, type Receipt, signReceipt } from '../../src/register/receipt.ts';
import { formatInstant, secondsOf } from '../../src/register/time.ts';
import type { AnnexSource, StatementLeaf } from '../../src/register/verify-statement.ts';
import { ListCompiler } from '../../src/sync/list-compiler.ts';
import { openArchive } from '../../src/sync/register-archive.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { authoritiesFile, type TestRegister } from '../register/fixture.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister, type LogRegisterOptions, seededKey } from '../support/log-register.ts';
import { LICENSEE, PACK_FILE } from '../support/test-authority.ts';

export { LICENSEE };

/** 2026-03-01T09:00:00Z, when registers of the tests begin. */
export const START = Date.UTC(2026, 2, 1, 9) / 1000;
export const HOUR = 3600;
export const DAY = 86_400;

const open: { close(): Promise<void> }[] = [];

afterAll(async () => {
  for (const one of open.reverse()) await one.close();
});

/** A register on a log with a clock to move, and a cache folder to audit it with. */
export class AuditDesk {
  readonly clock: FakeClock;
  readonly register: LogRegister;
  readonly cacheFolder = makeFolder();

  private constructor(clock: FakeClock, register: LogRegister) {
    this.clock = clock;
    this.register = register;
  }

  static async create(options: LogRegisterOptions = {}): Promise<AuditDesk> {
    const clock = new FakeClock(START);
    const register = await LogRegister.create(makeFolder(), { clock, ...options });
    open.push(register);
    return new AuditDesk(clock, register);
  }

  get nowSeconds(): number {
    return this.register.nowSeconds;
  }

  /** Lets time pass. */
  wait(seconds: number): void {
    this.clock.pass(seconds * 1000);
  }

  /** Opens the register as an auditor does, from the public folder alone. */
  async audit(changes: Partial<RegisterPlace> = {}): Promise<OpenedRegister> {
    const opened = await openRegister({
      mirrors: [this.register.publicFolder],
      pinnedRoot: readFileSync(this.register.rootFile),
      packs: [readFileSync(PACK_FILE)],
      cacheFolder: this.cacheFolder,
      annexFolders: [],
      nowSeconds: this.nowSeconds,
      ...changes,
    });
    open.push(opened.archive);
    return opened;
  }

  /** Where sealed annexes lie. */
  get sealedAnnexes(): string {
    return join(this.register.sealedFolder, 'sealed');
  }
}

const packBytes = readFileSync(PACK_FILE);
const ANSWER = { soaMname: 'a.example', soaRname: 'b.example', operator: 'ISP', language: 'en' };

/** What a test makes a node say instead of what it did. */
export type ReceiptLie = (receipt: Receipt) => Receipt;

/** A node that reads the public folder with the code of a real one, and says what it applied. */
export class ReceiptNode {
  readonly licensee: string;
  readonly node: string;
  /** Whether it sends the hosts of listed pages to a gateway. */
  steersPages = true;
  readonly #desk: AuditDesk;
  readonly #key: KeyObject;
  readonly #cacheFolder = makeFolder();
  readonly #compiler: ListCompiler;

  private constructor(desk: AuditDesk, licensee: string, node: string) {
    this.#desk = desk;
    this.licensee = licensee;
    this.node = node;
    this.#key = seededKey(`warta test node ${licensee} ${node}`);
    this.#compiler = new ListCompiler({ licensee, pack: packBytes, answer: ANSWER });
  }

  /** Enrols a node. */
  static async enrol(desk: AuditDesk, licensee = LICENSEE, node = 'kl-1'): Promise<ReceiptNode> {
    const enrolled = new ReceiptNode(desk, licensee, node);
    await desk.register.enrolNode(licensee, node, publicKeyOf(enrolled.#key));
    return enrolled;
  }

  /** Applies the register as it is now and sends a receipt, changed by `lie`. */
  async apply(lie: ReceiptLie = (receipt) => receipt): Promise<Receipt> {
    const receipt = lie(await this.compose());
    await this.#desk.register.site.receipts.accept(signReceipt(receipt, this.#key));
    return receipt;
  }

  /** Composes the receipt of the register as it is now. */
  async compose(): Promise<Receipt> {
    const { register, nowSeconds } = this.#desk;
    const archive = await openArchive({
      mirrors: [register.publicFolder],
      pinnedRoot: readFileSync(register.rootFile),
      cacheFolder: this.#cacheFolder,
      nowSeconds,
    });
    const reading = { authorities: archive.trust.authorities, leaves: [...archive.leaves()], fingerprint: '' };
    const list = this.#compiler.compile({ ...reading, annexes: readTree(register) }, '', nowSeconds);
    await archive.close();
    const bad = list.verdicts.filter(({ ok }) => !ok);
    const now = formatInstant(nowSeconds);
    return {
      version: 1,
      origin: register.origin,
      licensee: this.licensee,
      node: this.node,
      treeSize: archive.opened.checkpoint.size,
      rootHash: archive.opened.checkpoint.root.toString('hex'),
      authoritiesVersion: 1,
      rules: list.rules,
      rulesDigest: list.rulesDigest,
      foldedAt: now,
      appliedAt: now,
      mode: 'enforce',
      statements: { ok: list.verdicts.length - bad.length, void: bad.length },
      rejected: describeRejected(bad),
      refusedEntries: list.refusedCount,
      ...describePages(list, this.steersPages),
    };
  }
}

/** Annexes as they lie in a register's folders, sealed ones too. */
function readTree({ publicFolder, sealedFolder }: LogRegister): AnnexSource {
  const paths = (digest: string) => [
    join(publicFolder, annexPath(digest, false)),
    join(sealedFolder, annexPath(digest, true)),
  ];
  return {
    read(digest) {
      const path = paths(digest).find(existsSync);
      return path === undefined ? undefined : readFileSync(path);
    },
  };
}

/** Statements and annexes in memory, and who may sign them. */
export interface MemoryRegister {
  readonly authorities: string;
  readonly leaves: readonly StatementLeaf[];
  readonly annexes: AnnexSource;
}

/**
 * A register to audit out of statements in memory, vouched for by nobody. A statement without a time came when signed.
 */
export function auditMemory({ authorities, leaves, annexes }: MemoryRegister): AuditRegister {
  const dated = leaves.map((leaf, index) => {
    const { payload } = JSON.parse(Buffer.from(leaf.envelope).toString());
    const signedAt = () => secondsOf(JSON.parse(Buffer.from(payload, 'base64').toString()).signedAt);
    return { ...leaf, key: `#${index}`, integratedAtSeconds: leaf.integratedAtSeconds ?? signedAt() };
  });
  const bytes = dated.map(({ envelope, integratedAtSeconds }) => composeLeaf(envelope, integratedAtSeconds));
  const checkpoint = { origin: 'memory', size: bytes.length, root: rootOf(bytes.map(hashLeaf)) };
  const archive: AuditArchive = {
    policy: { origin: 'memory', publicKey: '', witnesses: [], quorum: 0 },
    trust: {
      authorities,
      expiresSeconds: START + 365 * DAY,
      expires: { root: 0, targets: 0, snapshot: 0, timestamp: 0 },
      versions: { root: 1, targets: 1, snapshot: 1, timestamp: 1 },
      files: new Map(),
    },
    note: Buffer.alloc(0),
    opened: { checkpoint, cosignatures: [], witnessed: true },
    incidents: [],
    leaf: (index) => bytes[index]!,
    leaves: () => dated,
    annexes,
  };
  return new AuditRegister(archive, [{ ...parsePack(packBytes), bytes: packBytes }]);
}

/** Audits a register of test/register; annexes with these digests are not at hand. */
export function auditInMemory(
  { leaves, annexes }: TestRegister,
  hidden: ReadonlySet<string> = new Set(),
): AuditRegister {
  const read = (digest: string) => (hidden.has(digest) ? undefined : annexes.get(digest));
  return auditMemory({ authorities: JSON.stringify(authoritiesFile), leaves, annexes: { read } });
}
