import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Logger } from 'pino';
import { WartaError } from '../base/errors.ts';
import { PACKAGE_ROOT } from './demo-register.ts';

/** A part of the demo that runs as a process of its own. */
export interface DemoProcess {
  /** Where it listens. */
  readonly url: string;
  /** Asks it to end and waits until it did. */
  stop(): Promise<void>;
}

const PROGRAM = join(PACKAGE_ROOT, 'src/cli/warta.ts');

/** Run before the program: it ends when the demo is gone, in whatever way that went. */
const PRELOAD = `data:text/javascript,${encodeURIComponent(
  "process.once('disconnect',()=>process.kill(process.pid,'SIGTERM'));process.channel?.unref()",
)}`;

/** Longest it may take to start, and to end. */
const START_MILLIS = 30_000;
const STOP_MILLIS = 1_500;

/** Levels of pino from which on a line is passed on. */
const WARN_LEVEL = 40;

/**
 * Starts `warta` with these words and waits until it says where it listens. Its warnings go to the demo's own log.
 *
 * @throws {WartaError} `socket-failed` with its last words when it ends first.
 */
export function startDemoProcess(what: string, words: readonly string[], log: Logger): Promise<DemoProcess> {
  const child = spawn(process.execPath, ['--import', PRELOAD, PROGRAM, ...words], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true, // Ctrl-C is for the demo, which ends them in order
  });
  let stopping = false;
  let lastWords = '';
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async () => {
    stopping = true;
    child.kill('SIGTERM');
    const forced = setTimeout(() => child.kill('SIGKILL'), STOP_MILLIS);
    await ended;
    clearTimeout(forced);
  };
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      void stop();
      reject(new WartaError('socket-failed', `the ${what} of the demo did not start: ${reason}`));
    };
    const slow = setTimeout(() => fail('it takes too long'), START_MILLIS);
    createInterface(child.stderr!).on('line', (line) => {
      lastWords = line;
    });
    createInterface(child.stdout!).on('line', (line) => {
      const { level = 0, msg = line } = parseLine(line);
      lastWords = msg;
      if (level >= WARN_LEVEL && !stopping) log.warn(`${what}: ${msg}`);
      const url = /\bon (http:\/\/\S+)/.exec(msg)?.[1];
      if (url === undefined) return;
      clearTimeout(slow);
      resolve({ url: `${url}/`, stop });
    });
    child.once('error', (error) => fail(error.message));
    child.once('close', () => {
      clearTimeout(slow);
      if (stopping) return;
      stopping = true;
      log.error(`the ${what} of the demo has ended: ${lastWords}`);
      reject(new WartaError('socket-failed', `the ${what} of the demo did not start: ${lastWords}`));
    });
  });
}

/** Runs `warta` with these words to its end and returns the JSON it printed. */
export async function runDemoProcess(words: readonly string[]): Promise<Record<string, string>> {
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

function parseLine(line: string): { level?: number; msg?: string } {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}
