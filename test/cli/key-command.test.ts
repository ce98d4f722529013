import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { publicKeyOf, readPrivateKey } from '../../src/register/key.ts';
import { run, runJson } from './run.ts';

const folder = mkdtempSync(join(tmpdir(), 'warta-key-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('warta key', () => {
  it('makes a key for its owner alone and prints the public half', async () => {
    const file = join(folder, 'officer.pem');
    const { exitCode, out } = await run('key', 'new', '--out', file);
    expect(exitCode).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const publicKey = publicKeyOf(readPrivateKey(file));
    expect(out).toContain(publicKey);
    expect(out).not.toContain('PRIVATE');
    expect(await run('key', 'show', file)).toMatchObject({ exitCode: 0, out: publicKey });
    expect(await runJson('key', 'show', file)).toEqual({ file, publicKey });
  });

  it('never overwrites a file', async () => {
    const file = join(folder, 'kept.pem');
    const { publicKey } = await runJson('key', 'new', '--out', file);
    const before = readFileSync(file);
    const again = await run('key', 'new', '--out', file);
    expect(again).toMatchObject({ exitCode: 1, error: 'key-exists', out: '' });
    expect(again.message).toContain('another name');
    expect(readFileSync(file).equals(before)).toBe(true);
    expect(publicKeyOf(readPrivateKey(file))).toBe(publicKey);
  });

  it('refuses to read a key that others can read', async () => {
    const file = join(folder, 'open.pem');
    await run('key', 'new', '--out', file);
    const copy = join(folder, 'copy.pem');
    writeFileSync(copy, readFileSync(file), { mode: 0o644 });
    const shown = await run('key', 'show', copy);
    expect(shown).toMatchObject({ exitCode: 1, error: 'key-invalid', out: '' });
    expect(shown.message).toContain('chmod 600');
  });

  it.each([[['new']], [['show']], [['new', '--out']], [['grow']]])(
    'takes %j for a wrong command line',
    async (words) => {
      expect(await run('key', ...words)).toMatchObject({ exitCode: 2 });
    },
  );
});
