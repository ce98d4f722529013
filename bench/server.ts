import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { killOnExit } from './child-processes.ts';
import { startProbe } from './dns-probe.ts';

/** Time a server has to end by itself once asked to. */
const STOP_MILLIS = 10_000;
/** What is quoted of a failed server's output. */
const QUOTED_CHARACTERS = 600;

/** A server process in the foreground, its output in a file. */
export interface Server {
  pid: number;
  /** `performance.now()` right before it was started. */
  startedAt: number;
  /** Returns how the process ended, with the end of its output, or null while it runs. */
  findDeath(): Error | null;
  /**
   * Waits until each name of `expected` is answered with its RCODE.
   *
   * @throws {Error} when the process ends first or the time is over.
   */
  waitUntilAnswered(expected: Record<string, number>, timeoutSeconds: number): Promise<void>;
  /** Ends the process: SIGTERM, and SIGKILL when it does not go. */
  stop(): Promise<void>;
}

/** How to start a server on a port. */
export interface ServerCommand {
  command: string;
  args: string[];
  environment?: Record<string, string>;
  port: number;
  outputPath: string;
}

/** Starts a server; nothing is known yet of whether it will serve. */
export function startServer({ command, args, environment, port, outputPath }: ServerCommand): Server {
  const output = openSync(outputPath, 'a');
  const startedAt = performance.now();
  const child = spawn(command, args, {
    stdio: ['ignore', output, output],
    env: { ...process.env, ...environment },
  });
  closeSync(output);
  killOnExit(child);
  let failure: string | null = null;
  const ended = new Promise<void>((resolve) => {
    const settle = (reason: string) => {
      failure ??= reason;
      resolve();
    };
    child.on('error', (error) => settle(error.message));
    child.on('exit', (code, signal) => settle(`it ended with ${signal ?? `code ${code}`}`));
  });
  const findDeath = () => (failure === null ? null : new Error(`${failure}: ${quoteEnd(outputPath)}`));

  return {
    pid: child.pid ?? 0,
    startedAt,
    findDeath,
    async waitUntilAnswered(expected, timeoutSeconds) {
      const probe = startProbe(port, expected);
      const cancelled = new AbortController();
      const over = sleep(timeoutSeconds * 1000, 'over', { signal: cancelled.signal }).catch(() => 'cancelled');
      try {
        const first = await Promise.race([probe.answered, ended, over]);
        const death = findDeath();
        if (death) throw death;
        if (first === 'over') {
          const names = Object.keys(expected).join(', ');
          throw new Error(`no correct answer for ${names} in ${timeoutSeconds} s: ${quoteEnd(outputPath)}`);
        }
      } finally {
        cancelled.abort();
        probe.stop();
      }
    },
    async stop() {
      if (failure !== null) return;
      child.kill('SIGTERM');
      const forced = setTimeout(() => child.kill('SIGKILL'), STOP_MILLIS);
      await ended;
      clearTimeout(forced);
    },
  };
}

function quoteEnd(path: string): string {
  return readFileSync(path, 'utf8').trim().slice(-QUOTED_CHARACTERS) || 'it printed nothing';
}
