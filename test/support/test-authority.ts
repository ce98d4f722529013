import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Annex } from '../../src/register/annex.ts';
import { hashHex } from '../../src/register/canonical.ts';
import { composeDraft } from '../../src/register/draft.ts';
import { signEnvelope } from '../../src/register/envelope.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { parsePack } from '../../src/register/pack.ts';

export const PACKAGE_ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PACK_FILE = join(PACKAGE_ROOT, 'policies/my-cma1998.yaml');
export const LICENSEE = 'NSP-TEST-1';

const { pack, sha256 } = parsePack(readFileSync(PACK_FILE));

/** Two officers with keys that are the same in every run. */
const OFFICERS = ['one', 'two'].map((id) => ({ id, privateKey: seededKey(id) }));

function seededKey(seed: string): KeyObject {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  return createPrivateKey({
    key: Buffer.concat([prefix, createHash('sha256').update(`warta test officer ${seed}`).digest()]),
    format: 'der',
    type: 'pkcs8',
  });
}

/** authorities.json of the tests: one authority with two officers, for all of the pack, at any time. */
export const AUTHORITIES = JSON.stringify({
  version: 1,
  policyPack: { id: pack.id, sha256 },
  authorities: [
    {
      id: 'mcmc',
      name: 'Test authority',
      categories: pack.categories.map(({ id }) => id),
      instruments: pack.instruments.map(({ id }) => id),
      thresholds: { notice: 2, release: 1 },
      officers: OFFICERS.map(({ id, privateKey }) => ({
        id,
        name: `Officer ${id}`,
        role: 'approving-officer',
        publicKey: publicKeyOf(privateKey),
        validFrom: '2020-01-01T00:00:00Z',
        validUntil: '2090-01-01T00:00:00Z',
      })),
    },
  ],
});

/** A statement as an officer drafts it; what is left out of a notice takes a plain value. */
export type StatementDraft = { type: string } & Record<string, unknown>;

/** A statement signed by both officers. */
export interface SignedStatement {
  /** What later statements name it by. */
  id: string;
  envelope: Buffer;
  annex?: Annex;
}

/** Drafts a statement from friendly values and signs it with both keys, as the offline commands do. */
export function signStatement(draft: StatementDraft, nowSeconds: number): SignedStatement {
  const complete = draft.type === 'notice' ? { ...noticeDefaults(), ...draft } : { ...changeDefaults, ...draft };
  // Salts need not be secret here, and are the same in every run.
  const random = (sizeBytes: number) => createHash('shake256', { outputLength: sizeBytes }).update('salt').digest();
  const { payload, annex } = composeDraft(JSON.stringify(complete), { nowSeconds, random });
  const signers = OFFICERS.map(({ id, privateKey }) => ({ keyId: id, privateKey }));
  return { id: hashHex(payload), envelope: signEnvelope(payload, signers), annex };
}

const changeDefaults = {
  authority: 'mcmc',
  reference: 'TEST/CHANGE',
  reasons: { public: 'A test.' },
};

/** A notice for 30 days from now. */
function noticeDefaults() {
  return {
    authority: 'mcmc',
    reference: 'TEST/1',
    reasons: { public: 'A test.' },
    instrument: 'cma-263',
    category: 'online-scams',
    offence: 'A test of nothing in particular',
    territory: 'Malaysia',
    dates: { made: 'now', approved: 'now', effectiveFrom: 'now' },
    term: { expires: '30d' },
    recipients: { all: true },
    proportionality: {
      alternatives: 'None.',
      sourceTakedown: { asked: true, detail: 'No answer.' },
      ownerWarned: { warned: false, detail: 'Unknown.' },
      coTenants: 'None.',
      balance: 'Narrow.',
    },
    redress: {
      body: 'Appeals desk',
      contacts: ['mailto:appeals@authority.example'],
      address: 'Cyberjaya',
      withinDays: 30,
    },
    languages: ['en'],
    draftedBy: 'drafter',
    approvals: [{ officer: 'one', role: 'approving-officer', at: 'now' }],
  };
}
