import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DemoRegister, PACK_FILE, PACKAGE_ROOT } from '../../src/cli/demo-register.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { ListKeeper } from '../../src/sync/list-keeper.ts';

/** What sync threads were asked. */
const asked = vi.hoisted(() => [] as { kind: string; background?: boolean }[]);
vi.mock('node:worker_threads', async (original) => {
  const threads = await original<typeof import('node:worker_threads')>();
  class TappedWorker extends threads.Worker {
    override postMessage(...message: Parameters<Worker['postMessage']>): void {
      asked.push(message[0]);
      super.postMessage(...message);
    }
  }
  return { ...threads, Worker: TappedWorker };
});

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

/** Makes a keeper of a register at a time. */
function createKeeper(
  register: DemoRegister,
  nowSeconds: number,
  onTable: (table: SharedArrayBuffer) => void,
  steersPages?: boolean,
) {
  return new ListKeeper({
    steersPages,
    place: { kind: 'directory', directory: register.directory },
    anchorFile: register.authoritiesFile,
    packFile: PACK_FILE,
    mode: 'enforce',
    licensee: 'NSP-1',
    answer: { soaMname: 'a.example', soaRname: 'b.example', operator: 'o', language: 'en' },
    state: join(folder, 'state'),
    intervalSeconds: 3_600,
    nowSeconds: () => nowSeconds,
    onTable,
    onEvent() {},
  });
}

/** Starts a keeper at a time, lets it catch up, stops it; returns the rules it opened with and those it ended with. */
async function run(register: DemoRegister, nowSeconds: number): Promise<{ opened: number; ended: number }> {
  let table: SharedArrayBuffer | undefined;
  const keeper = createKeeper(register, nowSeconds, (next) => {
    table = next;
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

describe('pages', () => {
  it.each([undefined, true])(
    'are counted in the list and its report, with whether they are steered: %s',
    async (steers) => {
      const register = new DemoRegister(folder);
      const source = readFileSync(join(PACKAGE_ROOT, 'policies/samples/mixed-hosts.yaml'), 'utf8');
      const page = "  - { url: 'http://shop.phishing-kit.test/', query: any }\n";
      register.publish('open', source, NOW);
      const other = source
        .replace('MCMC/2026/000104', 'MCMC/2026/000105')
        .replace('names:', 'https: block-host\nnames:');
      register.publish('closed', `${other.trimEnd()}\n${page}`, NOW);
      register.writeAuthorities(NOW);
      asked.splice(0);
      const keeper = createKeeper(register, NOW + 10, () => {}, steers);
      expect(keeper.pages).toEqual({ pages: 0, httpOnlyPages: 0, pagesSteered: steers ?? false });
      await keeper.open();
      await keeper.stop();
      const counts = { pages: 3, httpOnlyPages: 1, pagesSteered: steers ?? false };
      expect(keeper.pages).toEqual(counts);
      expect(JSON.parse(readFileSync(join(folder, 'state/report.json'), 'utf8'))).toMatchObject(counts);
      const applied = asked.filter(({ kind }) => kind === 'applied');
      expect(applied).toEqual([expect.objectContaining({ mode: 'enforce', steersPages: steers ?? false })]);
    },
  );
});

describe('a replay gives way to queries', () => {
  /** Whether each cycle that threads were asked for since the last call was to give way. */
  const takeCycles = () => asked.splice(0).flatMap(({ kind, background }) => (kind === 'cycle' ? [background] : []));

  it('while a saved table serves and nothing was compiled yet: not for the first table, nor for an update', async () => {
    const register = publishRevoked();
    takeCycles();
    await run(register, NOW + 10);
    expect(takeCycles()).toEqual([false, false]);
    const keeper = createKeeper(register, NOW + 20, () => {});
    await keeper.open();
    expect(takeCycles()).toEqual([]);
    await keeper.refresh();
    await keeper.refresh();
    await keeper.stop();
    expect(takeCycles()).toEqual([true, false]);
  });

  it('never on a node that blocks nothing yet because it could not read the register', async () => {
    const register = publishRevoked();
    const authorities = readFileSync(register.authoritiesFile);
    rmSync(register.authoritiesFile);
    takeCycles();
    let table: SharedArrayBuffer | undefined;
    const keeper = createKeeper(register, NOW + 10, (next) => {
      table = next;
    });
    expect(new RuleTable(await keeper.open()).ruleCount).toBe(0);
    writeFileSync(register.authoritiesFile, 'no authorities');
    await keeper.refresh();
    writeFileSync(register.authoritiesFile, authorities);
    await keeper.refresh();
    await keeper.stop();
    expect(new RuleTable(table!).ruleCount).toBe(2);
    const cycles = takeCycles();
    expect(cycles.length).toBeGreaterThan(0);
    expect(cycles).not.toContain(true);
  });
});
