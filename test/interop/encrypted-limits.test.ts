import { copyFileSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2, constants } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { StreamClient } from '../support/dns-client.ts';
import { composeQuery, parseAnswer } from '../support/dns-message.ts';
import {
  type CertificateFixture,
  DNS_MESSAGE,
  type EncryptedNode,
  type EncryptedNodeOptions,
  getPath,
  makeCertificate,
  openDoh,
  openDot,
  openTcp,
  openTls,
  requestDoh,
  startEncryptedNode,
} from '../support/encrypted.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram } from '../support/programs.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { waitUntil } from '../support/wait.ts';

let certificate: CertificateFixture;
let upstream: StubUpstream;
let server: EncryptedNode;

async function start(options: Partial<EncryptedNodeOptions> = {}): Promise<EncryptedNode> {
  server = await startEncryptedNode({ upstreams: [upstream], certificate, ...options });
  return server;
}

const countersOf = (transport: 'dot' | 'doh') => server.node.resolver.encrypted!.counters[transport].connections;
const failures = (kind: Parameters<ReturnType<typeof countersOf>['addFailure']>[0], transport: 'dot' | 'doh' = 'dot') =>
  waitUntil(`a failure by ${kind}`, () => countersOf(transport).failures.get(kind) || undefined);
const closed = (client: StreamClient) => waitUntil('the connection is closed', () => client.closed);
const received = (client: StreamClient, count: number) =>
  waitUntil(`${count} answers`, () => client.received.length >= count && client.received.map(parseAnswer));
const organisation = (socket: TLSSocket) => socket.getPeerCertificate().subject.O;

/** Sends octets over TLS and returns what came back by the time the connection was closed. */
async function exchangeRaw(port: number, sent: string | Buffer): Promise<string> {
  const socket = await openTls(port, { ALPNProtocols: ['http/1.1'] });
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  socket.write(sent);
  await waitUntil('the connection is closed', () => socket.destroyed || socket.readableEnded);
  return text;
}

