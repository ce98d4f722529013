import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll } from 'vitest';
import { findProgram } from './programs.ts';
import { waitUntil } from './wait.ts';

const running = new Set<ChildProcess>();

afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
});

/** Longest a program may take to end once it was asked to. */
const STOP_MILLIS = 10_000;

/** A program running in the foreground of a test. */
export interface RunningProgram {
  readonly pid: number;
  /** Everything printed so far on both streams. */
  output(): string;
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** Waits until the output matches; fails with the output when the program ends first. */
  waitFor(pattern: RegExp, timeoutMillis?: number): Promise<RegExpMatchArray>;
  kill(signal: NodeJS.Signals): void;
  /** Ends it by SIGTERM, then by SIGKILL. */
  stop(): Promise<void>;
}

/** Starts a program; it is ended at the latest when all tests of the file are done. */
export function startProgram(
  name: string,
  args: readonly string[],
  options: { cwd?: string; environment?: Record<string, string> } = {},
): RunningProgram {
  const command = name.includes('/') ? name : (findProgram(name) ?? name);
  const environment = { ...process.env, ...options.environment };
  const child = spawn(command, args, { cwd: options.cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  }
  let result: number | string | undefined;
  const ended = new Promise<number | string>((resolve) => {
    const settle = (how: number | string) => {
      running.delete(child);
      result = how;
      resolve(how);
    };
    child.on('error', (error) => settle(error.message));
    child.on('close', (code, signal) => settle(signal ?? code ?? -1));
  });
  return {
    pid: child.pid ?? 0,
    output: () => printed,
    ended,
    waitFor(pattern, timeoutMillis) {
      return waitUntil(
        `${name} prints ${pattern}`,
        () => {
          const match = printed.match(pattern);
          if (match === null && result !== undefined) throw new Error(`${name} ended with ${result}: ${printed}`);
          return match ?? undefined;
        },
        timeoutMillis,
      );
    },
    kill: (signal) => void child.kill(signal),
    async stop() {
      if (result !== undefined) return;
      child.kill('SIGTERM');
      const forced = setTimeout(() => child.kill('SIGKILL'), STOP_MILLIS);
      await ended;
      clearTimeout(forced);
    },
  };
}
