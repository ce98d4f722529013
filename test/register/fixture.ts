import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { composeAnnex, type EntryDraft } from '../../src/register/annex.ts';
import { type AuthoritiesFile, parseAuthorities } from '../../src/register/authorities.ts';
import { composeCanonical, hashHex } from '../../src/register/canonical.ts';
import type { RuleSink } from '../../src/register/compile.ts';
import { type Signer, signEnvelope } from '../../src/register/envelope.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { parsePack } from '../../src/register/pack.ts';
import { readRegister } from '../../src/register/read-register.ts';
import type { Statement } from '../../src/register/statement.ts';
import { formatInstant } from '../../src/register/time.ts';
import type { AnnexSource, StatementLeaf } from '../../src/register/verify-statement.ts';
import type { RuleNotice } from '../../src/rules/rule-table.ts';

/** The time most tests run at: 2026-03-01T09:00:00Z. */
export const NOW = Date.UTC(2026, 2, 1, 9) / 1000;
export const DAY = 86_400;

/** A licensee every notice to all reaches. */
export const LICENSEE = 'NSP(I)/2021/001';

export const { pack, sha256: packSha256 } = parsePack(
  readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url)),
);

/** The time `days` after `NOW`. */
export function day(days: number): string {
  return formatInstant(NOW + days * DAY);
}

/** A key that is the same in every run, from a seed. */
function seededKey(seed: string): KeyObject {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const raw = createHash('sha256').update(seed).digest();
  return createPrivateKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'pkcs8' });
}

/** Every officer of the tests by id: `one` and `two` approve, `drafter` drafts, `reviewer` reviews. */
export const keys = Object.fromEntries(
  [
    'one',
    'two',
    'drafter',
    'reviewer',
    'expired',
    'future',
    'revoked',
    'narrow',
    'wide',
    'twin',
    'other-one',
    'other-two',
  ].map((id) => [id, seededKey(id)]),
);

/** An officer of authorities.json. */
export function officer(id: string, role: string, changes: Record<string, unknown> = {}) {
  const publicKey = publicKeyOf(keys[id]);
  return { id, name: `Officer ${id}`, role, publicKey, validFrom: day(-365), validUntil: day(365), ...changes };
}

const all = {
  categories: pack.categories.map(({ id }) => id),
  instruments: pack.instruments.map(({ id }) => id),
  thresholds: { notice: 2, release: 1 },
};

/** authorities.json of the tests; `other` is a second authority with a narrow remit. */
export const authoritiesFile = {
  version: 1,
  policyPack: { id: 'my-cma1998', sha256: packSha256 },
  authorities: [
    {
      id: 'mcmc',
      name: 'Malaysian Communications and Multimedia Commission',
      ...all,
      officers: [
        officer('one', 'approving-officer'),
        officer('two', 'approving-officer'),
        officer('drafter', 'case-officer'),
        officer('reviewer', 'appeals-reviewer'),
        officer('expired', 'approving-officer', { validUntil: day(-1) }),
        officer('future', 'approving-officer', { validFrom: day(1) }),
        officer('revoked', 'approving-officer', { revokedAt: day(-1) }),
        officer('narrow', 'approving-officer', { may: ['heartbeat'] }),
        officer('wide', 'appeals-reviewer', { may: ['notice', 'stay'] }),
        officer('twin', 'approving-officer', { publicKey: publicKeyOf(keys.one) }),
      ],
    },
    {
      id: 'other',
      name: 'Another authority',
      categories: ['drugs'],
      instruments: ['cma-263'],
      scopes: ['exact'],
      thresholds: { notice: 2, release: 1 },
      officers: [officer('other-one', 'approving-officer'), officer('other-two', 'approving-officer')],
    },
    {
      id: 'tribunal',
      name: 'A tribunal that may only release',
      categories: [],
      instruments: [],
      mayRelease: ['mcmc'],
      thresholds: { notice: 2, release: 1 },
      officers: [officer('other-one', 'approving-officer')],
    },
  ],
} as unknown as AuthoritiesFile;

export const authorities = parseAuthorities(JSON.stringify(authoritiesFile), packSha256);

/** Bytes that differ from call to call and are the same in every run. */
export function createRandom(): (sizeBytes: number) => Uint8Array {
  let calls = 0;
  return (sizeBytes) => createHash('shake256', { outputLength: sizeBytes }).update(String(calls++)).digest();
}

