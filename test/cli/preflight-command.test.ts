import { join } from 'node:path';
import { Packet } from 'dns2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { Desk, editSample, SAMPLES } from './desk.ts';
import { composeAnswer, startServer } from './dns-server.ts';
import { run, runJson } from './run.ts';

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.clear());

const sample = (name: string) => join(SAMPLES, name);
const preflight = (file: string, ...words: string[]) => run('notice', 'preflight', file, ...words);
const checks = ({ findings }: { findings: { level: string; check: string; entries?: string[] }[] }) =>
  findings.map(({ level, check, entries }) => [level, check, ...(entries ?? [])].join(' '));

/** A list of popular names in which nothing of the samples is. */
const quiet = () => desk.write('popular.txt', 'popular.example\n');

/** Publishes a sample into the register directory. */
async function publish(name: string): Promise<void> {
  const { payload } = await runJson('notice', 'draft', sample(name), '--out', desk.register);
  const out = join(desk.register, 'statements', `${name}.json`);
  const { exitCode } = await run('notice', 'sign', payload, '--key', desk.one, '--key', desk.two, '--out', out);
  expect(exitCode).toBe(0);
}

describe('warta notice preflight', () => {
  it('finds nothing in a good draft', async () => {
    const { exitCode, out } = await preflight(sample('scam-phishing.yaml'), '--popular', quiet());
    expect(exitCode).toBe(0);
    expect(out.split('\n')).toEqual([
      'draft      MCMC/2026/000101, 3 entries',
      'result     not refused',
      'approvals  1',
    ]);
  });

  it('refuses what nodes would, by exit code 1, and says which names', async () => {
    const { exitCode, out } = await preflight(sample('mixed-hosts.yaml'));
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^refuse +protected-name: below the protected name jsdelivr\.net/m);
    expect(out).toMatch(/^ +e0000003 github\.io$/m);
    expect(out).toMatch(/^warn +http-only: .*https: block-host/m);
    expect(out).toMatch(/^ +e0000004 https:\/\/shop\.phishing-kit\.test\/pay\?step=1$/m);
    expect(out).toMatch(/^pages +1: 1 on HTTP alone/m);
    expect(out).toMatch(/^result +refused: 2 findings$/m);
  });

  it('prints JSON', async () => {
    const json = await runJson('notice', 'preflight', sample('mixed-hosts.yaml'), '--popular', quiet());
    expect(json).toMatchObject({ reference: 'MCMC/2026/000104', entries: 4, refused: true, approvalsNeeded: 1 });
    expect(checks(json)).toEqual([
      'refuse protected-name e0000002',
      'refuse public-suffix e0000003',
      'warn http-only e0000004',
    ]);
    expect(json).toMatchObject({ pages: 1, httpOnlyPages: 1, redirects: 0 });
    const closing = editSample('mixed-hosts.yaml', 'names:', 'https: block-host\nnames:');
    const closed = await runJson('notice', 'preflight', desk.write('closed.yaml', closing), '--popular', quiet());
    expect(closed).toMatchObject({ pages: 1, httpOnlyPages: 0 });
    expect(checks(closed)).toContain('warn https-closed e0000004');
  });

  it('needs a list of popular names to know them', async () => {
    const file = desk.write('draft.yaml', editSample('scam-phishing.yaml', 'scam-bank.example', 'popular.example'));
    expect(checks(await runJson('notice', 'preflight', file))).toEqual(['warn popular-unchecked']);
    expect(await preflight(file, '--popular', quiet())).toMatchObject({ exitCode: 1 });
    const overridden = `overrides:\n  - { check: popular-name, officer: officer-one, reason: It is the court's order. }\n`;
    const other = desk.write(
      'overridden.yaml',
      editSample('scam-phishing.yaml', 'scam-bank.example', 'popular.example') + overridden,
    );
    const { exitCode, out } = await preflight(other, '--popular', quiet());
    expect(exitCode).toBe(0);
    expect(out).toMatch(/\(overridden\)$/m);
    expect(out).toMatch(/^approvals +2/m);
    expect(await preflight(file, '--popular', desk.path('none'))).toMatchObject({
      exitCode: 1,
      error: 'config-unreadable',
    });
  });

  it('names each bad name by its place', async () => {
    const file = desk.write(
      'draft.yaml',
      editSample('scam-phishing.yaml', 'scam-bank.example', '"*.scam-bank.example"'),
    );
    const json = await runJson('notice', 'preflight', file);
    expect(json).toMatchObject({ refused: true, entries: 0 });
    expect(json.findings[0]).toMatchObject({
      check: 'invalid-entry',
      message: expect.stringMatching(/^name 1: .*subtree/),
    });
    expect(checks(json)).not.toContain('refuse missing-field');
  });

  it('says all that is missing at once', async () => {
    const file = desk.write('draft.yaml', 'type: notice\nauthority: mcmc\nreference: R/1\n');
    const json = await runJson('notice', 'preflight', file);
    expect(json.findings.length).toBeGreaterThan(8);
    expect(new Set(checks(json))).toEqual(new Set(['refuse missing-field']));
  });

  it('is for notices', async () => {
    const file = desk.write('halt.yaml', 'type: halt\nauthority: mcmc\nreference: R/1\n');
    expect(await preflight(file)).toMatchObject({ exitCode: 1, error: 'usage' });
    expect(await preflight(desk.path('none'))).toMatchObject({ exitCode: 1, error: 'store-failed' });
  });

  it('knows what a register directory has in force', async () => {
    await publish('scam-phishing.yaml');
    const again = await runJson(
      'notice',
      'preflight',
      sample('scam-phishing.yaml'),
      '--popular',
      quiet(),
      '--register',
      desk.register,
    );
    expect(checks(again)).toEqual(['refuse reference-used', 'warn overlap e0000001 e0000002 e0000003']);
    const file = desk.write(
      'other.yaml',
      editSample('gambling-scam.yaml', 'lucky-spin.test', 'sub.invest-now.example'),
    );
    const { out } = await preflight(file, '--popular', quiet(), '--register', desk.register);
    expect(out).toMatch(
      /^warn +overlap: blocked already by notice MCMC\/2026\/000101\n +e0000002 sub\.invest-now\.example$/m,
    );
  });

  it('knows what a mirror has in force', async () => {
    const register = await LogRegister.create(makeFolder());
    try {
      await register.publish({ type: 'notice', reference: 'R/9', names: [{ subtree: 'lucky-spin.example' }] });
      const place = ['--register', register.publicFolder, '--root', register.rootFile, '--cache', makeFolder()];
      const words = ['notice', 'preflight', sample('gambling-scam.yaml'), '--popular', quiet(), ...place];
      expect(checks(await runJson(...words))).toEqual(['warn overlap e0000001']);
      const bare = await preflight(sample('gambling-scam.yaml'), '--register', register.publicFolder);
      expect(bare).toMatchObject({ exitCode: 1, error: 'usage', message: expect.stringContaining('--root') });
    } finally {
      await register.close();
    }
  });

  it('asks a resolver whether the names exist', async () => {
    const server = await startServer();
    server.script = (query) => [composeAnswer(query, { rcode: Packet.RCODE.NXDOMAIN })];
    try {
      const words = ['notice', 'preflight', sample('gambling-scam.yaml'), '--popular', quiet()];
      const json = await runJson(...words, '--resolver', server.address);
      expect(checks(json)).toEqual(['warn dead-name e0000001 e0000002']);
    } finally {
      await server.close();
    }
  });

  it('does not show the names of a sealed draft', async () => {
    const file = desk.write('sealed.yaml', `${editSample('mixed-hosts.yaml')}\nsealed: true\n`);
    const { out } = await preflight(file);
    expect(out).toContain('e0000003');
    expect(out).not.toContain('github.io');
  });
});