describe.skipIf(!hasProgram('openssl'))('encrypted transports', () => {
  beforeAll(async () => {
    certificate = makeCertificate();
    upstream = await startStubUpstream((query) => (query.includes('silent') ? undefined : composeReply(query)));
  });
  afterAll(() => upstream?.close());
  afterEach(() => server?.node.stop());

  describe('certificates', () => {
    test('a new pair on disk is for new connections; those that are open stay', async () => {
      const folder = makeFolder();
      const files = makeCertificate('first', 30, folder);
      const second = makeCertificate('second', 60);
      await start({ certificate: files });
      const { certificate: keeper } = server.node.resolver.encrypted!;
      const old = await openTls(server.dotPort);
      copyFileSync(second.certificate, files.certificate);
      keeper.look(); // half of the pair is there
      expect(keeper.failure).toMatch(/key values mismatch/i);
      expect(organisation(await openTls(server.dotPort))).toBe('first');
      copyFileSync(second.key, files.key);
      keeper.look();
      expect(keeper.failure).toBe('');
      for (const port of [server.dotPort, server.dohPort]) expect(organisation(await openTls(port))).toBe('second');
      old.write(Buffer.concat([Buffer.of(0, 29), composeQuery('bad.example')]));
      await waitUntil('the old connection is served', () => old.bytesRead > 40);
      expect(server.node.log.join('')).toContain('another certificate is in use');
      const health = await (await fetch(`http://127.0.0.1:${server.site.metricsPort}/healthz`)).json();
      expect((health as { notes: string[] }).notes.join()).toMatch(/the certificate expires in 59 days/);
    });

    test('rubbish on disk is told once and changes nothing', async () => {
      const files = makeCertificate('first', 30, makeFolder());
      await start({ certificate: files });
      writeFileSync(files.certificate, 'rubbish');
      for (let i = 0; i < 3; i++) server.node.resolver.encrypted!.certificate.look();
      expect(organisation(await openTls(server.dotPort))).toBe('first');
      expect(server.node.log.filter((line) => line.includes('cannot be used')).length).toBe(1);
      expect(await server.site.readMetric('warta_tls_certificate_failed')).toBe(1);
    });

    test.each(['TLSv1.2', 'TLSv1.3'] as const)('a session is taken up again over %s', async (version) => {
      await start();
      const options = { minVersion: version, maxVersion: version };
      const first = await openDot(server.dotPort, options);
      first.send(composeQuery('bad.example'));
      await received(first, 1); // by now the ticket has come too
      const session = (first.socket as TLSSocket).getSession();
      const second = await openDot(server.dotPort, { ...options, session });
      expect((second.socket as TLSSocket).isSessionReused()).toBe(true);
      second.send(composeQuery('bad.example'));
      expect((await received(second, 1))[0]!.rcode).toBe('NXDOMAIN');
      expect(countersOf('dot').resumedHandshakes).toBe(1);
    });
  });

  describe('handshakes', () => {
    test('one that drips is cut off', async () => {
      await start({ tls: { handshakeSeconds: 1 } });
      const socket = await openTcp(server.dotPort);
      socket.write(Buffer.of(22, 3, 1, 2, 0)); // the head of a record of 512 octets
      const drip = setInterval(() => socket.write(Buffer.of(1)), 50);
      await waitUntil('it is closed', () => socket.destroyed);
      clearInterval(drip);
      expect(await failures('timeout')).toBe(1);
    });

    test.each([
      ['rubbish', 'protocol', (port: number) => openTcp(port).then((socket) => socket.write('GET / HTTP/1.1\r\n\r\n'))],
      ['a foreign ALPN', 'alpn', (port: number) => openTls(port, { ALPNProtocols: ['smtp'] }).catch(() => {})],
      [
        'an old TLS',
        'no_common_protocol',
        (port: number) =>
          openTls(port, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }).catch(() => {}),
      ],
      ['nothing', 'closed', (port: number) => openTcp(port).then((socket) => socket.end())],
    ] as const)('%s is counted as %s', async (_, kind, act) => {
      await start();
      await act(server.dotPort);
      expect(await failures(kind)).toBe(1);
      expect(countersOf('dot').connections).toBe(0);
    });

    test('there are so many in a second', async () => {
      await start({ tls: { handshakesPerSecondPerClient: 1 } });
      const opened = await Promise.all(
        Array.from({ length: 8 }, () =>
          openTls(server.dotPort).then(
            (socket) => socket,
            () => undefined,
          ),
        ),
      );
      expect(opened.filter((one) => one !== undefined).length).toBeLessThanOrEqual(4);
      expect(await failures('rate_limit')).toBeGreaterThanOrEqual(4);
    });

    test('a client outside the ACL gets none', async () => {
      await start({ resolver: { allow: ['10.0.0.0/8'] } });
      for (const port of [server.dotPort, server.dohPort]) await expect(openTls(port)).rejects.toThrow();
      expect(await failures('acl')).toBe(1);
    });
  });

  describe('connections', () => {
    test('one client has so many, and all together', async () => {
      await start({ tls: { maxConnectionsPerClient: 2, maxConnections: 3 } });
      const held = [await openDot(server.dotPort), await openDot(server.dotPort)];
      await expect(openTls(server.dotPort)).rejects.toThrow();
      await openTls(server.dotPort, { localAddress: '127.0.0.9' } as object);
      await expect(openTls(server.dotPort, { localAddress: '127.0.0.8' } as object)).rejects.toThrow();
      expect([await failures('client_limit'), await failures('total_limit')]).toEqual([1, 1]);
      held[0]!.close();
      await waitUntil('one is free', () => countersOf('dot').connections === 2);
      await openDot(server.dotPort);
    });

    test('an idle one is closed, one that waits for an answer is not', async () => {
      await start({ tls: { idleSeconds: 1 }, resolver: { timeoutMillis: 2_000, attempts: 1 } });
      const idle = await openDot(server.dotPort);
      const waiting = await openDot(server.dotPort);
      waiting.send(composeQuery('silent.example'));
      const session = openDoh(server.dohPort);
      const slow = openDoh(server.dohPort);
      const answer = requestDoh(slow, { ':path': getPath(composeQuery('silent.example')) });
      const http1 = await openTls(server.dohPort, { ALPNProtocols: ['http/1.1'] });
      http1.resume();
      await closed(idle);
      await waitUntil('HTTP/2 is closed', () => session.destroyed);
      await waitUntil('HTTP/1.1 is closed', () => http1.destroyed || http1.readableEnded);
      expect((await received(waiting, 1))[0]!.rcode).toBe('SERVFAIL');
      expect(parseAnswer((await answer).body).rcode).toBe('SERVFAIL');
      slow.close();
    });

    test('answers under way leave before the resolver stops', async () => {
      await start({ resolver: { timeoutMillis: 400, attempts: 1 } });
      const client = await openDot(server.dotPort);
      client.send(composeQuery('silent.example'));
      const session = openDoh(server.dohPort);
      const answer = requestDoh(session, { ':path': getPath(composeQuery('silent.example')) });
      await waitUntil('both are forwarded', () => countersOf('doh').streams === 1);
      await sleep(50);
      await server.node.stop();
      expect((await received(client, 1))[0]!.rcode).toBe('SERVFAIL');
      expect(parseAnswer((await answer).body).rcode).toBe('SERVFAIL');
      await expect(openTcp(server.dotPort)).rejects.toThrow();
    });

    test('a proxy that is trusted names the client, others do not', async () => {
      const header = (client: number[]) =>
        Buffer.concat([
          Buffer.from('0d0a0d0a000d0a515549540a2111000c', 'hex'),
          Buffer.from([...client, 127, 0, 0, 1, 0x30, 0x39, 0x03, 0x55]),
        ]);
      await start({ tls: { proxyFrom: ['127.0.0.9/32'] }, resolver: { allow: ['192.0.2.0/24', '127.0.0.1/32'] } });
      const through = async (localAddress: string, bytes: Buffer) => {
        const raw = await openTcp(server.dotPort, localAddress);
        raw.write(bytes);
        return openDot(server.dotPort, { socket: raw });
      };
      const client = await through('127.0.0.9', header([192, 0, 2, 7]));
      client.send(composeQuery('bad.example'));
      expect((await received(client, 1))[0]!.rcode).toBe('NXDOMAIN');
      await expect(through('127.0.0.9', header([203, 0, 113, 7]))).rejects.toThrow();
      expect(await failures('acl')).toBe(1);
      await expect(through('127.0.0.9', Buffer.alloc(0))).rejects.toThrow();
      expect(await failures('proxy_header')).toBe(1);
      await expect(through('127.0.0.1', header([192, 0, 2, 7]))).rejects.toThrow();
      expect(await failures('protocol')).toBe(1);
    });
  });

  describe('HTTP', () => {
    const query = composeQuery('bad.example');
    const post = { 'content-type': DNS_MESSAGE };
    const cases: [string, number, Record<string, string>, Buffer?][] = [
      ['another path', 404, { ':path': '/other' }],
      ['a longer path', 404, { ':path': '/dns-query2?dns=AAAA' }],
      ['a GET without a query', 400, {}],
      ['a GET with an empty query', 400, { ':path': '/dns-query?dns=' }],
      ['base64 with padding', 400, { ':path': `${getPath(query)}==` }],
      ['base64 of the other alphabet', 400, { ':path': '/dns-query?dns=AA+/' }],
      ['a message shorter than a header', 400, { ':path': '/dns-query?dns=AAAA' }],
      ['a response', 400, { ':path': getPath(composeQuery('bad.example', { flags: 0x8100 })) }],
      ['a query among other variables', 200, { ':path': `${getPath(query).replace('?', '?a=b&')}&c=d` }],
      ['a query too long for the URL', 413, { ':path': `/dns-query?dns=${'A'.repeat(5_600)}` }],
      ['another method', 405, { ':method': 'PUT' }],
      ['a body of another type', 415, { 'content-type': 'text/plain' }, query],
      ['a body without a type', 415, {}, query],
      ['a type with a parameter, in capitals', 200, { 'content-type': 'Application/DNS-Message; x=y' }, query],
      ['a body too long', 413, post, Buffer.alloc(5_000)],
      ['a body that is no query', 400, post, Buffer.alloc(11)],
      ['an empty body', 400, post, Buffer.alloc(0)],
    ];

    test.each(cases)('%s gets %i over HTTP/2', async (_, status, headers, body) => {
      await start();
      const session = openDoh(server.dohPort);
      const response = await requestDoh(session, headers, body);
      expect(response.status).toBe(status);
      if (status === 405) expect(response.headers.allow).toBe('GET, POST');
      // The connection goes on.
      expect((await requestDoh(session, { ':path': getPath(query) })).status).toBe(200);
      session.close();
    });

    test.each([
      ['another path', 404, 'GET /other HTTP/1.1\r\n\r\n'],
      ['another method', 405, 'DELETE /dns-query HTTP/1.1\r\n\r\n'],
      ['a body of another type', 415, 'POST /dns-query HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'],
      [
        'a body too long in chunks',
        413,
        `POST /dns-query HTTP/1.1\r\nContent-Type: ${DNS_MESSAGE}\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n${'x'.repeat(5_000)}\r\n`,
      ],
      ['rubbish', 400, 'rubbish\r\n\r\n'],
      ['headers too long', 431, `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
      [
        'both kinds of length',
        400,
        'POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
    ])('%s gets %i over HTTP/1.1', async (_, status, text) => {
      await start();
      const sent = text.replace('HTTP/1.1\r\n', 'HTTP/1.1\r\nHost: x\r\nConnection: close\r\n');
      expect(await exchangeRaw(server.dohPort, sent)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    });

    test.each([
      ['a request', 'GET /dns-query HTTP/1.1\r\nHost: x\r\nX: '],
      ['a body', `POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: ${DNS_MESSAGE}\r\nContent-Length: 4000\r\n\r\n`],
    ])('%s that drips is cut off', async (_, beginning) => {
      await start();
      const socket = await openTls(server.dohPort, { ALPNProtocols: ['http/1.1'] });
      socket.resume();
      socket.write(beginning);
      const drip = setInterval(() => socket.write('x'), 100);
      await waitUntil('it is closed', () => socket.destroyed || socket.readableEnded);
      clearInterval(drip);
    });

    test('a body that does not come is given up, and the connection goes on', async () => {
      await start();
      const session = openDoh(server.dohPort);
      const stream = session.request({ ':method': 'POST', ':path': '/dns-query', ...post });
      stream.on('error', () => {});
      stream.write(query.subarray(0, 5));
      await waitUntil('the stream is closed', () => stream.closed);
      expect((await requestDoh(session, { ':path': getPath(query) })).status).toBe(200);
      session.close();
    });

    test('so many streams are open at once', async () => {
      await start({ doh: { maxStreams: 4 }, resolver: { timeoutMillis: 300, attempts: 1 } });
      const session = openDoh(server.dohPort);
      await waitUntil('settings arrive', () => session.remoteSettings.maxConcurrentStreams === 4);
      const path = getPath(composeQuery('silent.example'));
      const all = Array.from({ length: 8 }, () => requestDoh(session, { ':path': path }));
      await waitUntil('four are open', () => countersOf('doh').streams === 4);
      expect((await Promise.all(all)).map(({ status }) => status)).toEqual(Array(8).fill(200));
      session.close();
    });

    test('a client that resets its streams is cut off, and others are served', async () => {
      await start({ resolver: { timeoutMillis: 2_000, attempts: 1 } });
      const session = connectHttp2(`https://127.0.0.1:${server.dohPort}`, { rejectUnauthorized: false });
      session.on('error', () => {});
      const path = getPath(composeQuery('silent.example'));
      for (let i = 0; i < 5_000 && !session.destroyed; i++) {
        const stream = session.request({ ':path': path });
        stream.on('error', () => {});
        stream.close(constants.NGHTTP2_CANCEL);
        if (i % 20 === 0) await sleep(1);
      }
      await waitUntil('it is cut off', () => session.destroyed);
      const other = openDoh(server.dohPort);
      expect((await requestDoh(other, { ':path': getPath(query) })).status).toBe(200);
      other.close();
      await waitUntil('no stream is left', () => countersOf('doh').streams === 0);
    });
  });
});