/** The fields every statement of the tests has. */
export function common(reference: string, signedAt = day(0), authority = 'mcmc') {
  return { version: 1 as const, authority, reference, signedAt, reasons: { public: 'A test.' } };
}

/** A register in memory, built statement by statement. */
export class TestRegister implements AnnexSource {
  readonly leaves: StatementLeaf[] = [];
  readonly annexes = new Map<string, Uint8Array>();
  readonly #random = createRandom();

  read(digest: string): Uint8Array | undefined {
    return this.annexes.get(digest);
  }

  /** Adds a statement signed by these officers and returns its id. */
  add(statement: object, signers: readonly string[] = ['one', 'two'], integratedAtSeconds?: number): string {
    const payload = composeCanonical(statement);
    const name = `${this.leaves.length}-${(statement as Statement).type}`;
    this.leaves.push({ name, envelope: signEnvelope(payload, signers.map(signerOf)), integratedAtSeconds });
    return hashHex(payload);
  }

  /** Adds a notice over these entries and returns its id. */
  notice(entries: readonly (string | EntryDraft)[], changes: object = {}, signers?: readonly string[]): string {
    return this.add(this.compose(entries, changes), signers);
  }

  /** Composes a notice and keeps its annex. */
  compose(entries: readonly (string | EntryDraft)[], changes: object = {}) {
    const drafts = entries.map((entry) => (typeof entry === 'string' ? subtree(entry) : entry));
    const annex = composeAnnex(drafts, this.#random);
    this.annexes.set(annex.digest, annex.bytes);
    return composeNotice({
      annex: { digest: annex.digest, entries: annex.entries, sizeBytes: annex.bytes.length, sealed: false },
      ...changes,
    });
  }

  /** Reads the register at a time for a licensee. */
  readAt(nowSeconds = NOW, licensee = LICENSEE) {
    return readRegister(this.leaves, this, { authorities, pack, licensee, nowSeconds });
  }
}

/** A drafted subtree entry. */
export function subtree(raw: string, changes: Partial<EntryDraft> = {}): EntryDraft {
  return { raw, scope: 'subtree', ...changes };
}

/** The signer of an officer's id. */
export function signerOf(id: string): Signer {
  return { keyId: `mcmc/${id}`, privateKey: keys[id] };
}

/** A notice that is in force for 30 days from `NOW`. */
export function composeNotice(changes: object) {
  return {
    type: 'notice' as const,
    ...common('MCMC/2026/000001'),
    instrument: 'cma-263',
    category: 'online-scams',
    tags: [] as string[],
    offence: 'CMA 1998 s.233(1)(a)',
    evidence: [] as string[],
    recipients: { all: true },
    territory: 'Malaysia',
    dates: { made: day(-1), approved: day(0), effectiveFrom: day(0) } as Record<string, string>,
    term: { expires: day(30) } as Record<string, unknown>,
    proportionality: {
      alternatives: 'Takedown.',
      sourceTakedown: { asked: true, detail: 'No answer.' },
      ownerWarned: { warned: false, detail: 'Unknown.' },
      coTenants: 'None.',
      balance: 'Narrow.',
    },
    redress: {
      body: 'Appeals desk',
      contacts: ['mailto:appeals@mcmc.example', 'tel:+60-3-5550-0100'],
      address: 'Cyberjaya',
      withinDays: 30,
    },
    languages: ['ms', 'en'],
    draftedBy: 'drafter',
    approvals: [{ officer: 'one', role: 'approving-officer', at: day(0) }],
    overrides: [] as object[],
    ...changes,
  };
}

/** A rule as the compiler gave it to the builder. */
export interface RecordedRule {
  name: string;
  trigger: string;
  action: string;
  notBefore: number;
  notAfter: number;
  notice: number;
  entry: number;
}

/** A builder that only writes down what it is given. */
export function createRecorder(): RuleSink & {
  rules: RecordedRule[];
  notices: RuleNotice[];
  pages: { entry: number; url: string; anyQuery: boolean }[];
} {
  const rules: RecordedRule[] = [];
  const notices: RuleNotice[] = [];
  const pages: { entry: number; url: string; anyQuery: boolean }[] = [];
  return {
    rules,
    notices,
    pages,
    addPage: (entry, url, anyQuery) => void pages.push({ entry, url, anyQuery }),
    addNotice: (notice) => notices.push(notice) - 1,
    addRule: (name, trigger, action, notBefore, notAfter, notice, entry) => {
      rules.push({ name, trigger, action, notBefore, notAfter, notice, entry });
    },
  };
}
