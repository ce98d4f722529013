import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKey, writePrivateKey } from '../../src/register/key.ts';
import { formatInstant } from '../../src/register/time.ts';
import { pack, packSha256 } from '../register/fixture.ts';

const YEAR_SECONDS = 365 * 86_400;

/** The samples an officer starts from. */
export const SAMPLES = join(import.meta.dirname, '../../policies/samples');

/** A sample's text, with `from` replaced. */
export function editSample(name: string, from: string | RegExp = '', to = ''): string {
  const text = readFileSync(join(SAMPLES, name), 'utf8');
  const edited = text.replace(from, to);
  if (from !== '' && edited === text) throw new Error(`${name} has no ${from}`);
  return edited;
}

/** A folder with two officers' keys and the authorities that pin them; paths are inside it. */
export class Desk {
  readonly folder = mkdtempSync(join(tmpdir(), 'warta-cli-'));
  readonly one = this.path('one.pem');
  readonly two = this.path('two.pem');
  /** A register directory with nothing but authorities.json in it. */
  readonly register = this.path('register');

  constructor() {
    const officers = [this.one, this.two].map((file, at) => {
      const { privatePem, publicKey } = createKey();
      writePrivateKey(file, privatePem);
      const id = ['officer-one', 'officer-two'][at];
      const now = Date.now() / 1000;
      const validFrom = formatInstant(now - YEAR_SECONDS);
      const validUntil = formatInstant(now + YEAR_SECONDS);
      return { id, name: id, role: 'approving-officer', publicKey, validFrom, validUntil };
    });
    mkdirSync(join(this.register, 'statements'), { recursive: true });
    const authority = {
      id: 'mcmc',
      name: 'MCMC',
      categories: pack.categories.map(({ id }) => id),
      instruments: pack.instruments.map(({ id }) => id),
      thresholds: { notice: 2, release: 1 },
      officers,
    };
    const file = { version: 1, policyPack: { id: pack.id, sha256: packSha256 }, authorities: [authority] };
    writeFileSync(join(this.register, 'authorities.json'), JSON.stringify(file));
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** Writes a file and returns its path. */
  write(name: string, text: string | Uint8Array): string {
    const path = this.path(name);
    writeFileSync(path, text);
    return path;
  }

  clear(): void {
    rmSync(this.folder, { recursive: true });
  }
}
