import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { registerKeyCommand } from '../../src/cli/key-command.ts';
import { registerLogCommand } from '../../src/cli/log-command.ts';
import { registerNoticeCommand } from '../../src/cli/notice-command.ts';
import { registerTrustCommand } from '../../src/cli/trust-command.ts';
import { registerWitnessCommand } from '../../src/cli/witness-command.ts';
import { createKey } from '../../src/register/key.ts';
import { formatInstant } from '../../src/register/time.ts';
import { pack, packSha256 } from '../register/fixture.ts';
import { makeFolder } from '../support/folders.ts';
import { findFreePort } from '../support/ports.ts';
import type { RunningProgram } from '../support/running-program.ts';
import { startWarta } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';
import { SAMPLES } from './desk.ts';
import { spawnProgram } from './run.ts';

const ORIGIN = 'register.test/log';
const WITNESS = 'witness.test/w1';
const YEAR_SECONDS = 365 * 86_400;

const folder = makeFolder();
const path = (...names: string[]) => join(folder, ...names);
const config = path('log', 'log.yaml');

/** Runs a command in this process and returns what it printed; a refusal is thrown. */
async function run(...words: string[]): Promise<string> {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void lines.push(String(text)));
  const program = new Command('warta').exitOverride().configureOutput({ writeErr: () => {} });
  const commands = [
    registerKeyCommand,
    registerLogCommand,
    registerNoticeCommand,
    registerTrustCommand,
    registerWitnessCommand,
  ];
  for (const register of commands) register(program);
  try {
    await program.parseAsync(words, { from: 'user' });
    return stripVTControlCharacters(lines.join('\n'));
  } finally {
    log.mockRestore();
  }
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
const runJson = async (...words: string[]): Promise<any> => JSON.parse(await run(...words, '--json'));

/** Runs `warta log` as a process of its own. */
const spawnLog = (...words: string[]) => spawnProgram(['log', ...words]);

let url: string;
let witnessUrl: string;
let publicKeys: Record<string, string>;

/** Makes a key file and returns its public half. */
async function makeKey(name: string): Promise<string> {
  return (await runJson('key', 'new', '--out', path('keys', `${name}.pem`))).publicKey;
}

function composeAuthorities(log: object, witnesses: object[], heartbeatKey: string): string {
  const now = Date.now() / 1000;
  const officer = (id: string, publicKey: string, changes: object = {}) => ({
    id,
    name: id,
    role: 'approving-officer',
    publicKey,
    validFrom: formatInstant(now - YEAR_SECONDS),
    validUntil: formatInstant(now + YEAR_SECONDS),
    ...changes,
  });
  const authority = {
    id: 'mcmc',
    name: 'MCMC',
    categories: pack.categories.map(({ id }) => id),
    instruments: pack.instruments.map(({ id }) => id),
    thresholds: { notice: 2, release: 1 },
    officers: [
      officer('officer-one', publicKeys.one!),
      officer('officer-two', publicKeys.two!),
      officer('heartbeat', heartbeatKey, { may: ['heartbeat'] }),
    ],
  };
  const policyPack = { id: pack.id, sha256: packSha256 };
  return JSON.stringify({ version: 1, policyPack, authorities: [authority], log, witnesses, quorum: 1 });
}

