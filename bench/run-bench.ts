import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describeError } from '../src/base/errors.ts';

/** Makes a folder that goes with this process, however it ends, and lets it find servers, which Debian keeps in sbin. */
export function prepareFolder(prefix: string): string {
  process.env.PATH = [process.env.PATH ?? '', '/usr/sbin', '/sbin'].join(delimiter);
  const folder = mkdtempSync(join(tmpdir(), prefix));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
  return folder;
}

/** Runs a bench and ends the process: with what went wrong on stderr, if anything did. */
export async function runBench(run: () => Promise<void>): Promise<never> {
  try {
    await run();
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = 1;
  }
  process.exit();
}
