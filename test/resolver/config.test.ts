import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { checkConfig, countWorkers, loadConfig, parseConfig, readSystemResolvers } from '../../src/config/config.ts';

const REGISTER = {
  licensee: 'NSP/2021/001',
  directory: 'statements',
  authorities: 'authorities.json',
  policyPack: 'pack.yaml',
};
const LEAST = { state: 'var', register: REGISTER };
const FILE = '/etc/warta/warta.yaml';

/** A configuration with one key set, given as a path with dots. */
function withKey(path: string, value: unknown): object {
  const source = structuredClone(LEAST) as Record<string, unknown>;
  const keys = path.split('.');
  let at = source;
  for (const key of keys.slice(0, -1)) {
    at[key] ??= {};
    at = at[key] as Record<string, unknown>;
  }
  if (value === undefined) delete at[keys.at(-1)!];
  else at[keys.at(-1)!] = value;
  return source;
}

/** The message of the error that checking throws. */
function complaintOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    expect(error.code).toMatch(/^config-/);
    return error.message;
  }
  throw new Error('nothing was refused');
}

describe('a configuration', () => {
  it('of the least keys has safe defaults', () => {
    const { resolver, answer, metrics, register, log } = checkConfig(LEAST, FILE);
    expect(resolver).toMatchObject({
      ...{ listen: ['127.0.0.1:5300'], upstreams: 'system', mode: 'enforce', io: 'auto', workers: 'auto' },
      ...{ checkTargets: true, proxyProtocol: false, responsesPerSecond: 20_000, timeoutMillis: 1_500, attempts: 3 },
      ...{ maxPending: 16_384, portsPerUpstream: 16 },
      streams: { maxConnections: 2_000, maxConnectionsPerClient: 50, maxPipelined: 64, idleSeconds: 10 },
      tls: {
        dot: { listen: [] },
        doh: { listen: [], path: '/dns-query', maxStreams: 100 },
        proxyFrom: [],
        idleSeconds: 30,
      },
      health: { checkName: '.', intervalMillis: 1_000, timeoutMillis: 1_000 },
    });
    expect(resolver.allow).not.toContain('0.0.0.0/0');
    expect(resolver.allow).not.toContain('::/0');
    expect(answer).toMatchObject({ maxTtlSeconds: 60, soaMname: 'warta.invalid', language: 'en' });
    expect(answer.structuredErrorOption).toBeUndefined();
    expect([metrics.listen, log.level, register.rescanSeconds]).toEqual(['127.0.0.1:9100', 'info', 5]);
  });

  it('has its relative paths count from its own folder', () => {
    const config = checkConfig(withKey('register.authorities', '/keys/authorities.json'), FILE);
    expect(config.state).toBe('/etc/warta/var');
    expect(config.register).toMatchObject({
      ...{
        directory: '/etc/warta/statements',
        authorities: '/keys/authorities.json',
        policyPack: '/etc/warta/pack.yaml',
      },
    });
  });

  it.each([
    ['resolver.listen', ['[::1]:53', '192.0.2.1', '2001:db8::1']],
    ['resolver.upstreams', ['192.0.2.53:5353', '[2001:db8::53]:53']],
    ['register.licensee', 'NSP(I)/2021/001'],
    ['resolver.workers', 8],
    ['resolver.allow', ['0.0.0.0/0', '::/0']],
    ['resolver.cookieSecret', '00112233445566778899aAbBcCdDeEfF'],
    ['resolver.responsesPerSecond', 0],
    ['resolver.health.checkName', 'health.example.'],
    ['answer.structuredErrorOption', 65_023],
  ])('takes %s: %j', (path, value) => {
    const config = checkConfig(withKey(path, value), FILE);
    expect(
      path.split('.').reduce((at, key) => (at as Record<string, unknown>)[key] as never, config as unknown),
    ).toEqual(value);
  });

  it('that serves DoT or DoH needs a certificate and its key, whose paths count from its folder', () => {
    const tls = (more: object) => withKey('resolver.tls', { doh: { listen: ['127.0.0.1:443'] }, ...more });
    expect(complaintOf(() => checkConfig(tls({ certificate: 'a.pem' }), FILE))).toContain('resolver.tls.key');
    expect(complaintOf(() => checkConfig(tls({ key: 'a.pem' }), FILE))).toContain('resolver.tls.certificate');
    const config = checkConfig(tls({ certificate: 'a.pem', key: '/b.pem' }), FILE);
    expect(config.resolver.tls).toMatchObject({ certificate: '/etc/warta/a.pem', key: '/b.pem' });
  });

  const wrong: [string, unknown][] = [
    ['state', undefined],
    ['state', 5],
    ['register', undefined],
    ['register.licensee', undefined],
    ['register.licensee', 'a licensee'],
    ['register.directory', ''],
    ['register.rescanSeconds', 0],
    ['register.staleAfterHours', 'two'],
    ['resolver.listen', []],
    ['resolver.listen', '127.0.0.1:53'],
    ['resolver.listen', ['x']],
    ['resolver.upstreams', []],
    ['resolver.upstreams', 'google'],
    ['resolver.upstreams', ['8.8.8.8:x']],
    ['resolver.mode', 'off'],
    ['resolver.io', 'epoll'],
    ['resolver.workers', 0],
    ['resolver.workers', 'many'],
    ['resolver.allow', ['10.0.0.0']],
    ['resolver.responsesPerSecond', -1],
    ['resolver.checkTargets', 'yes'],
    ['resolver.proxyProtocol', 1],
    ['resolver.timeoutMillis', 10],
    ['resolver.attempts', 11],
    ['resolver.maxPending', 65_536],
    ['resolver.portsPerUpstream', 1],
    ['resolver.portsPerUpstream', 2.5],
    ['resolver.cookieSecret', 'abc'],
    ['resolver.tls.dot.listen', ['x']],
    ['resolver.tls.doh.path', 'dns-query'],
    ['resolver.tls.doh.maxStreams', 0],
    ['resolver.tls.addresses', ['192.0.2.1:53']],
    ['resolver.tls.infoUrl', 'http://isp.example/'],
    ['resolver.tls.name', 'no name'],
    ['resolver.tls.proxyFrom', ['10.0.0.1']],
    ['resolver.tls.handshakeSeconds', 0],
    ['resolver.streams.maxConnections', 0],
    ['resolver.streams.maxConnectionsPerClient', 0],
    ['resolver.streams.maxPipelined', 0],
    ['resolver.streams.idleSeconds', 0],
    ['resolver.health.checkName', 'a..b'],
    ['resolver.health.intervalMillis', 1],
    ['resolver.health.timeoutMillis', 1],
    ['answer.operator', ''],
    ['answer.language', 'x'],
    ['answer.maxTtlSeconds', 61],
    ['answer.soaMname', 'a b'],
    ['answer.soaRname', 'a'.repeat(61)],
    ['answer.structuredErrorOption', 0],
    ['metrics.listen', 'everywhere'],
    ['log.level', 'loud'],
  ];

  it.each(wrong)('refuses %s: %j and names the key', (path, value) => {
    const complaint = complaintOf(() => checkConfig(withKey(path, value), FILE));
    expect(complaint).toContain(FILE);
    expect(complaint).toContain(path);
  });

  it.each(wrong)('tells what to write for %s: %j', (path, value) => {
    const complaint = complaintOf(() => checkConfig(withKey(path, value), FILE));
    const line = complaint.split('\n').find((each) => each.includes(path))!;
    expect(line.slice(line.indexOf(': ') + 2)).not.toMatch(/^Invalid input$/);
  });

  it.each([
    'nonsense',
    'resolver.lisen',
    'resolver.streams.idle',
    'answer.ttl',
    'metrics.port',
    'register.url',
    'log.file',
  ])('refuses the unknown key %s and names it', (path) => {
    expect(complaintOf(() => checkConfig(withKey(path, 1), FILE))).toContain(`${path}: no such key`);
  });

  it('names every wrong key at once', () => {
    const source = { ...LEAST, state: 1, resolver: { attempts: 0, io: 'x', more: 1 }, answer: { language: '' } };
    const complaint = complaintOf(() => checkConfig(source, FILE));
    for (const key of ['state', 'resolver.attempts', 'resolver.io', 'resolver.more', 'answer.language']) {
      expect(complaint).toContain(`  ${key}: `);
    }
  });

  it.each([null, undefined, 5, 'text', []])('that is %j is refused', (source) => {
    expect(complaintOf(() => checkConfig(source, FILE))).toContain(FILE);
  });
});

