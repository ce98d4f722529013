import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { writeLogConfig } from '../support/control-files.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { findFreePort } from '../support/ports.ts';
import { startWarta } from '../support/test-node.ts';
import { spawnProgram } from './run.ts';

const folder = makeFolder();
const config = join(folder, 'control.yaml');

const run = (...words: string[]) => spawnProgram(['control', ...words]);

/** Runs a command that must succeed, and returns what it printed as JSON. */
async function runJson(...words: string[]) {
  const { exitCode, out, err } = await run(...words, '--json');
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
  return JSON.parse(out);
}

beforeAll(async () => {
  const register = await LogRegister.create(folder, { witnesses: 0, quorum: 0 });
  await register.close();
  writeLogConfig(register, folder);
});

it('makes a configuration beside a log, and nothing where there is none or one already', async () => {
  expect(await run('init', '--folder', makeFolder())).toMatchObject({
    exitCode: 1,
    err: expect.stringMatching(/log init/),
  });
  const made = await runJson('init', '--folder', folder);
  expect(made.config).toBe(config);
  expect(statSync(join(folder, 'webhook.key')).mode & 0o777).toBe(0o600);
  expect(await run('init', '--folder', folder)).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('key-exists'),
  });
});

it('enrols nodes itself from then on', async () => {
  const words = ['--config', join(folder, 'log.yaml'), '--licensee', 'NSP-1', '--node', 'n', '--key', 'x'];
  expect(await spawnProgram(['log', 'enrol', ...words])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('warta resolver enrol'),
  });
});

it('makes the first administrator once, serves, backs up and restores', async () => {
  const { token } = await runJson('admin', '--config', config, '--id', 'jane.doe', '--name', 'Jane Doe');
  const again = await run('admin', '--config', config, '--id', 'mallory', '--name', 'Mallory');
  expect(again).toMatchObject({ exitCode: 1, err: expect.stringContaining('[conflict]') });

  const port = await findFreePort();
  appendFileSync(config, `metrics: { listen: 127.0.0.1:${port} }\n`);
  const program = startWarta(['control', 'run', '--config', config]);
  const [, url] = await program.waitFor(/with the sequencer, on (http:[^"\s]+)/);
  const me = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${token}` } });
  expect(await me.json()).toMatchObject({ id: 'jane.doe', roles: ['admin'] });
  expect(program.output()).not.toContain(token);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  expect(metrics).toContain('\nwarta_sequencer 1\n');

  const file = join(folder, 'backup.warta');
  const saved = await runJson('backup', '--config', config, file);
  await program.stop();
  expect(readFileSync(file).includes(token)).toBe(false);

  const other = join(makeFolder(), 'control.yaml');
  writeFileSync(other, stringify({ log: join(folder, 'log.yaml'), database: 'sqlite:other.db' }));
  expect(await runJson('restore', '--config', other, file)).toEqual(saved);
  expect(await run('restore', '--config', other, file)).toMatchObject({ exitCode: 1 });
  expect(existsSync(join(folder, 'control.db'))).toBe(true);
});

it('says what is wrong with a configuration, and never the password in it', async () => {
  writeFileSync(join(folder, 'bad.yaml'), 'listen: everywhere\n');
  expect(await run('run', '--config', join(folder, 'bad.yaml'))).toMatchObject({
    exitCode: 1,
    err: expect.stringMatching(/config-invalid.*listen/),
  });
  writeFileSync(join(folder, 'pg.yaml'), 'database: postgresql://warta:hidden-word@127.0.0.1:9/none\n');
  const { exitCode, out, err } = await run('run', '--config', join(folder, 'pg.yaml'));
  expect(exitCode).toBe(1);
  expect(out + err).toContain('store-failed');
  expect(out + err).not.toContain('hidden-word');
});
