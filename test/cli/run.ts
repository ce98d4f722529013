import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError } from 'commander';
import { vi } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { registerConfigCommand } from '../../src/cli/config-command.ts';
import { registerKeyCommand } from '../../src/cli/key-command.ts';
import { registerNoticeCommand } from '../../src/cli/notice-command.ts';
import { registerQueryCommand } from '../../src/cli/query-command.ts';

/** What a command did. */
export interface Outcome {
  /** Exit code as the program gives it: 0, 1 for a refusal, 2 for a wrong command line. */
  readonly exitCode: number;
  /** Standard output without colours. */
  readonly out: string;
  /** The error's code, or the whole text of a wrong command line. */
  readonly error: string;
  /** The error's message. */
  readonly message: string;
}

/** Runs commands in this process, with the exit codes of the program. */
export async function run(...words: string[]): Promise<Outcome> {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void lines.push(String(text)));
  let usage = '';
  const program = new Command('warta').exitOverride().configureOutput({
    writeErr: (text) => {
      usage += text;
    },
  });
  for (const register of [registerConfigCommand, registerKeyCommand, registerNoticeCommand, registerQueryCommand]) {
    register(program);
  }
  const before = process.exitCode;
  process.exitCode = undefined;
  const finish = (exitCode: number, error = '', message = ''): Outcome => ({
    exitCode,
    out: stripVTControlCharacters(lines.join('\n')),
    error,
    message,
  });
  try {
    await program.parseAsync(words, { from: 'user' });
    return finish(Number(process.exitCode ?? 0));
  } catch (error) {
    if (error instanceof CommanderError) return finish(2, usage);
    if (error instanceof WartaError) return finish(1, error.code, error.message);
    throw error;
  } finally {
    process.exitCode = before;
    log.mockRestore();
  }
}

/** Runs commands in this process and parses what they print. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
export async function runJson(...words: string[]): Promise<any> {
  return JSON.parse((await run(...words, '--json')).out);
}

const PROGRAM = join(import.meta.dirname, '../../src/cli/warta.ts');

/** Runs the program itself with its output in pipes. */
export function spawnProgram(words: readonly string[], colours = false) {
  const { FORCE_COLOR: _force, NO_COLOR: _no, ...env } = process.env;
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    env: colours ? { ...env, FORCE_COLOR: '1' } : env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const collected = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    collected.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    collected.err += chunk;
  });
  return new Promise<{ exitCode: number | null; out: string; err: string }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, ...collected }));
  });
}
