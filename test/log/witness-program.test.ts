import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command } from 'commander';
import { describe, expect, it, vi } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { registerWitnessCommand } from '../../src/cli/witness-command.ts';
import { composeCheckpoint, openCheckpoint } from '../../src/log/checkpoint.ts';
import { composeNote, composeVerifierKey, createSigner, parseVerifierKey } from '../../src/log/note.ts';
import { composeRequest } from '../../src/log/witness.ts';
import { makeFolder } from '../support/folders.ts';
import { type RunningProgram, startProgram } from '../support/running-program.ts';
import { makeLeaves, naiveProof, naiveRoot } from './oracle.ts';
import { LOG_KEY, ORIGIN, POLICY, publicKeyOf } from './test-log.ts';

const PROGRAM = join(import.meta.dirname, '../../src/cli/warta.ts');
const NAME = 'witness.example/cli';
const LOG_VKEY = composeVerifierKey({ name: ORIGIN, type: 'ed25519', publicKey: publicKeyOf(LOG_KEY) });

const warta = (...words: string[]) => startProgram(process.execPath, [PROGRAM, ...words]);

/** Runs a command in this process; returns what it printed, or the code of its refusal. */
async function run(...words: string[]): Promise<string> {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void lines.push(String(text)));
  const program = new Command('warta').exitOverride();
  registerWitnessCommand(program);
  try {
    await program.parseAsync(words, { from: 'user' });
    return stripVTControlCharacters(lines.join('\n'));
  } catch (error) {
    if (error instanceof WartaError) return error.code;
    throw error;
  } finally {
    log.mockRestore();
  }
}

/** Where a witness keeps its things. */
class Site {
  readonly folder = makeFolder();
  readonly key = join(this.folder, 'witness.pem');
  readonly state = join(this.folder, 'state');
  readonly common = ['--key', this.key, '--name', NAME, '--state', this.state];

  async init(): Promise<{ publicKey: string; verifierKey: string }> {
    return JSON.parse(await run('witness', 'init', ...this.common, '--json'));
  }

  async start(...more: string[]): Promise<{ program: RunningProgram; url: string }> {
    const program = warta('witness', '--listen', '127.0.0.1:0', ...this.common, '--log-key', LOG_VKEY, ...more);
    const [, url] = await program.waitFor(/listens on (http:\/\/[^ ]+)/);
    return { program, url: url! };
  }
}

const leaves = makeLeaves(120);
/** Another history, the same up to one leaf. */
const forked = [leaves[0]!, ...makeLeaves(119, 'forked')];

function requestOf(oldSize: number, size: number, history: readonly Buffer[]): Buffer {
  const some = history.slice(0, size);
  const body = composeCheckpoint({ origin: ORIGIN, size, root: naiveRoot(some) });
  const proof = oldSize > 0 && oldSize < size ? naiveProof(oldSize, some) : [];
  return composeRequest(oldSize, proof, composeNote(body, [createSigner(ORIGIN, LOG_KEY).sign(body)]));
}

async function post(url: string, body: Uint8Array): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: Buffer.from(body) });
  return { status: answer.status, text: await answer.text() };
}

describe('warta witness init', () => {
  it('makes a key for its owner alone, and prints what the others need', async () => {
    const site = new Site();
    const { publicKey, verifierKey } = await site.init();
    expect(parseVerifierKey(verifierKey)).toEqual({ name: NAME, type: 'cosignature', publicKey });
    expect(statSync(site.key).mode & 0o777).toBe(0o600);
    const pem = readFileSync(site.key, 'utf8');
    expect(await run('witness', 'init', ...site.common)).toBe('key-exists');
    expect(await run('witness', 'init', ...site.common, '--key', `${site.key}2`)).toBe('key-exists');
    expect(await run('witness', 'init', ...site.common, '--state', `${site.state}2`)).toBe('key-exists');
    expect(readFileSync(site.key, 'utf8')).toBe(pem);
  });

  it('prints for people too', async () => {
    const output = await run('witness', 'init', ...new Site().common);
    expect(output).toMatch(/verifier key\s+witness\.example\/cli\+[0-9a-f]{8}\+B/);
  });

  it.each(['two words', 'plus+sign', ''])('refuses the name %j and makes nothing', async (name) => {
    const site = new Site();
    const words = ['--key', site.key, '--state', site.state, '--name', name];
    expect(await run('witness', 'init', ...words)).toBe('key-invalid');
    expect(existsSync(site.key)).toBe(false);
  });
});

