import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packSha256 } from '../register/fixture.ts';
import { Desk } from './desk.ts';
import { run, runJson } from './run.ts';

const PACK = join(import.meta.dirname, '../../policies/my-cma1998.yaml');

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.clear());

/** Writes a configuration of the register, with lines added at the top level. */
function writeConfig(changes: Record<string, string> = {}, more = ''): string {
  const register = {
    licensee: 'NSP-1',
    directory: 'register',
    authorities: 'register/authorities.json',
    policyPack: PACK,
    ...changes,
  };
  const lines = Object.entries(register).map(([key, value]) => `  ${key}: ${value}\n`);
  return desk.write('warta.yaml', `state: state\nregister:\n${lines.join('')}${more}`);
}

describe('warta config validate', () => {
  it('prints what a configuration comes to', async () => {
    const file = writeConfig({}, 'resolver: { mode: observe, upstreams: [192.0.2.1:53] }\n');
    const { exitCode, out } = await run('config', 'validate', file);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^listen +127\.0\.0\.1:5300 \(UDP, TCP\)$/m);
    expect(out).toMatch(/^upstreams +192\.0\.2\.1:53$/m);
    expect(out).toMatch(/^mode +observe/m);
    expect(out).toMatch(/^authorities .*\(version 1: mcmc with 2 officers\)$/m);
    expect(out).toMatch(/^policy pack .*\(my-cma1998 version 1\)$/m);
    expect(out).toContain(join(desk.register, 'authorities.json'));
    expect(out).toMatch(/is valid\.$/);
  });

  it('prints it as JSON, without the secret', async () => {
    const secret = '00112233445566778899aabbccddeeff';
    const file = writeConfig({}, `resolver: { cookieSecret: "${secret}" }\n`);
    const report = await runJson('config', 'validate', file);
    expect(report).toMatchObject({ valid: true, config: { state: desk.path('state') } });
    expect(report.config.resolver.cookieSecret).toBe('(set)');
    expect(JSON.stringify(report)).not.toContain(secret);
  });

  it('names every wrong key and what to write', async () => {
    const file = writeConfig({}, 'resolver: { listen: [here], mod: observe }\n');
    const outcome = await run('config', 'validate', file);
    expect(outcome).toMatchObject({ exitCode: 1, error: 'config-invalid', out: '' });
    expect(outcome.message).toContain('resolver.listen.0: write 192.0.2.1:53');
    expect(outcome.message).toContain('resolver.mod: no such key');
    const failed = await run('config', 'validate', file, '--json');
    expect(failed.exitCode).toBe(1);
    const { valid, problems } = JSON.parse(failed.out);
    expect(valid).toBe(false);
    expect(problems.map(({ key }: { key: string }) => key).sort()).toEqual(['resolver.listen.0', 'resolver.mod']);
  });

  it.each<[string, () => string, string, string]>([
    [
      'addresses the schema lets through',
      () => writeConfig({}, 'resolver: { listen: ["1.2.3.4.5:53"] }\n'),
      'resolver.listen.0',
      '192.0.2.1:53',
    ],
    [
      'a port that is none',
      () => writeConfig({}, 'resolver: { upstreams: ["192.0.2.1:99999"] }\n'),
      'resolver.upstreams.0',
      'no address',
    ],
    [
      'a prefix that is none',
      () => writeConfig({}, 'resolver: { allow: ["10.0.0.0/64"] }\n'),
      'resolver.allow',
      '10.0.0.0/64',
    ],
    [
      'authorities that are not there',
      () => writeConfig({ authorities: 'absent.json' }),
      'register.authorities',
      'absent.json',
    ],
    [
      'authorities that are none',
      () => writeConfig({ authorities: desk.write('a.json', '{') }),
      'register.authorities',
      'not JSON',
    ],
    [
      'authorities of another pack',
      () => writeConfig({ authorities: pinOtherPack() }),
      'register.authorities',
      'policyPack.sha256',
    ],
    [
      'a pack that is none',
      () => writeConfig({ policyPack: desk.write('p.yaml', 'id: x') }),
      'register.policyPack',
      'version',
    ],
    ['a register that is not there', () => writeConfig({ directory: 'absent' }), 'register.directory', 'absent'],
    [
      'a folder that is no register',
      () => writeConfig({ directory: bareFolder() }),
      'register.directory',
      'statements',
    ],
  ])('finds %s', async (_case, prepare, key, named) => {
    const file = prepare();
    const outcome = await run('config', 'validate', file);
    expect(outcome).toMatchObject({ exitCode: 1, error: 'config-invalid', out: '' });
    const line = outcome.message.split('\n').find((text) => text.trim().startsWith(`${key}:`));
    expect(line).toContain(named);
    const { valid, problems } = JSON.parse((await run('config', 'validate', file, '--json')).out);
    expect(valid).toBe(false);
    expect(problems.map((problem: { key: string }) => problem.key)).toContain(key);
  });

  it('reports every file at once', async () => {
    const { message } = await run('config', 'validate', writeConfig({ authorities: 'absent.json', directory: 'none' }));
    expect(message.split('\n')).toHaveLength(3);
  });

  it.each([
    ['is not there', () => desk.path('absent.yaml'), 'config-unreadable'],
    ['is no YAML', () => desk.write('w.yaml', 'state: [x'), 'config-invalid'],
  ])('refuses a file that %s', async (_case, file, code) => {
    const path = file();
    expect(await run('config', 'validate', path)).toMatchObject({ exitCode: 1, error: code, out: '' });
    const asJson = await run('config', 'validate', path, '--json');
    expect(asJson.exitCode).toBe(1);
    expect(JSON.parse(asJson.out)).toMatchObject({
      valid: false,
      problems: [{ message: expect.stringContaining('.yaml') }],
    });
  });
});

/** Makes the register's authorities pin a pack that is not the one in use; returns their path. */
function pinOtherPack(): string {
  const file = join(desk.register, 'authorities.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace(packSha256, '0'.repeat(64)));
  return file;
}

/** A folder without statements/. */
function bareFolder(): string {
  mkdirSync(desk.path('bare'));
  return desk.path('bare');
}
