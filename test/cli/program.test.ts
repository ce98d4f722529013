import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Desk, SAMPLES } from './desk.ts';
import { composeAnswer, startServer } from './dns-server.ts';
import { spawnProgram } from './run.ts';

const ESCAPE = '\u001b';

let desk: Desk;
beforeAll(async () => {
  desk = new Desk();
  mkdirSync(join(desk.register, 'statements'), { recursive: true });
});
afterAll(() => desk.clear());

describe('the program', () => {
  it('drafts, signs and verifies, with plain text in a pipe', async () => {
    const draft = join(SAMPLES, 'scam-phishing.yaml');
    const payload = join(desk.register, 'MCMC-2026-000101.payload.json');
    const envelope = join(desk.register, 'statements', 'MCMC-2026-000101.json');
    const keys = ['--key', desk.one, '--key', desk.two];
    for (const words of [
      ['notice', 'draft', draft, '--out', desk.register],
      ['notice', 'sign', payload, ...keys, '--out', envelope],
      ['notice', 'show', envelope],
      ['notice', 'verify', '--directory', desk.register],
    ]) {
      const { exitCode, out, err } = await spawnProgram(words);
      expect({ words, exitCode, err }).toEqual({ words, exitCode: 0, err: '' });
      expect(out).toContain('MCMC');
      expect(out).not.toContain(ESCAPE);
    }
  });

  it('exits with 1 on a void statement, in colour where colours are wanted', async () => {
    const folder = desk.path('register', 'statements');
    writeFileSync(join(folder, 'junk.json'), '{}');
    const { exitCode, out, err } = await spawnProgram(['notice', 'verify', '--directory', desk.register], true);
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: '' });
    expect(out).toContain(`${ESCAPE}[31mvoid${ESCAPE}[39m  junk.json`);
    expect(out).toContain(`${ESCAPE}[32mok${ESCAPE}[39m`);
  });

  it('prints a refusal with its code on standard error and exits with 1', async () => {
    const { exitCode, out, err } = await spawnProgram(['key', 'new', '--out', desk.one]);
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' });
    expect(err).toContain('error [key-exists]: ');
    expect(err).not.toContain(ESCAPE);
  });

  it('exits with 2 on a wrong command line', async () => {
    const { exitCode, out, err } = await spawnProgram(['notice', 'verify']);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' });
    expect(err).toContain('name files or give --directory');
  });

  it('asks a server and exits', async () => {
    const server = await startServer();
    server.script = (query) => [composeAnswer(query, { rcode: 3, errors: [[16, 'notice X/1']] })];
    const { exitCode, out, err } = await spawnProgram(['query', 'a.example', '--server', server.address]);
    await server.close();
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
    expect(out).toContain('a.example is blocked under notice X/1 (Censored).');
    expect(out).not.toContain(ESCAPE);
  });
});
