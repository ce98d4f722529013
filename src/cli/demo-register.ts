import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeDurably } from '../base/durable-file.ts';
import { composeDraft } from '../register/draft.ts';
import { type Signer, signEnvelope } from '../register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { parsePack } from '../register/pack.ts';
import { formatInstant } from '../register/time.ts';
import { ANNEXES_FOLDER, STATEMENTS_FOLDER } from '../sync/directory-source.ts';

/** Root of the package: where policies/ is. */
export const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const PACK_FILE = join(PACKAGE_ROOT, 'policies/my-cma1998.yaml');

/** Two officers whose keys lie side by side, which real ones never do. */
const OFFICERS = ['officer-one', 'officer-two'] as const;
const VALID_DAYS = 5 * 365;
const DAY_SECONDS = 86_400;

/** A register directory with keys, authorities and signed statements of its own, for the demo and for benches. */
export class DemoRegister {
  readonly directory: string;
  readonly authoritiesFile: string;
  readonly #signers: Signer[];

  /** Makes the officers' keys in `folder/keys` unless they are there. */
  constructor(folder: string) {
    this.directory = join(folder, 'register');
    this.authoritiesFile = join(folder, 'authorities.json');
    this.#signers = OFFICERS.map((keyId) => {
      const file = join(folder, 'keys', `${keyId}.pem`);
      if (!existsSync(file)) writePrivateKey(file, createKey().privatePem);
      return { keyId, privateKey: readPrivateKey(file) };
    });
  }

  /** Completes a draft, signs it with both keys and puts it into the register as `statements/<name>.json`. */
  publish(name: string, draftSource: string, nowSeconds: number): void {
    const draft = composeDraft(draftSource, { nowSeconds, random: (sizeBytes) => randomBytes(sizeBytes) });
    if (draft.annex) {
      writeDurably(join(this.directory, ANNEXES_FOLDER, `${draft.annex.digest}.jsonl`), draft.annex.bytes);
    }
    const envelope = signEnvelope(draft.payload, this.#signers);
    writeDurably(join(this.directory, STATEMENTS_FOLDER, `${name}.json`), envelope);
  }

  /** Writes authorities.json: one authority with both officers, for every category and instrument of the pack. */
  writeAuthorities(nowSeconds: number): void {
    const { pack, sha256 } = parsePack(readFileSync(PACK_FILE));
    const officers = this.#signers.map(({ keyId, privateKey }) => ({
      id: keyId,
      name: `Demo ${keyId}`,
      role: 'approving-officer',
      publicKey: publicKeyOf(privateKey),
      validFrom: formatInstant(nowSeconds - DAY_SECONDS),
      validUntil: formatInstant(nowSeconds + VALID_DAYS * DAY_SECONDS),
    }));
    const authority = {
      id: 'mcmc',
      name: 'MCMC (demo keys, no authority)',
      categories: pack.categories.map((category) => category.id),
      instruments: pack.instruments.map((instrument) => instrument.id),
      thresholds: { notice: 2, release: 1 },
      officers,
    };
    const file = { version: 1, policyPack: { id: pack.id, sha256 }, authorities: [authority] };
    writeDurably(this.authoritiesFile, `${JSON.stringify(file, null, 2)}\n`);
  }
}
