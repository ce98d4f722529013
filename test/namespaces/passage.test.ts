import { randomBytes } from 'node:crypto';
import { closeSync, createReadStream, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ADDRESS,
  BLOCKED_BY,
  begunEarlier,
  findLaboratoryFault,
  Laboratory,
  readFingerprint,
  readPeakMiB,
  TEXT,
  titleOf,
} from './laboratory.ts';

const fault = findLaboratoryFault();
const [CLIENT, CLIENT_6] = ADDRESS.client;
const [GATEWAY, GATEWAY_6] = ADDRESS.gateway;
const UPLOAD_BYTES = 2 ** 30;
/** What the gateway may take more while 1 GB goes through it: buffers of its connections, and garbage not yet collected. */
const UPLOAD_GROWTH_MIB = 150;

describe.skipIf(fault !== undefined)(titleOf('from host to host through the gateway', fault), () => {
  let laboratory: Laboratory;
  const file = randomBytes(3_000_000);

  beforeAll(async () => {
    laboratory = await Laboratory.open((register) => {
      const pages = [{ url: 'http://news.example/listed?id=1' }, { url: 'http://news.example/any', query: 'any' }];
      const began = begunEarlier();
      const closed = { ...began, reference: 'TEST/SHOP', https: 'block-host' };
      register.notice('pages', pages, { ...began, reference: 'TEST/PAGES' });
      register.notice('closed', [{ url: 'http://shop.example/bad' }], closed);
      register.notice('hidden', [{ url: 'http://hidden.example/bad' }], { ...began, reference: 'TEST/HIDDEN' });
    });
    writeFileSync(join(laboratory.rootFolder, 'file.bin'), file);
    for (const host of ['news.example', 'shop.example']) await laboratory.waitForAddress(host, 'gateway');
  });

  afterAll(() => laboratory?.close());

  const fetched = () => readFileSync(join(laboratory.folder, 'fetched'));
  /** Fetches into a file, and returns the fields of the answer, with its trailers. */
  const fetchFile = async (url: string, ...args: string[]) =>
    (await laboratory.curl('-D', '-', '-o', join(laboratory.folder, 'fetched'), ...args, url)).stdout;

  describe('a listed page', () => {
    test.each(['-4', '-6'])('is answered 451 over %s, with who blocks it and a page that says why', async (family) => {
      const { stdout } = await laboratory.curl('-D', '-', family, 'http://news.example/listed?id=1');
      expect(stdout).toMatch(/^HTTP\/1\.1 451 /);
      expect(stdout).toMatch(new RegExp(`^Link: <${BLOCKED_BY}>; *rel="blocked-by"\r$`, 'im'));
      const maxAge = Number(/^Cache-Control:.*\bmax-age=(\d+)/im.exec(stdout)?.[1]);
      expect(maxAge).toBeGreaterThan(0);
      expect(maxAge).toBeLessThanOrEqual(300);
      expect(stdout).toContain('TEST/PAGES');
    });

    test.each([
      ['http://news.example/listed?id=1', 'ms'],
      ['http://news.example/listed?id=1', 'ta'],
    ])('speaks the language of the browser: %s in %s', async (url, language) => {
      expect((await laboratory.fetch(url, '-H', `Accept-Language: ${language}`)).body).toContain(`lang="${language}"`);
    });

    test.each([
      ['in another spelling', '/x/../%6cisted?id=1', 451],
      ['with another query', '/listed?id=2', 200],
      ['without its query', '/listed', 200],
      ['whose query does not count', '/any?whatever', 451],
      ['by another letter case', '/Any', 404],
    ])('%s (%s): %i', async (_how, target, status) => {
      const args = ['--path-as-is', `http://news.example${target}`];
      expect((await laboratory.fetch(args.pop()!, ...args)).status).toBe(status);
    });

    test('is not to be posted to', async () => {
      expect((await laboratory.fetch('http://news.example/any', '-d', 'x=1')).status).toBe(451);
    });
  });

  describe('everything else of the host', () => {
    test('comes from the origin, which sees the gateway', async () => {
      const seen = 'news.example http 80';
      const four = await laboratory.fetch('http://news.example/where?a=1', '-4');
      expect(four.body).toMatch(new RegExp(`^${seen} (${GATEWAY}|${GATEWAY_6}) /where\\?a=1$`, 'm'));
      const six = await laboratory.fetch('http://news.example/where', '-6');
      expect(six.body).toMatch(new RegExp(`^${seen} (${GATEWAY}|${GATEWAY_6}) /where$`, 'm'));
      // Other hosts are asked without it.
      expect((await laboratory.fetch('http://free.example/where', '-4')).body).toContain(` ${CLIENT} `);
      expect((await laboratory.fetch('http://free.example/where', '-6')).body).toContain(` ${CLIENT_6} `);
    });

    test('is the same to the octet', async () => {
      expect(await fetchFile('http://news.example/file.bin')).toMatch(/^HTTP\/1\.1 200 /);
      expect(fetched().equals(file)).toBe(true);
    });

    test('has ranges', async () => {
      const head = await fetchFile('http://news.example/file.bin', '-r', '1000000-1999999');
      expect(head).toMatch(/^HTTP\/1\.1 206 [\s\S]*^Content-Range: bytes 1000000-1999999\/3000000\r$/im);
      expect(fetched().equals(file.subarray(1_000_000, 2_000_000))).toBe(true);
    });

    test('stays compressed', async () => {
      const head = await fetchFile('http://news.example/text.txt', '-H', 'Accept-Encoding: gzip');
      expect(head).toMatch(/^Content-Encoding: gzip\r$/im);
      expect(gunzipSync(fetched()).toString()).toBe(TEXT);
    });

    test('comes in chunks', async () => {
      expect(await fetchFile('http://news.example/backend/chunks')).toMatch(/^Transfer-Encoding: chunked\r$/im);
      expect(fetched().toString()).toBe('chunk 0\nchunk 1\nchunk 2\n');
    });

    test('has trailers', async () => {
      const head = await fetchFile('http://news.example/trailer/text.txt', '-H', 'TE: trailers');
      expect(head).toMatch(/\r\n\r\nX-Checksum: of \/trailer\/text\.txt\r\n/i);
      expect(fetched().toString()).toBe(TEXT);
    });

    test('opens WebSockets', async () => {
      const client = join(import.meta.dirname, 'websocket-client.ts');
      const args = [client, 'ws://news.example/backend/echo', '500000'];
      const { stdout } = await laboratory.run('client', process.execPath, args);
      expect(stdout).toBe('text hello, octets the same, closed 1000\n');
      const listed = [client, 'ws://news.example/any', '1'];
      expect((await laboratory.run('client', process.execPath, listed)).stdout).toMatch(/^refused\n/);
    });

    test('takes an upload of 1 GB, and the gateway no memory for it', async () => {
      const from = join(laboratory.folder, 'upload');
      const sum = await writeSparseFile(from, UPLOAD_BYTES);
      const { pid } = laboratory.gateway;
      const before = readPeakMiB(pid);
      const { status, body } = await laboratory.fetch('http://news.example/backend/upload', '-T', from);
      expect([status, JSON.parse(body)]).toEqual([200, { bytes: UPLOAD_BYTES, crc32: sum }]);
      expect(readPeakMiB(pid) - before).toBeLessThan(UPLOAD_GROWTH_MIB);
    });
  });

  describe('over HTTPS', () => {
    const requests = (outcome: string) =>
      laboratory.readGatewayMetric(`warta_gateway_tls_connections_total{outcome="${outcome}"}`);
    const connect = (host: string, ...args: string[]) =>
      // Without an input it ends after the handshake.
      laboratory.run('client', 'sh', [
        ...['-c', 'exec openssl "$@" </dev/null', 'sh'],
        ...['s_client', '-connect', `${host}:443`, ...args],
      ]);

    test.each(['-4', '-6'])(
      'the certificate is the origin’s, and the connection goes through the gateway (%s)',
      async (family) => {
        const before = await laboratory.readGatewayMetric('warta_gateway_unenforceable_total');
        const shown = await connect('news.example', '-servername', 'news.example', family);
        writeFileSync(join(laboratory.folder, 'shown.pem'), shown.stdout.replace(/^[\s\S]*?(?=-----BEGIN)/, ''));
        expect(readFingerprint(join(laboratory.folder, 'shown.pem'))).toBe(readFingerprint(laboratory.certificate));
        // Verified, end to end, and with the protocol that the two of them choose.
        const listed = await laboratory.fetch(
          'https://news.example/where/listed?id=1',
          family,
          '-w',
          ' %{http_version}\n%{http_code}',
        );
        expect(listed).toMatchObject({ status: 200, body: expect.stringMatching(/ 2$/) });
        expect(listed.body).toMatch(new RegExp(`^news\\.example https 443 (${GATEWAY}|${GATEWAY_6}) /where/listed`));
        // No page can be told apart here, which is counted.
        expect(await laboratory.readGatewayMetric('warta_gateway_unenforceable_total')).toBe(before + 2);
      },
    );

    test('a host whose notice says so is closed, and its other pages are open over HTTP', async () => {
      const before = await requests('blocked');
      const { code, stderr } = await laboratory.curl('https://shop.example/where');
      expect([code, stderr]).toEqual([35, expect.stringMatching(/alert access denied/i)]);
      expect(await requests('blocked')).toBe(before + 1);
      expect((await laboratory.fetch('http://shop.example/where')).status).toBe(200);
      expect((await laboratory.fetch('http://shop.example/bad')).status).toBe(451);
    });

    test('any other server name is closed, and none', async () => {
      const before = [await requests('unknown-host'), await requests('no-name')];
      for (const name of ['free.example', 'sub.news.example']) {
        const { code, stderr } = await connect(GATEWAY, '-servername', name);
        expect([code, stderr]).toEqual([1, expect.stringMatching(/unrecognized name/)]);
      }
      expect((await connect(GATEWAY, '-noservername')).code).toBe(1);
      expect([await requests('unknown-host'), await requests('no-name')]).toEqual([before[0]! + 2, before[1]! + 1]);
    });
  });

  test('the gateway is no open proxy', async () => {
    const through = ['--connect-to', `::${GATEWAY}:80`];
    expect((await laboratory.fetch('http://free.example/where', ...through)).status).toBe(421);
    expect((await laboratory.fetch('http://sub.news.example/where', ...through)).status).toBe(421);
    const proxied = await laboratory.run('client', 'curl', [
      ...['-sS', '-x', `http://${GATEWAY}:80`, '-o', '/dev/null', '-w', '%{http_code}', 'http://free.example/where'],
    ]);
    expect(proxied.stdout).toBe('421');
  });

  test('an origin at an address that is not public is not connected to, though it answers', async () => {
    await laboratory.waitForAddress('hidden.example', 'gateway');
    expect(
      (await laboratory.run('gateway', 'curl', ['-sS', '--noproxy', '*', `http://${ADDRESS.hidden[0]}/where`])).code,
    ).toBe(0);
    expect((await laboratory.fetch('http://hidden.example/where')).status).toBe(502);
  });

  test('nobody has kept who asked', async () => {
    // From each address something was asked above, and both nodes write what they know about where.
    for (const host of ['gateway', 'resolver'] as const) {
      const traces = await laboratory.readTraces(host);
      expect(traces).toContain('news.example');
      for (const address of ADDRESS.client) expect(traces).not.toContain(address);
    }
  });
});

/** Writes a file that takes little of the disk, random here and there, and returns its CRC-32. */
async function writeSparseFile(path: string, bytes: number): Promise<number> {
  const file = openSync(path, 'w');
  ftruncateSync(file, bytes);
  for (let at = 0; at < bytes; at += bytes >> 4)
    writeSync(file, randomBytes(10_000), 0, 10_000, at + ((at >> 3) % 65_536));
  closeSync(file);
  let sum = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) sum = crc32(chunk as Buffer, sum);
  return sum;
}