/** The ceremony by which a register comes to be: every part makes its key, key holders sign the trust repository. */
async function holdCeremony(): Promise<void> {
  const witnessPort = await findFreePort();
  witnessUrl = `http://127.0.0.1:${witnessPort}`;
  const port = await findFreePort();
  url = `http://127.0.0.1:${port}`;
  const names = ['one', 'two', 'root-1', 'root-2', 'root-3', 'targets-1', 'targets-2', 'snapshot', 'timestamp'];
  publicKeys = {};
  for (const name of names) publicKeys[name] = await makeKey(name);
  const witness = await runJson(
    ...['witness', 'init', '--key', path('keys', 'witness.pem'), '--name', WITNESS, '--state', path('witness')],
  );
  const made = await runJson(
    ...['log', 'init', '--folder', path('log'), '--origin', ORIGIN, '--authority', 'mcmc'],
    ...['--witness', `${WITNESS}=${witnessUrl}`, '--listen', `127.0.0.1:${port}`],
  );
  const authorities = composeAuthorities(
    made.log,
    [{ name: WITNESS, publicKey: witness.publicKey }],
    made.heartbeatKey,
  );
  writeFileSync(path('authorities.json'), authorities);
  const holders = ['root-1', 'root-2', 'root-3', 'targets-1', 'targets-2', 'snapshot', 'timestamp'];
  await run(
    ...['trust', 'init', '--draft', path('draft'), '--authorities', path('authorities.json')],
    ...holders.flatMap((name) => ['--add', `${name.replace(/-\d/, '')}=${publicKeys[name]}`]),
    ...['--threshold', 'root=2', '--threshold', 'targets=2'],
  );
  for (const role of ['root', 'targets']) {
    for (const holder of [1, 2]) {
      const key = path('keys', `${role}-${holder}.pem`);
      await run('trust', 'sign', path('draft', `1.${role}.json`), '--key', key);
    }
  }
  const tree = ['--tree', path('log', 'public', 'trust')];
  const online = ['snapshot', 'timestamp'].flatMap((role) => ['--online-keys', path('keys', `${role}.pem`)]);
  await run('trust', 'publish', '--draft', path('draft'), ...tree, ...online);
  copyFileSync(path('log', 'public', 'trust', '1.root.json'), path('log', '1.root.json'));
}

function startWitness(): RunningProgram {
  const key = JSON.parse(readFileSync(path('authorities.json'), 'utf8')).log.publicKey;
  const listen = witnessUrl.replace('http://', '');
  return startWarta([
    ...['witness', 'run', '--listen', listen, '--key', path('keys', 'witness.pem'), '--name', WITNESS],
    ...['--state', path('witness'), '--origin', ORIGIN, '--log-key', key],
  ]);
}

async function startLog(): Promise<RunningProgram> {
  const log = startWarta(['log', 'run', '--config', config]);
  await log.waitFor(/serves \d+ statement/);
  return log;
}

/** Drafts a sample and signs it with both keys; returns the envelope's file. */
async function signSample(name: string): Promise<string> {
  const { file, payload } = await runJson('notice', 'draft', join(SAMPLES, name), '--out', path('desk'), '--force');
  const stem = name.replace('.yaml', '.json');
  const keys = ['one', 'two'].flatMap((officer) => ['--key', path('keys', `${officer}.pem`)]);
  await run('notice', 'sign', payload ?? file, ...keys, '--out', path('desk', 'statements', stem), '--force');
  return path('desk', 'statements', stem);
}

/** Drafts the revocation of a notice and signs it with one key. */
async function signRevocation(notice: string): Promise<string> {
  const draft = {
    type: 'revocation',
    authority: 'mcmc',
    reference: 'R/1',
    reasons: { public: 'Wrong.' },
    notice,
    from: 'now',
  };
  writeFileSync(path('revocation.yaml'), JSON.stringify(draft));
  const { file, payload } = await runJson('notice', 'draft', path('revocation.yaml'), '--out', path('desk'));
  const out = path('desk', 'statements', 'revocation.json');
  await run('notice', 'sign', payload ?? file, '--key', path('keys', 'one.pem'), '--out', out);
  return out;
}

const readSize = () => Number(readFileSync(path('log', 'public', 'checkpoint'), 'utf8').split('\n')[1]);

