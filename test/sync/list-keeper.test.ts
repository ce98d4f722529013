import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DemoRegister, PACK_FILE, PACKAGE_ROOT } from '../../src/cli/demo-register.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { ListKeeper } from '../../src/sync/list-keeper.ts';

const NOW = 1_795_000_000;
const HOUR = 3_600;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'warta-keeper-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Publishes a notice, and a revocation of it that is signed an hour ahead. */
function publishRevoked(): DemoRegister {
  const register = new DemoRegister(folder);
  register.publish('scam', readFileSync(join(PACKAGE_ROOT, 'policies/samples/gambling-scam.yaml'), 'utf8'), NOW);
  register.writeAuthorities(NOW);
  const envelope = JSON.parse(readFileSync(join(register.directory, 'statements/scam.json'), 'utf8'));
  const notice = createHash('sha256').update(Buffer.from(envelope.payload, 'base64')).digest('hex');
  const common = { authority: 'mcmc', reference: 'R/1', reasons: { public: 'Wrong.' } };
  register.publish('revoke', JSON.stringify({ type: 'revocation', ...common, notice, from: 'now' }), NOW + HOUR);
  return register;
}

/** Starts a keeper at a time, lets it catch up, stops it; returns the rules it opened with and those it ended with. */
async function run(register: DemoRegister, nowSeconds: number): Promise<{ opened: number; ended: number }> {
  let table: SharedArrayBuffer | undefined;
  const keeper = new ListKeeper({
    place: { kind: 'directory', directory: register.directory },
    anchorFile: register.authoritiesFile,
    packFile: PACK_FILE,
    mode: 'enforce',
    licensee: 'NSP-1',
    answer: { soaMname: 'a.example', soaRname: 'b.example', operator: 'o', language: 'en' },
    state: join(folder, 'state'),
    intervalSeconds: 3_600,
    nowSeconds: () => nowSeconds,
    onTable: (next) => {
      table = next;
    },
    onEvent() {},
  });
  const opened = await keeper.open();
  await keeper.refresh();
  await keeper.stop();
  return { opened: new RuleTable(opened).ruleCount, ended: new RuleTable(table ?? opened).ruleCount };
}

describe('the saved table', () => {
  it('is replaced by what the same statements come to later, in use and on disk', async () => {
    const register = publishRevoked();
    expect(await run(register, NOW + 10)).toEqual({ opened: 2, ended: 2 });
    expect(await run(register, NOW + 2 * HOUR)).toEqual({ opened: 2, ended: 0 });
    expect(await run(register, NOW + 2 * HOUR)).toEqual({ opened: 0, ended: 0 });
  });
});
