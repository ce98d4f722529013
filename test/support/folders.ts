import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const made: string[] = [];

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/** Makes a folder that is removed when all tests of the file are done. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'warta-test-'));
  made.push(folder);
  return folder;
}
