import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { waitUntil } from './wait.ts';

/** Folders of system daemons that an ordinary user's PATH may lack. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Whether a program is installed. The suites that need a missing one are skipped, which CI counts as a failure. */
export function hasProgram(name: string): boolean {
  return findProgram(name) !== undefined;
}

function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** What a program printed, and how it ended. */
export interface ProgramResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; never rejects. */
export function runProgram(name: string, args: readonly string[], timeoutMillis = 30_000): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const command = name.includes('/') ? name : (findProgram(name) ?? name);
    execFile(command, [...args], { timeout: timeoutMillis, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

const running = new Set<ChildProcess>();

process.on('exit', () => {
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

/** Starts a program; it is stopped at the latest when the test process ends. */
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
