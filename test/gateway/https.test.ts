import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram, runProgram } from '../support/programs.ts';
import { waitUntil } from '../support/wait.ts';
import { HOST, LISTED, listPage, NOTICE, RawClient, startGateway } from './fixture.ts';

describe.skipIf(!hasProgram('openssl') || !hasProgram('curl'))('the gateway over HTTPS', () => {
  let origin: Server;
  let gateway: Gateway;
  let certificate: Buffer;

  beforeAll(async () => {
    const folder = makeFolder();
    const subject = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST}`];
    const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
        ...subject,
        ...files,
      ],
      { stdio: 'ignore' },
    );
    certificate = readFileSync(join(folder, 'cert.pem'));
    origin = createServer({ key: readFileSync(join(folder, 'key.pem')), cert: certificate }, (request, response) => {
      let bytes = 0;
      request.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.on('end', () => response.end(`${request.url} ${bytes}`));
    });
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    gateway = await startGateway({
      originPort: (origin.address() as AddressInfo).port,
      entries: [
        listPage(LISTED),
        listPage('http://closed.example/x', { https: 'block-host' }),
        { host: 'redirected.example', notice: NOTICE, fromSeconds: 0 },
      ],
      limits: { openingSeconds: 1 },
    });
  });

  afterAll(() => {
    origin.closeAllConnections();
    origin.close();
  });

  const tls = () => ({ ...gateway.readings.tls() });

  it('joins a client with the origin of a host of ours, and decrypts nothing', async () => {
    const socket = connectTls({ port: gateway.httpsPort, host: '127.0.0.1', servername: HOST, ca: certificate });
    await new Promise<void>((resolve, reject) => socket.on('secureConnect', resolve).on('error', reject));
    expect(socket.authorized).toBe(true);
    const body = Buffer.alloc(4 * 2 ** 20, 1);
    socket.write(
      `POST /listed HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
    let answer = '';
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    await new Promise((resolve) => socket.on('close', resolve));
    // The page is listed, but over HTTPS nobody can tell: this is counted.
    expect(answer).toContain(`/listed ${body.length}`);
    expect(gateway.readings.unenforceable()).toBe(1);
    expect(tls().spliced).toBe(1);
  });

  it.each(['1.2', '1.3'])('joins curl with TLS %s', async (version) => {
    const { stdout } = await runProgram('curl', [
      ...['-sk', `--tlsv${version}`, '--tls-max', version, '--max-time', '10'],
      ...['--connect-to', `${HOST}:443:127.0.0.1:${gateway.httpsPort}`, `https://${HOST}/hello`],
    ]);
    expect(stdout).toBe('/hello 0');
  });

  const alertOf = (name: string | undefined) =>
    new Promise<string>((resolve) => {
      const socket = connectTls({
        port: gateway.httpsPort,
        host: '127.0.0.1',
        servername: name,
        rejectUnauthorized: false,
      });
      socket.on('error', (error) => resolve(error.message)).on('secureConnect', () => resolve('connected'));
    });

  it.each([
    ['other.example', /unrecognized name|alert number 112/i, 'unknown-host'],
    ['sub.site.example', /unrecognized name|alert number 112/i, 'unknown-host'],
    ['closed.example', /access denied|alert number 49/i, 'blocked'],
    ['redirected.example', /access denied|alert number 49/i, 'blocked'],
    [undefined, /unrecognized name|alert number 112/i, 'no-name'],
  ])('closes %s with an alert', async (name, alert, outcome) => {
    const before = tls()[outcome]!;
    expect(await alertOf(name)).toMatch(alert);
    expect(tls()[outcome]).toBe(before + 1);
  });

  /** A hello with nothing in it but a server name. */
  const helloOf = (name: string) => {
    const u16 = (value: number) => Buffer.of(value >> 8, value & 255);
    const text = Buffer.from(name, 'latin1');
    const list = Buffer.concat([u16(text.length + 3), Buffer.of(0), u16(text.length), text]);
    const extensions = Buffer.concat([Buffer.of(0, 0), u16(list.length), list]);
    const fixed = [Buffer.of(3, 3), Buffer.alloc(33), Buffer.of(0, 2, 0x13, 1, 1, 0)];
    const body = Buffer.concat([...fixed, u16(extensions.length), extensions]);
    const message = Buffer.concat([Buffer.of(1, 0), u16(body.length), body]);
    return Buffer.concat([Buffer.of(22, 3, 1), u16(message.length), message]);
  };

  it.each([
    [HOST, 'spliced'],
    [HOST.toUpperCase(), 'spliced'],
    [`${HOST}.`, 'spliced'],
    [`${HOST}..`, 'unknown-host'],
    [`.${HOST}`, 'unknown-host'],
    [`${HOST}\0.other.example`, 'unknown-host'],
    [`other.example\0${HOST}`, 'unknown-host'],
    [HOST.replace('.', '%2e'), 'unknown-host'],
    [`${HOST}:443`, 'unknown-host'],
    [`${HOST}/`, 'unknown-host'],
    [`user@${HOST}`, 'unknown-host'],
    [HOST.replace('s', '\xc5\xbf'), 'unknown-host'],
    ['127.0.0.1', 'unknown-host'],
    ['2130706433', 'unknown-host'],
    ['[::1]', 'unknown-host'],
    ['localhost', 'unknown-host'],
    ['a'.repeat(5_000), 'unknown-host'],
    ['CLOSED.example.', 'blocked'],
  ])('judges a hello for %j: %s', async (name, outcome) => {
    const before = tls()[outcome]!;
    const client = new RawClient(gateway.httpsPort).send(helloOf(name));
    await waitUntil('the verdict', () => tls()[outcome] === before + 1);
    client.socket.destroy();
  });

  it.each([
    ['GET / HTTP/1.1\r\n\r\n', 'not-tls', ''],
    ['\x80\x2e\x01\x03\x01', 'not-tls', ''],
    ['\x16\x02\x00\x00\x01', 'not-tls', ''],
    ['\x15\x03\x01\x00\x02\x02\x28', 'not-tls', ''],
    ['\x16\x03\x01\x00\x00', 'malformed', '\x15\x03\x03\x00\x02\x02\x32'],
    ['\x16\x03\x01\x40\x00\x01\x00\x80\x01', 'oversized', '\x15\x03\x03\x00\x02\x02\x32'],
  ])('closes what begins with %j', async (start, outcome, answer) => {
    const before = tls()[outcome]!;
    expect(await new RawClient(gateway.httpsPort).send(start).waitForEnd()).toBe(answer);
    expect(tls()[outcome]).toBe(before + 1);
  });

  it('closes what does not go on', async () => {
    const before = tls()['timed-out']!;
    const silent = new RawClient(gateway.httpsPort);
    const slow = new RawClient(gateway.httpsPort).send('\x16\x03\x01');
    expect([await silent.waitForEnd(), await slow.waitForEnd()]).toEqual(['', '']);
    expect(tls()['timed-out']).toBe(before + 2);
  });

  it('takes a hello octet by octet', async () => {
    const captured: Buffer[] = [];
    const { createServer: createTcp, connect } = await import('node:net');
    const between = createTcp((client) => {
      const onward = connect({ port: gateway.httpsPort, host: '127.0.0.1', noDelay: true });
      client.once('data', (hello: Buffer) => {
        captured.push(hello);
        let at = 0;
        const step = () => {
          if (at === hello.length) return void client.pipe(onward);
          onward.write(hello.subarray(at, at + 1), () => setImmediate(step));
          at += 1;
        };
        step();
      });
      onward.pipe(client);
      onward.on('error', () => {});
      client.on('error', () => {});
    });
    await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve));
    const port = (between.address() as AddressInfo).port;
    const { stdout } = await runProgram('curl', [
      '-sk',
      '--connect-to',
      `${HOST}:443:127.0.0.1:${port}`,
      `https://${HOST}/slow`,
    ]);
    expect(stdout).toBe('/slow 0');
    expect(captured).toHaveLength(1);
    between.close();
  });

  it('says by an alert that an origin cannot be reached', async () => {
    const other = await startGateway({ originPort: 1 });
    const answer = await new Promise<string>((resolve) => {
      connectTls({ port: other.httpsPort, host: '127.0.0.1', servername: HOST }).on('error', (error) =>
        resolve(error.message),
      );
    });
    expect(answer).toMatch(/internal error|alert number 80/i);
    expect(other.readings.tls()['origin-failed']).toBe(1);
  });

  it('shows how many connections are open', async () => {
    const client = new RawClient(gateway.httpsPort);
    await waitUntil('a connection', () => gateway.readings.connections().https! > 0);
    client.socket.destroy();
    await waitUntil('none', () => gateway.readings.connections().https === 0);
  });
});
