import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findNamespaceFault } from './support/namespaces.ts';
import { hasPostgres } from './support/postgres.ts';
import { hasProgram } from './support/programs.ts';
import { TOP_SITES_FILE, TOP_SITES_FOLDER } from './support/top-sites.ts';

/** Programs that tests run, with the Debian package of each and the suites that do without it when it is missing. */
const PROGRAMS = [
  { program: 'unbound', debianPackage: 'unbound', suites: 'interop/real-upstreams, namespaces' },
  { program: 'named', debianPackage: 'bind9', suites: 'interop/real-upstreams, interop/edns-battery' },
  {
    program: 'dig',
    debianPackage: 'bind9-dnsutils',
    suites: 'interop/edns-battery, real-upstreams, listeners; namespaces',
  },
  { program: 'kdig', debianPackage: 'knot-dnsutils', suites: 'interop/second-parsers, encrypted-programs; namespaces' },
  { program: 'curl', debianPackage: 'curl', suites: 'interop/encrypted-programs, gateway/http, https; namespaces' },
  { program: 'openssl', debianPackage: 'openssl', suites: 'resolver and interop, all of encrypted; namespaces' },
  { program: 'nginx', debianPackage: 'nginx-light', suites: 'gateway/http, namespaces' },
  { program: 'ip', debianPackage: 'iproute2', suites: 'namespaces' },
  { program: 'setpriv', debianPackage: 'util-linux', suites: 'namespaces' },
  { program: 'mount', debianPackage: 'mount', suites: 'namespaces' },
  { program: 'drill', debianPackage: 'ldnsutils', suites: 'interop/second-parsers' },
  { program: 'dnsperf', debianPackage: 'dnsperf', suites: 'interop/real-upstreams' },
  { program: 'go', debianPackage: 'golang-go', suites: 'interop/go-log' },
  {
    program: 'golang.org/x/mod',
    file: '/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go',
    debianPackage: 'golang-golang-x-mod-dev',
    suites: 'interop/go-log',
  },
  { program: 'chromium', debianPackage: 'chromium', suites: 'gateway/notice-page-browser' },
  {
    program: 'Lohit Tamil',
    file: '/usr/share/fonts/truetype/lohit-tamil/Lohit-Tamil.ttf',
    debianPackage: 'fonts-lohit-taml',
    suites: 'the Tamil page of gateway/notice-page-browser',
  },
  {
    program: 'Droid Sans Fallback',
    file: '/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf',
    debianPackage: 'fonts-droid-fallback',
    suites: 'the Chinese page of gateway/notice-page-browser',
  },
  { program: 'postgres', isPresent: hasPostgres, debianPackage: 'postgresql', suites: 'store, control on PostgreSQL' },
] as const;

/** Whether what tests run is installed: a program, the file that a package of another kind has, or what its own check says. */
function isPresent(entry: (typeof PROGRAMS)[number]): boolean {
  if ('isPresent' in entry) return entry.isPresent();
  return 'file' in entry ? existsSync(entry.file) : hasProgram(entry.program);
}

/** The list of sites is no dependency: its install script would fetch it anew from the web. */
const TOP_SITES = {
  spec: 'top-sites@1.1.222',
  file: 'top-sites-1.1.222.tgz',
  integrity: 'sha512-HEvgDGRn/jqS5tUsLy98Ku6Mq+a2Rk15TMXwGzuOYbtd5yu+lfVpB2ii8pbZ4PTisFTK/VaO4GBpm80qTn5D/w==',
} as const;

/** Obtains what tests need besides npm's packages. Returns one line for each thing that could not be had. */
export function prepare(): string[] {
  installPrograms();
  const missing: string[] = PROGRAMS.filter((entry) => !isPresent(entry)).map(
    ({ program, debianPackage, suites }) =>
      `${program} is missing (Debian package ${debianPackage}): without it these are skipped: ${suites}`,
  );
  const namespaceFault = findNamespaceFault();
  if (namespaceFault !== undefined)
    missing.push(`no network namespaces here, namespaces is skipped: ${namespaceFault}`);
  const fault = obtainTopSites();
  if (fault !== undefined)
    missing.push(`${TOP_SITES.spec} is missing (${fault}): part of interop/real-list is skipped`);
  return missing;
}

/** Installs the Debian packages of missing programs when this is root on Debian. */
function installPrograms(): void {
  const packages = PROGRAMS.filter((entry) => !isPresent(entry)).map(({ debianPackage }) => debianPackage);
  const isDebian = existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get');
  if (packages.length === 0 || !isDebian || process.getuid?.() !== 0) return;
  console.log(`installing Debian packages that the tests run: ${packages.join(' ')}`);
  const options = ['-q', '-y', '-o', 'Dpkg::Use-Pty=0'];
  try {
    withoutServices(() => {
      runQuietly('apt-get', [...options, 'update']);
      runQuietly('apt-get', [...options, 'install', '--no-install-recommends', ...packages]);
    });
  } catch (error) {
    console.log(`apt-get failed: ${describe(error)}`);
  }
}

/** What Debian's maintainer scripts ask before they start a service; 101 forbids it (invoke-rc.d(8)). */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Runs `action` while no package may start a service. */
function withoutServices(action: () => void): void {
  const before = existsSync(POLICY_FILE)
    ? { content: readFileSync(POLICY_FILE), mode: statSync(POLICY_FILE).mode }
    : undefined;
  writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n');
  chmodSync(POLICY_FILE, 0o755);
  try {
    action();
  } finally {
    if (before === undefined) rmSync(POLICY_FILE);
    else {
      writeFileSync(POLICY_FILE, before.content);
      chmodSync(POLICY_FILE, before.mode);
    }
  }
}

/** Fetches the list by npm, checks the tarball and extracts it. Returns what went wrong. */
function obtainTopSites(): string | undefined {
  const tarball = join(TOP_SITES_FOLDER, TOP_SITES.file);
  try {
    mkdirSync(TOP_SITES_FOLDER, { recursive: true });
    rmSync(TOP_SITES_FILE, { force: true });
    if (!existsSync(tarball)) {
      runQuietly('npm', ['pack', TOP_SITES.spec, '--ignore-scripts', '--pack-destination', TOP_SITES_FOLDER]);
    }
    const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
    if (integrity !== TOP_SITES.integrity) {
      rmSync(tarball);
      return `the tarball has ${integrity}`;
    }
    runQuietly('tar', ['-xzf', tarball, '-C', TOP_SITES_FOLDER, '--strip-components=1', 'package/top-sites.json']);
    return undefined;
  } catch (error) {
    return describe(error);
  }
}

/** A download that hangs ends here. */
const COMMAND_MILLIS = 240_000;

/** Runs a command and throws what it printed when it fails. npm runs on the Node it belongs to, not on this package's. */
function runQuietly(command: string, args: readonly string[]): void {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => !/node_modules\/\.bin\/?$/.test(folder));
  execFileSync(command, [...args], {
    env: { ...process.env, PATH: folders.join(delimiter), DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: COMMAND_MILLIS,
  });
}

/** The last line of what a command printed, or the message of the error. */
function describe(error: unknown): string {
  const printed = String((error as { stderr?: Buffer }).stderr ?? '').trim();
  return printed.split('\n').at(-1) || (error instanceof Error ? error.message : String(error));
}
