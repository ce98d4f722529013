import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { waitUntil } from '../support/wait.ts';
import { exchange, HOST, RawClient, startGateway } from './fixture.ts';

/** Everything that reached the origin, and how many requests it was. */
let reached = '';
let origin: Server;
let gateway: Gateway;
let port: number;

beforeAll(async () => {
  origin = createHttpServer((request, response) => {
    request.on('error', () => {}).on('end', () => response.end('ok\n'));
    request.resume();
  });
  origin.on('connection', (socket: Socket) => {
    socket.on('data', (chunk) => {
      reached += chunk.toString('latin1');
    });
  });
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  gateway = await startGateway({
    originPort: (origin.address() as AddressInfo).port,
    limits: {
      headSeconds: 1,
      idleSeconds: 1,
      bytesPerSecond: 100,
      paceSeconds: 1,
      pipelined: 4,
      connectionsPerClient: 50,
    },
    origins: { headersSeconds: 3 },
  });
  port = gateway.httpPort;
});

afterAll(() => {
  origin.close();
});

const HEAD = `POST /x HTTP/1.1\r\nHost: ${HOST}\r\n`;
/** What a smuggler wants to reach the origin as a request of its own. */
const SMUGGLED = `GET /listed HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;

describe('ambiguous requests are refused, and nothing of them reaches the origin', () => {
  it.each([
    ['both lengths', `${HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    [
      'both lengths, the other way round',
      `${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    ],
    ['two lengths that differ', `${HEAD}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd${SMUGGLED}`],
    ['two lengths that agree', `${HEAD}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a list of lengths', `${HEAD}Content-Length: 4, 4\r\n\r\nabcd`],
    ['a signed length', `${HEAD}Content-Length: +4\r\n\r\nabcd`],
    ['a negative length', `${HEAD}Content-Length: -1\r\n\r\nabcd`],
    ['a hexadecimal length', `${HEAD}Content-Length: 0x4\r\n\r\nabcd`],
    ['a length with a space in it', `${HEAD}Content-Length: 4 4\r\n\r\nabcd`],
    ['an empty length', `${HEAD}Content-Length: \r\n\r\nabcd`],
    ['a length beyond all bounds', `${HEAD}Content-Length: 99999999999999999999\r\n\r\nabcd`],
    ['a space before the colon', `${HEAD}Content-Length : 4\r\n\r\nabcd`],
    ['a space before the colon of a coding', `${HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
    ['two codings', `${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two codings in one field', `${HEAD}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`],
    ['identity after chunked', `${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ['identity', `${HEAD}Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nabcd`],
    ['xchunked', `${HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['chunked with a letter of another script', `${HEAD}Transfer-Encoding: chunke\xd0\xb4\r\n\r\n0\r\n\r\n`],
    ['chunked in quotes', `${HEAD}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`],
    ['chunked behind a vertical tab', `${HEAD}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
    ['chunked in a folded line', `${HEAD}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
    ['a folded line', `${HEAD}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
    ['an underscore for the hyphen and a length', `${HEAD}Content-Length: 0\r\nTransfer-Encoding\x00: chunked\r\n\r\n`],
    ['a bare LF behind a field', `${HEAD}X: a\nContent-Length: 4\r\n\r\nabcd`],
    ['a bare LF behind the request line', `POST /x HTTP/1.1\nHost: ${HOST}\r\n\r\n`],
    ['bare LFs alone', `POST /x HTTP/1.1\nHost: ${HOST}\n\n`],
    ['a bare CR in a field', `${HEAD}X: a\rContent-Length: 4\r\n\r\nabcd`],
    ['a zero octet in a field', `${HEAD}X: a\0b\r\n\r\n`],
    [
      'a chunked request of HTTP/1.0',
      `POST /x HTTP/1.0\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['another version', `POST /x HTTP/1.2\r\nHost: ${HOST}\r\n\r\n`],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['no version', 'GET /x\r\n\r\n'],
    ['two hosts', `GET /x HTTP/1.1\r\nHost: ${HOST}\r\nHost: ${HOST}\r\n\r\n`],
    ['two hosts that differ', `GET /x HTTP/1.1\r\nHost: ${HOST}\r\nhost: other.example\r\n\r\n`],
    ['no host', 'GET /x HTTP/1.1\r\n\r\n'],
    ['a host with userinfo', `GET /x HTTP/1.1\r\nHost: user@${HOST}\r\n\r\n`],
    ['a host with a path', `GET /x HTTP/1.1\r\nHost: ${HOST}/x\r\n\r\n`],
    ['a host with a comma', `GET /x HTTP/1.1\r\nHost: ${HOST}, other.example\r\n\r\n`],
    ['a host with a port that is none', `GET /x HTTP/1.1\r\nHost: ${HOST}:80a\r\n\r\n`],
    ['a target with userinfo', `GET http://user@${HOST}/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target with a fragment', `GET /x#y HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target with a space', `GET /x y HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target with a tab', `GET /x\ty HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target that is no path', `GET x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target with another scheme', `GET ftp://${HOST}/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['an asterisk', `OPTIONS * HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['CONNECT', `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['TRACE', `TRACE /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a method that is none', `GE(T /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a space before the method', ` GET /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a length with another spelling beside it', `${HEAD}content-LENGTH: 4\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a length of a zero octet', `${HEAD}Content-Length: 4\0\r\n\r\nabcd`],
    ['a length in a folded line', `${HEAD}Content-Length:\r\n 4\r\n\r\nabcd`],
    ['chunked and a zero octet', `${HEAD}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n`],
    ['chunked beside another coding', `${HEAD}Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n`],
    ['another coding before chunked', `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['chunked with a parameter', `${HEAD}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n`],
    ['an empty coding', `${HEAD}Transfer-Encoding: \r\n\r\n0\r\n\r\n`],
    ['an empty coding and a length', `${HEAD}Transfer-Encoding:\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a folded first line', `POST /x HTTP/1.1\r\n Host: ${HOST}\r\n\r\n`],
    ['a field without a colon', `${HEAD}Content-Length\r\n\r\n`],
    ['a field without a name', `${HEAD}: 4\r\n\r\n`],
    ['a zero octet in a name', `${HEAD}Content\0Length: 4\r\n\r\nabcd`],
    ['a bare CR behind the request line', `POST /x HTTP/1.1\rHost: ${HOST}\r\n\r\n`],
    ['a bare LF at the end of the head', `${HEAD}X: y\r\n\nabcd`],
    ['a space before the colon of Host', `GET /x HTTP/1.1\r\nHost : ${HOST}\r\n\r\n`],
    ['an empty host', 'GET /x HTTP/1.1\r\nHost: \r\n\r\n'],
    ['two hosts in one field', `GET /x HTTP/1.1\r\nHost: ${HOST} other.example\r\n\r\n`],
    ['a host in a folded line', `GET /x HTTP/1.1\r\nHost:\r\n ${HOST}\r\n\r\n`],
    ['a port beyond all', `GET /x HTTP/1.1\r\nHost: ${HOST}:65536\r\n\r\n`],
    ['a port with a sign', `GET /x HTTP/1.1\r\nHost: ${HOST}:+80\r\n\r\n`],
    ['two ports', `GET /x HTTP/1.1\r\nHost: ${HOST}:80:80\r\n\r\n`],
    ['the port of HTTPS', `GET /x HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`],
    ['an address of IPv6', 'GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n'],
    ['an address of IPv4 in another spelling', 'GET /x HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n'],
    ['a host with a fragment', `GET /x HTTP/1.1\r\nHost: ${HOST}#x\r\n\r\n`],
    ['a host with a query', `GET /x HTTP/1.1\r\nHost: ${HOST}?x\r\n\r\n`],
    ['a host with a backslash', `GET /x HTTP/1.1\r\nHost: ${HOST}\\x\r\n\r\n`],
    ['an absolute target with a bad Host beside it', `GET http://${HOST}/x HTTP/1.1\r\nHost: a b\r\n\r\n`],
    ['an absolute target without a host', `GET http:///x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['an absolute target with one slash', `GET http:/${HOST}/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['an absolute target with a backslash', `GET http://other.example\\@${HOST}/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target in authority-form', `GET ${HOST}:80 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['an asterisk for GET', `GET * HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a target with a zero octet', `GET /x\0y HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a version of three parts', `GET /x HTTP/1.1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a version in small letters', `GET /x http/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['something before the version', `GET /x x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['too many fields', `GET /x HTTP/1.1\r\nHost: ${HOST}\r\n${'A: b\r\n'.repeat(101)}\r\n`],
    ['a large head', `GET /x HTTP/1.1\r\nHost: ${HOST}\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`],
    ['a long request line', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['TLS', '\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03'],
  ])('%s', async (_what, request) => {
    reached = '';
    const before = gateway.readings.http();
    const refused = before.refused! + before.misdirected!;
    const answer = await exchange(port, request);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|405|413|421|431|501) /);
    expect(answer.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(reached).toBe('');
    const after = gateway.readings.http();
    expect(after.refused! + after.misdirected!).toBe(refused + 1);
  });

  it.each([
    ['a size that is none', 'zz\r\nabcd\r\n0\r\n\r\n'],
    ['a size with a sign', '+4\r\nabcd\r\n0\r\n\r\n'],
    ['a size with a prefix', '0x4\r\nabcd\r\n0\r\n\r\n'],
    ['a size beyond all bounds', 'fffffffffffffffff\r\nabcd'],
    ['a bare LF behind the size', '4\nabcd\r\n0\r\n\r\n'],
    ['a bare LF behind the data', '4\r\nabcd\n0\r\n\r\n'],
    ['more data than the size', '4\r\nabcde\r\n0\r\n\r\n'],
    ['a bare LF in an extension', '4;a\nb\r\nabcd\r\n0\r\n\r\n'],
    ['a space before the size', ' 4\r\nabcd\r\n0\r\n\r\n'],
    ['framing in the trailers', '4\r\nabcd\r\n0\r\nContent-Length: 9\r\n\r\n'],
    ['no size', '\r\nabcd\r\n0\r\n\r\n'],
    ['an underscore in the size', '1_0\r\nabcd\r\n0\r\n\r\n'],
    ['a space behind the size', '4 \r\nabcd\r\n0\r\n\r\nx'],
    ['a zero octet behind the size', '4\0\r\nabcd\r\n0\r\n\r\n'],
    ['a bare CR behind the size', '4\rabcd\r\n0\r\n\r\n'],
    ['nothing behind the data', '4\r\nabcd0\r\n\r\n'],
    ['an end of line within quotes', '4;a="\r\nabcd\r\n0\r\n\r\n'],
    ['a coding in the trailers', '4\r\nabcd\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a bare LF in the trailers', '4\r\nabcd\r\n0\r\nX: y\n\r\n'],
    ['a folded trailer', '4\r\nabcd\r\n0\r\nX: y\r\n z\r\n\r\n'],
    ['endless trailers', `4\r\nabcd\r\n0\r\n${'X: y\r\n'.repeat(20_000)}\r\n`],
    ['a trailer without end', `4\r\nabcd\r\n0\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`],
    ['endless extensions', `4;${'a'.repeat(20_000)}\r\nabcd\r\n0\r\n\r\n`],
  ])('chunks with %s', async (_what, chunks) => {
    reached = '';
    const answer = await exchange(port, `${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunks}${SMUGGLED}`);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|413|431) /);
    expect(reached).not.toContain('/listed');
    expect(reached).not.toMatch(/\r\n0\r\n\r\n/);
  });

  it.each([
    ['GET', 'Content-Length: 4\r\n', 'abcd'],
    ['GET', 'Transfer-Encoding: chunked\r\n', '4\r\nabcd\r\n0\r\n\r\n'],
    ['HEAD', 'Content-Length: 4\r\n', 'abcd'],
    ['DELETE', 'Transfer-Encoding: chunked\r\n', '4\r\nabcd\r\n0\r\n\r\n'],
    ['POST', 'Transfer-Encoding: Chunked\r\n', '4;x="y"\r\nabcd\r\n0\r\nX-Sum: 1\r\n\r\n'],
    ['POST', 'Connection: content-length, host\r\nContent-Length: 4\r\n', 'abcd'],
  ])('%s with %j is framed anew, and the request behind it is judged by itself', async (method, field, body) => {
    reached = '';
    const before = gateway.readings.http().blocked!;
    const answer = await exchange(
      port,
      `${method} /x HTTP/1.1\r\nHost: ${HOST}\r\n${field}\r\n${body}${SMUGGLED.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')}`,
    );
    expect(answer.match(/^HTTP\/1\.1 (200|451) /gm)).toEqual(['HTTP/1.1 200 ', 'HTTP/1.1 451 ']);
    expect(gateway.readings.http().blocked).toBe(before + 1);
    const heads = reached.split('\r\n\r\n')[0]!.toLowerCase();
    expect(heads.match(/content-length|transfer-encoding/g)).toHaveLength(1);
    expect(reached).not.toContain('/listed');
  });
});

describe('slow clients', () => {
  it('that send nothing are closed', async () => {
    expect(await exchange(port, '')).toMatch(/^(HTTP\/1\.1 408 |$)/);
  });

  it('that never end their head are closed, however they go on', async () => {
    const client = new RawClient(port).send(`GET /x HTTP/1.1\r\nHost: ${HOST}\r\n`);
    const timer = setInterval(() => client.send('X: y\r\n'), 100);
    const answer = await client.waitForEnd();
    clearInterval(timer);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('that ask for nothing more are closed', async () => {
    const client = new RawClient(port).send(`GET /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await client.waitFor(/ok\n/);
    expect(await client.waitForEnd()).toMatch(/ok\n/);
  });

  const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

  it.each([
    ['body', `${HEAD}Content-Length: 100000\r\n\r\n`, 'x'],
    ['body, asked for by 100,', `${HEAD}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n`, 'x'],
    ['chunks', CHUNKED, '1\r\nx\r\n'],
    ['chunk extension', `${CHUNKED}1;`, 'x'],
    ['trailers', `${CHUNKED}1\r\nx\r\n0\r\n`, 'X: y\r\n'],
    ['body of a listed page', `${HEAD.replace('/x', '/listed')}Content-Length: 100000\r\n\r\n`, 'x'],
  ])('whose %s trickles are closed', async (what, start, piece) => {
    const before = gateway.readings.http()['timed-out']!;
    const client = new RawClient(port).send(start);
    const timer = setInterval(() => client.send(piece), 200);
    const answer = await client.waitForEnd();
    clearInterval(timer);
    if (what.endsWith('listed page')) return expect(answer).toMatch(/^HTTP\/1\.1 451 /);
    expect(answer).toMatch(/^(HTTP\/1\.1 100 Continue\r\n\r\n)?HTTP\/1\.1 408 /);
    expect(gateway.readings.http()['timed-out']).toBe(before + 1);
  });

  it('that go away leave nothing behind', async () => {
    const clients = Array.from({ length: 20 }, () => new RawClient(port).send(`${HEAD}Content-Length: 10\r\n\r\nabc`));
    await waitUntil('connections', () => gateway.readings.connections().http! >= 20);
    for (const { socket } of clients) socket.resetAndDestroy();
    await waitUntil('none', () => gateway.readings.connections().http === 0);
  });
});

describe('floods', () => {
  it('of connections end at the limit of a client, and others are served on', async () => {
    const clients = Array.from({ length: 60 }, () => new RawClient(port, '127.0.0.2'));
    await waitUntil('refusals', () => clients.filter(({ isClosed }) => isClosed).length >= 10);
    expect(gateway.readings.refusedConnections().client).toBeGreaterThanOrEqual(10);
    expect(await exchange(port, SMUGGLED.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))).toMatch(
      /^HTTP\/1\.1 451 /,
    );
    for (const { socket } of clients) socket.destroy();
    await waitUntil('room', () => gateway.readings.connections().http === 0);
    expect(await exchange(port, SMUGGLED.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))).toMatch(
      /^HTTP\/1\.1 451 /,
    );
  });

  it('of connections end at the limit of all', async () => {
    const small = await startGateway({ originPort: 1, limits: { connections: 2 } });
    const clients = [new RawClient(small.httpPort), new RawClient(small.httpsPort)];
    await waitUntil('two', () => small.readings.connections().http === 1 && small.readings.connections().https === 1);
    await new RawClient(small.httpPort).waitForEnd();
    expect(small.readings.refusedConnections().total).toBe(1);
    for (const { socket } of clients) socket.destroy();
  });

  it('of requests on one connection end at the limit', async () => {
    const answer = await exchange(port, `GET /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`.repeat(20));
    const statuses = answer.match(/^HTTP\/1\.1 \d+/gm)!;
    expect(statuses.slice(0, 4)).toEqual(Array(4).fill('HTTP/1.1 200'));
    expect(statuses.slice(4)).toEqual(['HTTP/1.1 503']);
  });
});

describe('a gateway that stops', () => {
  it('finishes what is under way, and takes nothing new', async () => {
    const sockets: Socket[] = [];
    const slow = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    const other = await startGateway({ originPort: (slow.address() as AddressInfo).port });
    const client = new RawClient(other.httpPort).send(`GET /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await waitUntil('the request', () => sockets.length === 1);
    const { httpPort } = other;
    const stopped = other.stop(1_000);
    await sleep(50);
    expect(await new RawClient(httpPort).waitForEnd()).toBe('');
    sockets[0]!.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone');
    expect(await client.waitForEnd()).toMatch(/done$/);
    await stopped;
    slow.close();
  });

  it('closes what does not end in time', async () => {
    const silent = createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const other = await startGateway({ originPort: (silent.address() as AddressInfo).port });
    const client = new RawClient(other.httpPort).send(`GET /x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await waitUntil('the request', () => other.readings.connections().http === 1);
    await other.stop(0.2);
    await client.waitForEnd();
    await waitUntil('none', () => other.readings.connections().http === 0);
    silent.close();
  });
});
