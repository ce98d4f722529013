/**
 * What `npm test` runs: obtains what the tests need, runs vitest with this program's arguments, and ends with one line
 * `N passed, N failed`. With CI=true whatever is skipped counts as failed, but for tests whose vectors lie
 * beside the repository when they are not there.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepare } from './prepare.ts';

/** The part of vitest's JSON report that is counted. */
interface Report {
  testResults: { name: string; status: string; assertionResults: { fullName: string; status: string }[] }[];
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OLDEST_NODE = 26;
/** Tests that read test vectors beside the repository, which not every checkout has. */
const MAY_BE_SKIPPED = existsSync(join(ROOT, '../shared')) ? /^$/ : /RFC 8785 sample set|RFC 6962 proof vectors/;
const isCi = process.env.CI === 'true';

if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  console.error(`this is Node ${process.versions.node}: run npm test, which takes the Node ${OLDEST_NODE} of npm ci`);
  process.exit(1);
}

const missing = prepare();
for (const line of missing) console.log(line);

const folder = mkdtempSync(join(tmpdir(), 'warta-report-'));
const reportFile = join(folder, 'report.json');
const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`];
const args = ['run', '--config', 'test/vitest.config.ts', '--root', '.', ...reporters, ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, [vitest, ...args], { cwd: ROOT, stdio: 'inherit' });
const counts = countTests(readReport());
rmSync(folder, { recursive: true });

if (isCi && missing.length > 0) counts.failed += missing.length;
if (status !== 0 && counts.failed === 0) counts.failed = 1;
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
process.exitCode = counts.failed === 0 ? 0 : 1;

/** Returns the report, or an empty one when vitest ended without. */
function readReport(): Report {
  try {
    return JSON.parse(readFileSync(reportFile, 'utf8')) as Report;
  } catch {
    return { testResults: [] };
  }
}

/** Counts tests; a file that could not be loaded counts as one that failed. */
function countTests({ testResults }: Report) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of testResults) {
    const failedBefore = counts.failed;
    for (const { fullName, status } of file.assertionResults) {
      if (status === 'passed') counts.passed++;
      else if (status === 'failed') counts.failed++;
      else if (!isCi || MAY_BE_SKIPPED.test(fullName)) counts.skipped++;
      else {
        console.log(`skipped, which CI does not accept: ${fullName}`);
        counts.failed++;
      }
    }
    if (file.status === 'failed' && counts.failed === failedBefore) counts.failed++;
  }
  return counts;
}
