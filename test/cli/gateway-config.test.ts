import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { checkConfig, loadConfig } from '../../src/config/config.ts';
import { PACK_FILE, PACKAGE_ROOT } from '../support/test-authority.ts';
import { Desk } from './desk.ts';
import { run, runJson } from './run.ts';

const EXAMPLE = join(PACKAGE_ROOT, 'config/gateway.yaml');
const FILE = '/etc/warta/gateway.yaml';
const LEAST = { blockedBy: 'https://isp.example/', resolvers: ['192.0.2.53:53'] };

/** A configuration with these keys in its section `gateway`. */
function withGateway(gateway: object): object {
  const register = { licensee: 'NSP-1', directory: 'register', authorities: 'authorities.json', policyPack: PACK_FILE };
  return { state: 'state', register, gateway };
}

describe('the section gateway', () => {
  it('is absent from the configuration of a resolver', () => {
    const { gateway: _, ...source } = withGateway({}) as { gateway: object };
    expect(checkConfig(source, FILE).gateway).toBeUndefined();
  });

  it('has defaults, which the example shows key by key', () => {
    const { gateway: defaults } = checkConfig(withGateway(LEAST), FILE);
    expect(defaults).toMatchObject({ http: '0.0.0.0:80', https: '0.0.0.0:443', proxyFrom: [], maxConnections: 20_000 });
    const { gateway: shown } = parse(readFileSync(EXAMPLE, 'utf8'));
    expect(shown).toEqual({ ...defaults, blockedBy: shown.blockedBy, resolvers: shown.resolvers });
    expect(loadConfig(EXAMPLE).gateway).toEqual(shown);
  });

  it.each<[string, unknown]>([
    ['http', '[::]:80'],
    ['http', ''],
    ['https', ''],
    ['ownAddresses', ['192.0.2.80', '2001:db8::80']],
    ['allowedOrigins', ['10.0.0.0/8', 'fd00::/8']],
    ['blockedBy', 'https://isp.example/why?of=what'],
  ])('takes %s: %j', (key, value) => {
    expect(checkConfig(withGateway({ ...LEAST, [key]: value }), FILE).gateway).toMatchObject({ [key]: value });
  });

  it.each<[string, unknown]>([
    ['http', 'everywhere'],
    ['http', ['0.0.0.0:80']],
    ['https', '*:443'],
    ['blockedBy', undefined],
    ['blockedBy', 'isp.example'],
    ['blockedBy', 'ftp://isp.example/'],
    ['resolvers', undefined],
    ['resolvers', []],
    ['resolvers', 'system'],
    ['ownAddresses', ['192.0.2.80:80']],
    ['allowedOrigins', ['10.0.0.1']],
    ['proxyFrom', ['balancer']],
    ['maxConnections', 0],
    ['maxConnectionsPerClient', 1.5],
    ['port', 80],
  ])('refuses %s: %j and names the key', (key, value) => {
    expect(() => checkConfig(withGateway({ ...LEAST, [key]: value }), FILE)).toThrow(
      expect.objectContaining({ code: 'config-invalid', message: expect.stringMatching(`gateway\\.${key}(\\.0)?: `) }),
    );
  });

  it('needs one listener at least, and tells where its keys are explained', () => {
    const complain = (gateway: object) => expect(() => checkConfig(withGateway({ ...LEAST, ...gateway }), FILE));
    complain({ http: '', https: '' }).toThrow('nothing listens');
    complain({ listen: [] }).toThrow('see config/gateway.yaml');
  });
});

describe('warta config validate of a gateway', () => {
  let desk: Desk;
  beforeEach(() => {
    desk = new Desk();
  });
  afterEach(() => desk.clear());

  const write = (lines: string) =>
    desk.write(
      'gateway.yaml',
      `state: state
register: { licensee: NSP-1, directory: register, authorities: register/authorities.json, policyPack: ${PACK_FILE} }
gateway: { blockedBy: 'https://isp.example/', ${lines} }
`,
    );

  it('prints what it comes to, and nothing of a resolver', async () => {
    const file = write(
      `resolvers: ['192.0.2.53'], https: '', proxyFrom: ['192.0.2.0/24'], ownAddresses: ['192.0.2.80']`,
    );
    const { exitCode, out } = await run('config', 'validate', file);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^gateway +0\.0\.0\.0:80 \(HTTP\)$/m);
    expect(out).toMatch(/^origins +looked up at 192\.0\.2\.53$/m);
    expect(out).toMatch(/^steered to +the addresses of this machine, 192\.0\.2\.80$/m);
    expect(out).toMatch(/^behind +192\.0\.2\.0\/24, which send PROXY headers$/m);
    expect(out).not.toMatch(/upstreams|data-plane/);
    const report = await runJson('config', 'validate', file);
    expect(report.config.gateway.resolvers).toEqual(['192.0.2.53']);
  });

  it.each([
    [`resolvers: ['1.2.3.4.5:53']`, 'gateway.resolvers'],
    [`resolvers: ['192.0.2.53'], http: '192.0.2.1:99999'`, 'gateway.http'],
    [`resolvers: ['192.0.2.53'], https: ':443'`, 'gateway.https'],
    [`resolvers: ['192.0.2.53'], allowedOrigins: ['10.0.0.0/64']`, 'gateway.allowedOrigins'],
    [`resolvers: ['192.0.2.53'], proxyFrom: ['10.0.0.0/33']`, 'gateway.proxyFrom'],
  ])('finds what the schema lets through: %s', async (lines, key) => {
    const outcome = await run('config', 'validate', write(lines));
    expect(outcome).toMatchObject({ exitCode: 1, error: 'config-invalid', out: '' });
    expect(outcome.message).toContain(`  ${key}: `);
  });
});
