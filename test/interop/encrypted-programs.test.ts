import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { composeQuery, parseAnswer } from '../support/dns-message.ts';
import {
  DNS_MESSAGE,
  type EncryptedNode,
  getPath,
  makeCertificate,
  NAME,
  startEncryptedNode,
} from '../support/encrypted.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram, runProgram } from '../support/programs.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';

const REFERENCE = /EDE: 16 \(Censored\): 'notice /;

describe.skipIf(!hasProgram('openssl'))('encrypted transports', () => {
  let upstream: StubUpstream;
  let server: EncryptedNode;
  const certificate = hasProgram('openssl') ? makeCertificate() : { certificate: '', key: '' };

  beforeAll(async () => {
    upstream = await startStubUpstream();
    server = await startEncryptedNode({
      upstreams: [upstream],
      certificate,
      tls: { name: NAME, addresses: ['192.0.2.53', '2001:db8::53'], infoUrl: 'https://isp.example/dns' },
    });
  });

  afterAll(async () => {
    await server?.node.stop();
    await upstream?.close();
  });

  describe.skipIf(!hasProgram('kdig'))('asked by kdig', () => {
    const strict = () => [`+tls-ca=${certificate.certificate}`, `+tls-host=${NAME}`];
    const ways: [string, () => string[]][] = [
      ['+tls', () => ['-p', String(server.dotPort), '+tls', ...strict()]],
      ['+tls with padding', () => ['-p', String(server.dotPort), '+tls', '+padding', ...strict()]],
      ['+https', () => ['-p', String(server.dohPort), '+https', ...strict()]],
      ['+https-get', () => ['-p', String(server.dohPort), '+https', '+https-get', ...strict()]],
    ];

    test.each(ways)('%s', async (way, args) => {
      const ask = (...more: string[]) => runProgram('kdig', ['@127.0.0.1', ...args(), '+edns', ...more]);
      const blocked = await ask('www.bad.example');
      expect(blocked.stdout).toContain('status: NXDOMAIN');
      expect(blocked.stdout).toMatch(REFERENCE);
      expect(`${blocked.stdout}${blocked.stderr}`).not.toMatch(/WARNING|;; ERROR/);
      // kdig pads by itself over TLS and HTTPS.
      expect(/;; Received (\d+) B/.exec(blocked.stdout)?.[1]).toBe('468');
      const forwarded = await ask('good.example');
      expect(forwarded.stdout).toMatch(/good\.example\.\s+60\s+IN\s+A\s+192\.0\.2\.1/);
      expect(forwarded.stdout).toContain(way.startsWith('+https') ? 'HTTP/2' : 'TLS session (TLS1.3)');
    });

    test('the encrypted transports are designated (RFC 9462)', async () => {
      const { host, port } = server.node.server;
      const asked = (type: string, name: string) =>
        runProgram('kdig', [`@${host}`, '-p', String(port), type, name]).then(({ stdout }) => stdout);
      const designated = await asked('TYPE64', '_dns.resolver.arpa');
      expect(designated).toMatch(/Flags: qr aa rd/);
      const records = designated.split('\n').filter((line) => /^_dns/.test(line));
      expect(records.length).toBe(2);
      expect(records[0]).toContain(
        `1 ${NAME}. alpn=dot port=${server.dotPort} ipv4hint=192.0.2.53 ipv6hint=2001:db8::53`,
      );
      expect(records[1]).toMatch(new RegExp(`2 ${NAME}\\. alpn=h2 port=${server.dohPort} .*/dns-query\\{\\?dns\\}`));
      for (const name of ['resolver.arpa', 'x.resolver.arpa', '_dns.resolver.arpa']) {
        expect(await asked('A', name)).toMatch(/NOERROR[\s\S]*ANSWER: 0; AUTHORITY: 1[\s\S]*resolver\.arpa\..*SOA/);
      }
      expect(await asked('A', 'notresolver.arpa')).toContain('192.0.2.1');
    });

    test('the resolver tells what it does (RFC 9606)', async () => {
      for (const name of [NAME, 'resolver.arpa']) {
        const { stdout } = await runProgram('kdig', [
          ...['@127.0.0.1', '-p', String(server.dotPort), '+tls', '+norec', 'TYPE261', name],
        ]);
        expect(stdout).toMatch(/Flags: qr aa;|Flags: qr aa ra;/);
        const text = Buffer.from((/TYPE261\s+\\# \d+ ([0-9A-F ]+)/.exec(stdout)?.[1] ?? '').replaceAll(' ', ''), 'hex');
        expect(text.toString('latin1')).toBe('\x0fexterr=16,22-23\x1finfourl=https://isp.example/dns');
      }
    });
  });

  describe.skipIf(!hasProgram('curl'))('asked by curl', () => {
    const query = composeQuery('www.bad.example', { id: 0, edns: {} });
    test.each(['--http2', '--http1.1'])('%s, GET and POST', async (version) => {
      const folder = makeFolder();
      const [body, out] = [join(folder, 'query'), join(folder, 'answer')];
      writeFileSync(body, query);
      const base = [
        '-sS',
        version,
        '--cacert',
        certificate.certificate,
        '--resolve',
        `${NAME}:${server.dohPort}:127.0.0.1`,
      ];
      const told = ['-o', out, '-w', '%{http_version} %{http_code} %{content_type} %header{cache-control}'];
      const url = `https://${NAME}:${server.dohPort}`;
      const post = ['-H', `Content-Type: ${DNS_MESSAGE}`, '--data-binary', `@${body}`];
      for (const args of [[url + getPath(query)], [...post, `${url}/dns-query`]]) {
        const { stdout, stderr } = await runProgram('curl', [...base, ...told, ...args]);
        expect(stderr).toBe('');
        expect(stdout).toBe(`${version === '--http2' ? '2' : '1.1'} 200 ${DNS_MESSAGE} max-age=60`);
        expect(parseAnswer(readFileSync(out))).toMatchObject({ id: 0, rcode: 'NXDOMAIN', ede: { code: 16 } });
      }
    });
  });

  describe.skipIf(!hasProgram('h2load'))('asked by h2load', () => {
    const url = (path: string) => `https://127.0.0.1:${server.dohPort}${path}`;
    const query = (name: string) => getPath(composeQuery(name, { id: 0, edns: {} }));

    test.each([
      ['blocked names', 'www.bad.example', '5000', []],
      ['names that are forwarded', 'good.example', '500', []],
      ['blocked names, with windows of 64 octets', 'www.bad.example', '500', ['-w', '6', '-W', '16']],
      ['blocked names, without a table of fields', 'www.bad.example', '500', ['--header-table-size=0']],
      ['blocked names, with a small table to send', 'www.bad.example', '500', ['--encoder-header-table-size=64']],
    ])('for %s', async (_, name, count, options) => {
      const { stdout } = await runProgram('h2load', ['-n', count, '-c', '4', '-m', '50', ...options, url(query(name))]);
      expect(stdout).toContain(`${count} succeeded, 0 failed, 0 errored, 0 timeout`);
      expect(stdout).toContain(`status codes: ${count} 2xx`);
    });

    test('by POST', async () => {
      const body = join(makeFolder(), 'query');
      writeFileSync(body, composeQuery('www.bad.example', { id: 0, edns: {} }));
      const post = ['-d', body, '-H', `content-type: ${DNS_MESSAGE}`];
      const { stdout } = await runProgram('h2load', ['-n', '2000', '-c', '4', '-m', '50', ...post, url('/dns-query')]);
      expect(stdout).toContain('status codes: 2000 2xx');
    });
  });
});