describe('warta witness', () => {
  it('cosigns for the log whose key it was given, until it is told to stop', async () => {
    const site = new Site();
    const { publicKey } = await site.init();
    const { program, url } = await site.start();
    const request = requestOf(0, 5, leaves);
    const { status, text } = await post(url, request);
    expect(status).toBe(200);
    const note = request.subarray(request.indexOf('\n\n') + 2);
    const policy = { ...POLICY, witnesses: [{ name: NAME, publicKey }] };
    expect(openCheckpoint(Buffer.concat([note, Buffer.from(text)]), policy).witnessed).toBe(true);
    program.kill('SIGTERM');
    expect(await program.ended).toBe(0);
  });

  it('takes the log as name and bare key too', async () => {
    const site = new Site();
    await site.init();
    const key = ['--log-key', POLICY.publicKey];
    const program = warta('witness', 'run', '--listen', '127.0.0.1:0', ...site.common, ...key, '--origin', ORIGIN);
    await program.waitFor(new RegExp(`listens on .* for ${ORIGIN}`));
    expect(await run('witness', 'run', ...site.common, ...key, '--origin', ORIGIN)).toBe('log-busy');
    await program.stop();
  });

  it.each<[string, string, (site: Site) => string[]]>([
    ['store-failed', 'a state that was never made', (site) => [...site.common, '--log-key', LOG_VKEY]],
    ['usage', 'a bare key without a name', (site) => [...site.common, '--log-key', POLICY.publicKey]],
    ['usage', 'a name that is not that of the key', (s) => [...s.common, '--log-key', LOG_VKEY, '--origin', 'other']],
    ['key-invalid', 'a key that is none', (site) => [...site.common, '--log-key', 'nonsense']],
  ])('refuses with %s: %s', async (code, what, wordsOf) => {
    const site = new Site();
    if (!what.includes('never made')) await site.init();
    else writeFileSync(site.key, LOG_KEY.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    expect(await run('witness', ...wordsOf(site))).toBe(code);
  });

  it("refuses another witness's state", async () => {
    const [site, other] = [new Site(), new Site()];
    await site.init();
    await other.init();
    const words = ['--key', other.key, '--name', NAME, '--state', site.state, '--log-key', LOG_VKEY];
    expect(await run('witness', ...words)).toBe('key-invalid');
  });

  it('killed at once, again and again, under requests for two histories, has cosigned one', async () => {
    const site = new Site();
    await site.init();
    const cosigned: { size: number; isForked: boolean }[] = [];
    let known = 0;
    for (const answersBeforeDeath of [1, 2, 3, 5, 8]) {
      const { program, url } = await site.start();
      let answers = 0;
      const ask = async (size: number, isForked: boolean) => {
        const request = requestOf(known, size, isForked ? forked : leaves);
        const { status, text } = await post(url, request).catch(() => ({ status: 0, text: '' }));
        if (status === 200) cosigned.push({ size, isForked });
        if (status === 200 && ++answers === answersBeforeDeath) program.kill('SIGKILL'); // others are under way
        if (status === 200 || status === 409) known = Math.max(known, status === 200 ? size : Number(text));
      };
      while (answers < answersBeforeDeath) {
        const size = known + 1;
        await Promise.all([ask(size, false), ask(size, true), ask(size + 1, true), ask(size + 2, false)]);
      }
      expect(await program.ended).toBe('SIGKILL');
    }
    expect(cosigned.length).toBeGreaterThanOrEqual(1 + 2 + 3 + 5 + 8);
    expect(new Set(cosigned.filter(({ size }) => size > 1).map(({ isForked }) => isForked)).size).toBe(1);
    // What it cosigned last is still what it goes on from.
    const largest = Math.max(...cosigned.map(({ size }) => size));
    const { program, url } = await site.start();
    const { status, text } = await post(url, requestOf(0, 120, leaves));
    expect(status).toBe(409);
    expect(Number(text)).toBeGreaterThanOrEqual(largest);
    await program.stop();
  });
});
