import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../../src/base/durable-file.ts';
import { ANNEXES_FOLDER, STATEMENTS_FOLDER } from '../../src/sync/directory-source.ts';
import { AUTHORITIES, type SignedStatement, type StatementDraft, signStatement } from './test-authority.ts';

/** A register in a folder, with its authorities.json beside it. */
export class RegisterFolder {
  readonly directory: string;
  readonly authoritiesFile: string;

  constructor(folder: string) {
    this.directory = join(folder, 'register');
    this.authoritiesFile = join(folder, 'authorities.json');
    mkdirSync(join(this.directory, STATEMENTS_FOLDER), { recursive: true });
    mkdirSync(join(this.directory, ANNEXES_FOLDER), { recursive: true });
    writeFileSync(this.authoritiesFile, AUTHORITIES);
  }

  /** Signs a statement now and publishes it, annex first. */
  publish(name: string, draft: StatementDraft): SignedStatement {
    const signed = signStatement(draft, Math.floor(Date.now() / 1000));
    const { annex, envelope } = signed;
    if (annex) writeDurably(join(this.directory, ANNEXES_FOLDER, `${annex.digest}.jsonl`), annex.bytes);
    writeDurably(this.pathOf(name), envelope);
    return signed;
  }

  /** Publishes a notice over these names. */
  notice(name: string, names: readonly unknown[], changes: object = {}): SignedStatement {
    return this.publish(name, { type: 'notice', names, ...changes });
  }

  withdraw(name: string): void {
    rmSync(this.pathOf(name));
  }

  pathOf(name: string): string {
    return join(this.directory, STATEMENTS_FOLDER, `${name}.json`);
  }
}
