import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Folders of system daemons that an ordinary user's PATH may lack. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Whether a program is installed. The suites that need a missing one are skipped, which CI counts as a failure. */
export function hasProgram(name: string): boolean {
  return findProgram(name) !== undefined;
}

/** Returns the path of a program, or `undefined` when it is not installed. */
export function findProgram(name: string): string | undefined {
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
