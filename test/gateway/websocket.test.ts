import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Agent, WebSocket } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { waitUntil } from '../support/wait.ts';
import { exchange, HOST, RawClient, startGateway } from './fixture.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** An origin that accepts every WebSocket and sends back each octet it gets. */
function createEchoOrigin(): Server {
  const server = createServer((request, response) => response.end(`plain ${request.url}`));
  server.on('upgrade', (request, socket: Socket, head) => {
    socket.on('error', () => {});
    if (request.url === '/no') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nnot so');
      return;
    }
    const accept = createHash('sha1')
      .update(request.headers['sec-websocket-key']! + GUID)
      .digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.write(head);
    socket.pipe(socket);
  });
  return server;
}

const upgrade = (target: string, host = HOST) =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

describe('WebSocket through the gateway', () => {
  let origin: Server;
  let gateway: Gateway;
  let port: number;

  beforeAll(async () => {
    origin = createEchoOrigin();
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    gateway = await startGateway({ originPort: (origin.address() as AddressInfo).port });
    port = gateway.httpPort;
  });

  afterAll(() => {
    origin.closeAllConnections();
    origin.close();
  });

  it('is opened by a real client', async () => {
    const dispatcher = new Agent({
      connect: (_options, callback) => {
        const socket = connect(port, '127.0.0.1', () => callback(null, socket)).on('error', (error) =>
          callback(error, null),
        );
      },
    });
    const socket = new WebSocket(`ws://${HOST}/`, { dispatcher });
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('error', () => reject(new Error('no WebSocket')));
      socket.addEventListener('open', () => resolve());
    });
    const closed = new Promise((resolve) => socket.addEventListener('close', resolve));
    socket.close();
    await closed;
    await dispatcher.destroy();
    expect(gateway.readings.http().upgraded).toBe(1);
  });

  it('carries octets both ways as they are, those sent at once too', async () => {
    const client = new RawClient(port).send(Buffer.concat([Buffer.from(upgrade('/chat')), Buffer.from('early')]));
    await client.waitFor(/^HTTP\/1\.1 101 [\s\S]*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n\r\nearly$/);
    const before = client.bytes.length;
    const data = randomBytes(3 * 2 ** 20);
    client.send(data);
    await waitUntil('the echo', () => client.bytes.length === before + data.length);
    expect(client.bytes.subarray(before).equals(data)).toBe(true);
    client.socket.end();
    await client.waitForEnd();
  });

  it('passes a refusal on, and closes: what came next would not be judged', async () => {
    const answer = await exchange(port, `${upgrade('/no')}GET /listed HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*\r\n\r\nnot so$/);
  });

  it('is blocked and refused like everything else', async () => {
    expect(await exchange(port, upgrade('/listed'))).toMatch(/^HTTP\/1\.1 451 /);
    expect(await exchange(port, upgrade('/', 'other.example'))).toMatch(/^HTTP\/1\.1 421 /);
  });

  it('is not taken up behind a request that still waits for its answer', async () => {
    const last = `GET /last HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
    const answer = await exchange(port, `GET /first HTTP/1.1\r\nHost: ${HOST}\r\n\r\n${upgrade('/second')}${last}`);
    expect(answer.match(/plain \/[a-z]+/g)).toEqual(['plain /first', 'plain /second']);
    // What comes in a piece of its own is not taken for a request either.
    const client = new RawClient(port).send(upgrade('/first').replace('websocket', 'h2c')).send(upgrade('/second'));
    await client.waitFor(/plain \/first/);
    expect(await client.send(last).waitForEnd()).not.toMatch(/second|last/);
    const connect = `CONNECT ${HOST}:80 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
    const refused = await exchange(port, `GET /first HTTP/1.1\r\nHost: ${HOST}\r\n\r\n${connect}`);
    expect(refused.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 405']);
  });

  it('is not taken up from HTTP/1.0', async () => {
    expect(
      await exchange(port, upgrade('/x').replace('HTTP/1.1', 'HTTP/1.0').replace('keep-alive, ', 'close, ')),
    ).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('is not taken for another protocol', async () => {
    const request = upgrade('/x').replace('Upgrade: websocket', 'Upgrade: h2c').replace('keep-alive, ', 'close, ');
    expect(await exchange(port, request)).toMatch(/^HTTP\/1\.1 200 [\s\S]*plain \/x/);
  });

  it('is not taken for itself when it has a body', async () => {
    const request = upgrade('/x')
      .replace('keep-alive, ', 'close, ')
      .replace('\r\n\r\n', '\r\nContent-Length: 4\r\n\r\nbody');
    expect(await exchange(port, request)).toMatch(/^HTTP\/1\.1 200 [\s\S]*plain \/x/);
  });

  it('ends on both sides when one of them ends', async () => {
    const client = new RawClient(port).send(upgrade('/chat'));
    await client.waitFor(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n$/);
    origin.closeAllConnections();
    client.socket.end();
    await client.waitForEnd();
    await waitUntil('the connection is gone', () => gateway.readings.connections().http === 0);
  });
});