describe('a log from its first key to its first restart', () => {
  let witness: RunningProgram;
  let log: RunningProgram;
  let scam: string;
  let scamId: string;
  beforeAll(async () => {
    await holdCeremony();
    witness = startWitness();
    await witness.waitFor(/listens on/);
    log = await startLog();
    scam = await signSample('scam-phishing.yaml');
  });
  afterAll(async () => {
    await log.stop();
    await witness.stop();
  });

  it('keeps its keys to itself', () => {
    for (const name of ['log.key', 'heartbeat.key']) expect(statSync(path('log', name)).mode & 0o777).toBe(0o600);
    const published = readdirSync(path('log', 'public'), { recursive: true, encoding: 'utf8' });
    expect(published.filter((name) => /key|pem/.test(name))).toEqual([]);
  });

  it('begins with a heartbeat', async () => {
    await waitUntil(
      'the heartbeat is published',
      () => existsSync(path('log', 'public', 'checkpoint')) && readSize() === 1,
    );
  });

  it('takes a signed notice and publishes it, witnessed', async () => {
    const { exitCode, out, err } = await spawnLog('submit', scam, '--to', url);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
    expect(out).toMatch(/^ok {5}.*scam-phishing\.json: leaf 1 of the log at 20/);
    scamId = /[0-9a-f]{64}/.exec(out)![0];
    await waitUntil('it is published', () => readSize() === 2);
    const note = await (await fetch(`${url}/checkpoint`)).text();
    expect(note).toContain(`— ${ORIGIN} `);
    expect(note).toContain(`— ${WITNESS} `);
  });

  it('says so when it has a statement already', async () => {
    const { exitCode, out } = await spawnLog('submit', scam, '--to', url, '--json');
    expect([exitCode, JSON.parse(out)]).toEqual([0, [{ file: scam, known: true, id: scamId }]]);
    expect(readSize()).toBe(2);
  });

  it('tells how it is', async () => {
    const { exitCode, out } = await spawnLog('status', '--config', config);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^log +all well$/m);
    expect(out).toMatch(/^size +2 statements, root [0-9a-f]{64}$/m);
    expect(out).toMatch(/^ +witness\.test\/w1: \d+ s ago$/m);
    expect(out).toMatch(/^sequencer +running$/m);
    const status = await runJson('log', 'status', '--config', config);
    expect(status).toMatchObject({ origin: ORIGIN, size: 2, witnessed: true, quorum: 1, running: true, faults: [] });
    expect(status.witnesses).toEqual([{ name: WITNESS, cosignedAt: expect.stringMatching(/^20.*Z$/) }]);
    expect(status.ageSeconds).toBeLessThan(60);
  });

  it('refuses with the reason, and with exit code 1', async () => {
    const payload = readdirSync(path('desk')).find((name) => name.endsWith('.payload.json'))!;
    const cut = path('desk', 'statements', 'cut.json');
    const { signatures, ...rest } = JSON.parse(readFileSync(scam, 'utf8'));
    const other = await signSample('gambling-scam.yaml');
    writeFileSync(
      cut,
      JSON.stringify({ ...JSON.parse(readFileSync(other, 'utf8')), signatures: signatures.slice(0, 1), ...rest }),
    );
    const attempts: [string[], string][] = [
      [[path('desk', payload)], 'statement-unsigned'],
      [[other, '--annexes', path('keys')], 'annex-missing'],
    ];
    for (const [words, code] of attempts) {
      const { exitCode, err } = await spawnLog('submit', ...words, '--to', url);
      expect([exitCode, err]).toEqual([1, expect.stringContaining(`error [${code}]: `)]);
    }
    await expect(run('log', 'submit', scam, '--to', 'http://127.0.0.1:9')).rejects.toMatchObject({
      code: 'socket-failed',
    });
    expect(readSize()).toBe(2);
  });

  it('can be appended to by one process only', async () => {
    await expect(run('log', 'submit', scam, '--config', config)).rejects.toMatchObject({ code: 'log-busy' });
    await expect(run('log', 'run', '--config', config)).rejects.toMatchObject({ code: 'log-busy' });
  });

  it('enrols a node while it runs', async () => {
    const { publicKey } = createKey();
    const words = ['log', 'enrol', '--config', config, '--licensee', 'NSP(I)/1', '--node', 'kl-1', '--key', publicKey];
    expect(await run(...words)).toBe('enrolled NSP(I)/1/kl-1');
    const nodes = await (await fetch(`${url}/nodes.json`)).json();
    expect(nodes).toEqual([{ licensee: 'NSP(I)/1', node: 'kl-1', publicKey }]);
    await expect(run(...words.slice(0, -1), 'nonsense')).rejects.toMatchObject({ code: 'config-invalid' });
  });

  it('never writes down who asked', async () => {
    await fetch(`${url}/nothing`);
    await fetch(`${url}/receipts`, { method: 'POST', body: '{}' });
    await fetch(`${url}/sealed/x`);
    const told = log
      .output()
      .split('\n')
      .filter((line) => line.includes('127.0.0.1') || line.includes('::1'));
    expect(told).toHaveLength(1);
    expect(told[0]).toContain('serves');
  });

  it('survives being killed, and goes on', async () => {
    log.kill('SIGKILL');
    await log.ended;
    const stopped = await spawnLog('status', '--config', config);
    expect([stopped.exitCode, stopped.out]).toEqual([1, expect.stringContaining('no sequencer is running')]);
    log = await startLog();
    expect(readSize()).toBe(2);
    const { exitCode, out } = await spawnLog('submit', await signRevocation(scamId), '--to', url);
    expect([exitCode, out]).toEqual([0, expect.stringContaining('leaf 2 of the log')]);
  });

  it('publishes without its witness, says so, and has the cosignature when the witness is back', async () => {
    await witness.stop();
    const { exitCode } = await spawnLog('submit', await signSample('deepfake-onsa.yaml'), '--to', url);
    expect(exitCode).toBe(0);
    await waitUntil('it is published', () => readSize() === 4);
    const status = await spawnLog('status', '--config', config);
    expect([status.exitCode, status.out]).toEqual([1, expect.stringContaining('0 of 1 witnesses cosigned')]);
    expect(log.output()).toContain('witness-failed');
    witness = startWitness();
    await waitUntil(
      'it is cosigned',
      async () => (await runJson('log', 'status', '--config', config)).witnessed,
      60_000,
    );
  });

  it('ends within two seconds, and can then be appended to directly', async () => {
    const asked = performance.now();
    await log.stop();
    expect(performance.now() - asked).toBeLessThan(2000);
    const size = readSize();
    const outcome = await runJson('log', 'submit', await signSample('gambling-scam.yaml'), '--config', config);
    expect(outcome).toMatchObject([{ known: false, index: size }]);
    expect(readSize()).toBe(size + 1);
  });
});