describe('configuration text', () => {
  const folder = mkdtempSync(join(tmpdir(), 'warta-config-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is YAML', () => {
    const text = `
state: var
register: { licensee: L-1, directory: statements, authorities: authorities.json, policyPack: pack.yaml }
resolver:
  listen: ["[::1]:53"]   # comment
`;
    const path = join(folder, 'warta.yaml');
    writeFileSync(path, text);
    expect(loadConfig(path).resolver.listen).toEqual(['[::1]:53']);
    expect(loadConfig(path).state).toBe(join(folder, 'var'));
  });

  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x, x]']
    .concat(
      ['b', 'c', 'd', 'e', 'f'].map((key, i) => `${key}: &${key} [${Array(10).fill(`*${'abcde'[i]}`).join(', ')}]`),
    )
    .join('\n');
  it.each([
    ['broken', 'state: ['],
    ['with a key twice', 'state: a\nstate: b'],
    ['with an alias of nothing', 'state: *x'],
    ['empty', ''],
    ['that multiplies itself', bomb],
  ])('%s is refused with the name of the file', (_, text) => {
    expect(complaintOf(() => parseConfig(text, FILE))).toContain(FILE);
  });

  it('that is too long is refused', () => {
    const path = join(folder, 'long.yaml');
    writeFileSync(path, `# ${'x'.repeat(1 << 20)}`);
    expect(complaintOf(() => loadConfig(path))).toContain('longer than 1 MiB');
  });

  it('that cannot be read is refused', () => {
    expect(complaintOf(() => loadConfig(join(folder, 'missing.yaml')))).toContain('missing.yaml');
    expect(complaintOf(() => loadConfig(folder))).toContain(folder);
  });
});

describe('what the machine gives', () => {
  it('are the resolvers of resolv.conf, but for those that mean nothing without an interface', () => {
    const text = `# nameserver 192.0.2.9
nameserver 192.0.2.1
  nameserver   fe80::1%eth0
nameservers 192.0.2.8
search example
nameserver\t2001:db8::1 # comment
`;
    expect(readSystemResolvers(text)).toEqual(['192.0.2.1', '2001:db8::1']);
    expect(readSystemResolvers('')).toEqual([]);
  });

  it('are one thread at least', () => {
    expect(countWorkers(3)).toBe(3);
    expect(countWorkers('auto')).toBeGreaterThanOrEqual(1);
  });
});
