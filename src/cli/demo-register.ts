import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeDurably } from '../base/durable-file.ts';
import { composeDraft, type Draft } from '../register/draft.ts';
import { type Signer, signEnvelope } from '../register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { parsePack } from '../register/pack.ts';
import { formatInstant } from '../register/time.ts';
import { ANNEXES_FOLDER, STATEMENTS_FOLDER } from '../sync/directory-source.ts';

/** Root of the package: where policies/ is. */
export const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const PACK_FILE = join(PACKAGE_ROOT, 'policies/my-cma1998.yaml');

/** The authority of the demo, in whose name everything is signed. */
export const DEMO_AUTHORITY = 'mcmc';

/** The people of the demo's authority. Their keys lie side by side, which real ones never do. */
const OFFICERS = {
  'officer-one': 'approving-officer',
  'officer-two': 'approving-officer',
  'case-officer': 'case-officer',
  reviewer: 'appeals-reviewer',
} as const;

/** An officer of the demo. */
export type DemoOfficer = keyof typeof OFFICERS;

/** Who signs the samples. */
const SIGNERS: readonly DemoOfficer[] = ['officer-one', 'officer-two'];
const VALID_DAYS = 5 * 365;
const DAY_SECONDS = 86_400;

/** What authorities.json says besides the officers when the register is on a log. */
export interface LogTerms {
  log: { origin: string; publicKey: string };
  witnesses: readonly { name: string; publicKey: string }[];
  quorum: number;
  /** Public key of the officer who signs heartbeats and nothing else. */
  heartbeatKey: string;
}

/** Reads a key file, or makes it when it is not there. */
export function keepKey(file: string) {
  if (!existsSync(file)) writePrivateKey(file, createKey().privatePem);
  return readPrivateKey(file);
}

/** The officers of the demo. */
export class DemoOfficers {
  readonly #folder: string;

  /** Makes their keys in `folder` unless they are there. */
  constructor(folder: string) {
    this.#folder = folder;
    for (const id of Object.keys(OFFICERS)) this.signerOf(id as DemoOfficer);
  }

  /** Returns an officer's key, ready to sign with. */
  signerOf(id: DemoOfficer): Signer {
    return { keyId: id, privateKey: keepKey(join(this.#folder, `${id}.pem`)) };
  }

  /** Completes a draft and signs it with both keys. */
  sign(draftSource: string, nowSeconds: number): Draft & { envelope: Buffer } {
    const draft = composeDraft(draftSource, { nowSeconds, random: (sizeBytes) => randomBytes(sizeBytes) });
    return {
      ...draft,
      envelope: signEnvelope(
        draft.payload,
        SIGNERS.map((id) => this.signerOf(id)),
      ),
    };
  }

  /** Composes authorities.json: one authority with both officers, for every category and instrument of the pack. */
  composeAuthorities(nowSeconds: number, { heartbeatKey, ...log }: Partial<LogTerms> = {}): string {
    const { pack, sha256 } = parsePack(readFileSync(PACK_FILE));
    const composeOfficer = (id: string, role: string, publicKey: string) => ({
      id,
      name: `Demo ${id}`,
      role,
      publicKey,
      validFrom: formatInstant(nowSeconds - DAY_SECONDS),
      validUntil: formatInstant(nowSeconds + VALID_DAYS * DAY_SECONDS),
    });
    const officers = Object.entries(OFFICERS).map(([id, role]) =>
      composeOfficer(id, role, publicKeyOf(this.signerOf(id as DemoOfficer).privateKey)),
    );
    const signsOnlyHeartbeats = { may: ['heartbeat'] };
    const heartbeat = heartbeatKey && {
      ...composeOfficer('heartbeat', 'approving-officer', heartbeatKey),
      ...signsOnlyHeartbeats,
    };
    const authority = {
      id: DEMO_AUTHORITY,
      name: 'MCMC (demo keys, no authority)',
      categories: pack.categories.map((category) => category.id),
      instruments: pack.instruments.map((instrument) => instrument.id),
      thresholds: { notice: 2, release: 1 },
      officers: heartbeat ? [...officers, heartbeat] : officers,
    };
    const file = { version: 1, policyPack: { id: pack.id, sha256 }, authorities: [authority], ...log };
    return `${JSON.stringify(file, null, 2)}\n`;
  }
}

/** A register directory with keys, authorities and signed statements of its own, for benches and laboratories. */
export class DemoRegister {
  readonly directory: string;
  readonly authoritiesFile: string;
  readonly #officers: DemoOfficers;

  /** Makes the officers' keys in `folder/keys` unless they are there. */
  constructor(folder: string) {
    this.directory = join(folder, 'register');
    this.authoritiesFile = join(folder, 'authorities.json');
    this.#officers = new DemoOfficers(join(folder, 'keys'));
  }

  /** Completes a draft, signs it with both keys and puts it into the register as `statements/<name>.json`. */
  publish(name: string, draftSource: string, nowSeconds: number): void {
    const { annex, envelope } = this.#officers.sign(draftSource, nowSeconds);
    if (annex) writeDurably(join(this.directory, ANNEXES_FOLDER, `${annex.digest}.jsonl`), annex.bytes);
    writeDurably(join(this.directory, STATEMENTS_FOLDER, `${name}.json`), envelope);
  }

  /** Writes authorities.json. */
  writeAuthorities(nowSeconds: number): void {
    writeDurably(this.authoritiesFile, this.#officers.composeAuthorities(nowSeconds));
  }
}