describe('log commands', () => {
  it('never make a log where one is', async () => {
    const words = ['log', 'init', '--folder', path('log'), '--origin', ORIGIN, '--authority', 'mcmc'];
    await expect(run(...words)).rejects.toMatchObject({ code: 'key-exists' });
  });

  it('tell the operator what comes next', async () => {
    const text = await run(
      'log',
      'init',
      '--folder',
      path('second'),
      '--origin',
      'x.example/log',
      '--authority',
      'mcmc',
    );
    expect(text).toMatch(/"log": \{"origin":"x\.example\/log","publicKey":"[A-Za-z0-9+/]{43}="\}/);
    expect(text).toContain('warta log run --config');
    expect(readFileSync(path('second', 'log.yaml'), 'utf8')).toContain('origin: "x.example/log"');
  });

  it.each([
    ['nothing to submit to', ['submit', 'a.json']],
    ['two places to submit to', ['submit', 'a.json', '--to', 'http://x/', '--config', 'y']],
    ['a witness without an address', ['init', '--folder', 'x', '--origin', 'y', '--authority', 'z', '--witness', 'w1']],
    ['an address that is none', ['init', '--folder', 'x', '--origin', 'y', '--authority', 'z', '--listen', 'nowhere']],
  ])('refuse %s as a wrong command line', async (_case, words) => {
    await expect(run('log', ...words)).rejects.toBeInstanceOf(CommanderError);
  });

  it.each([
    ['no file', undefined, 'config-unreadable'],
    ['no YAML', '{', 'config-invalid'],
    ['an unknown key', 'origin: x\npolicyPack: y\nextra: 1\n', 'config-invalid'],
    ['an origin with a blank', 'origin: "a b"\npolicyPack: y\n', 'config-invalid'],
    ['no key', 'origin: a/b\npolicyPack: y\n', 'key-invalid'],
  ])('say what is wrong with a configuration: %s', async (_case, text, code) => {
    const file = path('wrong.yaml');
    if (text !== undefined) writeFileSync(file, text);
    const refusal = run('log', 'run', '--config', text === undefined ? path('absent.yaml') : file);
    await expect(refusal).rejects.toBeInstanceOf(WartaError);
    await expect(refusal).rejects.toMatchObject({ code });
  });
});
